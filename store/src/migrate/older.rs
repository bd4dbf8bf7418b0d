//! The older layout: a directory with one JSON file an entity, `<type>/<id>.json`, and a notification log.
//!
//! `config.toml` says how it is written to. `off`: the JSON files alone. `dual`: the journal, then the JSON files, then
//! the watermark; reads come from the files. `primary`: the same, and reads come from the journal and mend the files.
//!
//! Invariants:
//!   * The JSON files are whole at every moment, and complete whenever nothing writes: going back is setting `off`.
//!   * The log of the older layout is never written to.
//!   * Exactly one side is ahead: in `dual` and `primary` the journal, by what is behind the watermark; after writes in
//!     `off` the files, which the marker `parked` says. Opening brings the other side up.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::genesis;
use super::json_text::{on_one_line, spread_out};
use crate::disk::{self, Disk, DiskLock, Durability};
use crate::error::{Error, Result};
use crate::ids::{Seq, UnixMillis};
use crate::journal::entry::{ItemType, Writer};
use crate::journal::{JournalDir, JournalReader, ReadOptions};
use crate::store::{Config, Dual, Layout, Store, StoreWriter};

/// An entity of the older layout: the file `<folder>/<id>.json`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityId {
    pub(super) folder: String,
    pub(super) id: String,
}

/// Kinds that mean something else in the journal; the entities of such a folder bear the prefix there.
const TAKEN: [&str; 6] = ["file", "state", "branch", "cursor", "snapshot", super::MIGRATION];
const PREFIX: &str = "v1_";

/// Names in the directory that are the store's own.
pub(super) const OWN_FOLDERS: [&str; 6] = ["journal", "packs", "quarantine", "runs", "daemons", "logs"];
/// The log of the older layout.
pub(super) const OLD_LOG: &str = "events.jsonl";
/// How far the JSON files follow the journal.
const WATERMARK: &str = "projected.json";

impl EntityId {
    pub fn new(folder: &str, id: &str) -> Result<Self> {
        let entity = Self { folder: folder.to_owned(), id: id.to_owned() };
        if OWN_FOLDERS.contains(&folder) || folder.starts_with(PREFIX) || entity.try_kind().is_none() {
            return Err(Error::refused(format!("{folder:?} cannot be a type of entities")));
        }
        if id.is_empty() || id.len() > 200 || id.starts_with('.') || id.contains(['/', '\0']) {
            return Err(Error::refused(format!("{id:?} cannot be the id of an entity")));
        }
        Ok(entity)
    }

    fn try_kind(&self) -> Option<ItemType> {
        let name = &self.folder;
        ItemType::parse(&if TAKEN.contains(&name.as_str()) {
            format!("{PREFIX}{name}")
        } else {
            name.clone()
        })
    }

    /// Its kind in the journal.
    pub(super) fn kind(&self) -> ItemType {
        self.try_kind().expect("`new` and `of_record` have tried it")
    }

    /// The entity of a record; `None` for what the store keeps for itself.
    pub(super) fn of_record(kind: &str, id: &str) -> Option<Self> {
        let folder = match kind.strip_prefix(PREFIX) {
            Some(taken) => taken,
            None if TAKEN.contains(&kind) => return None,
            None => kind,
        };
        Self::new(folder, id).ok()
    }

    pub(super) fn path(&self, dir: &Path) -> PathBuf {
        dir.join(&self.folder).join(format!("{}.json", self.id))
    }
}

impl std::fmt::Display for EntityId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.folder, self.id)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Watermark {
    /// The last record that the JSON files show.
    pub(super) seq: Seq,
    /// The files are written without the journal from here on.
    pub(super) parked: bool,
}

/// The directory, open for writing.
#[derive(Debug)]
pub struct OlderLayout {
    files: Files,
    side: Side,
}

/// What else is written beside the JSON files.
#[derive(Debug)]
enum Side {
    Nothing {
        _lock: Box<dyn DiskLock>,
    },
    Journal {
        writer: Box<StoreWriter>,
        reads: Dual,
        /// A file could not be written, and the journal has what it should say.
        behind: bool,
    },
}

