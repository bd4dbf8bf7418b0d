//! The store from end to end on a real disk: save, durable tick, read back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Content, Freshness, Meta, Saved, Store, StoreWriter};
use crate::disk::RealDisk;
use crate::error::{Error, Result};
use crate::history::{Point, Stand, Tree, View};
use crate::ids::{BranchNo, StoreId, Tick, UnixMillis, UnixNanos};
use crate::journal::entry::{Action, ItemType, NodeType, Writer};
use crate::path::RelPath;

pub(crate) fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

pub(crate) fn who() -> Writer {
    Writer { writer: "test".to_owned(), writer_id: None, pid: std::process::id() }
}

pub(crate) fn meta(kind: NodeType) -> Meta {
    let mode = match kind {
        NodeType::File => 0o100_644,
        NodeType::Dir => 0o040_755,
        NodeType::Symlink => 0o120_777,
    };
    Meta { kind, mode, uid: 0, gid: 0, mtime: UnixNanos(1), holes: Vec::new() }
}

pub(crate) fn open_new(dir: &Path) -> Store {
    Store::init(Arc::new(RealDisk), dir, StoreId::new(UnixMillis(1), [7; 10])).unwrap()
}

pub(crate) fn writer(store: &Store) -> StoreWriter {
    store.writer(who(), Duration::from_secs(5)).unwrap()
}

