//! One change of the store, all or nothing: what it says becomes consecutive records of the journal.
//!
//! A mutation sees what it has written itself. Rows go into an open transaction of the index, content into the packs;
//! neither counts before the journal has the records.

mod base;
mod branches;
mod contents;
mod entities;
mod paths;
mod records;

use std::io::Read;
use std::sync::Arc;

use rusqlite::Connection;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::content::{ContentReader, ContentWriter};
use crate::error::{Error, Result};
use crate::history::{Branch, Branches, Cursor, PartialPath, Point};
use crate::ids::{BranchNo, ContentHash, NodeId, Rec, Seq, Tick, UnixMillis, UnixNanos};
use crate::index::{Lineage, Query, Version};
use crate::journal::entry::{Action, Draft, FileState, NodeType, Who};
use crate::path::RelPath;
use crate::redact::Redactor;

/// What the writer knows of the end of history. A refused mutation gives it back as it was, so a clone is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Heads {
    pub(crate) last_tick: Tick,
    pub(crate) last_at: UnixMillis,
    pub(crate) last_node: NodeId,
    pub(crate) branches: Branches,
    pub(crate) cursor: Option<Arc<Cursor>>,
}

/// The metadata of a path, as `stat` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    pub kind: NodeType,
    /// The whole `st_mode`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: UnixNanos,
    /// Ranges `(offset, length)` that are holes.
    pub holes: Vec<(u64, u64)>,
}

/// The bytes of a path.
pub enum Content<'a> {
    /// A directory has none.
    None,
    /// A whole file, or a symlink's target.
    Bytes(Vec<u8>),
    /// A file of any size, read once from its beginning.
    Stream { reader: &'a mut dyn Read, size: u64 },
    /// What the store has already.
    Stored { rec: Rec, hash: ContentHash, size: u64 },
    /// Not kept, for instance because it is too large.
    Skipped { size: u64 },
}

impl std::fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Stream { size, .. } => write!(f, "Stream({size})"),
            Self::Stored { rec, .. } => write!(f, "Stored({})", rec.at),
            Self::Skipped { size } => write!(f, "Skipped({size})"),
        }
    }
}

/// What a save came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// Nothing differed: no tick.
    Unchanged,
    Ticked(Tick),
}

impl Saved {
    #[must_use]
    pub fn tick(&self) -> Option<Tick> {
        match self {
            Self::Unchanged => None,
            Self::Ticked(tick) => Some(*tick),
        }
    }
}

/// A mutation in the making; see [`super::StoreWriter::mutate`].
pub struct Mutation<'w> {
    pub(super) db: &'w Connection,
    pub(super) packs: &'w mut ContentWriter,
    pub(super) contents: &'w ContentReader,
    pub(super) redactor: &'w Redactor,
    pub(super) heads: &'w mut Heads,
    pub(super) now: UnixMillis,
    pub(super) next_seq: Seq,
    pub(super) drafts: Vec<Draft>,
    pub(super) first_tick: Option<Tick>,
    pub(super) who: Option<Who>,
    pub(super) owners_count: bool,
}

impl std::fmt::Debug for Mutation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mutation").field("records", &self.drafts.len()).finish_non_exhaustive()
    }
}

/// A path's content as it is about to be written down.
struct Kept {
    size: u64,
    hash: Option<ContentHash>,
    rec: Option<Rec>,
}

/// Where a path stands, and what stands there.
struct Found {
    node: NodeId,
    dir: NodeId,
    version: Version,
}