impl OlderLayout {
    /// Takes the lock, and brings the files up to the journal, or the journal up to the files.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        who: Writer,
        wait: Duration,
        now: UnixMillis,
    ) -> Result<Self> {
        let layout = Layout::new(dir);
        let mode = Config::read(&*disk, &layout.config())?.store.journal_v2;
        let files = Files { disk: Arc::clone(&disk), dir: dir.to_path_buf() };
        let migrated = genesis::is_done(&disk, dir, &who)?;
        if mode == Dual::Off {
            if migrated && !files.watermark()?.parked {
                let store = Store::open(Arc::clone(&disk), dir)?;
                let writer = store.writer(who.clone(), wait)?;
                files.catch_up(&writer)?;
                let seq = writer.end().seq;
                files.set_watermark(Watermark { seq, parked: true }, Durability::Synced)?;
                writer.close()?;
            }
            let lock = disk.lock(&layout.lock(), wait).map_err(Error::io("lock", &layout.lock()))?;
            let lock = lock.ok_or_else(|| Error::Locked { holder: "another process".to_owned() })?;
            lock.describe(&format!("process {} ({})\n", who.pid, who.writer))
                .map_err(Error::io("write", &layout.lock()))?;
            return Ok(Self { files, side: Side::Nothing { _lock: lock } });
        }
        if !migrated {
            let dir = dir.display();
            return Err(Error::refused(format!("{dir} has no journal yet: run tickfs migrate first")));
        }
        let writer = Store::open(disk, dir)?.writer(who, wait)?;
        if files.watermark()?.parked {
            genesis::adopt(&writer, &files, now)?;
        } else {
            files.catch_up(&writer)?;
        }
        files.set_watermark(Watermark { seq: writer.end().seq, parked: false }, Durability::Synced)?;
        Ok(Self { files, side: Side::Journal { writer: Box::new(writer), reads: mode, behind: false } })
    }

    /// Writes an entity: `json` is the whole of it.
    pub fn put(&mut self, entity: &EntityId, json: &str, now: UnixMillis) -> Result<()> {
        let Some(line) = on_one_line(json.as_bytes()) else {
            return Err(Error::refused(format!("{entity}: an entity is a JSON object")));
        };
        self.catch_up_if_behind()?;
        if let Side::Journal { writer, .. } = &self.side {
            writer.mutate_alone(now, |m| m.put_entity(&entity.kind(), &entity.id, &line))?;
        }
        let written = self.files.write(entity, line.get());
        self.advance(written)
    }

    /// `false` if there was none.
    pub fn delete(&mut self, entity: &EntityId, now: UnixMillis) -> Result<bool> {
        self.catch_up_if_behind()?;
        let mut known = false;
        if let Side::Journal { writer, .. } = &self.side {
            known = writer.mutate_alone(now, |m| m.delete_entity(&entity.kind(), &entity.id))?;
        }
        let removed = self.files.remove(entity);
        let was_there = *removed.as_ref().unwrap_or(&false);
        self.advance(removed.map(drop))?;
        Ok(known || was_there)
    }

    fn catch_up_if_behind(&mut self) -> Result<()> {
        if let Side::Journal { writer, behind, .. } = &mut self.side
            && *behind
        {
            self.files.catch_up(writer)?;
            *behind = false;
        }
        Ok(())
    }

    /// The watermark moves only over what the files show.
    fn advance(&mut self, written: Result<()>) -> Result<()> {
        let Side::Journal { writer, behind, .. } = &mut self.side else { return written };
        let watermark = Watermark { seq: writer.end().seq, parked: false };
        let advanced = written.and_then(|()| self.files.set_watermark(watermark, Durability::Cache));
        *behind = advanced.is_err();
        advanced
    }

    /// An entity on one line of JSON.
    pub fn get(&self, entity: &EntityId) -> Result<Option<String>> {
        let Side::Journal { writer, reads, .. } = &self.side else { return self.files.read(entity) };
        if *reads == Dual::Dual {
            return match self.files.read(entity) {
                Err(Error::Corrupt { .. }) => self.mended(writer, entity),
                read => read,
            };
        }
        self.mended(writer, entity)
    }

    /// The journal's word, after the file says the same.
    fn mended(&self, writer: &StoreWriter, entity: &EntityId) -> Result<Option<String>> {
        let row = writer.store().view()?.entity(&entity.kind(), &entity.id)?;
        let path = entity.path(&self.files.dir);
        match &row {
            Some(row) if self.files.bytes(&path)?.as_deref() != Some(&spread_out(&row.body)) => {
                self.files.write(entity, &row.body)?;
            }
            None => drop(self.files.remove(entity)?),
            Some(_) => {}
        }
        Ok(row.map(|row| row.body))
    }

    /// Ends the writing; dropping is as safe.
    pub fn close(self) -> Result<()> {
        match self.side {
            Side::Nothing { .. } => Ok(()),
            Side::Journal { writer, .. } => writer.close(),
        }
    }
}

/// The JSON files.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
}

impl Files {
    pub(super) fn bytes(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        match disk::read_all(&*self.disk, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => bytes.map(Some).map_err(Error::io("read", path)),
        }
    }

    fn read(&self, entity: &EntityId) -> Result<Option<String>> {
        let path = entity.path(&self.dir);
        let Some(bytes) = self.bytes(&path)? else { return Ok(None) };
        match on_one_line(&bytes) {
            Some(line) => Ok(Some(line.get().to_owned())),
            None => Err(Error::corrupt(&path, 0, "it is no JSON object")),
        }
    }

