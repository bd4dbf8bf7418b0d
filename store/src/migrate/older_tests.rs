//! The older layout and its journal: whatever is killed, one side brings the other up.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::disk::{CountingDisk, Cut, Disk, Durability, OpKind, SimDisk, read_all, write_atomically};
use crate::error::Result;
use crate::ids::{Seq, StoreId, UnixMillis};
use crate::journal::entry::{Action, Writer};
use crate::journal::{JournalDir, JournalReader, ReadOptions, checkpoint};
use crate::store::Store;

const NOW: UnixMillis = UnixMillis(1_763_640_900_000);
const DIR: &str = "/p/older";
const LOG: &[u8] = b"{\"ts\":\"2025\",\"what\":\"v1\"}\nnot even json\n";

fn who() -> Writer {
    Writer { writer: "test".to_owned(), writer_id: None, pid: 7 }
}

fn entity(folder: &str, id: &str) -> EntityId {
    EntityId::new(folder, id).unwrap()
}

fn put_file(disk: &dyn Disk, name: &str, bytes: &[u8]) {
    let path = Path::new(DIR).join(name);
    write_atomically(disk, &path, bytes, Durability::Synced).unwrap();
}

/// Three plans, a state (whose name the journal needs itself), and a log.
fn older(sim: &SimDisk) -> Arc<dyn Disk> {
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    for dir in ["/p", DIR, "/p/older/plan", "/p/older/state"] {
        disk.create_dir(Path::new(dir)).unwrap();
        disk.sync_dir(Path::new(dir).parent().unwrap()).unwrap();
    }
    for n in 1..=3 {
        put_file(&*disk, &format!("plan/pln_{n}.json"), format!("{{\n  \"n\": {n}.0\n}}\n").as_bytes());
    }
    put_file(&*disk, "state/cli.json", b"{\"z\": 1, \"a\": [2]}");
    put_file(&*disk, "events.jsonl", LOG);
    disk
}

fn run(disk: &Arc<dyn Disk>) -> Result<Migrated> {
    migrate(disk, Path::new(DIR), StoreId::new(NOW, [9; 10]), who(), Duration::ZERO, NOW)
}

fn mode(disk: &dyn Disk, word: &str) {
    put_file(disk, "config.toml", format!("[store]\njournal_v2 = \"{word}\"\n").as_bytes());
}

fn open(disk: &Arc<dyn Disk>) -> Result<OlderLayout> {
    OlderLayout::open(Arc::clone(disk), Path::new(DIR), who(), Duration::ZERO, NOW)
}

/// Entity files, by name, as text.
fn files(disk: &dyn Disk) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for folder in ["plan", "state", "task"] {
        let dir = Path::new(DIR).join(folder);
        for name in disk.list(&dir).unwrap_or_default() {
            let text = String::from_utf8(read_all(disk, &dir.join(&name)).unwrap()).unwrap();
            found.insert(format!("{folder}/{}", name.to_str().unwrap()), text);
        }
    }
    found.retain(|name, _| name.ends_with(".json"));
    found
}

/// The same files as tickfs writes them.
fn spread(files: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let own = |text: &String| String::from_utf8(json_text::spread_out(text)).unwrap();
    files.iter().map(|(name, text)| (name.clone(), own(text))).collect()
}

/// Entities by the journal, spread out as files are.
fn journal(disk: &Arc<dyn Disk>) -> BTreeMap<String, String> {
    let store = Store::open(Arc::clone(disk), Path::new(DIR)).unwrap();
    store.refresh(who()).unwrap();
    let rows = store.view().unwrap().all_entities().unwrap();
    let named = rows.iter().filter_map(|row| {
        let entity = EntityId::of_record(&row.kind, &row.id)?;
        Some((format!("{entity}.json"), String::from_utf8(json_text::spread_out(&row.body)).unwrap()))
    });
    named.collect()
}

