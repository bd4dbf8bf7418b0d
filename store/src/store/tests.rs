//! The store from end to end on a real disk: save, durable tick, read back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Content, Freshness, Meta, Saved, Store, StoreWriter};
use crate::disk::RealDisk;
use crate::error::{Error, Result};
use crate::history::{Point, Stand, Tree};
use crate::ids::{BranchNo, StoreId, Tick, UnixMillis, UnixNanos};
use crate::journal::entry::{ItemType, NodeType, Writer};
use crate::path::RelPath;

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn who() -> Writer {
    Writer { writer: "test".to_owned(), writer_id: None, pid: std::process::id() }
}

fn meta(kind: NodeType) -> Meta {
    let mode = match kind {
        NodeType::File => 0o100_644,
        NodeType::Dir => 0o040_755,
        NodeType::Symlink => 0o120_777,
    };
    Meta { kind, mode, uid: 0, gid: 0, mtime: UnixNanos(1), holes: Vec::new() }
}

fn open_new(dir: &Path) -> Store {
    Store::init(Arc::new(RealDisk::default()), dir, StoreId::new(UnixMillis(1), [7; 10])).unwrap()
}

fn writer(store: &Store) -> StoreWriter {
    store.writer(who(), Duration::from_secs(5)).unwrap()
}

fn with_base(store: &Store, files: &[(&'static str, &'static str)]) -> StoreWriter {
    let writer = writer(store);
    let files = files.to_vec();
    writer
        .mutate(UnixMillis(10), move |m| {
            m.base(&RelPath::root(), &meta(NodeType::Dir), Content::None)?;
            for (name, text) in files {
                m.base(&path(name), &meta(NodeType::File), Content::Bytes(text.as_bytes().to_vec()))?;
            }
            m.finish_base("8c3c0c0e-0000-4000-8000-000000000001")
        })
        .unwrap();
    writer
}

fn save(writer: &StoreWriter, name: &str, text: &str) -> Saved {
    let (name, text) = (path(name), text.as_bytes().to_vec());
    writer
        .mutate(UnixMillis(20), move |m| m.save(&name, &meta(NodeType::File), Content::Bytes(text)))
        .unwrap()
}

fn tree(store: &Store, branch: u32, tick: u64) -> Tree {
    store.view().unwrap().tree(Point { branch: BranchNo(branch), tick: Tick(tick) }).unwrap()
}

fn text(tree: &Tree, name: &str) -> Option<String> {
    let entry = tree.resolve(&path(name)).unwrap()?;
    Some(String::from_utf8(tree.read(&entry.version).unwrap()).unwrap())
}

fn listing(tree: &Tree) -> Vec<String> {
    let mut paths = Vec::new();
    tree.walk(&RelPath::root(), &mut |path, _| {
        paths.push(path.to_string());
        Ok(())
    })
    .unwrap();
    paths
}

#[test]
fn a_save_is_a_tick_and_every_tick_can_be_read() {
    let temp = tempfile::tempdir().unwrap();
    let store = open_new(&temp.path().join("s"));
    let writer = with_base(&store, &[("a", "zero\n")]);
    assert_eq!(save(&writer, "a", "one\n"), Saved::Ticked(Tick(1)));
    assert_eq!(save(&writer, "a", "one\n"), Saved::Unchanged);
    assert_eq!(save(&writer, "b", "new\n"), Saved::Ticked(Tick(2)));
    writer.mutate(UnixMillis(30), |m| m.remove(&path("a"))).unwrap();
    let at = |tick| (text(&tree(&store, 1, tick), "a"), text(&tree(&store, 1, tick), "b"));
    let some = |s: &str| Some(s.to_owned());
    assert_eq!(at(0), (some("zero\n"), None));
    assert_eq!(at(1), (some("one\n"), None));
    assert_eq!(at(2), (some("one\n"), some("new\n")));
    assert_eq!(at(3), (None, some("new\n")));
}

#[test]
fn a_directory_moves_with_all_that_is_in_it_in_one_tick() {
    let temp = tempfile::tempdir().unwrap();
    let store = open_new(&temp.path().join("s"));
    let writer = with_base(&store, &[]);
    writer.mutate(UnixMillis(1), |m| m.save(&path("d"), &meta(NodeType::Dir), Content::None)).unwrap();
    save(&writer, "d/x", "x");
    let tick = writer.mutate(UnixMillis(1), |m| m.rename(&path("d"), &path("e"))).unwrap();
    assert_eq!(tick, Tick(3));
    assert_eq!(listing(&tree(&store, 1, 2)), ["", "d", "d/x"]);
    assert_eq!(listing(&tree(&store, 1, 3)), ["", "e", "e/x"]);
    assert_eq!(text(&tree(&store, 1, 3), "e/x"), Some("x".to_owned()));
    let removed = writer.mutate(UnixMillis(1), |m| m.remove(&path("e"))).unwrap();
    assert_eq!(removed, Some(Tick(5)));
    assert_eq!(listing(&tree(&store, 1, 5)), [""]);
    let again = store.view().unwrap().burst_of(Tick(5)).unwrap();
    assert_eq!(again, (Tick(4), Tick(5)));
}

