//! What the sessions of this family have found, each with its reason.

use tickfs_store::Error;
use tickfs_store::disk::{Cut, OpKind, SimDisk};
use tickfs_tests::compare::compare;
use tickfs_tests::crash::{IndexFate, run_until, steps_of};
use tickfs_tests::model::{Change, Model};
use tickfs_tests::session::{Script, Session, Step, file, lose_index, path, store_dir};

fn run(script: &Script, session: &mut Session) {
    script.steps.iter().try_for_each(|step| session.step(step)).expect("it runs, because nothing fails here");
}

fn save(text: &str) -> Step {
    let change = Change::Save(path("a"), file(text.as_bytes()));
    Step::Mutate { now: 2_000_000, changes: vec![change], refuse: false }
}

/// An event that holds no state is not synced, so its payload may be lost where its record is not. The index, which
/// asked for the payload, could then never be built again.
#[test]
fn crash_a_long_note_that_was_lost_leaves_the_store_whole() {
    let disk = SimDisk::default();
    let mut session = Session::new(&disk);
    let script = Script::new(&[]);
    run(&script, &mut session);
    let pack = store_dir().join("packs/h-00000001.pk");
    let before = disk.read(&pack).unwrap().len();
    session.step(&Step::Note { now: 2_000_000, len: 70_000 }).unwrap();
    session.drop_writer();
    disk.truncate(&pack, before).unwrap();
    lose_index(&disk);
    session.open().unwrap();
    compare(session.store().unwrap(), script.last()).unwrap();
}

/// A store, a segment or a pack that a killed process made is there for the next one, which did not make its name
/// durable before it confirmed what it wrote there.
#[test]
fn crash_what_is_written_to_files_of_a_killed_process_survives_a_power_cut() {
    let script = Script::new(&[]);
    for at in 0..steps_of(&script, &SimDisk::default()) {
        let crashed = run_until(&script, &SimDisk::default(), at);
        crashed.check(Cut::Killed { torn: 0 }, IndexFate::Kept, false).unwrap();
    }
}

/// FORMAT says that a store is there, so it comes after all that a store needs, also on a disk that reorders names.
#[test]
fn crash_a_store_with_format_has_its_directories() {
    let base = Script::new(&[]).steps.remove(1);
    let mut script = Script::from(Model::default());
    script.push(Step::Init);
    for at in 0..steps_of(&script, &SimDisk::default()) {
        let crashed = run_until(&script, &SimDisk::default(), at);
        for seed in 0..40 {
            let disk = crashed.cut(Cut::Seeded(seed), IndexFate::Dropped);
            let mut session = Session::new(&disk);
            match session.open().map(drop) {
                Err(Error::NotFound { .. }) => {}
                opened => opened
                    .and_then(|()| session.step(&base))
                    .unwrap_or_else(|e| panic!("step {at}, seed {seed}: {e:?}")),
            }
        }
    }
}

/// After a failed sync the page cache shows what was lost, and the next sync says `Ok`: the next writer asks the
/// medium, so that no tick becomes visible, and is built on, that a power cut would take.
#[test]
fn crash_what_a_failed_sync_lost_does_not_come_back_from_the_page_cache() {
    let disk = SimDisk::default();
    let mut session = Session::new(&disk);
    let mut script = Script::new(&[]);
    run(&script, &mut session);
    let is_journal = |name: &std::path::Path| name.to_string_lossy().contains("/seg-");
    disk.fail_when(
        move |op| op.kind == OpKind::Sync && is_journal(&op.path),
        tickfs_store::disk::Fault::SyncLost,
    );
    let lost = session.step(&save("lost")).unwrap_err();
    assert!(matches!(lost, Error::Poisoned { .. }), "{lost:?}");
    disk.heal();
    session.drop_writer();
    session.open().unwrap();
    compare(session.store().unwrap(), script.last()).unwrap();
    script.push(save("kept"));
    session.step(&save("kept")).unwrap();
    let mut session = Session::new(&disk.crash(Cut::LoseUnsynced));
    session.open().unwrap();
    compare(session.store().unwrap(), script.last()).unwrap();
}
