//! What a store keeps of a run: every value, and who wrote it.

use serde_json::{Value, json};
use tickfs_store::Store;
use tickfs_store::disk::RealDisk;
use tickfs_store::journal::entry::ItemType;
use tickfs_store::runs::RunStatus;

use crate::bench::{Bench, Shown, TICKFS, applied, of, shown};

fn recorded(source: &str) -> Bench {
    let bench = Bench::python(source);
    assert_eq!(tickfs(&bench, &["init"]).status, 0);
    bench
}

fn tickfs(bench: &Bench, args: &[&str]) -> Shown {
    shown(bench.command(TICKFS).args(args))
}

fn store(bench: &Bench) -> Store {
    Store::open(std::sync::Arc::new(RealDisk), &bench.path(".app.tickfs")).unwrap()
}

/// Shows WA-30, WA-75.
#[test]
fn watch_a_run_stands_in_the_store_with_its_counts() {
    let bench = recorded("x = watch(0, name='x')\ny = watch(0, name='y')\nx = 1\nx = 2\n");
    bench.traced(&[]);
    let store = store(&bench);
    let run = store.runs().find("last").unwrap();
    let facts = run.facts().unwrap();
    assert_eq!((facts.status, facts.exit_code, facts.variables), (RunStatus::Finished, Some(0), 2));
    assert_eq!(
        (facts.counts["events_written"], facts.counts["events_lost"], facts.counts["buffered"]),
        (2, 0, 0)
    );
    assert_eq!(facts.output, "./watcher_output/events.jsonl");
    assert!(!run.is_alive().unwrap());
    assert_eq!(run.script().unwrap(), std::fs::read(bench.path("app/app.py")).unwrap());
    let entity = store.view().unwrap().entity(&ItemType::RUN, run.id().as_str()).unwrap().unwrap();
    let entity: Value = serde_json::from_str(&entity.body).unwrap();
    assert_eq!((&entity["status"], &entity["counts"]["events_written"]), (&json!("finished"), &json!(2)));
    let mut lines = vec![0; usize::try_from(run.events().unwrap().len().unwrap()).unwrap()];
    run.events().unwrap().read_at(&mut lines, 0).unwrap();
    assert_eq!(lines, std::fs::read(bench.path("app/watcher_output/events.jsonl")).unwrap());
}

/// Shows WA-145.
#[test]
fn watch_versions_differ_in_the_bytes_of_their_events() {
    let bench = recorded(
        "b = watch(bytearray(300), name='b')\nfor n in range(200):\n    b[n] = n + 1\nb.append(7)\ndel b[:100]\n",
    );
    let events = bench.traced(&[]);
    let store = store(&bench);
    let run = store.runs().find("last").unwrap();
    let b = run.variable("b").unwrap();
    assert_eq!(run.changes(b.id).unwrap(), 202);
    for (n, event) in (1..).zip(of(&events, "b")) {
        let (before, after) = (run.value(b.id, n - 1).unwrap(), run.value(b.id, n).unwrap());
        assert_eq!(applied(&before.bytes, event), after.bytes, "version {n}");
        assert_eq!(run.event(b.id, n).unwrap().unwrap(), event_line(&bench, &event["event_id"]));
    }
}

fn event_line(bench: &Bench, id: &Value) -> String {
    let text = std::fs::read_to_string(bench.path("app/watcher_output/events.jsonl")).unwrap();
    let id = format!("\"event_id\":{id},");
    text.lines().find(|line| line.contains(&id)).unwrap().to_owned()
}

#[test]
fn watch_list_log_and_last_answer_who_wrote_what() {
    let bench = recorded("x = watch(0, name='x')\nx = 5\ndef f():\n    global x\n    x = 300\nf()\n");
    bench.traced(&[]);
    let list = tickfs(&bench, &["watch", "list"]);
    assert!(list.stdout.contains("  finished  1 variable  2 events  app.py"), "{list:?}");
    let log = tickfs(&bench, &["watch", "log", "last", "x"]);
    let lines: Vec<&str> = log.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{log:?}");
    assert_eq!(lines[0], "0  0");
    assert!(
        lines[1].ends_with("/app/app.py:2  <module>  5") && lines[2].ends_with("/app/app.py:5  f  300"),
        "{lines:?}"
    );
    let last = |args: &[&str]| tickfs(&bench, &[&["watch", "last", "last", "x"], args].concat()).stdout;
    assert!(last(&[]).ends_with("/app/app.py:5  f  300\n"));
    assert!(last(&["--before", "2"]).ends_with("/app/app.py:2  <module>  5\n"));
    assert!(last(&["--byte", "1"]).ends_with("/app/app.py:5  f  300\n"));
    let json: Value = serde_json::from_str(&last(&["--json"])).unwrap();
    assert_eq!(json["function"], "f");
    let none = tickfs(&bench, &["watch", "last", "last", "x", "--byte", "7"]);
    assert!(none.status == 1 && none.stderr.contains("byte 7 of x was not changed by then"), "{none:?}");
    let none = tickfs(&bench, &["watch", "log", "last", "z"]);
    assert!(none.status == 1 && none.stderr.contains("has no variable \"z\": it has x"), "{none:?}");
}

#[test]
fn watch_a_dropped_event_makes_no_version() {
    let bench = recorded("x = watch(0, name='x')\nx = 1\nx = 2\nx = 3\n");
    bench
        .write("p.py", "def main(event):\n    return {'action': 'drop' if event['line'] == 3 else 'pass'}\n");
    bench.traced(&["--custom-processor", "p.py"]);
    let run = store(&bench).runs().find("last").unwrap();
    let x = run.variable("x").unwrap();
    let values: Vec<Vec<u8>> = (0..=2).map(|n| run.value(x.id, n).unwrap().shown()).collect();
    assert_eq!(values, [b"0\n", b"1\n", b"3\n"]);
    assert_eq!(run.facts().unwrap().counts["events_dropped"], 1);
}
