//! What the kernel keeps until it is told otherwise, and what it is to be told now.
//!
//! Such are the names of branches, and which names their directories hold: they stand in the way to all that never changes.

use serde::{Deserialize, Serialize};
use tickfs_store::history;
use tickfs_store::ids::BranchNo;

use crate::error::Result;
use crate::inode::{Fixed, Ino, Object};

/// What does not stand any more of what the kernel keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outdated {
    pub inodes: Vec<Ino>,
    pub names: Vec<(Ino, String)>,
    /// [`Told`] is another one now.
    pub told_other: bool,
}

/// What the kernel was told last. Whoever goes on with a mount needs it to see what changed meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    labels: Vec<(BranchNo, String)>,
    active: Option<BranchNo>,
}

impl Told {
    pub(super) fn of(history: &history::View) -> Self {
        let labels = history.branches().listed().map(|branch| (branch.no, branch.label.clone())).collect();
        Self { labels, active: history.cursor().map(|cursor| cursor.branch) }
    }

    /// Something was committed: history is this now.
    pub(super) fn renew(&mut self, history: &history::View) -> Result<Outdated> {
        let before = std::mem::replace(self, Self::of(history));
        let mut outdated = Outdated { inodes: Vec::new(), names: Vec::new(), told_other: *self != before };
        let is = |no: BranchNo| history.branches().get(no).map(|branch| branch.label.as_str());
        for (no, label) in before.labels.iter().filter(|(no, label)| is(*no) != Some(label)) {
            outdated.names.push((Ino::of(Object::Fixed(Fixed::Branches))?, label.clone()));
            outdated.inodes.push(Ino::of(Object::Branch(*no))?);
        }
        if let Some(active) = self.active {
            outdated.inodes.push(Ino::of(Object::Branch(active))?);
            if before.active != Some(active) {
                outdated.inodes.extend(self.directories());
            }
        }
        Ok(outdated)
    }

    /// Nobody knows what the kernel was told.
    pub(super) fn everything(&self) -> Result<Outdated> {
        let branches = Ino::of(Object::Fixed(Fixed::Branches))?;
        let names = self.labels.iter().map(|(_, label)| (branches, label.clone())).collect();
        Ok(Outdated { inodes: self.directories().collect(), names, told_other: true })
    }

    fn directories(&self) -> impl Iterator<Item = Ino> {
        self.labels.iter().filter_map(|(no, _)| Ino::of(Object::Branch(*no)).ok())
    }
}
