//! Upkeep: sealing what has rolled, checkpoints, parking, compaction. It changes how history lies on disk, never what
//! it says, and may be killed at any moment.
//!
//! A roll makes a checkpoint and seals the segment that is full, right behind the mutation that caused it; the rest
//! happens when it is asked for. Where a process serves for long, it asks for all of it, step by step, on a thread that
//! nobody waits for ([`StoreWriter::upkeep_step`]).

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::{StoreWriter, reconcile};
use crate::content::{self, Compacted};
use crate::disk::Fsync;
use crate::error::{Error, Result};
use crate::ids::{PackForm, PackId, SegmentId, UnixMillis};
use crate::index;
use crate::journal::JournalDir;
use crate::journal::checkpoint::{self, CheckpointFile};
use crate::journal::seal::{self, Sealed};

/// What `compact` did.
#[derive(Debug, Default)]
pub struct Upkeep {
    pub sealed: Vec<Sealed>,
    pub checkpoint: Option<CheckpointFile>,
    pub parked: Vec<SegmentId>,
    /// Checkpoints that no record names, or that are damaged, and why.
    pub ignored: Vec<(String, String)>,
    pub packs: Vec<(PackId, Compacted)>,
}

/// What one step of upkeep did.
#[derive(Debug)]
pub enum UpkeepStep {
    Sealed(Sealed),
    Checkpoint(CheckpointFile),
    Pack(PackId, Compacted),
    /// The index of a writer that died was made anew.
    Index,
    /// It was told to stop; what it had begun is begun anew another time.
    Stopped,
}

/// Whose turn upkeep is, and how it went.
#[derive(Debug, Default)]
pub(super) struct Turns {
    turn: Mutex<()>,
    in_background: AtomicBool,
    failures: Mutex<Vec<String>>,
}

impl Turns {
    pub(super) fn failed(&self, error: &Error) {
        self.failures.lock().push(error.to_string());
    }
}

impl StoreWriter {
    fn journal_dir(&self) -> JournalDir {
        JournalDir::new(&self.store().layout().journal())
    }

    /// From now on somebody asks for [`upkeep_step`](Self::upkeep_step) when there is time: no mutation does upkeep.
    pub fn leave_upkeep_to_background(&self) {
        self.upkeep.in_background.store(true, Ordering::Relaxed);
    }

    /// What follows a roll. The mutation that caused it stands already, so a failure here is counted, not returned.
    ///
    /// With `fsync = "never"` nothing follows: whatever replaces older history has to be durable before that goes.
    pub(super) fn after_roll(&self, now: UnixMillis) {
        if self.upkeep.in_background.load(Ordering::Relaxed) || !self.may_replace_history() {
            return;
        }
        let Some(_turn) = self.upkeep.turn.try_lock() else { return };
        let upkeep = || -> Result<()> {
            seal::seal_rolled(&**self.store().disk(), &self.journal_dir())?;
            self.checkpoint_and_prune(now).map(drop)
        };
        if let Err(error) = upkeep() {
            self.upkeep.failed(&error);
        }
    }

    fn may_replace_history(&self) -> bool {
        self.store().config().store.journal.fsync == Fsync::Mutation
    }

    /// Does the next piece of upkeep that is due: makes an index anew that nobody closed, seals a rolled segment, makes the
    /// checkpoint behind a roll, or compacts a pack that will not grow any more. `None`: nothing is due before the next roll. Mutations go on
    /// meanwhile; it may be killed at any moment, and ends soon after `goes_on` says no.
    pub fn upkeep_step(&self, now: UnixMillis, goes_on: &dyn Fn() -> bool) -> Result<Option<UpkeepStep>> {
        self.next_step(now, goes_on).inspect_err(|error| self.upkeep.failed(error))
    }