fn records(disk: &Arc<dyn Disk>) -> Vec<(Action, String)> {
    let dir = JournalDir::new(&Path::new(DIR).join("journal"));
    let mut reader = JournalReader::open(disk, &dir, ReadOptions::from(Seq(1))).unwrap().whole().unwrap();
    let mut all = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        all.push((entry.line.action, entry.line.item_type.to_string()));
    }
    all
}

/// Shows EL-104, EL-105, EL-106, EL-107, EL-56.
#[test]
fn a_migration_writes_a_genesis_and_parks_the_old_log() {
    let sim = SimDisk::default();
    let disk = older(&sim);
    let before = files(&*disk);
    let done = run(&disk).unwrap();
    assert_eq!((done.entities, done.already_done), (4, false));
    assert_eq!(files(&*disk), before);
    let dir = Path::new(DIR);
    for log in ["events.jsonl", "journal/archive/events.v1.jsonl"] {
        assert_eq!(read_all(&*disk, &dir.join(log)).unwrap(), LOG);
    }
    let made = checkpoint::newest(&disk, &JournalDir::new(&dir.join("journal"))).unwrap().unwrap();
    assert_eq!(made.entities, 4);
    let kinds = records(&disk);
    let (state, other): (Vec<_>, Vec<_>) = kinds.iter().partition(|(action, _)| *action == Action::Create);
    assert_eq!(state.len(), 4 + 1, "one each, and the mark of the migration");
    assert_eq!(other.len(), 1, "the checkpoint");
    let head: serde_json::Value =
        serde_json::from_slice(&read_all(&*disk, &dir.join("journal/HEAD.json")).unwrap()).unwrap();
    let store = Store::open(Arc::clone(&disk), dir).unwrap();
    assert_eq!(head["next_seq"], store.view().unwrap().applied_seq().0 + 1);

    for name in ["plan/pln_2.json", "state/cli.json", "events.jsonl"] {
        let copy = read_all(&*disk, &done.backup.join(name)).unwrap();
        assert_eq!(copy, read_all(&*disk, &dir.join(name)).unwrap());
    }
    assert!(run(&disk).unwrap().already_done);
    assert_eq!(records(&disk), kinds);
}

/// Shows EL-108.
#[test]
fn a_migration_that_is_cut_off_anywhere_gives_one_genesis() {
    let sim = SimDisk::default();
    let disk = older(&sim);
    let before = files(&*disk);
    let first = sim.steps();
    run(&disk).unwrap();
    let (last, expected) = (sim.steps(), records(&disk).len());
    for (step, cut) in
        (first..last).flat_map(|s| [Cut::LoseUnsynced, Cut::Killed { torn: 1 }].map(move |cut| (s, cut)))
    {
        let sim = SimDisk::default();
        let disk = older(&sim);
        sim.crash_at(step);
        // The last steps write a cache, whose loss is no failure.
        assert!(run(&disk).is_err() || step + 8 > last, "step {step} was not met");
        let disk: Arc<dyn Disk> = Arc::new(sim.crash(cut));
        let done = run(&disk).unwrap();
        let kept = records(&disk);
        let live = kept.iter().filter(|(action, _)| *action != Action::Adjudicate).count();
        let checkpoints = kept.iter().filter(|(action, _)| *action == Action::Checkpoint).count();
        assert_eq!((live, checkpoints, done.entities), (expected, 1, 4), "step {step}, {cut:?}");
        assert_eq!(files(&*disk), before, "step {step}, {cut:?}");
        assert_eq!(
            read_all(&*disk, &done.backup.join("plan/pln_3.json")).unwrap(),
            before["plan/pln_3.json"].as_bytes()
        );
        assert_eq!(read_all(&*disk, &Path::new(DIR).join("journal/archive/events.v1.jsonl")).unwrap(), LOG);
    }
}