pub(crate) fn with_base(store: &Store, files: &[(&'static str, &'static str)]) -> StoreWriter {
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

pub(crate) fn save(writer: &StoreWriter, name: &str, text: &str) -> Saved {
    let (name, text) = (path(name), text.as_bytes().to_vec());
    writer
        .mutate(UnixMillis(20), move |m| m.save(&name, &meta(NodeType::File), Content::Bytes(text)))
        .unwrap()
}

pub(crate) fn tree(store: &Store, branch: u32, tick: u64) -> Tree {
    store.view().unwrap().tree(Point { branch: BranchNo(branch), tick: Tick(tick) }).unwrap()
}

pub(crate) fn text(tree: &Tree, name: &str) -> Option<String> {
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
fn what_the_writer_says_of_history_is_what_the_index_says() {
    let temp = tempfile::tempdir().unwrap();
    let store = open_new(&temp.path().join("s"));
    let reader = Store::open(Arc::new(RealDisk), &temp.path().join("s")).unwrap();
    let writer = with_base(&store, &[("a", "zero\n"), ("b", "zero\n")]);
    let expect_the_same = |what: &str| {
        let told = store.latest().expect("a writer lives");
        assert_eq!(told, reader.index().read(crate::history::Known::load).unwrap(), "{what}");
        for branch in told.branches.listed() {
            let slow = told.branches.chain(branch.no, Tick(u64::MAX)).last().map(|span| span.last);
            assert_eq!(told.branches.head(branch.no), slow.unwrap_or(Tick::BASE), "{what}: {}", branch.label);
        }
    };
    expect_the_same("the base");
    for n in 0..3 {
        save(&writer, "a", &format!("{n}\n"));
        save(&writer, "b", &format!("{n}\n"));
        let back = Stand { branch: BranchNo::MAIN, tick: Tick(1), partial: Vec::new() };
        writer.mutate(UnixMillis(30), move |m| m.move_cursor(back, "revert")).unwrap();
        expect_the_same("after a revert");
        save(&writer, "a", &format!("forked {n}\n"));
        expect_the_same("after a fork");
        let tick = store.view().unwrap().head(BranchNo::MAIN).tick;
        let head = Stand { branch: BranchNo::MAIN, tick, partial: Vec::new() };
        writer.mutate(UnixMillis(30), move |m| m.move_cursor(head, "jump")).unwrap();
        expect_the_same("after a jump");
        let refused = writer.mutate(UnixMillis(30), |m| {
            m.save(&path("c"), &meta(NodeType::File), Content::Bytes(b"c".to_vec()))?;
            Err::<(), _>(Error::refused("not this"))
        });
        assert!(refused.is_err());
        expect_the_same("after a refusal");
    }
    writer.rebuild_index().unwrap();
    expect_the_same("after a rebuild");
    writer.close().unwrap();
    assert!(store.latest().is_none(), "another process may write now");
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

/// Shows EL-03, EL-101.
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
    let store = Store::open(Arc::new(RealDisk), store.layout().dir()).unwrap();
    assert!(matches!(store.refresh(who()).unwrap(), Freshness::Healed { .. }));
    let differences = store.index().examine(|db| crate::index::differences(db, &before)).unwrap();
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

#[test]
fn a_path_remembers_each_version_once_through_renames_and_forks() {
    let temp = tempfile::tempdir().unwrap();
    let store = open_new(&temp.path().join("s"));
    let writer = with_base(&store, &[("f", "0")]);
    save(&writer, "f", "1");
    writer.mutate(UnixMillis(1), |m| m.rename(&path("f"), &path("g"))).unwrap();
    save(&writer, "g", "3");
    save(&writer, "f", "4");
    let stand = Stand { branch: BranchNo(1), tick: Tick(1), partial: Vec::new() };
    writer.mutate(UnixMillis(1), move |m| m.move_cursor(stand, "revert")).unwrap();
    save(&writer, "f", "5");
    let view = store.view().unwrap();
    let versions = |name: &str| -> Vec<(u64, u32, Option<u64>)> {
        let found = view.versions_of(&path(name)).unwrap();
        found.iter().map(|v| (v.at.0, v.branch.0, v.version.as_ref().map(|v| v.tick.0))).collect()
    };
    assert_eq!(
        versions("f"),
        [(0, 1, Some(0)), (1, 1, Some(1)), (2, 1, None), (4, 1, Some(4)), (5, 2, Some(5))]
    );
    assert_eq!(versions("g"), [(2, 1, Some(1)), (3, 1, Some(3))]);
    // The same from the newest on, in portions of any size.
    for (name, branch, newest) in
        [("f", 1, &[4, 2, 1, 0][..]), ("f", 2, &[5, 1, 0]), ("g", 1, &[3, 2]), ("g", 2, &[]), ("h", 1, &[])]
    {
        for limit in 1..=5 {
            let (mut before, mut found) = (Tick(u64::MAX), Vec::new());
            loop {
                let portion = view.newest_of(&path(name), BranchNo(branch), before, limit).unwrap();
                assert!(portion.len() <= limit);
                let Some(oldest) = portion.last() else { break };
                before = oldest.at;
                found.extend(portion.into_iter().map(|version| version.at.0));
            }
            assert_eq!(found, newest, "{name} on {branch}, {limit} at once");
        }
    }
    let line = view.line_of(&path("g"), Point { branch: BranchNo(1), tick: Tick(4) }).unwrap();
    assert_eq!(line.iter().map(|v| v.tick.0).collect::<Vec<_>>(), [0, 1, 3]);
}

#[test]
fn what_differs_between_two_points_is_found_across_branches_and_moved_directories() {
    let temp = tempfile::tempdir().unwrap();
    let store = open_new(&temp.path().join("s"));
    let writer = with_base(&store, &[("a", "0"), ("b", "0")]);
    writer.mutate(UnixMillis(1), |m| m.save(&path("d"), &meta(NodeType::Dir), Content::None)).unwrap();
    save(&writer, "d/x", "x");
    save(&writer, "a", "3");
    save(&writer, "a", "0");
    writer.mutate(UnixMillis(1), |m| m.rename(&path("d"), &path("e"))).unwrap();
    let stand = Stand { branch: BranchNo(1), tick: Tick(2), partial: Vec::new() };
    writer.mutate(UnixMillis(1), move |m| m.move_cursor(stand, "revert")).unwrap();
    save(&writer, "b", "fork");
    let view = store.view().unwrap();
    let changed = |a: (u32, u64), b: (u32, u64)| -> Vec<String> {
        let point = |(branch, tick)| Point { branch: BranchNo(branch), tick: Tick(tick) };
        view.changed(point(a), point(b)).unwrap().iter().map(|c| c.path.to_string()).collect()
    };
    assert_eq!(changed((1, 2), (1, 3)), ["a"]);
    assert_eq!(changed((1, 2), (1, 4)), Vec::<String>::new());
    assert_eq!(changed((1, 2), (1, 5)), ["d", "d/x", "e", "e/x"]);
    assert_eq!(changed((1, 3), (2, 6)), ["a", "b"]);
    assert_eq!(changed((2, 6), (1, 5)), ["b", "d", "d/x", "e", "e/x"]);
}

#[test]
fn a_snapshot_names_a_tick_or_an_imported_tree() {
    let temp = tempfile::tempdir().unwrap();
    let store = open_new(&temp.path().join("s"));
    let writer = with_base(&store, &[("a", "0")]);
    save(&writer, "a", "1");
    writer
        .mutate(UnixMillis(1), |m| {
            m.create_snapshot("before", Point { branch: BranchNo(1), tick: Tick(1) })?;
            let tree = m.begin_import("theirs", "an-id")?;
            m.import_entry(tree, &RelPath::root(), &meta(NodeType::Dir), Content::None)?;
            m.import_entry(tree, &path("a"), &meta(NodeType::File), Content::Bytes(b"theirs".to_vec()))?;
            m.finish_import("theirs", tree, "/elsewhere")
        })
        .unwrap();
    writer.mutate(UnixMillis(1), |m| m.rename_snapshot("before", "then")).unwrap();
    let view = store.view().unwrap();
    let at = |name: &str| text(&view.tree(view.snapshot(name).unwrap().point()).unwrap(), "a");
    assert_eq!(at("then"), Some("1".to_owned()));
    assert_eq!(at("theirs"), Some("theirs".to_owned()));
    assert!(view.snapshot("before").is_err());
    assert_eq!(view.branches().listed().count(), 1);
    assert_eq!(save(&writer, "a", "2"), Saved::Ticked(Tick(2)));
}

/// A listing of snapshots would fail otherwise, for one that leads to a branch the view never heard of.
#[test]
fn a_view_does_not_show_snapshots_and_events_of_later() {
    let temp = tempfile::tempdir().unwrap();
    let store = open_new(&temp.path().join("s"));
    let writer = with_base(&store, &[("a", "0")]);
    let note = |writer: &StoreWriter, name: &'static str, tick: u64| {
        save(writer, "a", name);
        writer
            .mutate(UnixMillis(1), move |m| {
                m.create_snapshot(name, Point { branch: BranchNo(1), tick: Tick(tick) })?;
                m.observe(Action::Failed, &ItemType::STATE, None, &serde_json::json!({"error": "it failed"}))
            })
            .unwrap();
    };
    note(&writer, "first", 1);
    let before = store.view().unwrap();
    note(&writer, "second", 2);
    let after = store.view().unwrap();
    let names = |view: &View| -> Vec<String> {
        view.snapshots().unwrap().into_iter().map(|snapshot| snapshot.name).collect()
    };
    let failures = |view: &View| view.observed(&[Action::Failed], 9).unwrap().len();
    assert_eq!((names(&before), failures(&before)), (vec!["first".to_owned()], 1));
    assert_eq!((names(&after), failures(&after)), (vec!["first".to_owned(), "second".to_owned()], 2));
    assert!(before.snapshot("second").is_err());
    assert_eq!(after.snapshot("second").unwrap().tick, Tick(2));
    assert_ne!(before.observed(&[Action::Failed], 1).unwrap(), after.observed(&[Action::Failed], 1).unwrap());
}

#[test]
fn a_file_put_back_alone_comes_along_to_the_fork_as_its_first_tick() {
    let temp = tempfile::tempdir().unwrap();
    let store = open_new(&temp.path().join("s"));
    let writer = with_base(&store, &[("f", "0"), ("g", "0")]);
    save(&writer, "f", "1");
    save(&writer, "g", "2");
    let partial = vec![crate::history::PartialPath {
        path: path("f"),
        at: Point { branch: BranchNo(1), tick: Tick(0) },
    }];
    let stand = Stand { branch: BranchNo(1), tick: Tick(2), partial };
    writer.mutate(UnixMillis(1), move |m| m.move_cursor(stand, "revert")).unwrap();
    assert_eq!(save(&writer, "f", "0"), Saved::Unchanged);
    assert_eq!(save(&writer, "g", "new"), Saved::Ticked(Tick(4)));
    let fork = tree(&store, 2, 4);
    assert_eq!((text(&fork, "f"), text(&fork, "g")), (Some("0".to_owned()), Some("new".to_owned())));
    assert_eq!(text(&tree(&store, 2, 3), "g"), Some("2".to_owned()));
    assert_eq!(text(&tree(&store, 1, 2), "f"), Some("1".to_owned()));
}

#[test]
fn lines_know_who_wrote_them_and_can_be_found_in_all_of_history() {
    let temp = tempfile::tempdir().unwrap();
    let store = open_new(&temp.path().join("s"));
    let writer = with_base(&store, &[("f", "one\ntwo\n")]);
    save(&writer, "f", "one\nTWO\n");
    save(&writer, "f", "zero\none\nTWO\n");
    writer.mutate(UnixMillis(1), |m| m.rename(&path("f"), &path("g"))).unwrap();
    let view = store.view().unwrap();
    let head = Point { branch: BranchNo(1), tick: Tick(3) };
    let blame = view.blame(&path("g"), head).unwrap();
    let ticks: Vec<u64> = blame.iter().map(|(tick, _)| tick.0).collect();
    assert_eq!(ticks, [2, 0, 1]);
    let matcher =
        crate::diff::Matcher::new(&crate::diff::Search { pattern: "two", ..Default::default() }).unwrap();
    let two = std::num::NonZeroUsize::new(2).unwrap();
    assert_eq!(view.grep(&matcher, head, two).unwrap(), []);
    let all = view.grep_all(&matcher, two).unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(
        (all[0].path.to_string(), all[0].tick.0, all[0].line.clone()),
        ("f".into(), 0, Some((2, b"two".to_vec())))
    );
}

#[test]
fn a_file_of_many_chunks_is_taken_as_a_stream_and_read_back() {
    let temp = tempfile::tempdir().unwrap();
    let store = open_new(&temp.path().join("s"));
    let writer = with_base(&store, &[]);
    let big: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
    let take = || {
        let (mut reader, size) = (big.as_slice(), big.len() as u64);
        writer.mutate_alone(UnixMillis(1), |m| {
            m.save(&path("big"), &meta(NodeType::File), Content::Stream { reader: &mut reader, size })
        })
    };
    assert_eq!(take().unwrap(), Saved::Ticked(Tick(1)));
    assert_eq!(take().unwrap(), Saved::Unchanged);
    let tree = tree(&store, 1, 1);
    let entry = tree.resolve(&path("big")).unwrap().unwrap();
    assert_eq!(entry.version.size, big.len() as u64);
    assert!(tree.read(&entry.version).unwrap() == big, "the content differs");
}

/// Shows EL-65: a roll makes a checkpoint, and so does asking for one; nothing runs beside the command.
#[test]
fn a_roll_makes_a_checkpoint_and_compaction_parks_what_it_makes_redundant() {
    let temp = tempfile::tempdir().unwrap();
    let store = open_new(&temp.path().join("s"));
    let writer = with_base(&store, &[("a", "0")]);
    let long = "x".repeat(60_000);
    for n in 0..400 {
        let body = serde_json::json!({"n": n, "text": long});
        let id = format!("h{}", n % 7);
        writer.mutate(UnixMillis(n), move |m| m.put_entity(&ItemType::HANDOFF, &id, &body)).unwrap();
        if n % 50 == 0 {
            save(&writer, "a", &n.to_string());
        }
    }
    assert_eq!(writer.upkeep_failures(), Vec::<String>::new());
    let dir = crate::journal::JournalDir::new(&store.layout().journal());
    let disk = store.disk();
    assert_eq!(crate::journal::checkpoint::list(disk, &dir).unwrap().good.len(), 2);
    let upkeep = writer.compact(UnixMillis(1000)).unwrap();
    assert_eq!(upkeep.parked.len(), 2);
    assert_eq!(writer.healed(), 0);
    drop(writer);
    std::fs::remove_file(store.layout().index()).unwrap();
    let store = Store::open(Arc::clone(disk), store.layout().dir()).unwrap();
    store.refresh(who()).unwrap();
    assert_eq!(text(&tree(&store, 1, 3), "a"), Some("150".to_owned()));
    assert_eq!(store.view().unwrap().entities(&ItemType::HANDOFF).unwrap().len(), 7);
}

#[test]
fn a_view_shows_no_version_and_no_name_that_came_after_it() {
    let temp = tempfile::tempdir().unwrap();
    let store = open_new(&temp.path().join("s"));
    let writer = with_base(&store, &[("a", "zero")]);
    save(&writer, "a", "one");
    let view = store.view().unwrap();
    let seen = |view: &crate::history::View| {
        let versions = view.versions_of(&path("a")).unwrap();
        let ticks: Vec<u64> = versions.iter().map(|version| version.at.0).collect();
        (ticks, view.names_ever(&RelPath::root(), b"", 10).unwrap())
    };
    let before = seen(&view);
    assert_eq!(before, (vec![0, 1], vec![b"a".to_vec()]));
    save(&writer, "a", "two");
    save(&writer, "b", "new");
    writer.mutate(UnixMillis(1), |m| m.remove(&path("a"))).unwrap();
    save(&writer, "a", "again");
    assert_eq!(seen(&view), before);
    let after = seen(&store.view().unwrap());
    assert_eq!(after, (vec![0, 1, 2, 4, 5], vec![b"a".to_vec(), b"b".to_vec()]));
}

fn proof_of(store: &Store) -> std::path::PathBuf {
    store.layout().dir().join("index.db.sum")
}

/// A bit in a key made a search miss the row: an older version was shown as the one that held then.
#[test]
fn a_bit_that_flipped_in_a_closed_index_is_found_before_it_is_believed() {
    let temp = tempfile::tempdir().unwrap();
    let store = open_new(&temp.path().join("s"));
    let writer = with_base(&store, &[("a", "zero")]);
    for n in 0..40 {
        save(&writer, "a", &n.to_string());
        save(&writer, &format!("file-{n}"), "x");
    }
    writer.close().unwrap();
    let (index, sound) = (store.layout().index(), std::fs::read(store.layout().index()).unwrap());
    for byte in (100..sound.len()).step_by(sound.len() / 40) {
        let mut bytes = sound.clone();
        bytes[byte] ^= 1 << (byte % 8);
        std::fs::write(&index, bytes).unwrap();
        let store = Store::open(Arc::new(RealDisk), store.layout().dir()).unwrap();
        let seen = store.view();
        assert!(matches!(seen, Err(Error::Corrupt { .. } | Error::Index { .. })), "byte {byte}: {seen:?}");
        assert_eq!(store.refresh(who()).unwrap(), Freshness::Healed { records: 84 }, "byte {byte}");
        assert_eq!(text(&tree(&store, 1, 79), "a"), Some("39".to_owned()));
        assert!(proof_of(&store).exists());
    }
    assert!(store.layout().quarantine().join("index.db.1").exists());
}

/// It was unproved until a process that serves made it anew.
#[test]
fn an_index_whose_writer_died_is_proved_again_by_whoever_reads_next() {
    let temp = tempfile::tempdir().unwrap();
    let store = open_new(&temp.path().join("s"));
    drop(with_base(&store, &[("a", "zero")]));
    // They die without closing, one with a log that was put into the database before.
    for (n, saves) in [(1, 1), (2, 400), (3, 3)] {
        let writer = self::writer(&store);
        for k in 0..saves {
            save(&writer, &format!("{n}-{k}"), "new");
        }
        let dead = temp.path().join(n.to_string());
        copy_dir(store.layout().dir(), &dead);
        let log = dead.join("index.db-wal");
        assert!(log.exists(), "{n}: it lies there as a killed process leaves it");
        let reader = Store::open(Arc::new(RealDisk), &dead).unwrap();
        assert_eq!(reader.refresh(who()).unwrap(), Freshness::Current);
        assert!(!log.exists(), "{n}");
        assert_eq!(reader.index_differences().unwrap(), Vec::<String>::new());
        let next = self::writer(&reader);
        assert!(reader.index().is_proved(), "{n}");
        assert!(!dead.join("quarantine").exists(), "{n}");
        drop(next);
    }
}

/// A page that no log brought must be as it was, whoever died in between.
#[test]
fn a_bit_that_flipped_beside_a_log_is_found_by_the_next_writer() {
    let temp = tempfile::tempdir().unwrap();
    let store = open_new(&temp.path().join("s"));
    let writer = with_base(&store, &[("a", "zero")]);
    for n in 0..300 {
        save(&writer, &format!("file-{n}"), "x");
    }
    drop(writer);
    let writer = self::writer(&store);
    save(&writer, "file-7", "y");
    let dead = temp.path().join("dead");
    copy_dir(store.layout().dir(), &dead);
    drop(writer);
    let sound = std::fs::read(dead.join("index.db")).unwrap();
    let pages = sound.len() / 8192;
    let flipped = (1..pages).filter(|page| {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("s");
        copy_dir(&dead, &dir);
        let mut bytes = sound.clone();
        bytes[page * 8192 + 5000] ^= 1;
        std::fs::write(dir.join("index.db"), &bytes).unwrap();
        let store = Store::open(Arc::new(RealDisk), &dir).unwrap();
        let writer = self::writer(&store);
        assert_eq!(text(&tree(&store, 1, 301), "file-7"), Some("y".to_owned()));
        assert_eq!(text(&tree(&store, 1, 300), "file-299"), Some("x".to_owned()));
        writer.close().unwrap();
        assert_eq!(store.index_differences().unwrap(), Vec::<String>::new());
        store.layout().quarantine().join("index.db.1").exists()
    });
    let found = flipped.count();
    assert!(
        found > 0 && found < pages,
        "{found} of {pages} pages: the log brings those that were written last"
    );
}

/// As a store of another time, or one whose proof was lost.
#[test]
fn an_index_without_a_proof_is_proved_again_by_upkeep() {
    let temp = tempfile::tempdir().unwrap();
    let store = open_new(&temp.path().join("s"));
    let writer = with_base(&store, &[("a", "zero")]);
    save(&writer, "a", "one");
    save(&writer, "a", "two");
    writer.close().unwrap();
    std::fs::remove_file(proof_of(&store)).unwrap();
    assert_eq!(text(&tree(&store, 1, 2), "a"), Some("two".to_owned()));
    let writer = self::writer(&store);
    assert_eq!(writer.healed(), 0, "no damage was seen where there is none");
    save(&writer, "a", "three");
    let step = writer.upkeep_step(UnixMillis(50), &|| true).unwrap();
    assert!(matches!(step, Some(super::UpkeepStep::Index)), "{step:?}");
    save(&writer, "a", "four");
    assert!(writer.upkeep_step(UnixMillis(50), &|| true).unwrap().is_none());
    writer.close().unwrap();
    assert!(proof_of(&store).exists());
    assert_eq!(store.index_differences().unwrap(), Vec::<String>::new());
    assert_eq!(text(&tree(&store, 1, 4), "a"), Some("four".to_owned()));
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn upkeep_in_the_background_goes_step_by_step_and_changes_nothing_that_can_be_read() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("s");
    drop(open_new(&dir));
    let config = "[store.journal]\nroll_bytes = 5000\n[store.packs]\nroll_bytes = 5000\n";
    std::fs::write(dir.join("config.toml"), config).unwrap();
    let store = Store::open(Arc::new(RealDisk), &dir).unwrap();
    let writer = with_base(&store, &[("a", "0")]);
    writer.leave_upkeep_to_background();
    let rolls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&rolls);
    writer.on_commit(Arc::new(move |committed| {
        counted.fetch_add(usize::from(committed.rolled), std::sync::atomic::Ordering::Relaxed);
    }));
    let contents = |n: u64| blake3::hash(&n.to_le_bytes()).to_hex().repeat(20);
    for n in 1..=120 {
        save(&writer, "a", &contents(n));
    }
    assert!(rolls.load(std::sync::atomic::Ordering::Relaxed) > 4, "{rolls:?} rolls");
    let names = |part: &str, ending: &str| {
        let names = std::fs::read_dir(dir.join(part)).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(ending)).count()
    };
    assert_eq!((names("journal", ".zst"), names("journal/checkpoints", "")), (0, 0), "no mutation does it");
    let (mut sealed, mut checkpoints, mut packs) = (0, 0, 0);
    let hot = || store.disk().list(&store.layout().packs()).unwrap();
    loop {
        let before = hot();
        match writer.upkeep_step(UnixMillis(50), &|| false).unwrap() {
            Some(super::UpkeepStep::Sealed(_)) => sealed += 1,
            Some(super::UpkeepStep::Checkpoint(_)) => checkpoints += 1,
            Some(super::UpkeepStep::Stopped) => {
                assert!(
                    hot()
                        .iter()
                        .all(|name| before.contains(name) || name.to_string_lossy().ends_with(".tmp"))
                );
                assert!(before.iter().all(|name| hot().contains(name)), "it was told to stop");
                let step = writer.upkeep_step(UnixMillis(50), &|| true).unwrap();
                assert!(matches!(step, Some(super::UpkeepStep::Pack(..))), "{step:?}");
                packs += 1;
            }
            Some(step) => panic!("{step:?}"),
            None => break,
        }
        save(&writer, "b", &sealed.to_string());
    }
    assert!(sealed > 1 && checkpoints >= 1 && packs > 1, "{sealed}, {checkpoints}, {packs}");
    for n in 1..=120 {
        assert_eq!(text(&tree(&store, 1, n), "a"), Some(contents(n)), "tick {n}");
    }
    drop(writer);
    std::fs::write(
        dir.join("config.toml"),
        config.replace("[store.packs]", "fsync = \"never\"\n[store.packs]"),
    )
    .unwrap();
    let store = Store::open(Arc::new(RealDisk), &dir).unwrap();
    let writer = self::writer(&store);
    for n in 0..60 {
        save(&writer, "a", &contents(n));
    }
    let step = writer.upkeep_step(UnixMillis(60), &|| true).unwrap();
    assert!(step.is_none(), "nothing is synced, so nothing may be replaced: {step:?}");
}

