//! The packs that are open for reading.
//!
//! Invariants:
//!   * An address means the same in either form of its pack; the hot one is looked for first, because the cold one
//!     exists before the hot one goes.
//!   * No lock is held while the disk is read.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::disk::{Disk, DiskFile};
use crate::ids::{Address, PackId};
use crate::{Error, Result};

use super::chain::{self, Resolved, Wanted};
use super::cold::{self, COLD_MAGIC, ColdIndex};
use super::lately::Lately;
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
    lately: Arc<Lately>,
}

/// A pack file, open.
#[derive(Debug)]
pub(super) struct OpenPack {
    pub(super) id: PackId,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// What a cold pack keeps in memory; a hot one needs nothing.
    cold: Option<ColdIndex>,
    last_use: AtomicU64,
    /// Absent where every byte is to be read.
    lately: Option<Arc<Lately>>,
}

impl Packs {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Self {
            disk,
            dir: dir.to_path_buf(),
            open: RwLock::default(),
            uses: AtomicU64::new(0),
            lately: Arc::new(Lately::new()),
        }
    }

    pub(super) fn get(&self, id: PackId) -> Result<Arc<OpenPack>> {
        let now = self.uses.fetch_add(1, Ordering::Relaxed);
        if let Some(pack) = self.open.read().get(&id) {
            pack.last_use.store(now, Ordering::Relaxed);
            return Ok(Arc::clone(pack));
        }
        let mut pack = OpenPack::open(&*self.disk, &self.dir, id)?;
        pack.lately = Some(Arc::clone(&self.lately));
        let pack = Arc::new(pack);
        pack.last_use.store(now, Ordering::Relaxed);
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
    fn open(disk: &dyn Disk, dir: &Path, id: PackId) -> Result<Self> {
        let (hot, cold) = (dir.join(id.hot_name()), dir.join(id.cold_name()));
        match Self::open_hot(disk, &hot, id) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        match Self::open_cold(disk, &cold, id) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(Error::corrupt(&hot, 0, "the pack is missing"))
            }
            opened => opened,
        }
    }

    pub(super) fn open_hot(disk: &dyn Disk, path: &Path, id: PackId) -> Result<Self> {
        Self::open_as(disk, path, id, HOT_MAGIC)
    }

    pub(super) fn open_cold(disk: &dyn Disk, path: &Path, id: PackId) -> Result<Self> {
        let mut pack = Self::open_as(disk, path, id, COLD_MAGIC)?;
        pack.cold = Some(ColdIndex::load(&pack)?);
        Ok(pack)
    }

    fn open_as(disk: &dyn Disk, path: &Path, id: PackId, magic: [u8; 8]) -> Result<Self> {
        let file = disk.open(path).map_err(Error::io("open", path))?;
        let (cold, last_use, lately) = (None, AtomicU64::new(0), None);
        let pack = Self { id, path: path.to_path_buf(), file, cold, last_use, lately };
        let mut header = [0; PACK_HEADER_LEN];
        let read = pack.read_up_to(&mut header, 0)?;
        check_pack_header(&header[..read], magic, id).map_err(|what| pack.corrupt(0, what))?;
        Ok(pack)
    }

    /// How a version is made, in either form of the pack.
    pub(super) fn resolve(&self, at: Address, wanted: Wanted) -> Result<Resolved> {
        match &self.cold {
            None => chain::resolve(self, at, wanted),
            Some(index) => cold::resolve(self, index, at, wanted),
        }
    }

    /// Appends a range of a chunk, in either form of the pack.
    pub(super) fn read_chunk(
        &self,
        at: Address,
        len: usize,
        range: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let place = match &self.cold {
            None => at.offset,
            Some(index) => index.place_of_chunk(self, at)?,
        };
        chain::read_chunk(self, at, place, len, range, out)
    }

    pub(super) fn lately(&self) -> Option<&Lately> {
        self.lately.as_deref()
    }

    pub(super) fn cold_index(&self) -> Option<&ColdIndex> {
        self.cold.as_ref()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> Result<u64> {
        self.file.len().map_err(Error::io("look at", &self.path))
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