/// One of a hundred mutations of eleven entities: puts, and now and then a deletion.
fn mutate(layout: &mut OlderLayout, model: &mut BTreeMap<String, String>, n: u64) -> Result<()> {
    let (folder, id) = (kind_of(n), format!("e{}", n % 11));
    let name = format!("{folder}/{id}.json");
    if n % 9 == 8 {
        layout.delete(&entity(folder, &id), NOW).map(|_| drop(model.remove(&name)))
    } else {
        layout.put(&entity(folder, &id), &format!("{{\"n\":{n}}}"), NOW).map(|()| {
            model.insert(name, format!("{{\n  \"n\": {n}\n}}\n"));
        })
    }
}

/// Shows EL-11, EL-103, EL-111.
#[test]
fn after_a_hundred_mutations_in_dual_setting_off_loses_nothing_and_so_does_the_way_back() {
    let sim = SimDisk::default();
    let disk = older(&sim);
    run(&disk).unwrap();
    mode(&*disk, "dual");
    let mut layout = open(&disk).unwrap();
    let mut model = files(&*disk);
    (0..100).for_each(|n| mutate(&mut layout, &mut model, n).unwrap());
    layout.close().unwrap();
    assert_eq!(files(&*disk), model);
    let segment = Path::new(DIR).join("journal/seg-00000001.jsonl");
    let parked = read_all(&*disk, &segment).unwrap();

    mode(&*disk, "off");
    let mut layout = open(&disk).unwrap();
    assert_eq!(files(&*disk), model);
    (100..130).for_each(|n| mutate(&mut layout, &mut model, n).unwrap());
    assert_eq!(layout.get(&entity("plan", "pln_1")).unwrap().unwrap(), "{\"n\":1.0}");
    layout.close().unwrap();
    assert_eq!(files(&*disk), model);
    assert_eq!(read_all(&*disk, &segment).unwrap(), parked, "the journal was written to in off");

    mode(&*disk, "primary");
    let layout = open(&disk).unwrap();
    layout.close().unwrap();
    assert_eq!(journal(&disk), spread(&model));
    assert_eq!(read_all(&*disk, &Path::new(DIR).join("events.jsonl")).unwrap(), LOG);
}

/// Shows EL-109, EL-112: to what `off` does, `dual` adds the append with its fsync and the watermark, and no more.
#[test]
fn dual_writes_the_journal_then_the_file_then_the_watermark() {
    let sim = SimDisk::default();
    let disk = older(&sim);
    run(&disk).unwrap();
    mode(&*disk, "dual");
    let counting = Arc::new(CountingDisk::new(sim.clone()));
    let counted: Arc<dyn Disk> = counting.clone();
    let mut layout = open(&counted).unwrap();
    counting.clear();
    layout.put(&entity("plan", "pln_1"), "{}", NOW).unwrap();
    let told: Vec<(OpKind, String)> = counting
        .ops()
        .into_iter()
        .filter(|op| matches!(op.kind, OpKind::Append | OpKind::Sync | OpKind::Rename))
        .map(|op| (op.kind, op.path.file_name().unwrap().to_str().unwrap().to_owned()))
        .collect();
    let expected = [
        (OpKind::Append, "seg-00000001.jsonl"),
        (OpKind::Sync, "seg-00000001.jsonl"),
        (OpKind::Append, "pln_1.json.tmp"),
        (OpKind::Sync, "pln_1.json.tmp"),
        (OpKind::Rename, "pln_1.json"),
        (OpKind::Append, "projected.json.tmp"),
        (OpKind::Rename, "projected.json"),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(kind, name)| (kind, name.to_owned())).collect();
    let told: Vec<_> = told.into_iter().filter(|(_, name)| !name.starts_with("h-")).collect();
    assert_eq!(told, expected);
}

