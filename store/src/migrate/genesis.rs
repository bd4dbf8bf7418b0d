//! `tickfs migrate` of a directory in the older layout: a backup, the genesis, and the old log parked.
//!
//! Invariants:
//!   * Nothing of the older layout is changed or removed; a file that cannot be parsed is moved to `quarantine/`.
//!   * Each step leaves a mark of its own, so that the next run skips it: a name that is there means that all below it
//!     is durable, and an entity that the journal has is not written again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::MIGRATION;
use super::json_text::on_one_line;
use super::older::{EntityId, Files, OLD_LOG, OWN_FOLDERS, Watermark};
use crate::disk::{self, Disk, Durability};
use crate::error::{Error, Result};
use crate::ids::{StoreId, UnixMillis};
use crate::journal::entry::{ItemType, Writer};
use crate::journal::{JournalDir, checkpoint};
use crate::store::{Layout, Store, StoreWriter};

const OLDER: &str = "older-layout";
/// Entities written in one mutation.
const PORTION: usize = 256;

/// What a migration came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    pub entities: u64,
    /// The copy of the directory as it was.
    pub backup: PathBuf,
    /// Files that could not be parsed, where they lie now.
    pub quarantined: Vec<PathBuf>,
    pub already_done: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Genesis {
    entities: u64,
    /// The checkpoint of the genesis.
    checkpoint: String,
}

/// Gives the directory a journal. Safe to repeat, and to kill.
pub fn migrate(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    id: StoreId,
    who: Writer,
    wait: Duration,
    now: UnixMillis,
) -> Result<Migrated> {
    let files = Files { disk: Arc::clone(disk), dir: dir.to_path_buf() };
    let layout = Layout::new(dir);
    let is_store = disk.stat(&layout.format()).map_err(Error::io("look at", &layout.format()))?.is_some();
    let backup = back_up(&files, is_store)?;
    let store =
        if is_store { Store::open(Arc::clone(disk), dir)? } else { Store::init(Arc::clone(disk), dir, id)? };
    let writer = store.writer(who, wait)?;
    let genesis_of = |writer: &StoreWriter| -> Result<Option<Genesis>> {
        let row = writer.store().view()?.entity(&kind(), OLDER)?;
        row.map(|row| serde_json::from_str(&row.body))
            .transpose()
            .map_err(|e| Error::corrupt("index.db".as_ref(), 0, format!("the genesis: {e}")))
    };
    if let Some(genesis) = genesis_of(&writer)? {
        let (entities, quarantined) = (genesis.entities, Vec::new());
        return Ok(Migrated { entities, backup, quarantined, already_done: true });
    }
    if store.view()?.cursor().is_some() {
        return Err(Error::refused(format!("{} is a store that records a root", dir.display())));
    }
    park_old_log(&files, &JournalDir::new(&layout.journal()))?;
    let adopted = adopt(&writer, &files, now)?;
    let journal = JournalDir::new(&layout.journal());
    let made = match checkpoint::newest(disk, &journal)? {
        // Nothing was written since: a run that was killed behind it made it.
        Some(made) if made.seq.next() == writer.end().seq => made,
        _ => writer.checkpoint(now)?,
    };
    files.set_watermark(Watermark { seq: writer.end().seq, parked: false }, Durability::Synced)?;
    let genesis = Genesis { entities: adopted.entities, checkpoint: made.file };
    writer.mutate_alone(now, |m| m.put_entity(&kind(), OLDER, &genesis))?;
    writer.close()?;
    let (entities, quarantined) = (adopted.entities, adopted.quarantined);
    Ok(Migrated { entities, backup, quarantined, already_done: false })
}

/// Whether a genesis was completed here.
pub(super) fn is_done(disk: &Arc<dyn Disk>, dir: &Path, who: &Writer) -> Result<bool> {
    let format = Layout::new(dir).format();
    if disk.stat(&format).map_err(Error::io("look at", &format))?.is_none() {
        return Ok(false);
    }
    let store = Store::open(Arc::clone(disk), dir)?;
    store.refresh(who.clone())?;
    Ok(store.view()?.entity(&kind(), OLDER)?.is_some())
}

pub(super) struct Adopted {
    entities: u64,
    quarantined: Vec<PathBuf>,
}

