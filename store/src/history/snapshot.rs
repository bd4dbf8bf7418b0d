//! Snapshots: a name for a tick, or for a tree that was imported.

use serde::{Deserialize, Serialize};

use super::{Point, View, check_name};
use crate::error::{Error, Result};
use crate::ids::{BranchNo, Tick};
use crate::index::EntityRow;
use crate::journal::entry::ItemType;
use crate::store::Mutation;

/// The payload of a `snapshot` record. Its name is its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub name: String,
    pub branch: BranchNo,
    pub tick: Tick,
    /// Where the tree was imported from; absent for a name of a tick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported_from: Option<String>,
    pub created_at: String,
}

impl Snapshot {
    #[must_use]
    pub fn point(&self) -> Point {
        Point { branch: self.branch, tick: self.tick }
    }
}

impl View {
    /// Snapshots by name.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>> {
        let rows = self.entities(&ItemType::SNAPSHOT)?;
        rows.iter().filter(|row| self.knows(row)).map(|row| read(&row.body)).collect()
    }

    /// One that was made later may name a branch or a tick that this view does not have. None is ever changed.
    fn knows(&self, row: &EntityRow) -> bool {
        row.seq <= self.applied_seq()
    }

    pub fn snapshot(&self, name: &str) -> Result<Snapshot> {
        match self.entity(&ItemType::SNAPSHOT, name)?.filter(|row| self.knows(row)) {
            Some(row) => read(&row.body),
            None => Err(unknown(name)),
        }
    }
}

impl Mutation<'_> {
    /// Gives a tick a name.
    pub fn create_snapshot(&mut self, name: &str, at: Point) -> Result<()> {
        if !self.branches().is_on(at.branch, at.tick) {
            return Err(Error::not_found(format!("tick {} is not on that branch", at.tick)));
        }
        self.put_new(name, at, None)
    }

    /// Gives an imported tree its name, once all its entries are there.
    pub fn finish_import(&mut self, name: &str, tree: BranchNo, from: &str) -> Result<()> {
        if self.branches().get(tree).is_none_or(|b| b.import.is_none()) {
            return Err(Error::refused("only an imported tree can be finished"));
        }
        self.put_new(name, Point { branch: tree, tick: Tick::BASE }, Some(from.to_owned()))
    }

    pub fn rename_snapshot(&mut self, old: &str, new: &str) -> Result<()> {
        check_name(new)?;
        let Some(body) = self.entity(&ItemType::SNAPSHOT, old)? else { return Err(unknown(old)) };
        if self.entity(&ItemType::SNAPSHOT, new)?.is_some() {
            return Err(Error::refused(format!("there is a snapshot named {new:?} already")));
        }
        let renamed = Snapshot { name: new.to_owned(), ..read(&body)? };
        self.delete_entity(&ItemType::SNAPSHOT, old)?;
        self.put_entity(&ItemType::SNAPSHOT, new, &renamed)
    }

    /// Removes the name. The ticks, and what was imported, stay in the history.
    pub fn remove_snapshot(&mut self, name: &str) -> Result<()> {
        match self.delete_entity(&ItemType::SNAPSHOT, name)? {
            true => Ok(()),
            false => Err(unknown(name)),
        }
    }

    fn put_new(&mut self, name: &str, at: Point, imported_from: Option<String>) -> Result<()> {
        check_name(name)?;
        if self.entity(&ItemType::SNAPSHOT, name)?.is_some() {
            return Err(Error::refused(format!("there is a snapshot named {name:?} already")));
        }
        let created_at = self.now().to_iso();
        let snapshot =
            Snapshot { name: name.to_owned(), branch: at.branch, tick: at.tick, imported_from, created_at };
        self.put_entity(&ItemType::SNAPSHOT, name, &snapshot)
    }
}

fn read(body: &str) -> Result<Snapshot> {
    serde_json::from_str(body).map_err(|e| Error::corrupt("index.db".as_ref(), 0, format!("a snapshot: {e}")))
}

fn unknown(name: &str) -> Error {
    Error::not_found(format!("there is no snapshot named {name:?}"))
}
