//! Cold packs: the same contents as a hot pack, for the same addresses, packed closely.
//!
//! A group is a keyframe and one block with the splices of up to 128 versions on it; chunks stand alone, as they
//! were. A table translates the addresses (format.md, "Cold packs"). Encode and parse stand side by side here;
//! `compact` decides what goes into which group.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use crate::ids::{Address, PackForm, PackId};
use crate::{Error, Result};

use super::chain::{Resolved, Wanted, Whole};
use super::codec;
use super::large;
use super::lately::Place;
use super::packs::OpenPack;
use super::record::{
    HEADER_LEN, Header, Kind, PACK_HEADER_LEN, PACK_VERSION, STORED_MAX, TEXT_MAX, u32_at, u48_at, u64_at,
};
use super::splice::Fold;
use super::varint;

pub(super) const COLD_MAGIC: [u8; 8] = *b"tickcold";
const FOOTER_MAGIC: [u8; 8] = *b"coldfoot";
/// A longer block of splices is not written.
pub(super) const BLOCK_RAW_MAX: usize = 256 * 1024 * 1024;
/// Addresses in one block of the table.
pub(super) const BLOCK_ENTRIES: usize = 256;
/// The longest spelling of an entry: three numbers.
const ENTRY_LEN_MAX: u64 = 30;
/// No group is the prefix of this one.
const NO_GROUP: u32 = u32::MAX;

const GROUP_HEADER_LEN: usize = 30;
const DIRECTORY_ENTRY_LEN: u64 = 8;
const SPARSE_ENTRY_LEN: u64 = 20;
pub(super) const FOOTER_LEN: usize = 64;

/// What a group begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupHeader {
    pub(super) kind: Kind,
    pub(super) members: u16,
    pub(super) key_stored: u32,
    pub(super) key_raw: u64,
    /// The group whose keyframe is the prefix of this one's.
    pub(super) prefix: Option<u32>,
    pub(super) block_stored: u32,
    pub(super) block_raw: u32,
}

impl GroupHeader {
    pub(super) fn to_bytes(self, at: Address, key: &[u8], block: &[u8]) -> [u8; GROUP_HEADER_LEN] {
        let mut bytes = [0; GROUP_HEADER_LEN];
        bytes[4] = self.kind.code();
        bytes[6..8].copy_from_slice(&self.members.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.key_stored.to_le_bytes());
        bytes[12..18].copy_from_slice(&self.key_raw.to_le_bytes()[..6]);
        bytes[18..22].copy_from_slice(&self.prefix.unwrap_or(NO_GROUP).to_le_bytes());
        bytes[22..26].copy_from_slice(&self.block_stored.to_le_bytes());
        bytes[26..30].copy_from_slice(&self.block_raw.to_le_bytes());
        let crc = group_checksum(at, &bytes, &[key, block]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a group whole, and proves it.
    fn parse(frame: &[u8], at: Address) -> Result<(Self, &[u8], &[u8]), &'static str> {
        const NONE: &str = "no group begins here";
        let (bytes, rest) = frame.split_first_chunk::<GROUP_HEADER_LEN>().ok_or(NONE)?;
        if group_checksum(at, bytes, &[rest]) != u32_at(bytes, 0) {
            return Err("the checksum of the group is wrong");
        }
        let header = Self {
            kind: Kind::from_code(bytes[4]).ok_or(NONE)?,
            members: u16::from_le_bytes([bytes[6], bytes[7]]),
            key_stored: u32_at(bytes, 8),
            key_raw: u48_at(bytes, 12),
            prefix: Some(u32_at(bytes, 18)).filter(|group| *group != NO_GROUP),
            block_stored: u32_at(bytes, 22),
            block_raw: u32_at(bytes, 26),
        };
        let (key_len, block_len) = (header.key_stored as usize, header.block_stored as usize);
        let is_possible = bytes[5] == 0
            && key_len.checked_add(block_len) == Some(rest.len())
            && header.block_raw as usize <= BLOCK_RAW_MAX
            && header.members > 0
            && (header.kind == Kind::Prefixed) == header.prefix.is_some()
            && match header.kind {
                Kind::ChunkList => key_len == large::list_len(header.key_raw),
                Kind::Keyframe | Kind::Prefixed | Kind::Raw => header.key_raw <= TEXT_MAX,
                Kind::Splice | Kind::PackedSplice | Kind::Chunk => false,
            };
        if !is_possible {
            return Err(NONE);
        }
        let (key, block) = rest.split_at(key_len);
        Ok((header, key, block))
    }
}

fn group_checksum(at: Address, header: &[u8; GROUP_HEADER_LEN], rest: &[&[u8]]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&at.pack.0.to_le_bytes());
    crc.update(&at.offset.to_le_bytes());
    crc.update(&header[4..]);
    rest.iter().for_each(|bytes| crc.update(bytes));
    crc.finalize()
}

