//! What differs between two texts, who wrote each line, and which lines match: pure functions on bytes.
//!
//! Invariants:
//!   * Nothing here decodes: a text is bytes, a line ends with `\n` alone, and what comes out is byte for byte what
//!     went in.
//!   * The same input gives the same output, on any machine and under any load: effort is bounded by counting, never
//!     by the clock. A reader of a rendered diff can be handed to a new process in the middle of the text.

mod script;

mod blame;
mod search;
mod unified;

#[cfg(test)]
mod accepted_by_patch;

pub use blame::{Blame, blame};
pub use search::{Found, MatchedLine, Matcher, Matches, NotAPattern, Search};
pub use unified::{Diff, Labels, unified};

/// How far into a file its kind is looked for, as git and grep do.
const LOOKED_AT_BYTES: usize = 8 * 1024;

/// Whether a text is to be treated as binary: a NUL byte stands near its beginning.
#[must_use]
pub fn is_binary(text: &[u8]) -> bool {
    memchr::memchr(0, &text[..text.len().min(LOOKED_AT_BYTES)]).is_some()
}

/// The lines of a text, each with its newline; the last may lack it.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1);
        let (line, tail) = rest.split_at(end);
        rest = tail;
        (!line.is_empty()).then_some(line)
    })
}
