//! What can go wrong while history is shown.

use crate::inode::Ino;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] tickfs_store::Error),
    /// Nothing has this name.
    #[error("there is no such name")]
    NoSuchName,
    /// An inode number of something that is not known any more; a new lookup finds its successor.
    #[error("inode {0} is of another time")]
    Stale(Ino),
    #[error("inode {0} is no directory")]
    NotADirectory(Ino),
    #[error("inode {0} is a directory")]
    IsADirectory(Ino),
    #[error("inode {0} is no symlink")]
    NotASymlink(Ino),
    /// The version is known, and its bytes were never kept.
    #[error("the content of tick {0} was not kept")]
    NotKept(tickfs_store::ids::Tick),
    #[error("a name of {0} bytes is longer than 255")]
    NameTooLong(usize),
    /// Inode numbers hold 2^30 ticks and 2^30 nodes.
    #[error("history is longer than inode numbers can say: {0}")]
    TooMany(u64),
    /// The system refused to mount or unmount. `what` says what, and what to do next.
    #[error("{what}")]
    Mount { what: String, source: std::io::Error },
    /// What was asked for cannot be done.
    #[error("{0}")]
    Refused(String),
}
