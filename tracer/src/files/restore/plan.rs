//! What a move comes to: which paths change, and which are left as they are.

use std::collections::BTreeSet;

use tickfs_store::Version;
use tickfs_store::history::{Change, Stand, View};
use tickfs_store::journal::entry::NodeType;
use tickfs_store::path::RelPath;

use super::error::Result;

/// The difference between the root as it stands and as it shall stand.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// By path.
    pub changes: Vec<Change>,
    /// Files whose content was not kept, here or there: they are left as they are.
    pub left: Vec<RelPath>,
}

impl Plan {
    pub fn new(view: &View, from: &Stand, to: &Stand) -> Result<Self> {
        let (from, to) = (view.standing(from)?, view.standing(to)?);
        let mut plan = Self::default();
        for change in view.changed_standing(&from, &to)? {
            let either = [&change.before, &change.after];
            if either.into_iter().flatten().any(was_not_kept) {
                plan.left.push(change.path);
            } else {
                plan.changes.push(change);
            }
        }
        plan.leave_what_holds_what_is_left();
        Ok(plan)
    }

    /// A directory in which something is left cannot go.
    fn leave_what_holds_what_is_left(&mut self) {
        let left: BTreeSet<RelPath> =
            self.left.iter().flat_map(|path| std::iter::successors(path.parent(), RelPath::parent)).collect();
        let (stay, go): (Vec<Change>, Vec<Change>) =
            std::mem::take(&mut self.changes).into_iter().partition(|change| {
                let goes =
                    change.before.as_ref().is_some_and(is_dir) && !change.after.as_ref().is_some_and(is_dir);
                goes && left.contains(&change.path)
            });
        self.changes = go;
        self.left.extend(stay.into_iter().map(|change| change.path));
        self.left.sort();
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The way back.
    pub(super) fn reversed(&self) -> Vec<Change> {
        let back = |change: &Change| Change {
            path: change.path.clone(),
            before: change.after.clone(),
            after: change.before.clone(),
        };
        self.changes.iter().map(back).collect()
    }
}

pub(super) fn is_dir(version: &Version) -> bool {
    version.kind == NodeType::Dir
}

fn was_not_kept(version: &Version) -> bool {
    version.kind != NodeType::Dir && version.content.is_none()
}
