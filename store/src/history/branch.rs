//! Branches: named chains of ticks, and which ticks are on which.
//!
//! Invariant: a tick is on a branch if it happened there, or on an ancestor at or before the fork.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::When;
use crate::error::{Error, Result};
use crate::ids::{BranchNo, NodeId, Tick};
use crate::index::{EntityRow, Lineage, Span};

/// The payload of a `branch` record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    /// A UUID; stays through a rename.
    pub id: String,
    pub no: BranchNo,
    pub label: String,
    pub parent: Option<BranchNo>,
    pub forked_at_tick: Option<Tick>,
    /// ISO 8601, `Z`.
    pub created_at: String,
    pub description: Option<String>,
    /// Made by a change while detached, not named by a person.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto: bool,
    /// The root directory of an imported tree: such a branch has no ticks, and is not listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<NodeId>,
}

/// All branches of a store at one moment. Cheap to clone: clones share what changes rarely.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Branches {
    settled: Arc<Settled>,
    /// The last run of ticks, the only one that grows.
    growing: Option<Span>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Settled {
    by_no: BTreeMap<BranchNo, Arc<Branch>>,
    /// Runs of ticks on one branch, oldest first.
    spans: Vec<Span>,
    /// The last tick of each branch in `spans`.
    last: BTreeMap<BranchNo, Tick>,
    /// Ticks of branches whose record is lost: where those hang nobody knows, so that their trees cannot be told.
    orphans: Vec<Span>,
}

impl Settled {
    fn close(&mut self, span: Span) {
        self.last.insert(span.branch, span.last);
        self.spans.push(span);
    }
}

impl Branches {
    pub(crate) fn load(rows: &[EntityRow], spans: Vec<Span>) -> Result<Self> {
        let mut settled = Settled::default();
        for row in rows {
            let branch: Branch = serde_json::from_str(&row.body)
                .map_err(|e| Error::corrupt("index.db".as_ref(), 0, format!("branch {}: {e}", row.id)))?;
            settled.by_no.insert(branch.no, Arc::new(branch));
        }
        let (spans, orphans) = spans.into_iter().partition(|span| settled.by_no.contains_key(&span.branch));
        settled.orphans = orphans;
        let mut spans: Vec<Span> = spans;
        let growing = spans.pop();
        spans.into_iter().for_each(|span| settled.close(span));
        Ok(Self { settled: Arc::new(settled), growing })
    }

    /// Those that a person sees, in the order in which they were made.
    pub fn listed(&self) -> impl Iterator<Item = &Branch> {
        self.settled.by_no.values().map(|branch| &**branch).filter(|b| b.import.is_none())
    }

    /// Those that hang on nothing before them: the first branch, and imported trees.
    pub fn roots(&self) -> impl Iterator<Item = BranchNo> {
        self.settled.by_no.values().filter(|b| b.parent.is_none()).map(|b| b.no)
    }

    /// Numbers whose record is lost: they are given one after the other, and never taken back.
    #[must_use]
    pub fn lost(&self) -> Vec<BranchNo> {
        (1..self.next_no().0).map(BranchNo).filter(|no| !self.settled.by_no.contains_key(no)).collect()
    }

    /// The first and the last tick of those that happened on a branch whose record is lost.
    #[must_use]
    pub fn lost_ticks(&self, no: BranchNo) -> Option<(Tick, Tick)> {
        let of = || self.settled.orphans.iter().filter(|span| span.branch == no);
        Some((of().next()?.first, of().next_back()?.last))
    }

    #[must_use]
    pub fn get(&self, no: BranchNo) -> Option<&Branch> {
        self.settled.by_no.get(&no).map(|branch| &**branch)
    }

    /// Runs of ticks on one branch, oldest first.
    fn spans(&self) -> impl DoubleEndedIterator<Item = &Span> {
        self.settled.spans.iter().chain(&self.growing)
    }

    pub fn by_label(&self, label: &str) -> Result<&Branch> {
        self.listed()
            .find(|b| b.label == label)
            .ok_or_else(|| Error::not_found(format!("there is no branch named {label:?}")))
    }

    /// The last tick of a branch: its own, or the one it was forked at, or the base.
    #[must_use]
    pub fn head(&self, no: BranchNo) -> Tick {
        let growing = self.growing.filter(|span| span.branch == no).map(|span| span.last);
        let own = growing.or_else(|| self.settled.last.get(&no).copied());
        own.or_else(|| self.get(no).and_then(|b| b.forked_at_tick)).unwrap_or(Tick::BASE)
    }

