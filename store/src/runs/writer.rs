//! Writes a run: what comes is gathered, and `flush` brings it to the disk.
//!
//! Order of a flush: events, values, variables, then the rows that point to them. What is cut off by a crash is at the
//! end of each file, and a row that points beyond one does not count.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::facts::{RunFacts, RunId, VariableFacts};
use super::reader::Place;
use super::row::{self, HOPS_MAX, Row, SHORT};
use super::value::{Tag, Value};
use crate::disk::{self, Disk, DiskFile, DiskLock, Durability};
use crate::error::{Error, Result};
use crate::store::Layout;

/// So many files of variables are kept open.
const OPEN_MAX: usize = 64;

#[derive(Debug)]
pub struct RunWriter {
    disk: Arc<dyn Disk>,
    place: Place,
    events: Growing,
    values: Growing,
    variables: Growing,
    known: HashMap<u32, Known>,
    open: HashMap<u32, Arc<dyn DiskFile>>,
    _lock: Box<dyn DiskLock>,
}

/// A variable's newest version.
#[derive(Debug)]
struct Known {
    value: Value,
    hops: u8,
    rows: Vec<u8>,
}

/// A file, and what is to be appended to it.
#[derive(Debug)]
struct Growing {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    len: u64,
    pending: Vec<u8>,
}

impl RunWriter {
    /// Makes the directory of a new run.
    pub fn create(disk: Arc<dyn Disk>, layout: &Layout, id: &RunId) -> Result<Self> {
        let place = Place::new(layout, id);
        for dir in [&layout.runs(), place.dir()] {
            disk.create_dir(dir).map_err(Error::io("create", dir))?;
        }
        let path = place.lock();
        let lock = disk.lock(&path, std::time::Duration::ZERO).map_err(Error::io("lock", &path))?;
        let lock = lock.ok_or_else(|| Error::refused(format!("the run {id} has a writer already")))?;
        let grow = |path: PathBuf| Growing::create(&*disk, &path);
        let (events, values, variables) =
            (grow(place.events())?, grow(place.values())?, grow(place.variables())?);
        disk.sync_dir(place.dir()).map_err(Error::io("make durable the names in", place.dir()))?;
        disk.sync_dir(&layout.runs()).map_err(Error::io("make durable the names in", &layout.runs()))?;
        let (known, open) = (HashMap::new(), HashMap::new());
        Ok(Self { disk, place, events, values, variables, known, open, _lock: lock })
    }

    /// The directory of the run.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.place.dir()
    }

    /// Keeps the code that runs.
    pub fn keep_script(&self, bytes: &[u8]) -> Result<()> {
        let path = self.place.script();
        disk::write_atomically(&*self.disk, &path, bytes, Durability::Cache)
            .map_err(Error::io("write", &path))
    }

    pub fn put_facts(&self, facts: &RunFacts, durability: Durability) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(facts).expect("it has string keys, so it is always JSON");
        text.push(b'\n');
        let path = self.place.facts();
        disk::write_atomically(&*self.disk, &path, &text, durability).map_err(Error::io("write", &path))
    }

    /// A variable and the value it begins with, which is its version 0.
    pub fn declare(&mut self, facts: &VariableFacts, value: &Value) -> Result<()> {
        let line = serde_json::to_vec(facts).expect("it has string keys, so it is always JSON");
        self.variables.pending.extend_from_slice(&line);
        self.variables.pending.push(b'\n');
        let known =
            Known { value: Value { tag: Tag::Gone, bytes: Vec::new() }, hops: HOPS_MAX, rows: Vec::new() };
        self.known.insert(facts.id, known);
        self.put(facts.id, value, None)
    }

    /// The next version of a variable, and the line of the event that made it (with its newline).
    pub fn change(&mut self, variable: u32, value: &Value, event: &[u8]) -> Result<()> {
        self.put(variable, value, Some(event))
    }

    fn put(&mut self, variable: u32, value: &Value, event: Option<&[u8]>) -> Result<()> {
        let Some(known) = self.known.get_mut(&variable) else {
            return Err(Error::refused(format!("variable {variable} was never declared")));
        };
        let bytes = &value.bytes;
        let patch = match known.hops < HOPS_MAX && bytes.len() > SHORT {
            true => row::patch(&known.value.bytes, bytes).filter(|patch| patch.len() < bytes.len() / 2),
            false => None,
        };
        known.hops = if patch.is_some() { known.hops + 1 } else { 0 };
        let stored = patch.as_deref().unwrap_or(bytes);
        let too_long = || Error::refused("a value of over 4 GiB cannot be kept");
        let row = Row {
            value_at: self.values.end(),
            value_len: u32::try_from(stored.len()).map_err(|_too_large| too_long())?,
            event_at: self.events.end(),
            event_len: u32::try_from(event.map_or(0, <[u8]>::len)).map_err(|_too_large| too_long())?,
            tag: value.tag,
            hops: known.hops,
        };
        known.rows.extend_from_slice(&row.encode(stored));
        self.values.pending.extend_from_slice(stored);
        self.events.pending.extend_from_slice(event.unwrap_or_default());
        known.value.clone_from(value);
        Ok(())
    }

    /// An event of no variable that is known.
    pub fn stray(&mut self, event: &[u8]) {
        self.events.pending.extend_from_slice(event);
    }

    /// How many bytes wait for the next flush.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.events.pending.len() + self.values.pending.len()
    }

    pub fn flush(&mut self) -> Result<()> {
        self.events.flush()?;
        self.values.flush()?;
        self.variables.flush()?;
        for (&variable, known) in self.known.iter_mut().filter(|(_, known)| !known.rows.is_empty()) {
            if self.open.len() >= OPEN_MAX && !self.open.contains_key(&variable) {
                self.open.clear();
            }
            let path = self.place.rows(variable);
            let file = match self.open.get(&variable) {
                Some(file) => Arc::clone(file),
                None => {
                    let there = self.disk.stat(&path).map_err(Error::io("look for", &path))?.is_some();
                    let opened =
                        if there { self.disk.open_append(&path) } else { self.disk.create_append(&path) };
                    opened.map_err(Error::io("open", &path))?
                }
            };
            file.append(&known.rows).map_err(Error::io("append to", &path))?;
            known.rows.clear();
            self.open.insert(variable, file);
        }
        Ok(())
    }

    /// Flushes, and makes durable what a reader cannot do without.
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        for growing in [&self.events, &self.values, &self.variables] {
            growing.file.sync().map_err(Error::io("make durable", &growing.path))?;
        }
        for &variable in self.known.keys() {
            let path = self.place.rows(variable);
            let file = match self.open.get(&variable) {
                Some(file) => Arc::clone(file),
                None => self.disk.open_append(&path).map_err(Error::io("open", &path))?,
            };
            file.sync().map_err(Error::io("make durable", &path))?;
        }
        let dir = self.place.dir();
        self.disk.sync_dir(dir).map_err(Error::io("make durable the names in", dir))
    }
}

impl Growing {
    fn create(disk: &dyn Disk, path: &Path) -> Result<Self> {
        let file = disk.create_append(path).map_err(Error::io("create", path))?;
        Ok(Self { path: path.to_path_buf(), file, len: 0, pending: Vec::new() })
    }

    /// Where the next byte will lie.
    fn end(&self) -> u64 {
        self.len + self.pending.len() as u64
    }

    fn flush(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.file.append(&self.pending).map_err(Error::io("append to", &self.path))?;
        self.len += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}