/// A version in a block: which member it is a splice on, and the splice.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) parent: usize,
    pub(super) raw_len: u64,
    pub(super) splice: Vec<u8>,
}

/// Spells the members after the keyframe: a line of numbers for each, then their splices.
pub(super) fn encode_block(members: &[Member]) -> Vec<u8> {
    let mut out = Vec::new();
    for member in members {
        varint::put(&mut out, member.parent as u64);
        varint::put(&mut out, member.raw_len);
        varint::put(&mut out, member.splice.len() as u64);
    }
    members.iter().for_each(|member| out.extend_from_slice(&member.splice));
    out
}

/// The same, where the splice lies in a block that was read.
#[derive(Debug, Clone)]
struct Listed {
    parent: usize,
    raw_len: u64,
    splice: Range<usize>,
}

fn parse_block(block: &[u8], count: usize) -> Result<Vec<Listed>, &'static str> {
    const CUT: &str = "its block of splices is cut short";
    let mut rest = block;
    let mut members = Vec::with_capacity(count);
    let mut end = 0_usize;
    for index in 0..count {
        let parent = varint::take_len(&mut rest).filter(|parent| *parent <= index).ok_or(CUT)?;
        let raw_len = varint::take(&mut rest).filter(|len| *len <= TEXT_MAX).ok_or(CUT)?;
        let start = end;
        end = varint::take_len(&mut rest).and_then(|len| start.checked_add(len)).ok_or(CUT)?;
        members.push(Listed { parent, raw_len, splice: start..end });
    }
    match end.cmp(&rest.len()) {
        Ordering::Less => return Err("its block of splices has a remainder"),
        Ordering::Greater => return Err(CUT),
        Ordering::Equal => {}
    }
    let lines_len = block.len() - rest.len();
    for member in &mut members {
        member.splice = member.splice.start + lines_len..member.splice.end + lines_len;
    }
    Ok(members)
}

/// Where an address leads: a member of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) offset: u64,
    pub(super) group: u32,
    pub(super) member: u16,
}

/// Spells up to [`BLOCK_ENTRIES`] entries, which ascend by offset.
pub(super) fn encode_entries(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut offset, mut group) = (entries.first().map_or(0, |first| first.offset), 0);
    for entry in entries {
        varint::put(&mut out, entry.offset - offset);
        varint::put(&mut out, zigzag(i64::from(entry.group) - group));
        varint::put(&mut out, u64::from(entry.member));
        (offset, group) = (entry.offset, i64::from(entry.group));
    }
    out
}

/// Reads a block of the table, entry by entry.
struct Entries<'a> {
    bytes: &'a [u8],
    before: Entry,
    left: usize,
    groups: usize,
}

impl<'a> Entries<'a> {
    fn of(bytes: &'a [u8], first: u64, groups: usize) -> Self {
        Self { bytes, before: Entry { offset: first, group: 0, member: 0 }, left: BLOCK_ENTRIES, groups }
    }

