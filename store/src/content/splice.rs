//! A splice: how one version differs from the one it is based on, and the folding of many into one.
//!
//! Encode and parse stand side by side (format.md, "Splices"). Folding goes from the newest splice to the oldest: it
//! keeps, for the range that was asked for, where each of its bytes comes from, and touches the text itself only
//! once, at the end.

use super::differ::Edit;
use super::varint;

/// The least that a hunk takes in a payload: bounds their number before memory is taken.
const HUNK_LEN_MIN: usize = 3;

pub(super) fn encode(edits: &[Edit], new: &[u8]) -> Vec<u8> {
    let inserted: usize = edits.iter().map(|edit| edit.new.len()).sum();
    let mut out = Vec::with_capacity(inserted + edits.len() * 8 + 4);
    varint::put(&mut out, edits.len() as u64);
    let mut at = 0;
    for edit in edits {
        varint::put(&mut out, (edit.old.start - at) as u64);
        varint::put(&mut out, edit.old.len() as u64);
        varint::put(&mut out, edit.new.len() as u64);
        at = edit.old.end;
    }
    for edit in edits {
        out.extend_from_slice(&new[edit.new.clone()]);
    }
    out
}

/// Where a run of bytes comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// From the version that the last splice was based on.
    Base { at: usize, len: usize },
    /// From what splices inserted.
    Inserted { at: usize, len: usize },
}

impl Piece {
    fn len(self) -> usize {
        let (Self::Base { len, .. } | Self::Inserted { len, .. }) = self;
        len
    }

    fn part(self, from: usize, len: usize) -> Self {
        match self {
            Self::Base { at, .. } => Self::Base { at: at + from, len },
            Self::Inserted { at, .. } => Self::Inserted { at: at + from, len },
        }
    }
}

/// A range of a version, said in terms of an older one.
#[derive(Debug)]
pub(super) struct Pieces {
    list: Vec<Piece>,
    inserted: Vec<u8>,
}

impl Pieces {
    pub(super) fn list(&self) -> &[Piece] {
        &self.list
    }

    /// Whether both make the same of the same base.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.list == other.list && self.inserted == other.inserted
    }

    /// The bytes of an inserted piece.
    pub(super) fn inserted(&self, at: usize, len: usize) -> &[u8] {
        &self.inserted[at..at + len]
    }
}

/// Splices, newest first, on their way to one list of pieces.
///
/// Each of them is a list, and two neighbours become one as soon as the newer is no longer than the older. So a piece is
/// gone over once for each time that the chain is doubled, not once for each splice below it.
#[derive(Debug)]
pub(super) struct Fold {
    /// One list after the other; each says a version in terms of the version that the next is about.
    lists: Vec<Piece>,
    /// Where each list begins.
    starts: Vec<usize>,
    inserted: Vec<u8>,
    base_len: usize,
    /// The list that is being taken in.
    fresh: Vec<Piece>,
    spare: Vec<Piece>,
}

impl Fold {
    /// A range of a version that is `whole_len` long, in terms of itself. The range lies within it, or is empty.
    pub(super) fn of(start: usize, len: usize, whole_len: usize) -> Self {
        let mut lists = Vec::new();
        push(&mut lists, Piece::Base { at: start, len });
        let (inserted, fresh, spare) = (Vec::new(), Vec::new(), Vec::new());
        Self { lists, starts: vec![0], inserted, base_len: whole_len, fresh, spare }
    }

    /// The length of the version that all is said in terms of now.
    pub(super) fn base_len(&self) -> usize {
        self.base_len
    }

    /// Says the same in terms of the splice's base. What does not parse changes nothing.
    pub(super) fn add(&mut self, mut payload: &[u8]) -> Result<(), &'static str> {
        const CUT: &str = "its splice is cut short";
        const LENGTHS: &str = "its splice does not fit its length";
        let count = varint::take_len(&mut payload).ok_or(CUT)?;
        if count > payload.len() / HUNK_LEN_MIN {
            return Err(CUT);
        }
        self.fresh.clear();
        let (mut kept, mut base_at, mut inserted) = (0_usize, 0_usize, 0_usize);
        for _ in 0..count {
            let mut length = || varint::take_len(&mut payload).ok_or(CUT);
            // `gap` bytes are kept, then `del` bytes of the base are replaced by `ins` new ones.
            let (gap, del, ins) = (length()?, length()?, length()?);
            push(&mut self.fresh, Piece::Base { at: base_at, len: gap });
            push(&mut self.fresh, Piece::Inserted { at: self.inserted.len() + inserted, len: ins });
            kept = kept.checked_add(gap).ok_or(LENGTHS)?;
            base_at = base_at.checked_add(gap).and_then(|at| at.checked_add(del)).ok_or(LENGTHS)?;
            inserted = inserted.checked_add(ins).filter(|sum| *sum <= payload.len()).ok_or(LENGTHS)?;
        }
        let from_base = self.base_len.checked_sub(inserted).ok_or(LENGTHS)?;
        let rest = from_base.checked_sub(kept).filter(|_| inserted == payload.len()).ok_or(LENGTHS)?;
        let base_len = base_at.checked_add(rest).ok_or(LENGTHS)?;
        push(&mut self.fresh, Piece::Base { at: base_at, len: rest });
        self.inserted.extend_from_slice(payload);
        self.base_len = base_len;
        while self.starts.last().is_some_and(|&start| self.lists.len() - start <= self.fresh.len()) {
            self.join_last();
        }
        self.starts.push(self.lists.len());
        self.lists.append(&mut self.fresh);
        Ok(())
    }

    /// The last of the lists and the fresh one become the fresh one.
    fn join_last(&mut self) {
        let start = self.starts.pop().unwrap_or_default();
        self.spare.clear();
        join(&self.lists[start..], &self.fresh, &mut self.spare);
        self.lists.truncate(start);
        std::mem::swap(&mut self.fresh, &mut self.spare);
    }

    pub(super) fn finish(mut self) -> Pieces {
        let last = self.starts.pop().unwrap_or_default();
        self.fresh = self.lists.split_off(last);
        while !self.starts.is_empty() {
            self.join_last();
        }
        Pieces { list: self.fresh, inserted: self.inserted }
    }
}