impl Mutation<'_> {
    fn query(&self) -> Query<'_> {
        Query(self.db)
    }

    /// The moment that this mutation's ticks keep.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.now
    }

    /// Names who makes the changes that follow.
    pub fn set_who(&mut self, who: Option<Who>) {
        self.who = who;
    }

    /// Another owner alone is no change: for who may not set owners, and so could not put back what was.
    pub fn disregard_owners(&mut self) {
        self.owners_count = false;
    }

    /// What follows is no part of the burst so far: it happened on its own, and is only written down together.
    pub fn begin_burst(&mut self) {
        self.first_tick = None;
    }

    /// Puts a branch as another store's owner made it, with its own time.
    pub(crate) fn adopt_branch(&mut self, branch: Branch) -> Result<()> {
        self.put_branch(Action::Update, branch)
    }

    #[must_use]
    pub fn branches(&self) -> &Branches {
        &self.heads.branches
    }

    /// Where the root stands; `None` before the base is complete.
    #[must_use]
    pub fn cursor(&self) -> Option<&Cursor> {
        self.heads.cursor.as_deref()
    }

    /// What a path is by the cursor; `None` where nothing is recorded.
    pub fn stands(&self, path: &RelPath) -> Result<Option<NodeType>> {
        Ok(self.find_at_cursor(path)?.map(|found| found.version.kind))
    }

    /// What the record says that was written last.
    #[must_use]
    pub fn last_action(&self) -> Option<Action> {
        self.drafts.last().map(|draft| draft.action)
    }

    fn require_cursor(&self) -> Result<&Cursor> {
        self.cursor().ok_or_else(|| Error::refused("nothing is recorded here yet: the base is not complete"))
    }

    /// The tick of the cursor's branch at which the root stands, `partial` aside.
    fn cursor_point(&self) -> Result<Point> {
        let cursor = self.require_cursor()?;
        let tick = cursor.tick.unwrap_or_else(|| self.heads.branches.head(cursor.branch));
        Ok(Point { branch: cursor.branch, tick })
    }

    fn require_point(&self, at: Point) -> Result<()> {
        let branches = &self.heads.branches;
        match branches.get(at.branch).is_some() && branches.is_on(at.branch, at.tick) {
            true => Ok(()),
            false => Err(Error::not_found(format!("tick {} is not on branch number {}", at.tick, at.branch))),
        }
    }

    fn lineage(&self, point: Point) -> Lineage {
        self.heads.branches.lineage(point.branch, point.tick)
    }

    /// A path as the root has it by the cursor: `partial` speaks before the tree. The last of it that says something of the
    /// path decides: about itself, and about the directories above it and what was below it, just as [`Self::bring_to`]
    /// would make it.
    fn find_at_cursor(&self, path: &RelPath) -> Result<Option<Found>> {
        let is_dir = |found: &Found| found.version.kind == NodeType::Dir;
        let mut found = self.find(&self.lineage(self.cursor_point()?), path)?;
        for PartialPath { path: put_back, at } in &self.require_cursor()?.partial {
            if !path.starts_with(put_back) && !put_back.starts_with(path) {
                continue;
            }
            let then = self.lineage(*at);
            let decides = if put_back == path {
                true
            } else if path.starts_with(put_back) {
                !self.find(&then, put_back)?.as_ref().is_some_and(is_dir)
            } else {
                !found.as_ref().is_some_and(is_dir) && self.find(&then, put_back)?.is_some()
            };
            if decides {
                found = self.find(&then, path)?;
            }
        }
        Ok(found)
    }

    fn find(&self, lineage: &Lineage, path: &RelPath) -> Result<Option<Found>> {
        let mut at = self.heads.branches.root(lineage);
        let mut dir = at;
        for name in path.components() {
            dir = at;
            match self.query().lookup(lineage, dir, name)? {
                Some(node) => at = node,
                None => return Ok(None),
            }
        }
        let version = self.query().version(lineage, at)?;
        Ok(version.map(|version| Found { node: at, dir, version }))
    }

    fn directory(&self, lineage: &Lineage, branch: BranchNo, path: &RelPath) -> Result<NodeId> {
        match self.find(lineage, path)? {
            Some(found) if found.version.kind == NodeType::Dir => Ok(found.node),
            Some(_) => Err(Error::refused(format!("{path} is not a directory in the history"))),
            None => Err(Error::refused(format!("the directory {path:?} is not recorded on branch {branch}"))),
        }
    }

    /// The node that a name had before comes back to life, so that its history goes on; unless it lives elsewhere.
    fn node_for(&mut self, lineage: &Lineage, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        for &(run, upto) in &lineage.0 {
            let before = self.query().dirent_history(dir, name, run)?;
            let last = before.into_iter().rev().filter(|&(tick, _)| tick <= upto).find_map(|(_, node)| node);
            if let Some(node) = last {
                let free = self.query().place(lineage, node)?.is_none();
                let was_dir = self.query().version(lineage, node)?.is_some_and(|v| v.kind == NodeType::Dir);
                return Ok(if free && !was_dir { node } else { self.fresh_node() });
            }
        }
        Ok(self.fresh_node())
    }

    fn fresh_node(&mut self) -> NodeId {
        self.heads.last_node = NodeId(self.heads.last_node.0 + 1);
        self.heads.last_node
    }
}

/// There is one cursor a store.
pub(crate) const CURSOR_ID: &str = "root";

fn file_state(node: NodeId, dir: NodeId, path: &RelPath, meta: &Meta, kept: &Kept) -> FileState {
    FileState {
        node,
        dir,
        path: path.clone(),
        kind: meta.kind,
        mode: meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        size: kept.size,
        mtime: meta.mtime,
        hash: kept.hash,
        rec: kept.rec,
        holes: meta.holes.clone(),
    }
}

fn meta_of(version: &Version) -> Meta {
    Meta {
        kind: version.kind,
        mode: version.mode,
        uid: version.uid,
        gid: version.gid,
        mtime: version.mtime,
        holes: version.holes.clone(),
    }
}

fn to_json(payload: &impl Serialize) -> String {
    serde_json::to_string(payload).expect("payloads have string keys, so they are always JSON")
}

fn raw(json: String) -> Box<RawValue> {
    RawValue::from_string(json).expect("what serde_json wrote is JSON")
}

/// A UUID for a branch that no person made: from its name and its place in the journal, so that nothing is drawn.
fn derived_uuid(label: &str, seq: u64, now: UnixMillis) -> String {
    let hash = blake3::hash(format!("{label}/{seq}/{}", now.0).as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
