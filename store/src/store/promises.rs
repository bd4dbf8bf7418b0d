//! What the journal's page of the specification promises, row by row, on a whole store.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::tests::{path, save, text, tree, who, with_base};
use super::{Freshness, Store, StoreWriter};
use crate::diff::{Labels, unified};
use crate::disk::{CountingDisk, Disk, OpKind, RealDisk, read_all};
use crate::ids::{ContentHash, SegmentId, Seq, StoreId, UnixMillis};
use crate::journal::entry::{self, Action, FileState, ItemType, LineFault, NodeType, Writer};
use crate::journal::place::{ReaderName, Unseen, keep_place, unseen};
use crate::journal::{self, Head, JournalDir, JournalReader, ReadOptions, Segments, live};
use crate::render;

/// A store on a disk that counts.
struct Counted {
    _temp: tempfile::TempDir,
    disk: Arc<CountingDisk<RealDisk>>,
    store: Store,
}

fn counted() -> Counted {
    let temp = tempfile::tempdir().unwrap();
    let disk = Arc::new(CountingDisk::new(RealDisk));
    let as_disk: Arc<dyn Disk> = disk.clone();
    let id = StoreId::new(UnixMillis(1), [7; 10]);
    let store = Store::init(as_disk, &temp.path().join("s"), id).unwrap();
    Counted { _temp: temp, disk, store }
}

impl Counted {
    fn reopened(&self) -> Store {
        Store::open(Arc::clone(self.store.disk()), self.store.layout().dir()).unwrap()
    }
}

fn dir_of(store: &Store) -> JournalDir {
    JournalDir::new(&store.layout().journal())
}

fn put(writer: &StoreWriter, id: &str, value: &serde_json::Value) {
    let (id, value) = (id.to_owned(), value.clone());
    writer.mutate(UnixMillis(5), move |m| m.put_entity(&ItemType::HANDOFF, &id, &value)).unwrap();
}

/// `count` entities of about `len` bytes, in few groups.
fn put_many(writer: &StoreWriter, count: u64, len: usize) {
    let filler = "x".repeat(len);
    for first in (0..count).step_by(500) {
        let filler = filler.clone();
        writer
            .mutate(UnixMillis(5), move |m| {
                (first..count.min(first + 500)).try_for_each(|n| {
                    let value = serde_json::json!({"n": n, "filler": filler});
                    m.put_entity(&ItemType::HANDOFF, &format!("h{n}"), &value)
                })
            })
            .unwrap();
    }
}

