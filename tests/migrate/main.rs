//! The older layout under realistic traffic: each stage of its migration behind its flag, and kills on the way.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "every file here is part of a test")]

mod fixture;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fixture::{Event, events};
use tickfs_store::Store;
use tickfs_store::disk::{Cut, Disk, Durability, RealDisk, SimDisk, write_atomically};
use tickfs_store::ids::{StoreId, UnixMillis};
use tickfs_store::journal::entry::Writer;
use tickfs_store::migrate::{EntityId, OlderLayout, migrate};

const NOW: UnixMillis = UnixMillis(1_763_640_900_000);
const LOG: &[u8] = b"{\"ts\":\"2025-01-01\",\"event\":\"v1\"}\nnot json at all\n";
/// As many mutations came before the migration.
const BEFORE: usize = 1_000;

type Model = BTreeMap<EntityId, String>;

fn who() -> Writer {
    Writer { writer: "test".to_owned(), writer_id: None, pid: std::process::id() }
}

fn set_mode(disk: &dyn Disk, dir: &Path, word: &str) {
    let text = format!("[store]\njournal_v2 = \"{word}\"\n");
    write_atomically(disk, &dir.join("config.toml"), text.as_bytes(), Durability::Synced).unwrap();
}

fn open(disk: &Arc<dyn Disk>, dir: &Path) -> tickfs_store::Result<OlderLayout> {
    OlderLayout::open(Arc::clone(disk), dir, who(), Duration::from_secs(5), NOW)
}

fn apply(layout: &mut OlderLayout, event: &Event) -> tickfs_store::Result<()> {
    match event {
        Event::Put { entity, json } => layout.put(entity, json, NOW),
        Event::Delete { entity } => layout.delete(entity, NOW).map(drop),
    }
}

fn remember(model: &mut Model, event: &Event) {
    match event {
        Event::Put { entity, json } => drop(model.insert(entity.clone(), json.clone())),
        Event::Delete { entity } => drop(model.remove(entity)),
    }
}

/// What the JSON files say, without their spaces.
fn files(disk: &dyn Disk, dir: &Path) -> BTreeMap<String, serde_json::Value> {
    let mut found = BTreeMap::new();
    for kind in ["agent", "note", "plan", "session", "task"] {
        let folder = dir.join(kind);
        for name in disk.list(&folder).unwrap_or_default() {
            let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
            let bytes = tickfs_store::disk::read_all(disk, &folder.join(&name)).unwrap();
            found.insert(format!("{kind}/{id}"), serde_json::from_slice(&bytes).unwrap());
        }
    }
    found
}

fn expected(model: &Model) -> BTreeMap<String, serde_json::Value> {
    model.iter().map(|(entity, json)| (entity.to_string(), serde_json::from_str(json).unwrap())).collect()
}

/// What the journal says, by its index.
fn journal(disk: &Arc<dyn Disk>, dir: &Path) -> BTreeMap<String, serde_json::Value> {
    let store = Store::open(Arc::clone(disk), dir).unwrap();
    store.refresh(who()).unwrap();
    let rows = store.view().unwrap().all_entities().unwrap();
    let named = rows.iter().filter(|row| row.kind != tickfs_store::migrate::MIGRATION);
    named.map(|row| (format!("{}/{}", row.kind, row.id), serde_json::from_str(&row.body).unwrap())).collect()
}

struct Soak {
    _temp: tempfile::TempDir,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    model: Model,
}

/// An older store with the first mutations, migrated, and then all the others in one mode.
fn soak(word: &str) -> Soak {
    let memory = Path::new("/dev/shm");
    let temp = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let dir = temp.path().join("older");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("events.jsonl"), LOG).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut model = Model::new();
    let mut layout = open(&disk, &dir).unwrap();
    let mut all = events();
    for event in all.by_ref().take(BEFORE) {
        apply(&mut layout, &event).unwrap();
        remember(&mut model, &event);
    }
    layout.close().unwrap();
    let done = migrate(&disk, &dir, StoreId::new(NOW, [9; 10]), who(), Duration::from_secs(5), NOW).unwrap();
    assert_eq!(done.entities, model.len() as u64);
    set_mode(&*disk, &dir, word);
    let mut layout = open(&disk, &dir).unwrap();
    for (place, event) in all.enumerate() {
        apply(&mut layout, &event).unwrap();
        remember(&mut model, &event);
        if place % 4_000 == 0 {
            layout.close().unwrap();
            layout = open(&disk, &dir).unwrap();
        }
        if place % 97 == 0 {
            let (Event::Put { entity, .. } | Event::Delete { entity }) = &event;
            assert_eq!(layout.get(entity).unwrap().as_ref(), model.get(entity));
        }
    }
    layout.close().unwrap();
    assert_eq!(files(&*disk, &dir), expected(&model));
    for log in ["events.jsonl", "journal/archive/events.v1.jsonl"] {
        assert_eq!(std::fs::read(dir.join(log)).unwrap(), LOG);
    }
    Soak { _temp: temp, disk, dir, model }
}

