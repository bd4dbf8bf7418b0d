//! What a process left that is gone: its metadata, and what it made for its mounts.
//!
//! Invariant: it is removed under the store's lock, so that what a process that begins just now has written stays.

use std::path::Path;
use std::time::{Duration, Instant};

use tickfs_store::disk::DiskLock;
use tickfs_store::path::RelPath;
use tickfs_store::{Error, Store};

use super::{metadata, mountpoint};
use crate::client::Conversation;

/// So long may a process that was killed take to end: it has the lock until the last of its threads is gone.
const ENDING: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// `false`: there was none, or a process that serves the store has the lock and sees to it.
pub(crate) fn remove(store: &Store, file: Option<&RelPath>) -> anyhow::Result<bool> {
    match lock(store)? {
        Some(_lock) => metadata::remove(store, file),
        None => Ok(false),
    }
}

/// Removes the mount points that were made, where nothing is mounted any more.
pub(crate) fn tidy_mounts(store: &Store, root: &Path) -> anyhow::Result<()> {
    if let Some(_lock) = lock(store)? {
        mountpoint::clear_leftovers(store, root, &[])?;
    }
    Ok(())
}

/// `None`: a process has begun to serve the store, or a command works in it for long.
fn lock(store: &Store) -> anyhow::Result<Option<Box<dyn DiskLock>>> {
    let path = store.layout().lock();
    let began = Instant::now();
    loop {
        let lock = store.disk().lock(&path, PAUSE);
        let lock = lock.map_err(|source| Error::Io { action: "lock", path: path.clone(), source })?;
        let is_served = || !matches!(Conversation::open(store.layout().dir()), Ok(None));
        if lock.is_some() || began.elapsed() > ENDING || is_served() {
            return Ok(lock);
        }
    }
}