/// Makes the journal say what the files say: one record for each entity that differs, a tombstone for each that is gone.
pub(super) fn adopt(writer: &StoreWriter, files: &Files, now: UnixMillis) -> Result<Adopted> {
    let view = writer.store().view()?;
    let mut known: BTreeMap<EntityId, String> = BTreeMap::new();
    for row in view.all_entities()? {
        if let Some(entity) = EntityId::of_record(&row.kind, &row.id) {
            known.insert(entity, row.body);
        }
    }
    let mut adopted = Adopted { entities: 0, quarantined: Vec::new() };
    let mut portion: Vec<(EntityId, Option<Box<RawValue>>)> = Vec::new();
    for entity in files.entities()? {
        let Some(bytes) = files.bytes(&entity.path(&files.dir))? else { continue };
        let Some(line) = on_one_line(&bytes) else {
            adopted.quarantined.push(files.quarantine(&entity)?);
            continue;
        };
        adopted.entities += 1;
        if known.remove(&entity).as_deref() != Some(line.get()) {
            portion.push((entity, Some(line)));
        }
        if portion.len() >= PORTION {
            write_portion(writer, &mut portion, now)?;
        }
    }
    portion.extend(known.into_keys().map(|entity| (entity, None)));
    write_portion(writer, &mut portion, now)?;
    Ok(adopted)
}

fn write_portion(
    writer: &StoreWriter,
    portion: &mut Vec<(EntityId, Option<Box<RawValue>>)>,
    now: UnixMillis,
) -> Result<()> {
    let portion = std::mem::take(portion);
    if portion.is_empty() {
        return Ok(());
    }
    writer.mutate_alone(now, |m| {
        for (entity, line) in &portion {
            match line {
                Some(line) => m.put_entity(&entity.kind(), &entity.id, line)?,
                None => drop(m.delete_entity(&entity.kind(), &entity.id)?),
            }
        }
        Ok(())
    })
}

/// The old log as it is, where parked files lie.
fn park_old_log(files: &Files, journal: &JournalDir) -> Result<()> {
    let (old, parked) = (files.dir.join(OLD_LOG), journal.archive().join("events.v1.jsonl"));
    let Some(bytes) = files.bytes(&old)? else { return Ok(()) };
    if files.disk.stat(&parked).map_err(Error::io("look at", &parked))?.is_some() {
        return Ok(());
    }
    journal.create(&*files.disk)?;
    disk::write_atomically(&*files.disk, &parked, &bytes, Durability::Synced)
        .map_err(Error::io("park the old log as", &parked))
}

/// Copies the older layout beside it, as `<name>.v1-backup`. The copy bears its name once it is complete.
fn back_up(files: &Files, is_store: bool) -> Result<PathBuf> {
    let disk = &*files.disk;
    let name =
        files.dir.file_name().ok_or_else(|| Error::refused("a migration needs a directory with a name"))?;
    let named = |suffix: &str| {
        let mut named = OsString::from(name);
        named.push(suffix);
        files.dir.with_file_name(named)
    };
    let (backup, half) = (named(".v1-backup"), named(".v1-backup.half"));
    if disk.stat(&backup).map_err(Error::io("look at", &backup))?.is_some() {
        return Ok(backup);
    }
    if is_store {
        let (dir, backup) = (files.dir.display(), backup.display());
        return Err(Error::not_found(format!("{dir} was migrated in part, and its backup {backup} is gone")));
    }
    for folder in OWN_FOLDERS.iter().filter(|&&folder| folder != "quarantine") {
        let taken = files.dir.join(folder);
        if disk.stat(&taken).map_err(Error::io("look at", &taken))?.is_some() {
            return Err(Error::refused(format!("{} bears a name that a store needs", taken.display())));
        }
    }
    copy_tree(disk, &files.dir, &half, &|name| name == "LOCK")?;
    disk.rename(&half, &backup).map_err(Error::io("name the backup", &backup))?;
    let parent = backup.parent().unwrap_or(&backup);
    disk.sync_dir(parent).map_err(Error::io("make durable the names in", parent))?;
    Ok(backup)
}

/// What an earlier copy left half done is overwritten.
fn copy_tree(disk: &dyn Disk, from: &Path, to: &Path, skip: &dyn Fn(&str) -> bool) -> Result<()> {
    disk.create_dir(to).map_err(Error::io("create the directory", to))?;
    for name in disk.list(from).map_err(Error::io("list", from))? {
        let (old, new) = (from.join(&name), to.join(&name));
        if name.to_str().is_some_and(skip) {
            continue;
        }
        let Some(stat) = disk.stat(&old).map_err(Error::io("look at", &old))? else { continue };
        if stat.is_dir {
            copy_tree(disk, &old, &new, &|_| false)?;
            continue;
        }
        let bytes = disk::read_all(disk, &old).map_err(Error::io("read", &old))?;
        if disk.stat(&new).map_err(Error::io("look at", &new))?.is_some() {
            disk.remove_file(&new).map_err(Error::io("remove", &new))?;
        }
        let file = disk.create_append(&new).map_err(Error::io("create", &new))?;
        file.append(&bytes).and_then(|()| file.sync()).map_err(Error::io("write", &new))?;
    }
    disk.sync_dir(to).map_err(Error::io("make durable the names in", to))
}

fn kind() -> ItemType {
    ItemType::parse(MIGRATION).expect("it is lower-case and short, because it is written here")
}
