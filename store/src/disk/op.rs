//! What was asked of a medium, as the test disks name it: the counting disk logs it, the simulated one fails it.

use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OpKind {
    Open,
    OpenAppend,
    Create,
    Read,
    Append,
    Sync,
    Rename,
    Remove,
    CreateDir,
    List,
    Stat,
    SyncDir,
    Lock,
    Describe,
    Database,
    Space,
}

/// One call, by the path it was made for. A handle's calls bear the path it was opened by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    pub kind: OpKind,
    /// A rename's is the name that the file has afterwards.
    pub path: PathBuf,
    /// Read or written.
    pub bytes: u64,
}

impl Op {
    #[must_use]
    pub fn new(kind: OpKind, path: &Path, bytes: u64) -> Self {
        Self { kind, path: path.to_owned(), bytes }
    }

    /// Whether the call was for a file of this name, in whatever directory.
    #[must_use]
    pub fn is_for(&self, file_name: &str) -> bool {
        self.path.file_name().is_some_and(|name| name == file_name)
    }
}
