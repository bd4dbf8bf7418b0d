//! A splice: how one version differs from the one it is based on, and the folding of many into one.
//!
//! Encode and parse stand side by side (format.md, "Splices"). Folding goes from the newest splice to the oldest: it
//! keeps, for the range that was asked for, where each of its bytes comes from, and touches the text itself only
//! once, at the end.

use super::differ::Edit;
use super::varint;

/// `gap` bytes are kept, then `del` bytes of the base are replaced by `ins` new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hunk {
    gap: usize,
    del: usize,
    ins: usize,
}

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

/// A splice as it was read, checked against the lengths of both versions.
#[derive(Debug)]
pub(super) struct Splice<'a> {
    hunks: Vec<Hunk>,
    inserted: &'a [u8],
    base_len: usize,
}

impl<'a> Splice<'a> {
    /// `len` is the length of the version that the splice makes.
    pub(super) fn parse(mut payload: &'a [u8], len: usize) -> Result<Self, &'static str> {
        const CUT: &str = "its splice is cut short";
        const LENGTHS: &str = "its splice does not fit its length";
        let count = varint::take_len(&mut payload).ok_or(CUT)?;
        if count > payload.len() / HUNK_LEN_MIN {
            return Err(CUT);
        }
        let mut hunks = Vec::with_capacity(count);
        let (mut kept, mut deleted, mut inserted) = (0_usize, 0_usize, 0_usize);
        for _ in 0..count {
            let mut length = || varint::take_len(&mut payload).ok_or(CUT);
            let hunk = Hunk { gap: length()?, del: length()?, ins: length()? };
            kept = kept.checked_add(hunk.gap).ok_or(LENGTHS)?;
            deleted = deleted.checked_add(hunk.del).ok_or(LENGTHS)?;
            inserted = inserted.checked_add(hunk.ins).ok_or(LENGTHS)?;
            hunks.push(hunk);
        }
        let from_base = len.checked_sub(inserted).ok_or(LENGTHS)?;
        if inserted != payload.len() || kept > from_base {
            return Err(LENGTHS);
        }
        let base_len = from_base.checked_add(deleted).ok_or(LENGTHS)?;
        Ok(Self { hunks, inserted: payload, base_len })
    }

    /// The length that the base must have.
    pub(super) fn base_len(&self) -> usize {
        self.base_len
    }
}

/// Where a run of bytes comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// From the version that the last splice was based on.
    Base { at: usize, len: usize },
    /// From what splices inserted.
    Inserted { at: usize, len: usize },
}

/// A range of a version, said in terms of an older one.
#[derive(Debug)]
pub(super) struct Pieces {
    list: Vec<Piece>,
    spare: Vec<Piece>,
    inserted: Vec<u8>,
}

impl Pieces {
    /// A range of a version in terms of itself.
    pub(super) fn of(start: usize, len: usize) -> Self {
        let mut list = Vec::new();
        if len > 0 {
            list.push(Piece::Base { at: start, len });
        }
        Self { list, spare: Vec::new(), inserted: Vec::new() }
    }

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

    /// Says the same in terms of the splice's base. Base pieces ascend, before and after, so one pass does it.
    pub(super) fn fold(&mut self, splice: &Splice<'_>) {
        let inserted_at = self.inserted.len();
        self.inserted.extend_from_slice(splice.inserted);
        self.spare.clear();
        let mut segment = Segments::new(splice, inserted_at);
        for piece in &self.list {
            match *piece {
                Piece::Inserted { .. } => push(&mut self.spare, *piece),
                Piece::Base { mut at, mut len } => {
                    while len > 0 {
                        while segment.end <= at {
                            segment.next();
                        }
                        let taken = len.min(segment.end - at);
                        push(&mut self.spare, segment.piece(at, taken));
                        at += taken;
                        len -= taken;
                    }
                }
            }
        }
        std::mem::swap(&mut self.list, &mut self.spare);
    }
}

/// Adds a piece, or lengthens the last one where it goes on.
fn push(list: &mut Vec<Piece>, piece: Piece) {
    match (list.last_mut(), piece) {
        (Some(Piece::Base { at, len }), Piece::Base { at: next, len: more }) if *at + *len == next => {
            *len += more
        }
        (Some(Piece::Inserted { at, len }), Piece::Inserted { at: next, len: more })
            if *at + *len == next =>
        {
            *len += more;
        }
        _ => list.push(piece),
    }
}

/// Goes over the version that a splice makes, run by run: kept, inserted, kept … and what is left is kept.
struct Segments<'s, 'a> {
    splice: &'s Splice<'a>,
    /// The next hunk whose kept part is to come.
    hunk: usize,
    is_inserted: bool,
    start: usize,
    end: usize,
    /// Where the present run comes from: a place in the base, or among the inserted bytes.
    from: usize,
    base_at: usize,
    inserted_at: usize,
}

impl<'s, 'a> Segments<'s, 'a> {
    fn new(splice: &'s Splice<'a>, inserted_at: usize) -> Self {
        let mut first =
            Self { splice, hunk: 0, is_inserted: true, start: 0, end: 0, from: 0, base_at: 0, inserted_at };
        first.next();
        first
    }

    fn next(&mut self) {
        self.start = self.end;
        if self.is_inserted {
            self.is_inserted = false;
            self.from = self.base_at;
            self.end = match self.splice.hunks.get(self.hunk) {
                Some(hunk) => self.start + hunk.gap,
                None => usize::MAX,
            };
        } else {
            let hunk = self.splice.hunks[self.hunk];
            self.hunk += 1;
            self.is_inserted = true;
            self.from = self.inserted_at;
            self.end = self.start + hunk.ins;
            self.base_at += hunk.gap + hunk.del;
            self.inserted_at += hunk.ins;
        }
    }

    /// `at` lies in the present run, and `len` bytes do.
    fn piece(&self, at: usize, len: usize) -> Piece {
        let at = self.from + (at - self.start);
        if self.is_inserted { Piece::Inserted { at, len } } else { Piece::Base { at, len } }
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

    proptest! {
        #[test]
        fn a_folded_chain_gives_every_range_of_the_newest(
            versions in prop::collection::vec(few_letters(), 2..8),
            (from, to) in (0_usize..600, 0_usize..600),
        ) {
            let newest = &versions[versions.len() - 1];
            let (from, to) = (from.min(newest.len()), to.min(newest.len()));
            let (from, to) = (from.min(to), from.max(to));
            let mut pieces = Pieces::of(from, to - from);
            for pair in versions.windows(2).rev() {
                let payload = encode(&differ::edits(&pair[0], &pair[1]), &pair[1]);
                let splice = Splice::parse(&payload, pair[1].len()).unwrap();
                prop_assert_eq!(splice.base_len(), pair[0].len());
                pieces.fold(&splice);
            }
            prop_assert_eq!(text_of(&pieces, &versions[0]), &newest[from..to]);
        }

        #[test]
        fn garbage_never_makes_a_splice_that_leaves_its_base(
            garbage in prop::collection::vec(any::<u8>(), 0..40),
            len in 0_usize..100,
        ) {
            if let Ok(splice) = Splice::parse(&garbage, len) {
                let base_len = splice.base_len();
                let mut pieces = Pieces::of(0, len);
                pieces.fold(&splice);
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
