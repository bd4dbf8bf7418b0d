//! What a process left that is gone: its metadata, and what it made for its mounts.
//!
//! Invariant: it is removed under the store's lock, so that what a process that begins just now has written stays.

use std::path::Path;
use std::time::Duration;

use tickfs_store::disk::DiskLock;
use tickfs_store::path::RelPath;
use tickfs_store::{Error, Store};

use super::{metadata, mountpoint};

/// `false`: there was none, or somebody else has the lock and sees to it.
pub(crate) fn remove(store: &Store, file: Option<&RelPath>) -> anyhow::Result<bool> {
    match lock(store)? {
        Some(_lock) => metadata::remove(store, file),
        None => Ok(false),
    }
}

/// Removes the mount points that were made, where nothing is mounted any more.
pub(crate) fn tidy_mounts(store: &Store, root: &Path) -> anyhow::Result<()> {
    if let Some(_lock) = lock(store)? {
        mountpoint::clear_leftovers(store, root)?;
    }
    Ok(())
}

fn lock(store: &Store) -> anyhow::Result<Option<Box<dyn DiskLock>>> {
    let path = store.layout().lock();
    let lock = store.disk().lock(&path, Duration::ZERO);
    Ok(lock.map_err(|source| Error::Io { action: "lock", path, source })?)
}
