//! A disk that is another one but for what it alters: only that is spelled by whoever makes one.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Disk, DiskFile, DiskLock, Space, Stat};

/// What it does not say is as it is beneath.
pub trait Veil: fmt::Debug + Send + Sync + 'static {
    fn beneath(&self) -> &dyn Disk;

    /// A file that was opened, for whatever it was opened.
    fn alter_file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        file
    }

    fn alter_space(&self, space: Space) -> Space {
        space
    }
}

impl<V: Veil> Disk for V {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.alter_file(self.beneath().open(path)?))
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.alter_file(self.beneath().open_append(path)?))
    }

    fn create_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.alter_file(self.beneath().create_append(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.beneath().rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.beneath().remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.beneath().create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.beneath().list(dir)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        self.beneath().stat(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.beneath().sync_dir(dir)
    }

    fn lock(&self, path: &Path, wait: Duration) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.beneath().lock(path, wait)
    }

    fn database(&self, path: &Path) -> PathBuf {
        self.beneath().database(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        Ok(self.alter_space(self.beneath().space(path)?))
    }
}
