//! Every tick comes back byte for byte, whatever the bytes are; under a recorder too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tickfs_store::Scope;
use tickfs_store::ids::ContentHash;
use tickfs_tracer::files::restore::{self, Commit, destination};
use tickfs_tracer::files::{Options, Recorder};

use crate::desk::{Desk, NOW, QUIET, rel};

/// Shows CV-84, CV-87.
#[test]
fn each_of_two_hundred_random_edits_of_a_long_file_comes_back() {
    let mut random = fastrand::Rng::with_seed(84);
    let mut lines: Vec<String> = (0..5_000).map(|n| format!("line {n} {}", random.u64(..))).collect();
    let desk = Desk::new(&[("long", &lines.join("\n"))]);
    let mut hashes = vec![ContentHash::of(lines.join("\n").as_bytes())];
    for _ in 0..200 {
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..lines.len());
            match random.u8(..3) {
                0 => lines[at] = format!("changed {}", random.u64(..)),
                1 => drop(lines.remove(at)),
                _ => lines.insert(at, format!("new {}", random.u64(..))),
            }
        }
        desk.save("long", &lines.join("\n"));
        hashes.push(ContentHash::of(lines.join("\n").as_bytes()));
    }
    assert_eq!(desk.view().last_tick().0, 200);
    let mut order: Vec<usize> = (0..=200).collect();
    random.shuffle(&mut order);
    for tick in order {
        desk.revert(&format!("main@{tick}")).unwrap();
        let now = ContentHash::of(&std::fs::read(desk.path("long")).unwrap());
        assert_eq!(now, hashes[tick], "tick {tick}");
    }
    assert_eq!(desk.view().last_tick().0, 200, "going back and forth made no tick");
}

/// Shows CV-85.
#[test]
fn every_sequence_of_bytes_comes_back() {
    let far_apart = |word: &str| format!("{word}\n{}{word}\n", "between\n".repeat(40)).into_bytes();
    let mut large = vec![0_u8; 50 << 20];
    fastrand::Rng::with_seed(85).fill(&mut large[..1 << 20]);
    let mut large_changed = large.clone();
    large_changed[40 << 20] = 7;
    let versions: Vec<Vec<u8>> = vec![
        far_apart("first"),
        far_apart("second"),
        b"crlf\r\nline\r\n".to_vec(),
        b"crlf\nline\r\n".to_vec(),
        b"lone\rcr\x0bvt\x0cff\n".to_vec(),
        "separated\u{2028}by\u{2028}lines\n".as_bytes().to_vec(),
        b"no newline at the end".to_vec(),
        b"no newline at the end\n".to_vec(),
        Vec::new(),
        b"+++ a\n--- b\n++ c\n-- d\n@@ -1 +1 @@\n\\ No newline at end of file\n".to_vec(),
        b"--- b\n+++ a\n@@ -0,0 +1 @@\n\\\n".to_vec(),
        b"\0binary\0\xff\xfe\xc3(".to_vec(),
        b"\xc3(\0".to_vec(),
        large,
        large_changed,
    ];
    let desk = Desk::new(&[("a", "base")]);
    for (n, bytes) in versions.iter().enumerate() {
        std::fs::write(desk.path("a"), bytes).unwrap();
        assert_eq!(desk.record(), 1, "version {n}");
    }
    for (n, bytes) in versions.iter().enumerate().rev().chain(versions.iter().enumerate()) {
        desk.revert(&format!("main@{}", n + 1)).unwrap();
        assert!(std::fs::read(desk.path("a")).unwrap() == *bytes, "version {n} differs");
    }
}

fn recorder(desk: &Desk, scope: Scope, interval: Option<Duration>) -> Recorder {
    let options = Options { announce: Arc::new(|_| {}), clock: Arc::new(|| NOW), interval, threads: None };
    Recorder::start(Arc::clone(&desk.writer), scope, options).unwrap()
}

