//! A rolled segment as a chain of compressed blocks: smaller, and no bit of it can change unseen.
//!
//! Each block is a zstd skippable frame with our fields and an ordinary zstd frame with whole lines, so that
//! `zstd -dc` prints the segment (format.md, "Sealed segments"). A block holds the hash of the one before it, across
//! segments too.
//!
//! Invariants:
//!   * Segments are sealed from the oldest on, and never the last one.
//!   * The plain file is removed only after the sealed one was synced, read back and found equal.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use zstd::zstd_safe::DCtx;

use super::entry;
use super::segment::{JournalDir, SegmentFile, Segments};
use crate::disk::{Disk, read_all};
use crate::error::{Error, Result};
use crate::ids::{ContentHash, SegmentForm, SegmentId, Seq};

const BLOCK_MAGIC: u32 = 0x184D_2A54;
const TABLE_MAGIC: u32 = 0x184D_2A5E;
const BLOCK_MARK: [u8; 4] = *b"TKSB";
const TABLE_MARK: [u8; 4] = *b"TKSI";
const VERSION: u16 = 1;
const LEVEL: i32 = 3;

/// A block holds whole lines up to this length, or one longer line.
const BLOCK_LEN: usize = 64 * 1024;
/// No block is longer: a line beyond it (no record is) is cut.
const BLOCK_LEN_MAX: usize = 512 * 1024;
const STORED_LEN_MAX: usize = BLOCK_LEN_MAX + BLOCK_LEN_MAX / 128 + 1024;

// A block's header; all numbers are little-endian.
const AT_MAGIC: usize = 0;
const AT_SIZE: usize = AT_MAGIC + 4;
const AT_MARK: usize = AT_SIZE + 4;
const AT_VERSION: usize = AT_MARK + 4;
const AT_ZERO: usize = AT_VERSION + 2;
const AT_PREVIOUS: usize = AT_ZERO + 2;
const AT_FIRST_SEQ: usize = AT_PREVIOUS + 16;
const AT_RAW_OFFSET: usize = AT_FIRST_SEQ + 8;
const AT_RAW_LEN: usize = AT_RAW_OFFSET + 8;
const AT_STORED_LEN: usize = AT_RAW_LEN + 4;
const AT_CRC: usize = AT_STORED_LEN + 4;
const HEADER_LEN: usize = AT_CRC + 4;
const _: () = assert!(HEADER_LEN == 60, "the block header of format.md");

// The seek table: a head, an entry for each block, a foot by which it is found from the end.
const TABLE_HEAD_LEN: usize = 48;
const TABLE_ENTRY_LEN: usize = 24;
const TABLE_FOOT_LEN: usize = 12;

/// The hash of the last block of all: what the next segment's first block holds.
type BlockHash = [u8; 16];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BlockEntry {
    at: u64,
    first_seq: Seq,
    raw_len: u32,
    stored_len: u32,
}

/// What sealing made of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    pub segment: SegmentId,
    pub plain_len: u64,
    pub sealed_len: u64,
}

/// Seals every rolled segment that is still plain. Needs the store's lock.
pub fn seal_rolled(disk: &dyn Disk, dir: &JournalDir) -> Result<Vec<Sealed>> {
    let mut sealed = Vec::new();
    while let Some(next) = seal_next(disk, dir)? {
        sealed.push(next);
    }
    Ok(sealed)
}

/// Seals the oldest rolled segment that is still plain; `None` if there is none.
pub fn seal_next(disk: &dyn Disk, dir: &JournalDir) -> Result<Option<Sealed>> {
    next_to_seal(disk, dir)?.map(|file| seal_file(disk, dir, file)).transpose()
}

/// The oldest rolled segment behind the chain, parked or not. One that is older than the end of the chain has no place
/// in it any more, and stays plain.
fn next_to_seal(disk: &dyn Disk, dir: &JournalDir) -> Result<Option<SegmentFile>> {
    let segments = Segments::list(disk, dir, true)?;
    let rolled = segments.files().split_last().map_or(&[][..], |(_, rolled)| rolled);
    let chained = rolled.iter().rposition(|file| file.form == SegmentForm::Sealed).map_or(0, |last| last + 1);
    Ok(rolled.get(chained).copied())
}