fn for_each_line(store: &Store, mut each: impl FnMut(&journal::Entry<'_>)) -> journal::ReadReport {
    journal::scan_all(store.disk(), &dir_of(store), |entry| {
        each(entry);
        Ok(ControlFlow::Continue(()))
    })
    .unwrap()
}

/// Shows EL-12, EL-14, EL-16, EL-19, EL-21: the fields of every record, with and without a summary.
#[test]
fn every_record_has_its_fields() {
    let Counted { store, _temp, .. } = counted();
    let writer = with_base(&store, &[("a", "0")]);
    save(&writer, "a", "1");
    writer
        .mutate(UnixMillis(5), |m| {
            m.put_entity(&ItemType::HANDOFF, "h", &serde_json::json!({}))?;
            m.summarise("a line for people");
            Ok(())
        })
        .unwrap();
    drop(writer);
    let agent = Writer { writer: "agent".to_owned(), writer_id: Some("agt_1".to_owned()), pid: 7 };
    put(&store.writer(agent, Duration::ZERO).unwrap(), "i", &serde_json::json!({}));
    let mut summaries = Vec::new();
    let mut ids = BTreeSet::new();
    for_each_line(&store, |entry| {
        let value: serde_json::Value = serde_json::from_slice(entry.text).unwrap();
        assert_eq!(value["v"], 2);
        assert!(value["item_type"].is_string());
        let ts = value["ts"].as_str().unwrap();
        assert!(UnixMillis::from_iso(ts).is_some_and(|t| t.to_iso() == ts) && ts.ends_with('Z'), "{ts}");
        summaries.extend(entry.line.summary.as_deref().map(str::to_owned));
        ids.insert(entry.writer.unwrap().writer_id.clone());
    });
    assert_eq!(summaries, ["a line for people"]);
    assert_eq!(ids, BTreeSet::from([None, Some("agt_1".to_owned())]));
}

/// Shows EL-18, and of EL-12 that a line without `v` is none of ours.
#[test]
fn an_unknown_action_is_skipped_and_counted() {
    let Counted { store, _temp, .. } = counted();
    let writer = with_base(&store, &[]);
    assert_eq!(Action::parse("explode"), None);
    let segment = dir_of(&store).plain(SegmentId(Seq(1)));
    let mut line =
        br#"{"v":2,"seq":9,"ts":"2026-01-01T00:00:00.000Z","action":"explode","item_type":"file""#.to_vec();
    let crc = crc32fast::hash(&line);
    line.extend_from_slice(format!(",\"crc\":\"{crc:08x}\"}}").as_bytes());
    assert_eq!(entry::decode(&line).unwrap_err(), LineFault::UnknownAction("explode".to_owned()));
    let stranger = RealDisk.open_append(&segment).unwrap();
    stranger.append(&[b"\n", line.as_slice(), b"\n{\"id\":1}\n"].concat()).unwrap();
    save(&writer, "a", "after");
    let report = for_each_line(&store, |_| {});
    assert_eq!(report.faults.get("unknown_action"), Some(&1));
    assert_eq!(report.strays(), 1);
    assert_eq!(text(&tree(&store, 1, 1), "a").as_deref(), Some("after"));
}

/// Shows EL-05: every state record holds the whole entity, and a file's names its content by hash.
#[test]
fn a_record_of_a_file_is_whole_and_names_its_content() {
    let Counted { store, _temp, .. } = counted();
    let writer = with_base(&store, &[("a", "first")]);
    save(&writer, "a", "second");
    writer.mutate(UnixMillis(1), |m| m.rename(&path("a"), &path("b"))).unwrap();
    let mut seen = Vec::new();
    for_each_line(&store, |entry| {
        if entry.line.item_type == ItemType::FILE {
            let state: FileState = serde_json::from_str(entry.line.payload.unwrap().get()).unwrap();
            seen.push((state.path.to_string(), state.kind, state.hash));
        }
    });
    let file = |name: &str, text: &[u8]| (name.to_owned(), NodeType::File, Some(ContentHash::of(text)));
    let root = (String::new(), NodeType::Dir, None);
    assert_eq!(seen, [root, file("a", b"first"), file("a", b"second"), file("b", b"second")]);
}

/// Shows EL-24, EL-81: events hold no state; an entity that is gone is a tombstone without a payload.
#[test]
fn a_rebuild_of_state_ignores_events_and_forgets_what_was_deleted() {
    let Counted { store, _temp, .. } = counted();
    let writer = with_base(&store, &[]);
    put(&writer, "stays", &serde_json::json!({"n": 1}));
    put(&writer, "goes", &serde_json::json!({"n": 2}));
    writer
        .mutate(UnixMillis(5), |m| {
            m.observe(Action::SessionStart, &ItemType::RECORDER, None, &serde_json::json!({"n": 3}))?;
            m.delete_entity(&ItemType::HANDOFF, "goes").map(drop)
        })
        .unwrap();
    let state = live::live_state(store.disk(), &dir_of(&store)).unwrap();
    let kinds: Vec<(String, String)> =
        state.entities.keys().map(|key| (key.item_type.clone(), key.item_id.clone())).collect();
    assert!(kinds.contains(&("handoff".to_owned(), "stays".to_owned())));
    assert!(!kinds.iter().any(|(kind, id)| kind == "recorder" || id == "goes"), "{kinds:?}");
    let mut tombstones = 0;
    for_each_line(&store, |entry| {
        tombstones += u64::from(entry.line.deleted);
        assert!(!(entry.line.deleted && entry.line.payload.is_some()));
    });
    assert_eq!(tombstones, 1);
    assert_eq!(store.view().unwrap().entities(&ItemType::HANDOFF).unwrap().len(), 1);
}

/// An index as it lies there, closed, with its proof.
struct IndexFiles([(std::path::PathBuf, Vec<u8>); 2]);

impl IndexFiles {
    fn of(store: &Store) -> Self {
        let index = store.layout().index();
        Self(
            [index.clone(), index.with_extension("db.sum")]
                .map(|path| (path.clone(), std::fs::read(path).unwrap())),
        )
    }

    fn put_back(&self) {
        self.0.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    }
}

/// Shows EL-10, EL-76, EL-121: what a writer that died left unapplied is healed by the next read, without any process
/// beside it, and by exactly the records that are missing.
#[test]
fn a_plain_read_heals_what_was_not_applied() {
    for gap in [1, 10, 300] {
        let Counted { store, _temp, .. } = counted();
        let writer = with_base(&store, &[("a", "0")]);
        writer.close().unwrap();
        let before = IndexFiles::of(&store);
        let writer = store.writer(who(), Duration::ZERO).unwrap();
        for n in 0..gap {
            save(&writer, "a", &format!("text {n}"));
        }
        writer.close().unwrap();
        before.put_back();
        let store = Store::open(Arc::clone(store.disk()), store.layout().dir()).unwrap();
        assert_eq!(store.refresh(who()).unwrap(), Freshness::Healed { records: gap });
        assert_eq!(text(&tree(&store, 1, gap), "a"), Some(format!("text {}", gap - 1)));
        assert_eq!(store.refresh(who()).unwrap(), Freshness::Current);
    }
}

/// Shows EL-73, EL-75, EL-122: a fresh read takes no lock, opens no segment and replays nothing, whatever the length of
/// history; the watermark is the last record.
#[test]
fn a_fresh_read_is_a_few_looks_at_names() {
    let asked = [10, 3_000].map(|count| {
        let counted = counted();
        let writer = with_base(&counted.store, &[]);
        put_many(&writer, count, 10);
        let end = writer.end();
        writer.close().unwrap();
        let store = counted.reopened();
        counted.disk.clear();
        assert_eq!(store.refresh(who()).unwrap(), Freshness::Current);
        assert_eq!(store.view().unwrap().applied_seq(), end.seq);
        let kinds: Vec<OpKind> = counted.disk.ops().iter().map(|op| op.kind).collect();
        assert!(kinds.iter().all(|kind| *kind == OpKind::Stat), "{kinds:?}");
        kinds.len()
    });
    assert_eq!(asked[0], asked[1]);
}

/// Shows EL-77: with the lock held and the index behind, a reader answers at once and says that it is stale, and what
/// decides a write reads through the journal.
#[test]
fn a_reader_that_finds_the_lock_taken_says_that_it_is_stale() {
    let Counted { store, _temp, .. } = counted();
    let writer = with_base(&store, &[("a", "0")]);
    writer.close().unwrap();
    let before = IndexFiles::of(&store);
    let writer = store.writer(who(), Duration::ZERO).unwrap();
    save(&writer, "a", "1");
    writer.close().unwrap();
    before.put_back();
    let lock = store.disk().lock(&store.layout().lock(), Duration::ZERO).unwrap().unwrap();
    lock.describe("somebody").unwrap();
    let reader = Store::open(Arc::clone(store.disk()), store.layout().dir()).unwrap();
    assert_eq!(reader.refresh(who()).unwrap(), Freshness::Stale { holder: "somebody".to_owned() });
    assert_eq!(reader.view().unwrap().last_tick().0, 0);
    drop(lock);
    let writer = reader.writer(who(), Duration::ZERO).unwrap();
    assert_eq!(save(&writer, "a", "2").tick().map(|t| t.0), Some(2));
}

/// Shows EL-80, EL-114, EL-116: one entity changed is one record, and neither the bytes written nor the files touched
/// depend on how many entities there are.
#[test]
fn a_change_costs_what_changed() {
    let costs = [10, 1_000, 20_000].map(|count| {
        let counted = counted();
        let writer = with_base(&counted.store, &[]);
        put_many(&writer, count, 10);
        let before = writer.end().seq;
        counted.disk.clear();
        put(&writer, "h3", &serde_json::json!({"n": 3, "filler": "changed"}));
        assert_eq!(writer.end().seq, before.next());
        let written = counted.disk.counts_where(|op| op.kind == OpKind::Append);
        let ops: Vec<OpKind> = counted.disk.ops().iter().map(|op| op.kind).collect();
        (ops, written.bytes_written)
    });
    for (ops, written) in &costs {
        assert_eq!(*ops, costs[0].0);
        // A seq has more digits in a longer history.
        assert!(written.abs_diff(costs[0].1) <= 8, "{costs:?}");
    }
}

/// Shows EL-31: 17,000 events of 2 KB give three or four segments.
#[test]
fn two_months_of_work_are_a_few_segments() {
    let Counted { store, _temp, .. } = counted();
    let writer = with_base(&store, &[]);
    put_many(&writer, 17_000, 1_880);
    assert_eq!(writer.upkeep_failures(), Vec::<String>::new());
    let segments = Segments::list(&**store.disk(), &dir_of(&store), true).unwrap();
    assert!((3..=4).contains(&segments.files().len()), "{} segments", segments.files().len());
}

/// Shows EL-66: a checkpoint grows with the live entities and not with what happened to them.
#[test]
fn a_checkpoint_costs_what_lives() {
    let bytes = [(20, 5), (20, 100), (400, 1)].map(|(entities, rounds)| {
        let counted = counted();
        let writer = with_base(&counted.store, &[]);
        (0..rounds).for_each(|_| put_many(&writer, entities, 300));
        let checkpoint = writer.checkpoint(UnixMillis(9)).unwrap();
        assert_eq!(checkpoint.entities, entities + 3);
        let path = dir_of(&counted.store).checkpoints().join(checkpoint.file);
        zstd::decode_all(read_all(&RealDisk, &path).unwrap().as_slice()).unwrap().len()
    });
    assert!(bytes[1] < bytes[0] * 11 / 10, "{bytes:?}");
    assert!(bytes[2] > bytes[0] * 8, "{bytes:?}");
}

/// Shows EL-09, EL-110, EL-120: a reader that streams across rolls, sealing and parking gets every record once; a segment
/// only ever gains lines; a named reader's place outlives all of it.
#[test]
fn a_reader_streams_across_rolls_and_compaction() {
    let Counted { store, _temp, .. } = counted();
    let writer = with_base(&store, &[]);
    put(&writer, "first", &serde_json::json!({}));
    let disk = Arc::clone(store.disk());
    let dir = dir_of(&store);
    let first = dir.plain(SegmentId(Seq(1)));
    let mut before = read_all(&*disk, &first).unwrap();
    let mut reader =
        JournalReader::open(&disk, &dir, ReadOptions::from(Seq(1)).with_archive()).unwrap().whole().unwrap();
    let mut seqs = Vec::new();
    let mut names = BTreeMap::new();
    for round in 0..4 {
        while let Some(entry) = reader.next().unwrap() {
            seqs.push(entry.line.seq.0);
        }
        put_many(&writer, 6_000, 1_880);
        if let Ok(now) = read_all(&*disk, &first) {
            assert!(now.starts_with(&before), "a segment lost or changed what it held");
            before = now;
        }
        names.insert(round, Segments::list(&*disk, &dir, true).unwrap().files().len());
        if round == 1 {
            writer.compact(UnixMillis(9)).unwrap();
        }
    }
    let name = ReaderName::parse("mine").unwrap();
    let last = writer.end().seq;
    keep_place(&*disk, &dir, &name, last, UnixMillis(9)).unwrap();
    put_many(&writer, 6_000, 1_880);
    while let Some(entry) = reader.next().unwrap() {
        seqs.push(entry.line.seq.0);
    }
    assert!(names[&3] >= 4, "{names:?}");
    assert_eq!(seqs, (1..=writer.end().seq.0).collect::<Vec<_>>());
    let Unseen::Records(mut unseen) = unseen(&disk, &dir, &name, None).unwrap() else { panic!("a gap") };
    assert_eq!(unseen.next().unwrap().map(|entry| entry.line.seq), Some(last.next()));
}

/// Shows EL-60: HEAD.json is never read half-written.
#[test]
fn head_is_always_whole() {
    let Counted { store, _temp, .. } = counted();
    drop(with_base(&store, &[]));
    let (disk, dir) = (Arc::clone(store.disk()), dir_of(&store));
    store.writer(who(), Duration::ZERO).unwrap().close().unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..300 {
                let writer = store.writer(who(), Duration::from_secs(5)).unwrap();
                put(&writer, "h", &serde_json::json!({"n": n}));
                writer.close().unwrap();
            }
            ended.store(true, Ordering::Release);
        });
        let mut reads = 0_u64;
        while !ended.load(Ordering::Acquire) {
            let text = read_all(&*disk, &dir.head()).unwrap();
            assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok(), "{text:?}");
            reads += 1;
        }
        assert!(reads > 300, "{reads} reads are too few to tell");
    });
    assert_eq!(
        Head::read(&*disk, &dir).map(|head| head.next_seq),
        Some(Seq(store.view().unwrap().applied_seq().0 + 1))
    );
}

