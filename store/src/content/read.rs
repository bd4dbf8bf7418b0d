//! Reads contents back: whole, a range, or as a stream of bounded memory.
//!
//! A version of a large content is put together range by range; anything else has a text that fits in memory.

use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::disk::Disk;
use crate::ids::{Address, PackId};
use crate::{Error, Result};

use super::chain::{self, Resolved, Wanted, Whole};
use super::encode::{Base, Group, is_nearly_used_up};
use super::large::{self, CHUNK_LEN, Part};
use super::packs::Packs;
use super::record::{Kind, TEXT_MAX};
use super::splice::Piece;

/// Reads from every pack of a store. Cheap to clone; all clones share the open packs.
#[derive(Debug, Clone)]
pub struct ContentReader {
    packs: Arc<Packs>,
}

impl ContentReader {
    #[must_use]
    pub fn open(disk: Arc<dyn Disk>, packs_dir: &Path) -> Self {
        Self { packs: Arc::new(Packs::new(disk, packs_dir)) }
    }

    /// The whole content.
    pub fn read(&self, address: Address) -> Result<Vec<u8>> {
        self.put_together(self.resolve(address, Wanted::ALL)?)
    }

    /// A range of the content; shorter where the content ends.
    pub fn read_range(&self, address: Address, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.put_together(self.resolve(address, Wanted { offset, len })?)
    }

    /// The length of the content.
    pub fn len(&self, address: Address) -> Result<u64> {
        Ok(self.resolve(address, Wanted::NOTHING)?.raw_len)
    }

    /// The content as a stream. A large one never takes more memory than a few of its frames.
    pub fn stream(&self, address: Address) -> Result<ContentStream> {
        let resolved = self.resolve(address, Wanted::ALL)?;
        Ok(ContentStream { reader: self.clone(), resolved, next: 0, ready: Vec::new(), taken: 0 })
    }

    /// What the next version needs to know to be based on this one. It is to lie in the active
    /// pack; of anything that nothing can be based on, the answer says so, and has no text.
    pub fn base_for(&self, address: Address) -> Result<Base> {
        if self.len(address)? > TEXT_MAX {
            return Ok(Base::closed(address));
        }
        let resolved = self.resolve(address, Wanted::ALL)?;
        let Some(chain) = resolved.chain else { return Ok(Base::closed(address)) };
        let text = self.put_together(resolved)?;
        let is_likely = is_nearly_used_up(chain.hops, chain.chain_bytes, text.len());
        let group = if is_likely { self.group_of(&chain)? } else { None };
        Ok(Base { address, hops: chain.hops, chain_bytes: chain.chain_bytes, text, group })
    }

    fn group_of(&self, chain: &chain::Chain) -> Result<Option<Group>> {
        let header = &chain.keyframe_header;
        let (first, next_place) = match header.kind {
            Kind::Keyframe | Kind::Raw => (chain.keyframe, 1),
            Kind::Prefixed => (header.base(chain.keyframe), header.hops + 1),
            Kind::Splice | Kind::PackedSplice | Kind::ChunkList | Kind::Chunk => return Ok(None),
        };
        Ok(Some(Group { first, next_place, text: self.read(first)? }))
    }

    /// Lets go of a pack's open file, once it was compacted.
    pub fn forget(&self, pack: PackId) {
        self.packs.forget(pack);
    }

    pub(super) fn pack(&self, id: PackId) -> Result<Arc<super::packs::OpenPack>> {
        self.packs.get(id)
    }

    fn resolve(&self, address: Address, wanted: Wanted) -> Result<Resolved> {
        self.packs.get(address.pack)?.resolve(address, wanted)
    }

    fn put_together(&self, resolved: Resolved) -> Result<Vec<u8>> {
        let Whole::Chunks { .. } = &resolved.whole else {
            return Ok(resolved.into_text().unwrap_or_default());
        };
        let mut out = reserved(resolved.wanted.len)?;
        self.copy(&resolved.pieces, &resolved.whole, 0..resolved.wanted.len, &mut out)?;
        Ok(out)
    }

