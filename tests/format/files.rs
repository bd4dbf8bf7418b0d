//! The files of a golden store, and disks that hold copies of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use tickfs_store::disk::{Disk, SimDisk};
use tickfs_store::{Result, Store};

pub(crate) const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/format/golden/v1");

/// A file's path in the store, and its bytes.
pub(crate) type Files = Vec<(PathBuf, Vec<u8>)>;

pub(crate) static V1: LazyLock<Files> = LazyLock::new(|| {
    let mut files = Files::new();
    collect(Path::new(GOLDEN), Path::new(""), &mut files);
    files.sort();
    assert!(!files.is_empty(), "there is no golden store");
    files
});

fn collect(top: &Path, below: &Path, files: &mut Files) {
    for entry in fs::read_dir(top.join(below)).expect("the golden store is committed") {
        let path = below.join(entry.expect("it can be listed").file_name());
        if top.join(&path).is_dir() {
            collect(top, &path, files);
        } else {
            files.push((path.clone(), fs::read(top.join(&path)).expect("it was just listed")));
        }
    }
}

/// Where the store lies on the simulated disks.
pub(crate) fn dir() -> PathBuf {
    PathBuf::from("/p/.app.tickfs")
}

pub(crate) fn index_name() -> &'static Path {
    Path::new("index.db")
}

/// The index, and the proof that lies beside it.
pub(crate) fn is_of_the_index(path: &Path) -> bool {
    path == index_name() || path == Path::new("index.db.sum")
}

/// A disk that holds these files. SQLite's file lies where SQLite looks for it.
pub(crate) fn disk_of(files: &[(PathBuf, Vec<u8>)]) -> SimDisk {
    let disk = SimDisk::default();
    // Git keeps no empty directories.
    for empty in ["journal/readers", "journal/archive", "journal/checkpoints", "packs"] {
        make_dirs(&disk, &dir().join(empty));
    }
    for (path, bytes) in files {
        let place = dir().join(path);
        if is_of_the_index(path) {
            fs::write(disk.database(&place), bytes).expect("the scratch directory can be written");
        } else {
            disk.write(&place, bytes).expect("a disk without faults takes it");
        }
    }
    disk
}

fn make_dirs(disk: &SimDisk, path: &Path) {
    let mut all: Vec<&Path> = path.ancestors().filter(|dir| dir.parent().is_some()).collect();
    all.reverse();
    for dir in all {
        disk.create_dir(dir).expect("a disk without faults takes it");
    }
}

/// The golden store with one file changed.
pub(crate) fn disk_with(path: &Path, bytes: Vec<u8>) -> SimDisk {
    let mut files = V1.clone();
    let changed = files.iter_mut().find(|(name, _)| name == path).expect("a file of the golden store");
    changed.1 = bytes;
    disk_of(&files)
}

pub(crate) fn bytes_of(path: &Path) -> &'static [u8] {
    &V1.iter().find(|(name, _)| name == path).expect("a file of the golden store").1
}

pub(crate) fn open(disk: &SimDisk) -> Result<Store> {
    Store::open(Arc::new(disk.clone()), &dir())
}
