//! The header that stands before everything in a hot pack, and the header of the pack itself.
//!
//! Encode and parse stand side by side (format.md, "Hot packs"). A record's checksum also covers its own address, so
//! that a wrong pointer, or a stale copy elsewhere, never reads as a sound record.

use crate::ids::{Address, PackId};

use super::large;

/// Nothing in a pack is stored in one piece that is longer.
pub(super) const STORED_MAX: usize = 64 * 1024 * 1024 + 64 * 1024;
/// A content that is longer is never held as one text: it is cut into chunks, and no splice is based on it.
pub(super) const TEXT_MAX: u64 = 64 * 1024 * 1024;
/// A chain has at most this many splices on its keyframe, so that 64 versions share one.
pub(super) const HOPS_MAX: u8 = 63;
/// A group of keyframes: the first, and those that are compressed with it as their prefix.
pub(super) const GROUP_MAX: u8 = 8;

pub(super) const PACK_HEADER_LEN: usize = 20;
pub(super) const HOT_MAGIC: [u8; 8] = *b"tickhot\n";
pub(super) const PACK_VERSION: u32 = 1;

pub(super) const HEADER_LEN: usize = 28;
const CRC_AT: usize = 0;
const KIND_AT: usize = CRC_AT + 4;
const HOPS_AT: usize = KIND_AT + 1;
const RESERVED_AT: usize = HOPS_AT + 1;
const STORED_LEN_AT: usize = RESERVED_AT + 2;
const CHAIN_BYTES_AT: usize = STORED_LEN_AT + 4;
const RAW_LEN_AT: usize = CHAIN_BYTES_AT + 4;
const BASE_BACK_AT: usize = RAW_LEN_AT + 6;
const _: () = assert!(BASE_BACK_AT + 6 == HEADER_LEN);

/// How a record's payload is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A whole content, compressed.
    Keyframe,
    /// A whole content, compressed with the first keyframe of its group as prefix.
    Prefixed,
    /// The difference to the base.
    Splice,
    /// The same, compressed.
    PackedSplice,
    /// The chunks of a large content.
    ChunkList,
    /// A whole content that does not compress.
    Raw,
    /// A part of a large content.
    Chunk,
}

impl Kind {
    /// Its name, for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Keyframe => "keyframe",
            Self::Prefixed => "prefixed keyframe",
            Self::Splice => "splice",
            Self::PackedSplice => "packed splice",
            Self::ChunkList => "chunk list",
            Self::Raw => "raw",
            Self::Chunk => "chunk",
        }
    }

    const ALL: [Self; 7] = [
        Self::Keyframe,
        Self::Prefixed,
        Self::Splice,
        Self::PackedSplice,
        Self::ChunkList,
        Self::Raw,
        Self::Chunk,
    ];

    pub(super) fn code(self) -> u8 {
        self as u8
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    pub(super) fn is_splice(self) -> bool {
        matches!(self, Self::Splice | Self::PackedSplice)
    }
}

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Splices between this version and its keyframe; of a prefixed keyframe, its place in its group.
    pub(super) hops: u8,
    pub(super) stored_len: u32,
    /// What all splices since the keyframe take, this one included.
    pub(super) chain_bytes: u32,
    pub(super) raw_len: u64,
    /// How far back in the pack the base begins; 0 for none.
    pub(super) base_back: u64,
}

