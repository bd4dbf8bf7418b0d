//! A move that is killed before each of its steps, and what the next command makes of it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use tickfs_store::history::Stand;
use tickfs_tracer::files::restore::{Commit, Recovered, STAGING_PREFIX, Step, destination};

use crate::desk::Desk;

struct Killed;

/// A root in which a move back to the base has everything to do that there is.
fn sample() -> Desk {
    let desk = Desk::new(&[
        ("same", "same"),
        ("changed", "old"),
        ("gone/deep/file", "back"),
        ("file", "was a file"),
    ]);
    desk.write("changed", "new");
    desk.remove("gone");
    desk.write("added/deep/file", "away");
    desk.remove("file");
    desk.write("file/is/a/directory", "now");
    std::os::unix::fs::symlink("changed", desk.path("link")).unwrap();
    desk.record();
    desk
}

/// Runs the move until its step number `last`, and then ends as a kill does: nothing is cleaned up.
fn run_until(desk: &Desk, to: &Stand, commit: &Commit, last: usize) -> bool {
    let steps = Cell::new(0);
    let step = |_: usize, _: usize| {
        if steps.get() == last {
            resume_unwind(Box::new(Killed));
        }
        steps.set(steps.get() + 1);
    };
    let ran = catch_unwind(AssertUnwindSafe(|| desk.go(to, commit.clone(), Step(&step))));
    match ran {
        Ok(done) => {
            done.unwrap();
            true
        }
        Err(why) => {
            assert!(why.is::<Killed>(), "the move panicked by itself");
            false
        }
    }
}

pub(crate) fn has_traces(desk: &Desk) -> bool {
    let mut names = std::fs::read_dir(desk.root()).unwrap().map(|entry| entry.unwrap().file_name());
    names.any(|name| name.to_string_lossy().starts_with(STAGING_PREFIX))
        || desk.writer.store().layout().intent().exists()
}

fn kill_at_every_step(make: impl Fn(&Desk) -> (Stand, Commit), finished: &str) {
    for last in 0.. {
        let desk = sample();
        let before = desk.tree();
        let stood = desk.stands();
        let (to, commit) = make(&desk);
        if run_until(&desk, &to, &commit, last) {
            assert!(last > 20, "only {last} steps were counted");
            assert!(!has_traces(&desk));
            return;
        }
        let recovered = desk.recover();
        assert!(!has_traces(&desk), "traces after a kill at step {last}");
        match recovered {
            None | Some(Recovered::Forgotten) => {
                assert_eq!((desk.tree(), desk.stands()), (before, stood), "step {last}")
            }
            Some(Recovered::Finished { .. }) => {
                assert_eq!(desk.tree(), desk.tree_at(finished), "step {last}");
            }
            Some(Recovered::TakenBack { why }) => panic!("step {last} was taken back: {why}"),
        }
        assert_eq!(desk.record(), 0, "after a kill at step {last} the root is not as the cursor says");
        assert_eq!(desk.recover(), None);
    }
}

#[test]
fn a_revert_that_is_killed_at_any_step_is_finished_or_forgotten() {
    let to = |desk: &Desk| (destination::whole(desk.point("main@0")), Commit::Move("revert".to_owned()));
    kill_at_every_step(to, "main@0");
}

#[test]
fn a_restore_that_is_killed_at_any_step_is_finished_or_forgotten() {
    let to = |desk: &Desk| {
        let mut stand = desk.view().stand().unwrap();
        for path in ["changed", "gone/deep/file", "file", "added/deep/file", "added/deep", "added", "link"] {
            let at = desk.point("main@0");
            stand = destination::one_path(&desk.view(), &stand, &crate::desk::rel(path), at).unwrap();
        }
        (stand, Commit::Forward)
    };
    kill_at_every_step(to, "main@HEAD");
}

