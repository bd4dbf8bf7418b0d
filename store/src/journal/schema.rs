//! What a record must say before it may be written: nothing invalid is ever appended.
//!
//! The kinds that tickfs itself rests on are checked field by field; of any other entity only that it is whole.

use serde::Deserialize;

use super::entry::{Action, Body, Draft, FileState, INLINE_PAYLOAD_MAX, ItemType};
use crate::error::{Error, Result};
use crate::ids::{BranchNo, NodeId};

/// Refuses a draft that is not a whole state, or not whole observability.
pub fn validate(draft: &Draft) -> Result<()> {
    let wrong = |why: &str| {
        let (action, kind) = (draft.action.as_str(), &draft.item_type);
        Err(Error::refused(format!("a record {action} of a {kind} was refused: {why}")))
    };
    let payload = match &draft.body {
        Body::Payload(json) if json.get().len() > INLINE_PAYLOAD_MAX => {
            return wrong("its payload is too long to stand in the journal");
        }
        Body::Payload(json) if !json.get().starts_with('{') => return wrong("its payload is no object"),
        Body::Payload(json) => Some(json.get()),
        _ => None,
    };
    if draft.action.is_observability() {
        return match draft.body {
            Body::Deleted => wrong("it holds no state that could be deleted"),
            _ => Ok(()),
        };
    }
    let Some(id) = draft.item_id.as_deref().filter(|id| !id.is_empty()) else {
        return wrong("it names no entity");
    };
    let removes = matches!(draft.action, Action::Delete | Action::Rmdir);
    match draft.body {
        Body::None => return wrong("it has neither a payload nor a tombstone"),
        Body::Deleted if !removes => return wrong("only what is deleted has no payload"),
        Body::Payload(_) | Body::PayloadRef(_) if removes => return wrong("what is deleted has no payload"),
        _ => {}
    }
    if draft.action == Action::Delta && draft.item_type != ItemType::STATE {
        return wrong("only a state has deltas");
    }
    match check_fields(draft, id, payload) {
        Ok(()) => Ok(()),
        Err(why) => wrong(&why),
    }
}

fn check_fields(draft: &Draft, id: &str, payload: Option<&str>) -> Result<(), String> {
    if draft.item_type == ItemType::FILE {
        let node: NodeId = id.parse().map(NodeId).map_err(|_not_a_number| "its id is no node")?;
        let tick = draft.tick.as_ref().ok_or("it belongs to no tick")?;
        let Some(json) = payload else {
            let gone = matches!(draft.body, Body::Deleted);
            return if gone && tick.from.is_none() {
                Err("a tombstone names its path".to_owned())
            } else {
                Ok(())
            };
        };
        let state: FileState = read(json)?;
        return if state.node == node { Ok(()) } else { Err("its id names another node".to_owned()) };
    }
    let Some(json) = payload else { return Ok(()) };
    match draft.item_type.as_str() {
        "branch" => read::<Branch>(json).map(drop),
        "snapshot" => read::<Snapshot>(json).map(drop),
        "cursor" => read::<Cursor>(json).map(drop),
        "state" => read::<Revision>(json).map(drop),
        _ => Ok(()),
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

/// The fields without which the rest of the store could not use the entity; it may have more.
#[derive(Deserialize)]
#[expect(dead_code, reason = "they are read only to see that they are there")]
struct Branch<'a> {
    id: &'a str,
    no: BranchNo,
    #[serde(borrow)]
    label: std::borrow::Cow<'a, str>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "it is read only to see that it is there")]
struct Snapshot<'a> {
    #[serde(borrow)]
    name: std::borrow::Cow<'a, str>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "it is read only to see that it is there")]
struct Cursor {
    branch: BranchNo,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "it is read only to see that it is there")]
struct Revision {
    rev: u64,
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::super::testing::{Bench, NOW, note, tombstone, update};
    use super::super::writer::WriterOptions;
    use super::*;

    fn of(kind: ItemType, payload: &str) -> Draft {
        Draft { item_type: kind, ..update("1", payload) }
    }

    /// Shows EL-20, EL-22.
    #[test]
    fn what_is_no_whole_state_is_refused_and_nothing_is_appended() {
        let long =
            RawValue::from_string(format!("{{\"x\":\"{}\"}}", "x".repeat(INLINE_PAYLOAD_MAX))).unwrap();
        let bad = [
            Draft { item_id: None, ..update("a", "{}") },
            Draft { body: Body::None, ..update("a", "{}") },
            Draft { body: Body::Deleted, ..update("a", "{}") },
            Draft { action: Action::Delete, ..update("a", "{}") },
            Draft { action: Action::Delta, ..update("a", "{}") },
            Draft { body: Body::Deleted, ..note("x") },
            Draft { body: Body::Payload(long), ..update("a", "{}") },
            update("a", "[1]"),
            of(ItemType::FILE, "{}"),
            of(ItemType::BRANCH, r#"{"id":"br_1","label":"main"}"#),
            of(ItemType::SNAPSHOT, r#"{"name":3}"#),
            of(ItemType::CURSOR, "{}"),
            of(ItemType::STATE, "{}"),
        ];
        let bench = Bench::new();
        let mut journal = bench.writer(WriterOptions::default());
        let mut group = journal.begin(NOW).unwrap();
        for draft in &bad {
            assert!(group.push_mutation(std::slice::from_ref(draft)).is_err(), "{draft:?}");
        }
        assert!(group.is_empty());
        group.commit().unwrap();
        assert_eq!(journal.end().offset, 0);
    }

    #[test]
    fn what_is_whole_is_taken() {
        let good = [
            update("a", "{}"),
            tombstone("a"),
            note("x"),
            of(ItemType::BRANCH, r#"{"id":"br_1","no":1,"label":"a \"name\""}"#),
            of(ItemType::SNAPSHOT, r#"{"name":"before","tick":3}"#),
            of(ItemType::CURSOR, r#"{"branch":1}"#),
            of(ItemType::STATE, r#"{"rev":1}"#),
        ];
        for draft in &good {
            validate(draft).unwrap();
        }
    }
}