impl Header {
    pub(super) fn to_bytes(self, at: Address, covered: &[u8]) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[KIND_AT] = self.kind.code();
        bytes[HOPS_AT] = self.hops;
        bytes[STORED_LEN_AT..CHAIN_BYTES_AT].copy_from_slice(&self.stored_len.to_le_bytes());
        bytes[CHAIN_BYTES_AT..RAW_LEN_AT].copy_from_slice(&self.chain_bytes.to_le_bytes());
        bytes[RAW_LEN_AT..BASE_BACK_AT].copy_from_slice(&self.raw_len.to_le_bytes()[..6]);
        bytes[BASE_BACK_AT..].copy_from_slice(&self.base_back.to_le_bytes()[..6]);
        let crc = checksum(at, &bytes, covered);
        bytes[..KIND_AT].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header and checks all but its checksum, which needs the payload.
    pub(super) fn parse(bytes: &[u8; HEADER_LEN], at: Address) -> Result<Self, &'static str> {
        let kind = Kind::from_code(bytes[KIND_AT]).ok_or("no record begins here")?;
        let header = Self {
            kind,
            hops: bytes[HOPS_AT],
            stored_len: u32_at(bytes, STORED_LEN_AT),
            chain_bytes: u32_at(bytes, CHAIN_BYTES_AT),
            raw_len: u48_at(bytes, RAW_LEN_AT),
            base_back: u48_at(bytes, BASE_BACK_AT),
        };
        if bytes[RESERVED_AT..STORED_LEN_AT] != [0, 0] || !header.is_possible(at) {
            return Err("no record begins here");
        }
        Ok(header)
    }

    fn is_possible(&self, at: Address) -> bool {
        let has_base = self.base_back > 0
            && at.offset.checked_sub(self.base_back).is_some_and(|base| base >= PACK_HEADER_LEN as u64);
        let stored_len = self.stored_len as usize;
        let lengths = match self.kind {
            Kind::Raw => self.raw_len == u64::from(self.stored_len),
            Kind::Chunk => self.raw_len <= large::CHUNK_LEN as u64 && stored_len >= self.covered_len(),
            Kind::ChunkList => stored_len == large::list_len(self.raw_len),
            _ => self.raw_len <= TEXT_MAX,
        };
        let links = match self.kind {
            Kind::Prefixed => has_base && (1..GROUP_MAX).contains(&self.hops),
            Kind::Splice | Kind::PackedSplice => has_base && (1..=HOPS_MAX).contains(&self.hops),
            _ => self.base_back == 0 && self.hops == 0,
        };
        stored_len <= STORED_MAX && lengths && links
    }

    /// Splices between this version and its keyframe.
    pub(super) fn depth(&self) -> u8 {
        if self.kind.is_splice() { self.hops } else { 0 }
    }

    /// How much of the payload the header's checksum covers. The frames of a chunk have their own, so that a range of
    /// it can be read alone.
    pub(super) fn covered_len(&self) -> usize {
        match self.kind {
            Kind::Chunk => large::frame_table_len(self.raw_len),
            _ => self.stored_len as usize,
        }
    }

    pub(super) fn base(&self, at: Address) -> Address {
        Address { pack: at.pack, offset: at.offset - self.base_back }
    }

    /// Bytes in the pack, header and payload.
    pub(super) fn total_len(&self) -> u64 {
        HEADER_LEN as u64 + u64::from(self.stored_len)
    }
}

/// Whether the header was written there, for that payload.
pub(super) fn is_sound(bytes: &[u8; HEADER_LEN], at: Address, covered: &[u8]) -> bool {
    checksum(at, bytes, covered) == u32_at(bytes, CRC_AT)
}

fn checksum(at: Address, header: &[u8; HEADER_LEN], covered: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&at.pack.0.to_le_bytes());
    crc.update(&at.offset.to_le_bytes());
    crc.update(&header[KIND_AT..]);
    crc.update(covered);
    crc.finalize()
}

/// What a pack begins with: magic, version, number, checksum.
pub(super) fn pack_header(magic: [u8; 8], pack: PackId) -> [u8; PACK_HEADER_LEN] {
    let mut bytes = [0; PACK_HEADER_LEN];
    bytes[..8].copy_from_slice(&magic);
    bytes[8..12].copy_from_slice(&PACK_VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&pack.0.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..16]);
    bytes[16..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

pub(super) fn check_pack_header(bytes: &[u8], magic: [u8; 8], pack: PackId) -> Result<(), String> {
    match bytes {
        _ if bytes == pack_header(magic, pack) => Ok(()),
        _ if bytes.len() == PACK_HEADER_LEN
            && bytes.starts_with(&magic)
            && u32_at(bytes, 16) == crc32fast::hash(&bytes[..16])
            && u32_at(bytes, 8) != PACK_VERSION =>
        {
            Err(format!("version {} of packs is not known", u32_at(bytes, 8)))
        }
        _ => Err("it does not begin as this pack does".to_owned()),
    }
}

/// The caller has checked the length.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut wide = [0; 4];
    wide.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(wide)
}

/// The caller has checked the length.
pub(super) fn u48_at(bytes: &[u8], at: usize) -> u64 {
    let mut wide = [0; 8];
    wide[..6].copy_from_slice(&bytes[at..at + 6]);
    u64::from_le_bytes(wide)
}

/// The caller has checked the length.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut wide = [0; 8];
    wide.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(wide)
}
