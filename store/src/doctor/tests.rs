//! A healthy store, hurt in one place at a time: the doctor names the place, and history goes on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Depth, Report, Surroundings, examine, mend};
use crate::disk::{Disk, SimDisk};
use crate::error::{Error, Result};
use crate::history::{Point, Stand, View};
use crate::ids::{BranchNo, StoreId, Tick, UnixMillis, UnixNanos};
use crate::journal::entry::{ItemType, NodeType, Writer};
use crate::path::RelPath;
use crate::store::{Content, Meta, Store, StoreWriter};

const DIR: &str = "/p/.app.tickfs";
const DEEP: Depth = Depth { scrub: true, verify_journal: true };

fn who() -> Writer {
    Writer { writer: "test".to_owned(), writer_id: None, pid: 1 }
}

fn file() -> Meta {
    Meta { kind: NodeType::File, mode: 0o100_644, uid: 0, gid: 0, mtime: UnixNanos(1), holes: Vec::new() }
}

fn save(writer: &StoreWriter, name: &str, text: &str) -> Result<()> {
    let (name, text) = (RelPath::new(name).unwrap(), text.as_bytes().to_vec());
    writer.mutate(UnixMillis(20), move |m| m.save(&name, &file(), Content::Bytes(text)).map(drop))
}

fn open(disk: &SimDisk) -> Store {
    Store::open(Arc::new(disk.clone()), Path::new(DIR)).unwrap()
}

fn writer(store: &Store) -> StoreWriter {
    store.writer(who(), Duration::ZERO).unwrap()
}

/// Ten ticks of two files and an entity.
fn healthy() -> SimDisk {
    let disk = SimDisk::default();
    disk.create_dir(Path::new("/p")).unwrap();
    let id = StoreId::new(UnixMillis(1), [7; 10]);
    let store = Store::init(Arc::new(disk.clone()), Path::new(DIR), id).unwrap();
    let writer = writer(&store);
    writer
        .mutate(UnixMillis(10), |m| {
            let root = Meta { kind: NodeType::Dir, mode: 0o040_755, ..file() };
            m.base(&RelPath::root(), &root, Content::None)?;
            m.finish_base("8c3c0c0e-0000-4000-8000-000000000001")
        })
        .unwrap();
    for n in 0..10 {
        save(&writer, if n % 2 == 0 { "a" } else { "b" }, &format!("text {n} of some length\n")).unwrap();
    }
    writer
        .mutate(UnixMillis(30), |m| m.put_entity(&ItemType::HANDOFF, "h", &serde_json::json!({"x": 1})))
        .unwrap();
    writer.close().unwrap();
    disk
}

fn examined(disk: &SimDisk, depth: Depth) -> Report {
    examine(&open(disk), &Surroundings::default(), depth).unwrap()
}

fn kinds(report: &Report) -> Vec<&'static str> {
    report.findings.iter().map(|f| f.kind).collect()
}

fn active_segment() -> std::path::PathBuf {
    Path::new(DIR).join("journal/seg-00000001.jsonl")
}

fn text_at(view: &View, name: &str, tick: u64) -> Result<Option<Vec<u8>>> {
    let tree = view.tree(Point { branch: BranchNo(1), tick: Tick(tick) })?;
    tree.resolve(&RelPath::new(name).unwrap())?.map(|entry| tree.read(&entry.version)).transpose()
}

#[test]
fn a_healthy_store_gives_no_findings() {
    let disk = healthy();
    let report = examined(&disk, DEEP);
    assert_eq!(report.findings, []);
    assert_eq!((report.facts.records, report.facts.versions), (14, 10));
    assert!(report.facts.packs_examined && report.facts.index_compared);
}

#[test]
fn examining_writes_nothing() {
    let disk = healthy();
    let before = disk.steps();
    examined(&disk, DEEP);
    assert_eq!(disk.steps(), before);
}

