//! The packs that are open for reading.
//!
//! Invariants:
//!   * An address means the same in either form of its pack; the hot one is looked for first, because the cold one
//!     exists before the hot one goes.
//!   * No lock is held while the disk is read.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::disk::{Disk, DiskFile};
use crate::ids::{Address, PackId};
use crate::{Error, Result};

use super::record::{HOT_MAGIC, PACK_HEADER_LEN, check_pack_header};

/// More handles than this are not kept.
const OPEN_MAX: usize = 128;

#[derive(Debug)]
pub(super) struct Packs {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    open: RwLock<HashMap<PackId, Arc<OpenPack>>>,
    /// Counts uses, so that the handle that was used longest ago is the one to go.
    uses: AtomicU64,
}

/// A pack file, open.
#[derive(Debug)]
pub(super) struct OpenPack {
    pub(super) id: PackId,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    last_use: AtomicU64,
}

impl Packs {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Self { disk, dir: dir.to_path_buf(), open: RwLock::default(), uses: AtomicU64::new(0) }
    }

    pub(super) fn get(&self, id: PackId) -> Result<Arc<OpenPack>> {
        let now = self.uses.fetch_add(1, Ordering::Relaxed);
        if let Some(pack) = self.open.read().get(&id) {
            pack.last_use.store(now, Ordering::Relaxed);
            return Ok(Arc::clone(pack));
        }
        let pack = Arc::new(OpenPack::open(&*self.disk, &self.dir, id, now)?);
        let mut open = self.open.write();
        if open.len() >= OPEN_MAX {
            let oldest =
                open.values().min_by_key(|pack| pack.last_use.load(Ordering::Relaxed)).map(|pack| pack.id);
            if let Some(oldest) = oldest {
                open.remove(&oldest);
            }
        }
        open.insert(id, Arc::clone(&pack));
        Ok(pack)
    }

    pub(super) fn forget(&self, id: PackId) {
        self.open.write().remove(&id);
    }
}

impl OpenPack {
    fn open(disk: &dyn Disk, dir: &Path, id: PackId, last_use: u64) -> Result<Self> {
        let path = dir.join(id.hot_name());
        let file = match disk.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::corrupt(&path, 0, "the pack is missing"));
            }
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        let pack = Self { id, path, file, last_use: AtomicU64::new(last_use) };
        let mut header = [0; PACK_HEADER_LEN];
        let read = pack.read_up_to(&mut header, 0)?;
        check_pack_header(&header[..read], HOT_MAGIC, id).map_err(|what| pack.corrupt(0, what))?;
        Ok(pack)
    }

    pub(super) fn read_up_to(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.file.read_at(buf, offset).map_err(Error::io("read", &self.path))
    }

    /// Fills `buf`; that the pack ends before is damage.
    pub(super) fn read_whole(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        match self.read_up_to(buf, offset)? {
            read if read == buf.len() => Ok(()),
            _ => Err(self.corrupt(offset, "the pack ends too early")),
        }
    }

    pub(super) fn corrupt(&self, offset: u64, what: impl Into<String>) -> Error {
        Error::corrupt(&self.path, offset, what)
    }

    pub(super) fn at(&self, offset: u64) -> Address {
        Address { pack: self.id, offset }
    }
}
