//! Which paths differ between two points of history. Costs what happened between them, not what there is.

use std::collections::{BTreeMap, BTreeSet};

use super::{Entry, Point, Tree, View};
use crate::error::Result;
use crate::ids::{NodeId, Tick};
use crate::index::{Span, Version};
use crate::journal::entry::NodeType;
use crate::path::RelPath;

/// A path that is not the same at both points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub path: RelPath,
    pub before: Option<Version>,
    pub after: Option<Version>,
}

impl View {
    /// The paths that differ between two points, by path. They may be on different branches.
    pub fn changed(&self, from: Point, to: Point) -> Result<Vec<Change>> {
        let (before, after) = (self.tree(from)?, self.tree(to)?);
        let paths = if before.root() == after.root() {
            self.touched_paths(&before, &after)?
        } else {
            // An imported tree shares nothing with the root's history.
            let mut paths = BTreeSet::new();
            add_subtree(&before, &RelPath::root(), &mut paths)?;
            add_subtree(&after, &RelPath::root(), &mut paths)?;
            paths
        };
        let mut changes = Vec::new();
        for path in paths {
            let version = |tree: &Tree| Ok(tree.resolve(&path)?.map(|Entry { version, .. }| version));
            let (was, is) = (version(&before)?, version(&after)?);
            if !self.same(was.as_ref(), is.as_ref())? {
                changes.push(Change { path, before: was, after: is });
            }
        }
        Ok(changes)
    }

    /// Paths whose node was touched on one chain and not on the other, and all below a directory that moved.
    fn touched_paths(&self, before: &Tree, after: &Tree) -> Result<BTreeSet<RelPath>> {
        let mut nodes = BTreeMap::<NodeId, ()>::new();
        let chains = [before.at(), after.at()].map(|p| self.branches().chain(p.branch, p.tick));
        for span in only_in_one(&chains[0], &chains[1]) {
            let mut next = span.first;
            while next <= span.last {
                let portion = self.ticks(next, span.last, 4096)?;
                let Some(last) = portion.last() else { break };
                next = last.n.next();
                nodes.extend(portion.iter().map(|tick| (tick.node, ())));
            }
        }
        let mut paths = BTreeSet::new();
        for &node in nodes.keys() {
            let (was, is) = (before.path_of(node)?, after.path_of(node)?);
            let moved = was != is;
            for (tree, path) in [(before, was), (after, is)] {
                match path {
                    Some(path) if moved => add_subtree(tree, &path, &mut paths)?,
                    Some(path) => drop(paths.insert(path)),
                    None => {}
                }
            }
        }
        Ok(paths)
    }

    /// Whether two versions look the same: a version that came back is no change.
    pub(super) fn same(&self, a: Option<&Version>, b: Option<&Version>) -> Result<bool> {
        let (Some(a), Some(b)) = (a, b) else { return Ok(a.is_none() && b.is_none()) };
        if (a.node, a.tick) == (b.node, b.tick) {
            return Ok(true);
        }
        let looks = |v: &Version| (v.kind, v.mode, v.uid, v.gid, v.size);
        if looks(a) != looks(b) {
            return Ok(false);
        }
        match (a.content, b.content) {
            (Some(x), Some(y)) if x != y => {
                Ok(self.store().content().read(x)? == self.store().content().read(y)?)
            }
            (x, y) => Ok(x.is_some() == y.is_some() && (x.is_some() || a.kind == NodeType::Dir)),
        }
    }
}

fn add_subtree(tree: &Tree, path: &RelPath, paths: &mut BTreeSet<RelPath>) -> Result<()> {
    tree.walk(path, &mut |below, _| {
        paths.insert(below.clone());
        Ok(())
    })
}

/// The ticks that are on one chain alone. Chains share a beginning, and nothing after it.
fn only_in_one(a: &[Span], b: &[Span]) -> Vec<Span> {
    let end = |spans: &[Span], i: usize| spans.get(i).copied();
    let mut apart = Vec::new();
    let mut i = 0;
    while end(a, i).is_some() && end(a, i) == end(b, i) {
        i += 1;
    }
    let mut rest_of = [a.get(i..).unwrap_or_default().to_vec(), b.get(i..).unwrap_or_default().to_vec()];
    let firsts = rest_of.each_ref().map(|spans| spans.first().copied());
    if let [Some(x), Some(y)] = firsts
        && x.first == y.first
    {
        let shared: Tick = x.last.min(y.last);
        for spans in &mut rest_of {
            spans[0].first = shared.next();
        }
    }
    for spans in rest_of {
        apart.extend(spans.into_iter().filter(|s| s.first <= s.last));
    }
    apart
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::BranchNo;

    fn span(first: u64, last: u64, branch: u32) -> Span {
        Span { first: Tick(first), last: Tick(last), branch: BranchNo(branch) }
    }

    #[test]
    fn chains_part_where_they_fork() {
        let main = [span(1, 5, 1), span(8, 9, 1)];
        assert_eq!(only_in_one(&main, &main), []);
        assert_eq!(only_in_one(&main[..1], &main), [span(8, 9, 1)]);
        let fork = [span(1, 2, 1), span(6, 7, 2)];
        assert_eq!(only_in_one(&main, &fork), [span(3, 5, 1), span(8, 9, 1), span(6, 7, 2)]);
        assert_eq!(only_in_one(&[], &fork), fork);
    }
}
