//! The end of a store cut off at every byte: it opens, what is left reads, and it goes on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tickfs_store::Store;
use tickfs_store::history::Point;
use tickfs_store::ids::{BranchNo, UnixMillis, UnixNanos};
use tickfs_store::journal::entry::NodeType;
use tickfs_store::path::RelPath;
use tickfs_store::{Content, Meta};
use tickfs_tests::session::who;

use crate::answers::answers;
use crate::files::{V1, bytes_of, disk_with, open};

/// The last file whose name begins and ends so.
fn last(prefix: &str, suffix: &str) -> PathBuf {
    let names = V1.iter().map(|(path, _)| path);
    let mut fitting = names.filter(|path| {
        let name = path.to_string_lossy();
        name.starts_with(prefix) && name.ends_with(suffix)
    });
    fitting.next_back().expect("the golden store has one").clone()
}

/// Saves a file and reads it back, in this process and the next.
fn goes_on(store: &Store) -> tickfs_store::Result<()> {
    let name = RelPath::new("after").expect("a path");
    let text = b"after the cut\n".to_vec();
    let meta = Meta {
        kind: NodeType::File,
        mode: 0o100_644,
        uid: 0,
        gid: 0,
        mtime: UnixNanos(1),
        holes: Vec::new(),
    };
    let writer = store.writer(who(), Duration::ZERO)?;
    let saved = text.clone();
    writer.mutate(UnixMillis(1), move |m| m.save(&name, &meta, Content::Bytes(saved)).map(drop))?;
    drop(writer);
    store.refresh(who())?;
    let view = store.view()?;
    let branch = view.cursor().map_or(BranchNo::MAIN, |cursor| cursor.branch);
    let tree = view.tree(Point { branch, tick: view.last_tick() })?;
    let entry = tree.resolve(&RelPath::new("after").expect("a path"))?.expect("what was just saved");
    assert_eq!(tree.read(&entry.version)?, text);
    Ok(())
}

/// Every so many bytes; every one where more cases are asked for.
fn step(usual: usize) -> usize {
    if std::env::var_os("TICKFS_CASES").is_some() { 1 } else { usual }
}

/// Cuts a file at each of these lengths.
fn cut(path: &Path, lengths: impl Iterator<Item = usize>) {
    for len in lengths {
        let disk = disk_with(path, bytes_of(path)[..len].to_vec());
        let store = open(&disk).unwrap();
        store.refresh(who()).unwrap_or_else(|e| panic!("cut at {len}: {e}"));
        drop(answers(&store));
        goes_on(&store).unwrap_or_else(|e| panic!("cut at {len}: {e}"));
        let differences = store.index_differences().unwrap();
        assert!(differences.is_empty(), "cut at {len}: {differences:?}");
    }
}

#[test]
fn a_store_whose_last_segment_is_cut_anywhere_goes_on() {
    let path = last("journal/seg-", ".jsonl");
    cut(&path, (0..bytes_of(&path).len()).step_by(step(19)));
}

#[test]
fn a_store_whose_last_pack_is_cut_anywhere_goes_on() {
    let path = last("packs/h-", "");
    cut(&path, (0..bytes_of(&path).len()).step_by(step(3)));
}
