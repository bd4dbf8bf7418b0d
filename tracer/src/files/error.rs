//! What can go wrong while recording: what and where.

use std::io;
use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Store(#[from] tickfs_store::Error),
    /// A move of the root was interrupted, and could be neither finished nor undone.
    #[error(transparent)]
    HalfWay(#[from] super::restore::Error),
    /// The operating system refused. `action` reads as "could not {action}".
    #[error("could not {action} {}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// The root is not where it was, or is empty although it never was: nothing is recorded until it is back.
    #[error("the root {} is gone: {why}", .root.display())]
    RootGone { root: PathBuf, why: String },
    /// The recorder has stopped, or its thread ended: what it said last stands in its status.
    #[error("the recorder has stopped: {why}")]
    Stopped { why: String },
    #[error("{what}")]
    Refused { what: String },
}

impl Error {
    pub(crate) fn io<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { action, path: path.to_path_buf(), source: source.into() }
    }
}
