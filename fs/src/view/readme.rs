//! The texts that teach: how to read this filesystem.

use super::{Found, Recipe};

/// What a README is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Of {
    Mount,
    Branches,
    Branch,
    Ticks,
    Snapshots,
    Diff,
}

impl Of {
    pub(super) fn found(self) -> Found {
        Found::Text { recipe: Recipe::Readme(self), lasts: true }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Mount => include_str!("readme/mount.txt"),
            Self::Branches => include_str!("readme/branches.txt"),
            Self::Branch => include_str!("readme/branch.txt"),
            Self::Ticks => include_str!("readme/ticks.txt"),
            Self::Snapshots => include_str!("readme/snapshots.txt"),
            Self::Diff => include_str!("readme/diff.txt"),
        }
    }
}
