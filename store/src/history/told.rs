//! One tick as people read it: what changed, from what, to what.

use super::{Point, Tree, View};
use crate::error::{Error, Result};
use crate::ids::{BranchNo, Tick};
use crate::index::{TickRow, Version};
use crate::path::RelPath;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub row: TickRow,
    /// The branch on which it happened.
    pub branch: BranchNo,
    /// Where it stood, and what was there; `None` for what is new.
    pub before: Option<(RelPath, Version)>,
    /// `None` for what is gone.
    pub after: Option<(RelPath, Version)>,
}

impl Told {
    /// The path that changed; of a rename, the new one.
    #[must_use]
    pub fn path(&self) -> RelPath {
        let side = self.after.as_ref().or(self.before.as_ref());
        side.map(|(path, _)| path.clone()).unwrap_or_default()
    }

    /// Where a renamed path was.
    #[must_use]
    pub fn from(&self) -> Option<&RelPath> {
        let (was, is) = self.before.as_ref().zip(self.after.as_ref())?;
        (was.0 != is.0).then_some(&was.0)
    }
}

impl View {
    pub fn told(&self, row: &TickRow) -> Result<Told> {
        let home = self.branches().of_tick(row.n);
        let branch = home.ok_or_else(|| Error::not_found(format!("tick {} is on no branch", row.n)))?;
        let earlier = self.branches().at_or_before(branch, Tick(row.n.0.saturating_sub(1)));
        let side = |tick| standing(&self.tree(Point { branch, tick })?, row);
        Ok(Told { row: row.clone(), branch, before: side(earlier)?, after: side(row.n)? })
    }
}

fn standing(tree: &Tree, row: &TickRow) -> Result<Option<(RelPath, Version)>> {
    let Some(path) = tree.path_of(row.node)? else { return Ok(None) };
    Ok(tree.version(row.node)?.map(|version| (path, version)))
}
