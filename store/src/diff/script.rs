//! Which lines of an old text must go, and which of a new one come in their place.
//!
//! What both texts begin and end with is cut off first, whole lines at a time, so that one changed line in a file of
//! hundreds of megabytes costs one pass over it. The rest goes to Myers' algorithm. Its work grows with the square root
//! of the input besides the input itself, so a rest that is too large is first divided at the lines that stand exactly
//! once on either side; a division that is still too dear is given out as replaced whole. That is coarse, and true.

use std::collections::HashMap;
use std::ops::Range;

use similar::{Algorithm, DiffOp};

/// Lines times the square root of lines: 8,000 lines on either side, some tens of milliseconds for the worst of them.
/// It is counted and not timed, so that a loaded machine writes the same diff as an idle one.
const EFFORT_MAX: usize = 2_000_000;

/// Lines `old` give way to lines `new`; either may be empty, not both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) old: Range<usize>,
    pub(super) new: Range<usize>,
}

/// Two texts: what they share at both ends, and the lines between. Between two changes, the lines are equal.
#[derive(Debug)]
pub(super) struct Script<'a> {
    pub(super) same_before: &'a [u8],
    pub(super) old: Vec<&'a [u8]>,
    pub(super) new: Vec<&'a [u8]>,
    pub(super) same_after: &'a [u8],
    /// In order, never touching each other; they count the lines of `old` and `new`.
    pub(super) changes: Vec<Change>,
}

impl<'a> Script<'a> {
    pub(super) fn between(old: &'a [u8], new: &'a [u8]) -> Self {
        let (same_before, old, new) = cut_common_start(old, new);
        let (old, new, same_after) = cut_common_end(old, new);
        let (old, new): (Vec<_>, Vec<_>) = (super::lines(old).collect(), super::lines(new).collect());
        let mut numbers = HashMap::new();
        let mut number = |&line: &&'a [u8]| {
            let next = numbers.len();
            *numbers.entry(line).or_insert(next)
        };
        let (old_numbers, new_numbers): (Vec<_>, Vec<_>) =
            (old.iter().map(&mut number).collect(), new.iter().map(&mut number).collect());
        let changes = changes(&old_numbers, &new_numbers, numbers.len());
        Self { same_before, old, new, same_after, changes }
    }
}

/// Both texts must have line starts where they begin.
fn cut_common_start<'a>(old: &'a [u8], new: &'a [u8]) -> (&'a [u8], &'a [u8], &'a [u8]) {
    let common = common_start_len(old, new);
    let whole_lines = memchr::memrchr(b'\n', &old[..common]).map_or(0, |newline| newline + 1);
    (&old[..whole_lines], &old[whole_lines..], &new[whole_lines..])
}

fn cut_common_end<'a>(old: &'a [u8], new: &'a [u8]) -> (&'a [u8], &'a [u8], &'a [u8]) {
    let common = common_end_len(old, new);
    let begins_a_line = |text: &[u8]| text.len() == common || text[text.len() - common - 1] == b'\n';
    let torn = match begins_a_line(old) && begins_a_line(new) {
        true => 0,
        false => memchr::memchr(b'\n', &old[old.len() - common..]).map_or(common, |newline| newline + 1),
    };
    let whole_lines = common - torn;
    let (old, same) = old.split_at(old.len() - whole_lines);
    (old, &new[..new.len() - whole_lines], same)
}

const BLOCK: usize = 4096;

fn common_start_len(a: &[u8], b: &[u8]) -> usize {
    let blocks = a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK)).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[blocks * BLOCK..], &b[blocks * BLOCK..]);
    blocks * BLOCK + a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn common_end_len(a: &[u8], b: &[u8]) -> usize {
    let blocks = a.rchunks_exact(BLOCK).zip(b.rchunks_exact(BLOCK)).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[..a.len() - blocks * BLOCK], &b[..b.len() - blocks * BLOCK]);
    blocks * BLOCK + a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count()
}

/// Lines come as numbers below `distinct`, equal lines with equal numbers.
fn changes(old: &[usize], new: &[usize], distinct: usize) -> Vec<Change> {
    let mut changes = Changes::default();
    if effort(old.len() + new.len()) <= EFFORT_MAX {
        changes.search(old, new, 0..old.len(), 0..new.len());
        return changes.0;
    }
    let mut effort_left = EFFORT_MAX;
    let (mut old_at, mut new_at) = (0, 0);
    let end = (old.len(), new.len());
    for (old_anchor, new_anchor) in anchors(old, new, distinct).into_iter().chain([end]) {
        let (old_part, new_part) = cut_equal_ends(old, new, old_at..old_anchor, new_at..new_anchor);
        let effort = effort(old_part.len() + new_part.len());
        if effort <= effort_left {
            effort_left -= effort;
            changes.search(old, new, old_part, new_part);
        } else {
            changes.push(old_part, new_part);
        }
        (old_at, new_at) = (old_anchor + 1, new_anchor + 1);
    }
    changes.0
}

fn effort(lines: usize) -> usize {
    lines.saturating_mul(lines.isqrt())
}

#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn search(&mut self, old: &[usize], new: &[usize], old_part: Range<usize>, new_part: Range<usize>) {
        if old_part.is_empty() || new_part.is_empty() {
            self.push(old_part, new_part);
            return;
        }
        let ops =
            similar::capture_diff_slices(Algorithm::Myers, &old[old_part.clone()], &new[new_part.clone()]);
        let moved = |range: Range<usize>, by: usize| range.start + by..range.end + by;
        for op in ops.into_iter().filter(|op| !matches!(op, DiffOp::Equal { .. })) {
            self.push(moved(op.old_range(), old_part.start), moved(op.new_range(), new_part.start));
        }
    }

    /// A change that touches the one before it is part of it.
    fn push(&mut self, old: Range<usize>, new: Range<usize>) {
        match self.0.last_mut() {
            _ if old.is_empty() && new.is_empty() => {}
            Some(last) if last.old.end == old.start && last.new.end == new.start => {
                (last.old.end, last.new.end) = (old.end, new.end);
            }
            _ => self.0.push(Change { old, new }),
        }
    }
}