/// Seals the segment that is the next; any other is refused.
pub fn seal(disk: &dyn Disk, dir: &JournalDir, segment: SegmentId) -> Result<Sealed> {
    match next_to_seal(disk, dir)? {
        Some(file) if file.id == segment => seal_file(disk, dir, file),
        _ => Err(Error::refused(format!("{} is not the next segment to seal", segment.file_name()))),
    }
}

fn seal_file(disk: &dyn Disk, dir: &JournalDir, file: SegmentFile) -> Result<Sealed> {
    let segment = file.id;
    let sealed_path = SegmentFile { form: SegmentForm::Sealed, ..file }.path(dir);
    let (plain_path, names) = (file.path(dir), if file.archived { dir.archive() } else { dir.path().into() });
    let plain = read_all(disk, &plain_path).map_err(Error::io("read", &plain_path))?;
    let previous = hash_before(disk, dir, segment)?;
    let bytes = encode(&plain, previous).map_err(Error::io("compress", &plain_path))?;

    let temp = sealed_path.with_extension("zst.tmp");
    write_new(disk, &temp, &bytes)?;
    let back = read_all(disk, &temp).map_err(Error::io("read back", &temp))?;
    if check(&back, &temp, previous)?.plain != plain {
        return Err(Error::corrupt(&temp, 0, "what was read back differs from the plain segment"));
    }
    disk.rename(&temp, &sealed_path).map_err(Error::io("rename", &temp))?;
    disk.sync_dir(&names).map_err(Error::io("sync the directory", &names))?;
    disk.remove_file(&plain_path).map_err(Error::io("remove", &plain_path))?;
    disk.sync_dir(&names).map_err(Error::io("sync the directory", &names))?;
    Ok(Sealed { segment, plain_len: plain.len() as u64, sealed_len: bytes.len() as u64 })
}

fn write_new(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<()> {
    if disk.stat(path).map_err(Error::io("look at", path))?.is_some() {
        disk.remove_file(path).map_err(Error::io("remove", path))?;
    }
    let file = disk.create_append(path).map_err(Error::io("create", path))?;
    file.append(bytes).map_err(Error::io("write", path))?;
    file.sync().map_err(Error::io("sync", path))
}

/// The last block's hash of the sealed segment before this one; zeros if there is none.
fn hash_before(disk: &dyn Disk, dir: &JournalDir, segment: SegmentId) -> Result<BlockHash> {
    let chain = sealed_files(disk, dir)?;
    let Some(before) = chain.iter().rfind(|file| file.id < segment) else { return Ok([0; 16]) };
    let path = before.path(dir);
    let bytes = read_all(disk, &path).map_err(Error::io("read", &path))?;
    let table = Table::read(&bytes).ok_or_else(|| Error::corrupt(&path, 0, "its seek table is damaged"))?;
    Ok(table.last_hash)
}

/// All sealed files, archived ones too, in the order of the chain.
fn sealed_files(disk: &dyn Disk, dir: &JournalDir) -> Result<Vec<SegmentFile>> {
    let segments = Segments::list(disk, dir, true)?;
    let all = segments.files().iter().chain(segments.spare());
    let mut sealed: Vec<_> = all.filter(|file| file.form == SegmentForm::Sealed).copied().collect();
    sealed.sort_unstable();
    sealed.dedup_by_key(|file| file.id);
    Ok(sealed)
}

fn encode(plain: &[u8], mut previous: BlockHash) -> std::io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    let (mut out, mut entries, mut offset) = (Vec::new(), Vec::new(), 0);
    while offset < plain.len() {
        let raw = block_at(plain, offset);
        let stored = compressor.compress(raw)?;
        let at = out.len();
        let entry = BlockEntry {
            at: at as u64,
            first_seq: first_seq(raw),
            raw_len: length(raw.len()),
            stored_len: length(stored.len()),
        };
        put_block(&mut out, &entry, offset as u64, previous, &stored);
        previous = ContentHash::of(&out[at..]).0;
        entries.push(entry);
        offset += raw.len();
    }
    Table { last_hash: previous, raw_len: plain.len() as u64, entries }.put(&mut out);
    Ok(out)
}