/// Shows EL-42: garbage, an empty object and a record with wrong types count three, and the segment is named.
#[test]
fn lines_that_are_no_records_are_counted_and_the_segment_is_named() {
    let disk = healthy();
    let mut bytes = disk.read(&active_segment()).unwrap();
    bytes.extend_from_slice(b"\ngarbage\n{}\n{\"v\":2,\"seq\":\"x\",\"action\":7}\n");
    disk.write(&active_segment(), &bytes).unwrap();
    let report = examined(&disk, Depth::default());
    assert_eq!(report.facts.skipped.values().sum::<u64>(), 3);
    let places: Vec<_> = report.of_kind("bad_line").map(|f| f.path.clone().unwrap()).collect();
    assert_eq!(places, vec![active_segment(); 3]);
}

/// Shows EL-43: a torn tail is told and is no warning; after the next change it is adjudicated.
#[test]
fn a_torn_tail_is_told_until_the_next_change() {
    let disk = healthy();
    let len = disk.read(&active_segment()).unwrap().len();
    disk.truncate(&active_segment(), len - 5).unwrap();
    let report = examined(&disk, Depth::default());
    assert!(report.facts.torn_tail);
    assert!(report.of_kind("torn_tail").next().is_some() && !report.has_damage());
    let store = open(&disk);
    let writer = writer(&store);
    save(&writer, "a", "after").unwrap();
    let report = examined(&disk, Depth::default());
    assert!(!report.facts.torn_tail);
    assert_eq!((report.facts.adjudicated_ranges, report.facts.skipped.len()), (1, 0));
    assert_eq!(kinds(&report), Vec::<&str>::new());
}

/// Shows EL-30, EL-99: a flipped byte in the middle costs that record alone, and the doctor flags the segment.
#[test]
fn a_flipped_byte_in_the_middle_costs_one_record() {
    let disk = healthy();
    let bytes = disk.read(&active_segment()).unwrap();
    let fifth = bytes.windows(9).position(|w| w == b"\"seq\":7,\"").unwrap();
    disk.flip_bit(&active_segment(), (fifth as u64 + 20) * 8).unwrap();
    let report = examined(&disk, Depth::default());
    assert!(report.has_damage());
    assert_eq!(report.of_kind("bad_line").next().unwrap().path, Some(active_segment()));
    std::fs::remove_file(open(&disk).index().path()).unwrap();
    let store = open(&disk);
    store.refresh(who()).unwrap();
    let view = store.view().unwrap();
    assert_eq!(text_at(&view, "a", 9).unwrap().unwrap(), b"text 8 of some length\n");
    assert_eq!(text_at(&view, "b", 10).unwrap().unwrap(), b"text 9 of some length\n");
}

#[test]
fn a_flipped_bit_in_a_pack_is_found_and_named_and_gives_no_wrong_answer() {
    let clean = healthy();
    let pack = Path::new(DIR).join("packs/h-00000001.pk");
    let len = clean.read(&pack).unwrap().len() as u64;
    for bit in (0..len * 8).step_by(37) {
        let disk = clean.crash(crate::disk::Cut::Killed { torn: 0 });
        disk.flip_bit(&pack, bit).unwrap();
        let report = examined(&disk, Depth { scrub: true, verify_journal: false });
        let named = report.findings.iter().any(|f| f.path.as_ref() == Some(&pack));
        assert!(named, "bit {bit} went unnoticed: {:?}", kinds(&report));
        let store = open(&disk);
        store.refresh(who()).unwrap();
        let view = store.view().unwrap();
        for (name, tick, right) in [("a", 1, "text 0"), ("a", 9, "text 8"), ("b", 10, "text 9")] {
            if let Ok(Some(text)) = text_at(&view, name, tick) {
                assert!(text.starts_with(right.as_bytes()), "bit {bit} gave a wrong answer");
            }
        }
    }
}

