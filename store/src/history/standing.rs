//! The root as a cursor says that it is: the tree of its tick, with the paths that were put back to other ticks.
//!
//! The last of `partial` that says something of a path decides: about itself, and about the directories above it and what
//! was below it.

use std::collections::BTreeSet;

use super::{Change, Entry, Point, Stand, Tree, View};
use crate::error::Result;
use crate::journal::entry::NodeType;
use crate::path::RelPath;

#[derive(Debug, Clone)]
pub struct Standing {
    tree: Tree,
    partial: Vec<(RelPath, Tree)>,
}

impl View {
    /// Where the cursor stands; an error before the base is complete.
    pub fn stand(&self) -> Result<Stand> {
        let Point { branch, tick } = self.cursor_point()?;
        let partial = self.cursor().map(|cursor| cursor.partial.clone()).unwrap_or_default();
        Ok(Stand { branch, tick, partial })
    }

    pub fn standing(&self, stand: &Stand) -> Result<Standing> {
        let tree = self.tree(Point { branch: stand.branch, tick: stand.tick })?;
        let partial = stand.partial.iter().map(|p| Ok((p.path.clone(), self.tree(p.at)?)));
        Ok(Standing { tree, partial: partial.collect::<Result<_>>()? })
    }

    /// The paths that differ between two standings of the root, by path.
    pub fn changed_standing(&self, from: &Standing, to: &Standing) -> Result<Vec<Change>> {
        let changed = self.changed(from.tree.at(), to.tree.at())?;
        let mut paths: BTreeSet<RelPath> = changed.into_iter().map(|change| change.path).collect();
        for (path, _) in from.partial.iter().chain(&to.partial) {
            paths.extend(std::iter::successors(Some(path.clone()), RelPath::parent));
            for tree in from.trees().chain(to.trees()) {
                tree.walk(path, &mut |below, _| {
                    paths.insert(below.clone());
                    Ok(())
                })?;
            }
        }
        let mut changes = Vec::new();
        for path in paths {
            let version = |standing: &Standing| Ok(standing.resolve(&path)?.map(|entry| entry.version));
            let (before, after) = (version(from)?, version(to)?);
            if !self.same(before.as_ref(), after.as_ref())? {
                changes.push(Change { path, before, after });
            }
        }
        Ok(changes)
    }
}

impl Standing {
    fn trees(&self) -> impl Iterator<Item = &Tree> {
        std::iter::once(&self.tree).chain(self.partial.iter().map(|(_, tree)| tree))
    }

    /// The tree of the cursor's tick, `partial` aside.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The point at which a path is what it is here.
    pub fn point_of(&self, path: &RelPath) -> Result<Point> {
        for place in (0..self.partial.len()).rev() {
            let (last, then) = &self.partial[place];
            let decides = last == path
                || self.resolve_behind(&self.partial[..place], path)?
                    != self.resolve_behind(&self.partial[..=place], path)?;
            if decides {
                return Ok(then.at());
            }
        }
        Ok(self.tree.at())
    }

    /// What a path is; `None` if nothing stands there.
    pub fn resolve(&self, path: &RelPath) -> Result<Option<Entry>> {
        self.resolve_behind(&self.partial, path)
    }

    fn resolve_behind(&self, partial: &[(RelPath, Tree)], path: &RelPath) -> Result<Option<Entry>> {
        let Some(((last, then), earlier)) = partial.split_last() else { return self.tree.resolve(path) };
        if last == path {
            return then.resolve(path);
        }
        let is_dir = |entry: &Entry| entry.version.kind == NodeType::Dir;
        let before = self.resolve_behind(earlier, path)?;
        if path.starts_with(last) && !then.resolve(last)?.as_ref().is_some_and(is_dir) {
            return Ok(None);
        }
        let needs_a_directory = last.starts_with(path) && !before.as_ref().is_some_and(is_dir);
        if needs_a_directory && then.resolve(last)?.is_some() {
            return then.resolve(path);
        }
        Ok(before)
    }
}
