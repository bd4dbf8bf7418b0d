//! What can go wrong in tracing a program.

use std::io;
use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was asked for makes no sense; nothing has run.
    #[error("{what}")]
    Invalid { what: String, path: Option<PathBuf> },
    /// The operating system refused. `action` reads as "could not {action}".
    #[error("could not {action} {}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// The program cannot be started.
    #[error("{what}")]
    Start { what: String },
    #[error(transparent)]
    Store(#[from] tickfs_store::Error),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_path_buf(), source }
    }

    pub(crate) fn invalid(what: impl Into<String>, path: &Path) -> Self {
        Self::Invalid { what: what.into(), path: Some(path.to_path_buf()) }
    }
}
