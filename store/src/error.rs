//! What can go wrong in the store: what, where, and the source of it.

use std::io;
use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk refused. `action` reads as "could not {action}".
    #[error("could not {action} {}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// Bytes on disk that cannot be what was written.
    #[error("{} is damaged at byte {offset}: {what}", .path.display())]
    Corrupt { path: PathBuf, offset: u64, what: String },
    /// An fsync failed: nothing is known of what is durable until the store is opened anew.
    #[error("a write to {} could not be made durable; the store must be opened again", .path.display())]
    Poisoned { path: PathBuf },
    /// Another process writes; the text names it.
    #[error("the store is locked by {holder}")]
    Locked { holder: String },
    /// What was asked for does not exist.
    #[error("{what}")]
    NotFound { what: String },
    /// What a person typed names no point in history that there could be.
    #[error("{what}")]
    NotAPoint { what: String },
    /// What was asked for cannot be done; nothing was changed.
    #[error("{what}")]
    Refused { what: String },
    /// A file that a person edits says something impossible.
    #[error("{}: {what}", .path.display())]
    Config { path: PathBuf, what: String },
    /// The projection; it can always be rebuilt.
    #[error("the index failed while it {doing}")]
    Index { doing: &'static str, source: rusqlite::Error },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_path_buf(), source }
    }

    pub(crate) fn index(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Index { doing, source }
    }

    pub(crate) fn corrupt(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_path_buf(), offset, what: what.into() }
    }

    #[must_use]
    pub fn refused(what: impl Into<String>) -> Self {
        Self::Refused { what: what.into() }
    }

    #[must_use]
    pub fn not_a_point(what: impl Into<String>) -> Self {
        Self::NotAPoint { what: what.into() }
    }

    #[must_use]
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::NotFound { what: what.into() }
    }
}
