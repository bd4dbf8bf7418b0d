//! The live state of a store by the journal alone: the latest record of each entity that is not deleted.
//!
//! A state document whose latest records are deltas is its last whole record and the deltas since.
//!
//! Invariant: reading forward from a checkpoint, forward from the beginning and backward all give the same.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::sync::Arc;

use super::checkpoint::{self, CheckpointFile};
use super::entry::{self, Action, Line};
use super::reader::{self, JournalReader, ReadOptions};
use super::segment::{JournalDir, Segments};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::ids::Seq;

/// What names an entity. Its order is the order of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityKey {
    pub item_type: String,
    pub item_id: String,
}

impl EntityKey {
    /// `None` for a record that holds no entity's state.
    #[must_use]
    pub fn of(line: &Line<'_>) -> Option<Self> {
        let item_id = line.item_id.as_deref().filter(|_| !line.action.is_observability())?;
        Some(Self { item_type: line.item_type.as_str().to_owned(), item_id: item_id.to_owned() })
    }
}

/// The records that make up one entity: one whole record, and the deltas behind it.
pub type EntityLines = Vec<Box<[u8]>>;

/// The live entities, and where reading them began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveState {
    pub entities: BTreeMap<EntityKey, EntityLines>,
    /// The checkpoint that was read, if any.
    pub checkpoint: Option<Seq>,
}

/// What some records say of entities, on top of what was before them.
#[derive(Debug, Default)]
pub(crate) struct Changes(BTreeMap<EntityKey, Change>);

#[derive(Debug, Default)]
struct Change {
    /// Nothing from before counts. Without a line the entity is gone.
    whole: bool,
    lines: EntityLines,
}

impl Changes {
    /// Reads what was written behind `after`, up to `until`.
    pub(crate) fn since(
        disk: &Arc<dyn Disk>,
        dir: &JournalDir,
        after: Seq,
        until: Option<Seq>,
    ) -> Result<Self> {
        let options = ReadOptions { until, ..ReadOptions::from(after.next()).with_archive() };
        let mut reader = JournalReader::open(disk, dir, options)?.whole()?;
        let mut changes = Self::default();
        while let Some(entry) = reader.next()? {
            changes.apply(&entry.line, entry.text);
        }
        Ok(changes)
    }

    pub(crate) fn apply(&mut self, line: &Line<'_>, text: &[u8]) {
        let Some(key) = EntityKey::of(line) else { return };
        let change = self.0.entry(key).or_default();
        if line.action != Action::Delta {
            change.whole = true;
            change.lines.clear();
        }
        if !line.deleted {
            change.lines.push(text.into());
        }
    }

    /// Lays the changes over entities in order, and gives each live one, in order.
    pub(crate) fn over(
        self,
        before: impl Iterator<Item = Result<(EntityKey, EntityLines)>>,
        mut each: impl FnMut(EntityKey, EntityLines) -> Result<()>,
    ) -> Result<()> {
        let mut changes = self.0.into_iter().peekable();
        let mut live = |key, lines: EntityLines| if lines.is_empty() { Ok(()) } else { each(key, lines) };
        for entity in before {
            let (key, mut lines) = entity?;
            while let Some((new, change)) = changes.next_if(|(new, _)| *new < key) {
                live(new, change.lines)?;
            }
            if let Some((_, change)) = changes.next_if(|(same, _)| *same == key) {
                if change.whole {
                    lines.clear();
                }
                lines.extend(change.lines);
            }
            live(key, lines)?;
        }
        changes.try_for_each(|(new, change)| live(new, change.lines))
    }
}

/// Forward from the newest sound checkpoint, or from the beginning.
pub fn live_state(disk: &Arc<dyn Disk>, dir: &JournalDir) -> Result<LiveState> {
    let checkpoint = checkpoint::newest(disk, dir)?;
    let after = checkpoint.as_ref().map_or(Seq(0), |checkpoint| checkpoint.seq);
    let changes = Changes::since(disk, dir, after, None)?;
    let mut entities = BTreeMap::new();
    let insert = |key, lines| {
        entities.insert(key, lines);
        Ok(())
    };
    match &checkpoint {
        Some(file) => changes.over(checkpoint::entities(&**disk, dir, file)?, insert)?,
        None => changes.over(std::iter::empty(), insert)?,
    }
    Ok(LiveState { entities, checkpoint: checkpoint.map(|checkpoint| checkpoint.seq) })
}

/// Backward from the end to the newest sound checkpoint: the first record met of an entity is its state.
pub fn live_state_backward(disk: &Arc<dyn Disk>, dir: &JournalDir) -> Result<LiveState> {
    let checkpoint = checkpoint::newest(disk, dir)?;
    let after = checkpoint.as_ref().map_or(Seq(0), |checkpoint| checkpoint.seq);
    let mut met = Backward::default();
    let segments = Segments::list(&**disk, dir, true)?;
    for (place, file) in segments.files().iter().enumerate().rev() {
        if segments.files().get(place + 1).is_some_and(|next| next.id.0 <= after.next()) {
            break;
        }
        let is_last = place + 1 == segments.files().len();
        for text in reader::sound_lines(&**disk, dir, *file, is_last)?.iter().rev() {
            let line =
                entry::decode(text).map_err(|fault| Error::corrupt(&file.path(dir), 0, fault.to_string()))?;
            if line.seq > after {
                met.meet(&line, text);
            }
        }
    }
    met.finish(disk, dir, checkpoint.as_ref())
}

/// Entities met so far, their lines newest first.
#[derive(Debug, Default)]
struct Backward(BTreeMap<EntityKey, Change>);

impl Backward {
    fn meet(&mut self, line: &Line<'_>, text: &[u8]) {
        let Some(key) = EntityKey::of(line) else { return };
        let change = self.0.entry(key).or_default();
        if change.whole {
            return;
        }
        change.whole = line.action != Action::Delta;
        if !line.deleted {
            change.lines.push(text.into());
        }
    }

    fn finish(
        self,
        disk: &Arc<dyn Disk>,
        dir: &JournalDir,
        checkpoint: Option<&CheckpointFile>,
    ) -> Result<LiveState> {
        let in_order = |mut change: Change| {
            change.lines.reverse();
            change
        };
        let mut met: BTreeMap<_, _> =
            self.0.into_iter().map(|(key, change)| (key, in_order(change))).collect();
        if let Some(file) = checkpoint {
            for entity in checkpoint::entities(&**disk, dir, file)? {
                let (key, mut lines) = entity?;
                match met.entry(key) {
                    Slot::Vacant(slot) => {
                        slot.insert(Change { whole: true, lines });
                    }
                    Slot::Occupied(mut slot) if !slot.get().whole => {
                        lines.append(&mut slot.get_mut().lines);
                        slot.get_mut().lines = lines;
                    }
                    Slot::Occupied(_) => {}
                }
            }
        }
        let live = met.into_iter().filter(|(_, change)| !change.lines.is_empty());
        let entities = live.map(|(key, change)| (key, change.lines)).collect();
        Ok(LiveState { entities, checkpoint: checkpoint.map(|checkpoint| checkpoint.seq) })
    }
}
