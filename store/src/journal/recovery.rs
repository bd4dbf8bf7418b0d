//! Finds where a segment ends: its last whole mutation, and the torn range behind it.
//!
//! A mutation is whole when each of its records is there, sound and closed by its newline. What stands behind the
//! last whole one is torn, unless it is a stranger's (format.md, "Torn tails"). Nothing is ever cut off: the next
//! append begins with a record that declares the torn range dead.
//!
//! Invariant: what is not the end of the last segment is judged by the records that name it, never by this module.

use std::path::Path;

use memchr::memmem;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::entry::{self, Action, Body, Draft, ItemType, Line, LineFault};
use super::lines::{RawLine, lines, next_line};
use crate::disk::{Disk, DiskFile, read_exact_at};
use crate::error::{Error, Result};
use crate::ids::{SegmentId, Seq};

/// The end of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// The last record of the last whole mutation, and the offset behind its newline; `None` if there is none.
    pub last: Option<(Seq, u64)>,
    pub torn: Option<TornRange>,
}

/// Bytes of a write that did not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TornRange {
    pub from: u64,
    pub to: u64,
    /// The highest seq that can be read in it. It is never used again.
    pub shows: Option<Seq>,
}

/// The payload of an `adjudicate` record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjudication {
    pub segment: String,
    pub from: u64,
    pub to: u64,
    /// Of the dead bytes, in hex.
    pub sha256: String,
}

impl Adjudication {
    #[must_use]
    pub fn new(segment: SegmentId, from: u64, dead: &[u8]) -> Self {
        let to = from + dead.len() as u64;
        Self { segment: segment.file_name(), from, to, sha256: sha256_hex(dead) }
    }

    #[must_use]
    pub fn draft(&self) -> Draft {
        let payload = serde_json::to_string(self).and_then(RawValue::from_string);
        Draft {
            action: Action::Adjudicate,
            item_type: ItemType::JOURNAL,
            item_id: None,
            summary: None,
            tick: None,
            body: Body::Payload(
                payload.expect("it holds only strings and numbers, because it is built here"),
            ),
        }
    }

    /// What an `adjudicate` record says; `None` for any other record, and for one that names what it cannot know.
    #[must_use]
    pub fn of(line: &Line<'_>, segment: SegmentId, offset: u64) -> Option<Self> {
        if line.action != Action::Adjudicate {
            return None;
        }
        let said: Self = serde_json::from_str(line.payload?.get()).ok()?;
        (said.segment == segment.file_name() && said.from < said.to && said.to <= offset).then_some(said)
    }
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the adjudications in `bytes` declare dead, in order. `bytes` begin at offset `base` of the segment.
pub(crate) fn adjudications(bytes: &[u8], base: u64, segment: SegmentId) -> Vec<Adjudication> {
    let mut found = Vec::new();
    for hit in memmem::find_iter(bytes, b"\"action\":\"adjudicate\"") {
        let start = memchr::memrchr(b'\n', &bytes[..hit]).map_or(0, |newline| newline + 1);
        let Some(line) = next_line(bytes, start).filter(|line| line.closed) else {
            continue;
        };
        let Ok(decoded) = entry::decode(line.text) else {
            continue;
        };
        found.extend(Adjudication::of(&decoded, segment, base + start as u64));
    }
    found
}

/// Reads only as much of the file as its last mutations are long.
pub fn read_tail(file: &dyn DiskFile, path: &Path, len: u64, segment: SegmentId) -> Result<Tail> {
    let mut window = FIRST_WINDOW;
    loop {
        let from = len.saturating_sub(window);
        let size =
            usize::try_from(len - from).map_err(|_too_large| Error::corrupt(path, 0, "too large to read"))?;
        let mut bytes = vec![0; size];
        read_exact_at(file, &mut bytes, from).map_err(Error::io("read", path))?;
        let start = if from == 0 { Start::Behind(before(segment)) } else { Start::Anywhere };
        if let Some(tail) = examine(&bytes, from, start) {
            return Ok(tail);
        }
        window *= WINDOW_GROWTH;
    }
}

/// What was written before the first record of a segment.
pub(crate) fn before(segment: SegmentId) -> Seq {
    Seq(segment.0.0.saturating_sub(1))
}

/// The same over bytes in memory, which begin behind the mutation that ends in `before`.
pub(crate) fn tail_of(bytes: &[u8], base: u64, before: Seq) -> Tail {
    let mut window = 64 * 1024;
    loop {
        let from = bytes.len().saturating_sub(window);
        let start = if from == 0 { Start::Behind(before) } else { Start::Anywhere };
        if let Some(tail) = examine(&bytes[from..], base + from as u64, start) {
            return tail;
        }
        window = window.saturating_mul(16);
    }
}

/// A few mutations: each line of it is decoded whenever somebody opens the journal to write.
const FIRST_WINDOW: u64 = 4 * 1024;
const WINDOW_GROWTH: u64 = 16;

/// The bytes of a file, `from..to`.
pub(crate) fn read_range(disk: &dyn Disk, path: &Path, from: u64, to: u64) -> Result<Vec<u8>> {
    let file = disk.open(path).map_err(Error::io("open", path))?;
    let size = usize::try_from(to.saturating_sub(from))
        .map_err(|_too_large| Error::corrupt(path, from, "too large to read"))?;
    let mut bytes = vec![0; size];
    let read = file.read_at(&mut bytes, from).map_err(Error::io("read", path))?;
    bytes.truncate(read);
    Ok(bytes)
}

/// What is known of the place where a window begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Right behind the last record of a whole mutation, or at the beginning of a segment.
    Behind(Seq),
    /// Perhaps in the middle of a line or of a mutation.
    Anywhere,
}

