//! Power cuts and kills in every step of the disk, also while the next process recovers.

use tickfs_store::disk::{Cut, SimDisk};
use tickfs_tests::crash::{IndexFate, run_until, steps_of};
use tickfs_tests::session::Script;

use crate::sessions;

/// The cuts that are tried at one step: the extremes, a torn append, and seeds that differ from step to step.
fn cuts(step: u64) -> [Cut; 6] {
    let torn = usize::try_from(step * 37 % 400).unwrap_or(0);
    [
        Cut::LoseUnsynced,
        Cut::Killed { torn: 0 },
        Cut::Killed { torn },
        Cut::Seeded(3 * step),
        Cut::Seeded(3 * step + 1),
        Cut::Seeded(3 * step + 2),
    ]
}

fn fate(step: u64, cut: usize) -> IndexFate {
    let chosen = usize::try_from(step).map_or(0, |step| step + cut);
    IndexFate::ALL[chosen % 3]
}

/// Crashes a script in every step of a disk, with every cut; the first thing that is wrong.
fn crash_everywhere(script: &Script, new: fn() -> SimDisk) -> Result<(), String> {
    for at in 0..=steps_of(script, &new()) {
        let crashed = run_until(script, &new(), at);
        for (n, cut) in cuts(at).into_iter().enumerate() {
            let (fate, again) = (fate(at, n), (at + n as u64).is_multiple_of(2));
            let described =
                |e| format!("step {at} of the disk, {cut:?}, index {fate:?}, again: {again}: {e}");
            crashed.check(cut, fate, again).map_err(described)?;
        }
    }
    Ok(())
}

/// Shows EL-46, EL-48, EL-93: at each step content, journal and index are in this order, the index never holds what
/// was not confirmed, and a mutation that was torn is not there.
#[test]
fn crash_in_every_step_keeps_what_was_confirmed_and_nothing_by_half() {
    for (seed, script) in sessions(2) {
        if let Err(difference) = crash_everywhere(&script, SimDisk::default) {
            panic!("session {seed}: {difference}");
        }
    }
}

/// The test above can fail.
#[test]
fn crash_without_fsync_is_found_to_lose_what_was_confirmed() {
    let script = crate::session(0);
    crash_everywhere(&script, SimDisk::without_fsync).unwrap_err();
    for at in steps_of(&script, &SimDisk::without_fsync()) / 2.. {
        let disk = SimDisk::without_fsync();
        let crashed = run_until(&script, &disk, at);
        crashed.check(Cut::LoseUnsynced, IndexFate::Dropped, false).unwrap_err();
        if disk.steps() <= at {
            break;
        }
    }
}

#[test]
fn crash_during_recovery_loses_nothing_either() {
    for (seed, script) in sessions(1) {
        let steps = steps_of(&script, &SimDisk::default());
        let mut crashes = 0;
        for at in (seed % 4..=steps).step_by(4) {
            let crashed = run_until(&script, &SimDisk::default(), at);
            let n = usize::try_from(at / 4 % 6).unwrap_or(0);
            let (cut, fate) = (cuts(at)[n], fate(at / 4, n));
            let next = cuts(at + 1)[(n + 3) % 6];
            match crashed.check_crashing_again(cut, fate, next) {
                Ok(steps) => crashes += steps,
                Err(e) => panic!("session {seed}, step {at}, {cut:?}, index {fate:?}: {e}"),
            }
        }
        assert!(crashes > 50, "recoveries were crashed {crashes} times in all");
    }
}
