//! Group commit: what is asked for while an fsync is under way is written together behind it.
//!
//! Whoever gets the writer next runs everything that waits, in the order in which it came, and tells each its outcome.

use std::sync::Arc;

use parking_lot::Mutex;

use super::mutation::Mutation;
use crate::error::{Error, Result};
use crate::ids::UnixMillis;

/// A mutation that waits for its turn.
pub(super) trait Job: Send {
    fn now(&self) -> UnixMillis;
    fn run(&mut self, mutation: &mut Mutation<'_>) -> Result<()>;
    fn settle(&mut self, outcome: Result<()>);
}

/// Where the one who asked finds the answer.
pub(super) type Slot<T> = Arc<Mutex<Option<Result<T>>>>;

pub(super) struct Task<T, F> {
    now: UnixMillis,
    work: Option<F>,
    value: Option<T>,
    slot: Slot<T>,
}

impl<T, F> Task<T, F> {
    pub(super) fn new(now: UnixMillis, work: F) -> (Self, Slot<T>) {
        let slot = Slot::default();
        (Self { now, work: Some(work), value: None, slot: Arc::clone(&slot) }, slot)
    }
}

impl<T: Send, F: FnOnce(&mut Mutation<'_>) -> Result<T> + Send> Job for Task<T, F> {
    fn now(&self) -> UnixMillis {
        self.now
    }

    fn run(&mut self, mutation: &mut Mutation<'_>) -> Result<()> {
        let work = self.work.take().ok_or_else(|| Error::refused("a mutation runs once"))?;
        self.value = Some(work(mutation)?);
        Ok(())
    }

    fn settle(&mut self, outcome: Result<()>) {
        let answer = outcome.and_then(|()| {
            self.value.take().ok_or_else(|| Error::refused("a mutation ended without running"))
        });
        *self.slot.lock() = Some(answer);
    }
}

impl Error {
    /// The same failure for another of those who waited for it.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Io { action, path, source } => {
                let source = std::io::Error::new(source.kind(), source.to_string());
                Self::Io { action, path: path.clone(), source }
            }
            Self::Corrupt { path, offset, what } => {
                Self::Corrupt { path: path.clone(), offset: *offset, what: what.clone() }
            }
            Self::Poisoned { path } => Self::Poisoned { path: path.clone() },
            Self::Locked { holder } => Self::Locked { holder: holder.clone() },
            Self::NotFound { what } => Self::NotFound { what: what.clone() },
            Self::NotAPoint { what } => Self::NotAPoint { what: what.clone() },
            Self::Config { path, what } => Self::Config { path: path.clone(), what: what.clone() },
            Self::Refused { what } => Self::Refused { what: what.clone() },
            Self::Index { doing, source: rusqlite::Error::SqliteFailure(failure, text) } => {
                let source = rusqlite::Error::SqliteFailure(*failure, text.clone());
                Self::Index { doing, source }
            }
            Self::Index { source, .. } => Self::Refused { what: format!("{self}: {source}") },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full disk that SQLite met first was told as a refusal without a reason.
    #[test]
    fn a_failure_that_is_told_to_many_keeps_its_cause() {
        let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
        let source = rusqlite::Error::SqliteFailure(full, None);
        let told = Error::Index { doing: "was written", source }.again();
        let Error::Index { source: rusqlite::Error::SqliteFailure(failure, _), .. } = &told else {
            panic!("{told:?}");
        };
        assert_eq!(failure.extended_code, rusqlite::ffi::SQLITE_FULL);
        let other =
            Error::Index { doing: "was written", source: rusqlite::Error::QueryReturnedNoRows }.again();
        assert!(other.to_string().contains("Query returned no rows"), "{other}");
    }
}
