//! `tickfs daemon stop` and `stop-all`: what ends, what goes on, and what is never signalled.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::bench::{Bench, Running, is_alive, is_installed, signal, wait_until};

fn start_three(bench: &Bench) -> u32 {
    let pids = ["f", "g", "h"].map(|file| {
        bench.write(file, "x");
        bench.start(&["--file", file, "--interval", "0.5"])
    });
    assert!(pids.iter().all(|&pid| pid == pids[0]));
    pids[0]
}

/// Shows CV-48, CV-51, CV-52, CV-53.
#[test]
fn daemon_stop_ends_one_recording_and_the_process_with_the_last() {
    let bench = Bench::new();
    let pid = start_three(&bench);
    assert_eq!(bench.ok(&["daemon", "stop", "--file", "f"]), "stopped recording f\n");
    assert_eq!(bench.metadata_names(), ["g.daemon", "h.daemon"]);
    assert_eq!(bench.recorded(), ["g", "h"]);
    bench.ok(&["daemon", "stop", "--file", "g"]);
    assert!(is_alive(pid));
    bench.ok(&["daemon", "stop", "--file", "h"]);
    assert!(!is_alive(pid) && bench.processes().is_empty(), "it is gone when stop returns");
    assert_eq!(bench.metadata_names(), [""; 0]);
    assert!(!bench.store().join("SOCKET").exists());
    assert_eq!(bench.ok(&["daemon", "stop", "--file", "h"]), "no daemon is running for h\n");
}

/// Shows CV-49.
#[test]
fn daemon_stop_without_a_file_means_the_root_alone() {
    let bench = Bench::new();
    let pid = start_three(&bench);
    assert_eq!(bench.ok(&["daemon", "stop"]), "no daemon is running for the root\n");
    assert_eq!((bench.recorded().len(), is_alive(pid)), (3, true));
}

/// Shows CV-54.
#[test]
fn daemon_stop_of_what_is_not_recorded_changes_nothing() {
    let bench = Bench::new();
    let nowhere = "no daemon is running here, and no store records this\n";
    assert_eq!(bench.ok(&["daemon", "stop", "--file", "f"]), nowhere);
    assert_eq!(bench.ok(&["daemon", "stop-all"]), nowhere);
    assert!(!bench.store().exists());
    bench.ok(&["init"]);
    let before = bench.bytes_of(&bench.store());
    assert_eq!(bench.ok(&["daemon", "stop", "--file", "f"]), "no daemon is running for f\n");
    assert_eq!(bench.bytes_of(&bench.store()), before);
}

/// Shows CV-55.
#[test]
fn daemon_stop_says_that_the_process_was_dead_already() {
    let bench = Bench::new();
    let pid = bench.start(&["--file", "f", "--interval", "0.5"]);
    signal(pid, Signal::KILL);
    wait_until("it is gone", || !is_alive(pid));
    let said = bench.ok(&["daemon", "stop", "--file", "f"]);
    assert_eq!(said, format!("process {pid}, which recorded f, was already dead\n"));
    assert_eq!(bench.metadata_names(), [""; 0]);
}

