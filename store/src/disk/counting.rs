//! A disk that counts, and remembers in which order things were done.
//!
//! Invariants:
//!   * An operation enters the log when it has succeeded, so an fsync stands after all that it made durable.
//!   * What SQLite does to its own files is not seen.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Disk, DiskFile, DiskLock, Op, OpKind, Space, Stat};

/// Wraps a disk; clones share one log.
#[derive(Debug, Clone)]
pub struct CountingDisk<D> {
    disk: D,
    log: Log,
}

/// What was done to the files of one name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Opened or created.
    pub opens: u64,
    pub reads: u64,
    pub bytes_read: u64,
    pub appends: u64,
    pub bytes_written: u64,
    pub syncs: u64,
    /// Renames onto this name.
    pub renames: u64,
}

impl<D: Disk> CountingDisk<D> {
    pub fn new(disk: D) -> Self {
        Self { disk, log: Log::default() }
    }

    pub fn inner(&self) -> &D {
        &self.disk
    }

    /// All that was done, in order.
    #[must_use]
    pub fn ops(&self) -> Vec<Op> {
        self.log.0.lock().clone()
    }

    /// Forgets what was done so far.
    pub fn clear(&self) {
        self.log.0.lock().clear();
    }

    /// Sums over the files of this name.
    #[must_use]
    pub fn counts(&self, file_name: &str) -> Counts {
        self.counts_where(|op| op.is_for(file_name))
    }

    /// Sums over all operations that `chosen` picks.
    #[must_use]
    pub fn counts_where(&self, chosen: impl Fn(&Op) -> bool) -> Counts {
        let mut counts = Counts::default();
        for op in self.log.0.lock().iter().filter(|op| chosen(op)) {
            counts.add(op);
        }
        counts
    }
}

impl Counts {
    fn add(&mut self, op: &Op) {
        match op.kind {
            OpKind::Open | OpKind::OpenAppend | OpKind::Create => self.opens += 1,
            OpKind::Read => {
                self.reads += 1;
                self.bytes_read += op.bytes;
            }
            OpKind::Append | OpKind::Describe => {
                self.appends += 1;
                self.bytes_written += op.bytes;
            }
            OpKind::Sync => self.syncs += 1,
            OpKind::Rename => self.renames += 1,
            OpKind::Remove
            | OpKind::CreateDir
            | OpKind::List
            | OpKind::Stat
            | OpKind::SyncDir
            | OpKind::Lock
            | OpKind::Database
            | OpKind::Space => {}
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<Op>>>);

impl Log {
    fn note(&self, kind: OpKind, path: &Path, bytes: usize) {
        self.0.lock().push(Op::new(kind, path, bytes as u64));
    }

    fn noting<T>(&self, kind: OpKind, path: &Path, done: io::Result<T>) -> io::Result<T> {
        if done.is_ok() {
            self.note(kind, path, 0);
        }
        done
    }

    fn file(
        &self,
        kind: OpKind,
        path: &Path,
        opened: io::Result<Arc<dyn DiskFile>>,
    ) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.noting(kind, path, opened)?;
        Ok(Arc::new(CountingFile { file, path: path.to_owned(), log: self.clone() }))
    }
}

impl<D: Disk> Disk for CountingDisk<D> {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.log.file(OpKind::Open, path, self.disk.open(path))
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.log.file(OpKind::OpenAppend, path, self.disk.open_append(path))
    }

    fn create_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.log.file(OpKind::Create, path, self.disk.create_append(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.log.noting(OpKind::Rename, to, self.disk.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.log.noting(OpKind::Remove, path, self.disk.remove_file(path))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.log.noting(OpKind::CreateDir, path, self.disk.create_dir(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.log.noting(OpKind::List, dir, self.disk.list(dir))
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        self.log.noting(OpKind::Stat, path, self.disk.stat(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.log.noting(OpKind::SyncDir, dir, self.disk.sync_dir(dir))
    }

    fn lock(&self, path: &Path, wait: Duration) -> io::Result<Option<Box<dyn DiskLock>>> {
        let Some(lock) = self.disk.lock(path, wait)? else {
            return Ok(None);
        };
        self.log.note(OpKind::Lock, path, 0);
        Ok(Some(Box::new(CountingLock { lock, path: path.to_owned(), log: self.log.clone() })))
    }

    fn database(&self, path: &Path) -> PathBuf {
        self.log.note(OpKind::Database, path, 0);
        self.disk.database(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.log.noting(OpKind::Space, path, self.disk.space(path))
    }
}

#[derive(Debug)]
struct CountingFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    log: Log,
}

impl DiskFile for CountingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.file.read_at(buf, offset)?;
        self.log.note(OpKind::Read, &self.path, read);
        Ok(read)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)?;
        self.log.note(OpKind::Append, &self.path, bytes.len());
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.log.noting(OpKind::Sync, &self.path, self.file.sync())
    }

    fn forget_cached(&self) -> io::Result<()> {
        self.file.forget_cached()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

#[derive(Debug)]
struct CountingLock {
    lock: Box<dyn DiskLock>,
    path: PathBuf,
    log: Log,
}

impl DiskLock for CountingLock {
    fn describe(&self, holder: &str) -> io::Result<()> {
        self.lock.describe(holder)?;
        self.log.note(OpKind::Describe, &self.path, holder.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Durability, RealDisk, read_exact_at, write_atomically};

    #[test]
    fn the_log_has_the_order_and_the_bytes() {
        let temp = tempfile::tempdir().unwrap();
        let disk = CountingDisk::new(RealDisk);
        let head = temp.path().join("HEAD.json");
        write_atomically(&disk, &head, b"{}", Durability::Synced).unwrap();
        let kinds: Vec<OpKind> = disk.ops().iter().map(|op| op.kind).collect();
        let expected =
            [OpKind::Stat, OpKind::Create, OpKind::Append, OpKind::Sync, OpKind::Rename, OpKind::SyncDir];
        assert_eq!(kinds, expected);
        let written = disk.counts("HEAD.json.tmp");
        assert_eq!((written.opens, written.appends, written.bytes_written, written.syncs), (1, 1, 2, 1));
        assert_eq!(disk.counts("HEAD.json"), Counts { renames: 1, ..Counts::default() });

        disk.clear();
        let file = disk.open(&head).unwrap();
        read_exact_at(&*file, &mut [0], 0).unwrap();
        read_exact_at(&*file, &mut [0], 1).unwrap();
        assert_eq!(
            disk.counts("HEAD.json"),
            Counts { opens: 1, reads: 2, bytes_read: 2, ..Counts::default() }
        );
    }

    #[test]
    fn what_failed_is_not_counted() {
        let temp = tempfile::tempdir().unwrap();
        let disk = CountingDisk::new(RealDisk);
        disk.open(&temp.path().join("absent")).unwrap_err();
        assert_eq!(disk.ops(), []);
    }
}