    fn next_step(&self, now: UnixMillis, goes_on: &dyn Fn() -> bool) -> Result<Option<UpkeepStep>> {
        let Some(_turn) = self.upkeep.turn.try_lock().filter(|_| self.may_replace_history()) else {
            return Ok(None);
        };
        if !self.store().index().is_proved() {
            return self.renew_unproved_index().map(|()| Some(UpkeepStep::Index));
        }
        let (disk, dir) = (self.store().disk(), self.journal_dir());
        if let Some(sealed) = seal::seal_next(&**disk, &dir)? {
            return Ok(Some(UpkeepStep::Sealed(sealed)));
        }
        if checkpoint::is_due(&**disk, &dir)? {
            return self.checkpoint_and_prune(now).map(|made| Some(UpkeepStep::Checkpoint(made)));
        }
        let Some(pack) = self.next_to_compact()? else { return Ok(None) };
        let step = self.compact_one(pack, goes_on)?;
        Ok(Some(step.map_or(UpkeepStep::Stopped, |compacted| UpkeepStep::Pack(pack, compacted))))
    }

    /// Why upkeep behind a roll failed, each time it did; `doctor --compact` does it again.
    #[must_use]
    pub fn upkeep_failures(&self) -> Vec<String> {
        self.upkeep.failures.lock().clone()
    }

    /// Writes down the live state, so that older segments are no longer needed for it.
    pub fn checkpoint(&self, now: UnixMillis) -> Result<CheckpointFile> {
        let file = checkpoint::make(self.store().disk(), &self.journal_dir(), self.end().seq)?;
        let draft = file.draft();
        self.mutate(now, move |m| m.append(draft))?;
        checkpoint::verify(&**self.store().disk(), &self.journal_dir(), &file)?;
        Ok(file)
    }

    fn checkpoint_and_prune(&self, now: UnixMillis) -> Result<CheckpointFile> {
        let made = self.checkpoint(now)?;
        checkpoint::prune(self.store().disk(), &self.journal_dir())?;
        Ok(made)
    }

    /// Parks the index as it is and makes it anew from the journal.
    pub fn rebuild_index(&self) -> Result<()> {
        self.renew_index(|store, end| {
            index::park_database(store.index().path(), &store.layout().quarantine())?;
            reconcile::rebuild(store, end)
        })
    }

    /// What is written meanwhile is applied while no mutation is under way: the rest of the time they go on.
    fn renew_unproved_index(&self) -> Result<()> {
        let (store, end) = (self.store(), self.end());
        store.index().prepare(store.id(), |db| reconcile::fill(store, db, end.seq).map(|()| end))?;
        self.renew_index(|store, end| {
            let db = store.index().put_in_place(store.id(), store.config().store.journal.fsync)?;
            reconcile::replay(store, &db, end).map(|()| db)
        })
    }

    /// Seals, checkpoints, parks what is then redundant, and compacts every pack that will not grow any more.
    pub fn compact(&self, now: UnixMillis) -> Result<Upkeep> {
        let _turn = self.upkeep.turn.lock();
        let (disk, dir) = (self.store().disk(), self.journal_dir());
        let mut sealed = seal::seal_rolled(&**disk, &dir)?;
        let checkpoint = Some(self.checkpoint(now)?);
        // Its record may have begun a new segment.
        sealed.extend(seal::seal_rolled(&**disk, &dir)?);
        let parked = checkpoint::park(disk, &dir)?;
        let mut upkeep = Upkeep {
            sealed,
            checkpoint,
            parked: parked.segments,
            ignored: parked.ignored,
            packs: Vec::new(),
        };
        while let Some(pack) = self.next_to_compact()? {
            upkeep.packs.extend(self.compact_one(pack, &|| true)?.map(|compacted| (pack, compacted)));
        }
        Ok(upkeep)
    }

    /// The oldest pack that will not grow any more.
    fn next_to_compact(&self) -> Result<Option<PackId>> {
        let all = content::list_packs(&**self.store().disk(), &self.store().layout().packs())?;
        let active = self.paused(|_, _, packs| Ok(packs.active()))?;
        let next = all.iter().find(|&&(id, form)| form == PackForm::Hot && id < active);
        Ok(next.map(|&(id, _)| id))
    }

    fn compact_one(&self, pack: PackId, goes_on: &dyn Fn() -> bool) -> Result<Option<Compacted>> {
        let layout = self.store().layout();
        let compacted = content::compact_while(
            self.store().disk(),
            &layout.packs(),
            &layout.quarantine(),
            pack,
            goes_on,
        )?;
        if compacted.is_some() {
            self.store().content().forget(pack);
        }
        Ok(compacted)
    }
}