/// A process that was killed keeps its lock until the last of its threads is gone.
#[test]
fn daemon_stop_waits_for_one_that_is_dying() {
    let bench = Bench::new();
    bench.ok(&["init"]);
    let mut dead = std::process::Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    put_metadata(&bench, "f", dead.id());
    let lock = std::fs::File::open(bench.store().join("LOCK")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let stop = bench.command().args(["daemon", "stop", "--file", "f"]).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    drop(lock);
    assert!(Running(stop).0.wait().unwrap().success());
    assert_eq!(bench.metadata_names(), [""; 0]);
}

fn put_metadata(bench: &Bench, file: &str, pid: u32) {
    std::fs::create_dir_all(bench.store().join("daemons")).unwrap();
    let metadata = json!({"file": file, "pid": pid, "process_began": null, "interval": 0.5,
        "start_time": "2026-01-01T00:00:00.000Z", "threads": 4});
    std::fs::write(bench.metadata(file), metadata.to_string()).unwrap();
}

/// Shows CV-50.
#[test]
fn daemon_stop_never_signals_a_process_that_was_given_the_number() {
    let bench = Bench::new();
    bench.ok(&["init"]);
    let mut stranger = Running(std::process::Command::new("sleep").arg("600").spawn().unwrap());
    put_metadata(&bench, "f", stranger.0.id());
    let said = bench.ok(&["daemon", "stop", "--file", "f"]);
    assert_eq!(said, format!("process {}, which recorded f, was already dead\n", stranger.0.id()));
    assert_eq!(stranger.0.try_wait().unwrap(), None);
    bench.start(&["--file", "f", "--interval", "0.5"]);
    bench.write("g", "x");
    put_metadata(&bench, "g", stranger.0.id());
    bench.ok(&["daemon", "stop-all"]);
    assert_eq!((stranger.0.try_wait().unwrap(), bench.metadata_names()), (None, vec![]));
}

/// Shows CV-51.
#[test]
fn daemon_stop_sends_sigterm_to_a_process_that_does_not_answer() {
    if !is_installed("strace") {
        return;
    }
    let bench = Bench::new();
    let pid = bench.start(&["--file", "f", "--interval", "0.5"]);
    let trace = bench.path("trace");
    let mut strace = std::process::Command::new("strace");
    strace.args(["-f", "-qq", "-e", "trace=none", "-e", "signal=SIGTERM", "-o"]).arg(&trace);
    let mut tracer = Running(strace.args(["-p", &pid.to_string()]).stderr(Stdio::null()).spawn().unwrap());
    let traced = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        !status.contains("TracerPid:\t0\n")
    };
    wait_until("strace holds it", traced);
    signal(pid, Signal::STOP);
    let stop =
        bench.command().args(["daemon", "stop", "--file", "f"]).stderr(Stdio::piped()).spawn().unwrap();
    let pending = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let shared = status.lines().find_map(|line| line.strip_prefix("ShdPnd:\t")).unwrap_or("0").to_owned();
        u64::from_str_radix(&shared, 16).unwrap_or(0) & (1 << (15 - 1)) != 0
    };
    wait_until("it was sent SIGTERM", pending);
    signal(pid, Signal::CONT);
    let output = stop.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait_until("it is gone", || !is_alive(pid));
    tracer.0.wait().unwrap();
    let seen = std::fs::read_to_string(&trace).unwrap();
    assert!(seen.contains("SIGTERM"), "{seen}");
    assert_eq!(bench.metadata_names(), [""; 0]);
}

#[test]
fn daemon_stop_of_a_frozen_process_says_what_to_do() {
    let bench = Bench::new();
    let pid = bench.start(&["--file", "f", "--interval", "0.5"]);
    signal(pid, Signal::STOP);
    let listed = bench.run(&["daemon", "list"]);
    assert!(listed.status == 0 && listed.stderr.contains("does not answer"), "{listed:?}");
    let said = bench.fails(1, &["daemon", "stop", "--file", "f"]);
    assert!(said.contains(&format!("process {pid} does not answer; it was sent SIGTERM")), "{said}");
    signal(pid, Signal::CONT);
    wait_until("it ends", || !is_alive(pid));
    assert_eq!(bench.metadata_names(), [""; 0]);
}

/// Shows CV-56.
#[test]
fn daemon_stop_that_cannot_read_the_metadata_fails_and_says_why() {
    let Some(bench) = Bench::of_a_stranger() else { return };
    let pid = bench.start(&["--file", "f", "--interval", "0.5"]);
    signal(pid, Signal::KILL);
    wait_until("it is gone", || !is_alive(pid));
    bench.set_mode(".app.tickfs/daemons/f.daemon", 0o000);
    let said = bench.fails(1, &["daemon", "stop", "--file", "f"]);
    assert!(said.contains("permission denied") && said.contains("f.daemon"), "{said}");
}

/// Shows CV-65, CV-66, CV-67.
#[test]
fn daemon_stop_all_stops_all_and_counts_them() {
    let bench = Bench::new();
    let pid = start_three(&bench);
    assert_eq!(bench.ok(&["daemon", "stop-all"]), "stopped 3 recordings\n");
    assert_eq!((is_alive(pid), bench.metadata_names()), (false, vec![]));
}

/// Shows CV-68.
#[test]
fn daemon_stop_all_goes_on_behind_one_that_cannot_be_stopped() {
    let bench = Bench::new();
    start_three(&bench);
    put_metadata(&bench, "a-dead-one", 4_194_000);
    let shown = bench.run(&["daemon", "stop-all"]);
    assert_eq!((shown.stdout.as_str(), shown.status), ("stopped 3 recordings\n", 0), "{shown:?}");
    assert_eq!(shown.stderr, "tickfs: process 4194000, which recorded a-dead-one, was already dead\n");
    assert_eq!((bench.metadata_names(), bench.processes()), (vec![], vec![]));
}

#[test]
fn daemon_ends_in_order_when_it_is_sent_sigterm() {
    let bench = Bench::new();
    let pid = start_three(&bench);
    signal(pid, Signal::TERM);
    wait_until("it is gone", || !is_alive(pid));
    assert_eq!((bench.metadata_names(), bench.store().join("SOCKET").exists()), (vec![], false));
    assert_eq!(bench.listing()["recordings"], Value::Array(vec![]));
}