/// Whole lines of about the length of a block.
fn block_at(plain: &[u8], offset: usize) -> &[u8] {
    let rest = &plain[offset..];
    if rest.len() <= BLOCK_LEN {
        return rest;
    }
    let end = memchr::memrchr(b'\n', &rest[..BLOCK_LEN]).or_else(|| memchr::memchr(b'\n', rest));
    let len = end.map_or(rest.len(), |newline| newline + 1);
    &rest[..len.min(BLOCK_LEN_MAX)]
}

fn first_seq(raw: &[u8]) -> Seq {
    super::lines::lines(raw).find_map(|line| entry::legible(line.text)).map_or(Seq(0), |shown| shown.seq)
}

fn length(len: usize) -> u32 {
    u32::try_from(len).expect("a block is short, because it is cut at BLOCK_LEN_MAX")
}

fn put_block(out: &mut Vec<u8>, entry: &BlockEntry, raw_offset: u64, previous: BlockHash, stored: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&BLOCK_MAGIC.to_le_bytes());
    out.extend_from_slice(&length(HEADER_LEN - AT_MARK).to_le_bytes());
    out.extend_from_slice(&BLOCK_MARK);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&previous);
    out.extend_from_slice(&entry.first_seq.0.to_le_bytes());
    out.extend_from_slice(&raw_offset.to_le_bytes());
    out.extend_from_slice(&entry.raw_len.to_le_bytes());
    out.extend_from_slice(&entry.stored_len.to_le_bytes());
    out.extend_from_slice(&block_crc(&out[start..], stored).to_le_bytes());
    out.extend_from_slice(stored);
}

fn block_crc(header: &[u8], stored: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(header);
    crc.update(stored);
    crc.finalize()
}

/// A block that was read and whose checksum is right.
struct Block<'a> {
    previous: BlockHash,
    first_seq: Seq,
    raw_offset: u64,
    raw_len: u32,
    stored: &'a [u8],
    /// Header and stored bytes.
    whole: &'a [u8],
}

impl<'a> Block<'a> {
    /// The block that begins at `at`.
    fn read(bytes: &'a [u8], at: usize) -> Result<Self, &'static str> {
        let header =
            bytes.get(at..).and_then(|rest| rest.get(..HEADER_LEN)).ok_or("a block's header is cut off")?;
        let frame =
            (u32_at(header, AT_MAGIC), u32_at(header, AT_SIZE) as usize, &header[AT_MARK..AT_VERSION]);
        if frame != (BLOCK_MAGIC, HEADER_LEN - AT_MARK, &BLOCK_MARK) {
            return Err("no block begins here");
        }
        if u16::from_le_bytes([header[AT_VERSION], header[AT_VERSION + 1]]) != VERSION {
            return Err("the block's version is not known");
        }
        let (raw_len, stored_len) = (u32_at(header, AT_RAW_LEN), u32_at(header, AT_STORED_LEN) as usize);
        if raw_len as usize > BLOCK_LEN_MAX || stored_len > STORED_LEN_MAX {
            return Err("the block's length is impossible");
        }
        let whole = bytes.get(at..at + HEADER_LEN + stored_len).ok_or("a block is cut off")?;
        let stored = &whole[HEADER_LEN..];
        if block_crc(&header[..AT_CRC], stored) != u32_at(header, AT_CRC) {
            return Err("the block's checksum is wrong");
        }
        let mut previous = [0; 16];
        previous.copy_from_slice(&header[AT_PREVIOUS..AT_FIRST_SEQ]);
        let (first_seq, raw_offset) = (Seq(u64_at(header, AT_FIRST_SEQ)), u64_at(header, AT_RAW_OFFSET));
        Ok(Self { previous, first_seq, raw_offset, raw_len, stored, whole })
    }

    /// Appends the lines; on error `out` is as it was.
    fn decompress(&self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        thread_local! {
            static CONTEXT: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
        }
        let len = out.len();
        out.resize(len + self.raw_len as usize, 0);
        let fault = match CONTEXT.with_borrow_mut(|with| with.decompress(&mut out[len..], self.stored)) {
            Ok(made) if made == self.raw_len as usize => return Ok(()),
            Ok(_) => "the block decompresses to another length",
            Err(_damaged) => "the block does not decompress",
        };
        out.truncate(len);
        Err(fault)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |four| u32::from_le_bytes(*four))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight))
}

