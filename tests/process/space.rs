//! A filesystem that is really full.

use std::error::Error as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tickfs_store::history::Point;
use tickfs_store::ids::{BranchNo, Tick, UnixMillis, UnixNanos};
use tickfs_store::journal::entry::NodeType;
use tickfs_store::path::RelPath;
use tickfs_store::{Content, Error, Freshness, Meta, Saved, Store, StoreWriter};

use crate::{new_store, skip, who, writer};

const SIZE: u64 = 4 << 20;

/// A small filesystem in memory, unmounted when it is dropped.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> io::Result<Self> {
        let options = std::ffi::CString::new(format!("size={SIZE},mode=0700")).unwrap();
        mount("tickfs-test", at, "tmpfs", MountFlags::empty(), Some(options.as_c_str()))?;
        Ok(Self(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        if unmount(&self.0, UnmountFlags::empty()).is_err() {
            unmount(&self.0, UnmountFlags::DETACH).unwrap();
        }
    }
}

/// Shows EL-52.
#[test]
fn crash_process_a_full_disk_fails_the_mutation_and_loses_nothing() {
    if skip(!rustix::process::geteuid().is_root(), "only root may mount") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let small = match Small::mount(temp.path()) {
        Ok(small) => small,
        Err(error) => {
            skip(true, &format!("mounting a tmpfs: {error}"));
            return;
        }
    };
    // Each time a little more is free, so that the packs, the journal and the index are each the first to be full.
    let mut failures = 0;
    for spare in (0..40).map(|step| step * 4096) {
        failures += fill_and_free(&small.0, spare);
    }
    assert!(failures >= 40, "only {failures} mutations failed, so little was shown");
}

/// Gives how many mutations failed.
fn fill_and_free(dir: &Path, spare: u64) -> u64 {
    let store = new_store(dir);
    let by_us = writer(&store);
    by_us
        .mutate(UnixMillis(1), |m| {
            m.base(&RelPath::root(), &meta(NodeType::Dir), Content::None)?;
            m.finish_base("8c3c0c0e-0000-4000-8000-000000000001")
        })
        .unwrap();
    let mut confirmed = Vec::new();
    let save_some = |by: &StoreWriter, confirmed: &mut Vec<(Tick, Vec<u8>)>, most: u64| {
        for number in 0..most {
            let text = random_text(confirmed.len() as u64 * 1000 + number + spare);
            let bytes = text.clone();
            let saved = by.mutate(UnixMillis(2), move |m| {
                m.save(&RelPath::new("f").unwrap(), &meta(NodeType::File), Content::Bytes(bytes))
            });
            match saved {
                Ok(Saved::Ticked(tick)) => confirmed.push((tick, text)),
                Ok(Saved::Unchanged) => panic!("each text differs from the one before"),
                Err(error) => return Some(error),
            }
        }
        None
    };
    assert!(save_some(&by_us, &mut confirmed, 3).is_none());
    let ballast = dir.join("ballast");
    fill(&ballast, dir, spare);
    let error = save_some(&by_us, &mut confirmed, 200).expect("the disk is full");
    assert!(says_that_the_disk_is_full(&error), "spare {spare}: {error:?}");
    let again = save_some(&by_us, &mut confirmed, 1);
    check_what_is_shown(&store, &confirmed, spare);
    fs::remove_file(&ballast).unwrap();
    if let Some(error) = save_some(&by_us, &mut confirmed, 3) {
        panic!("spare {spare}: there is space again, and still {error:?}");
    }
    check(&store, &confirmed, spare);
    drop(by_us);
    let opened = Store::open(store.disk().clone(), store.layout().dir()).unwrap();
    opened.refresh(who()).unwrap();
    check(&opened, &confirmed, spare);
    let by_next = opened.writer(who(), Duration::from_secs(5)).unwrap();
    assert_eq!(by_next.store().index_differences().unwrap(), Vec::<String>::new(), "spare {spare}");
    assert!(save_some(&by_next, &mut confirmed, 3).is_none());
    check(&opened, &confirmed, spare);
    drop(by_next);
    fs::remove_dir_all(dir.join("store")).unwrap();
    1 + u64::from(again.is_some())
}

fn meta(kind: NodeType) -> Meta {
    let mode = if kind == NodeType::Dir { 0o040_755 } else { 0o100_644 };
    Meta { kind, mode, uid: 0, gid: 0, mtime: UnixNanos(1), holes: Vec::new() }
}

/// Nothing makes it shorter, and nothing is like another.
fn random_text(seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..3_000).map(|_| random.u8(..)).collect()
}

fn fill(ballast: &Path, dir: &Path, spare: u64) {
    let file = File::create(ballast).unwrap();
    let space = rustix::fs::statvfs(dir).unwrap();
    let len = (space.f_bavail * space.f_frsize).saturating_sub(spare);
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len).unwrap();
}

fn says_that_the_disk_is_full(error: &Error) -> bool {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text += &format!(": {inner}");
        source = inner.source();
    }
    text.contains("No space left") || text.contains("disk is full") || text.contains("bytes were written")
}

/// While the disk is full the journal may have found room for a change and the index none: then the answer is as far as
/// the index goes, and is said to be stale.
fn check_what_is_shown(store: &Store, confirmed: &[(Tick, Vec<u8>)], spare: u64) {
    let shown = usize::try_from(store.view().unwrap().last_tick().0).unwrap();
    if shown < confirmed.len() {
        let freshness = store.refresh(who()).unwrap();
        assert!(matches!(freshness, Freshness::Stale { .. }), "spare {spare}: {freshness:?}");
    }
    check(store, &confirmed[..shown], spare);
}

/// Every confirmed tick is there with its bytes, and no other.
fn check(store: &Store, confirmed: &[(Tick, Vec<u8>)], spare: u64) {
    let view = store.view().unwrap();
    let last = confirmed.last().map(|&(tick, _)| tick);
    assert_eq!(Some(view.last_tick()), last, "spare {spare}");
    for (number, (tick, text)) in (1..).zip(confirmed) {
        assert_eq!(*tick, Tick(number), "spare {spare}");
        let tree = view.tree(Point { branch: BranchNo::MAIN, tick: *tick }).unwrap();
        let entry = tree.resolve(&RelPath::new("f").unwrap()).unwrap().unwrap();
        assert_eq!(tree.read(&entry.version).unwrap(), *text, "spare {spare}, tick {tick}");
    }
}