    fn write(&self, entity: &EntityId, line: &str) -> Result<()> {
        let path = entity.path(&self.dir);
        self.keep_what_cannot_be_parsed(entity)?;
        let folder = self.dir.join(&entity.folder);
        if self.disk.stat(&folder).map_err(Error::io("look at", &folder))?.is_none() {
            self.disk.create_dir(&folder).map_err(Error::io("create the directory", &folder))?;
            self.disk.sync_dir(&self.dir).map_err(Error::io("make durable the names in", &self.dir))?;
        }
        disk::write_atomically(&*self.disk, &path, &spread_out(line), Durability::Synced)
            .map_err(Error::io("write", &path))
    }

    fn remove(&self, entity: &EntityId) -> Result<bool> {
        let path = entity.path(&self.dir);
        self.keep_what_cannot_be_parsed(entity)?;
        match self.disk.remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            removed => removed.map_err(Error::io("remove", &path))?,
        }
        let folder = self.dir.join(&entity.folder);
        self.disk.sync_dir(&folder).map_err(Error::io("make durable the names in", &folder))?;
        Ok(true)
    }

    /// Bytes that are no entity are moved aside before their name is used or freed.
    fn keep_what_cannot_be_parsed(&self, entity: &EntityId) -> Result<()> {
        match self.bytes(&entity.path(&self.dir))? {
            Some(bytes) if on_one_line(&bytes).is_none() => self.quarantine(entity).map(drop),
            _ => Ok(()),
        }
    }

    /// Moves an entity's file where a person can look at it.
    pub(super) fn quarantine(&self, entity: &EntityId) -> Result<PathBuf> {
        let quarantine = Layout::new(&self.dir).quarantine();
        let path = entity.path(&self.dir);
        self.disk.create_dir(&quarantine).map_err(Error::io("create the directory", &quarantine))?;
        for n in 1..u32::MAX {
            let to = quarantine.join(format!("{}.{}.json.{n}", entity.folder, entity.id));
            if self.disk.stat(&to).map_err(Error::io("look at", &to))?.is_some() {
                continue;
            }
            self.disk.rename(&path, &to).map_err(Error::io("move aside", &path))?;
            for dir in [quarantine.as_path(), path.parent().unwrap_or(&self.dir), &self.dir] {
                self.disk.sync_dir(dir).map_err(Error::io("make durable the names in", dir))?;
            }
            return Ok(to);
        }
        Err(Error::refused("there is no free name in quarantine/"))
    }

    /// All entities that have a file, in order.
    pub(super) fn entities(&self) -> Result<Vec<EntityId>> {
        let mut found = Vec::new();
        for folder in self.disk.list(&self.dir).map_err(Error::io("list", &self.dir))? {
            let at = self.dir.join(&folder);
            let name = folder.to_str().unwrap_or(".");
            let own = name.starts_with('.') || OWN_FOLDERS.contains(&name);
            let stat = self.disk.stat(&at).map_err(Error::io("look at", &at))?;
            if own || !stat.is_some_and(|s| s.is_dir) {
                continue;
            }
            for file in self.disk.list(&at).map_err(Error::io("list", &at))? {
                if let Some(id) = file.to_str().and_then(|f| f.strip_suffix(".json")) {
                    found.push(EntityId::new(name, id)?);
                }
            }
        }
        Ok(found)
    }

    pub(super) fn watermark(&self) -> Result<Watermark> {
        let path = self.dir.join(WATERMARK);
        // A watermark that is lost or damaged is the lowest: what it guards is written again.
        let bytes = self.bytes(&path)?.unwrap_or_default();
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Where `parked` changes the text is synced; else it may be lost, and is then the one before.
    pub(super) fn set_watermark(&self, watermark: Watermark, durability: Durability) -> Result<()> {
        let path = self.dir.join(WATERMARK);
        let text = serde_json::to_vec(&watermark).expect("a number and a bool are always JSON");
        disk::write_atomically(&*self.disk, &path, &text, durability).map_err(Error::io("write", &path))
    }

    /// Writes the files of the entities that records behind the watermark changed.
    fn catch_up(&self, writer: &StoreWriter) -> Result<()> {
        let (from, end) = (self.watermark()?.seq, writer.end().seq);
        if from >= end {
            return Ok(());
        }
        let mut behind = std::collections::BTreeSet::new();
        let dir = JournalDir::new(&writer.store().layout().journal());
        let options = ReadOptions::from(from.next()).with_archive().until(end);
        let mut reader = JournalReader::open(&self.disk, &dir, options)?.whole()?;
        while let Some(entry) = reader.next()? {
            let id = entry.line.item_id.as_deref().filter(|_| !entry.line.action.is_observability());
            behind.extend(id.and_then(|id| EntityId::of_record(entry.line.item_type.as_str(), id)));
        }
        let view = writer.store().view()?;
        for entity in &behind {
            match view.entity(&entity.kind(), &entity.id)? {
                Some(row) => self.write(entity, &row.body)?,
                None => drop(self.remove(entity)?),
            }
        }
        Ok(())
    }
}
