//! The text of versions: what changed between two, who wrote each line, and where a pattern stands.

use std::collections::HashSet;
use std::num::NonZeroUsize;

use parking_lot::Mutex;

use super::{Point, View};
use crate::diff::{self, Diff, Labels, Matcher};
use crate::error::{Error, Result};
use crate::ids::{Address, Tick};
use crate::index::Version;
use crate::journal::entry::NodeType;
use crate::path::RelPath;

/// Lines around a change in a unified diff.
pub const CONTEXT: usize = 3;

/// A line that a search found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Match {
    pub path: RelPath,
    /// The tick of the version that holds it.
    pub tick: Tick,
    /// `None`: the version is binary, and holds the pattern somewhere.
    pub line: Option<(usize, Vec<u8>)>,
}

impl View {
    /// The unified diff of one path between two points. `None` stands for a side where nothing is.
    pub fn diff(
        &self,
        labels: &Labels<'_>,
        before: Option<&Version>,
        after: Option<&Version>,
    ) -> Result<Diff> {
        let text = |version: Option<&Version>| match version {
            Some(v) if v.kind != NodeType::Dir => self.content_of(v).map(Some),
            _ => Ok(None),
        };
        let (old, new) = (text(before)?, text(after)?);
        Ok(diff::unified(old.as_deref(), new.as_deref(), labels, CONTEXT))
    }

    /// The bytes of a version.
    pub fn content_of(&self, version: &Version) -> Result<Vec<u8>> {
        match version.content {
            Some(address) => self.store().content().read(address),
            None => Err(Error::not_found(format!(
                "the content of tick {} was not kept ({} bytes)",
                version.tick, version.size
            ))),
        }
    }

    /// Each line of a file as it is at a point, with the tick of the version that wrote it.
    pub fn blame(&self, path: &RelPath, at: Point) -> Result<Vec<(Tick, Vec<u8>)>> {
        let mut blame = diff::Blame::default();
        for version in self.line_of(path, at)? {
            if version.content.is_some() {
                blame.add(&version.tick, self.content_of(&version)?);
            }
        }
        Ok(blame.lines().map(|(tick, line)| (*tick, line.to_vec())).collect())
    }

    /// The lines of one tree that match.
    pub fn grep(&self, matcher: &Matcher, at: Point, threads: NonZeroUsize) -> Result<Vec<Match>> {
        let mut wanted = Vec::new();
        self.tree(at)?.walk(&RelPath::root(), &mut |path, entry| {
            if entry.version.kind == NodeType::File && entry.version.content.is_some() {
                wanted.push((path.clone(), entry.version.clone()));
            }
            Ok(())
        })?;
        self.grep_versions(matcher, &wanted, threads)
    }

    /// The lines of every distinct version of all history that match, on whatever branch.
    pub fn grep_all(&self, matcher: &Matcher, threads: NonZeroUsize) -> Result<Vec<Match>> {
        let mut wanted = Vec::new();
        let mut seen = HashSet::<Address>::new();
        let heads: Vec<_> = self.branches().listed().map(|b| b.no).collect();
        let versions = self.store().index().read(|q| q.all_versions())?;
        for version in versions {
            let Some(address) = version.content.filter(|_| version.kind == NodeType::File) else { continue };
            if seen.insert(address) && heads.contains(&version.branch) {
                let at = Point { branch: version.branch, tick: version.tick };
                if let Some(path) = self.tree(at)?.path_of(version.node)? {
                    wanted.push((path, version));
                }
            }
        }
        self.grep_versions(matcher, &wanted, threads)
    }

    /// Threads take the next version that nobody has; the order of the answer does not depend on them.
    fn grep_versions(
        &self,
        matcher: &Matcher,
        wanted: &[(RelPath, Version)],
        threads: NonZeroUsize,
    ) -> Result<Vec<Match>> {
        let next = std::sync::atomic::AtomicUsize::new(0);
        let found = Mutex::new(Vec::new());
        let failed = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..threads.get().min(wanted.len()) {
                scope.spawn(|| {
                    while let Some((path, version)) =
                        wanted.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                    {
                        match self.content_of(version) {
                            Ok(text) => found.lock().extend(matches_in(matcher, path, version.tick, &text)),
                            Err(error) => {
                                failed.lock().get_or_insert(error);
                                return;
                            }
                        }
                    }
                });
            }
        });
        match failed.into_inner() {
            Some(error) => Err(error),
            None => {
                let mut found = found.into_inner();
                found.sort();
                Ok(found)
            }
        }
    }
}

fn matches_in(matcher: &Matcher, path: &RelPath, tick: Tick, text: &[u8]) -> Vec<Match> {
    let hit = |line| Match { path: path.clone(), tick, line };
    match matcher.find(text) {
        diff::Found::Nothing => Vec::new(),
        diff::Found::InBinary => vec![hit(None)],
        diff::Found::Lines(lines) => lines.map(|l| hit(Some((l.number, l.text.to_vec())))).collect(),
    }
}
