//! `tickfs daemon status` and `list`.

use rustix::process::Signal;

use crate::bench::{Bench, is_alive, signal, wait_until};

fn start_three(bench: &Bench) -> u32 {
    let pids = ["f", "g", "h"].map(|file| {
        bench.write(file, "x");
        bench.start(&["--file", file, "--interval", "0.5"])
    });
    pids[0]
}

/// Shows CV-57, CV-58, CV-59, CV-60.
#[test]
fn daemon_status_lists_each_recording_with_its_process_and_how_long() {
    let bench = Bench::new();
    let pid = start_three(&bench);
    let listing = bench.listing();
    let rows = listing["recordings"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row["pid"] == pid && row["interval"] == 0.5));
    let elapsed = || bench.listing()["recordings"][0]["elapsed_s"].as_f64().unwrap();
    let first = elapsed();
    wait_until("time goes on", || elapsed() > first);
    let table = bench.ok(&["daemon", "status"]);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["FILE", "PID", "INTERVAL", "ELAPSED"]);
    assert_eq!(lines.iter().skip(1).map(|l| l[0]).collect::<Vec<_>>(), ["f", "g", "h"]);
    assert!(lines.iter().skip(1).all(|l| l[1] == pid.to_string() && l[2..4] == ["0.5", "s"]));
    let one = bench.ok(&["daemon", "status", "--file", "g"]);
    assert_eq!((one.lines().count(), one.lines().last().unwrap().starts_with("g ")), (2, true));
    bench.ok(&["daemon", "stop", "--file", "g"]);
    assert_eq!(bench.ok(&["daemon", "status", "--file", "g"]), "no daemon is running for g\n");
    let names = |args: &[&str]| -> Vec<String> {
        let table = bench.ok(args);
        table.lines().skip(1).map(|l| l.split_whitespace().next().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&["daemon", "list"]), names(&["daemon", "status"]));
    assert_eq!(names(&["daemon", "list"]), ["f", "h"]);
}

/// Shows CV-61.
#[test]
fn daemon_status_reports_and_removes_what_a_dead_process_left() {
    let bench = Bench::new();
    let pid = start_three(&bench);
    signal(pid, Signal::KILL);
    wait_until("it is gone", || !is_alive(pid));
    let others = |bench: &Bench| {
        let mut all = bench.bytes_of(&bench.store());
        all.retain(|path, _| !path.starts_with(bench.store().join("daemons")));
        all
    };
    let before = others(&bench);
    let shown = bench.run(&["daemon", "status"]);
    assert_eq!((shown.stdout.as_str(), shown.status), ("no daemon is running here\n", 0));
    for file in ["f", "g", "h"] {
        let line = format!("tickfs: process {pid}, which recorded {file}, is not running any more\n");
        assert!(shown.stderr.contains(&line), "{shown:?}");
    }
    assert_eq!((bench.metadata_names(), others(&bench)), (vec![], before));
}

/// Shows CV-62.
#[test]
fn daemon_list_moves_garbage_to_quarantine_and_lists_the_others() {
    let bench = Bench::new();
    start_three(&bench);
    std::fs::write(bench.metadata("x"), "{").unwrap();
    let shown = bench.run(&["daemon", "list"]);
    assert!(shown.status == 0 && shown.stderr.contains("x.daemon was no metadata"), "{shown:?}");
    assert_eq!(shown.stdout.lines().count(), 4);
    assert_eq!(std::fs::read_to_string(bench.store().join("quarantine/x.daemon")).unwrap(), "{");
}

/// Shows CV-63, CV-64.
#[test]
fn daemon_status_without_a_daemon_or_a_store_is_a_sentence_and_creates_nothing() {
    let bench = Bench::new();
    for verb in ["status", "list"] {
        assert_eq!(bench.ok(&["daemon", verb]), "no daemon is running here\n");
    }
    assert!(!bench.store().exists());
    bench.ok(&["init"]);
    let before = bench.bytes_of(&bench.store());
    assert_eq!(bench.ok(&["daemon", "status", "--file", "f"]), "no daemon is running for f\n");
    assert_eq!(bench.bytes_of(&bench.store()), before);
}

#[test]
fn daemon_that_ended_or_was_killed_leaves_a_status_that_says_since_when_nothing_is_recorded() {
    let bench = Bench::new();
    let since = || -> Option<String> {
        let status: serde_json::Value = serde_json::from_str(&bench.ok(&["status", "--json"])).unwrap();
        status["not_recorded_since"].as_str().map(str::to_owned)
    };
    bench.ok(&["init"]);
    assert_eq!(since(), None, "nobody has recorded yet");
    let pid = bench.start(&[]);
    assert_eq!(since(), None, "somebody records");
    signal(pid, Signal::KILL);
    wait_until("it is gone", || !is_alive(pid));
    let killed = since().unwrap();
    bench.start(&[]);
    bench.ok(&["daemon", "stop"]);
    assert!(since().unwrap() > killed);
    let told = bench.ok(&["status"]);
    assert!(told.contains("served by:      no process since just now: `tickfs daemon start`"), "{told}");
}
