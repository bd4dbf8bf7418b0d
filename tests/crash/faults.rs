//! Operations that fail in every step, and a disk that is full: the mutation fails, and nothing else is lost.

use std::io::ErrorKind;

use tickfs_store::disk::{Cut, Fault, SimDisk};
use tickfs_store::{Error, Result};
use tickfs_tests::compare::{compare_briefly, seqs_never_repeat};
use tickfs_tests::crash::steps_of;
use tickfs_tests::session::{Script, Session};

use crate::sessions;

/// What was met on the way through a script.
#[derive(Debug, Default)]
struct Met {
    failed: u64,
    poisoned: u64,
    full: u64,
}

/// Runs a script through whatever its disk does: what fails is done again, after `mend`, and after a failed sync on a
/// store that was opened anew. After each failure the store must say what it said before.
fn run_through(script: &Script, disk: &SimDisk, mend: impl Fn(&SimDisk)) -> std::result::Result<Met, String> {
    let mut session = Session::new(disk);
    let mut met = Met::default();
    for (n, step) in script.steps.iter().enumerate() {
        let mut done = session.step(step);
        let mut tries = 0;
        while let Some(error) = failure(&done, script.is_refused(n)) {
            met.failed += 1;
            met.full += u64::from(says_full(error));
            tries += 1;
            if tries > 3 {
                return Err(format!("step {n} {step:?} goes on failing: {error:?}"));
            }
            let describe = |e: String| format!("after step {n} failed with {error:?}: {e}");
            if let Some(store) = session.store() {
                compare_briefly(store, &script.models[n]).map_err(describe)?;
            }
            mend(disk);
            if is_done_all_the_same(&mut session, script, n, error, &mut met).map_err(describe)? {
                done = Ok(());
                break;
            }
            done = session.step(step);
        }
        if done.is_err() != script.is_refused(n) {
            return Err(format!("step {n} {step:?} gave {done:?}"));
        }
    }
    let store = session.store().ok_or("it is not open")?;
    compare_briefly(store, script.last())?;
    seqs_never_repeat(disk)?;
    Ok(met)
}

/// The error that is not the refusal which the script expects.
fn failure(done: &Result<()>, refused: bool) -> Option<&Error> {
    let error = done.as_ref().err()?;
    let expected = refused && matches!(error, Error::Refused { .. } | Error::NotFound { .. });
    (!expected).then_some(error)
}

fn says_full(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == ErrorKind::StorageFull)
}

/// After a failed sync nobody knows, so the next writer looks: the mutation is there or it is not.
fn is_done_all_the_same(
    session: &mut Session,
    script: &Script,
    n: usize,
    error: &Error,
    met: &mut Met,
) -> std::result::Result<bool, String> {
    if !matches!(error, Error::Poisoned { .. }) {
        return Ok(false);
    }
    met.poisoned += 1;
    if session.store().is_some() {
        match session.step(&script.steps[n]) {
            Err(Error::Poisoned { .. }) => {}
            other => return Err(format!("a poisoned writer went on: {other:?}")),
        }
    }
    session.drop_writer();
    match session.open().map(drop) {
        Ok(()) => {}
        Err(Error::NotFound { .. }) => return Ok(false),
        Err(error) => return Err(format!("it does not open: {error:?}")),
    }
    let store = session.store().ok_or("it is not open")?;
    let Err(not_as_before) = compare_briefly(store, &script.models[n]) else { return Ok(false) };
    match compare_briefly(store, &script.models[n + 1]) {
        Ok(()) => Ok(true),
        Err(not_as_after) => Err(format!("neither as before: {not_as_before}; nor as after: {not_as_after}")),
    }
}

/// The store after a power cut at the end of a session.
fn after_a_power_cut(script: &Script, disk: &SimDisk) -> std::result::Result<(), String> {
    let mut session = Session::new(&disk.crash(Cut::LoseUnsynced));
    session.open().map_err(|e| format!("it does not open after a power cut: {e:?}"))?;
    let store = session.store().ok_or("it is not open")?;
    compare_briefly(store, script.last()).map_err(|e| format!("after a power cut: {e}"))
}

/// Shows EL-52.
#[test]
fn crash_a_failed_operation_fails_its_mutation_and_nothing_else() {
    const FAULTS: [Fault; 3] = [Fault::NoSpace, Fault::Io, Fault::Access];
    for (seed, script) in sessions(2) {
        let steps = steps_of(&script, &SimDisk::default());
        for (n, fault) in FAULTS.into_iter().enumerate() {
            let mut failed = 0;
            // The scripted session meets each fault in each step, the others one of them.
            let (first, each) = if seed == 0 { (0, 1) } else { (n, FAULTS.len()) };
            for at in (0..steps).skip(first).step_by(each) {
                let disk = SimDisk::default();
                disk.fail_at(at, fault);
                let outcome = run_through(&script, &disk, SimDisk::heal)
                    .and_then(|met| after_a_power_cut(&script, &disk).map(|()| met));
                match outcome {
                    Ok(met) => failed += met.failed,
                    Err(e) => panic!("session {seed}, {fault:?} in step {at}: {e}"),
                }
            }
            assert!(failed > steps / 8, "{fault:?} failed {failed} mutations in {steps} steps");
        }
    }
}

#[test]
fn crash_a_full_disk_says_so_and_is_forgotten_when_there_is_room() {
    const ROOM: u64 = 1 << 40;
    for (seed, script) in sessions(2) {
        let mut full = 0;
        for free in (0..3_000).step_by(150).chain((3_000..160_000).step_by(9_000)) {
            let disk = SimDisk::default();
            disk.set_free(free);
            match run_through(&script, &disk, |disk| disk.set_free(ROOM)) {
                Ok(met) => full += met.full,
                Err(e) => panic!("session {seed}, {free} bytes free: {e}"),
            }
        }
        assert!(full > 10, "the disk was full {full} times");
    }
}

/// The error that a failed sync gives names what to do, and the store works once that was done.
#[test]
fn crash_a_failed_sync_poisons_the_writer_until_it_is_opened_again() {
    let script = crate::session(0);
    let mut poisoned = 0;
    for at in 0..steps_of(&script, &SimDisk::default()) {
        let disk = SimDisk::default();
        disk.fail_at(at, Fault::SyncLost);
        match run_through(&script, &disk, SimDisk::heal)
            .and_then(|met| after_a_power_cut(&script, &disk).map(|()| met))
        {
            Ok(met) => poisoned += met.poisoned,
            Err(e) => panic!("a sync that failed in step {at}: {e}"),
        }
    }
    assert!(poisoned > 10, "{poisoned} times");
}