#[test]
fn what_is_cut_off_in_dual_or_primary_converges_at_the_next_opening() {
    for word in ["dual", "primary"] {
        let sim = SimDisk::default();
        let disk = older(&sim);
        run(&disk).unwrap();
        mode(&*disk, word);
        let first = sim.steps();
        let mut layout = open(&disk).unwrap();
        let mut model = files(&*disk);
        (5..12).for_each(|n| mutate(&mut layout, &mut model, n).unwrap());
        drop(layout);
        for (step, cut) in (first..sim.steps())
            .flat_map(|s| [Cut::LoseUnsynced, Cut::Killed { torn: 1 }].map(move |cut| (s, cut)))
        {
            let sim = SimDisk::default();
            let disk = older(&sim);
            run(&disk).unwrap();
            mode(&*disk, word);
            let mut model = files(&*disk);
            sim.crash_at(step);
            let mut asked = 4;
            if let Ok(mut layout) = open(&disk) {
                asked = 5;
                while asked < 12 && mutate(&mut layout, &mut model, asked).is_ok() {
                    asked += 1;
                }
            }
            let disk: Arc<dyn Disk> = Arc::new(sim.crash(cut));
            let layout = open(&disk).unwrap();
            let after = files(&*disk);
            drop(layout);
            let by_journal = journal(&disk);
            let after = spread(&after);
            assert_eq!(after, by_journal, "{word}, step {step}, {cut:?}");
            // What was confirmed is there; what was asked for last may be.
            let mut with_last = model.clone();
            if (5..12).contains(&asked) {
                let name = format!("{}/e{}.json", kind_of(asked), asked % 11);
                if asked % 9 == 8 {
                    with_last.remove(&name);
                } else {
                    with_last.insert(name, format!("{{\n  \"n\": {asked}\n}}\n"));
                }
            }
            assert!(
                after == spread(&model) || after == spread(&with_last),
                "{word}, step {step}, {cut:?}: {after:?}"
            );
        }
    }
}

/// Shows EL-82.
#[test]
fn files_that_cannot_be_parsed_are_moved_aside_and_never_unlinked() {
    let sim = SimDisk::default();
    let disk = older(&sim);
    put_file(&*disk, "plan/torn.json", b"{\"half");
    let done = run(&disk).unwrap();
    assert_eq!(done.entities, 4);
    assert_eq!(read_all(&*disk, &done.quarantined[0]).unwrap(), b"{\"half");
    for word in ["off", "dual", "primary"] {
        mode(&*disk, word);
        let mut layout = open(&disk).unwrap();
        put_file(&*disk, "plan/pln_1.json", b"garbage");
        match word {
            "off" => assert!(layout.get(&entity("plan", "pln_1")).is_err()),
            _ => assert_eq!(layout.get(&entity("plan", "pln_1")).unwrap().unwrap(), "{\"n\":1.0}"),
        }
        put_file(&*disk, "plan/pln_1.json", b"garbage");
        layout.delete(&entity("plan", "pln_1"), NOW).unwrap();
        assert!(!files(&*disk).contains_key("plan/pln_1.json"));
        layout.put(&entity("plan", "pln_1"), "{\"n\":1.0}", NOW).unwrap();
        layout.close().unwrap();
    }
    let kept = disk.list(&Path::new(DIR).join("quarantine")).unwrap();
    assert_eq!(kept.len(), 1 + 1 + 2 + 2, "{kept:?}");
}

#[test]
fn names_that_the_store_needs_are_refused() {
    for (folder, id) in
        [("journal", "x"), ("Plan", "x"), ("plan", ""), ("plan", "../x"), ("plan", ".x"), ("v1_plan", "x")]
    {
        assert!(EntityId::new(folder, id).is_err(), "{folder}/{id}");
    }
    let sim = SimDisk::default();
    let disk = older(&sim);
    assert!(OlderLayout::open(Arc::clone(&disk), Path::new(DIR), who(), Duration::ZERO, NOW).is_ok());
    mode(&*disk, "dual");
    let refused = open(&disk).unwrap_err().to_string();
    assert!(refused.contains("run tickfs migrate first"), "{refused}");
    disk.create_dir(&Path::new(DIR).join("runs")).unwrap();
    assert!(run(&disk).unwrap_err().to_string().contains("bears a name that a store needs"));
}

fn kind_of(n: u64) -> &'static str {
    match n % 3 {
        0 => "plan",
        1 => "task",
        _ => "state",
    }
}