#[test]
fn a_damaged_index_is_told_parked_and_made_anew() {
    let disk = healthy();
    let store = open(&disk);
    let path = store.index().path().to_path_buf();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute("UPDATE tick SET node = 99, at = 5 WHERE n = 4", []).unwrap();
    drop(db);
    assert_eq!(kinds(&examined(&disk, DEEP)), ["index_damaged"], "it was closed, and is not as it was then");
    std::fs::remove_file(path.with_extension("db.sum")).unwrap();
    let report = examined(&disk, DEEP);
    assert_eq!(kinds(&report), ["index_drift"]);
    let writer = writer(&store);
    let mended = mend(&writer, &report).unwrap();
    assert!(mended.index_rebuilt);
    save(&writer, "a", "after").unwrap();
    drop(writer);
    assert_eq!(examined(&disk, DEEP).findings, []);
}

/// It stopped the rebuild of the index, and with it everything.
#[test]
fn an_entity_whose_payload_is_damaged_costs_nothing_else() {
    let disk = healthy();
    let store = open(&disk);
    let writer = writer(&store);
    let pack = Path::new(DIR).join("packs/h-00000001.pk");
    let before = disk.read(&pack).unwrap().len() as u64;
    // What does not compress, so that each has its place in the pack.
    let long = |from: u64| -> String {
        (from..from + 3_000).map(|n| blake3::hash(&n.to_le_bytes()).to_hex().to_string()).collect()
    };
    let document = serde_json::json!({"text": long(0), "n": 7});
    let plan = ItemType::parse("plan").unwrap();
    let kind = plan.clone();
    writer.mutate(UnixMillis(5), move |m| m.put_entity(&kind, "p", &document)).unwrap();
    let mut state = crate::delta::Document::new();
    for n in 1..3 {
        state.insert("text".to_owned(), long(n * 3_000).into());
        let state = state.clone();
        writer.mutate(UnixMillis(6), move |m| m.put_document("doc", &state)).unwrap();
    }
    writer.close().unwrap();
    let added = disk.read(&pack).unwrap().len() as u64 - before;
    let mut lost = 0;
    for sixth in [1, 3, 5] {
        let disk = disk.crash(crate::disk::Cut::Killed { torn: 0 });
        disk.flip_bit(&pack, (before + added * sixth / 6) * 8).unwrap();
        crate::index::remove_database(open(&disk).index().path()).unwrap();
        let store = open(&disk);
        store.refresh(who()).unwrap();
        let view = store.view().unwrap();
        assert_eq!(text_at(&view, "a", 9).unwrap().unwrap(), b"text 8 of some length\n");
        let answers = [
            view.entity(&plan, "p").map(|found| drop(found.unwrap())),
            view.document("doc", 1).map(drop),
            view.document("doc", 2).map(drop),
            view.last_revision("doc").map(|rev| assert_eq!(rev, Some(2))),
        ];
        for answer in &answers {
            assert!(matches!(answer, Ok(()) | Err(Error::Corrupt { .. })), "{answer:?}");
        }
        lost += answers.iter().filter(|answer| answer.is_err()).count();
        let report = examined(&disk, DEEP);
        let names = report.of_kind("missing_content").chain(report.of_kind("damaged_pack")).count();
        assert!(names > 0, "{:?}", kinds(&report));
        assert_eq!(report.of_kind("index_drift").count(), 0);
    }
    assert!(lost >= 3, "{lost}");
}

#[test]
fn content_that_is_gone_is_missed() {
    let disk = healthy();
    let pack = Path::new(DIR).join("packs/h-00000001.pk");
    disk.truncate(&pack, 40).unwrap();
    let report = examined(&disk, Depth::default());
    assert!(report.of_kind("missing_content").count() >= 9, "{:?}", kinds(&report));
}