/// Waits until the recorder has looked so many times more.
fn wait_for_samples(recorder: &Recorder, more: u64) {
    let (before, began) = (recorder.status().samples, Instant::now());
    while recorder.status().samples < before + more {
        assert!(began.elapsed() < Duration::from_secs(20), "it looks no more: {:?}", recorder.status());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Shows CV-88.
#[test]
fn a_revert_under_a_recorder_that_samples_makes_no_tick_and_an_unrecorded_edit_makes_one() {
    let desk = Desk::new(&[("a", "zero")]);
    for n in 1..=4 {
        desk.save("a", &format!("save {n}"));
    }
    let scope = Scope { root: desk.root(), files: Some(vec![rel("a")]) };
    let recorder = recorder(&desk, scope, Some(Duration::from_millis(50)));
    let revert = |at: &str| {
        let at = desk.point(at);
        let held = recorder.hold().unwrap();
        let unsaved = held.flushed().ticks.len();
        desk.go(&destination::whole(at), Commit::Move("revert".to_owned()), QUIET).unwrap();
        drop(held);
        wait_for_samples(&recorder, 4);
        unsaved
    };
    for at in ["1", "4", "0", "2", "4"] {
        assert_eq!(revert(at), 0);
        assert_eq!(desk.view().last_tick().0, 4, "a revert to {at} made a tick");
        assert_eq!(desk.view().branches().listed().count(), 1);
    }
    std::fs::write(desk.path("a"), "unsaved").unwrap();
    let unsaved = revert("2");
    assert_eq!(desk.view().last_tick().0, 5, "one tick for the edit ({unsaved} by the revert itself)");
    assert_eq!(std::fs::read_to_string(desk.path("a")).unwrap(), "save 2");
    assert_eq!(desk.stands(), ("main".to_owned(), 2, false));
    recorder.stop().unwrap();
}

/// A move of a whole tree, under a recorder that listens to every change of it.
#[test]
fn moves_under_a_recorder_that_listens_make_no_ticks() {
    let desk = Desk::new(&[("a", "zero"), ("d/b", "zero"), ("e/f/g", "zero")]);
    desk.save("a", "one");
    desk.remove("e");
    desk.remove("d/b");
    desk.write("d/b/now/a/directory", "two");
    desk.record();
    let last = desk.view().last_tick().0;
    let recorder = recorder(&desk, Scope::whole(&desk.root()), None);
    for at in ["main@0", "main@1", "main@HEAD", "main@0", "main@HEAD"] {
        let held = recorder.hold().unwrap();
        desk.go(&destination::whole(desk.point(at)), Commit::Move("revert".to_owned()), QUIET).unwrap();
        drop(held);
        recorder.flush().unwrap();
        assert_eq!(desk.tree(), desk.tree_at(at), "at {at}");
        assert_eq!(desk.view().last_tick().0, last, "at {at}");
    }
    std::fs::write(desk.path("a"), "after").unwrap();
    recorder.flush().unwrap();
    assert_eq!(desk.stands(), ("main".to_owned(), last + 1, true), "it records what comes next");
    recorder.stop().unwrap();
}

/// The recorder that starts after a kill finishes the move before it looks for changes.
#[test]
fn a_recorder_that_starts_after_a_kill_finishes_the_move_first() {
    let desk = Desk::new(&[("a", "zero"), ("b", "zero")]);
    desk.save("a", "one");
    desk.save("b", "one");
    let to = destination::whole(desk.point("0"));
    let seen = std::cell::Cell::new(0);
    // Behind the first file that was put in place, and before the second.
    let step = |done: usize, total: usize| {
        if total > 0 && done + 1 == total {
            seen.set(done);
            std::panic::resume_unwind(Box::new("killed"));
        }
    };
    let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        desk.go(&to, Commit::Move("revert".to_owned()), restore::Step(&step))
    }));
    assert!(killed.is_err() && seen.get() > 0);
    assert!(restore::is_half_way(desk.writer.store()).unwrap());
    let recorder = recorder(&desk, Scope::whole(&desk.root()), None);
    assert_eq!(desk.tree(), desk.tree_at("main@0"));
    assert_eq!((desk.view().last_tick().0, desk.stands()), (2, ("main".to_owned(), 0, false)));
    recorder.stop().unwrap();
}
