//! From a record of the journal to rows of the projection. The one place that knows what a record means to it.
//!
//! Invariant: `apply` reads nothing but the record, so the rows do not depend on when or how they are made.

use serde::Deserialize;

use super::rows::{DirentRow, PlaceRow, Rows, TickRow, Version};
use crate::error::{Error, Result};
use crate::ids::{NodeId, Seq, StoreId, Tick};
use crate::journal::entry::{Action, FileState, ItemType, TickFact};

/// Records that take more than this are worth finding again by their content's hash.
pub(crate) const BIG_RECORD: u32 = 1024;

/// What a record says, freed of its spelling.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fact<'a> {
    pub(crate) seq: Seq,
    pub(crate) action: Action,
    pub(crate) item_type: &'a ItemType,
    pub(crate) item_id: Option<&'a str>,
    pub(crate) tick: Option<&'a TickFact>,
    /// The payload's text; `None` for a tombstone and for an event without one.
    pub(crate) body: Option<&'a str>,
    /// The payload of a `file`, where the caller has it decoded already.
    pub(crate) file: Option<&'a FileState>,
}

/// Turns one record into rows. `Refused` means that the payload is not what its kind asks for.
pub(crate) fn apply(fact: &Fact<'_>, rows: &mut impl Rows) -> Result<()> {
    if fact.action == Action::Adjudicate {
        // It speaks of the journal itself, and no mutation writes it.
        return Ok(());
    }
    if fact.action == Action::Imported {
        apply_imported(fact, rows)?;
    }
    if fact.action.is_observability() {
        return rows.observed(fact.seq, fact.action);
    }
    let id = fact.item_id.ok_or_else(|| misshapen(fact, "it has no item_id"))?;
    if *fact.item_type == ItemType::FILE {
        let tick = fact.tick.ok_or_else(|| misshapen(fact, "a path's record has no tick"))?;
        let node = id.parse().map(NodeId).map_err(|_not_a_number| misshapen(fact, "its id is no node"))?;
        return apply_path(fact, tick, node, rows);
    }
    if *fact.item_type == ItemType::STATE {
        return apply_state(fact, id, rows);
    }
    rows.entity(fact.item_type.as_str(), id, fact.seq, fact.body)
}

fn apply_path(fact: &Fact<'_>, tick: &TickFact, node: NodeId, rows: &mut impl Rows) -> Result<()> {
    if tick.n != Tick::BASE {
        let (n, at, burst) = (tick.n, tick.at, tick.burst);
        rows.tick(TickRow { n, seq: fact.seq, at, action: fact.action, node, burst }, tick.branch)?;
    }
    let (branch, n) = (tick.branch, tick.n);
    if let Some(from) = &tick.from {
        let name = from.path.name().to_vec();
        rows.dirent(DirentRow { branch, dir: from.dir, name: name.clone(), tick: n, node: None })?;
        if fact.action != Action::Rename {
            rows.place(PlaceRow { node, branch, tick: n, dir: None, name })?;
        }
    }
    let decoded;
    let state = match (fact.file, fact.body) {
        (Some(state), _) => state,
        (None, Some(body)) => {
            decoded = serde_json::from_str::<FileState>(body).map_err(|e| misshapen(fact, &e.to_string()))?;
            &decoded
        }
        (None, None) => return Ok(()),
    };
    if names_a_place(fact.action) && !state.path.is_root() {
        let name = state.path.name().to_vec();
        rows.dirent(DirentRow { branch, dir: state.dir, name: name.clone(), tick: n, node: Some(node) })?;
        rows.place(PlaceRow { node, branch, tick: n, dir: Some(state.dir), name })?;
    }
    if fact.action != Action::Rename {
        rows.version(version_of(state, branch, n))?;
    }
    match (state.hash, state.rec) {
        (Some(hash), Some(rec)) if rec.len > BIG_RECORD => rows.big(hash, rec),
        _ => Ok(()),
    }
}

/// Whether the record may be the first that hangs the node under this name.
fn names_a_place(action: Action) -> bool {
    !matches!(action, Action::Modify | Action::Mode)
}

pub(crate) fn version_of(state: &FileState, branch: crate::ids::BranchNo, tick: Tick) -> Version {
    Version {
        node: state.node,
        branch,
        tick,
        kind: state.kind,
        content: state.rec.map(|rec| rec.at),
        size: state.size,
        mtime: state.mtime,
        mode: state.mode,
        uid: state.uid,
        gid: state.gid,
        holes: state.holes.clone(),
    }
}

fn apply_state(fact: &Fact<'_>, name: &str, rows: &mut impl Rows) -> Result<()> {
    #[derive(Deserialize)]
    struct Revision {
        rev: u64,
    }
    let Some(body) = fact.body else {
        return rows.entity(ItemType::STATE.as_str(), name, fact.seq, None);
    };
    let revision: Revision = serde_json::from_str(body).map_err(|e| misshapen(fact, &e.to_string()))?;
    let whole = fact.action != Action::Delta;
    rows.state_revision(name, revision.rev, fact.seq, whole, body)?;
    rows.entity(ItemType::STATE.as_str(), name, fact.seq, Some(&format!("{{\"rev\":{}}}", revision.rev)))
}

fn apply_imported(fact: &Fact<'_>, rows: &mut impl Rows) -> Result<()> {
    #[derive(Deserialize)]
    struct Origin {
        origin_store_id: StoreId,
        seq: Seq,
    }
    let body = fact.body.ok_or_else(|| misshapen(fact, "an imported event has no payload"))?;
    let origin: Origin = serde_json::from_str(body).map_err(|e| misshapen(fact, &e.to_string()))?;
    rows.foreign(origin.origin_store_id.as_str(), origin.seq, fact.seq)
}

fn misshapen(fact: &Fact<'_>, why: &str) -> Error {
    Error::refused(format!("record {} ({} {}): {why}", fact.seq, fact.action.as_str(), fact.item_type))
}
