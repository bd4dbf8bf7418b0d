//! Reads runs. A run may still be written to: what a flush has brought to the disk is seen, and nothing half.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::facts::{RunFacts, RunId, VariableFacts};
use super::row::{self, ROW, Row};
use super::value::Value;
use crate::disk::{self, Disk, DiskFile, read_exact_at};
use crate::error::{Error, Result};
use crate::ids::UnixMillis;
use crate::store::Layout;

/// What an event says of when and where it happened.
#[derive(Debug, Deserialize)]
struct Told {
    timestamp_ns: i64,
    function: String,
    file: String,
    line: u64,
}

/// Where the parts of a run lie.
#[derive(Debug, Clone)]
pub(super) struct Place {
    dir: PathBuf,
}

impl Place {
    pub(super) fn new(layout: &Layout, id: &RunId) -> Self {
        Self { dir: layout.runs().join(id.as_str()) }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.dir.join("LOCK")
    }

    pub(super) fn facts(&self) -> PathBuf {
        self.dir.join("run.json")
    }

    pub(super) fn script(&self) -> PathBuf {
        self.dir.join("script")
    }

    pub(super) fn events(&self) -> PathBuf {
        self.dir.join("events.jsonl")
    }

    pub(super) fn values(&self) -> PathBuf {
        self.dir.join("values")
    }

    pub(super) fn variables(&self) -> PathBuf {
        self.dir.join("variables.jsonl")
    }

    /// `v-000001.ix`
    pub(super) fn rows(&self, variable: u32) -> PathBuf {
        self.dir.join(format!("v-{variable:06}.ix"))
    }
}

/// The runs of a store.
#[derive(Debug, Clone)]
pub struct Runs {
    disk: Arc<dyn Disk>,
    layout: Layout,
}

impl Runs {
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, layout: Layout) -> Self {
        Self { disk, layout }
    }

    /// In the order in which they began.
    pub fn list(&self) -> Result<Vec<RunId>> {
        let dir = self.layout.runs();
        if self.disk.stat(&dir).map_err(Error::io("look for", &dir))?.is_none() {
            return Ok(Vec::new());
        }
        let names = self.disk.list(&dir).map_err(Error::io("list", &dir))?;
        Ok(names.iter().filter_map(|name| RunId::parse(name.to_str()?)).collect())
    }

    pub fn open(&self, id: &RunId) -> Result<Run> {
        let place = Place::new(&self.layout, id);
        match self.disk.stat(&place.facts()).map_err(Error::io("look for", place.dir()))? {
            Some(_) => Ok(Run { disk: Arc::clone(&self.disk), id: id.clone(), place }),
            None => Err(Error::not_found(format!("there is no run {id}"))),
        }
    }

    /// The run that a person means: its id, the beginning of it, or `last`.
    pub fn find(&self, said: &str) -> Result<Run> {
        let all = self.list()?;
        if said == "last" {
            let last = all.last().ok_or_else(|| Error::not_found("no program was watched here yet"))?;
            return self.open(last);
        }
        let meant: Vec<&RunId> = all.iter().filter(|id| id.as_str().starts_with(said)).collect();
        match meant.as_slice() {
            [one] => self.open(one),
            [] => Err(Error::not_found(format!("there is no run {said:?}: `tickfs watch list` names them"))),
            [first, .., last] => Err(Error::not_found(format!(
                "{said:?} may be {first}, {last} or another of {}: say more of it",
                meant.len()
            ))),
        }
    }
}

/// One run. Each question is answered from what is on disk by then.
#[derive(Debug, Clone)]
pub struct Run {
    disk: Arc<dyn Disk>,
    id: RunId,
    place: Place,
}

impl Run {
    #[must_use]
    pub fn id(&self) -> &RunId {
        &self.id
    }

    pub fn facts(&self) -> Result<RunFacts> {
        let path = self.place.facts();
        let text = self.read(&path)?;
        serde_json::from_slice(&text).map_err(|e| Error::corrupt(&path, 0, e.to_string()))
    }

    /// `run.json` as it lies on disk.
    pub fn facts_text(&self) -> Result<Vec<u8>> {
        self.read(&self.place.facts())
    }

    /// Whether its tracer still writes.
    pub fn is_alive(&self) -> Result<bool> {
        let path = self.place.lock();
        if self.disk.stat(&path).map_err(Error::io("look for", &path))?.is_none() {
            return Ok(false);
        }
        let free = self.disk.lock(&path, Duration::ZERO).map_err(Error::io("look at", &path))?;
        Ok(free.is_none())
    }

    /// The code that ran.
    pub fn script(&self) -> Result<Vec<u8>> {
        self.read(&self.place.script())
    }

    /// The file of all events, for whoever reads it in pieces.
    pub fn events(&self) -> Result<Arc<dyn DiskFile>> {
        let path = self.place.events();
        self.disk.open(&path).map_err(Error::io("open", &path))
    }

    /// In the order in which they were watched first.
    pub fn variables(&self) -> Result<Vec<VariableFacts>> {
        let path = self.place.variables();
        let text = self.read(&path)?;
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let mut variables = Vec::new();
        let mut offset = 0;
        for line in text[..whole].split_inclusive(|&byte| byte == b'\n') {
            let facts =
                serde_json::from_slice(line).map_err(|e| Error::corrupt(&path, offset, e.to_string()))?;
            variables.push(facts);
            offset += line.len() as u64;
        }
        Ok(variables)
    }

