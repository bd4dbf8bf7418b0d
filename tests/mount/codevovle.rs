//! `codevovle/`: the specification's own layout, byte for byte where it gives bytes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tickfs_store::history::Stand;
use tickfs_store::ids::{BranchNo, Tick};
use tickfs_tests::mount::{Mounted, Project, rel, skipped};

use crate::layout::names;

fn read(mounted: &Mounted, name: &str) -> Value {
    let path = mounted.path("codevovle").join(name);
    serde_json::from_slice(&fs::read(&path).unwrap_or_else(|e| panic!("{name}: {e}"))).unwrap()
}

/// Every name below the layout, in order.
fn found(mounted: &Mounted) -> Vec<String> {
    fn walk(dir: &Path, below: &str, all: &mut Vec<String>) {
        for name in names(dir) {
            let path = format!("{below}{name}");
            if dir.join(&name).is_dir() {
                walk(&dir.join(&name), &format!("{path}/"), all);
            } else {
                all.push(path);
            }
        }
    }
    let mut all = Vec::new();
    walk(&mounted.path("codevovle"), "", &mut all);
    all
}

/// Applies a diff to a text as anybody would; `None` without `patch`.
fn patched(project: &Project, text: &[u8], diff: &Path) -> Option<Vec<u8>> {
    let work = project.scratch().join("to-patch");
    fs::write(&work, text).unwrap();
    let run = |dry: bool| {
        let mut patch = Command::new("patch");
        patch.args(["--quiet", "--force"]).args(dry.then_some("--dry-run")).arg(&work).arg(diff);
        patch.output()
    };
    let Ok(dry) = run(true) else {
        skipped("patch is not installed");
        return None;
    };
    assert!(dry.status.success(), "{}: {}", diff.display(), String::from_utf8_lossy(&dry.stdout));
    assert!(run(false).unwrap().status.success());
    Some(fs::read(&work).unwrap())
}

/// Shows CV-20, CV-21, CV-23, CV-24, CV-144, CV-145, CV-146, CV-170.
#[test]
fn one_file_has_the_layout_of_the_specification() {
    let project = Project::new(&[("app.py", "one\n")]);
    let Some(mounted) = project.mount() else { return };
    let before = ["branches/main.json", "config.json", "snapshots/base.txt", "state.json"];
    assert_eq!(found(&mounted), before);
    assert_eq!(read(&mounted, "config.json")["app.py"]["last_tick"], Value::Null);
    assert_eq!(read(&mounted, "state.json")["cursor"]["app.py"]["current_tick"], Value::Null);
    project.save("app.py", "one\ntwo\n");
    project.save("app.py", "one\ntwo\nthree\n");
    let after = [
        "branches/main.json",
        "config.json",
        "diffs/1.diff",
        "diffs/2.diff",
        "snapshots/base.txt",
        "state.json",
    ];
    assert_eq!(found(&mounted), after);
}

/// Shows CV-15, CV-147, CV-150, CV-151, CV-152, CV-153, CV-172, CV-173, CV-174.
#[test]
fn each_tick_is_named_by_every_view_once_it_was_announced() {
    let project = Project::new(&[("a.py", "a\n"), ("src/b.py", "b\n"), ("c", "c\n")]);
    let Some(mounted) = project.mount() else { return };
    for round in 1..=12_u64 {
        let name = ["a.py", "src/b.py", "c"][usize::try_from(round % 3).unwrap()];
        let tick = project.save(name, format!("{name} {round}\n"));
        assert_eq!(tick, Tick(round));
        let state = read(&mounted, "state.json");
        assert_eq!(state["global_tick_counter"], round);
        assert_eq!(state["cursor"][name], json!({ "active_branch": "main", "current_tick": round }));
        let config = read(&mounted, "config.json");
        assert_eq!(config[name]["file_path"], name);
        assert_eq!(
            (&config[name]["last_tick"], &config[name]["active_branch"]),
            (&json!(round), &json!("main"))
        );
        let chain = read(&mounted, &format!("{name}/branches/main.json"))["diff_chain"].clone();
        assert_eq!(chain.as_array().unwrap().last(), Some(&json!(round)));
        assert!(fs::metadata(mounted.path(&format!("codevovle/{name}/diffs/{round}.diff"))).is_ok());
    }
    let all = read(&mounted, "config.json");
    assert_eq!(all.as_object().unwrap().keys().collect::<Vec<_>>(), ["a.py", "c", "src/b.py"]);
}

