//! One change of the store, all or nothing: what it says becomes consecutive records of the journal.
//!
//! A mutation sees what it has written itself. Rows go into an open transaction of the index, content into the packs;
//! neither counts before the journal has the records.

use std::io::Read;
use std::sync::Arc;

use rusqlite::Connection;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::content::{self, CHUNK_LEN, ContentReader, ContentWriter};
use crate::delta::Document;
use crate::error::{Error, Result};
use crate::history::{Branch, Branches, Cursor, PartialPath, Point, Stand};
use crate::ids::{Address, BranchNo, ContentHash, NodeId, Rec, Seq, Tick, UnixMillis, UnixNanos};
use crate::index::{BIG_RECORD, Fact, Lineage, Live, Query, Version, apply};
use crate::journal::entry::{
    Action, Body, Draft, FileState, INLINE_PAYLOAD_MAX, ItemType, NodeType, PayloadRef, Place, TickFact, Who,
};
use crate::path::RelPath;
use crate::redact::Redactor;

/// What the writer knows of the end of history. A refused mutation gives it back as it was.
#[derive(Debug, Clone)]
pub(crate) struct Heads {
    pub(crate) last_tick: Tick,
    pub(crate) last_at: UnixMillis,
    pub(crate) last_node: NodeId,
    pub(crate) branches: Arc<Branches>,
    pub(crate) cursor: Option<Cursor>,
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