/// Where the blocks are, at the end of the file.
#[derive(Debug, PartialEq, Eq)]
struct Table {
    last_hash: BlockHash,
    raw_len: u64,
    entries: Vec<BlockEntry>,
}

impl Table {
    fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let len = TABLE_HEAD_LEN + self.entries.len() * TABLE_ENTRY_LEN + TABLE_FOOT_LEN;
        out.extend_from_slice(&TABLE_MAGIC.to_le_bytes());
        out.extend_from_slice(&length(len - AT_MARK).to_le_bytes());
        out.extend_from_slice(&TABLE_MARK);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.last_hash);
        out.extend_from_slice(&self.raw_len.to_le_bytes());
        out.extend_from_slice(&(self.entries.len() as u64).to_le_bytes());
        for entry in &self.entries {
            out.extend_from_slice(&entry.at.to_le_bytes());
            out.extend_from_slice(&entry.first_seq.0.to_le_bytes());
            out.extend_from_slice(&entry.raw_len.to_le_bytes());
            out.extend_from_slice(&entry.stored_len.to_le_bytes());
        }
        out.extend_from_slice(&length(len).to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&out[start..]).to_le_bytes());
        out.extend_from_slice(&TABLE_MARK);
    }

    fn read(file: &[u8]) -> Option<Self> {
        let foot = file.last_chunk::<TABLE_FOOT_LEN>()?;
        let len = u32_at(foot, 0) as usize;
        let bytes = &file[file.len().checked_sub(len)?..];
        let body = bytes.len().checked_sub(8).filter(|_| len >= TABLE_HEAD_LEN + TABLE_FOOT_LEN)?;
        if foot[8..] != TABLE_MARK || crc32fast::hash(&bytes[..body]) != u32_at(foot, 4) {
            return None;
        }
        let entries = bytes[TABLE_HEAD_LEN..len - TABLE_FOOT_LEN].chunks_exact(TABLE_ENTRY_LEN);
        let entries = entries.map(|entry| BlockEntry {
            at: u64_at(entry, 0),
            first_seq: Seq(u64_at(entry, 8)),
            raw_len: u32_at(entry, 16),
            stored_len: u32_at(entry, 20),
        });
        let last_hash = *bytes[AT_PREVIOUS..].first_chunk()?;
        let table = Self { last_hash, raw_len: u64_at(bytes, 32), entries: entries.collect() };
        let mut again = Vec::new();
        table.put(&mut again);
        (again == bytes).then_some(table)
    }
}

/// The lines of a sealed segment, with blank lines in the place of each block that is damaged, and those blocks'
/// offsets. Reads on behind a damaged block as long as the table or the chain tells where.
pub(crate) fn read_lines(bytes: &[u8]) -> (Vec<u8>, Vec<u64>) {
    let (mut plain, mut damaged) = (Vec::new(), Vec::new());
    let Some(table) = Table::read(bytes) else {
        let mut at = 0;
        while let Ok(block) = Block::read(bytes, at) {
            let len = plain.len();
            if block.raw_offset != len as u64 || block.decompress(&mut plain).is_err() {
                break;
            }
            at += block.whole.len();
        }
        damaged.push(plain.len() as u64);
        return (plain, damaged);
    };
    for entry in &table.entries {
        let len = plain.len();
        let at = usize::try_from(entry.at).unwrap_or(usize::MAX);
        let read = Block::read(bytes, at).and_then(|block| {
            let right = block.raw_offset == len as u64 && block.raw_len == entry.raw_len;
            if right { block.decompress(&mut plain) } else { Err("another block stands here") }
        });
        if read.is_err() {
            damaged.push(len as u64);
            plain.resize(len + (entry.raw_len as usize).min(BLOCK_LEN_MAX), b'\n');
        }
    }
    (plain, damaged)
}

/// What a sealed file that is sound throughout holds.
struct Checked {
    plain: Vec<u8>,
    last_hash: BlockHash,
    blocks: u64,
}