/// Shows CV-149, CV-155, CV-156, CV-157, CV-158, CV-159, CV-160, CV-161, CV-162.
#[test]
fn a_branch_is_one_object_that_names_its_chain() {
    let project = Project::new(&[("app.py", "one\n")]);
    let Some(mounted) = project.mount() else { return };
    for text in ["two\n", "three\n", "four\n"] {
        project.save("app.py", text);
    }
    project.mutate(|m| {
        m.move_cursor(Stand { branch: BranchNo::MAIN, tick: Tick(2), partial: Vec::new() }, "revert")
    });
    project.save("app.py", "forked\n");
    assert_eq!(names(&mounted.path("codevovle/branches")), ["main-1.json", "main.json"]);
    let (main, fork) = (read(&mounted, "branches/main.json"), read(&mounted, "branches/main-1.json"));
    assert_eq!((&main["label"], &fork["label"]), (&json!("main"), &json!("main-1")));
    assert_eq!((&main["parent"], &fork["parent"]), (&Value::Null, &json!("main")));
    assert_eq!((&main["forked_at_tick"], &fork["forked_at_tick"]), (&Value::Null, &json!(2)));
    assert_eq!((&main["diff_chain"], &fork["diff_chain"]), (&json!([1, 2, 3]), &json!([1, 2, 4])));
    let id = |branch: &Value| branch["id"].as_str().unwrap().to_owned();
    for branch in [&main, &fork] {
        let parts: Vec<usize> = id(branch).split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{}", id(branch));
        let made = branch["created_at"].as_str().unwrap();
        assert_eq!(tickfs_store::ids::UnixMillis::from_iso(made).unwrap().to_iso(), made);
        assert!(branch.as_object().unwrap().contains_key("description"));
    }
    assert_ne!(id(&main), id(&fork));
    assert_eq!(read(&mounted, "config.json")["app.py"]["active_branch"], "main-1");
    assert_eq!(read(&mounted, "state.json")["cursor"]["app.py"]["active_branch"], "main-1");
    project.mutate(|m| m.rename_branch("main", "trunk"));
    assert_eq!(names(&mounted.path("codevovle/branches")), ["main-1.json", "trunk.json"]);
    assert_eq!(read(&mounted, "branches/main-1.json")["parent"], "trunk");
    assert_eq!(id(&read(&mounted, "branches/trunk.json")), id(&main));
}