    /// What follows is no part of the burst so far: it happened on its own, and is only written down together.
    pub(crate) fn begin_burst(&mut self) {
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
        self.heads.cursor.as_ref()
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

    // ---- the base ----

    /// Writes down a path as it was first seen. Parents come before their children; the root itself comes first.
    /// Repeating a path after an interrupted base replaces what was said of it.
    pub fn base(&mut self, path: &RelPath, meta: &Meta, content: Content<'_>) -> Result<()> {
        if self.heads.cursor.is_some() {
            return Err(Error::refused("the base is complete, and never changes"));
        }
        self.base_entry(BranchNo::MAIN, path, meta, content)
    }

    fn base_entry(
        &mut self,
        branch: BranchNo,
        path: &RelPath,
        meta: &Meta,
        content: Content<'_>,
    ) -> Result<()> {
        let lineage = Lineage(vec![(branch, Tick::BASE)]);
        let (dir, known) = match path.parent() {
            None => (NodeId::ROOT, Some(self.heads.branches.root(&lineage))),
            Some(parent) => {
                let dir = self.directory(&lineage, branch, &parent)?;
                (dir, self.query().lookup(&lineage, dir, path.name())?)
            }
        };
        let node = known.unwrap_or_else(|| self.fresh_node());
        let kept = self.keep(None, content)?;
        let state = file_state(node, dir, path, meta, &kept);
        let tick = TickFact { n: Tick::BASE, branch, at: self.now, burst: None, from: None, who: None };
        self.emit_path(Action::Base, node, tick, Some(&state))
    }

    /// Ends the base: `main` exists from here on, and the cursor stands on it.
    pub fn finish_base(&mut self, branch_id: &str) -> Result<()> {
        if self.heads.cursor.is_some() {
            return Err(Error::refused("the base is complete, and never changes"));
        }
        let main = Branch {
            id: branch_id.to_owned(),
            no: BranchNo::MAIN,
            label: "main".to_owned(),
            parent: None,
            forked_at_tick: None,
            created_at: self.now.to_iso(),
            description: None,
            auto: false,
            import: None,
        };
        self.heads.last_at = self.heads.last_at.max(self.now);
        self.put_branch(Action::Create, main)?;
        self.put_cursor(Cursor::attached_to(BranchNo::MAIN, "base"))
    }

    // ---- changes of paths ----

    /// Records a path as it is on disk now. Nothing differs: no tick. While detached, the first difference forks.
    pub fn save(&mut self, path: &RelPath, meta: &Meta, content: Content<'_>) -> Result<Saved> {
        if path.is_root() && meta.kind != NodeType::Dir {
            return Err(Error::refused("the root is a directory and stays one"));
        }
        let known = self.find_at_cursor(path)?;
        let content = self.take_stream(known.as_ref(), content)?;
        let content = match self.unless_equal(known.as_ref(), meta, content)? {
            Some(content) => content,
            None => return Ok(Saved::Unchanged),
        };
        self.attach()?;
        self.save_at_head(path, meta, content)
    }

    /// Copies an old version forward as a new change: one tick, or none if nothing differs.
    pub fn restore(&mut self, path: &RelPath, at: Point, mtime: Option<UnixNanos>) -> Result<Saved> {
        self.require_point(at)?;
        let lineage = self.lineage(at);
        let Some(old) = self.find(&lineage, path)? else {
            return Err(Error::not_found(format!("{path} did not exist at tick {}", at.tick)));
        };
        let meta = Meta { mtime: mtime.unwrap_or(old.version.mtime), ..meta_of(&old.version) };
        let content = self.stored_content(&old.version)?;
        self.save(path, &meta, content)
    }

    /// Records that a path is gone, with all that is below it. `None` if it was not there.
    pub fn remove(&mut self, path: &RelPath) -> Result<Option<Tick>> {
        if path.is_root() {
            return Err(Error::refused("the root itself cannot be removed from its history"));
        }
        if self.find_at_cursor(path)?.is_none() {
            return Ok(None);
        }
        self.attach()?;
        self.remove_at_head(path)
    }

    /// Records that a path moved, with all that is below it: one tick.
    pub fn rename(&mut self, from: &RelPath, to: &RelPath) -> Result<Tick> {
        if to.starts_with(from) || from.starts_with(to) {
            return Err(Error::refused(format!("{from} cannot become {to}")));
        }
        self.attach()?;
        let point = self.cursor_point()?;
        let lineage = self.lineage(point);
        let Some(old) = self.find(&lineage, from)? else {
            return Err(Error::not_found(format!("{from} is not in the tree of tick {}", point.tick)));
        };
        self.remove_at_head(to)?;
        let point = self.cursor_point()?;
        let lineage = self.lineage(point);
        let parent = to.parent().unwrap_or_default();
        let dir = self.directory(&lineage, point.branch, &parent)?;
        let kept = self.kept_of(&old.version)?;
        let state = file_state(old.node, dir, to, &meta_of(&old.version), &kept);
        let place = Place { dir: old.dir, path: from.clone() };
        let tick = self.next_tick(point.branch, Some(place));
        let n = tick.n;
        self.emit_path(Action::Rename, old.node, tick, Some(&state))?;
        Ok(n)
    }

    fn save_at_head(&mut self, path: &RelPath, meta: &Meta, content: Content<'_>) -> Result<Saved> {
        let point = self.cursor_point()?;
        let lineage = self.lineage(point);
        let mut known = self.find(&lineage, path)?;
        let is_dir = |kind| kind == NodeType::Dir;
        if known.as_ref().is_some_and(|k| is_dir(k.version.kind) != is_dir(meta.kind)) {
            self.remove_at_head(path)?;
            known = None;
        }
        let point = self.cursor_point()?;
        let lineage = self.lineage(point);
        let skipped = matches!(content, Content::Skipped { .. });
        let (node, dir, action) = match &known {
            Some(found) => {
                let content_same = self.same_content(Some(found), &content)?;
                let action = match meta.kind {
                    _ if skipped => Action::Skipped,
                    _ if content_same && found.version.kind == meta.kind => Action::Mode,
                    NodeType::Symlink => Action::Symlink,
                    NodeType::File | NodeType::Dir => Action::Modify,
                };
                (found.node, found.dir, action)
            }
            None => {
                let parent = path.parent().unwrap_or_default();
                let dir = self.directory(&lineage, point.branch, &parent)?;
                let action = match meta.kind {
                    _ if skipped => Action::Skipped,
                    NodeType::File => Action::Create,
                    NodeType::Dir => Action::Mkdir,
                    NodeType::Symlink => Action::Symlink,
                };
                (self.node_for(&lineage, dir, path.name())?, dir, action)
            }
        };
        let base = match &known {
            Some(found) => found.version.content,
            None => self.query().version(&lineage, node)?.and_then(|v| v.content),
        };
        let kept = self.keep(base, content)?;
        let state = file_state(node, dir, path, meta, &kept);
        let tick = self.next_tick(point.branch, None);
        let n = tick.n;
        self.emit_path(action, node, tick, Some(&state))?;
        Ok(Saved::Ticked(n))
    }

    fn remove_at_head(&mut self, path: &RelPath) -> Result<Option<Tick>> {
        let point = self.cursor_point()?;
        let lineage = self.lineage(point);
        let Some(found) = self.find(&lineage, path)? else { return Ok(None) };
        self.remove_subtree(&found, path).map(Some)
    }

    /// Children first, so that at every tick each path has its directory.
    fn remove_subtree(&mut self, found: &Found, path: &RelPath) -> Result<Tick> {
        let is_dir = found.version.kind == NodeType::Dir;
        if is_dir {
            loop {
                let point = self.cursor_point()?;
                let lineage = self.lineage(point);
                let children = self.query().children(&lineage, found.node, b"", 256)?;
                if children.is_empty() {
                    break;
                }
                for child in children {
                    let below = path.join(&child.name).map_err(|e| Error::refused(e.to_string()))?;
                    if let Some(version) = self.query().version(&lineage, child.node)? {
                        let below_found = Found { node: child.node, dir: found.node, version };
                        self.remove_subtree(&below_found, &below)?;
                    }
                }
            }
        }
        let point = self.cursor_point()?;
        let tick = self.next_tick(point.branch, Some(Place { dir: found.dir, path: path.clone() }));
        let n = tick.n;
        let action = if is_dir { Action::Rmdir } else { Action::Delete };
        self.emit_path(action, found.node, tick, None)?;
        Ok(n)
    }

    // ---- going back, and branches ----

    /// Moves the cursor. Nothing else changes; what the caller writes to the root afterwards is expected.
    pub fn move_cursor(&mut self, to: Stand, moved: &str) -> Result<()> {
        let from = self.cursor_point()?;
        let partial = self.require_cursor()?.partial.clone();
        self.require_point(Point { branch: to.branch, tick: to.tick })?;
        to.partial.iter().try_for_each(|partial| self.require_point(partial.at))?;
        let head = self.heads.branches.head(to.branch);
        self.put_cursor(Cursor {
            branch: to.branch,
            tick: (to.tick != head).then_some(to.tick),
            partial: to.partial,
            moved: moved.to_owned(),
            before: Some(Box::new(Stand { branch: from.branch, tick: from.tick, partial })),
        })
    }

    /// Makes a branch at a point. It does not become the active one.
    pub fn create_branch(&mut self, label: &str, id: &str, at: Point, auto: bool) -> Result<BranchNo> {
        crate::history::check_name(label)?;
        if self.heads.branches.by_label(label).is_ok() {
            return Err(Error::refused(format!("there is a branch named {label:?} already")));
        }
        self.require_point(at)?;
        let no = self.heads.branches.next_no();
        let branch = Branch {
            id: id.to_owned(),
            no,
            label: label.to_owned(),
            parent: Some(at.branch),
            forked_at_tick: Some(at.tick),
            created_at: self.now.to_iso(),
            description: None,
            auto,
            import: None,
        };
        self.put_branch(Action::Create, branch)?;
        Ok(no)
    }

    /// Renames a branch; its id, its ticks and its children stay.
    pub fn rename_branch(&mut self, old: &str, new: &str) -> Result<()> {
        crate::history::check_name(new)?;
        let branch = self.heads.branches.by_label(old)?.clone();
        if self.heads.branches.by_label(new).is_ok() {
            return Err(Error::refused(format!("there is a branch named {new:?} already")));
        }
        self.put_branch(Action::Update, Branch { label: new.to_owned(), auto: false, ..branch })
    }

    pub fn describe_branch(&mut self, label: &str, description: Option<String>) -> Result<()> {
        let branch = self.heads.branches.by_label(label)?.clone();
        self.put_branch(Action::Update, Branch { description, ..branch })
    }

    /// While detached: forks at the cursor's tick, puts the partial paths on the new branch, and attaches to it.
    fn attach(&mut self) -> Result<()> {
        if self.require_cursor()?.is_attached() {
            return Ok(());
        }
        let label = self.heads.branches.fork_label(self.cursor_point()?.branch);
        self.fork_here(&label, true)
    }

    /// Makes a branch where the root stands, takes `partial` along as its first ticks, and attaches.
    pub fn fork_here(&mut self, label: &str, auto: bool) -> Result<()> {
        let point = self.cursor_point()?;
        let partial = self.require_cursor()?.partial.clone();
        let id = derived_uuid(label, self.next_seq.0 + self.drafts.len() as u64, self.now);
        let no = self.create_branch(label, &id, point, auto)?;
        self.put_cursor(Cursor::attached_to(no, "fork"))?;
        for path in partial {
            self.bring_to(&path.path, path.at)?;
        }
        Ok(())
    }

    /// Makes a path of the active branch's head what it was at another point.
    fn bring_to(&mut self, path: &RelPath, at: Point) -> Result<()> {
        let lineage = self.lineage(at);
        let Some(old) = self.find(&lineage, path)? else { return self.remove_at_head(path).map(drop) };
        self.bring_directories(path, &lineage)?;
        let meta = meta_of(&old.version);
        let content = self.stored_content(&old.version)?;
        let head = self.cursor_point()?;
        let here = self.find(&self.lineage(head), path)?;
        match self.unless_equal(here.as_ref(), &meta, content)? {
            Some(content) => self.save_at_head(path, &meta, content).map(drop),
            None => Ok(()),
        }
    }

    fn bring_directories(&mut self, path: &RelPath, from: &Lineage) -> Result<()> {
        let mut missing = Vec::new();
        let mut above = path.parent();
        while let Some(dir) = above.filter(|d| !d.is_root()) {
            let head = self.cursor_point()?;
            if self.find(&self.lineage(head), &dir)?.is_some_and(|f| f.version.kind == NodeType::Dir) {
                break;
            }
            above = dir.parent();
            missing.push(dir);
        }
        for dir in missing.into_iter().rev() {
            if let Some(old) = self.find(from, &dir)? {
                self.save_at_head(&dir, &meta_of(&old.version), Content::None)?;
            }
        }
        Ok(())
    }

    // ---- imported trees ----

    /// Begins a tree that is no part of the root's history. [`Self::import_entry`] fills it.
    pub fn begin_import(&mut self, label: &str, id: &str) -> Result<BranchNo> {
        let no = self.heads.branches.next_no();
        let root = self.fresh_node();
        let branch = Branch {
            id: id.to_owned(),
            no,
            label: label.to_owned(),
            parent: None,
            forked_at_tick: None,
            created_at: self.now.to_iso(),
            description: None,
            auto: false,
            import: Some(root),
        };
        self.put_branch(Action::Create, branch)?;
        Ok(no)
    }

    /// Adds a path to an imported tree, parents first, its root before all.
    pub fn import_entry(
        &mut self,
        no: BranchNo,
        path: &RelPath,
        meta: &Meta,
        content: Content<'_>,
    ) -> Result<()> {
        match self.heads.branches.get(no) {
            Some(branch) if branch.import.is_some() => self.base_entry(no, path, meta, content),
            _ => Err(Error::refused("only an imported tree takes entries without ticks")),
        }
    }

    // ---- entities and events ----

    /// Writes the whole new state of an entity.
    pub fn put_entity(&mut self, kind: &ItemType, id: &str, payload: &impl Serialize) -> Result<()> {
        let known = self.query().entity(kind.as_str(), id)?.is_some();
        let body = to_json(payload);
        self.emit_entity(if known { Action::Update } else { Action::Create }, kind, id, Some(body))
    }

    /// A tombstone. `false` if there was no such entity.
    pub fn delete_entity(&mut self, kind: &ItemType, id: &str) -> Result<bool> {
        if self.query().entity(kind.as_str(), id)?.is_none() {
            return Ok(false);
        }
        self.emit_entity(Action::Delete, kind, id, None)?;
        Ok(true)
    }

    /// The latest payload of an entity.
    pub fn entity(&self, kind: &ItemType, id: &str) -> Result<Option<String>> {
        Ok(self.query().entity(kind.as_str(), id)?.map(|row| row.body))
    }

    /// Writes the next revision of a state document: a difference, or now and then the whole.
    pub(crate) fn put_state(&mut self, name: &str, action: Action, body: String) -> Result<()> {
        self.emit_entity(action, &ItemType::STATE, name, Some(body))
    }

    pub(crate) fn state_rows(&self, name: &str, rev: u64) -> Result<Vec<crate::index::StateRow>> {
        self.query().state_chain(name, rev)
    }

    pub(crate) fn last_state_row(&self, name: &str) -> Result<Option<crate::index::StateRow>> {
        self.query().last_state(name)
    }

    pub(crate) fn has_foreign(&self, origin: &str, seq: Seq) -> Result<bool> {
        self.query().has_foreign(origin, seq)
    }

    /// Says that something happened. It holds no state; a mutation of nothing else is not fsynced.
    pub fn observe(
        &mut self,
        action: Action,
        kind: &ItemType,
        id: Option<&str>,
        payload: &impl Serialize,
    ) -> Result<()> {
        if !action.is_observability() {
            return Err(Error::refused(format!("{} is a change of state, not an event", action.as_str())));
        }
        let body = self.place_payload(self.redacted(payload)?)?;
        let draft = Draft {
            action,
            item_type: kind.clone(),
            item_id: id.map(str::to_owned),
            summary: None,
            tick: None,
            body: body.0,
        };
        self.emit(draft, body.1.as_deref(), None)
    }

    /// Adds a record that was made elsewhere in the store.
    pub(crate) fn append(&mut self, draft: Draft) -> Result<()> {
        self.emit(draft, None, None)
    }

    /// The payload without the secrets in it.
    fn redacted(&self, payload: &impl Serialize) -> Result<String> {
        let mut value = serde_json::to_value(payload)
            .map_err(|e| Error::refused(format!("the payload cannot be written as JSON: {e}")))?;
        self.redactor.redact_value(&mut value);
        Ok(value.to_string())
    }

    /// Takes the secrets out of a document.
    pub(crate) fn redacted_document(&self, document: &Document) -> Document {
        let mut value = serde_json::Value::Object(document.clone());
        self.redactor.redact_value(&mut value);
        match value {
            serde_json::Value::Object(redacted) => redacted,
            _ => Document::new(),
        }
    }

    /// Adds a line for people to the record that was written last.
    pub fn summarise(&mut self, summary: &str) {
        if let Some(last) = self.drafts.last_mut() {
            last.summary = Some(self.redactor.redact_str(summary).into_owned());
        }
    }

    // ---- finding ----

    /// A path as the root has it by the cursor: `partial` speaks before the tree.
    fn find_at_cursor(&self, path: &RelPath) -> Result<Option<Found>> {
        self.find_behind(&self.require_cursor()?.partial, path)
    }

    /// The last of `partial` that says something of the path decides: about itself, and about the directories above it
    /// and what was below it, just as [`Self::bring_to`] would make it.
    fn find_behind(&self, partial: &[PartialPath], path: &RelPath) -> Result<Option<Found>> {
        let Some((last, earlier)) = partial.split_last() else {
            return self.find(&self.lineage(self.cursor_point()?), path);
        };
        let then = self.lineage(last.at);
        if last.path == *path {
            return self.find(&then, path);
        }
        let is_dir = |found: &Found| found.version.kind == NodeType::Dir;
        let before = self.find_behind(earlier, path)?;
        if path.starts_with(&last.path) && !self.find(&then, &last.path)?.as_ref().is_some_and(is_dir) {
            return Ok(None);
        }
        let needs_a_directory = last.path.starts_with(path) && !before.as_ref().is_some_and(is_dir);
        if needs_a_directory && self.find(&then, &last.path)?.is_some() {
            return self.find(&then, path);
        }
        Ok(before)
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

    // ---- content ----

    /// Hands the content back if it, or the metadata that counts, differs from what is known.
    fn unless_equal<'a>(
        &self,
        known: Option<&Found>,
        meta: &Meta,
        content: Content<'a>,
    ) -> Result<Option<Content<'a>>> {
        let same_meta = known.is_some_and(|f| {
            let v = &f.version;
            (v.kind, v.mode, v.uid, v.gid) == (meta.kind, meta.mode, meta.uid, meta.gid)
        });
        let equal = same_meta && self.same_content(known, &content)?;
        Ok((!equal).then_some(content))
    }