    fn take(&mut self) -> Option<Entry> {
        self.left = self.left.checked_sub(1)?;
        let offset = self.before.offset.checked_add(varint::take(&mut self.bytes)?)?;
        let group = i64::from(self.before.group).checked_add(unzigzag(varint::take(&mut self.bytes)?))?;
        let group = u32::try_from(group).ok().filter(|group| (*group as usize) < self.groups)?;
        let member = u16::try_from(varint::take(&mut self.bytes)?).ok()?;
        self.before = Entry { offset, group, member };
        Some(self.before)
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        Some(self.take().ok_or("a block of its addresses is wrong"))
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Says where a block of the table is: the first of its addresses, its place and its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sparse {
    pub(super) first: u64,
    pub(super) at: u64,
    pub(super) crc: u32,
}

/// The end of a cold pack: where its parts begin, and their checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) entries: u64,
    pub(super) groups: u32,
    pub(super) directory_at: u64,
    pub(super) table_at: u64,
    pub(super) sparse_at: u64,
    pub(super) directory_crc: u32,
    pub(super) sparse_crc: u32,
}

impl Footer {
    pub(super) fn to_bytes(self, pack: PackId) -> [u8; FOOTER_LEN] {
        let mut bytes = [0; FOOTER_LEN];
        bytes[..8].copy_from_slice(&FOOTER_MAGIC);
        bytes[8..12].copy_from_slice(&PACK_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&pack.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.entries.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.directory_at.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.table_at.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.sparse_at.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.groups.to_le_bytes());
        bytes[52..56].copy_from_slice(&self.directory_crc.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.sparse_crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8; FOOTER_LEN], pack: PackId, len: u64) -> Result<Self, &'static str> {
        let footer = Self {
            entries: u64_at(bytes, 16),
            directory_at: u64_at(bytes, 24),
            table_at: u64_at(bytes, 32),
            sparse_at: u64_at(bytes, 40),
            groups: u32_at(bytes, 48),
            directory_crc: u32_at(bytes, 52),
            sparse_crc: u32_at(bytes, 56),
        };
        // The same bytes, spelled anew, prove magic, version, number and checksum at once.
        if *bytes != footer.to_bytes(pack) {
            return Err("its end is not that of this pack");
        }
        let blocks = footer.entries.div_ceil(BLOCK_ENTRIES as u64);
        let directory = DIRECTORY_ENTRY_LEN * u64::from(footer.groups);
        let fits = footer.directory_at >= PACK_HEADER_LEN as u64
            && footer.directory_at.checked_add(directory) == Some(footer.table_at)
            && footer.table_at <= footer.sparse_at
            && footer.sparse_at - footer.table_at <= footer.entries.saturating_mul(ENTRY_LEN_MAX)
            && blocks
                .checked_mul(SPARSE_ENTRY_LEN)
                .and_then(|sparse| sparse.checked_add(footer.sparse_at)?.checked_add(FOOTER_LEN as u64))
                == Some(len);
        if fits { Ok(footer) } else { Err("its parts do not fill it") }
    }
}

/// What is kept in memory of a cold pack that is open.
#[derive(Debug)]
pub(super) struct ColdIndex {
    pub(super) entries: u64,
    /// Where each group begins, and after the last, where it ends.
    pub(super) groups: Vec<u64>,
    pub(super) sparse: Vec<Sparse>,
    sparse_at: u64,
}

pub(super) fn encode_directory(groups: &[u64]) -> Vec<u8> {
    groups.iter().flat_map(|at| at.to_le_bytes()).collect()
}

pub(super) fn encode_sparse(sparse: &[Sparse]) -> Vec<u8> {
    let entry = |entry: &Sparse| {
        let (first, at, crc) = (entry.first.to_le_bytes(), entry.at.to_le_bytes(), entry.crc.to_le_bytes());
        first.into_iter().chain(at).chain(crc)
    };
    sparse.iter().flat_map(entry).collect()
}

