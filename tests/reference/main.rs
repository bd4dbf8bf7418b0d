//! Random histories against a naive model that replays all facts for every question.
//!
//! `TICKFS_CASES` sets how many are tried. A failure prints the numbers that a history is made of, and its steps.
#![forbid(unsafe_code)]

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use tickfs_store::Mutation;
use tickfs_store::disk::SimDisk;
use tickfs_store::history::Point;
use tickfs_store::ids::{BranchNo, Tick, UnixMillis};
use tickfs_store::journal::entry::{self, ItemType};
use tickfs_tests::compare::{compare, seqs_never_repeat};
use tickfs_tests::model::{At, Change};
use tickfs_tests::session::{Script, Session, Step, directory, file, path, payload, segments};

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

/// Shows EL-85, EL-97: the same history with clocks that stand still, and that go back by an hour and by a day, is the
/// same history. Only the times of the ticks differ, and they never go back.
#[test]
fn reference_no_clock_reorders_history() {
    let day = 86_400_000;
    let equal = |_| 5_000_000;
    let hours_back = |n: i64| 5_000_000 + n % 2 * 3_600_000;
    let days_back = |n: i64| 5_000_000 + (n % 3) * day;
    let clocks: [&dyn Fn(i64) -> i64; 3] = [&equal, &hours_back, &days_back];
    for clock in clocks {
        let mut script = Script::new(&[]);
        for (n, name) in (0..60).zip(["a", "b", "d/x"].into_iter().cycle()) {
            let change = save(name, &format!("version {n}"));
            script.push(Step::Mutate { now: clock(n), changes: vec![change], refuse: false });
        }
        script.push(Step::LoseIndex);
        run(&script).unwrap();
    }
}

/// Shows EL-97: 1,000 events of one moment.
#[test]
fn reference_a_thousand_events_of_one_moment_keep_their_order() {
    let mut session = Session::new(&SimDisk::default());
    let script = Script::new(&[]);
    script.steps.iter().try_for_each(|step| session.step(step)).unwrap();
    for n in 0..1_000 {
        let (name, node) = (path("a"), file(n.to_string().as_bytes()));
        let step = Step::Mutate { now: 7_000_000, changes: vec![Change::Save(name, node)], refuse: false };
        session.step(&step).unwrap();
    }
    session.step(&Step::LoseIndex).unwrap();
    let view = session.store().unwrap().view().unwrap();
    for n in 0..1_000 {
        let tree = view.tree(Point { branch: BranchNo::MAIN, tick: Tick(n + 1) }).unwrap();
        let entry = tree.resolve(&path("a")).unwrap().unwrap();
        assert_eq!(tree.read(&entry.version).unwrap(), n.to_string().as_bytes());
    }
}

/// Shows EL-84: eight threads that write 1,000 records each are given the seqs that follow, each once.
#[test]
fn reference_many_writers_at_once_use_each_seq_once() {
    let disk = SimDisk::default();
    let mut session = Session::new(&disk);
    Script::new(&[]).steps.iter().try_for_each(|step| session.step(step)).unwrap();
    let writer = session.writer().unwrap();
    let before = writer.end().seq.0;
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for n in 0..1_000 {
                    let text = format!("{thread}/{n}");
                    let put =
                        move |m: &mut Mutation<'_>| m.put_entity(&ItemType::HANDOFF, "one", &payload(&text));
                    writer.mutate(UnixMillis(1), put).unwrap();
                }
            });
        }
    });
    let mut seqs = Vec::new();
    for segment in segments(&disk) {
        let bytes = disk.read(&segment).unwrap();
        seqs.extend(bytes.split(|&b| b == b'\n').filter_map(|line| Some(entry::decode(line).ok()?.seq.0)));
    }
    assert_eq!(seqs, (1..=before + 8_000).collect::<Vec<_>>());
}
