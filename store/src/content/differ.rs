//! Finds which ranges of an old content were replaced by which ranges of a new one.
//!
//! What both begin and end with is skipped first: a save leaves little between. That middle is cut into lines (at
//! `\n` alone), or, where it is not text, at places that its own bytes choose; the pieces are compared, and what
//! differs is compared again in finer pieces. The work is bounded: the comparing of lines by time, which its library
//! keeps, and the rest by the length of the content.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use similar::{Algorithm, DiffOp, TextDiff};

use crate::ids::ContentHash;

/// A range of the old content that became a range of the new one. In a list they ascend in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) old: Range<usize>,
    pub(super) new: Range<usize>,
}

const TIME_MAX: Duration = Duration::from_millis(30);
/// A middle that is longer is not cut into lines.
const LINES_MAX: usize = 8 * 1024 * 1024;
/// A side that is shorter is replaced as a whole.
const SPLIT_MIN: usize = 48;
/// A part of a changed line that is shorter is not looked into.
const REFINE_MIN: usize = 512;
const DEPTH_MAX: u32 = 3;
/// What two edits keep between them costs as much as this to say.
const GAP_MIN: usize = 4;
/// Contents of one length are compared in blocks of this size.
const BLOCK: usize = 64;

pub(super) fn edits(old: &[u8], new: &[u8]) -> Vec<Edit> {
    let mut found = Vec::new();
    Search { old, new, time: TIME_MAX }.between(0..old.len(), 0..new.len(), 0, &mut found);
    join_near(found)
}

/// Joins edits that keep almost nothing between them.
fn join_near(edits: Vec<Edit>) -> Vec<Edit> {
    let mut joined: Vec<Edit> = Vec::with_capacity(edits.len());
    for edit in edits {
        match joined.last_mut() {
            Some(last) if edit.old.start - last.old.end < GAP_MIN => {
                last.old.end = edit.old.end;
                last.new.end = edit.new.end;
            }
            _ => joined.push(edit),
        }
    }
    joined
}

struct Search<'a> {
    old: &'a [u8],
    new: &'a [u8],
    /// How long the comparing of lines may take.
    time: Duration,
}

impl Search<'_> {
    fn between(&self, old: Range<usize>, new: Range<usize>, depth: u32, found: &mut Vec<Edit>) {
        let Edit { old, new } = self.trimmed(old, new);
        if old.is_empty() && new.is_empty() {
            return;
        }
        let shorter = old.len().min(new.len());
        let smallest = if depth == 0 { SPLIT_MIN } else { REFINE_MIN };
        if shorter < smallest || depth == DEPTH_MAX {
            found.push(Edit { old, new });
            return;
        }
        if depth == 0 && is_lines(&self.old[old.clone()]) && is_lines(&self.new[new.clone()]) {
            return self.by_lines(old, new, found);
        }
        if old.len() == new.len() {
            let aligned = self.by_blocks(old.clone(), new.clone());
            if changed(&aligned) < new.len() / 8 {
                found.extend(aligned);
                return;
            }
            let mut pieces = Vec::new();
            self.by_anchors(old, new, depth, &mut pieces);
            found.extend(if changed(&aligned) <= changed(&pieces) { aligned } else { pieces });
            return;
        }
        self.by_anchors(old, new, depth, found);
    }

    fn trimmed(&self, mut old: Range<usize>, mut new: Range<usize>) -> Edit {
        let prefix = common_prefix(&self.old[old.clone()], &self.new[new.clone()]);
        (old.start, new.start) = (old.start + prefix, new.start + prefix);
        let suffix = common_suffix(&self.old[old.clone()], &self.new[new.clone()]);
        (old.end, new.end) = (old.end - suffix, new.end - suffix);
        Edit { old, new }
    }

    /// Compares lines. At its deadline the comparison settles for coarser findings.
    fn by_lines(&self, old: Range<usize>, new: Range<usize>, found: &mut Vec<Edit>) {
        let (old_lines, new_lines) = (lines(&self.old[old.clone()]), lines(&self.new[new.clone()]));
        let diff = TextDiff::configure()
            .algorithm(Algorithm::Myers)
            .timeout(self.time)
            .diff_slices(&old_lines, &new_lines);
        let (mut old_at, mut new_at) =
            (Places::new(old.start, &old_lines), Places::new(new.start, &new_lines));
        for op in diff.ops().iter().filter(|op| !matches!(op, DiffOp::Equal { .. })) {
            let (old, new) = (old_at.bytes(op.old_range()), new_at.bytes(op.new_range()));
            self.between(old, new, 1, found);
        }
    }

    /// Compares pieces that the bytes themselves delimit: those that either side has once are fixed points.
    fn by_anchors(&self, old: Range<usize>, new: Range<usize>, depth: u32, found: &mut Vec<Edit>) {
        let longer = old.len().max(new.len());
        let old_pieces = content_defined(&self.old[old.clone()], longer);
        let new_pieces = content_defined(&self.new[new.clone()], longer);
        let (mut old_at, mut new_at) =
            (Places::new(old.start, &old_pieces), Places::new(new.start, &new_pieces));
        let (mut old_piece, mut new_piece) = (0, 0);
        let end = (old_pieces.len(), new_pieces.len());
        for (old_anchor, new_anchor) in anchors(&old_pieces, &new_pieces).into_iter().chain([end]) {
            let (old, new) = (old_at.bytes(old_piece..old_anchor), new_at.bytes(new_piece..new_anchor));
            self.between(old, new, depth + 1, found);
            (old_piece, new_piece) = (old_anchor + 1, new_anchor + 1);
        }
    }

    /// For sides of one length: what differs where it stands.
    fn by_blocks(&self, old: Range<usize>, new: Range<usize>) -> Vec<Edit> {
        let mut runs: Vec<Edit> = Vec::new();
        let blocks = self.old[old.clone()].chunks(BLOCK).zip(self.new[new.clone()].chunks(BLOCK));
        for (index, (before, after)) in blocks.enumerate() {
            if before == after {
                continue;
            }
            let (old_start, new_start) = (old.start + index * BLOCK, new.start + index * BLOCK);
            match runs.last_mut() {
                Some(run) if run.old.end == old_start => {
                    run.old.end += before.len();
                    run.new.end += after.len();
                }
                _ => runs.push(Edit {
                    old: old_start..old_start + before.len(),
                    new: new_start..new_start + after.len(),
                }),
            }
        }
        runs.into_iter().map(|run| self.trimmed(run.old, run.new)).collect()
    }
}

