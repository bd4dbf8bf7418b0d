//! Death at any moment: of the traced program, and of the tracer. What was seen until then is whole, and nothing is made up.

use std::io::{BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tickfs_store::Store;
use tickfs_store::disk::RealDisk;
use tickfs_store::runs::RunStatus;

use crate::bench::{Bench, TICKFS, applied, of, shown};

/// Changes two variables in turn, and says after each thousand rounds how far it has come.
const STEADY: &str = "\
import os, sys
n = watch(0, name='n')
b = watch(bytearray(256), name='b')
for i in range(1, int(sys.argv[1]) + 1):
    n = i
    b[i % 256] = (b[i % 256] + 1) % 256
    if i % 1000 == 0:
        print(os.getpid(), i, flush=True)
print('done')
sys.exit(7)
";
/// Of a program's life, from before it has begun to far into it.
const MOMENTS: u32 = 30;

fn started(bench: &Bench, rounds: u32, args: &[&str], path: Option<&str>) -> Child {
    let mut command = bench.command(TICKFS);
    command.args(["watch", "--user-script", "app.py", "--log-level", "error"]).args(args);
    command.args(["--", &rounds.to_string()]);
    if let Some(path) = path {
        command.env("PATH", path);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// The program, as soon as there is one.
fn program_of(tracer: &Child) -> u32 {
    let path = format!("/proc/{0}/task/{0}/children", tracer.id());
    let begun = Instant::now();
    loop {
        let children = std::fs::read_to_string(&path).unwrap();
        if let Some(first) = children.split_whitespace().next() {
            return first.parse().unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it starts a program");
    }
}

fn kill(pid: u32) {
    let status = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// The program and how far it has come, once it has said so this often.
fn after(said: &mut impl std::io::BufRead, times: u32) -> (u32, u64) {
    let mut line = String::new();
    for _ in 0..times {
        line.clear();
        said.read_line(&mut line).unwrap();
    }
    let (pid, rounds) = line.trim().split_once(' ').unwrap();
    (pid.parse().unwrap(), rounds.parse().unwrap())
}

/// These are the first changes that the program makes, all of them up to some one, in their order.
fn assert_prefix(events: &[Value], what: &str) {
    let mut bytes = [0_i64.to_le_bytes().to_vec(), vec![0; 256]];
    let mut last = 0;
    for (place, event) in events.iter().enumerate() {
        let id = event["event_id"].as_str().unwrap();
        assert_eq!(id.rsplit('-').next().unwrap(), (place + 1).to_string(), "{what}");
        let time = event["timestamp_ns"].as_u64().unwrap();
        assert!(time >= last, "{what}: {event}");
        last = time;
        let (which, round) = (place % 2, place / 2 + 1);
        assert_eq!(event["variable_name"], ["n", "b"][which], "{what}: {event}");
        let mut expected = bytes[which].clone();
        match which {
            0 => expected = (round as u64).to_le_bytes().to_vec(),
            _ => expected[round % 256] = expected[round % 256].wrapping_add(1),
        }
        bytes[which] = applied(&bytes[which], event);
        assert_eq!(bytes[which], expected, "{what}: {event}");
    }
}

#[test]
fn watch_a_program_killed_at_any_moment_leaves_all_that_it_did_until_then() {
    for moment in 0..MOMENTS {
        let bench = Bench::python(STEADY);
        assert_eq!(shown(bench.command(TICKFS).arg("init")).status, 0);
        // Every second one waits for the tracer all the time.
        let small: &[&str] = if moment % 2 == 1 { &["--max-queue-size", "1000"] } else { &[] };
        let mut tracer = started(&bench, 10_000_000, small, None);
        let mut said = BufReader::new(tracer.stdout.take().unwrap());
        let (program, rounds) = match moment {
            0..4 => {
                let program = program_of(&tracer);
                std::thread::sleep(Duration::from_millis(15) * moment);
                (program, 0)
            }
            _ => after(&mut said, moment - 3),
        };
        kill(program);
        let what = format!("moment {moment}");
        assert_eq!(tracer.wait().unwrap().code(), Some(137), "{what}");
        let events = bench.events("watcher_output");
        assert!(events.len() as u64 >= 2 * rounds, "{what}: {} of {rounds} rounds", events.len());
        assert_prefix(&events, &what);

        let store = Store::open(Arc::new(RealDisk), &bench.path(".app.tickfs")).unwrap();
        let run = store.runs().find("last").unwrap();
        let facts = run.facts().unwrap();
        assert_eq!((facts.status, facts.signal), (RunStatus::Killed, Some(9)), "{what}");
        assert_eq!(facts.counts["events_written"], events.len() as u64, "{what}");
        for name in ["n", "b"] {
            let Some(told) = Some(of(&events, name)).filter(|told| !told.is_empty()) else { continue };
            let variable = run.variable(name).unwrap();
            let count = told.len() as u64;
            assert_eq!(run.changes(variable.id).unwrap(), count, "{what}");
            for version in [1, count.div_ceil(2), count] {
                let value = |version| run.value(variable.id, version).unwrap().bytes;
                let event = told[usize::try_from(version).unwrap() - 1];
                assert_eq!(applied(&value(version - 1), event), value(version), "{what}");
            }
        }
    }
}

#[test]
fn watch_a_tracer_killed_at_any_moment_leaves_the_program_as_it_is() {
    const ROUNDS: u32 = 40_000;
    for moment in 0..10 {
        let bench = Bench::python(STEADY);
        // Whoever starts the program is killed: so this tells how it ended.
        let path = std::env::var("PATH").unwrap();
        let there = bench
            .write("bin/python3", &format!("#!/bin/sh\nPATH='{path}' python3 \"$@\"\necho \"status $?\"\n"));
        std::fs::set_permissions(&there, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{path}", there.parent().unwrap().display());
        let small: &[&str] = if moment % 2 == 1 { &["--max-queue-size", "1000"] } else { &[] };
        let mut tracer = started(&bench, ROUNDS, small, Some(&path));
        let mut said = BufReader::new(tracer.stdout.take().unwrap());
        let rounds = if moment == 0 { 0 } else { after(&mut said, moment * 3).1 };
        if moment == 0 {
            program_of(&tracer);
        }
        tracer.kill().unwrap();
        tracer.wait().unwrap();
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        let mut lines = rest.lines();
        for expected in (rounds + 1000..=u64::from(ROUNDS)).step_by(1000) {
            let line = lines.next().unwrap();
            assert_eq!(line.split_once(' ').unwrap().1, expected.to_string(), "moment {moment}");
        }
        assert_eq!(lines.collect::<Vec<_>>(), ["done", "status 7"], "moment {moment}");
        // Of what was written, at most the last line is cut; the next run takes that back.
        let mut second = started(&bench, 1, &[], None);
        assert_eq!(second.wait().unwrap().code(), Some(7));
        let events = bench.events("watcher_output");
        let (first, second) = events.split_at(events.len() - 2);
        assert_prefix(first, &format!("moment {moment}"));
        assert_prefix(second, &format!("after moment {moment}"));
    }
}