/// Whatever a person writes between the kill and the next command is theirs.
#[test]
fn what_was_changed_after_the_kill_is_not_overwritten() {
    for last in 0.. {
        let desk = sample();
        let to = destination::whole(desk.point("main@0"));
        if run_until(&desk, &to, &Commit::Move("revert".to_owned()), last) {
            return;
        }
        desk.write("changed", "mine");
        desk.write("added/mine", "mine too");
        if desk.path("file").is_dir() {
            desk.write("file/is/mine", "and mine");
        }
        let in_the_directory = desk.path("file/is/mine").exists();
        let recovered = desk.recover();
        let text = |path: &str| std::fs::read_to_string(desk.path(path)).unwrap_or_default();
        assert_eq!(text("changed"), "mine", "step {last}: {recovered:?}");
        assert_eq!(text("added/mine"), "mine too", "step {last}: {recovered:?}");
        assert!(!in_the_directory || text("file/is/mine") == "and mine", "step {last}: {recovered:?}");
        assert!(!has_traces(&desk), "step {last}");
        desk.record();
        let kept = desk.tree_at("HEAD");
        assert_eq!(kept["changed"], "644 mine", "step {last}: it is recorded as the next change");
        assert_eq!(desk.tree(), kept, "step {last}: {recovered:?}");
    }
}

/// A second kill, while the first is being recovered from.
#[test]
fn a_recovery_that_is_killed_is_recovered_from() {
    for first in (0..40).step_by(7) {
        for second in (0..30).step_by(3) {
            let desk = sample();
            let before = desk.tree();
            let to = destination::whole(desk.point("main@0"));
            if run_until(&desk, &to, &Commit::Move("revert".to_owned()), first) {
                return;
            }
            let steps = Cell::new(0);
            let step = |_: usize, _: usize| {
                if steps.get() == second {
                    resume_unwind(Box::new(Killed));
                }
                steps.set(steps.get() + 1);
            };
            let root = desk.root();
            let place = desk.place(&root, Step(&step));
            let ran = catch_unwind(AssertUnwindSafe(|| tickfs_tracer::files::restore::recover(place)));
            if ran.is_ok() {
                break;
            }
            desk.recover();
            let now = desk.tree();
            assert!(now == before || now == desk.tree_at("main@0"), "kills at {first} and {second}");
            assert_eq!(desk.record(), 0, "kills at {first} and {second}");
            assert!(!has_traces(&desk));
        }
    }
}

/// Many files are made durable together, and none before the others: also there a kill leaves nothing half done.
#[test]
fn a_revert_of_a_thousand_files_that_is_killed_is_finished_or_forgotten() {
    let name = |n: usize| format!("d{}/f{n}", n % 10);
    for last in [700, 1_002, 1_900, 2_600, 3_003] {
        let desk = Desk::new(&[("same", "same")]);
        (0..1_000).for_each(|n| desk.write(&name(n), &format!("first {n}")));
        desk.record();
        (0..1_000).filter(|n| n % 2 == 0).for_each(|n| desk.write(&name(n), &format!("second {n}")));
        (0..1_000).filter(|n| n % 2 == 1).for_each(|n| desk.remove(&name(n)));
        let first = desk.view().last_tick();
        desk.record();
        let (before, stood) = (desk.tree(), desk.stands());
        let to = destination::whole(desk.point(&first.to_string()));
        assert!(!run_until(&desk, &to, &Commit::Move("revert".to_owned()), last), "it had {last} steps");
        match desk.recover() {
            None | Some(Recovered::Forgotten) => assert_eq!((desk.tree(), desk.stands()), (before, stood)),
            Some(Recovered::Finished { .. }) => {
                assert_eq!(desk.tree(), desk.tree_at(&format!("main@{first}")), "step {last}");
            }
            Some(Recovered::TakenBack { why }) => panic!("step {last} was taken back: {why}"),
        }
        assert!(!has_traces(&desk));
        assert_eq!(desk.record(), 0);
    }
}
