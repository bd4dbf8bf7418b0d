//! Large contents: cut into chunks, each a record of its own, and a list of them.
//!
//! A chunk is made of frames that are compressed, checked and read alone, so that a range costs only the frames it
//! touches. The addresses in a list may point into any pack: a chunk that the version before had too is not written
//! again (format.md, "Large contents").

use crate::ids::{Address, ContentHash, PackId};

use super::codec;
use super::record::{STORED_MAX, u32_at, u64_at};

/// A content that is longer is cut into chunks of this size; the last may be shorter.
pub const CHUNK_LEN: usize = 4 * 1024 * 1024;
/// What is compressed alone inside a chunk.
pub(super) const FRAME_LEN: usize = 256 * 1024;

/// An entry of a frame table: stored length, checksum.
const FRAME_ENTRY_LEN: usize = 8;
/// An entry of a list: pack, offset, hash.
const LIST_ENTRY_LEN: usize = 28;
/// The longest frame table there is.
pub(super) const FRAME_TABLE_MAX: usize = CHUNK_LEN / FRAME_LEN * FRAME_ENTRY_LEN;
const _: () = assert!(CHUNK_LEN.is_multiple_of(FRAME_LEN));

/// Compresses one chunk: the frame table, then the frames.
pub(super) fn encode_chunk(raw: &[u8]) -> Vec<u8> {
    let mut table = Vec::with_capacity(frame_table_len(raw.len() as u64));
    let mut frames = Vec::with_capacity(raw.len() / 3);
    for part in raw.chunks(FRAME_LEN) {
        let packed = codec::compress(part, codec::LEVEL_HOT);
        let stored = if packed.len() < part.len() { &packed[..] } else { part };
        let len = u32::try_from(stored.len()).expect("it fits because a frame is no longer than its part");
        table.extend_from_slice(&len.to_le_bytes());
        table.extend_from_slice(&crc32fast::hash(stored).to_le_bytes());
        frames.extend_from_slice(stored);
    }
    table.append(&mut frames);
    table
}

/// The length of the table before the frames of a chunk.
pub(super) fn frame_table_len(raw_len: u64) -> usize {
    usize::try_from(raw_len.div_ceil(FRAME_LEN as u64))
        .map_or(usize::MAX, |frames| frames.saturating_mul(FRAME_ENTRY_LEN))
}

/// One frame of a chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// From the start of the payload.
    pub(super) at: usize,
    pub(super) stored_len: usize,
    pub(super) raw_len: usize,
    crc: u32,
}

impl Frame {
    /// Whether its bytes are what was written.
    pub(super) fn is_sound(&self, payload: &[u8]) -> bool {
        payload
            .get(self.at..self.at + self.stored_len)
            .is_some_and(|stored| crc32fast::hash(stored) == self.crc)
    }

    pub(super) fn decode_onto(&self, stored: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        if crc32fast::hash(stored) != self.crc {
            return Err("the checksum of a frame is wrong");
        }
        if self.stored_len == self.raw_len {
            out.extend_from_slice(stored);
        } else {
            out.extend_from_slice(&codec::decompress(stored, self.raw_len)?);
        }
        Ok(())
    }
}

/// Reads a frame table, whose bytes the record's checksum has proved.
pub(super) fn frames(table: &[u8], raw_len: usize, stored_len: usize) -> Result<Vec<Frame>, &'static str> {
    let mut frames = Vec::with_capacity(table.len() / FRAME_ENTRY_LEN);
    let (mut at, mut left) = (table.len(), raw_len);
    for entry in table.chunks_exact(FRAME_ENTRY_LEN) {
        let raw_len = left.min(FRAME_LEN);
        let frame = Frame { at, stored_len: u32_at(entry, 0) as usize, raw_len, crc: u32_at(entry, 4) };
        if frame.stored_len > raw_len {
            return Err("a frame is longer than it may be");
        }
        at += frame.stored_len;
        left -= raw_len;
        frames.push(frame);
    }
    if at != stored_len || left != 0 {
        return Err("its frames do not fill it");
    }
    Ok(frames)
}

/// A part of a large content: where it is, and what it must hash to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) address: Address,
    pub(super) hash: ContentHash,
}

/// The length of the payload that lists the chunks of a content.
pub(super) fn list_len(raw_len: u64) -> usize {
    usize::try_from(raw_len.div_ceil(CHUNK_LEN as u64))
        .map_or(usize::MAX, |parts| parts.saturating_mul(LIST_ENTRY_LEN))
}

/// The longest content whose list fits in a record.
pub(super) const RAW_LEN_MAX: u64 = (STORED_MAX / LIST_ENTRY_LEN) as u64 * CHUNK_LEN as u64;

pub(super) fn encode_list(parts: &[Part]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.len() * LIST_ENTRY_LEN);
    for part in parts {
        out.extend_from_slice(&part.address.pack.0.to_le_bytes());
        out.extend_from_slice(&part.address.offset.to_le_bytes());
        out.extend_from_slice(&part.hash.0);
    }
    out
}

/// Reads a list, whose length the record's header has promised and whose bytes its checksum has proved.
pub(super) fn parse_list(payload: &[u8]) -> Vec<Part> {
    payload
        .chunks_exact(LIST_ENTRY_LEN)
        .map(|entry| {
            let mut hash = [0; 16];
            hash.copy_from_slice(&entry[12..]);
            let address = Address { pack: PackId(u32_at(entry, 0)), offset: u64_at(entry, 4) };
            Part { address, hash: ContentHash(hash) }
        })
        .collect()
}
