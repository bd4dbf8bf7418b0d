//! A watched program's run, while it is written and afterwards.

use std::collections::BTreeMap;
use std::fs;

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

/// Shows WA-126.
#[test]
fn a_run_shows_its_events_and_each_value_of_its_variables() {
    let project = Project::new(&[("a", "a")]);
    let Some(mounted) = project.mount() else { return };
    assert_eq!(names(&mounted.path("watch")), Vec::<String>::new());
    let id = RunId::new(UnixMillis(1_763_640_900_123), [1, 2, 3]);
    let store = project.store();
    let mut run = RunWriter::create(store.disk().clone(), store.layout(), &id).unwrap();
    let facts = RunFacts {
        run: id.clone(),
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
    let (name, key) = ("a/b".to_owned(), "a/b".to_owned());
    let variable = VariableFacts { id: 0, name, key, file: "app.py".to_owned(), scope: None };
    run.declare(&variable, &text("zero")).unwrap();
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
