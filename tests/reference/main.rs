//! Random histories against a naive model that replays all facts for every question.
//!
//! `TICKFS_CASES` sets how many are tried. A failure prints the numbers that a history is made of, and its steps.
#![forbid(unsafe_code)]

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use tickfs_store::disk::SimDisk;
use tickfs_tests::compare::{compare, seqs_never_repeat};
use tickfs_tests::model::{At, Change};
use tickfs_tests::session::{Script, Session, Step, directory, file, path};

fn cases(usual: u32) -> u32 {
    std::env::var("TICKFS_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Runs a script to its end; the first difference from the model, in words.
fn run(script: &Script) -> Result<(), String> {
    let disk = SimDisk::default();
    let mut session = Session::new(&disk);
    for (n, step) in script.steps.iter().enumerate() {
        let done = session.step(step);
        match (&done, script.is_refused(n)) {
            (Ok(()), false) => {}
            (Err(tickfs_store::Error::Refused { .. } | tickfs_store::Error::NotFound { .. }), true) => {}
            (_, refused) => return Err(format!("step {n} {step:?} gave {done:?}; refused: {refused}")),
        }
    }
    let differs = |e: tickfs_store::Error| format!("{e:?}");
    let store = session.store().ok_or("no store was made")?;
    compare(store, script.last())?;
    let different = session.writer().ok_or("no writer")?.store().index_differences().map_err(differs)?;
    if !different.is_empty() {
        return Err(format!("the rebuilt index differs: {different:?}"));
    }
    seqs_never_repeat(&disk)
}

#[test]
fn reference_random_histories_are_what_the_model_says() {
    let config = ProptestConfig { cases: cases(64), failure_persistence: None, ..ProptestConfig::default() };
    let histories = prop::collection::vec(any::<u64>(), 0..60);
    let outcome = TestRunner::new(config).run(&histories, |numbers| {
        let script = Script::new(&numbers);
        run(&script).map_err(|difference| {
            let steps: Vec<String> = script.steps.iter().map(|step| format!("{step:?}")).collect();
            TestCaseError::fail(format!("{difference}\n{}\n", steps.join("\n")))
        })
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// A history in which each mutation is one change.
fn history(changes: &[Change]) -> Script {
    let mut script = Script::new(&[]);
    for change in changes {
        script.push(Step::Mutate { now: 2_000_000, changes: vec![change.clone()], refuse: false });
    }
    script
}

fn save(name: &str, text: &str) -> Change {
    Change::Save(path(name), file(text.as_bytes()))
}

fn make_directory(name: &str) -> Change {
    Change::Save(path(name), directory())
}

fn on_main(tick: u64) -> At {
    At { branch: 1, tick }
}

#[test]
fn reference_a_path_cannot_be_renamed_onto_the_directory_that_holds_it() {
    let script = history(&[Change::Rename(path("d/x"), path("d"))]);
    assert!(script.is_refused(2));
    run(&script).unwrap();
}

#[test]
fn reference_the_root_cannot_become_a_file() {
    let script = history(&[save("", "x")]);
    assert!(script.is_refused(2));
    run(&script).unwrap();
}

/// The base is on every branch, but not on one that does not exist.
#[test]
fn reference_the_base_of_a_branch_that_is_none_is_no_point() {
    let nowhere = At { branch: 9, tick: 0 };
    for change in [
        Change::Move(nowhere, Vec::new()),
        Change::Move(on_main(0), vec![(path("a"), nowhere)]),
        Change::CreateBranch("try".to_owned(), nowhere),
        Change::Restore(path("a"), nowhere),
    ] {
        let script = history(&[change]);
        assert!(script.is_refused(2));
        run(&script).unwrap();
    }
}

/// The bytes of the base and of tick 2 are the same and lie in two places.
#[test]
fn reference_restoring_what_is_there_already_is_no_change() {
    run(&history(&[save("a", "other\n"), save("a", "first\n"), Change::Restore(path("a"), on_main(0))]))
        .unwrap();
}

/// A partial path speaks for what is above and below it too: the directories that it needed are there, and what was
/// below it is gone.
#[test]
fn reference_what_a_partial_revert_left_on_disk_is_no_change() {
    let gone_with_its_directory = [
        make_directory("f"),
        save("f/x", "x"),
        Change::Remove(path("f")),
        Change::Move(on_main(4), vec![(path("f/x"), on_main(2))]),
    ];
    run(&history(&[&gone_with_its_directory[..], &[make_directory("f")]].concat())).unwrap();
    run(&history(&[&gone_with_its_directory[..], &[save("f/x", "x")]].concat())).unwrap();
    let without_directory =
        [make_directory("f"), save("f/x", "x"), Change::Move(on_main(2), vec![(path("f"), on_main(0))])];
    run(&history(&[&without_directory[..], &[Change::Remove(path("f/x"))]].concat())).unwrap();
}

/// A clock that is set back after the base does not put the first tick before it, whoever writes it.
#[test]
fn reference_no_tick_is_before_the_base() {
    for reopened in [false, true] {
        let mut script = Script::new(&[]);
        if reopened {
            script.push(Step::Reopen { clean: true });
        }
        script.push(Step::Mutate { now: 500_000, changes: vec![save("a", "x")], refuse: false });
        run(&script).unwrap();
    }
}
