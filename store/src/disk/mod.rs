//! The seam to the medium: every byte of the store is read, written, made durable or renamed through [`Disk`].
//!
//! Invariants:
//!   * A path given to a `Disk` is absolute.
//!   * What is not synced may be lost, torn or reordered; a rename or a new name is durable after `sync_dir`.
//!   * Nobody but this module and the index (SQLite opens its own files) calls the operating system for storage.

mod network;
mod real;
mod veil;

#[cfg(test)]
mod alike;
#[cfg(any(test, feature = "sim"))]
mod counting;
#[cfg(any(test, feature = "sim"))]
mod op;
#[cfg(any(test, feature = "sim"))]
mod sim;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

#[cfg(any(test, feature = "sim"))]
pub use counting::{CountingDisk, Counts};
pub use network::{PretendedNetwork, network_name};
#[cfg(any(test, feature = "sim"))]
pub use op::{Op, OpKind};
pub use real::RealDisk;
#[cfg(any(test, feature = "sim"))]
pub use sim::{Cut, Fault, SimDisk};
pub use veil::Veil;

/// A medium. Handles are cheap to share; all methods may be called from any thread.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Opens for reading.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens an existing file for reading and appending (`O_APPEND`).
    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates a file for reading and appending, mode 0600; it is an error if the name exists.
    fn create_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Replaces `to` atomically if it exists. Durable after `sync_dir` of the directory.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Creates one directory, mode 0700; it is no error if it exists as a directory.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, sorted by bytes.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;

    /// `None` if nothing has that name. Does not follow a symlink.
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the advisory lock of a file (`flock`, exclusive), creating it if need be. `Ok(None)`: held by another
    /// for the whole of `wait`. The kernel frees it when the holder dies.
    fn lock(&self, path: &Path, wait: Duration) -> io::Result<Option<Box<dyn DiskLock>>>;

    /// Where SQLite may keep the projection that is called `path` here. A simulated disk gives a scratch file.
    fn database(&self, path: &Path) -> PathBuf;

    /// Free bytes for an ordinary user, and whether the filesystem lives on another machine.
    fn space(&self, path: &Path) -> io::Result<Space>;
}

/// An open file. Appends go to the end, wherever that is by then.
#[expect(clippy::len_without_is_empty, reason = "nobody asks a file whether it is empty")]
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// One write(2) of the whole buffer. An error may leave a part of it behind, as a torn tail.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// fdatasync(2): content and length are durable when it returns `Ok`.
    fn sync(&self) -> io::Result<()>;

    /// Asks for the next read to come from the medium: after a failed sync, of whatever process, the page cache may
    /// still show bytes that were lost. Best effort; bytes that were never synced stay where they are.
    fn forget_cached(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64>;
}

/// A held lock; dropping it frees it.
pub trait DiskLock: fmt::Debug + Send + Sync {
    /// Replaces the text in the lock's file, which names the holder for others to read.
    fn describe(&self, holder: &str) -> io::Result<()>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub len: u64,
    pub is_dir: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    pub free: u64,
    /// The name of a network filesystem (`nfs`, `cifs`, `fuse.sshfs` …), if it is one.
    pub network: Option<String>,
}

/// Reads a whole file.
pub fn read_all(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let len = usize::try_from(file.len()?).map_err(|_too_large| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; len];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Fills `buf` or fails with `UnexpectedEof`.
pub fn read_exact_at(file: &dyn DiskFile, buf: &mut [u8], offset: u64) -> io::Result<()> {
    match file.read_at(buf, offset)? {
        read if read == buf.len() => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// When what is appended is made durable (`store.journal.fsync` in the configuration).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fsync {
    #[default]
    Mutation,
    /// A power cut may take the last seconds. What replaces older history is still synced before that goes.
    Never,
}

/// Whether a small file that replaces another must survive a power cut, or is a cache that may be lost whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    Synced,
    Cache,
}

/// Replaces a file by temp file and rename, so that a reader sees the old or the new text and never a part.
pub fn write_atomically(
    disk: &dyn Disk,
    path: &Path,
    bytes: &[u8],
    durability: Durability,
) -> io::Result<()> {
    let mut temp = path.as_os_str().to_owned();
    temp.push(".tmp");
    let temp = PathBuf::from(temp);
    if disk.stat(&temp)?.is_some() {
        disk.remove_file(&temp)?;
    }
    let file = disk.create_append(&temp)?;
    file.append(bytes)?;
    if durability == Durability::Synced {
        file.sync()?;
    }
    disk.rename(&temp, path)?;
    match (durability, path.parent()) {
        (Durability::Synced, Some(dir)) => disk.sync_dir(dir),
        _ => Ok(()),
    }
}
