//! One path through time: what stood there, on every branch, each version once.

use std::collections::{BTreeMap, BTreeSet};

use super::{Branches, View};
use crate::error::Result;
use crate::ids::{BranchNo, NodeId, Tick};
use crate::index::{Lineage, Query, Version};
use crate::path::RelPath;

/// A version as it came to stand under a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathVersion {
    /// When it appeared there: its own tick, or that of a rename.
    pub at: Tick,
    pub branch: BranchNo,
    /// `None`: from then on nothing stands there.
    pub version: Option<Version>,
}

/// From which tick of one branch on a path stands for which node.
type Timeline = BTreeMap<Tick, Option<NodeId>>;

impl View {
    /// All versions that ever stood under a path up to this view, on every branch, oldest first.
    pub fn versions_of(&self, path: &RelPath) -> Result<Vec<PathVersion>> {
        let branches = self.branches();
        self.store().index().read(|q| {
            let mut found = Vec::new();
            for branch in branches.listed() {
                let timeline = Timelines { query: q, branches, branch: branch.no, last: self.last_tick() };
                found.extend(timeline.versions(path)?);
            }
            found.sort_by_key(|v| v.at);
            Ok(found)
        })
    }

    /// The newest versions under a path before a tick, as the chain of a branch has them, newest first.
    pub fn newest_of(
        &self,
        path: &RelPath,
        branch: BranchNo,
        before: Tick,
        limit: usize,
    ) -> Result<Vec<PathVersion>> {
        let branches = self.branches();
        let before = before.min(self.last_tick().next());
        if before == Tick::BASE {
            return Ok(Vec::new());
        }
        self.store().index().read(|q| {
            let mut found = Vec::new();
            for (branch, upto) in branches.lineage(branch, Tick(before.0.saturating_sub(1))).0 {
                let before = Tick(upto.0.saturating_add(1));
                let timeline = Timelines { query: q, branches, branch, last: self.last_tick() };
                found.extend(timeline.newest(path, before, limit - found.len())?);
                if found.len() >= limit {
                    break;
                }
            }
            Ok(found)
        })
    }

    /// Names that ever stood in a directory up to this view, on whatever branch, after `after` and in the order of their bytes.
    /// The directory is a path, whatever nodes stood there.
    pub fn names_ever(&self, dir: &RelPath, after: &[u8], limit: usize) -> Result<Vec<Vec<u8>>> {
        let branches = self.branches();
        self.store().index().read(|q| {
            let mut asked = BTreeSet::new();
            for branch in branches.listed() {
                let timeline = Timelines { query: q, branches, branch: branch.no, last: self.last_tick() };
                let timeline = timeline.of(dir)?;
                // What a fork inherits in a directory, its ancestors say.
                for (run, _) in branches.lineage(branch.no, Tick(u64::MAX)).0 {
                    asked.extend(timeline.values().flatten().map(|&node| (run, node)));
                }
            }
            let mut names = BTreeSet::new();
            for (branch, node) in asked {
                names.extend(q.names_on(branch, node, self.last_tick(), after, limit)?);
            }
            Ok(names.into_iter().take(limit).collect())
        })
    }

    /// The versions of whatever a path is at a point, through its renames, oldest first, each with its tick.
    pub fn line_of(&self, path: &RelPath, at: super::Point) -> Result<Vec<Version>> {
        let tree = self.tree(at)?;
        let Some(entry) = tree.resolve(path)? else { return Ok(Vec::new()) };
        self.store().index().read(|q| {
            let mut versions = Vec::new();
            for &(branch, upto) in tree.lineage().0.iter().rev() {
                versions.extend(q.versions_on(entry.node, branch)?.into_iter().filter(|v| v.tick <= upto));
            }
            Ok(versions)
        })
    }
}

/// What stands under paths on one branch, at its own ticks.
struct Timelines<'q, 'b> {
    query: Query<'q>,
    branches: &'b Branches,
    branch: BranchNo,
    /// What was written since is not there yet.
    last: Tick,
}