/// Shows CV-22, CV-164, CV-165, CV-166, CV-167, CV-168.
#[test]
fn the_base_and_the_diffs_make_every_version() {
    let text = |n: usize| {
        (0..40).map(move |line| format!("line {line} {}\n", if line % 9 == n % 9 { n } else { 0 }))
    };
    let project = Project::new(&[("app.py", &text(0).collect::<String>())]);
    let Some(mounted) = project.mount() else { return };
    let versions: Vec<String> = (1..8).map(|n| text(n).skip(n % 3).collect()).collect();
    for version in &versions {
        project.save("app.py", version);
    }
    let base = mounted.path("codevovle/snapshots/base.txt");
    let first = fs::read(&base).unwrap();
    assert_eq!(first, text(0).collect::<String>().into_bytes());
    let mut at = first.clone();
    for (n, version) in (1..).zip(&versions) {
        let diff = mounted.path(&format!("codevovle/diffs/{n}.diff"));
        let head = format!("--- a/.codevovle/snapshots/base.txt\n+++ b/.codevovle/diffs/{n}.diff\n@@ -");
        assert!(fs::read_to_string(&diff).unwrap().starts_with(&head));
        counts_match(&fs::read_to_string(&diff).unwrap());
        let Some(next) = patched(&project, &at, &diff) else { return };
        assert_eq!(next, version.as_bytes(), "tick {n}");
        at = next;
    }
    assert_eq!(fs::read(&base).unwrap(), first, "the base never changes");
    // A file that joins later begins with nothing and one tick that holds all of it.
    let bytes: Vec<u8> = (0..=255).cycle().take(3_000).collect();
    let tick = project.save("picture", &bytes);
    assert_eq!(fs::read(mounted.path("codevovle/picture/snapshots/base.txt")).unwrap(), b"");
    let diff = fs::read_to_string(mounted.path(&format!("codevovle/picture/diffs/{tick}.diff"))).unwrap();
    assert!(diff.contains("differ"), "{diff}");
    assert_eq!(fs::read(mounted.path("now/picture")).unwrap(), bytes);
    assert_eq!(fs::read(mounted.path("codevovle/app.py/snapshots/base.txt")).unwrap(), first);
    let plain = project.save("later.txt", "all of it\n");
    let created = mounted.path(&format!("codevovle/later.txt/diffs/{plain}.diff"));
    assert_eq!(patched(&project, b"", &created).unwrap(), b"all of it\n");
}

/// Each hunk has as many lines as its header says.
fn counts_match(diff: &str) {
    let mut lines = diff.lines().skip(2).peekable();
    while let Some(header) = lines.next() {
        let count = |mark: char| {
            let range = header.split(' ').find(|part| part.starts_with(mark)).unwrap();
            range.split_once(',').map_or(1, |(_, count)| count.parse::<usize>().unwrap())
        };
        let (mut old, mut new) = (0, 0);
        while let Some(line) = lines.next_if(|line| !line.starts_with("@@ ")) {
            old += usize::from(line.starts_with([' ', '-']));
            new += usize::from(line.starts_with([' ', '+']));
        }
        assert_eq!((old, new), (count('-'), count('+')), "{header}");
    }
}

/// A binary base is the bytes that were there.
#[test]
fn a_binary_base_is_byte_exact() {
    let project = Project::without_base();
    let bytes: Vec<u8> = (0..=255).rev().cycle().take(70_000).collect();
    project.put_base(vec![(rel("picture"), bytes.clone())]);
    let Some(mounted) = project.mount() else { return };
    assert_eq!(fs::read(mounted.path("codevovle/snapshots/base.txt")).unwrap(), bytes);
}

/// Shows CV-169.
#[test]
fn the_example_applies_to_its_file() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let project = Project::without_base();
    let text = fs::read(examples.join("sample.txt")).unwrap();
    let diff = fs::read_to_string(examples.join("sample.diff")).unwrap();
    counts_match(&diff);
    let Some(after) = patched(&project, &text, &examples.join("sample.diff")) else { return };
    assert!(String::from_utf8(after).unwrap().contains("hello {name}"));
}

/// A reader that polls while ticks arrive never meets half a file.
#[test]
fn views_are_whole_at_every_instant() {
    let project = Project::new(&[("app.py", "one\n"), ("b", "b")]);
    let Some(mounted) = project.mount() else { return };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let poll = scope.spawn(|| {
            let mut last = 0;
            let mut polls = 0;
            while !done.load(Ordering::SeqCst) {
                let counter = read(&mounted, "state.json")["global_tick_counter"].as_u64().unwrap();
                assert!(counter >= last, "the counter went back from {last} to {counter}");
                last = counter;
                let config = read(&mounted, "config.json");
                assert_eq!(config.as_object().unwrap().len(), 2);
                polls += 1;
            }
            polls
        });
        for round in 0..200 {
            project.save("app.py", format!("round {round}\n"));
        }
        done.store(true, Ordering::SeqCst);
        assert!(poll.join().unwrap() > 3);
    });
}
