//! A watched program's run, while it is written and afterwards.

use std::collections::BTreeMap;
use std::fs;

use rustix::io::Errno;
use tickfs_store::Store;
use tickfs_store::disk::Durability;
use tickfs_store::ids::UnixMillis;
use tickfs_store::runs::{RunFacts, RunId, RunStatus, RunWriter, Tag, Value, VariableFacts};
use tickfs_tests::mount::Project;

use crate::layout::names;

fn text(text: &str) -> Value {
    Value { tag: Tag::Str, bytes: text.as_bytes().to_vec() }
}

const ONE: &str =
    "{\"timestamp_ns\":1763640900123000000,\"function\":\"main\",\"file\":\"app.py\",\"line\":2}\n";
const TWO: &str =
    "{\"timestamp_ns\":1763640900124000000,\"function\":\"main\",\"file\":\"app.py\",\"line\":3}\n";

fn variable(id: u32, name: &str) -> VariableFacts {
    VariableFacts { id, name: name.to_owned(), key: name.to_owned(), file: "app.py".to_owned(), scope: None }
}

/// A run that goes on, and what it says of itself.
fn begin(store: &Store) -> (RunWriter, RunFacts) {
    let id = RunId::new(UnixMillis(1_763_640_900_123), [1, 2, 3]);
    let run = RunWriter::create(store.disk().clone(), store.layout(), &id).unwrap();
    let facts = RunFacts {
        run: id,
        language: "python".to_owned(),
        script: "app.py".to_owned(),
        script_tick: None,
        output: "events.jsonl".to_owned(),
        started_at: "2025-11-20T12:15:00.123Z".to_owned(),
        ended_at: None,
        status: RunStatus::Running,
        exit_code: None,
        signal: None,
        capabilities: "hooks".to_owned(),
        variables: 1,
        counts: BTreeMap::new(),
    };
    run.put_facts(&facts, Durability::Cache).unwrap();
    run.keep_script(b"counter = 1\n").unwrap();
    (run, facts)
}

/// Shows WA-126.
#[test]
fn a_run_shows_its_events_and_each_value_of_its_variables() {
    let project = Project::new(&[("a", "a")]);
    let Some(mounted) = project.mount() else { return };
    assert_eq!(names(&mounted.path("watch")), Vec::<String>::new());
    let store = project.store();
    let (mut run, facts) = begin(store);
    let id = facts.run.clone();
    run.declare(&variable(0, "a/b"), &text("zero")).unwrap();
    run.change(0, &text("one"), ONE.as_bytes()).unwrap();
    run.flush().unwrap();
    let dir = format!("watch/{id}");
    let read = |name: &str| fs::read_to_string(mounted.path(&format!("{dir}/{name}"))).unwrap();
    assert_eq!(names(&mounted.path("watch")), [id.as_str()]);
    assert_eq!(names(&mounted.path(&dir)), ["errors.json", "events.jsonl", "run.json", "script", "vars"]);
    assert_eq!(names(&mounted.path(&format!("{dir}/vars"))), ["a%2Fb"]);
    assert_eq!(names(&mounted.path(&format!("{dir}/vars/a%2Fb"))), ["@0", "@1", "@HEAD", "log"]);
    assert_eq!((read("vars/a%2Fb/@0"), read("vars/a%2Fb/@HEAD")), ("zero\n".to_owned(), "one\n".to_owned()));
    assert_eq!((read("events.jsonl"), read("script")), (ONE.to_owned(), "counter = 1\n".to_owned()));
    assert!(read("run.json").contains("\"running\""));
    // It goes on, and no commit says so.
    run.change(0, &text("two"), TWO.as_bytes()).unwrap();
    run.put_facts(&RunFacts { status: RunStatus::Finished, ..facts }, Durability::Cache).unwrap();
    run.flush().unwrap();
    assert_eq!(names(&mounted.path(&format!("{dir}/vars/a%2Fb"))), ["@0", "@1", "@2", "@HEAD", "log"]);
    assert_eq!(read("vars/a%2Fb/@HEAD"), "two\n");
    assert_eq!(read("events.jsonl"), format!("{ONE}{TWO}"));
    let log = "0  \"zero\"\n1  2025-11-20T12:15:00.123Z  app.py:2  main  \"one\"\n2  2025-11-20T12:15:00.124Z  app.py:3  main  \"two\"\n";
    assert_eq!(read("vars/a%2Fb/log"), log);
    assert!(read("run.json").contains("\"finished\""));
    let on_disk = store.layout().runs().join(id.as_str()).join("events.jsonl");
    assert_eq!(read("events.jsonl"), fs::read_to_string(on_disk).unwrap());
}