/// Reads every byte and believes none: each block, the chain, and the table against the blocks.
fn check(bytes: &[u8], path: &Path, mut previous: BlockHash) -> Result<Checked> {
    let mut plain = Vec::new();
    let (mut at, mut entries) = (0, Vec::new());
    while bytes.get(at..).is_some_and(|rest| rest.starts_with(&BLOCK_MAGIC.to_le_bytes())) {
        let wrong = |what: &str| Error::corrupt(path, at as u64, what);
        let block = Block::read(bytes, at).map_err(wrong)?;
        if block.previous != previous {
            return Err(wrong("the chain is broken: another block was before this one"));
        }
        let start = plain.len();
        block.decompress(&mut plain).map_err(wrong)?;
        if block.raw_offset != start as u64 || block.first_seq != first_seq(&plain[start..]) {
            return Err(wrong("the block's header does not fit its lines"));
        }
        let (raw_len, stored_len) = (block.raw_len, length(block.stored.len()));
        entries.push(BlockEntry { at: at as u64, first_seq: block.first_seq, raw_len, stored_len });
        previous = ContentHash::of(block.whole).0;
        at += block.whole.len();
    }
    let mut table = Vec::new();
    let blocks = entries.len() as u64;
    Table { last_hash: previous, raw_len: plain.len() as u64, entries }.put(&mut table);
    if bytes[at..] != table {
        return Err(Error::corrupt(path, at as u64, "the seek table does not fit the blocks"));
    }
    Ok(Checked { plain, last_hash: previous, blocks })
}

/// What a walk along the whole chain found.
#[derive(Debug, Default)]
pub struct ChainReport {
    pub segments: u64,
    pub blocks: u64,
    /// Each names the file, the byte and what is wrong there.
    pub breaks: Vec<Error>,
}

