//! What a name stands for, and what is said of it.

use std::sync::Arc;

use tickfs_store::Version;
use tickfs_store::history::Point;
use tickfs_store::ids::UnixNanos;
use tickfs_store::path::RelPath;
use tickfs_store::runs::RunId;

use super::{Recipe, codevovle, watch};
use crate::attr::Attr;
use crate::inode::Object;

/// A name that was found, or an inode that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub attr: Attr,
    /// The name stands for this for ever.
    pub name_lasts: bool,
    /// The attributes, and a file's bytes or a directory's names, are the same for ever.
    pub attr_lasts: bool,
}

/// What a name stands for.
#[derive(Debug)]
pub(crate) enum Found {
    /// Its inode number says it.
    Object {
        object: Object,
        name_lasts: bool,
    },
    /// A path as it was, whose row is at hand already.
    Version {
        object: Object,
        version: Version,
    },
    Text {
        recipe: Recipe,
        lasts: bool,
    },
    Link {
        target: Vec<u8>,
        mtime: UnixNanos,
        name_lasts: bool,
    },
    Dir(NamedDir),
    /// The events of a run, growing.
    Stream(RunId),
}

/// A directory that a word names, where no number can.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum NamedDir {
    Deleted(RelPath),
    Diff { from: Point, to: Point, path: RelPath },
    State(String),
    Codevovle(codevovle::Dir),
    Watch(watch::Dir),
}

/// Some bytes of a file or of a symlink's target.
#[derive(Debug, Clone)]
pub struct Bytes {
    whole: Arc<[u8]>,
    from: usize,
    to: usize,
}

impl Bytes {
    /// At most `len` bytes from `offset` on.
    pub(super) fn cut(whole: Arc<[u8]>, offset: u64, len: usize) -> Self {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
        let to = from.saturating_add(len).min(whole.len());
        Self { whole, from, to }
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.whole[self.from..self.to]
    }
}