    /// Appends a range of what the pieces make, counted from the first of them.
    fn copy(
        &self,
        pieces: &super::splice::Pieces,
        whole: &Whole,
        range: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let mut start = 0;
        for piece in pieces.list() {
            let (Piece::Base { at, len } | Piece::Inserted { at, len }) = *piece;
            let (from, to) = (range.start.max(start), range.end.min(start + len));
            if from < to {
                let (at, len) = (at + (from - start), to - from);
                match (piece, whole) {
                    (Piece::Inserted { .. }, _) => out.extend_from_slice(pieces.inserted(at, len)),
                    (Piece::Base { .. }, Whole::Text(text)) => out.extend_from_slice(&text[at..at + len]),
                    (Piece::Base { .. }, Whole::Chunks { list, raw_len }) => {
                        self.copy_chunks(list, *raw_len, at..at + len, out)?;
                    }
                }
            }
            start += len;
        }
        Ok(())
    }

    fn copy_chunks(&self, list: &[Part], raw_len: u64, range: Range<usize>, out: &mut Vec<u8>) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let (index, start) = (at / CHUNK_LEN, at / CHUNK_LEN * CHUNK_LEN);
            let left = raw_len.saturating_sub(start as u64);
            let chunk_len = usize::try_from(left).map_or(CHUNK_LEN, |left| left.min(CHUNK_LEN));
            let end = range.end.min(start + chunk_len);
            let Some(&chunk) = list.get(index).filter(|_| at < end) else {
                return Err(Error::refused("a range lies beyond its content"));
            };
            self.copy_chunk(chunk.address, chunk_len, at - start..end - start, out)?;
            at = end;
        }
        Ok(())
    }

    fn copy_chunk(&self, at: Address, len: usize, range: Range<usize>, out: &mut Vec<u8>) -> Result<()> {
        self.packs.get(at.pack)?.read_chunk(at, len, range, out)
    }

    /// The chunks that a large content, or the one it is a splice on, is made of.
    pub(super) fn parts(&self, address: Address) -> Result<Vec<Part>> {
        match self.resolve(address, Wanted::NOTHING)?.whole {
            Whole::Chunks { list, .. } => Ok(list),
            Whole::Text(_) => Ok(Vec::new()),
        }
    }

    /// Whether a chunk can be read and is just this.
    pub(super) fn chunk_is(&self, at: Address, raw: &[u8]) -> bool {
        let mut stored = Vec::with_capacity(raw.len());
        self.copy_chunk(at, raw.len(), 0..raw.len(), &mut stored).is_ok() && stored == raw
    }
}

/// Memory for a content whose length came from the disk: an error, not an abort, where there is not enough.
fn reserved(len: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    match out.try_reserve_exact(len) {
        Ok(()) => Ok(out),
        Err(_) => {
            Err(Error::refused(format!("a content of {len} bytes does not fit in memory: read it in ranges")))
        }
    }
}

/// A content that is read from front to back.
#[derive(Debug)]
pub struct ContentStream {
    reader: ContentReader,
    resolved: Resolved,
    /// Where the bytes that are not ready yet begin.
    next: usize,
    ready: Vec<u8>,
    taken: usize,
}

impl ContentStream {
    /// So much is made ready at once: whole frames of a large content.
    const STEP: usize = 4 * large::FRAME_LEN;

    fn refill(&mut self) -> Result<()> {
        let Resolved { pieces, whole, wanted, .. } = &self.resolved;
        let end = wanted.len.min((self.next / Self::STEP + 1).saturating_mul(Self::STEP));
        self.ready.clear();
        self.taken = 0;
        self.reader.copy(pieces, whole, self.next..end, &mut self.ready)?;
        self.next = end;
        Ok(())
    }
}

impl Read for ContentStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.ready.len() && self.next < self.resolved.wanted.len {
            self.refill().map_err(io::Error::other)?;
        }
        let count = buf.len().min(self.ready.len() - self.taken);
        buf[..count].copy_from_slice(&self.ready[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}
