//! Makes the golden store of the format of today. Run once, when a format is new, and never over one that is there:
//! `cargo test -p tickfs-tests --test format -- --ignored make`.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tickfs_store::content::{ContentWriter, PackOptions};
use tickfs_store::disk::{Disk, SimDisk};
use tickfs_store::history::{Point, Stand};
use tickfs_store::ids::{BranchNo, StoreId, Tick, UnixMillis, UnixNanos};
use tickfs_store::journal::entry::{Action, Body, Draft, ItemType, NodeType, Writer};
use tickfs_store::journal::{JournalDir, JournalWriter, WriterOptions, seal};
use tickfs_store::path::RelPath;
use tickfs_store::{Content, Meta, Scope, Store, StoreWriter};

use crate::answers::{answers, summary};
use crate::files::{GOLDEN, dir, open};

#[test]
#[ignore = "writes the golden store of a new format; the one that is there never changes"]
fn make_the_golden_store() {
    let top = Path::new(GOLDEN);
    assert!(!top.exists(), "{GOLDEN} is there already");
    let disk = write_everything();
    let text = summary(&answers(&open(&disk).unwrap()));
    let mut paths = disk.paths();
    paths.extend(["index.db", "index.db.sum"].map(|name| dir().join(name)));
    for path in paths {
        let Ok(name) = path.strip_prefix(dir()) else { continue };
        let bytes = disk.read(&path).or_else(|_| fs::read(disk.database(&path)));
        // A directory has no bytes.
        let Ok(bytes) = bytes else { continue };
        let to = top.join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, bytes).unwrap();
    }
    fs::write(format!("{GOLDEN}.txt"), text).unwrap();
}

