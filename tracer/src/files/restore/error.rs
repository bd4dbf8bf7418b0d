//! What can go wrong while the root is put to a point.

use std::io;
use std::path::{Path, PathBuf};

use tickfs_store::ids::Tick;
use tickfs_store::path::RelPath;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Store(#[from] tickfs_store::Error),
    /// The root refused. `action` reads as "could not {action}".
    #[error("could not {action} {}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// A version that is needed cannot be read; nothing was touched.
    #[error("the content of tick {tick} of {path} cannot be had: {source}")]
    Damaged { path: RelPath, tick: Tick, source: tickfs_store::Error },
    /// Somebody wrote while the move was under way; it was taken back.
    #[error("{path} was changed meanwhile")]
    ChangedMeanwhile { path: RelPath },
    /// Something that is not recorded lies where something recorded belongs; nothing was touched.
    #[error("{path} is in the way, and is not recorded")]
    InTheWay { path: RelPath },
    /// It could be neither done nor taken back; the intent stays for the next command.
    #[error("{why}; and it could not be taken back: {undoing}")]
    HalfWay { why: Box<Error>, undoing: Box<Error> },
}

pub(super) fn io_at(action: &'static str, path: &Path) -> impl FnOnce(rustix::io::Errno) -> Error {
    move |errno| Error::Io { action, path: path.to_path_buf(), source: errno.into() }
}
