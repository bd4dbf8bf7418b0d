//! The root as a cursor says that it is: the tree of its tick, with the paths that were put back to other ticks.
//!
//! The last of `partial` that says something of a path decides: about itself, and about the directories above it and what
//! was below it.

use std::collections::{BTreeSet, HashSet};

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
        let trees = [from.trees(), to.trees()].concat();
        for (path, _) in from.partial.iter().chain(&to.partial) {
            paths.extend(std::iter::successors(Some(path.clone()), RelPath::parent));
            for tree in &trees {
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
    /// Each tree that has a say, once.
    fn trees(&self) -> Vec<&Tree> {
        let mut trees = vec![&self.tree];
        let mut known = HashSet::from([self.tree.at()]);
        trees.extend(self.partial.iter().map(|(_, tree)| tree).filter(|tree| known.insert(tree.at())));
        trees
    }

    /// The tree of the cursor's tick, `partial` aside.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The same with one more path that is put back: what it says counts most.
    pub fn put_back(&mut self, path: RelPath, then: Tree) {
        self.partial.push((path, then));
    }

    /// The point at which a path is what it is here.
    pub fn point_of(&self, path: &RelPath) -> Result<Point> {
        Ok(self.decide(path)?.1)
    }

    /// What a path is; `None` if nothing stands there.
    pub fn resolve(&self, path: &RelPath) -> Result<Option<Entry>> {
        Ok(self.decide(path)?.0)
    }

    fn decide(&self, path: &RelPath) -> Result<(Option<Entry>, Point)> {
        let is_dir = |entry: &Entry| entry.version.kind == NodeType::Dir;
        let (mut found, mut at) = (self.tree.resolve(path)?, self.tree.at());
        for (put_back, then) in &self.partial {
            let decides = if put_back == path {
                true
            } else if path.starts_with(put_back) {
                !then.resolve(put_back)?.as_ref().is_some_and(is_dir)
            } else {
                let needs_a_directory = put_back.starts_with(path) && !found.as_ref().is_some_and(is_dir);
                needs_a_directory && then.resolve(put_back)?.is_some()
            };
            if decides {
                (found, at) = (then.resolve(path)?, then.at());
            }
        }
        Ok((found, at))
    }
}
