//! Many commands at once: whatever the order, there is one process or none, and nothing is left behind.

use std::process::{Child, Stdio};

use rustix::process::Signal;

use crate::bench::{Bench, signal, wait_until};

fn spawn(bench: &Bench, args: &[&str]) -> Child {
    bench.command().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What each of them said, where it is none of what may be said.
fn strange(children: Vec<Child>, expected: &[&str]) -> Vec<String> {
    let outputs = children.into_iter().map(|child| child.wait_with_output().unwrap());
    let said = outputs.map(|o| String::from_utf8_lossy(&[o.stdout, o.stderr].concat()).into_owned());
    said.filter(|said| !expected.iter().any(|expected| said.contains(expected))).collect()
}

#[test]
fn daemon_starts_and_stops_at_once_leave_one_process_or_none() {
    let bench = Bench::new();
    bench.ok(&["init"]);
    let (start, stop) =
        (&["daemon", "start", "--file", "f", "--interval", "1"][..], &["daemon", "stop-all"][..]);
    let expected = ["records ", "stopped ", "no daemon is running", "was stopped meanwhile"];
    for _ in 0..3 {
        let children = (0..12).map(|n| spawn(&bench, if n % 3 == 0 { stop } else { start })).collect();
        assert_eq!(strange(children, &expected), [""; 0]);
        wait_until("one is left, or none", || bench.processes().len() <= 1);
    }
    bench.ok(stop);
    assert_eq!((bench.processes(), bench.metadata_names()), (vec![], vec![]));
    bench.start(&["--file", "f", "--interval", "1"]);
    assert_eq!(bench.recorded(), ["f"]);
}

#[test]
fn daemon_killed_while_others_ask_is_replaced_by_one() {
    let bench = Bench::new();
    for file in ["f", "g", "h"] {
        bench.write(file, "x");
    }
    bench.start(&["--file", "f", "--interval", "1"]);
    for _ in 0..3 {
        let children: Vec<Child> = ["f", "g", "h"]
            .iter()
            .cycle()
            .take(9)
            .map(|file| spawn(&bench, &["daemon", "start", "--file", file, "--interval", "1"]))
            .collect();
        for pid in bench.processes() {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains("serve-in-background") {
                signal(pid, Signal::KILL);
            }
        }
        let expected = ["records ", "ended before it began", "was gone without a word"];
        assert_eq!(strange(children, &expected), [""; 0]);
    }
    for file in ["f", "g", "h"] {
        let shown = bench.run(&["daemon", "start", "--file", file, "--interval", "1"]);
        assert!(shown.status == 0 || shown.stderr.contains("already"), "{shown:?}");
    }
    wait_until("one is left", || bench.processes().len() == 1);
    assert_eq!(bench.recorded(), ["f", "g", "h"]);
}
