//! Commands that change something work the same whether a process serves the store or none does.

use serde_json::Value;

use crate::bench::{Bench, wait_until};

enum Step {
    Write(&'static str, &'static str),
    Run(&'static [&'static str]),
}
use Step::{Run, Write};

const TABLE: &[Step] = &[
    Write("f", "two\n"),
    Run(&["snapshot", "create", "second"]),
    Write("f", "three\n"),
    Run(&["revert", "--at", "1", "--dry-run"]),
    Run(&["revert", "--at", "1"]),
    Run(&["undo"]),
    Run(&["revert", "--at", "second", "--file", "f"]),
    Run(&["branch", "create", "aside"]),
    Write("g", "new\n"),
    Run(&["branch", "create", "further"]),
    Run(&["branch", "rename", "aside", "beside"]),
    Run(&["branch", "jump", "main"]),
    Run(&["restore", "f", "--at", "0"]),
    Run(&["snapshot", "rename", "second", "two"]),
    Run(&["snapshot", "import", "../elsewhere"]),
    Run(&["snapshot", "remove", "two"]),
    // What is refused, is refused in the same words.
    Run(&["revert", "--at", "999"]),
    Run(&["revert", "--at", "1", "--file", "../elsewhere/x"]),
    Run(&["branch", "jump", "nowhere"]),
    Run(&["branch", "create", "main"]),
    Run(&["branch", "create", "a/b"]),
    Run(&["snapshot", "remove", "two"]),
];

/// What the steps said, and what came of them.
#[derive(Debug, PartialEq)]
struct Played {
    said: Vec<String>,
    branches: String,
    root: Vec<(String, Vec<u8>)>,
}

fn played(serve: &[&[&str]]) -> Played {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("elsewhere")).unwrap();
    std::fs::write(bench.path("elsewhere/x"), "x").unwrap();
    bench.ok(&["init"]);
    // The base is there before the first step either way.
    bench.start(&[]);
    bench.ok(&["daemon", "stop"]);
    serve.iter().for_each(|args| drop(bench.ok(args)));
    let mut said = Vec::new();
    for step in TABLE {
        match step {
            Write(file, text) => bench.write(file, text),
            Run(args) => {
                let shown = bench.run(args);
                // Who recorded it first is the one difference.
                let lines = shown.stdout.lines().filter(|line| !line.starts_with("recorded "));
                let stdout = lines.collect::<Vec<_>>().join("\n");
                said.push(format!("{} {stdout} {} {}", args.join(" "), shown.stderr, shown.status));
            }
        }
    }
    let log = bench.ok(&["branch", "list", "--json"]);
    let mut branches: Value = serde_json::from_str(&log).unwrap();
    forget_what_differs(&mut branches);
    let mut root = Vec::new();
    for (path, bytes) in bench.bytes_of(&bench.path("app")) {
        root.push((path.strip_prefix(bench.path("app")).unwrap().display().to_string(), bytes));
    }
    Played { said, branches: branches.to_string(), root }
}

/// Times and ids that were drawn.
fn forget_what_differs(json: &mut Value) {
    match json {
        Value::Object(object) => {
            for key in ["created_at", "id", "at"] {
                object.remove(key);
            }
            object.values_mut().for_each(forget_what_differs);
        }
        Value::Array(array) => array.iter_mut().for_each(forget_what_differs),
        _ => {}
    }
}

#[test]
fn daemon_or_none_a_command_does_and_says_the_same() {
    let alone = played(&[]);
    assert!(alone.said.iter().take(13).all(|said| said.ends_with(" 0")), "{:#?}", alone.said);
    assert_eq!(alone.root, [("f".to_owned(), b"one\n".to_vec())]);
    let served = played(&[&["daemon", "start"]]);
    assert_eq!(served, alone);
    let sampled = played(&[&["daemon", "start", "--file", "f", "--interval", "0.5"]]);
    assert_eq!(sampled, alone);
    let paused = played(&[&["daemon", "start"], &["daemon", "pause"]]);
    assert_eq!(paused, alone);
}

/// A command that finds the store locked by one that ends, or begins, waits and then does it.
#[test]
fn daemon_that_begins_or_ends_meanwhile_makes_no_command_fail() {
    let bench = Bench::new();
    bench.ok(&["init"]);
    for round in 0..6 {
        bench.write("f", &format!("{round}\n"));
        let mut start =
            bench.command().args(["daemon", "start"]).stdout(std::process::Stdio::null()).spawn().unwrap();
        bench.ok(&["snapshot", "create", &format!("during-start-{round}")]);
        start.wait().unwrap();
        let mut stop =
            bench.command().args(["daemon", "stop"]).stdout(std::process::Stdio::null()).spawn().unwrap();
        bench.ok(&["snapshot", "create", &format!("during-stop-{round}")]);
        stop.wait().unwrap();
    }
    wait_until("none is left", || bench.processes().is_empty());
}
