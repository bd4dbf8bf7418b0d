//! What the specification says of a recording as one sees it in the exported layout and from outside of the process.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::bench::{Bench, Running, is_alive, is_installed, signal, wait_until};

/// The layout of the specification, and one of its files.
fn exported(bench: &Bench, file: &str) -> Value {
    let out = bench.path("out");
    if out.exists() {
        std::fs::remove_dir_all(&out).unwrap();
    }
    bench.ok(&["export", "--format", "codevovle", out.to_str().unwrap()]);
    serde_json::from_slice(&std::fs::read(out.join(file)).unwrap()).unwrap()
}

fn samples(bench: &Bench) -> u64 {
    bench.listing()["process"]["samples"].as_u64().unwrap()
}

/// Shows CV-12.
#[test]
fn daemon_that_has_nothing_to_record_runs_on_and_costs_little() {
    let bench = Bench::new();
    let pid = bench.start(&["--file", "f", "--interval", "0.1"]);
    let cpu = || -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let (before, from, began) = (cpu(), samples(&bench), Instant::now());
    wait_until("ten intervals have passed", || samples(&bench) >= from + 10);
    let spent = Duration::from_millis((cpu() - before) * 10);
    assert!(is_alive(pid) && spent < began.elapsed() / 3, "{spent:?} of {:?}", began.elapsed());
    assert_eq!(bench.listing()["process"]["ticks"], 0);
}

/// Shows CV-171.
#[test]
fn daemon_samples_at_the_interval_that_was_asked_for() {
    let bench = Bench::new();
    bench.start(&["--file", "f", "--interval", "0.5"]);
    let (from, began) = (samples(&bench), Instant::now());
    wait_until("eight samples were taken", || samples(&bench) >= from + 8);
    let took = began.elapsed();
    assert!(took > Duration::from_millis(3400) && took < Duration::from_secs(6), "{took:?}");
}

/// Shows CV-148.
#[test]
fn daemon_keeps_the_interval_of_a_file_and_a_later_one_in_its_place() {
    let bench = Bench::new();
    for interval in ["0.5", "2"] {
        bench.start(&["--file", "f", "--interval", interval]);
        bench.ok(&["daemon", "stop", "--file", "f"]);
        let kept = exported(&bench, "config.json")["f"]["interval"].as_f64().unwrap();
        assert_eq!(kept, interval.parse::<f64>().unwrap());
    }
}

/// Shows CV-154.
#[test]
fn daemon_threads_change_nothing_else_in_state_json() {
    let bench = Bench::new();
    bench.start(&["--file", "f", "--interval", "0.05"]);
    bench.write("f", "two\n");
    wait_until("it is a tick", || bench.listing()["process"]["ticks"] == 1);
    bench.ok(&["daemon", "set-threads", "--count", "3"]);
    let mut before = exported(&bench, "state.json");
    assert_eq!(before["thread_config"], serde_json::json!({"daemon_threads": 3}));
    bench.ok(&["daemon", "set-threads", "--count", "8"]);
    before["thread_config"]["daemon_threads"] = 8.into();
    assert_eq!(exported(&bench, "state.json"), before);
}

/// Shows CV-143.
#[test]
fn daemon_writes_nowhere_but_in_the_store_and_what_it_was_told() {
    if !is_installed("strace") {
        return;
    }
    let bench = Bench::new();
    bench.ok(&["init"]);
    let trace = bench.path("trace");
    let mut command = bench.wrapped(&[
        "strace",
        "-f",
        "-qq",
        "-e",
        "trace=openat,open,creat,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,link,linkat,symlinkat,truncate",
        "-o",
        trace.to_str().unwrap(),
    ]);
    // It ends when all that it traces has ended.
    let mut strace = Running(command.args(["daemon", "start"]).stdout(Stdio::null()).spawn().unwrap());
    wait_until("it records", || bench.recorded() == ["(root)"]);
    bench.write("f", "two\n");
    wait_until("it is a tick", || bench.listing()["process"]["ticks"] == 1);
    bench.ok(&["revert", "--at", "0"]);
    bench.ok(&["daemon", "stop"]);
    assert!(strace.0.wait().unwrap().success());
    let traced = std::fs::read_to_string(&trace).unwrap();
    let writes = |line: &&str| {
        let changes =
            !line.contains("open") || ["O_WRONLY", "O_RDWR", "O_CREAT"].iter().any(|f| line.contains(f));
        changes && !line.contains(" = -1 ")
    };
    let quoted = |line: &str| line.split('"').nth(1).map(PathBuf::from);
    let elsewhere: BTreeSet<PathBuf> = traced
        .lines()
        .filter(writes)
        .filter_map(quoted)
        .filter(|path| path.is_absolute() && !path.starts_with(bench.store()))
        // A descriptor's path, and devices.
        .filter(|path| !path.starts_with("/proc/self/fd") && !path.starts_with("/dev"))
        .collect();
    assert_eq!(elsewhere, BTreeSet::new());
    assert!(traced.contains(".app.tickfs"), "the trace has seen writes");
}

/// Shows CV-175, CV-176.
#[test]
fn daemon_killed_again_and_again_loses_no_tick_and_uses_no_number_twice() {
    let kills: u32 = std::env::var("TICKFS_TEST_KILLS").map_or(12, |kills| kills.parse().unwrap());
    let bench = Bench::new();
    let files = ["f", "g", "h"];
    let mut announced: BTreeSet<u64> = BTreeSet::new();
    for round in 0..kills {
        for file in files {
            bench.write(file, &format!("round {round} of {file}\n"));
        }
        let pids = files.map(|file| bench.start(&["--file", file, "--interval", "0.01"]));
        for step in 0..=(round % 7) {
            files.iter().for_each(|file| bench.write(file, &format!("round {round}, step {step}\n")));
        }
        signal(pids[0], Signal::KILL);
        wait_until("it is gone", || !is_alive(pids[0]));
        let log = std::fs::read_to_string(bench.store().join("logs/serve.log")).unwrap();
        announced = log
            .lines()
            .filter_map(|line| line.split("] tick ").nth(1)?.split(' ').next()?.parse().ok())
            .collect();
        let ticks = log.lines().filter(|line| line.contains("] tick ")).count();
        assert_eq!(ticks, announced.len(), "a number was told twice");
        let state = exported(&bench, "state.json");
        let counter = state["global_tick_counter"].as_u64().unwrap();
        let last = announced.iter().next_back().copied().unwrap_or(0);
        assert!(counter >= last, "tick {last} was told, and the counter is {counter}");
        check_chains(&bench.path("out"), &files, counter);
    }
    assert!(announced.len() >= files.len());
    // What the last one left is told of here, and would be a finding there.
    bench.ok(&["daemon", "status"]);
    bench.ok(&["doctor", "--scrub", "--root", "."]);
}

/// Every tick of every chain has a diff, and they are all ticks that there are.
fn check_chains(out: &Path, files: &[&str], counter: u64) {
    let mut all = BTreeSet::new();
    for file in files.iter().filter(|file| out.join(file).exists()) {
        let dir = out.join(file);
        let main: Value =
            serde_json::from_slice(&std::fs::read(dir.join("branches/main.json")).unwrap()).unwrap();
        for tick in main["diff_chain"].as_array().unwrap() {
            let tick = tick.as_u64().unwrap();
            assert!(dir.join(format!("diffs/{tick}.diff")).is_file(), "{file} has no diff of tick {tick}");
            assert!(all.insert(tick) && tick <= counter);
        }
    }
}
