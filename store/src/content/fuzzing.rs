//! What the fuzzer calls of the private parts: splices, as bytes to bytes. No part of the store's interface.

use super::differ;
use super::splice::{self, Fold, Piece};

/// The payload of a splice that makes `new` of `base`.
#[must_use]
pub fn make_splice(base: &[u8], new: &[u8]) -> Vec<u8> {
    splice::encode(&differ::edits(base, new), new)
}

/// How long the base of a splice must be that makes `len` bytes; `None` for one that does not parse.
#[must_use]
pub fn base_len_of_splice(payload: &[u8], len: usize) -> Option<usize> {
    let mut fold = Fold::of(0, len, len);
    fold.add(payload).ok().map(|()| fold.base_len())
}

/// What a splice makes of a base; `None` if it does not parse, or is not for a base of that length.
#[must_use]
pub fn apply_splice(payload: &[u8], base: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut fold = Fold::of(0, len, len);
    fold.add(payload).ok().filter(|()| fold.base_len() == base.len())?;
    let pieces = fold.finish();
    let mut out = Vec::with_capacity(len);
    for piece in pieces.list() {
        out.extend_from_slice(match *piece {
            Piece::Base { at, len } => &base[at..at + len],
            Piece::Inserted { at, len } => pieces.inserted(at, len),
        });
    }
    Some(out)
}