    /// The variable that a person means: by its key, or by a name that only it has.
    pub fn variable(&self, said: &str) -> Result<VariableFacts> {
        let all = self.variables()?;
        let named = all
            .iter()
            .find(|facts| facts.key == said)
            .or_else(|| all.iter().find(|facts| facts.name == said));
        named.cloned().ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|facts| facts.key.as_str()).take(8).collect();
            Error::not_found(match names.is_empty() {
                true => format!("no variable was watched in the run {}", self.id),
                false => format!("the run {} has no variable {said:?}: it has {}", self.id, names.join(", ")),
            })
        })
    }

    /// How often a variable was changed.
    pub fn changes(&self, variable: u32) -> Result<u64> {
        let path = self.place.rows(variable);
        let Some(stat) = self.disk.stat(&path).map_err(Error::io("look for", &path))? else { return Ok(0) };
        Ok((stat.len / ROW as u64).saturating_sub(1))
    }

    /// A variable's value after its n-th change; 0: what it began with.
    pub fn value(&self, variable: u32, n: u64) -> Result<Value> {
        let rows = self.open_rows(variable)?;
        let (row, newest) = self.row(&*rows, variable, n)?;
        let path = self.place.values();
        let values = self.disk.open(&path).map_err(Error::io("open", &path))?;
        let first = n.checked_sub(u64::from(row.hops)).ok_or_else(|| self.damaged_row(variable, n))?;
        let mut bytes = Vec::new();
        for place in first..=n {
            let (row, raw) = if place == n { (row, newest) } else { self.row(&*rows, variable, place)? };
            let mut stored = vec![0; row.value_len as usize];
            read_exact_at(&*values, &mut stored, row.value_at).map_err(Error::io("read", &path))?;
            let fits = Row::is_sound(&raw, &stored)
                && match row.hops {
                    0 => {
                        bytes = stored;
                        true
                    }
                    _ => row::apply(&mut bytes, &stored).is_some(),
                };
            if !fits {
                let what = format!("version {place} of variable {variable} is not as it was written");
                return Err(Error::corrupt(&path, row.value_at, what));
            }
        }
        Ok(Value { tag: row.tag, bytes })
    }

    /// The line of the event that was a variable's n-th change, without its newline; `None` for what it began with.
    pub fn event(&self, variable: u32, n: u64) -> Result<Option<String>> {
        let rows = self.open_rows(variable)?;
        let (row, _) = self.row(&*rows, variable, n)?;
        if row.event_len == 0 {
            return Ok(None);
        }
        let path = self.place.events();
        let mut line = vec![0; row.event_len as usize];
        read_exact_at(&*self.events()?, &mut line, row.event_at).map_err(Error::io("read", &path))?;
        let text = String::from_utf8(line)
            .map_err(|_not_utf8| Error::corrupt(&path, row.event_at, "an event is no UTF-8"))?;
        Ok(Some(text.trim_end_matches('\n').to_owned()))
    }

    /// Every change of a variable as lines for people: number, time, place, value.
    pub fn log(&self, variable: u32) -> Result<Vec<u8>> {
        let mut lines = Vec::new();
        for n in 0..=self.changes(variable)? {
            lines.extend_from_slice(self.log_line(variable, n)?.as_bytes());
            lines.push(b'\n');
        }
        Ok(lines)
    }

    /// One of these lines, without its newline.
    pub fn log_line(&self, variable: u32, n: u64) -> Result<String> {
        let one_line = |text: &str| -> String {
            text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
        };
        let value = one_line(&self.value(variable, n)?.brief());
        let told = self.event(variable, n)?.and_then(|event| serde_json::from_str::<Told>(&event).ok());
        Ok(match told {
            None => format!("{n}  {value}"),
            Some(Told { timestamp_ns, function, file, line }) => {
                let time = UnixMillis(timestamp_ns.div_euclid(1_000_000)).to_iso();
                format!("{n}  {time}  {}:{line}  {}  {value}", one_line(&file), one_line(&function))
            }
        })
    }

    fn open_rows(&self, variable: u32) -> Result<Arc<dyn DiskFile>> {
        let path = self.place.rows(variable);
        match self.disk.stat(&path).map_err(Error::io("look for", &path))? {
            Some(_) => self.disk.open(&path).map_err(Error::io("open", &path)),
            None => Err(Error::not_found(format!("variable {variable} has no version yet"))),
        }
    }

    fn row(&self, rows: &dyn DiskFile, variable: u32, n: u64) -> Result<(Row, [u8; ROW])> {
        let path = self.place.rows(variable);
        let mut raw = [0; ROW];
        let at = n.saturating_mul(ROW as u64);
        match rows.read_at(&mut raw, at).map_err(Error::io("read", &path))? {
            ROW => {}
            _ => return Err(Error::not_found(format!("there is no change {n}"))),
        }
        let row = Row::decode(&raw).ok_or_else(|| self.damaged_row(variable, n))?;
        Ok((row, raw))
    }

    fn damaged_row(&self, variable: u32, n: u64) -> Error {
        Error::corrupt(&self.place.rows(variable), n * ROW as u64, "the row is not as it was written")
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        disk::read_all(&*self.disk, path).map_err(Error::io("read", path))
    }
}
