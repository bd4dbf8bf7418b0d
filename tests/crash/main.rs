//! The disk crashes or fails in every step of a session; what was confirmed is there, and nothing is there by half.
//!
//! `TICKFS_CASES` sets how many random sessions are tried, beside the scripted one. A failure prints the session, the
//! step of the disk and the cut that reproduce it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "every file here is part of a test")]

mod faults;
mod found;
mod power;

use tickfs_tests::model::{At, Change};
use tickfs_tests::session::{Script, Step, file, path};

/// The sessions that every test of the family runs: seed 0 is the scripted one.
fn sessions(usual: u64) -> Vec<(u64, Script)> {
    let count = std::env::var("TICKFS_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    (0..count).map(|seed| (seed, session(seed))).collect()
}

fn session(seed: u64) -> Script {
    match seed {
        0 => scripted(),
        _ => Script::seeded(seed, 8),
    }
}

/// One of everything that the store writes, and what has gone wrong with it before.
fn scripted() -> Script {
    let mut script = Script::new(&[]);
    let at = |tick| At { branch: 1, tick };
    let save = |name: &str, bytes: &[u8]| Change::Save(path(name), file(bytes));
    let mutate = |changes: Vec<Change>| Step::Mutate { now: 2_000_000, changes, refuse: false };
    let long = "entity ".repeat(12_000);
    for step in [
        mutate(vec![save("a", b"second\n")]),
        mutate(vec![save("a", b"third\n"), save("b", b"new\n"), Change::Remove(path("d"))]),
        Step::Note { now: 2_000_000, len: 10 },
        Step::Note { now: 2_000_000, len: 70_000 },
        Step::Reopen { clean: false },
        mutate(vec![Change::Rename(path("b"), path("c"))]),
        mutate(vec![Change::PutEntity("one".to_owned(), long)]),
        Step::Reopen { clean: true },
        mutate(vec![Change::Move(at(1), vec![(path("d/x"), at(0))])]),
        Step::LoseIndex,
        mutate(vec![save("a", b"forked\n")]),
        mutate(vec![Change::Restore(path("b"), at(3))]),
    ] {
        script.push(step);
    }
    script
}
