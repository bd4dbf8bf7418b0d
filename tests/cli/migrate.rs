//! Older layouts come in, and the store goes out.

use std::path::Path;

use crate::bench::Bench;

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn codevovle(app: &Path) {
    write(app, "f", "two\n");
    let dir = app.join(".codevovle");
    let config = r#"{"f": {"file_path": "f", "interval": 0.5, "active_branch": "main", "last_tick": 2}}"#;
    write(&dir, "config.json", config);
    let state = r#"{"global_tick_counter": 2, "cursor": {"f": {"active_branch": "main", "current_tick": 2}},
        "thread_config": {"daemon_threads": 3}}"#;
    write(&dir, "state.json", state);
    let main = r#"{"id": "8c3c0c0e-0000-4000-8000-000000000001", "label": "main", "parent": null, "forked_at_tick": null,
        "diff_chain": [1, 2], "created_at": "2025-01-01T00:00:00Z", "description": null}"#;
    write(&dir, "branches/main.json", main);
    write(&dir, "snapshots/base.txt", "zero\n");
    for (tick, from, to) in [(1, "zero", "one"), (2, "one", "two")] {
        let diff = format!(
            "--- a/.codevovle/snapshots/base.txt\n+++ b/.codevovle/diffs/{tick}.diff\n@@ -1 +1 @@\n-{from}\n+{to}\n"
        );
        write(&dir, &format!("diffs/{tick}.diff"), &diff);
    }
}

/// Shows CV-144: the tree that `export` writes.
#[test]
fn cli_what_is_migrated_is_exported_again() {
    let bench = Bench::new();
    codevovle(&bench.path("app"));
    let first = bench.run(&["migrate", "."]);
    assert_eq!((first.status, first.stderr.as_str()), (0, ""));
    assert!(first.stdout.starts_with("took 2 ticks into "), "{}", first.stdout);
    assert!(bench.run(&["migrate", "."]).stdout.contains("has it all already"));
    let out = bench.path("out");
    let export = ["export", "--file", "f", "--format", "codevovle", "../out"];
    assert_eq!(bench.run(&export).status, 0);
    for name in ["diffs/1.diff", "diffs/2.diff", "snapshots/base.txt"] {
        let was = std::fs::read_to_string(bench.path("app/.codevovle").join(name)).unwrap();
        assert_eq!(std::fs::read_to_string(out.join(name)).unwrap(), was, "{name}");
    }
    let again = bench.run(&export);
    assert_eq!(again.status, 1);
    assert!(again.stderr.contains("exists already and is not empty"), "{}", again.stderr);
    std::fs::create_dir(bench.path(".second.export-1")).unwrap();
    let second = bench.run(&["export", "--file", "f", "--format", "codevovle", "../second"]);
    assert_eq!(second.status, 0);
    assert!(second.stderr.contains(".second.export-1 is of an export"), "{}", second.stderr);
    let lines = bench.run(&["export", "--file", "f", "--format", "jsonl"]);
    assert!(lines.stdout.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    assert_eq!(lines.stdout.lines().filter(|line| line.starts_with(r#"{"type":"file""#)).count(), 2);
    assert_eq!(bench.run(&["export", "--file", "f", "--format", "jsonl", "../all.jsonl"]).status, 0);
    assert_eq!(std::fs::read_to_string(bench.path("all.jsonl")).unwrap(), lines.stdout);
}

#[test]
fn cli_a_layout_that_is_not_whole_makes_no_store() {
    let bench = Bench::new();
    codevovle(&bench.path("app"));
    write(&bench.path("app"), ".codevovle/diffs/2.diff", "Binary files a and b differ\n");
    let shown = bench.run(&["migrate", "."]);
    assert_eq!(shown.status, 1);
    assert!(shown.stderr.starts_with("tickfs: tick 2 of f cannot be rebuilt"), "{}", shown.stderr);
    assert!(!bench.path(".app.tickfs").exists());
    std::fs::create_dir(bench.path("plain")).unwrap();
    assert!(bench.run(&["migrate", "../plain"]).stderr.contains("this is no older layout"));
}

/// Shows EL-104, EL-106, EL-108.
#[test]
fn cli_an_older_layout_gets_its_journal_once() {
    let bench = Bench::new();
    let older = bench.path("older");
    write(&older, "plan/pln_1.json", "{\n  \"n\": 1\n}\n");
    write(&older, "events.jsonl", "v1\n");
    let shown = bench.run(&["migrate", "--json", "../older"]);
    assert_eq!((shown.status, shown.stderr.as_str()), (0, ""));
    let said: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!((&said["entities"], &said["already_done"]), (&1.into(), &false.into()));
    assert_eq!(std::fs::read(older.join("journal/archive/events.v1.jsonl")).unwrap(), b"v1\n");
    assert_eq!(std::fs::read(bench.path("older.v1-backup/plan/pln_1.json")).unwrap(), b"{\n  \"n\": 1\n}\n");
    let again: serde_json::Value =
        serde_json::from_str(&bench.run(&["migrate", "--json", "../older"]).stdout).unwrap();
    assert_eq!(again["already_done"], true);
}
