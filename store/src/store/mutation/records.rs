//! Writing down: each change becomes a draft of a record and rows of the open transaction.

use std::sync::Arc;

use super::{CURSOR_ID, Mutation, raw, to_json};
use crate::error::{Error, Result};
use crate::history::{Branch, Cursor};
use crate::ids::{BranchNo, NodeId, Seq};
use crate::index::{Fact, Live, apply};
use crate::journal::entry::{
    Action, Body, Draft, FileState, INLINE_PAYLOAD_MAX, ItemType, PayloadRef, Place, TickFact,
};

impl Mutation<'_> {
    pub(super) fn next_tick(&mut self, branch: BranchNo, from: Option<Place>) -> TickFact {
        let heads = &mut *self.heads;
        heads.last_tick = heads.last_tick.next();
        heads.last_at = heads.last_at.max(self.now);
        heads.branches.push_tick(heads.last_tick, branch);
        let burst = self.first_tick;
        self.first_tick.get_or_insert(heads.last_tick);
        TickFact { n: heads.last_tick, branch, at: heads.last_at, burst, from, who: self.who.clone() }
    }

    pub(super) fn emit_path(
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

    pub(super) fn emit_entity(
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
    pub(super) fn place_payload(&mut self, json: String) -> Result<(Body, Option<String>)> {
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

    pub(super) fn emit(&mut self, draft: Draft, body: Option<&str>, file: Option<&FileState>) -> Result<()> {
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

    pub(super) fn put_branch(&mut self, action: Action, branch: Branch) -> Result<()> {
        self.emit_entity(action, &ItemType::BRANCH, &branch.id.clone(), Some(to_json(&branch)))?;
        self.heads.branches.insert(branch);
        Ok(())
    }

    pub(super) fn put_cursor(&mut self, cursor: Cursor) -> Result<()> {
        let action = if self.heads.cursor.is_some() { Action::Update } else { Action::Create };
        self.emit_entity(action, &ItemType::CURSOR, CURSOR_ID, Some(to_json(&cursor)))?;
        self.heads.cursor = Some(Arc::new(cursor));
        Ok(())
    }
}
