//! Upkeep: sealing what has rolled, checkpoints, parking, compaction. It changes how history lies on disk, never what
//! it says, and may be killed at any moment.
//!
//! A roll makes a checkpoint and seals the segment that is full, right behind the mutation that caused it; the rest
//! happens when it is asked for.

use super::{StoreWriter, reconcile};
use crate::content::{self, Compacted};
use crate::error::Result;
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

impl StoreWriter {
    fn journal_dir(&self) -> JournalDir {
        JournalDir::new(&self.store().layout().journal())
    }

    /// What follows a roll. The mutation that caused it stands already, so a failure here is counted, not returned.
    pub(super) fn after_roll(&self, now: UnixMillis) {
        let upkeep = || -> Result<()> {
            seal::seal_rolled(&**self.store().disk(), &self.journal_dir())?;
            self.checkpoint(now).map(drop)
        };
        if let Err(error) = upkeep() {
            self.upkeep_failures.lock().push(error.to_string());
        }
    }

    /// Why upkeep behind a roll failed, each time it did; `doctor --compact` does it again.
    #[must_use]
    pub fn upkeep_failures(&self) -> Vec<String> {
        self.upkeep_failures.lock().clone()
    }

    /// Writes down the live state, so that older segments are no longer needed for it.
    pub fn checkpoint(&self, now: UnixMillis) -> Result<CheckpointFile> {
        let file = checkpoint::make(self.store().disk(), &self.journal_dir(), self.end().seq)?;
        let draft = file.draft();
        self.mutate(now, move |m| m.append(draft))?;
        checkpoint::verify(&**self.store().disk(), &self.journal_dir(), &file)?;
        Ok(file)
    }

    /// Parks the index as it is and makes it anew from the journal.
    pub fn rebuild_index(&self) -> Result<()> {
        self.renew_index(|store, end| {
            index::park_database(store.index().path(), &store.layout().quarantine())?;
            reconcile::rebuild(store, end)
        })
    }

    /// Seals, checkpoints, parks what is then redundant, and compacts every pack that will not grow any more.
    pub fn compact(&self, now: UnixMillis) -> Result<Upkeep> {
        let disk = self.store().disk();
        let sealed = seal::seal_rolled(&**disk, &self.journal_dir())?;
        let checkpoint = Some(self.checkpoint(now)?);
        let parked = checkpoint::park(disk, &self.journal_dir())?;
        let mut upkeep = Upkeep {
            sealed,
            checkpoint,
            parked: parked.segments,
            ignored: parked.ignored,
            packs: Vec::new(),
        };
        while let Some((pack, compacted)) = self.compact_pack()? {
            upkeep.packs.push((pack, compacted));
        }
        Ok(upkeep)
    }

    /// Compacts the oldest pack that will not grow any more; `None` if there is none left.
    pub fn compact_pack(&self) -> Result<Option<(PackId, Compacted)>> {
        let packs = self.store().layout().packs();
        let all = content::list_packs(&**self.store().disk(), &packs)?;
        let active = self.paused(|_, _, packs| Ok(packs.active()))?;
        let Some(&(pack, _)) = all.iter().find(|&&(id, form)| form == PackForm::Hot && id < active) else {
            return Ok(None);
        };
        let compacted =
            content::compact(self.store().disk(), &packs, &self.store().layout().quarantine(), pack)?;
        self.store().content().forget(pack);
        Ok(Some((pack, compacted)))
    }
}