    /// The directory on which a tree hangs. Only imported trees have one of their own.
    #[must_use]
    pub fn root(&self, lineage: &Lineage) -> NodeId {
        let oldest = lineage.0.last().and_then(|&(no, _)| self.get(no));
        oldest.and_then(|b| b.import).unwrap_or(NodeId::ROOT)
    }

    /// The branch on which a tick happened.
    #[must_use]
    pub fn of_tick(&self, tick: Tick) -> Option<BranchNo> {
        let holds = |span: &Span| span.first <= tick && tick <= span.last;
        if let Some(span) = self.growing.filter(holds) {
            return Some(span.branch);
        }
        let spans = &self.settled.spans;
        let after = spans.partition_point(|s| s.first <= tick);
        after.checked_sub(1).map(|i| spans[i]).filter(holds).map(|span| span.branch)
    }

    /// The branch up to a tick, its parent up to the fork, and so on.
    #[must_use]
    pub fn lineage(&self, no: BranchNo, upto: Tick) -> Lineage {
        let mut runs = vec![(no, upto)];
        let (mut at, mut bound) = (no, upto);
        while let Some((parent, fork)) = self.get(at).and_then(|b| b.parent.zip(b.forked_at_tick)) {
            bound = bound.min(fork);
            runs.push((parent, bound));
            at = parent;
        }
        Lineage(runs)
    }

    /// Whether a tick is on the branch's chain. The base is on every branch.
    #[must_use]
    pub fn is_on(&self, no: BranchNo, tick: Tick) -> bool {
        tick == Tick::BASE
            || self.of_tick(tick).is_some_and(|home| {
                self.lineage(no, Tick(u64::MAX)).0.iter().any(|&(b, upto)| b == home && tick <= upto)
            })
    }

    /// The last tick of the branch's chain at or before `tick`.
    #[must_use]
    pub fn at_or_before(&self, no: BranchNo, tick: Tick) -> Tick {
        let lineage = self.lineage(no, tick);
        let last_in = |span: &Span| {
            let run = lineage.0.iter().find(|&&(b, upto)| b == span.branch && span.first <= upto)?;
            Some(span.last.min(run.1))
        };
        self.spans().rev().find_map(last_in).unwrap_or(Tick::BASE)
    }

    /// The runs of ticks that make up the branch's chain up to `upto`, oldest first.
    #[must_use]
    pub fn chain(&self, no: BranchNo, upto: Tick) -> Vec<Span> {
        let lineage = self.lineage(no, upto);
        let clip = |span: &Span| {
            let run = lineage.0.iter().find(|&&(b, upto)| b == span.branch && span.first <= upto)?;
            Some(Span { last: span.last.min(run.1), ..*span })
        };
        self.spans().filter_map(clip).collect()
    }

    pub(crate) fn insert(&mut self, branch: Branch) {
        Arc::make_mut(&mut self.settled).by_no.insert(branch.no, Arc::new(branch));
    }

    pub(crate) fn push_tick(&mut self, tick: Tick, branch: BranchNo) {
        match &mut self.growing {
            Some(span) if span.branch == branch && span.last.next() == tick => span.last = tick,
            growing => {
                if let Some(ended) = growing.replace(Span { first: tick, last: tick, branch }) {
                    Arc::make_mut(&mut self.settled).close(ended);
                }
            }
        }
    }

    pub(crate) fn next_no(&self) -> BranchNo {
        let known = self.settled.by_no.keys().last().copied();
        let last = self.settled.orphans.iter().map(|span| span.branch).chain(known).max();
        last.map_or(BranchNo::MAIN, |no| BranchNo(no.0 + 1))
    }

    /// The name of the branch that a change while detached makes: `<B>-1`, `-2` …, where a person named B.
    #[must_use]
    pub fn fork_label(&self, from: BranchNo) -> String {
        let mut named = self.get(from);
        while let Some(branch) = named.filter(|b| b.auto) {
            named = branch.parent.and_then(|p| self.get(p));
        }
        let stem = named.map_or("main", |b| b.label.as_str());
        let taken = |label: &str| self.settled.by_no.values().any(|b| b.label == label);
        let label = |n: u32| format!("{stem}-{n}");
        (1..=u32::MAX).map(label).find(|l| !taken(l)).unwrap_or_else(|| label(0))
    }
}

