//! The cursor: where the root on disk stands.

use serde::{Deserialize, Serialize};

use crate::ids::{BranchNo, Tick};
use crate::path::RelPath;

/// A tick of a branch: one point in history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Point {
    pub branch: BranchNo,
    pub tick: Tick,
}

/// The payload of the `cursor` record. While it is attached it follows the branch's head and is not written again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    pub branch: BranchNo,
    /// `None`: at the head, wherever that is.
    pub tick: Option<Tick>,
    /// Paths that were put back to other points.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partial: Vec<PartialPath>,
    /// What moved it here: `revert`, `jump`, `fork` …
    pub moved: String,
    /// Where it stood before that, for `undo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Stand>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialPath {
    pub path: RelPath,
    #[serde(flatten)]
    pub at: Point,
}

/// A cursor without its past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stand {
    pub branch: BranchNo,
    pub tick: Tick,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partial: Vec<PartialPath>,
}

impl Cursor {
    #[must_use]
    pub fn attached_to(branch: BranchNo, moved: &str) -> Self {
        Self { branch, tick: None, partial: Vec::new(), moved: moved.to_owned(), before: None }
    }

    /// Attached: the next change becomes the next tick. Detached: it forks.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.tick.is_none() && self.partial.is_empty()
    }

    #[must_use]
    pub fn partial_point(&self, path: &RelPath) -> Option<Point> {
        self.partial.iter().find(|p| p.path == *path).map(|p| p.at)
    }
}
