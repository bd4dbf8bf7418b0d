//! A view of the whole history at one moment.
//!
//! Invariant: a view does not change. What is recorded later is seen by the next view; the ticks a view knows stay as
//! they are, because history never changes. Entities are the exception: the index keeps their latest payload alone, so they
//! are what they are when they are asked for.

use std::sync::Arc;

use super::{Branches, Cursor, Point, Tree};
use crate::error::{Error, Result};
use crate::ids::{BranchNo, NodeId, Seq, Tick, UnixMillis};
use crate::index::{self, EntityRow, Lineage, Query, TickRow, Version};
use crate::journal::JournalEnd;
use crate::journal::entry::{Action, ItemType};
use crate::store::Store;

#[derive(Debug, Clone)]
pub struct View {
    store: Store,
    known: Known,
}

/// What a view knows without asking. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) branches: Branches,
    pub(crate) cursor: Option<Arc<Cursor>>,
    pub(crate) end: JournalEnd,
    pub(crate) last_tick: Tick,
}

impl Known {
    pub(crate) fn load(q: Query<'_>) -> Result<Self> {
        let branches = crate::store::load_branches(q)?;
        Ok(Self {
            cursor: crate::store::load_cursor(q, &branches)?.map(Arc::new),
            branches,
            end: index::watermark(q.0)?,
            last_tick: q.last_tick()?.map_or(Tick::BASE, |t| t.n),
        })
    }
}

impl View {
    /// Where this process writes too, its writer knows how history stands, and nothing needs to be asked.
    pub(crate) fn new(store: Store) -> Result<Self> {
        let known = match store.latest() {
            Some(known) => known,
            None => store.index().read(Known::load)?,
        };
        Ok(Self { store, known })
    }

    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    #[must_use]
    pub fn branches(&self) -> &Branches {
        &self.known.branches
    }

    /// Where the root stands; `None` before the base is complete.
    #[must_use]
    pub fn cursor(&self) -> Option<&Cursor> {
        self.known.cursor.as_deref()
    }

    /// The last record of the journal that this view knows.
    #[must_use]
    pub fn applied_seq(&self) -> Seq {
        self.known.end.seq
    }

    /// Where that record ends.
    #[must_use]
    pub fn journal_end(&self) -> JournalEnd {
        self.known.end
    }

    /// The last tick of the store, on whatever branch.
    #[must_use]
    pub fn last_tick(&self) -> Tick {
        self.known.last_tick
    }

    /// The cursor's branch and the tick of it at which the root stands, `partial` aside.
    pub fn cursor_point(&self) -> Result<Point> {
        let cursor = self.cursor().ok_or_else(|| Error::not_found("nothing is recorded here yet"))?;
        let tick = cursor.tick.unwrap_or_else(|| self.known.branches.head(cursor.branch));
        Ok(Point { branch: cursor.branch, tick })
    }

    #[must_use]
    pub fn head(&self, branch: BranchNo) -> Point {
        Point { branch, tick: self.known.branches.head(branch) }
    }

    /// The tree at a tick of a branch. The tick must be on the branch's chain.
    pub fn tree(&self, at: Point) -> Result<Tree> {
        let Some(branch) = self.known.branches.get(at.branch) else {
            return Err(Error::not_found(format!("there is no branch number {}", at.branch)));
        };
        if !self.known.branches.is_on(at.branch, at.tick) {
            return Err(Error::not_found(format!("tick {} is not on branch {}", at.tick, branch.label)));
        }
        Ok(Tree::new(self.store.clone(), &self.known.branches, at))
    }

    /// The version that came to be at a tick for a node; at the base, also one of an imported tree.
    pub fn version_at(&self, tick: Tick, node: NodeId) -> Result<Option<Version>> {
        let happened = |branch: BranchNo| {
            let found = self.store.index().read(|q| q.version(&Lineage(vec![(branch, tick)]), node))?;
            Ok(found.filter(|version| version.tick == tick))
        };
        if let Some(branch) = self.known.branches.of_tick(tick) {
            return happened(branch);
        }
        for branch in self.known.branches.roots().filter(|_| tick == Tick::BASE) {
            if let Some(version) = happened(branch)? {
                return Ok(Some(version));
            }
        }
        Ok(None)
    }

    pub fn tick(&self, n: Tick) -> Result<TickRow> {
        let row = self.store.index().read(|q| q.tick(n))?;
        row.ok_or_else(|| Error::not_found(format!("there is no tick {n}")))
    }

    /// Ticks of the store from `first` to `last`, on whatever branch, in order.
    pub fn ticks(&self, first: Tick, last: Tick, limit: usize) -> Result<Vec<TickRow>> {
        self.store.index().read(|q| q.ticks(first, last.min(self.known.last_tick), limit))
    }

    /// The last tick of a branch at or before a moment; the base if that is before the first.
    pub fn by_time(&self, branch: BranchNo, moment: UnixMillis) -> Result<Tick> {
        let row = self.store.index().read(|q| q.tick_by_time(moment))?;
        Ok(row.map_or(Tick::BASE, |t| self.known.branches.at_or_before(branch, t.n)))
    }

    /// The first tick of the burst that a tick belongs to, and its last.
    pub fn burst_of(&self, n: Tick) -> Result<(Tick, Tick)> {
        let first = self.tick(n)?.burst.unwrap_or(n);
        let mut last = n;
        loop {
            let ahead = self.ticks(last.next(), Tick(last.0 + 256), 256)?;
            let inside = ahead.iter().take_while(|t| t.burst == Some(first)).count();
            last = Tick(last.0 + inside as u64);
            if inside < 256 {
                return Ok((first, last));
            }
        }
    }

    /// The latest payload of an entity that is no path.
    pub fn entity(&self, kind: &ItemType, id: &str) -> Result<Option<EntityRow>> {
        self.store.index().read(|q| q.entity(kind.as_str(), id))
    }

    pub fn entities(&self, kind: &ItemType) -> Result<Vec<EntityRow>> {
        self.store.index().read(|q| q.entities(kind.as_str()))
    }

    pub fn all_entities(&self) -> Result<Vec<EntityRow>> {
        self.store.index().read(|q| q.all_entities())
    }

    /// Events of the given kinds that hold no state, oldest first, at most the newest `limit` of each kind.
    pub fn observed(&self, actions: &[Action], limit: usize) -> Result<Vec<(Seq, Action)>> {
        self.store.index().read(|q| q.observed(actions, self.known.end.seq, limit))
    }
}