/// Checks every sealed segment, archived ones too. Behind a damaged one the chain is taken up anew.
pub fn verify_chain(disk: &dyn Disk, dir: &JournalDir) -> Result<ChainReport> {
    let mut report = ChainReport::default();
    let mut previous = Some([0; 16]);
    for file in sealed_files(disk, dir)? {
        let path: PathBuf = file.path(dir);
        let bytes = read_all(disk, &path).map_err(Error::io("read", &path))?;
        report.segments += 1;
        let expected = previous.or_else(|| Block::read(&bytes, 0).ok().map(|block| block.previous));
        match check(&bytes, &path, expected.unwrap_or_default()) {
            Ok(checked) => {
                report.blocks += checked.blocks;
                previous = Some(checked.last_hash);
            }
            Err(damage) => {
                report.breaks.push(damage);
                previous = None;
            }
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::super::testing::{Bench, update, write_one};
    use super::super::writer::WriterOptions;
    use super::super::{JournalReader, ReadOptions};
    use super::*;

    /// A journal of several segments, each of several blocks.
    fn rolled() -> Bench {
        let bench = Bench::new();
        let mut journal = bench.writer(WriterOptions { roll_at: 90_000, ..WriterOptions::default() });
        for n in 0..1_200_u64 {
            let payload = format!("{{\"n\":{n},\"text\":\"{}\"}}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            write_one(&mut journal, &[update(&format!("plan-{}", n % 50), &payload)]);
        }
        bench
    }

    /// Shows EL-59.
    #[test]
    fn sealed_segments_read_like_the_plain_ones() {
        let bench = rolled();
        let (before, _) = bench.read();
        let mut reader =
            JournalReader::open(&bench.disk, &bench.dir, ReadOptions::from(Seq(1))).unwrap().whole().unwrap();
        let mut seen = vec![reader.next().unwrap().unwrap().line.seq.0];
        let sealed = seal_rolled(&*bench.disk, &bench.dir).unwrap();
        assert!(sealed.len() >= 2);
        assert!(sealed.iter().all(|s| s.sealed_len * 3 < s.plain_len), "{sealed:?}");
        while let Some(entry) = reader.next().unwrap() {
            seen.push(entry.line.seq.0);
        }
        assert_eq!(seen, (1..=1_200).collect::<Vec<_>>(), "a reader goes on across sealing");
        assert_eq!(bench.read().0, before);
        for from in [1, 2, 300, 1_200_usize] {
            assert_eq!(bench.read_with(ReadOptions::from(Seq(from as u64))).0, before[from - 1..]);
        }
        let report = verify_chain(&*bench.disk, &bench.dir).unwrap();
        assert_eq!((report.segments, report.breaks.len()), (sealed.len() as u64, 0));
        assert!(report.blocks > report.segments);
        write_one(&mut bench.writer(WriterOptions::default()), &[update("more", "{}")]);
        assert_eq!(bench.seqs().len(), 1_201);
    }

    #[test]
    fn the_zstd_of_every_machine_prints_a_sealed_segment() {
        let bench = rolled();
        let first = SegmentId(Seq(1));
        let plain = bench.memory.bytes(&bench.dir.plain(first));
        seal(&*bench.disk, &bench.dir, first).unwrap();
        let sealed = bench.memory.bytes(&bench.dir.sealed(first));
        assert_eq!(zstd::stream::decode_all(&sealed[..]).unwrap(), plain);
        let zstd = Command::new("zstd").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut zstd) = zstd else { return };
        let mut input = zstd.stdin.take().unwrap();
        let feed = std::thread::spawn(move || input.write_all(&sealed));
        assert_eq!(zstd.wait_with_output().unwrap().stdout, plain);
        feed.join().unwrap().unwrap();
    }

    #[test]
    fn every_flipped_bit_of_the_chain_is_found() {
        let bench = rolled();
        seal_rolled(&*bench.disk, &bench.dir).unwrap();
        let path = bench.dir.sealed(SegmentId(Seq(1)));
        let sealed = bench.memory.bytes(&path);
        let plain_len = zstd::stream::decode_all(&sealed[..]).unwrap().len();
        let table = 2 * (TABLE_HEAD_LEN + TABLE_ENTRY_LEN);
        for bit in (0..sealed.len() * 8)
            .filter(|bit| bit / 8 < 200 || bit % 97 == 0 || bit / 8 + table > sealed.len())
        {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&flipped, &path, [0; 16]).is_err(), "bit {bit} went unnoticed");
            let (lines, damaged) = read_lines(&flipped);
            assert!(damaged.len() <= 1 && lines.len() <= plain_len);
        }
    }

    #[test]
    fn a_block_that_is_replaced_breaks_the_chain_of_the_next_segment() {
        let bench = rolled();
        let sealed = seal_rolled(&*bench.disk, &bench.dir).unwrap();
        let path = bench.dir.sealed(sealed[0].segment);
        let forged = encode(b"\n{\"v\":2,\"seq\":1}\n", [0; 16]).unwrap();
        bench.memory.set(&path, &forged);
        let report = verify_chain(&*bench.disk, &bench.dir).unwrap();
        assert_eq!(report.breaks.len(), 1);
        assert!(
            report.breaks[0].to_string().contains(&sealed[1].segment.sealed_name()),
            "{:?}",
            report.breaks
        );
    }

    #[test]
    fn a_damaged_block_costs_its_own_lines_alone() {
        let bench = rolled();
        seal_rolled(&*bench.disk, &bench.dir).unwrap();
        let path = bench.dir.sealed(SegmentId(Seq(1)));
        let mut bytes = bench.memory.bytes(&path);
        bytes[HEADER_LEN + 50] ^= 1;
        bench.memory.set(&path, &bytes);
        let (seen, report) = bench.read();
        assert_eq!(report.damaged_blocks, [(SegmentId(Seq(1)), 0)]);
        assert!(report.missing > 0 && seen.len() as u64 + report.missing == 1_200);
        assert_eq!(report.skipped(), 0);
    }

    #[test]
    fn a_crash_before_the_plain_file_is_gone_is_finished_by_the_next_sealing() {
        let bench = rolled();
        let crashed = bench.copy();
        seal_rolled(&*bench.disk, &bench.dir).unwrap();
        let first = bench.dir.sealed(SegmentId(Seq(1)));
        crashed.memory.set(&first, &bench.memory.bytes(&first));
        crashed.memory.set(&first.with_extension("zst.tmp"), b"half");
        assert_eq!(crashed.read().0, bench.read().0);
        seal_rolled(&*crashed.disk, &crashed.dir).unwrap();
        assert_eq!(verify_chain(&*crashed.disk, &crashed.dir).unwrap().breaks.len(), 0);
        assert_eq!(crashed.read().0, bench.read().0);
    }
}