#[test]
fn format_the_fixture_is_the_same_on_every_machine() {
    let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0);
    for event in events() {
        let text = format!("{event:?}");
        bytes += text.len();
        hasher.update(text.as_bytes());
    }
    assert!((20_000_000..40_000_000).contains(&bytes), "{bytes}");
    assert_eq!(&hasher.finalize().to_hex()[..16], "3526d89b1a3b0d17");
}

/// Shows EL-117: the fixture in `off`, and EL-103: the journal stays as the migration left it.
#[test]
fn format_the_fixture_in_off_is_json_files_alone() {
    let Soak { _temp, disk, dir, .. } = soak("off");
    assert!(journal(&disk, &dir).len() < BEFORE);
    let segments = std::fs::read_dir(dir.join("journal")).unwrap();
    let names = segments.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with("seg-")).count(), 1);
}

/// Shows EL-117: the fixture in `dual`.
#[test]
fn format_the_fixture_in_dual_is_in_the_journal_and_in_the_files() {
    let Soak { _temp, disk, dir, model } = soak("dual");
    assert_eq!(journal(&disk, &dir), expected(&model));
}

/// Shows EL-117: the fixture in `primary`; and EL-11: going back is setting the flag.
#[test]
fn format_the_fixture_in_primary_is_in_the_journal_and_goes_back() {
    let Soak { _temp, disk, dir, mut model } = soak("primary");
    assert_eq!(journal(&disk, &dir), expected(&model));
    set_mode(&*disk, &dir, "off");
    let mut layout = open(&disk, &dir).unwrap();
    for event in events().take(100) {
        apply(&mut layout, &event).unwrap();
        remember(&mut model, &event);
    }
    layout.close().unwrap();
    assert_eq!(files(&*disk, &dir), expected(&model));
}

/// Shows EL-113: 500 kills, each somewhere in an append, a projection or between them, and all converge.
#[test]
fn crash_in_primary_five_hundred_times_and_every_opening_converges() {
    let dir = Path::new("/p/older");
    let mut sim = SimDisk::default();
    let mut disk: Arc<dyn Disk> = Arc::new(sim.clone());
    for made in ["/p", "/p/older"] {
        disk.create_dir(Path::new(made)).unwrap();
        disk.sync_dir(Path::new(made).parent().unwrap()).unwrap();
    }
    migrate(&disk, dir, StoreId::new(NOW, [9; 10]), who(), Duration::ZERO, NOW).unwrap();
    set_mode(&*disk, dir, "primary");
    let mut model = Model::new();
    let mut asked: Option<Event> = None;
    let mut all = events();
    for kill in 0..500_u64 {
        sim.crash_at(sim.steps() + 1 + kill * 7 % 61);
        match open(&disk, dir) {
            Err(_cut_off) => {}
            Ok(mut layout) => loop {
                let event = all.next().expect("because few events are taken");
                if apply(&mut layout, &event).is_err() {
                    asked = Some(event);
                    break;
                }
                remember(&mut model, &event);
            },
        }
        let torn = usize::try_from(kill % 300).unwrap();
        sim = sim.crash(Cut::Killed { torn });
        disk = Arc::new(sim.clone());
        let layout = open(&disk, dir).unwrap();
        drop(layout);
        let (after, by_journal) = (files(&*disk, dir), journal(&disk, dir));
        assert_eq!(after, by_journal, "kill {kill}");
        if after != expected(&model) {
            let event = asked.take().unwrap_or_else(|| panic!("kill {kill}: something confirmed is gone"));
            remember(&mut model, &event);
            assert_eq!(after, expected(&model), "kill {kill}");
        }
        asked = None;
    }
    assert!(model.len() > 50);
}