impl ColdIndex {
    pub(super) fn load(pack: &OpenPack) -> Result<Self> {
        let len = pack.len()?;
        let footer_at = len
            .checked_sub(FOOTER_LEN as u64)
            .ok_or_else(|| pack.corrupt(0, "it is too short to be a cold pack"))?;
        let mut bytes = [0; FOOTER_LEN];
        pack.read_whole(&mut bytes, footer_at)?;
        let footer = Footer::parse(&bytes, pack.id, len).map_err(|what| pack.corrupt(footer_at, what))?;
        let part = |from: u64, to: u64, crc: u32| {
            let len =
                usize::try_from(to - from).map_err(|_too_long| pack.corrupt(from, "a part is too long"))?;
            let mut part = vec![0; len];
            pack.read_whole(&mut part, from)?;
            match crc32fast::hash(&part) == crc {
                true => Ok(part),
                false => Err(pack.corrupt(from, "the checksum of a table is wrong")),
            }
        };
        let directory = part(footer.directory_at, footer.table_at, footer.directory_crc)?;
        let sparse = part(footer.sparse_at, footer_at, footer.sparse_crc)?;
        let mut groups: Vec<u64> = directory.chunks_exact(8).map(|entry| u64_at(entry, 0)).collect();
        groups.push(footer.directory_at);
        let sparse: Vec<Sparse> = sparse
            .chunks_exact(20)
            .map(|entry| Sparse { first: u64_at(entry, 0), at: u64_at(entry, 8), crc: u32_at(entry, 16) })
            .collect();
        let groups_ascend = groups.first() == Some(&(PACK_HEADER_LEN as u64)) && groups.is_sorted();
        let blocks_ascend = sparse.is_sorted_by_key(|entry| (entry.first, entry.at))
            && sparse.first().is_none_or(|entry| entry.at == footer.table_at)
            && sparse.last().is_none_or(|entry| entry.at <= footer.sparse_at);
        if !groups_ascend || !blocks_ascend {
            return Err(pack.corrupt(footer.directory_at, "its tables are out of order"));
        }
        Ok(Self { entries: footer.entries, groups, sparse, sparse_at: footer.sparse_at })
    }

    /// One block of the table.
    pub(super) fn entries(&self, pack: &OpenPack, block: usize) -> Result<Vec<Entry>> {
        let bytes = self.table_block(pack, block)?;
        let entries: Result<_, _> = self.entries_in(&bytes, block).collect();
        entries.map_err(|what| pack.corrupt(self.sparse[block].at, what))
    }

    fn entries_in<'a>(&self, bytes: &'a [u8], block: usize) -> Entries<'a> {
        Entries::of(bytes, self.sparse[block].first, self.groups.len() - 1)
    }

    fn table_block(&self, pack: &OpenPack, block: usize) -> Result<Vec<u8>> {
        let sparse = self.sparse[block];
        let end = self.sparse.get(block + 1).map_or(self.sparse_at, |next| next.at);
        let corrupt = |what: &str| pack.corrupt(sparse.at, what);
        let len = end.checked_sub(sparse.at).filter(|len| *len <= ENTRY_LEN_MAX * BLOCK_ENTRIES as u64);
        let len = len
            .and_then(|len| usize::try_from(len).ok())
            .ok_or_else(|| corrupt("a table is out of order"))?;
        let mut bytes = vec![0; len];
        pack.read_whole(&mut bytes, sparse.at)?;
        match crc32fast::hash(&bytes) == sparse.crc {
            true => Ok(bytes),
            false => Err(corrupt("the checksum of a table is wrong")),
        }
    }

    fn find(&self, pack: &OpenPack, at: Address) -> Result<Entry> {
        let missing = || pack.corrupt(0, format!("no record is known by the address {at}"));
        let block = self.sparse.partition_point(|block| block.first <= at.offset);
        let block = block.checked_sub(1).ok_or_else(missing)?;
        let bytes = self.table_block(pack, block)?;
        for entry in self.entries_in(&bytes, block) {
            let entry = entry.map_err(|what| pack.corrupt(self.sparse[block].at, what))?;
            if entry.offset >= at.offset {
                return Some(entry).filter(|entry| entry.offset == at.offset).ok_or_else(missing);
            }
        }
        Err(missing())
    }

    fn extent(&self, group: u32) -> (u64, u64) {
        (self.groups[group as usize], self.groups[group as usize + 1])
    }

    /// Where a chunk's record lies now.
    pub(super) fn place_of_chunk(&self, pack: &OpenPack, at: Address) -> Result<u64> {
        Ok(self.extent(self.find(pack, at)?.group).0)
    }

    /// Reads a group, and proves it.
    pub(super) fn group(&self, pack: &OpenPack, group: u32) -> Result<Group> {
        let (at, end) = self.extent(group);
        let len = usize::try_from(end - at)
            .ok()
            .filter(|len| *len <= GROUP_HEADER_LEN + STORED_MAX + BLOCK_RAW_MAX);
        let mut frame = vec![0; len.ok_or_else(|| pack.corrupt(at, "a group is too long"))?];
        pack.read_whole(&mut frame, at)?;
        if frame.len() >= HEADER_LEN && Kind::from_code(frame[4]) == Some(Kind::Chunk) {
            return Err(pack.corrupt(at, "it is only a part of a content"));
        }
        let (header, key, _) =
            GroupHeader::parse(&frame, pack.at(at)).map_err(|what| pack.corrupt(at, what))?;
        let key_end = GROUP_HEADER_LEN + key.len();
        Ok(Group { at, header, frame, key_end })
    }
}

