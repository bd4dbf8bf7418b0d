//! State documents: JSON objects that change over time and can be had at each of their revisions.
//!
//! A revision is kept as the difference to the one before; every so often it is kept whole, so that none is far from a
//! whole one. An equal document makes no revision.

use super::View;
use crate::delta::{self, Document, Revision};
use crate::error::{Error, Result};
use crate::index::StateRow;
use crate::journal::entry::{Action, ItemType};
use crate::store::Mutation;

/// A revision is whole at least so often.
const WHOLE_EVERY: u64 = 64;

impl Mutation<'_> {
    /// Writes the document's next revision, and says its number; `None` if nothing changed.
    pub fn put_document(&mut self, name: &str, document: &Document) -> Result<Option<u64>> {
        let document = &self.redacted_document(document);
        let ts = self.now().to_iso();
        let Some(last) = self.last_state_row(name)? else {
            return self.put_revision(name, &Revision::whole(1, ts, document.clone()), Action::Create);
        };
        let rev = last.rev + 1;
        let lives = self.entity(&ItemType::STATE, name)?.is_some();
        if !lives {
            return self.put_revision(name, &Revision::whole(rev, ts, document.clone()), Action::Create);
        }
        let chain = self.state_rows(name, last.rev)?;
        let hops = chain.len() as u64;
        let before = rebuild(name, chain)?;
        let Some(delta) = delta::delta(&before, document) else { return Ok(None) };
        if hops >= WHOLE_EVERY {
            self.put_revision(name, &Revision::whole(rev, ts, document.clone()), Action::Update)
        } else {
            self.put_revision(name, &Revision::after(last.rev, rev, ts, delta), Action::Delta)
        }
    }

    fn put_revision(&mut self, name: &str, revision: &Revision, action: Action) -> Result<Option<u64>> {
        let body = serde_json::to_string(revision).expect("a document has string keys, so it is always JSON");
        self.put_state(name, action, body)?;
        Ok(Some(revision.rev))
    }
}

impl View {
    /// A document at one of its revisions.
    pub fn document(&self, name: &str, rev: u64) -> Result<Document> {
        let chain = self.store().index().read(|q| q.state_chain(name, rev))?;
        if chain.last().is_none_or(|last| last.rev != rev) {
            // Revisions are numbered without a gap: one below the newest was there, and is lost.
            if self.last_revision(name)?.is_some_and(|last| (1..=last).contains(&rev)) {
                let what =
                    format!("revision {rev} of the state {name:?} does not read: `tickfs doctor` says why");
                return Err(Error::corrupt("packs".as_ref(), 0, what));
            }
            return Err(Error::not_found(format!("the state {name:?} has no revision {rev}")));
        }
        rebuild(name, chain)
    }

    /// The number of a document's newest revision.
    pub fn last_revision(&self, name: &str) -> Result<Option<u64>> {
        // One whose payload is lost is not the one before it.
        self.entity(&ItemType::STATE, name)?;
        Ok(self.store().index().read(|q| q.last_state(name))?.map(|row| row.rev))
    }

    /// Every revision as it is kept, oldest first: the lines of `deltas.jsonl`.
    pub fn revisions(&self, name: &str) -> Result<Vec<StateRow>> {
        self.store().index().read(|q| q.all_states(name))
    }
}

fn rebuild(name: &str, chain: Vec<StateRow>) -> Result<Document> {
    let damaged = |rev: u64, why: String| {
        Error::corrupt("index.db".as_ref(), 0, format!("revision {rev} of the state {name:?}: {why}"))
    };
    let mut before: Option<(u64, Document)> = None;
    for row in chain {
        let revision: Revision =
            serde_json::from_str(&row.body).map_err(|e| damaged(row.rev, e.to_string()))?;
        let document = revision.document(before).map_err(|e| damaged(row.rev, e.to_string()))?;
        before = Some((row.rev, document));
    }
    before.map(|(_, document)| document).ok_or_else(|| damaged(0, "it has none".to_owned()))
}