/// A mutation whose last record has not been met yet.
#[derive(Debug, Clone, Copy)]
struct Unfinished {
    /// The seq of its last record: what its records have in common.
    last: u64,
    /// The seq and the part that come next, while none is missing.
    next: Option<(Seq, u32)>,
}

/// `None`: the window is too short to tell.
fn examine(window: &[u8], base: u64, start: Start) -> Option<Tail> {
    let (last_seq, conclusive) = match start {
        Start::Behind(seq) => (Some(seq), true),
        Start::Anywhere => (None, false),
    };
    let mut scan = Scan { conclusive, last_seq, last_end: None, unfinished: None, torn: None };
    let skip = match start {
        Start::Behind(_) => 0,
        Start::Anywhere => memchr::memchr(b'\n', window)?,
    };
    for line in lines(&window[skip..]) {
        scan.meet(&RawLine { start: line.start + skip, ..line });
    }
    if !scan.conclusive {
        return None;
    }
    let torn = scan.torn.map(|from| {
        let (dead, to) = (&window[from..], base + window.len() as u64);
        TornRange {
            from: base + from as u64,
            to,
            shows: highest_seq(dead, scan.last_seq.unwrap_or_default()),
        }
    });
    let last = scan.last_end.zip(scan.last_seq).map(|(end, seq)| (seq, base + end as u64));
    Some(Tail { last, torn })
}

#[derive(Debug)]
struct Scan {
    /// Whether a whole mutation was met, or what stands before the window is known.
    conclusive: bool,
    last_seq: Option<Seq>,
    last_end: Option<usize>,
    unfinished: Option<Unfinished>,
    /// The first of our bytes behind the last whole mutation.
    torn: Option<usize>,
}

impl Scan {
    fn meet(&mut self, line: &RawLine<'_>) {
        if !line.closed {
            self.torn.get_or_insert(line.start);
            return;
        }
        match entry::decode(line.text) {
            Ok(record) => self.meet_record(line, record.seq, record.more, record.part),
            // Sound, and written by a version that knows more than this one: its seq is taken all the same.
            Err(LineFault::Version(_) | LineFault::UnknownAction(_) | LineFault::Schema(_)) => {
                if let Some(shown) = entry::legible(line.text) {
                    self.meet_record(line, shown.seq, shown.more, shown.part);
                }
            }
            Err(fault) if is_ours(line.text, &fault, self.last_seq) => {
                self.torn.get_or_insert(line.start);
            }
            // A stranger's line is left where it is, and counted by whoever reads.
            Err(_) => {}
        }
    }

    fn meet_record(&mut self, line: &RawLine<'_>, seq: Seq, more: u32, part: u32) {
        if self.last_seq.is_some_and(|last| seq <= last) {
            return;
        }
        let last = seq.0.saturating_add(more.into());
        let goes_on = self.unfinished.is_some_and(|open| open.last == last && open.next == Some((seq, part)));
        let is_whole_so_far = part == 0 || goes_on;
        self.torn.get_or_insert(line.start);
        if more == 0 && is_whole_so_far {
            // Damage that stands before a whole mutation is no torn tail: it is read around, and reported.
            (self.last_seq, self.last_end) = (Some(seq), Some(line.end()));
            (self.unfinished, self.torn, self.conclusive) = (None, None, true);
        } else {
            let next = is_whole_so_far.then_some((seq.next(), part + 1));
            self.unfinished = Some(Unfinished { last, next });
        }
    }
}

/// Whether a damaged line at the end of a segment is a torn write of ours and no stranger's line: it shows a seq
/// that is still to come, or holds a NUL, as a block does that never reached the disk.
fn is_ours(line: &[u8], fault: &LineFault, last: Option<Seq>) -> bool {
    let to_come = || entry::legible(line).is_some_and(|shown| last.is_none_or(|last| shown.seq > last));
    match fault {
        LineFault::NotJson => memchr::memchr(0, line).is_some() || to_come(),
        LineFault::Checksum => entry::has_trailer(line) && to_come(),
        LineFault::Stray | LineFault::Version(_) | LineFault::UnknownAction(_) | LineFault::Schema(_) => {
            false
        }
    }
}

/// The highest seq that a torn range shows. A range holds fewer records than bytes, so a number beyond that is damage.
fn highest_seq(dead: &[u8], last: Seq) -> Option<Seq> {
    let bound = last.0.saturating_add(dead.len() as u64);
    let shown = lines(dead).filter_map(|line| entry::legible(line.text)).map(|shown| shown.seq);
    shown.filter(|seq| seq.0 <= bound).max()
}

/// The range that a failed append left behind: dead as a whole, even where single mutations in it are complete.
pub(crate) fn failed_append(bytes: &[u8], base: u64, last: Seq) -> Option<TornRange> {
    let first = bytes.iter().position(|&byte| byte != b'\n')?;
    let shows = highest_seq(&bytes[first..], last);
    Some(TornRange { from: base + first as u64, to: base + bytes.len() as u64, shows })
}