/// Shows EL-87: for each writer the seqs ascend.
#[test]
fn each_writers_records_stand_in_their_order() {
    let Counted { store, _temp, .. } = counted();
    drop(with_base(&store, &[]));
    for n in 0..40 {
        let id = format!("agt_{}", n % 3);
        let writer = Writer { writer: "agent".to_owned(), writer_id: Some(id), pid: n };
        put(&store.writer(writer, Duration::ZERO).unwrap(), "h", &serde_json::json!({"n": n}));
    }
    let mut last: BTreeMap<Option<String>, u64> = BTreeMap::new();
    for_each_line(&store, |entry| {
        let before = last.insert(entry.writer.unwrap().writer_id.clone(), entry.line.seq.0);
        assert!(before.is_none_or(|before| before < entry.line.seq.0));
    });
    assert_eq!(last.len(), 4);
}

/// Shows EL-98: on 100,000 events a read replays nothing, a stale one only the gap, and the state from zero is bounded by
/// the last checkpoint.
#[test]
fn a_long_history_is_not_read_again() {
    let counted = counted();
    let writer = with_base(&counted.store, &[]);
    (0..200).for_each(|_| put_many(&writer, 500, 10));
    writer.compact(UnixMillis(9)).unwrap();
    writer.close().unwrap();
    let store = counted.reopened();
    assert_eq!(store.refresh(who()).unwrap(), Freshness::Current);
    let before = IndexFiles::of(&store);
    let writer = store.writer(who(), Duration::ZERO).unwrap();
    (0..10).for_each(|n| put(&writer, "late", &serde_json::json!({"n": n})));
    writer.close().unwrap();
    before.put_back();
    let store = counted.reopened();
    counted.disk.clear();
    assert_eq!(store.refresh(who()).unwrap(), Freshness::Healed { records: 10 });
    let read = counted.disk.counts_where(|op| op.kind == OpKind::Read).bytes_read;
    assert!(read < 600_000, "{read} bytes were read to replay ten records");
    counted.disk.clear();
    let state = live::live_state(store.disk(), &dir_of(&store)).unwrap();
    assert_eq!(state.entities.len(), 500 + 1 + 3);
    let parked =
        |op: &crate::disk::Op| op.kind == OpKind::Open && op.path.starts_with(dir_of(&store).archive());
    assert!(Segments::list(&**store.disk(), &dir_of(&store), true).unwrap().files()[0].archived);
    assert!(!counted.disk.ops().iter().any(parked), "what the checkpoint made redundant was read");
}

/// Shows EL-04: a view of an entity is pretty-printed with its keys in one order, so that one field is one hunk.
#[test]
fn one_changed_field_is_one_hunk() {
    let Counted { store, _temp, .. } = counted();
    let writer = with_base(&store, &[]);
    let shown = || render::branch_json(&store.view().unwrap(), crate::ids::BranchNo::MAIN).unwrap();
    let before = shown();
    writer.mutate(UnixMillis(5), |m| m.describe_branch("main", Some("the trunk".to_owned()))).unwrap();
    let after = shown();
    let labels = Labels { old: b"before", new: b"after" };
    let diff = String::from_utf8(unified(Some(&before), Some(&after), &labels, 3).into_bytes()).unwrap();
    assert_eq!(diff.matches("@@ -").count(), 1, "{diff}");
    let changed = |sign: char| diff.lines().skip(2).filter(|line| line.starts_with(sign)).count();
    assert_eq!((changed('-'), changed('+')), (1, 1), "{diff}");
}