/// The pieces that stand once on either side, in the longest order that both share.
fn anchors(old: &[&[u8]], new: &[&[u8]]) -> Vec<(usize, usize)> {
    const TWICE: usize = usize::MAX;
    let places = |pieces: &[&[u8]]| {
        let mut places = HashMap::with_capacity(pieces.len());
        for (index, piece) in pieces.iter().enumerate() {
            places.entry(ContentHash::of(piece)).and_modify(|at| *at = TWICE).or_insert(index);
        }
        places
    };
    let in_new = places(new);
    let mut shared: Vec<(usize, usize)> = places(old)
        .into_iter()
        .filter(|(_, at)| *at != TWICE)
        .filter_map(|(piece, old_at)| Some((old_at, *in_new.get(&piece).filter(|at| **at != TWICE)?)))
        .collect();
    shared.sort_unstable();
    longest_ascent(&shared)
}

/// The longest part of the list, which ascends on the left, that ascends on the right too.
fn longest_ascent(shared: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // For each length, the entry that ends such a part with the lowest right side; and for each entry, the one before.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(shared.len());
    for (index, &(_, right)) in shared.iter().enumerate() {
        let length = ends.partition_point(|&end| shared[end].1 < right);
        before.push(length.checked_sub(1).map(|shorter| ends[shorter]));
        match ends.get_mut(length) {
            Some(end) => *end = index,
            None => ends.push(index),
        }
    }
    let mut ascent: Vec<_> = std::iter::successors(ends.last().copied(), |&index| before[index])
        .map(|index| shared[index])
        .collect();
    ascent.reverse();
    ascent
}

/// Turns ascending ranges of pieces into ranges of bytes, going over the pieces once.
struct Places<'a> {
    at: usize,
    piece: usize,
    pieces: &'a [&'a [u8]],
}

impl<'a> Places<'a> {
    fn new(start: usize, pieces: &'a [&'a [u8]]) -> Self {
        Self { at: start, piece: 0, pieces }
    }

    fn bytes(&mut self, pieces: Range<usize>) -> Range<usize> {
        let start = self.advance(pieces.start);
        start..self.advance(pieces.end)
    }

    fn advance(&mut self, piece: usize) -> usize {
        self.at += self.pieces[self.piece..piece].iter().map(|bytes| bytes.len()).sum::<usize>();
        self.piece = piece;
        self.at
    }
}

fn changed(edits: &[Edit]) -> usize {
    edits.iter().map(|edit| edit.new.len() + GAP_MIN).sum()
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let words = a.chunks_exact(8).zip(b.chunks_exact(8)).take_while(|(a, b)| a == b).count() * 8;
    words + a[words..].iter().zip(&b[words..]).take_while(|(a, b)| a == b).count()
}

fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    let words = a.rchunks_exact(8).zip(b.rchunks_exact(8)).take_while(|(a, b)| a == b).count() * 8;
    let (a, b) = (&a[..a.len() - words], &b[..b.len() - words]);
    words + a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count()
}

/// Whether comparing lines is likely to say anything: no NUL near the start, and enough newlines.
fn is_lines(bytes: &[u8]) -> bool {
    const SAMPLE: usize = 8 * 1024;
    const LINE_LEN_MAX: usize = 512;
    let sample = &bytes[..bytes.len().min(SAMPLE)];
    bytes.len() <= LINES_MAX
        && memchr::memchr(0, sample).is_none()
        && memchr::memchr_iter(b'\n', sample).count() >= sample.len() / LINE_LEN_MAX
}

/// Each line ends with its `\n`; nothing else ends one.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    let mut start = 0;
    let mut lines: Vec<&[u8]> = memchr::memchr_iter(b'\n', text)
        .map(|newline| {
            let line = &text[start..=newline];
            start = newline + 1;
            line
        })
        .collect();
    if start < text.len() {
        lines.push(&text[start..]);
    }
    lines
}

/// Cuts where the last bytes hash to a value with low bits zero, so that the same bytes are cut in the same places
/// wherever they stand. `longer` decides how fine, alike for both sides.
fn content_defined(bytes: &[u8], longer: usize) -> Vec<&[u8]> {
    const PIECES: usize = 16 * 1024;
    let average = (longer / PIECES).next_power_of_two().clamp(32, 4096);
    let mask = (average as u64 - 1) << 40;
    let (least, most) = (average / 4, average * 8);
    let mut pieces = Vec::with_capacity(bytes.len() / average + 1);
    let (mut start, mut hash) = (0, 0_u64);
    for (index, &byte) in bytes.iter().enumerate() {
        hash = (hash << 1).wrapping_add(GEAR[usize::from(byte)]);
        let len = index + 1 - start;
        if (hash & mask == 0 && len >= least) || len == most {
            pieces.push(&bytes[start..=index]);
            start = index + 1;
        }
    }
    if start < bytes.len() {
        pieces.push(&bytes[start..]);
    }
    pieces
}

/// A random-looking number for each byte (splitmix64).
const GEAR: [u64; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    let mut state = 0_u64;
    while index < table.len() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[index] = mixed ^ (mixed >> 31);
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(old: &[u8], new: &[u8], edits: &[Edit]) -> Vec<u8> {
        let (mut out, mut at) = (Vec::new(), 0);
        for edit in edits {
            out.extend_from_slice(&old[at..edit.old.start]);
            assert_eq!(out.len(), edit.new.start);
            out.extend_from_slice(&new[edit.new.clone()]);
            at = edit.old.end;
        }
        out.extend_from_slice(&old[at..]);
        out
    }

    /// Bytes without any pattern, the same each time.
    fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_le_bytes()[6]
        };
        (0..len).map(|_| next()).collect()
    }

    fn inserted(edits: &[Edit]) -> usize {
        edits.iter().map(|edit| edit.new.len()).sum()
    }

    #[test]
    fn two_changed_lines_leave_what_is_between() {
        let line = |n: usize| format!("line {n} says something of its own\n");
        let old: String = (0..400).map(line).collect();
        let new = old.replace("line 20 says", "line 20 said").replace("line 300 says", "line 300 will say");
        let edits = edits(old.as_bytes(), new.as_bytes());
        assert_eq!(apply(old.as_bytes(), new.as_bytes(), &edits), new.as_bytes());
        assert_eq!(edits.len(), 2);
        assert!(inserted(&edits) < 12, "{edits:?}");
    }

    #[test]
    fn far_edits_in_one_long_line_are_found_apart() {
        let old: Vec<u8> = noise(300_000, 1).into_iter().map(|byte| b'a' + byte % 26).collect();
        let mut new = old.clone();
        new.splice(250_000..250_003, *b"INSERTED");
        new.splice(1_000..1_000, *b"ALSO");
        let edits = edits(&old, &new);
        assert_eq!(apply(&old, &new, &edits), new);
        assert!(inserted(&edits) < 40, "{} bytes", inserted(&edits));
    }

    #[test]
    fn a_block_changed_in_place_costs_only_itself() {
        let old = noise(200_000, 3);
        let mut new = old.clone();
        new[5_000] ^= 1;
        new[190_000] ^= 1;
        let edits = edits(&old, &new);
        assert_eq!(apply(&old, &new, &edits), new);
        assert_eq!(inserted(&edits), 2);
    }

    #[test]
    fn a_lone_carriage_return_ends_no_line() {
        assert_eq!(lines(b"a\rb\nc"), [&b"a\rb\n"[..], b"c"]);
    }
}