/// What a group's header says, and its splices, unpacked.
#[derive(Debug)]
pub(super) struct Block {
    header: GroupHeader,
    /// Those after the keyframe.
    members: Vec<Listed>,
    bytes: Vec<u8>,
}

impl Block {
    fn of(group: &Group) -> Result<Self, &'static str> {
        let header = group.header;
        let bytes = group.block()?;
        let members = parse_block(&bytes, usize::from(header.members) - 1)?;
        Ok(Self { header, members, bytes: bytes.into_owned() })
    }

    /// What it takes in memory.
    fn size(&self) -> usize {
        self.bytes.len() + self.members.len() * size_of::<Listed>()
    }

    fn raw_len_of(&self, member: usize) -> u64 {
        member.checked_sub(1).map_or(self.header.key_raw, |after_key| self.members[after_key].raw_len)
    }
}

/// A group that is being asked; its frame is read only if something of it is not known from lately.
struct Asked<'p> {
    pack: &'p OpenPack,
    index: &'p ColdIndex,
    number: u32,
    frame: Option<Group>,
}

impl<'p> Asked<'p> {
    fn of(pack: &'p OpenPack, index: &'p ColdIndex, number: u32) -> Self {
        Self { pack, index, number, frame: None }
    }

    fn at(&self) -> u64 {
        self.index.extent(self.number).0
    }

    fn corrupt(&self, what: &str) -> Error {
        self.pack.corrupt(self.at(), what)
    }

    fn frame(&mut self) -> Result<&Group> {
        let frame = match self.frame.take() {
            Some(frame) => frame,
            None => self.index.group(self.pack, self.number)?,
        };
        Ok(self.frame.insert(frame))
    }

    fn place(&self) -> Place {
        (PackForm::Cold, self.pack.at(self.at()))
    }

    fn block(&mut self) -> Result<Arc<Block>> {
        let lately = self.pack.lately();
        if let Some(block) = lately.and_then(|lately| lately.blocks.get(self.place())) {
            return Ok(block);
        }
        let block = Block::of(self.frame()?).map_err(|what| self.corrupt(what))?;
        let block = Arc::new(block);
        if let Some(lately) = lately {
            lately.blocks.put(self.place(), &block, block.size());
        }
        Ok(block)
    }

    /// What the versions of the group rest on: a keyframe of that kind.
    fn whole(&mut self, kind: Kind) -> Result<Whole> {
        let lately = self.pack.lately();
        if let Some(text) = lately.and_then(|lately| lately.texts(kind).get(self.place())) {
            return Ok(Whole::Text(text));
        }
        let (pack, index) = (self.pack, self.index);
        let whole = self.frame()?.whole(pack, index)?;
        if let (Some(lately), Whole::Text(text)) = (lately, &whole) {
            lately.texts(kind).put(self.place(), text, text.len());
        }
        Ok(whole)
    }

