//! Going back, and branches.

use super::{Content, Mutation, derived_uuid, meta_of};
use crate::error::{Error, Result};
use crate::history::{Branch, Cursor, Point, Stand};
use crate::ids::BranchNo;
use crate::index::Lineage;
use crate::journal::entry::{Action, NodeType};
use crate::path::RelPath;

impl Mutation<'_> {
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

    /// Says what brought the root where it stands, and from where: a change that a command made is undone as a move is.
    pub fn note_move(&mut self, before: Stand, moved: &str) -> Result<()> {
        let cursor = self.require_cursor()?.clone();
        self.put_cursor(Cursor { moved: moved.to_owned(), before: Some(Box::new(before)), ..cursor })
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
    pub(super) fn attach(&mut self) -> Result<()> {
        if self.require_cursor()?.is_attached() {
            return Ok(());
        }
        let label = self.heads.branches.fork_label(self.cursor_point()?.branch);
        self.fork_here(&label, true)
    }

    /// Makes a branch where the root stands, takes `partial` along as its first ticks, and attaches.
    pub fn fork_here(&mut self, label: &str, auto: bool) -> Result<()> {
        let point = self.cursor_point()?;
        let Cursor { partial, before, .. } = self.require_cursor()?.clone();
        let id = derived_uuid(label, self.next_seq.0 + self.drafts.len() as u64, self.now);
        let no = self.create_branch(label, &id, point, auto)?;
        // The move that detached it can still be undone.
        self.put_cursor(Cursor { before, ..Cursor::attached_to(no, "fork") })?;
        for path in partial {
            self.bring_to(&path.path, path.at)?;
        }
        Ok(())
    }

    /// Makes a path of the active branch's head what it was at another point.
    pub(super) fn bring_to(&mut self, path: &RelPath, at: Point) -> Result<()> {
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

    pub(super) fn bring_directories(&mut self, path: &RelPath, from: &Lineage) -> Result<()> {
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
}
