//! `tickfs daemon set-threads` and `get-threads`.

use serde_json::Value;

use crate::bench::Bench;

fn state(bench: &Bench) -> Value {
    let out = bench.path("out");
    if out.exists() {
        std::fs::remove_dir_all(&out).unwrap();
    }
    bench.ok(&["export", "--format", "codevovle", out.to_str().unwrap()]);
    serde_json::from_slice(&std::fs::read(out.join("state.json")).unwrap()).unwrap()
}

/// Shows CV-69, CV-73, CV-76, CV-77, CV-78.
#[test]
fn daemon_threads_are_set_and_told_and_have_a_default() {
    let bench = Bench::new();
    assert_eq!(bench.ok(&["daemon", "get-threads"]), "4\n");
    assert!(!bench.store().exists(), "asking makes no store");
    let help = bench.ok(&["daemon", "get-threads", "--help"]);
    assert!(help.contains("; 4 where nobody has set it"), "{help}");
    bench.ok(&["init"]);
    assert_eq!(bench.ok(&["daemon", "get-threads"]), "4\n");
    assert_eq!(
        bench.ok(&["daemon", "set-threads", "--count", "7"]),
        "recording uses 7 threads from now on\n"
    );
    let before = bench.bytes_of(&bench.store());
    assert_eq!(bench.ok(&["daemon", "get-threads"]), "7\n");
    assert_eq!(bench.bytes_of(&bench.store()), before);
}

/// Shows CV-08, CV-70, CV-74.
#[test]
fn daemon_threads_are_1_to_32() {
    let bench = Bench::new();
    bench.ok(&["init"]);
    for good in ["1", "32"] {
        bench.ok(&["daemon", "set-threads", "--count", good]);
        assert_eq!(bench.ok(&["daemon", "get-threads"]).trim(), good);
    }
    for bad in ["0", "33", "-1", "1.5", "x", ""] {
        let said = bench.fails(2, &["daemon", "set-threads", "--count", bad]);
        assert!(said.contains("1..32"), "{bad:?}: {said}");
        assert_eq!(bench.ok(&["daemon", "get-threads"]), "32\n");
        if !bad.starts_with('-') {
            assert!(bench.fails(2, &["record", "--threads", bad]).contains("1..32"));
        }
    }
}

/// Shows CV-34, CV-41.
#[test]
fn daemon_start_uses_the_number_that_was_set_and_a_running_one_follows() {
    let bench = Bench::new();
    bench.ok(&["init"]);
    bench.ok(&["daemon", "set-threads", "--count", "5"]);
    let printed = bench.ok(&["daemon", "start", "--file", "f", "--interval", "1"]);
    assert!(printed.ends_with("with 5 threads\n"), "{printed}");
    let threads = || -> Value {
        let text = std::fs::read(bench.metadata("f")).unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()["threads"].clone()
    };
    assert_eq!((threads(), bench.listing()["process"]["threads"].clone()), (5.into(), 5.into()));
    bench.ok(&["daemon", "set-threads", "--count", "6"]);
    assert_eq!((threads(), bench.listing()["process"]["threads"].clone()), (6.into(), 6.into()));
    assert_eq!(bench.ok(&["daemon", "get-threads"]), "6\n");
}

/// Shows CV-71.
#[test]
fn daemon_threads_stand_in_state_json_and_nothing_else_there_changes() {
    let bench = Bench::new();
    bench.start(&["--file", "f", "--interval", "1"]);
    bench.ok(&["daemon", "stop", "--file", "f"]);
    let before = state(&bench);
    bench.ok(&["daemon", "set-threads", "--count", "9"]);
    let mut after = state(&bench);
    assert_eq!(after["thread_config"]["daemon_threads"], 9);
    after["thread_config"] = before["thread_config"].clone();
    assert_eq!(after, before);
}

/// Shows CV-75, CV-79.
#[test]
fn daemon_threads_of_a_store_that_cannot_be_written_or_read_are_an_error() {
    let Some(bench) = Bench::of_a_stranger() else { return };
    bench.ok(&["init"]);
    for mode in [0o500, 0o000] {
        bench.set_mode(".app.tickfs", mode);
        let said = bench.fails(1, &["daemon", "set-threads", "--count", "3"]);
        assert!(said.starts_with("tickfs: "), "{said}");
    }
    let store = bench.store();
    let said = bench.fails(1, &["daemon", "get-threads", "--store", store.to_str().unwrap()]);
    assert!(said.contains("permission denied"), "{said}");
    bench.set_mode(".app.tickfs", 0o700);
    assert_eq!(bench.ok(&["daemon", "get-threads"]), "4\n");
}
