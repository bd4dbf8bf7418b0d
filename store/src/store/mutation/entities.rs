//! What is no path: entities, states and events.

use serde::Serialize;

use super::{Mutation, to_json};
use crate::delta::Document;
use crate::error::{Error, Result};
use crate::ids::Seq;
use crate::journal::entry::{Action, Draft, ItemType};

impl Mutation<'_> {
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
    pub(super) fn redacted(&self, payload: &impl Serialize) -> Result<String> {
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
}