/// What is damaged, or cannot be read at all, is an I/O error at its own name, with the reason told; all else of the run is shown.
#[test]
fn what_is_damaged_in_a_run_is_an_io_error_there_and_its_reason_is_told() {
    let project = Project::new(&[("a", "a")]);
    let store = project.store();
    let (mut run, facts) = begin(store);
    run.declare(&variable(0, "sound"), &text("a sound value")).unwrap();
    run.declare(&variable(1, "spoiled"), &text("a spoiled value")).unwrap();
    run.change(0, &text("another"), ONE.as_bytes()).unwrap();
    run.flush().unwrap();
    let on_disk = store.layout().runs().join(facts.run.as_str());
    let values = fs::read(on_disk.join("values")).unwrap();
    let at = values.windows(7).position(|part| part == b"spoiled").unwrap();
    let spoil = |file: &str, at: usize| {
        let mut bytes = fs::read(on_disk.join(file)).unwrap();
        bytes[at] ^= 1;
        fs::write(on_disk.join(file), bytes).unwrap();
    };
    spoil("values", at);
    let Some(mounted) = project.mount() else { return };
    let of_run = |name: &str| mounted.path(&format!("watch/{}/{name}", facts.run));
    let failed = |name: &str| fs::read(of_run(name)).err().and_then(|error| error.raw_os_error());
    let unlisted = |name: &str| {
        let listed = fs::read_dir(of_run(name)).and_then(|mut names| names.next().transpose());
        listed.err().and_then(|error| error.raw_os_error())
    };
    let told = |what: &str| {
        let errors = fs::read_to_string(mounted.path("events/errors.json")).unwrap();
        assert!(errors.contains(what), "{what}: {errors}");
    };
    let stats = || -> serde_json::Value {
        serde_json::from_slice(&fs::read(mounted.path("stats.json")).unwrap()).unwrap()
    };
    let eio = Some(Errno::IO.raw_os_error());
    assert_eq!(
        (failed("vars/spoiled/@0"), failed("vars/sound/@0"), failed("vars/sound/@HEAD")),
        (eio, None, None)
    );
    told("/values");

    spoil("v-000001.ix", 0);
    assert_eq!(
        (failed("vars/spoiled/@0"), failed("vars/spoiled/log"), failed("vars/sound/log")),
        (eio, eio, None)
    );
    assert_eq!(names(&of_run("vars")), ["sound", "spoiled"]);
    assert_eq!(names(&of_run("vars/spoiled")), ["@0", "@HEAD", "log"]);

    fs::rename(on_disk.join("events.jsonl"), on_disk.join("elsewhere")).unwrap();
    spoil("variables.jsonl", 0);
    assert_eq!(names(&of_run("")), ["errors.json", "events.jsonl", "run.json", "script", "vars"]);
    assert_eq!(
        (unlisted("vars"), failed("events.jsonl"), failed("script"), failed("run.json")),
        (eio, eio, None, None)
    );
    told("variables.jsonl");
    told("events.jsonl");

    assert_eq!((&stats()["watch"]["runs"], &stats()["watch"]["unreadable"]), (&1.into(), &0.into()));
    spoil("run.json", 0);
    assert_eq!(failed("errors.json"), eio);
    assert_eq!((&stats()["watch"]["runs"], &stats()["watch"]["unreadable"]), (&1.into(), &1.into()));
    told("run.json");
}