/// Adds a piece, or lengthens the last one where it goes on.
fn push(list: &mut Vec<Piece>, piece: Piece) {
    match (list.last_mut(), piece) {
        (Some(Piece::Base { at, len }), Piece::Base { at: next, len: more })
        | (Some(Piece::Inserted { at, len }), Piece::Inserted { at: next, len: more })
            if *at + *len == next =>
        {
            *len += more;
        }
        (_, Piece::Base { len: 0, .. } | Piece::Inserted { len: 0, .. }) => {}
        _ => list.push(piece),
    }
}

/// Says in terms of what the older list rests on what the newer one says. The pieces of a base ascend, so one pass does it.
fn join(newer: &[Piece], older: &[Piece], out: &mut Vec<Piece>) {
    let mut older = older.iter();
    let (mut run, mut start, mut end) = (Piece::Base { at: 0, len: 0 }, 0, 0);
    for &piece in newer {
        let Piece::Base { mut at, mut len } = piece else {
            push(out, piece);
            continue;
        };
        while len > 0 {
            while end <= at {
                run = *older.next().expect("there is one more because a splice is about a whole version");
                start = end;
                end += run.len();
            }
            let taken = len.min(end - at);
            push(out, run.part(at - start, taken));
            at += taken;
            len -= taken;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::differ;
    use super::*;

    fn text_of(pieces: &Pieces, base: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in pieces.list() {
            out.extend_from_slice(match *piece {
                Piece::Base { at, len } => &base[at..at + len],
                Piece::Inserted { at, len } => pieces.inserted(at, len),
            });
        }
        out
    }

    fn few_letters() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(&b"ab\n\n\0"[..]), 0..600)
    }

    /// A text, and what small edits make of it one after the other: few of their pieces go on where another ends.
    fn edited_again_and_again() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let edit = (any::<prop::sample::Index>(), 0_usize..9, prop::collection::vec(any::<u8>(), 0..9));
        (prop::collection::vec(any::<u8>(), 0..900), prop::collection::vec(edit, 1..64)).prop_map(
            |(first, edits)| {
                let mut versions = vec![first];
                for (at, del, ins) in edits {
                    let mut text = versions[versions.len() - 1].clone();
                    let at = at.index(text.len() + 1);
                    let end = text.len().min(at + del);
                    text.splice(at..end, ins);
                    versions.push(text);
                }
                versions
            },
        )
    }

    fn every_range_is_right(versions: &[Vec<u8>], from: usize, to: usize) -> Result<(), TestCaseError> {
        let newest = &versions[versions.len() - 1];
        let (from, to) = (from.min(newest.len()), to.min(newest.len()));
        let (from, to) = (from.min(to), from.max(to));
        let mut fold = Fold::of(from, to - from, newest.len());
        for pair in versions.windows(2).rev() {
            let payload = encode(&differ::edits(&pair[0], &pair[1]), &pair[1]);
            fold.add(&payload).unwrap();
            prop_assert_eq!(fold.base_len(), pair[0].len());
        }
        prop_assert_eq!(text_of(&fold.finish(), &versions[0]), &newest[from..to]);
        Ok(())
    }

    proptest! {
        #[test]
        fn a_folded_chain_gives_every_range_of_the_newest(
            versions in prop::collection::vec(few_letters(), 2..8),
            (from, to) in (0_usize..600, 0_usize..600),
        ) {
            every_range_is_right(&versions, from, to)?;
        }

        #[test]
        fn a_long_chain_of_small_edits_gives_every_range_of_the_newest(
            versions in edited_again_and_again(),
            (from, to) in (0_usize..1000, 0_usize..1000),
        ) {
            every_range_is_right(&versions, from, to)?;
        }

        #[test]
        fn garbage_never_makes_a_splice_that_leaves_its_base(
            garbage in prop::collection::vec(any::<u8>(), 0..40),
            len in 0_usize..100,
        ) {
            let mut fold = Fold::of(0, len, len);
            if let Ok(()) = fold.add(&garbage) {
                let base_len = fold.base_len();
                let pieces = fold.finish();
                for piece in pieces.list() {
                    match *piece {
                        Piece::Base { at, len } => prop_assert!(at + len <= base_len),
                        Piece::Inserted { at, len } => prop_assert_eq!(pieces.inserted(at, len).len(), len),
                    }
                }
            }
        }
    }
}