impl Timelines<'_, '_> {
    /// The tick at which the branch begins, with all that it inherits.
    fn begin(&self) -> Tick {
        self.branches.get(self.branch).and_then(|b| b.forked_at_tick).unwrap_or(Tick::BASE)
    }

    fn lineage(&self, upto: Tick) -> Lineage {
        self.branches.lineage(self.branch, upto)
    }

    fn of(&self, path: &RelPath) -> Result<Timeline> {
        let Some(parent) = path.parent() else {
            return Ok(Timeline::from([(self.begin(), Some(NodeId::ROOT))]));
        };
        let above = self.of(&parent)?;
        let mut timeline = Timeline::new();
        for (from, to, dir) in stretches(&above) {
            let held = match dir {
                Some(dir) => self.query.lookup(&self.lineage(from), dir, path.name())?,
                None => None,
            };
            timeline.insert(from, held);
            let Some(dir) = dir else { continue };
            for (tick, node) in self.query.dirent_history(dir, path.name(), self.branch)? {
                if tick > from && tick <= self.last && to.is_none_or(|to| tick < to) {
                    timeline.insert(tick, node);
                }
            }
        }
        Ok(timeline)
    }

    /// As [`Self::versions`], of ticks before one, from the newest on.
    fn newest(&self, path: &RelPath, before: Tick, limit: usize) -> Result<Vec<PathVersion>> {
        let stretches = stretches(&self.of(path)?);
        let mut found: Vec<PathVersion> = Vec::new();
        for (n, &(from, to, node)) in stretches.iter().enumerate().rev() {
            if from >= before || found.len() >= limit {
                continue;
            }
            let is_news = !(self.inherits() && from == self.begin());
            let end = to.map_or(before, |to| to.min(before));
            let put = |version| {
                let at = Option::as_ref(&version).map_or(from, |version: &Version| version.tick.max(from));
                PathVersion { at, branch: self.branch, version }
            };
            if let Some(node) = node {
                let left = limit - found.len();
                let inside = self.query.newest_on(node, self.branch, (from, end), left)?;
                found.extend(inside.into_iter().map(|version| put(Some(version))));
            }
            let stood = || n > 0 && stretches[n - 1].2.is_some();
            if is_news && found.len() < limit {
                match node {
                    Some(node) => {
                        let held = self.query.version(&self.lineage(from), node)?;
                        found.extend(held.map(|held| put(Some(held))));
                    }
                    None if stood() => found.push(put(None)),
                    None => {}
                }
            }
        }
        Ok(found)
    }

    fn inherits(&self) -> bool {
        self.branches.get(self.branch).is_some_and(|b| b.parent.is_some())
    }

    fn versions(&self, path: &RelPath) -> Result<Vec<PathVersion>> {
        let inherits = self.inherits();
        let mut found: Vec<PathVersion> = Vec::new();
        let mut stood = false;
        for (from, to, node) in stretches(&self.of(path)?) {
            // What a fork inherits was found on its parent.
            let is_news = !(inherits && from == self.begin());
            let Some(node) = node else {
                if is_news && stood {
                    found.push(PathVersion { at: from, branch: self.branch, version: None });
                }
                stood = false;
                continue;
            };
            stood = true;
            if is_news {
                match self.query.version(&self.lineage(from), node)? {
                    None if !path.is_root() => return Err(crate::index::missing_version()),
                    None => {}
                    held => found.push(PathVersion { at: from, branch: self.branch, version: held }),
                }
            }
            for version in self.query.versions_on(node, self.branch)? {
                let tick = version.tick;
                if tick > from && tick <= self.last && to.is_none_or(|to| tick < to) {
                    found.push(PathVersion { at: tick, branch: self.branch, version: Some(version) });
                }
            }
        }
        Ok(found)
    }
}

/// A timeline as stretches `(from, to, node)`; the last one has no end.
fn stretches(timeline: &Timeline) -> Vec<(Tick, Option<Tick>, Option<NodeId>)> {
    let ends = timeline.keys().skip(1).map(|&tick| Some(tick)).chain([None]);
    timeline.iter().zip(ends).map(|((&from, &node), to)| (from, to, node)).collect()
}