fn who() -> Writer {
    Writer { writer: "golden".to_owned(), writer_id: Some("agt_1".to_owned()), pid: 7 }
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn meta(kind: NodeType) -> Meta {
    let mode = match kind {
        NodeType::File => 0o100_644,
        NodeType::Dir => 0o040_755,
        NodeType::Symlink => 0o120_777,
    };
    Meta { kind, mode, uid: 1000, gid: 100, mtime: UnixNanos(1_763_640_900_123_456_789), holes: Vec::new() }
}

fn now(seconds: i64) -> UnixMillis {
    UnixMillis(1_763_640_900_000 + seconds * 1000)
}

/// Every kind of file that a store consists of, and every kind of record.
fn write_everything() -> SimDisk {
    let disk = SimDisk::default();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    disk.create_dir(Path::new("/p")).unwrap();
    let scope = Scope::whole(Path::new("/p/app"));
    let id = StoreId::new(now(0), [7; 10]);
    let store = Store::init_for(Arc::clone(&shared), &dir(), id, Some(&scope)).unwrap();
    first_segment(&writer(&store));
    begin_next_pack(&store);
    begin_next_segment(&store);
    let second = writer(&store);
    second_segment(&second);
    // Seals and parks the first segment, makes a checkpoint, and compacts the first pack.
    second.compact(now(40)).unwrap();
    save(&second, 41, "a", "behind the checkpoint\n");
    drop(second);
    begin_next_segment(&store);
    seal::seal_rolled(&disk, &JournalDir::new(&store.layout().journal())).unwrap();
    let third = writer(&store);
    third_segment(&third);
    third.close().unwrap();
    disk
}

fn first_segment(writer: &StoreWriter) {
    writer
        .mutate(now(1), |m| {
            m.base(&RelPath::root(), &meta(NodeType::Dir), Content::None)?;
            m.base(&path("a"), &meta(NodeType::File), Content::Bytes(b"first\n".to_vec()))?;
            m.base(&path("d"), &meta(NodeType::Dir), Content::None)?;
            m.base(&path("d/x"), &meta(NodeType::File), Content::Bytes(long_text(0)))?;
            m.base(&path("link"), &meta(NodeType::Symlink), Content::Bytes(b"d/x".to_vec()))?;
            m.finish_base("8c3c0c0e-0000-4000-8000-000000000001")
        })
        .unwrap();
    for n in 1..=6 {
        save_bytes(writer, n, "d/x", long_text(n));
    }
    save(writer, 7, "a", "second\n");
    save(writer, 8, "b", "");
    let long = json!({"text": "long ".repeat(20_000)});
    writer.mutate(now(9), move |m| m.observe(Action::Note, &ItemType::HANDOFF, Some("h"), &long)).unwrap();
    for n in 1..=3 {
        put_document(writer, 10 + n, n);
    }
}

fn second_segment(writer: &StoreWriter) {
    writer.mutate(now(20), |m| m.rename(&path("d"), &path("e"))).unwrap();
    writer.mutate(now(21), |m| m.remove(&path("b"))).unwrap();
    writer
        .mutate(now(22), |m| {
            m.put_entity(&ItemType::HANDOFF, "h", &json!({"x": 1}))?;
            m.create_snapshot("kept", Point { branch: BranchNo(1), tick: Tick(9) })
        })
        .unwrap();
    put_document(writer, 23, 4);
    let stand = Stand { branch: BranchNo(1), tick: Tick(7), partial: Vec::new() };
    writer.mutate(now(24), move |m| m.move_cursor(stand, "revert")).unwrap();
    save(writer, 25, "a", "forked\n");
    save(writer, 26, "d/y", "on the fork\n");
}

fn third_segment(writer: &StoreWriter) {
    writer
        .mutate(now(50), |m| {
            let tree = m.begin_import("theirs", "an-id")?;
            m.import_entry(tree, &RelPath::root(), &meta(NodeType::Dir), Content::None)?;
            m.import_entry(tree, &path("a"), &meta(NodeType::File), Content::Bytes(b"theirs\n".to_vec()))?;
            m.finish_import("theirs", tree, "/elsewhere")
        })
        .unwrap();
    save(writer, 51, "a", "last\n");
}

fn long_text(n: i64) -> Vec<u8> {
    let line = |row: i64| format!("line {row} {}\n", if row == 3 * n { n * 1_000_003 } else { 0 });
    (0..40).map(line).collect::<String>().into_bytes()
}

fn put_document(writer: &StoreWriter, at: i64, n: i64) {
    let text = json!({"n": n, "same": true, "list": [1, n], "of": {"n": n % 2}});
    let serde_json::Value::Object(document) = text else { unreachable!("because it is spelled out") };
    writer.mutate(now(at), move |m| m.put_document("cli_state", &document)).unwrap();
}

fn writer(store: &Store) -> StoreWriter {
    store.writer(who(), Duration::ZERO).unwrap()
}

fn save(writer: &StoreWriter, at: i64, name: &str, text: &str) {
    save_bytes(writer, at, name, text.as_bytes().to_vec());
}

fn save_bytes(writer: &StoreWriter, at: i64, name: &str, bytes: Vec<u8>) {
    let name = path(name);
    writer
        .mutate(now(at), move |m| m.save(&name, &meta(NodeType::File), Content::Bytes(bytes)).map(drop))
        .unwrap();
}

/// As if the pack had grown to its full size: the next writer goes on in another.
fn begin_next_pack(store: &Store) {
    ContentWriter::open(Arc::clone(store.disk()), &store.layout().packs(), PackOptions::rolling_at(1))
        .unwrap();
}

/// As if the segment had grown to its full size.
fn begin_next_segment(store: &Store) {
    let options = WriterOptions { roll_at: 1, ..WriterOptions::default() };
    let mut journal = JournalWriter::open(
        Arc::clone(store.disk()),
        &store.layout().journal(),
        store.id().clone(),
        who(),
        options,
    )
    .unwrap();
    let mut group = journal.begin(now(30)).unwrap();
    let note = Draft {
        action: Action::Note,
        item_type: ItemType::HANDOFF,
        item_id: None,
        summary: Some("begins a segment".to_owned()),
        tick: None,
        body: Body::None,
    };
    group.push_mutation(&[note]).unwrap();
    group.commit().unwrap();
}
