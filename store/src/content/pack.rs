//! Appends records to the active hot pack.
//!
//! Invariants:
//!   * There is one writer, under the store's lock, and only the pack with the highest number grows.
//!   * Nothing is ever truncated or overwritten: a torn tail stays, and nothing refers to it.
//!   * A base is always in the pack of the record that needs it.
//!   * After a failed sync nothing more is written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, Fsync, read_exact_at};
use crate::ids::{Address, ContentHash, PackForm, PackId};
use crate::{Error, Result};

use super::encode::{Body, Encoded, EncodedChunk, Neighbours};
use super::large::{self, Part};
use super::record::{
    HEADER_LEN, HOT_MAGIC, Header, Kind, PACK_HEADER_LEN, STORED_MAX, check_pack_header, pack_header,
};

/// The size at which the writer begins the next pack, unless told otherwise.
pub const ROLL_AT: u64 = 64 * 1024 * 1024;

#[derive(Debug, Clone, Copy)]
pub struct PackOptions {
    pub roll_at: u64,
    pub fsync: Fsync,
}

impl Default for PackOptions {
    fn default() -> Self {
        Self { roll_at: ROLL_AT, fsync: Fsync::default() }
    }
}

impl PackOptions {
    #[must_use]
    pub fn rolling_at(roll_at: u64) -> Self {
        Self { roll_at, ..Self::default() }
    }
}

/// Owns the active hot pack.
#[derive(Debug)]
pub struct ContentWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: PackOptions,
    active: Active,
    is_dirty: bool,
    /// Who made the active pack may have died before its name was durable.
    is_name_dirty: bool,
    is_poisoned: bool,
    neighbours: Neighbours,
}

#[derive(Debug)]
struct Active {
    id: PackId,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    end: u64,
}

/// A content that was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub address: Address,
    pub raw_len: u64,
    pub hash: ContentHash,
}

impl ContentWriter {
    /// Goes on with the newest hot pack if it may still grow, else begins the next. The directory must exist.
    pub fn open(disk: Arc<dyn Disk>, packs_dir: &Path, options: PackOptions) -> Result<Self> {
        let packs = list_packs(&*disk, packs_dir)?;
        let newest = packs.last().copied();
        let resumed = match newest {
            // A pack with a cold form was compacted as it was: it must not grow any more.
            Some((id, PackForm::Hot)) if !packs.contains(&(id, PackForm::Cold)) => {
                Active::resume(&*disk, packs_dir, id)?.filter(|active| active.end < options.roll_at)
            }
            _ => None,
        };
        let is_name_dirty = resumed.is_some();
        let active = match resumed {
            Some(active) => active,
            None => Active::begin(&*disk, packs_dir, following(newest.map(|(id, _)| id))?, options.fsync)?,
        };
        // What the process before wrote and did not sync is not ours to vouch for: it is made durable with the first
        // record that follows it.
        let dir = packs_dir.to_path_buf();
        Ok(Self {
            disk,
            dir,
            options,
            active,
            is_dirty: true,
            is_name_dirty,
            is_poisoned: false,
            neighbours: Neighbours::default(),
        })
    }

    /// The pack that the next record goes to.
    #[must_use]
    pub fn active(&self) -> PackId {
        self.active.id
    }

    /// Appends a content; durable after [`sync`](Self::sync). Refuses one whose base is in another pack.
    pub fn append(&mut self, encoded: &Encoded) -> Result<Address> {
        self.check_poison()?;
        match &encoded.body {
            Body::Record { kind, payload } => {
                let base_back = self.base_back(encoded.base)?;
                let header = Header {
                    kind: *kind,
                    hops: encoded.hops,
                    stored_len: stored_len(payload)?,
                    chain_bytes: encoded.chain_bytes,
                    raw_len: encoded.raw_len,
                    base_back,
                };
                self.append_record(header, payload)
            }
            Body::Chunks(chunks) => {
                let part = |chunk: &EncodedChunk| {
                    let address = self.append_chunk(chunk)?;
                    Ok(Part { address, hash: chunk.hash })
                };
                let parts = chunks.iter().map(part).collect::<Result<Vec<_>>>()?;
                self.append_list(&parts, encoded.raw_len)
            }
        }
    }

    /// Makes a content that no version was before ready to be appended.
    #[must_use]
    pub fn encode_first(&self, new: &[u8]) -> Encoded {
        self.neighbours.encode(new, self.active.id)
    }

    /// Appends what [`encode_first`](Self::encode_first) made of `new`.
    pub fn append_first(&mut self, new: &[u8], encoded: &Encoded) -> Result<Address> {
        let at = self.append(encoded)?;
        self.neighbours.appended(new, encoded, at);
        Ok(at)
    }

    pub(super) fn append_chunk(&mut self, chunk: &EncodedChunk) -> Result<Address> {
        let header = Header {
            kind: Kind::Chunk,
            hops: 0,
            stored_len: stored_len(&chunk.payload)?,
            chain_bytes: 0,
            raw_len: chunk.raw_len as u64,
            base_back: 0,
        };
        self.append_record(header, &chunk.payload)
    }

    pub(super) fn append_list(&mut self, parts: &[Part], raw_len: u64) -> Result<Address> {
        let payload = large::encode_list(parts);
        let header = Header {
            kind: Kind::ChunkList,
            hops: 0,
            stored_len: stored_len(&payload)?,
            chain_bytes: 0,
            raw_len,
            base_back: 0,
        };
        self.append_record(header, &payload)
    }

