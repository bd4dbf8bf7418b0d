//! The doctor: looks at all of a store, and says what is not as it should be, by kind and place.
//!
//! Invariants:
//!   * Examining writes nothing, takes no lock, and works on a store that is in use or damaged.
//!   * What is expected after a crash (a torn tail, a leftover of a compaction) is told, and is no damage.
//!   * Mending parks and rebuilds; it deletes nothing that could be looked at again.

mod contents;
mod findings;
mod index;
mod journal;
mod mend;
mod surroundings;

#[cfg(test)]
mod tests;

pub use findings::{Facts, Finding, Report, Severity};
pub use mend::{Mended, mend, park};
pub use surroundings::Surroundings;

use crate::error::Result;
use crate::store::Store;

/// How deep to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Read every byte of every pack, and every version that the journal names.
    pub scrub: bool,
    /// Build the index anew aside and compare.
    pub verify_journal: bool,
}

/// Examines a store.
pub fn examine(store: &Store, surroundings: &Surroundings, depth: Depth) -> Result<Report> {
    let mut report = Report::default();
    surroundings::examine(store, surroundings, &mut report)?;
    journal::examine(store, &mut report)?;
    index::examine(store, depth, &mut report)?;
    contents::examine(store, depth, &mut report)?;
    Ok(report)
}