#[test]
fn the_next_change_while_detached_forks_and_loses_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let store = open_new(&temp.path().join("s"));
    let writer = with_base(&store, &[("f", "0"), ("g", "0")]);
    for n in 1..=5 {
        save(&writer, "f", &n.to_string());
    }
    let stand = |tick| Stand { branch: BranchNo(1), tick: Tick(tick), partial: Vec::new() };
    writer.mutate(UnixMillis(1), move |m| m.move_cursor(stand(2), "revert")).unwrap();
    assert_eq!(save(&writer, "f", "2"), Saved::Unchanged);
    assert_eq!(save(&writer, "f", "other"), Saved::Ticked(Tick(6)));
    let view = store.view().unwrap();
    let fork = view.branches().by_label("main-1").unwrap().clone();
    assert_eq!((fork.parent, fork.forked_at_tick, fork.auto), (Some(BranchNo(1)), Some(Tick(2)), true));
    assert!(view.cursor().unwrap().is_attached());
    assert_eq!(text(&tree(&store, 1, 5), "f"), Some("5".to_owned()));
    assert_eq!(text(&tree(&store, 2, 2), "f"), Some("2".to_owned()));
    assert_eq!(text(&tree(&store, 2, 6), "f"), Some("other".to_owned()));
    assert!(matches!(view.tree(Point { branch: BranchNo(2), tick: Tick(4) }), Err(Error::NotFound { .. })));
}

#[test]
fn a_refused_mutation_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let store = open_new(&temp.path().join("s"));
    let writer = with_base(&store, &[("a", "0")]);
    let end = writer.end();
    let failed: Result<()> = writer.mutate(UnixMillis(1), |m| {
        m.save(&path("a"), &meta(NodeType::File), Content::Bytes(b"1".to_vec()))?;
        Err(Error::refused("changed my mind"))
    });
    assert!(failed.is_err());
    assert_eq!(writer.end(), end);
    assert_eq!(store.view().unwrap().last_tick(), Tick(0));
    assert_eq!(save(&writer, "a", "2"), Saved::Ticked(Tick(1)));
}

#[test]
fn a_lost_index_comes_back_identical() {
    let temp = tempfile::tempdir().unwrap();
    let store = open_new(&temp.path().join("s"));
    let writer = with_base(&store, &[("a", "0")]);
    for n in 0..50 {
        save(&writer, if n % 3 == 0 { "a" } else { "b" }, &n.to_string());
    }
    writer.mutate(UnixMillis(1), |m| m.remove(&path("a"))).unwrap();
    writer
        .mutate(UnixMillis(1), |m| m.put_entity(&ItemType::HANDOFF, "h", &serde_json::json!({"x": 1})))
        .unwrap();
    writer.close().unwrap();
    let before = temp.path().join("before.db");
    std::fs::copy(store.layout().index(), &before).unwrap();
    std::fs::remove_file(store.layout().index()).unwrap();
    let store = Store::open(Arc::new(RealDisk::default()), store.layout().dir()).unwrap();
    assert!(matches!(store.refresh(who()).unwrap(), Freshness::Healed { .. }));
    let differences = store.index().read(|q| crate::index::differences(q.0, &before)).unwrap();
    assert_eq!(differences, Vec::<String>::new());
    assert_eq!(store.refresh(who()).unwrap(), Freshness::Current);
}

#[test]
fn threads_that_save_at_once_share_a_commit_and_keep_the_order() {
    let temp = tempfile::tempdir().unwrap();
    let store = open_new(&temp.path().join("s"));
    let writer = with_base(&store, &[]);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let writer = &writer;
            scope.spawn(move || {
                for n in 0..50 {
                    save(writer, &format!("f{thread}"), &format!("{thread}/{n}"));
                }
            });
        }
    });
    let view = store.view().unwrap();
    assert_eq!(view.last_tick(), Tick(400));
    let seqs: Vec<u64> = view.ticks(Tick(1), Tick(400), 1000).unwrap().iter().map(|t| t.seq.0).collect();
    assert!(seqs.is_sorted());
    for thread in 0..8 {
        assert_eq!(text(&tree(&store, 1, 400), &format!("f{thread}")), Some(format!("{thread}/49")));
    }
}
