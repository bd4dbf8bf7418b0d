//! Changes of paths: what a save, a removal or a rename comes to. While detached, the first difference forks.

use super::{Content, Found, Meta, Mutation, Saved, file_state, meta_of};
use crate::error::{Error, Result};
use crate::history::Point;
use crate::ids::{Tick, UnixNanos};
use crate::journal::entry::{Action, NodeType, Place};
use crate::path::RelPath;

impl Mutation<'_> {
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

    pub(super) fn save_at_head(
        &mut self,
        path: &RelPath,
        meta: &Meta,
        content: Content<'_>,
    ) -> Result<Saved> {
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

    pub(super) fn remove_at_head(&mut self, path: &RelPath) -> Result<Option<Tick>> {
        let point = self.cursor_point()?;
        let lineage = self.lineage(point);
        let Some(found) = self.find(&lineage, path)? else { return Ok(None) };
        self.remove_subtree(&found, path).map(Some)
    }

    /// Children first, so that at every tick each path has its directory.
    pub(super) fn remove_subtree(&mut self, found: &Found, path: &RelPath) -> Result<Tick> {
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
}