    /// Its text, if it is one that others may have as prefix.
    fn prefix(&mut self) -> Result<Option<Arc<Vec<u8>>>> {
        let kept = self.pack.lately().and_then(|lately| lately.texts(Kind::Keyframe).get(self.place()));
        if kept.is_some() {
            return Ok(kept);
        }
        match self.frame()?.header.kind {
            kind @ (Kind::Keyframe | Kind::Raw) => Ok(self.whole(kind)?.into_text()),
            _ => Ok(None),
        }
    }
}

/// A group that was read.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) at: u64,
    pub(super) header: GroupHeader,
    frame: Vec<u8>,
    key_end: usize,
}

impl Group {
    fn key(&self) -> &[u8] {
        &self.frame[GROUP_HEADER_LEN..self.key_end]
    }

    /// The block of splices, unpacked.
    pub(super) fn block(&self) -> Result<Cow<'_, [u8]>, &'static str> {
        let (stored, raw_len) = (&self.frame[self.key_end..], self.header.block_raw as usize);
        if stored.len() == raw_len {
            return Ok(Cow::Borrowed(stored));
        }
        codec::decompress(stored, raw_len).map(Cow::Owned)
    }

    fn whole(&self, pack: &OpenPack, index: &ColdIndex) -> Result<Whole> {
        let header = &self.header;
        let corrupt = |what: &str| pack.corrupt(self.at, what);
        let raw_len = usize::try_from(header.key_raw).unwrap_or(usize::MAX);
        let text = match (header.kind, header.prefix) {
            (Kind::ChunkList, _) => {
                return Ok(Whole::Chunks { list: large::parse_list(self.key()), raw_len: header.key_raw });
            }
            (Kind::Prefixed, Some(prefix)) if (prefix as usize) < index.groups.len() - 1 => {
                match Asked::of(pack, index, prefix).prefix()? {
                    Some(prefix) => codec::decompress_after(&prefix, self.key(), raw_len),
                    None => Err("its prefix is not the first keyframe of a group"),
                }
            }
            (Kind::Keyframe, _) => codec::decompress(self.key(), raw_len),
            (Kind::Raw, _) if self.key().len() == raw_len => Ok(self.key().to_vec()),
            _ => Err("it is no keyframe"),
        };
        text.map(|text| Whole::Text(Arc::new(text))).map_err(corrupt)
    }
}

/// As [`chain::resolve`](super::chain::resolve), for a cold pack.
pub(super) fn resolve(pack: &OpenPack, index: &ColdIndex, at: Address, wanted: Wanted) -> Result<Resolved> {
    let entry = index.find(pack, at)?;
    let mut group = Asked::of(pack, index, entry.group);
    let place = group.at();
    let corrupt = |what: &str| pack.corrupt(place, what);
    let block = group.block()?;
    let header = block.header;
    if entry.member >= header.members {
        return Err(corrupt("it has fewer versions than was listed"));
    }
    let mut place = usize::from(entry.member);
    let raw_len = block.raw_len_of(place);
    let wanted = wanted.clipped(raw_len);
    let start =
        usize::try_from(wanted.offset).map_err(|_too_far| corrupt("it is longer than memory can be"))?;
    let mut fold = Fold::of(start, wanted.len, usize::try_from(raw_len).unwrap_or(usize::MAX));
    while let Some(after_key) = place.checked_sub(1) {
        let member = &block.members[after_key];
        fold.add(&block.bytes[member.splice.clone()]).map_err(corrupt)?;
        if fold.base_len() as u64 != block.raw_len_of(member.parent) {
            return Err(corrupt("a splice is not on the version it was made for"));
        }
        place = member.parent;
    }
    let pieces = fold.finish();
    let is_list = header.kind == Kind::ChunkList;
    let whole = match wanted.len > 0 || is_list {
        true => group.whole(header.kind)?,
        false => Whole::Text(Arc::default()),
    };
    Ok(Resolved { raw_len, wanted, pieces, whole, chain: None })
}

/// Whether the frame of a group is a chunk's record as it was in the hot pack, and its header then.
pub(super) fn chunk_in(frame: &[u8], at: Address) -> Option<Header> {
    let bytes = frame.first_chunk::<HEADER_LEN>()?;
    Header::parse(bytes, at).ok().filter(|header| header.kind == Kind::Chunk)
}