/// Shows PR-44: every revision can be rebuilt, deleted keys included, and applying the kept lines one by one gives the
/// same; and of PR-43, that the same value makes no record.
#[test]
fn a_document_can_be_had_at_each_of_its_revisions() {
    let temp = tempfile::tempdir().unwrap();
    let store = open_new(&temp.path().join("s"));
    let writer = with_base(&store, &[]);
    let mut kept = Vec::new();
    let mut document = crate::delta::Document::new();
    for n in 0..200u64 {
        document.insert("n".to_owned(), n.into());
        document.insert(format!("key{}", n % 17), serde_json::json!({"count": n, "same": true}));
        if n % 5 == 4 {
            document.remove(&format!("key{}", n % 3));
        }
        let copy = document.clone();
        let rev = writer.mutate(UnixMillis(1), move |m| m.put_document("cli_state", &copy)).unwrap();
        assert_eq!(rev, Some(n + 1));
        kept.push(document.clone());
    }
    let copy = document.clone();
    let end = writer.end();
    assert_eq!(writer.mutate(UnixMillis(1), move |m| m.put_document("cli_state", &copy)).unwrap(), None);
    assert_eq!(writer.end(), end);
    let view = store.view().unwrap();
    let mut before = None;
    for (rev, row) in (1..).zip(view.revisions("cli_state").unwrap()) {
        assert_eq!(view.document("cli_state", rev).unwrap(), kept[usize::try_from(rev).unwrap() - 1]);
        let line: crate::delta::Revision = serde_json::from_str(&row.body).unwrap();
        let document = line.document(before).unwrap();
        assert_eq!(document, kept[usize::try_from(rev).unwrap() - 1]);
        before = Some((rev, document));
    }
    assert_eq!(view.last_revision("cli_state").unwrap(), Some(200));
    assert!(view.document("cli_state", 201).is_err());
}