fn cut_equal_ends(
    old: &[usize],
    new: &[usize],
    old_part: Range<usize>,
    new_part: Range<usize>,
) -> (Range<usize>, Range<usize>) {
    let (a, b) = (&old[old_part.clone()], &new[new_part.clone()]);
    let start = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let end = a[start..].iter().rev().zip(b[start..].iter().rev()).take_while(|(a, b)| a == b).count();
    (old_part.start + start..old_part.end - end, new_part.start + start..new_part.end - end)
}

/// Places of lines that stand once in the old and once in the new text, as many as keep their order in both.
fn anchors(old: &[usize], new: &[usize], distinct: usize) -> Vec<(usize, usize)> {
    let (in_old, in_new) = (single_places(old, distinct), single_places(new, distinct));
    let pairs: Vec<(usize, usize)> = in_old.into_iter().zip(in_new).filter_map(|(o, n)| o.zip(n)).collect();
    longest_increasing(pairs)
}

/// Where each line stands, if it stands in one place alone.
fn single_places(lines: &[usize], distinct: usize) -> Vec<Option<usize>> {
    let mut seen = vec![0_u8; distinct];
    let mut places = vec![None; distinct];
    for (place, &line) in lines.iter().enumerate() {
        seen[line] = seen[line].saturating_add(1);
        places[line] = (seen[line] == 1).then_some(place);
    }
    places
}

/// Patience sorting: of pairs with distinct members, the longest selection that rises in both.
fn longest_increasing(mut pairs: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    pairs.sort_unstable();
    // The pair that ends the best selection of each length, and for each pair the one before it in its selection.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    for (index, &(_, new)) in pairs.iter().enumerate() {
        let length = ends.partition_point(|&end| pairs[end].1 < new);
        before.push(length.checked_sub(1).map(|shorter| ends[shorter]));
        match ends.get_mut(length) {
            Some(end) => *end = index,
            None => ends.push(index),
        }
    }
    let mut selection: Vec<(usize, usize)> =
        std::iter::successors(ends.last().copied(), |&index| before[index])
            .map(|index| pairs[index])
            .collect();
    selection.reverse();
    selection
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Walks both texts by the script, and says whether it tells the truth about them.
    fn holds(old: &[usize], new: &[usize], changes: &[Change]) -> bool {
        let (mut old_at, mut new_at) = (0, 0);
        for change in changes {
            let same = old[old_at..change.old.start] == new[new_at..change.new.start];
            let apart = change.old.start > old_at || old_at == 0 && new_at == 0;
            let not_empty = !change.old.is_empty() || !change.new.is_empty();
            if !(same && apart && not_empty) {
                return false;
            }
            (old_at, new_at) = (change.old.end, change.new.end);
        }
        old[old_at..] == new[new_at..]
    }

    proptest! {
        #[test]
        fn every_script_tells_the_truth(
            old in prop::collection::vec(0_usize..6, 0..40),
            new in prop::collection::vec(0_usize..6, 0..40),
        ) {
            prop_assert!(holds(&old, &new, &changes(&old, &new, 6)));
        }

        #[test]
        fn only_whole_lines_are_cut_off(
            old in prop::collection::vec(prop::sample::select(b"ab\n".as_slice()), 0..30),
            new in prop::collection::vec(prop::sample::select(b"ab\n".as_slice()), 0..30),
        ) {
            let script = Script::between(&old, &new);
            let rebuilt = |lines: &[&[u8]]| [script.same_before, &lines.concat(), script.same_after].concat();
            prop_assert_eq!(rebuilt(&script.old), &old[..]);
            prop_assert_eq!(rebuilt(&script.new), &new[..]);
            prop_assert!(script.same_before.is_empty() || script.same_before.ends_with(b"\n"));
            for lines in [&script.old, &script.new] {
                let before_the_end = [script.same_before, &lines.concat()].concat();
                let begins_a_line = before_the_end.is_empty() || before_the_end.ends_with(b"\n");
                prop_assert!(script.same_after.is_empty() || begins_a_line);
            }
        }
    }

    #[test]
    fn a_large_text_is_divided_at_lines_that_stand_once() {
        let mut old: Vec<usize> = (0..100_000).collect();
        // Stands twice from here on, and so divides nothing.
        old[40_000] = 7;
        let mut new = old.clone();
        new.insert(70_000, 100_000);
        new.swap(50_000, 50_001);
        new.insert(40_001, 100_001);
        new.insert(40_000, 100_002);
        new.remove(30_000);
        let found = changes(&old, &new, 100_003);
        assert!(holds(&old, &new, &found));
        assert_eq!(found.iter().map(|c| c.old.len() + c.new.len()).sum::<usize>(), 6, "{found:?}");
    }

    #[test]
    fn what_is_too_dear_is_replaced_whole() {
        // No line stands once, so nothing divides the text.
        let old: Vec<usize> = (0..60_000).map(|n| n * 7 % 50).collect();
        let new: Vec<usize> = (0..60_000).map(|n| n * n % 50).collect();
        let found = changes(&old, &new, 50);
        assert!(holds(&old, &new, &found));
        assert_eq!(found.len(), 1, "{} changes", found.len());
    }
}
