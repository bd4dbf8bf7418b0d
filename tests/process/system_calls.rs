//! What strace sees of a mutation.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{new_store, skip, storm};

/// The system calls of each step of `storm steps`, one line each; what was before the first step is called `open`.
fn trace(dir: &Path) -> Option<Vec<(String, Vec<String>)>> {
    let missing = Command::new("strace").arg("-V").output().is_err();
    if skip(missing, "strace is not installed") {
        return None;
    }
    let log = dir.join("strace");
    let calls =
        "openat,write,writev,pwrite64,pwritev,fsync,fdatasync,sync_file_range,rename,renameat,renameat2";
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "64", "-e", &format!("trace={calls}"), "-o"]).arg(&log);
    let output = strace.arg(storm().get_program()).arg("steps").arg(dir).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    if skip(complaint.contains("ptrace"), "strace may not trace here") {
        return None;
    }
    assert!(output.status.success(), "{complaint}");
    let mut steps = vec![("open".to_owned(), Vec::new())];
    for line in fs::read_to_string(&log).unwrap().lines() {
        match line.split_once("\"step ") {
            Some((_, name)) => steps.push((name.split('\\').next().unwrap().to_owned(), Vec::new())),
            None => steps.last_mut().unwrap().1.push(line.to_owned()),
        }
    }
    Some(steps)
}

fn step<'a>(steps: &'a [(String, Vec<String>)], name: &str) -> &'a [String] {
    &steps.iter().find(|(step, _)| step == name).unwrap_or_else(|| panic!("no step {name}")).1
}

/// What each call was, in a word; a call that is of no interest is left out.
fn words(calls: &[String]) -> Vec<&'static str> {
    let word = |call: &String| match () {
        () if call.contains("/packs/") && call.contains(" write(") => Some("write content"),
        () if call.contains("/packs/") && call.contains("sync(") => Some("sync content"),
        () if call.contains("/journal/seg-") && call.contains(" write(") => Some("write journal"),
        () if call.contains("/journal/seg-") && call.contains("fdatasync(") => Some("sync journal"),
        () if call.contains("/index.db") && call.contains("pwrite64(") => Some("write index"),
        () if call.contains("sync") => Some("another sync"),
        () if call.contains("/journal/") => Some("something else in the journal"),
        () => None,
    };
    let mut words: Vec<&str> = calls.iter().filter_map(word).collect();
    // The index writes page by page.
    words.dedup_by(|a, b| a == b && *a == "write index");
    words
}

/// Shows EL-07, EL-08, EL-46, EL-49, EL-50, EL-79.
#[test]
fn crash_process_a_mutation_is_one_write_and_one_sync_in_the_right_order() {
    let temp = tempfile::tempdir().unwrap();
    drop(new_store(temp.path()));
    let Some(steps) = trace(temp.path()) else { return };
    let opened =
        step(&steps, "open").iter().filter(|call| call.contains("openat(") && call.contains("/seg-"));
    let for_writing: Vec<&String> = opened.filter(|call| !call.contains("O_RDONLY")).collect();
    assert!(!for_writing.is_empty());
    assert!(for_writing.iter().all(|call| call.contains("O_APPEND")), "{for_writing:?}");

    let after_content = ["sync content", "write journal", "sync journal", "write index"];
    let save = [["write content"].as_slice(), &after_content].concat();
    assert_eq!(words(step(&steps, "save")), save, "{:#?}", step(&steps, "save"));
    let burst = [["write content"; 5].as_slice(), &after_content].concat();
    assert_eq!(words(step(&steps, "burst")), burst, "{:#?}", step(&steps, "burst"));
    let observe = step(&steps, "observe");
    assert_eq!(words(observe), ["write journal", "write index"], "{observe:#?}");

    let journal = fs::read_to_string(temp.path().join("store/journal/seg-00000001.jsonl")).unwrap();
    let burst = journal.lines().filter(|line| line.contains("\"burst\":3") || line.contains("\"n\":3,"));
    assert_eq!(burst.count(), 5, "the burst is five records");
}

/// Shows EL-51.
#[test]
fn crash_process_fsync_never_syncs_nothing_at_all() {
    let temp = tempfile::tempdir().unwrap();
    let store = new_store(temp.path());
    fs::write(store.layout().config(), "[store.journal]\nfsync = \"never\"\n").unwrap();
    drop(store);
    let Some(steps) = trace(temp.path()) else { return };
    for name in ["save", "burst", "observe"] {
        assert!(words(step(&steps, name)).contains(&"write journal"), "{name}");
    }
    let is_sync = |call: &&String| call.contains("sync(") || call.contains("sync_file_range(");
    let synced: Vec<&String> = steps.iter().flat_map(|(_, calls)| calls).filter(is_sync).collect();
    assert!(synced.is_empty(), "{synced:#?}");
}