/// A name for a branch or a snapshot: a legal file name that cannot be read as a point in history.
pub fn check_name(name: &str) -> Result<()> {
    let refuse = |why: &str| Err(Error::refused(format!("{name:?} cannot be a name: {why}")));
    if name.is_empty() || name == "." || name.len() > 200 {
        return refuse("it must have 1 to 200 bytes and not be a dot");
    }
    if name.contains(['/', '@']) || name.contains("..") || name.chars().any(char::is_control) {
        return refuse("it must not hold /, @, .. or control characters");
    }
    if reads_as_a_point(name) {
        return refuse("it reads as a tick, a time, HEAD or README");
    }
    Ok(())
}

fn reads_as_a_point(name: &str) -> bool {
    let word = ["head", "readme", "now", "today", "yesterday"].contains(&name.to_ascii_lowercase().as_str());
    word || !matches!(When::parse(name), Ok(When::Snapshot(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(no: u32, label: &str, parent: Option<(u32, u64)>, auto: bool) -> Branch {
        Branch {
            id: format!("id-{no}"),
            no: BranchNo(no),
            label: label.to_owned(),
            parent: parent.map(|(p, _)| BranchNo(p)),
            forked_at_tick: parent.map(|(_, t)| Tick(t)),
            created_at: String::new(),
            description: None,
            auto,
            import: None,
        }
    }

    /// main: 1 2 3 . . 6; try (from 2): 4 5; try-1 (from 4): 7
    fn sample() -> Branches {
        let mut all = Branches::default();
        all.insert(branch(1, "main", None, false));
        all.insert(branch(2, "try", Some((1, 2)), false));
        all.insert(branch(3, "try-1", Some((2, 4)), true));
        for (tick, no) in [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 1), (7, 3)] {
            all.push_tick(Tick(tick), BranchNo(no));
        }
        all
    }

    #[test]
    fn a_fork_inherits_its_parents_chain_up_to_the_fork() {
        let all = sample();
        let on = |no: u32| (0..=8).filter(|&t| all.is_on(BranchNo(no), Tick(t))).collect::<Vec<_>>();
        assert_eq!(on(1), [0, 1, 2, 3, 6]);
        assert_eq!(on(2), [0, 1, 2, 4, 5]);
        assert_eq!(on(3), [0, 1, 2, 4, 7]);
        assert_eq!(all.head(BranchNo(1)), Tick(6));
        assert_eq!(all.head(BranchNo(3)), Tick(7));
        assert_eq!(all.at_or_before(BranchNo(3), Tick(6)), Tick(4));
        assert_eq!(all.at_or_before(BranchNo(2), Tick(3)), Tick(2));
        let ticks = |no: u32| -> Vec<u64> {
            let chain = all.chain(BranchNo(no), Tick(u64::MAX));
            chain.iter().flat_map(|s| s.first.0..=s.last.0).collect()
        };
        assert_eq!(ticks(1), [1, 2, 3, 6]);
        assert_eq!(ticks(3), [1, 2, 4, 7]);
    }

    #[test]
    fn a_number_between_others_that_nobody_has_is_a_branch_that_is_lost() {
        let mut all = sample();
        assert_eq!(all.lost(), []);
        all.insert(branch(6, "later", None, false));
        assert_eq!(all.lost(), [BranchNo(4), BranchNo(5)]);
    }

    #[test]
    fn a_fork_is_named_after_the_nearest_ancestor_that_a_person_named() {
        let all = sample();
        assert_eq!(all.fork_label(BranchNo(1)), "main-1");
        assert_eq!(all.fork_label(BranchNo(3)), "try-2");
    }

    #[test]
    fn names_that_read_as_points_in_history_are_refused() {
        let long = "x".repeat(300);
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "../x",
            "@x",
            "42",
            "2h",
            "HEAD",
            "README",
            "a\nb",
            "-1",
            "12:15",
            "yesterday",
            "2026-11-20",
            "2026-11-20T10:00",
            &long,
        ] {
            assert!(check_name(bad).is_err(), "{bad:?} was accepted");
        }
        for good in ["main", "try-1", "before-refactor", "2fast", "v1.2", "übung", "42x", "h", "20261120-a"]
        {
            assert!(check_name(good).is_ok(), "{good:?} was refused");
        }
    }
}