    fn base_back(&self, base: Option<Address>) -> Result<u64> {
        match base {
            None => Ok(0),
            Some(base) if base.pack == self.active.id && base.offset < self.active.end => {
                Ok(self.active.end - base.offset)
            }
            Some(base) => Err(Error::refused(format!(
                "a content based on {base} cannot be appended to pack {}",
                self.active.id.0
            ))),
        }
    }

    fn append_record(&mut self, header: Header, payload: &[u8]) -> Result<Address> {
        self.check_poison()?;
        let active = &mut self.active;
        let address = Address { pack: active.id, offset: active.end };
        let mut buffer = Vec::with_capacity(HEADER_LEN + payload.len());
        buffer.extend_from_slice(&header.to_bytes(address, &payload[..header.covered_len()]));
        buffer.extend_from_slice(payload);
        self.is_dirty = true;
        if let Err(source) = active.file.append(&buffer) {
            // A part may have been written: the next record begins behind it.
            match active.file.len() {
                Ok(len) => active.end = len,
                Err(_) => self.is_poisoned = true,
            }
            return Err(Error::io("append to", &active.path)(source));
        }
        active.end += header.total_len();
        Ok(address)
    }

    /// Makes durable what was appended since the last sync; by policy it may do nothing.
    pub fn sync(&mut self) -> Result<()> {
        self.check_poison()?;
        if self.is_dirty && self.options.fsync == Fsync::Mutation {
            let synced = self.active.file.sync().and_then(|()| match self.is_name_dirty {
                true => self.disk.sync_dir(&self.dir),
                false => Ok(()),
            });
            if synced.is_err() {
                self.is_poisoned = true;
                return self.check_poison();
            }
            (self.is_dirty, self.is_name_dirty) = (false, false);
        }
        Ok(())
    }

    /// Begins the next pack if the active one is full. To be called between mutations only: what was encoded against
    /// the old pack is refused by the new one. Says whether it did.
    pub fn roll_if_full(&mut self) -> Result<bool> {
        self.check_poison()?;
        if self.active.end < self.options.roll_at {
            return Ok(false);
        }
        self.sync()?;
        let next = following(Some(self.active.id))?;
        self.active = Active::begin(&*self.disk, &self.dir, next, self.options.fsync)?;
        Ok(true)
    }

    fn check_poison(&self) -> Result<()> {
        match self.is_poisoned {
            true => Err(Error::Poisoned { path: self.active.path.clone() }),
            false => Ok(()),
        }
    }
}

fn stored_len(payload: &[u8]) -> Result<u32> {
    match u32::try_from(payload.len()) {
        Ok(len) if payload.len() <= STORED_MAX => Ok(len),
        _ => Err(Error::refused(format!("a record of {} bytes is too long", payload.len()))),
    }
}

fn following(newest: Option<PackId>) -> Result<PackId> {
    match newest {
        None => Ok(PackId(1)),
        Some(PackId(number)) => {
            number.checked_add(1).map(PackId).ok_or_else(|| Error::refused("no pack number is left"))
        }
    }
}

impl Active {
    fn begin(disk: &dyn Disk, dir: &Path, id: PackId, fsync: Fsync) -> Result<Self> {
        let path = dir.join(id.hot_name());
        let file = disk.create_append(&path).map_err(Error::io("create", &path))?;
        let begin = || {
            file.append(&pack_header(HOT_MAGIC, id)).map_err(Error::io("append to", &path))?;
            if fsync == Fsync::Never {
                return Ok(());
            }
            file.sync().map_err(Error::io("sync", &path))?;
            disk.sync_dir(dir).map_err(Error::io("sync", dir))
        };
        begin().map_err(|error| {
            // A beginning that a failed sync lost would still read well, and all that followed would be lost with it.
            match disk.remove_file(&path) {
                Ok(()) => error,
                Err(left) => Error::io("remove what was begun of", &path)(left),
            }
        })?;
        Ok(Self { id, path, file, end: PACK_HEADER_LEN as u64 })
    }

    /// `None` if its beginning was torn: then nothing in it was ever confirmed.
    fn resume(disk: &dyn Disk, dir: &Path, id: PackId) -> Result<Option<Self>> {
        let path = dir.join(id.hot_name());
        let file = disk.open_append(&path).map_err(Error::io("open", &path))?;
        let end = file.len().map_err(Error::io("look at", &path))?;
        if end < PACK_HEADER_LEN as u64 {
            return Ok(None);
        }
        let mut header = [0; PACK_HEADER_LEN];
        read_exact_at(&*file, &mut header, 0).map_err(Error::io("read", &path))?;
        Ok(check_pack_header(&header, HOT_MAGIC, id).is_ok().then_some(Self { id, path, file, end }))
    }
}

/// The packs in a directory, by number; of one number, the cold form first. Strangers are passed over.
pub(crate) fn list_packs(disk: &dyn Disk, dir: &Path) -> Result<Vec<(PackId, PackForm)>> {
    let names = disk.list(dir).map_err(Error::io("list", dir))?;
    let mut packs: Vec<_> = names.iter().filter_map(|name| PackId::parse(name.to_str()?)).collect();
    packs.sort_by_key(|(id, form)| (*id, *form == PackForm::Hot));
    Ok(packs)
}
