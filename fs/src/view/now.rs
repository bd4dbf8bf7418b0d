//! The store at one moment: what changes from commit to commit, read once for all who ask meanwhile.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tickfs_store::history::{Branch, PathVersion, View as History};
use tickfs_store::ids::{BranchNo, Tick, UnixMillis, UnixNanos};
use tickfs_store::path::RelPath;
use tickfs_store::{Error as StoreError, Store};

use super::codevovle::Places;
use super::texts::{Recipe, Rendered};
use crate::error::Result;

#[derive(Debug)]
pub(crate) struct Now {
    /// How often the store had changed when this was read.
    changes: u64,
    history: History,
    mtime: UnixNanos,
    /// Texts that were rendered of this moment.
    pub(super) rendered: Mutex<HashMap<Recipe, Rendered>>,
    /// What rooms found out of this moment, once somebody had asked.
    pub(super) deleted: Mutex<Option<Arc<BTreeSet<RelPath>>>>,
    pub(super) codevovle: Mutex<Option<Arc<Places>>>,
    /// Of the path that was asked for last.
    pub(super) versions: Mutex<Option<(RelPath, Arc<[PathVersion]>)>>,
}

impl Now {
    pub(super) fn load(store: &Store, changes: u64) -> Result<Self> {
        let history = store.view()?;
        let last = match history.last_tick() {
            Tick::BASE => base_time(&history),
            last => history.tick(last)?.at,
        };
        // Below the milliseconds stands what tells two moments apart that a clock cannot.
        let below = i64::try_from(history.applied_seq().0 % 1_000_000).unwrap_or_default();
        let mtime = UnixNanos(nanos(last).0 + below);
        Ok(Self {
            changes,
            history,
            mtime,
            rendered: Mutex::default(),
            deleted: Mutex::default(),
            codevovle: Mutex::default(),
            versions: Mutex::default(),
        })
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// What a directory that changes shows as its time: another one after each commit.
    pub(super) fn mtime(&self) -> UnixNanos {
        self.mtime
    }

    /// When a tick happened; the base, when the store was made.
    pub(super) fn time_of(&self, tick: Tick) -> Result<UnixNanos> {
        match tick {
            Tick::BASE => Ok(nanos(base_time(&self.history))),
            tick => Ok(nanos(self.history.tick(tick)?.at)),
        }
    }

    pub(super) fn branch(&self, no: BranchNo) -> Result<&Branch> {
        let found = self.history.branches().get(no);
        Ok(found.ok_or_else(|| StoreError::not_found(format!("there is no branch number {no}")))?)
    }

    /// The branch that a tick happened on; the base happened on the first.
    pub(super) fn home(&self, tick: Tick) -> BranchNo {
        self.history.branches().of_tick(tick).unwrap_or(BranchNo::MAIN)
    }

    /// The branch on which the root stands.
    pub(super) fn active(&self) -> BranchNo {
        self.history.cursor().map_or(BranchNo::MAIN, |cursor| cursor.branch)
    }
}

fn base_time(history: &History) -> UnixMillis {
    history.base_at().unwrap_or_default()
}

fn nanos(millis: UnixMillis) -> UnixNanos {
    UnixNanos(millis.0.saturating_mul(1_000_000))
}
