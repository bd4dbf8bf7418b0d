//! The lock between processes, and what stands without it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tickfs_store::Error;
use tickfs_store::ids::Seq;
use tickfs_store::journal::entry;

use crate::{Running, new_store, put, seqs, storm, who, writer};

/// Shows EL-06, EL-13, EL-84.
#[test]
fn crash_process_eight_processes_of_a_thousand_mutations_share_one_order() {
    let temp = quick_dir();
    let store = new_store(temp.path());
    let start = |process: u64| {
        let mut command = storm();
        command.arg("mutate").arg(temp.path()).args(["--count", "1000", "--id"]).arg(format!("p{process}"));
        Running::start(&mut command)
    };
    let running: Vec<Running> = (0..8).map(start).collect();
    running.into_iter().for_each(Running::succeeds);
    let (found, report) = seqs(&store);
    assert!(found.iter().copied().eq(1..=8000), "{} seqs, the last {:?}", found.len(), found.last());
    assert_eq!((report.duplicates, report.missing, report.skipped()), (0, 0, 0));
    let writer = writer(&store);
    assert_eq!(writer.store().index_differences().unwrap(), Vec::<String>::new());
    let entities = store.view().unwrap().all_entities().unwrap();
    assert_eq!(entities.len(), 8);
    assert!(entities.iter().all(|row| row.body.contains("1000")), "{entities:?}");
}

/// In memory if there is such a place: an order does not depend on the medium, and 8,000 commands of several fsyncs each
/// would wait for it.
fn quick_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Shows EL-34.
#[test]
fn crash_process_appends_without_a_lock_stand_one_behind_the_other() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("segment");
    File::create(&path).unwrap();
    let start = |process: u64| {
        let first = (process * 10_000 + 1).to_string();
        let mut command = storm();
        command.arg("append").arg(&path).args(["--count", "10000", "--first", &first]);
        Running::start(&mut command)
    };
    let running: Vec<Running> = (0..8).map(start).collect();
    running.into_iter().for_each(Running::succeeds);
    let bytes = fs::read(&path).unwrap();
    let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let mut found: Vec<u64> = lines.map(|line| entry::decode(line).unwrap().seq.0).collect();
    assert_eq!(found.len(), 80_000);
    assert!(!found.is_sorted(), "the processes ran one after the other, so nothing was shown");
    found.sort_unstable();
    assert!(found.into_iter().eq(1..=80_000));
}

/// Shows EL-44, EL-45, EL-94.
#[test]
fn crash_process_a_stopped_owner_is_named_and_a_dead_one_leaves_the_lock_at_once() {
    let temp = tempfile::tempdir().unwrap();
    let store = new_store(temp.path());
    let said = temp.path().join("said");
    let mut command = storm();
    command.arg("write").arg(temp.path()).stdout(Stdio::from(File::create(&said).unwrap()));
    let owner = Running::start(&mut command);
    let end = Instant::now() + Duration::from_secs(60);
    while fs::metadata(&said).unwrap().len() == 0 {
        assert!(Instant::now() < end, "nothing was confirmed");
        thread::sleep(Duration::from_millis(1));
    }
    let pid = owner.0.id();
    kill_process(Pid::from_child(&owner.0), Signal::STOP).unwrap();
    wait_until_stopped(pid);
    let before = journal_len(&store);
    match store.writer(who(), Duration::from_millis(200)) {
        Err(Error::Locked { holder }) => assert_eq!(holder, format!("process {pid} (storm)")),
        other => panic!("{other:?}"),
    }
    assert_eq!(journal_len(&store), before, "something was appended without the lock");
    let waiter = thread::spawn({
        let store = store.clone();
        move || {
            let writer = store.writer(who(), Duration::from_secs(60)).unwrap();
            let got_it = Instant::now();
            put(&writer, "after", 1).unwrap();
            got_it
        }
    });
    thread::sleep(Duration::from_millis(200));
    assert!(!waiter.is_finished(), "a stopped owner still owns the lock");
    let killed = Instant::now();
    drop(owner);
    let waited = waiter.join().unwrap().duration_since(killed);
    assert!(waited < Duration::from_secs(5), "the next writer waited {waited:?}");
    let (found, report) = seqs(&store);
    assert!(found.is_sorted_by(|a, b| a < b));
    assert_eq!((report.duplicates, report.missing, report.skipped()), (0, 0, 0));
    assert_eq!(store.index_differences().unwrap(), Vec::<String>::new());
}

fn wait_until_stopped(pid: u32) {
    let stopped = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ");
    while !stopped() {
        thread::sleep(Duration::from_millis(1));
    }
}

fn journal_len(store: &tickfs_store::Store) -> u64 {
    fs::metadata(store.layout().journal().join("seg-00000001.jsonl")).unwrap().len()
}

/// Shows EL-94: the part of it that is about a seq which occurs twice all the same.
#[test]
fn crash_process_a_seq_that_was_doubled_by_hand_is_reported() {
    let temp = tempfile::tempdir().unwrap();
    let store = new_store(temp.path());
    let by_first = writer(&store);
    (1..=5).for_each(|count| put(&by_first, "a", count).unwrap());
    by_first.close().unwrap();
    let segment = store.layout().journal().join("seg-00000001.jsonl");
    let text = fs::read_to_string(&segment).unwrap();
    let third = text.lines().find(|line| line.contains("\"seq\":3,")).unwrap();
    let file = File::options().write(true).open(&segment).unwrap();
    file.write_all_at(format!("\n{third}\n").as_bytes(), text.len() as u64).unwrap();
    let by_second = writer(&store);
    assert_eq!(by_second.next_seq(), Seq(6));
    put(&by_second, "a", 6).unwrap();
    let (found, report) = seqs(&store);
    assert_eq!(found, [1, 2, 3, 4, 5, 6]);
    assert_eq!((report.duplicates, report.missing, report.skipped()), (1, 0, 0));
}
