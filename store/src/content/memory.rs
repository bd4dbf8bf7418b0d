//! A disk in memory for the tests of this module: it does what it is told, and lets a test change the bytes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::disk::{Disk, DiskFile, DiskLock, Space, Stat};

#[derive(Debug, Default)]
pub(super) struct MemoryDisk {
    files: Mutex<BTreeMap<PathBuf, Arc<MemoryFile>>>,
    changes: Arc<Changes>,
}

/// Counts down to the moment at which the disk stops taking changes.
#[derive(Debug, Default)]
struct Changes {
    left: Mutex<Option<usize>>,
}

impl Changes {
    fn take(&self) -> io::Result<()> {
        match &mut *self.left.lock() {
            Some(0) => Err(io::ErrorKind::Other.into()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

#[derive(Debug, Default)]
struct MemoryFile {
    bytes: RwLock<Vec<u8>>,
    /// The next append fails after so many bytes.
    torn_at: Mutex<Option<usize>>,
    sync_fails: Mutex<bool>,
    changes: Arc<Changes>,
}

impl MemoryDisk {
    fn find(&self, path: &Path) -> io::Result<Arc<MemoryFile>> {
        self.files.lock().get(path).map(Arc::clone).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn bytes(&self, path: &Path) -> Vec<u8> {
        self.find(path).unwrap().bytes.read().clone()
    }

    pub(super) fn put(&self, path: &Path, bytes: Vec<u8>) {
        let changes = Arc::clone(&self.changes);
        let file = MemoryFile { bytes: RwLock::new(bytes), changes, ..MemoryFile::default() };
        self.files.lock().insert(path.to_path_buf(), Arc::new(file));
    }

    /// From then on, or without a number never, every change fails.
    pub(super) fn stop_after(&self, changes: Option<usize>) {
        *self.changes.left.lock() = changes;
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.files.lock().keys().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect()
    }

    pub(super) fn tear_next_append(&self, path: &Path, after: usize) {
        *self.find(path).unwrap().torn_at.lock() = Some(after);
    }

    pub(super) fn fail_syncs(&self, path: &Path) {
        *self.find(path).unwrap().sync_fails.lock() = true;
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.find(path)?)
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.find(path)?)
    }

    fn create_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if self.files.lock().contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.changes.take()?;
        self.put(path, Vec::new());
        Ok(self.find(path)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.changes.take()?;
        let mut files = self.files.lock();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_path_buf(), file);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.changes.take()?;
        self.files.lock().remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let files = self.files.lock();
        let below = files.keys().filter(|path| path.parent() == Some(dir));
        Ok(below.filter_map(|path| path.file_name()).map(OsString::from).collect())
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let found = self.files.lock().get(path).map(|file| file.bytes.read().len() as u64);
        Ok(found.map(|len| Stat { len, is_dir: false }))
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _path: &Path, _wait: Duration) -> io::Result<Option<Box<dyn DiskLock>>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn database(&self, path: &Path) -> PathBuf {
        path.to_path_buf()
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        Ok(Space { free: u64::MAX, network: None })
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes.read();
        let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
        let count = buf.len().min(rest.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.changes.take()?;
        let torn_at = self.torn_at.lock().take();
        let written = torn_at.map_or(bytes, |after| &bytes[..after]);
        self.bytes.write().extend_from_slice(written);
        match torn_at {
            Some(_) => Err(io::ErrorKind::StorageFull.into()),
            None => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        match *self.sync_fails.lock() {
            true => Err(io::ErrorKind::Other.into()),
            false => Ok(()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.read().len() as u64)
    }
}