    fn same_content(&self, known: Option<&Found>, content: &Content<'_>) -> Result<bool> {
        let Some(version) = known.map(|f| &f.version) else { return Ok(false) };
        match (content, version.content) {
            (Content::None, None) => Ok(version.kind == NodeType::Dir),
            (Content::Bytes(new), Some(old)) if version.size == new.len() as u64 => {
                match self.contents.read(old) {
                    // What does not read any more is no reason to lose what comes after it.
                    Err(Error::Corrupt { .. }) => Ok(false),
                    old => Ok(old? == *new),
                }
            }
            (Content::Stored { rec, hash, size }, Some(old)) => {
                Ok(rec.at == old || (version.size == *size && self.kept_of(version)?.hash == Some(*hash)))
            }
            (Content::Skipped { size }, None) => Ok(version.kind == NodeType::File && version.size == *size),
            _ => Ok(false),
        }
    }

    /// A stream can be read only once, so it is kept before anybody knows whether it differs.
    fn take_stream<'a>(&mut self, known: Option<&Found>, content: Content<'a>) -> Result<Content<'a>> {
        let Content::Stream { .. } = content else { return Ok(content) };
        let kept = self.keep(known.and_then(|f| f.version.content), content)?;
        match (kept.rec, kept.hash) {
            (Some(rec), Some(hash)) => Ok(Content::Stored { rec, hash, size: kept.size }),
            _ => Ok(Content::Skipped { size: kept.size }),
        }
    }

    fn keep(&mut self, previous: Option<Address>, content: Content<'_>) -> Result<Kept> {
        match content {
            Content::None => Ok(Kept { size: 0, hash: None, rec: None }),
            Content::Skipped { size } => Ok(Kept { size, hash: None, rec: None }),
            Content::Stored { rec, hash, size } => Ok(Kept { size, hash: Some(hash), rec: Some(rec) }),
            Content::Stream { reader, size } if size > CHUNK_LEN as u64 => {
                let stored = self.packs.append_large(reader, previous, self.contents)?;
                let len = u32::try_from(stored.raw_len).unwrap_or(u32::MAX);
                let rec = Rec { at: stored.address, len };
                Ok(Kept { size: stored.raw_len, hash: Some(stored.hash), rec: Some(rec) })
            }
            Content::Stream { reader, .. } => {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).map_err(Error::io("read", "the file to record".as_ref()))?;
                self.keep_bytes(previous, &bytes)
            }
            Content::Bytes(bytes) => self.keep_bytes(previous, &bytes),
        }
    }

    fn keep_bytes(&mut self, previous: Option<Address>, bytes: &[u8]) -> Result<Kept> {
        let size = bytes.len() as u64;
        // A base in an older pack cannot be chained on: the version becomes a keyframe.
        let base = previous.filter(|a| a.pack == self.packs.active());
        let base = match base.map(|address| self.contents.base_for(address)) {
            // A damaged version is no base: this one stands alone.
            Some(Err(Error::Corrupt { .. })) | None => None,
            Some(base) => Some(base?),
        };
        let encoded = content::encode(bytes, base.as_ref());
        let hash = encoded.hash();
        let len = u32::try_from(encoded.stored_len()).unwrap_or(u32::MAX);
        let known = if len > BIG_RECORD { self.query().big(hash)? } else { None };
        // Nothing is referred to that was not read again: damage must not spread to what is whole here.
        let known = known.filter(|rec| self.contents.read(rec.at).is_ok_and(|there| there == bytes));
        let rec = match known {
            Some(rec) => rec,
            None => Rec { at: self.packs.append(&encoded)?, len },
        };
        Ok(Kept { size, hash: Some(hash), rec: Some(rec) })
    }

    /// The content of a version that is in the store, to be referred to again.
    fn stored_content(&self, version: &Version) -> Result<Content<'static>> {
        Ok(match (version.kind, version.content) {
            (NodeType::Dir, _) => Content::None,
            (_, None) => Content::Skipped { size: version.size },
            (_, Some(_)) => {
                let kept = self.kept_of(version)?;
                match (kept.rec, kept.hash) {
                    (Some(rec), Some(hash)) => Content::Stored { rec, hash, size: kept.size },
                    _ => Content::Skipped { size: kept.size },
                }
            }
        })
    }

    /// The index does not keep hashes: the content is read, which also shows that it is whole.
    fn kept_of(&self, version: &Version) -> Result<Kept> {
        let Some(address) = version.content else {
            return Ok(Kept { size: version.size, hash: None, rec: None });
        };
        let mut hasher = blake3::Hasher::new();
        let mut stream = self.contents.stream(address)?;
        std::io::copy(&mut stream, &mut hasher).map_err(Error::io("read", "a stored version".as_ref()))?;
        let rec = Rec { at: address, len: 0 };
        Ok(Kept { size: version.size, hash: Some(ContentHash::from_hasher(&hasher)), rec: Some(rec) })
    }

    // ---- writing down ----

    fn next_tick(&mut self, branch: BranchNo, from: Option<Place>) -> TickFact {
        let heads = &mut *self.heads;
        heads.last_tick = heads.last_tick.next();
        heads.last_at = heads.last_at.max(self.now);
        Arc::make_mut(&mut heads.branches).push_tick(heads.last_tick, branch);
        let burst = self.first_tick;
        self.first_tick.get_or_insert(heads.last_tick);
        TickFact { n: heads.last_tick, branch, at: heads.last_at, burst, from, who: self.who.clone() }
    }

    fn emit_path(
        &mut self,
        action: Action,
        node: NodeId,
        tick: TickFact,
        state: Option<&FileState>,
    ) -> Result<()> {
        let body = state.map_or(Body::Deleted, |s| Body::Payload(raw(to_json(s))));
        let draft = Draft {
            action,
            item_type: ItemType::FILE,
            item_id: Some(node.to_string()),
            summary: None,
            tick: Some(tick),
            body,
        };
        self.emit(draft, None, state)
    }

    fn emit_entity(
        &mut self,
        action: Action,
        kind: &ItemType,
        id: &str,
        payload: Option<String>,
    ) -> Result<()> {
        let (body, text) = match payload {
            Some(json) => self.place_payload(json)?,
            None => (Body::Deleted, None),
        };
        let item_id = Some(id.to_owned());
        let draft = Draft { action, item_type: kind.clone(), item_id, summary: None, tick: None, body };
        self.emit(draft, text.as_deref(), None)
    }

    /// A short payload stands in the record; a long one in the packs, before the record that names it.
    fn place_payload(&mut self, json: String) -> Result<(Body, Option<String>)> {
        if json.len() <= INLINE_PAYLOAD_MAX {
            return Ok((Body::Payload(raw(json.clone())), Some(json)));
        }
        let kept = self.keep_bytes(None, json.as_bytes())?;
        match (kept.hash, kept.rec) {
            (Some(hash), Some(rec)) => {
                Ok((Body::PayloadRef(PayloadRef { hash, rec, len: kept.size }), Some(json)))
            }
            _ => Err(Error::refused("a payload was not kept")),
        }
    }

    fn emit(&mut self, draft: Draft, body: Option<&str>, file: Option<&FileState>) -> Result<()> {
        crate::journal::schema::validate(&draft)?;
        let seq = Seq(self.next_seq.0 + self.drafts.len() as u64);
        let fact = Fact {
            seq,
            action: draft.action,
            item_type: &draft.item_type,
            item_id: draft.item_id.as_deref(),
            tick: draft.tick.as_ref(),
            body,
            file,
        };
        apply(&fact, &mut Live(self.db))?;
        self.drafts.push(draft);
        Ok(())
    }

    fn put_branch(&mut self, action: Action, branch: Branch) -> Result<()> {
        self.emit_entity(action, &ItemType::BRANCH, &branch.id.clone(), Some(to_json(&branch)))?;
        Arc::make_mut(&mut self.heads.branches).insert(branch);
        Ok(())
    }

    fn put_cursor(&mut self, cursor: Cursor) -> Result<()> {
        let action = if self.heads.cursor.is_some() { Action::Update } else { Action::Create };
        self.emit_entity(action, &ItemType::CURSOR, CURSOR_ID, Some(to_json(&cursor)))?;
        self.heads.cursor = Some(cursor);
        Ok(())
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