/// Shows EL-36 and the doctor's part of EL-35: a store that came to lie on a network filesystem is warned of.
#[test]
fn a_network_filesystem_and_a_full_disk_are_warned_of() {
    let disk = healthy();
    disk.set_network(Some("nfs"));
    disk.set_free(1 << 20);
    assert_eq!(kinds(&examined(&disk, Depth::default())), ["network_filesystem", "low_disk"]);
}

#[test]
fn daemons_that_are_gone_and_files_that_do_not_read_are_told_and_parked() {
    let disk = healthy();
    let daemons = Path::new(DIR).join("daemons");
    disk.write(&daemons.join("a.daemon"), b"{\"pid\": 4000000}").unwrap();
    disk.write(&daemons.join("b.daemon"), b"{").unwrap();
    let surroundings = Surroundings { is_alive: Some(|_| false), ..Surroundings::default() };
    let store = open(&disk);
    let report = examine(&store, &surroundings, Depth::default()).unwrap();
    assert_eq!(kinds(&report), ["stale_daemon", "daemon_unreadable"]);
    let mended = mend(&writer(&store), &report).unwrap();
    let parked = Path::new(DIR).join("quarantine/b.daemon");
    assert_eq!(mended.parked, [(daemons.join("b.daemon"), parked.clone())]);
    assert_eq!(disk.read(&parked).unwrap(), b"{");
}

/// It kept every command from opening the store.
#[test]
fn a_branch_whose_record_is_damaged_costs_that_branch_alone() {
    let disk = healthy();
    let fork = |at: u64| {
        let store = open(&disk);
        let writer = writer(&store);
        let stand = Stand { branch: BranchNo::MAIN, tick: Tick(at), partial: Vec::new() };
        writer.mutate(UnixMillis(40), move |m| m.move_cursor(stand, "revert")).unwrap();
        save(&writer, "a", &format!("forked at {at}")).unwrap();
        save(&writer, "a", &format!("forked at {at}, and went on")).unwrap();
        writer.close().unwrap();
    };
    fork(4);
    fork(6);
    let segment = disk.read(&active_segment()).unwrap();
    for (label, lost, left) in [("main-1", 2, "main-2"), ("main-2", 3, "main-1")] {
        let disk = disk.crash(crate::disk::Cut::Killed { torn: 0 });
        let named = format!(r#""label":"{label}""#);
        let at = segment.windows(named.len()).position(|bytes| bytes == named.as_bytes()).unwrap();
        disk.flip_bit(&active_segment(), (at as u64 + 10) * 8).unwrap();
        crate::index::remove_database(open(&disk).index().path()).unwrap();
        let store = open(&disk);
        store.refresh(who()).unwrap();
        let view = store.view().unwrap();
        assert_eq!(view.branches().lost(), [BranchNo(lost)]);
        assert_eq!(text_at(&view, "a", 9).unwrap().unwrap(), b"text 8 of some length\n");
        let other = view.head(view.branches().by_label(left).unwrap().no);
        let entry = view.tree(other).unwrap().resolve(&RelPath::new("a").unwrap()).unwrap().unwrap();
        assert!(view.tree(other).unwrap().read(&entry.version).unwrap().starts_with(b"forked at"));
        let report = examined(&disk, DEEP);
        let told: Vec<&str> = report.of_kind("branch_lost").map(|finding| finding.what.as_str()).collect();
        assert!(told.len() == 1 && told[0].contains(&format!("branch number {lost}")), "{told:?}");
        // What is recorded next has a branch, and no number of the lost one.
        let writer = writer(&store);
        save(&writer, "b", "after").unwrap();
        let stand = Stand { branch: BranchNo::MAIN, tick: Tick(2), partial: Vec::new() };
        writer.mutate(UnixMillis(50), move |m| m.move_cursor(stand, "revert")).unwrap();
        save(&writer, "b", "on a new branch").unwrap();
        let now = store.view().unwrap();
        assert_eq!(now.cursor().unwrap().branch, BranchNo(4));
        assert_eq!(now.branches().lost(), [BranchNo(lost)]);
    }
}
