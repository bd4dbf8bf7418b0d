//! What `stat` says.

use tickfs_store::Version;
use tickfs_store::ids::UnixNanos;
use tickfs_store::journal::entry::NodeType;

use crate::inode::Ino;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File,
    Symlink,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    pub ino: Ino,
    pub kind: Kind,
    /// The permission bits, with those for setuid, setgid and sticky.
    pub mode: u32,
    pub size: u64,
    /// In units of 512 bytes.
    pub blocks: u64,
    pub mtime: UnixNanos,
    pub uid: u32,
    pub gid: u32,
}

/// Whose the generated files are, and all directories that are no history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub uid: u32,
    pub gid: u32,
}

impl Owner {
    pub(crate) fn of_this_process() -> Self {
        Self { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
    }

    pub(crate) fn directory(self, ino: Ino, mtime: UnixNanos) -> Attr {
        self.attr(ino, Kind::Directory, 0o555, 0, mtime)
    }

    pub(crate) fn file(self, ino: Ino, size: u64, mtime: UnixNanos) -> Attr {
        self.attr(ino, Kind::File, 0o400, size, mtime)
    }

    pub(crate) fn symlink(self, ino: Ino, size: u64, mtime: UnixNanos) -> Attr {
        self.attr(ino, Kind::Symlink, 0o777, size, mtime)
    }

    fn attr(self, ino: Ino, kind: Kind, mode: u32, size: u64, mtime: UnixNanos) -> Attr {
        Attr { ino, kind, mode, size, blocks: blocks(size), mtime, uid: self.uid, gid: self.gid }
    }
}

impl Attr {
    /// A version as it was.
    pub(crate) fn of_version(ino: Ino, version: &Version) -> Self {
        let holes: u64 = version.holes.iter().map(|&(_, len)| len).sum();
        let held = match (version.kind, version.content) {
            (NodeType::File, Some(_)) => version.size.saturating_sub(holes),
            _ => 0,
        };
        Self {
            ino,
            kind: Kind::from(version.kind),
            mode: version.mode & 0o7777,
            size: version.size,
            blocks: blocks(held),
            mtime: version.mtime,
            uid: version.uid,
            gid: version.gid,
        }
    }
}

impl From<NodeType> for Kind {
    fn from(kind: NodeType) -> Self {
        match kind {
            NodeType::File => Self::File,
            NodeType::Dir => Self::Directory,
            NodeType::Symlink => Self::Symlink,
        }
    }
}

/// Whole pages, as a disk would hold them.
fn blocks(size: u64) -> u64 {
    size.div_ceil(4096) * 8
}
