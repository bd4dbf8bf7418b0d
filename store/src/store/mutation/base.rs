//! Paths without ticks: the base of the root, and trees that are imported from elsewhere.

use super::{Content, Meta, Mutation, derived_uuid, file_state};
use crate::error::{Error, Result};
use crate::history::{Branch, Cursor};
use crate::ids::{BranchNo, NodeId, Tick};
use crate::index::Lineage;
use crate::journal::entry::{Action, TickFact};
use crate::path::RelPath;

impl Mutation<'_> {
    /// Writes down a path as it was first seen. Parents come before their children; the root itself comes first.
    /// Repeating a path after an interrupted base replaces what was said of it.
    pub fn base(&mut self, path: &RelPath, meta: &Meta, content: Content<'_>) -> Result<()> {
        if self.heads.cursor.is_some() {
            return Err(Error::refused("the base is complete, and never changes"));
        }
        self.base_entry(BranchNo::MAIN, path, meta, content)
    }

    pub(super) fn base_entry(
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
        let kept = self.keep_first(content)?;
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

    /// The same with an id that is made of its place in the journal, so that nobody has to draw one.
    pub fn complete_base(&mut self) -> Result<()> {
        let id = derived_uuid("main", self.next_seq.0 + self.drafts.len() as u64, self.now);
        self.finish_base(&id)
    }

    /// Whether something of an interrupted base is there already.
    pub fn base_has_begun(&self) -> Result<bool> {
        let lineage = Lineage(vec![(BranchNo::MAIN, Tick::BASE)]);
        Ok(self.query().version(&lineage, NodeId::ROOT)?.is_some())
    }

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
}
