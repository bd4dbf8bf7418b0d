//! State documents: what changed from one revision to the next, and the document again from the changes.
//!
//! A document is a JSON object. A delta holds `changed`, an object that is laid over the document, and `deleted`, the
//! places that are gone. To apply one: first delete; then lay `changed` over the document, which goes down where both
//! sides hold an object, and sets whatever else it holds. So an object is merged only into an object; arrays are
//! replaced whole. Places are JSON pointers (RFC 6901) that go through objects only.
//!
//! Invariants:
//!   * `apply(old, delta(old, new))` is `new`, exactly; `delta` of equal documents is `None`.
//!   * A delta that does not fit the document it is applied to is an error, never a guess.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub type Document = Map<String, Value>;

/// The difference of two documents.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delta {
    pub changed: Document,
    pub deleted: Vec<String>,
}

impl Delta {
    fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.deleted.is_empty()
    }
}

/// The delta deletes what the document does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the change deletes {pointer:?}, which the document before it does not hold")]
pub struct DoesNotFit {
    pub pointer: String,
}

/// What turns `old` into `new`, or nothing if they are equal.
#[must_use]
pub fn delta(old: &Document, new: &Document) -> Option<Delta> {
    let mut deleted = Vec::new();
    let changed = compare(old, new, &mut String::new(), &mut deleted);
    Some(Delta { changed, deleted }).filter(|delta| !delta.is_empty())
}

/// `here` is the pointer of the objects compared; it is as before when this returns.
fn compare(old: &Document, new: &Document, here: &mut String, deleted: &mut Vec<String>) -> Document {
    let here_len = here.len();
    for key in old.keys().filter(|&key| !new.contains_key(key)) {
        push_token(here, key);
        deleted.push(here.clone());
        here.truncate(here_len);
    }
    let mut changed = Document::new();
    for (key, new) in new {
        match (old.get(key), new) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                push_token(here, key);
                let inner = compare(old, new, here, deleted);
                here.truncate(here_len);
                if !inner.is_empty() {
                    changed.insert(key.clone(), Value::Object(inner));
                }
            }
            (Some(old), new) if old == new => {}
            _ => {
                changed.insert(key.clone(), new.clone());
            }
        }
    }
    changed
}

fn push_token(pointer: &mut String, key: &str) {
    pointer.push('/');
    for letter in key.chars() {
        match letter {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            _ => pointer.push(letter),
        }
    }
}

/// The document after the change.
pub fn apply(mut document: Document, delta: &Delta) -> Result<Document, DoesNotFit> {
    for pointer in &delta.deleted {
        delete(&mut document, pointer).ok_or_else(|| DoesNotFit { pointer: pointer.clone() })?;
    }
    lay_over(&mut document, &delta.changed);
    Ok(document)
}

fn delete(document: &mut Document, pointer: &str) -> Option<Value> {
    let (parents, last) = pointer.rsplit_once('/')?;
    let mut tokens = parents.split('/');
    // Before the first slash stands nothing: a pointer begins with one.
    tokens.next().filter(|before| before.is_empty())?;
    let mut object = document;
    for token in tokens {
        object = object.get_mut(&key_of(token))?.as_object_mut()?;
    }
    object.remove(&key_of(last))
}

fn key_of(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

fn lay_over(document: &mut Document, changed: &Document) {
    for (key, new) in changed {
        match (document.get_mut(key), new) {
            (Some(Value::Object(old)), Value::Object(new)) => lay_over(old, new),
            (Some(old), new) => new.clone_into(old),
            (None, new) => drop(document.insert(key.clone(), new.clone())),
        }
    }
}

/// One revision of a document as it is written down: one line of `deltas.jsonl`.
///
/// With a `base`, it is the delta from that revision; without, `changed` is the whole document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revision {
    pub rev: u64,
    /// When it was written, for people.
    pub ts: String,
    pub base: Option<u64>,
    pub changed: Document,
    pub deleted: Vec<String>,
}

/// A revision that cannot follow the one it was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokenChain {
    #[error("revision {rev} builds on revision {base}, which is not the one before it")]
    WrongBase { rev: u64, base: u64 },
    #[error("revision {rev} is whole and yet deletes")]
    WholeAndDeleting { rev: u64 },
    #[error("revision {rev} does not fit revision {base}")]
    DoesNotFit { rev: u64, base: u64, source: DoesNotFit },
}

impl Revision {
    #[must_use]
    pub fn whole(rev: u64, ts: String, document: Document) -> Self {
        Self { rev, ts, base: None, changed: document, deleted: Vec::new() }
    }

    #[must_use]
    pub fn after(base: u64, rev: u64, ts: String, delta: Delta) -> Self {
        Self { rev, ts, base: Some(base), changed: delta.changed, deleted: delta.deleted }
    }

    /// The document at this revision, from the one before it. A whole one needs none.
    pub fn document(self, before: Option<(u64, Document)>) -> Result<Document, BrokenChain> {
        let rev = self.rev;
        match (self.base, before) {
            (None, _) if self.deleted.is_empty() => Ok(self.changed),
            (None, _) => Err(BrokenChain::WholeAndDeleting { rev }),
            (Some(base), Some((number, document))) if number == base => {
                apply(document, &Delta { changed: self.changed, deleted: self.deleted })
                    .map_err(|source| BrokenChain::DoesNotFit { rev, base, source })
            }
            (Some(base), _) => Err(BrokenChain::WrongBase { rev, base }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn document(value: Value) -> Document {
        match value {
            Value::Object(document) => document,
            other => panic!("{other} is no document"),
        }
    }

    fn delta_of(old: Value, new: Value) -> Value {
        serde_json::to_value(delta(&document(old), &document(new))).unwrap()
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0_i64..3).prop_map(Value::from),
            prop::sample::select(vec!["", "a", "b"]).prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 4, |inner| {
            prop_oneof![
                1 => prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                4 => any_object(inner).prop_map(Value::Object),
            ]
        })
    }

    /// Few keys, so that two documents have many in common; among them all that a pointer must escape.
    fn any_object(values: impl Strategy<Value = Value>) -> impl Strategy<Value = Document> {
        let keys =
            prop::sample::select(vec!["", "a", "b", "/", "~", "~1", "~0", "~01", "a/b", "0", "-", "é"]);
        prop::collection::vec((keys, values), 0..8)
            .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    proptest! {
        #[test]
        fn a_delta_leads_from_the_old_document_to_the_new(
            old in any_object(any_value()),
            new in any_object(any_value()),
        ) {
            match delta(&old, &new) {
                None => prop_assert_eq!(old, new),
                Some(delta) => {
                    let written = serde_json::to_string(&delta).unwrap();
                    let read: Delta = serde_json::from_str(&written).unwrap();
                    prop_assert_eq!(apply(old, &read), Ok(new), "{}", written);
                }
            }
        }

        #[test]
        fn equal_documents_have_no_delta(document in any_object(any_value())) {
            prop_assert_eq!(delta(&document, &document.clone()), None);
        }

        #[test]
        fn a_delta_that_does_not_fit_never_panics(
            document in any_object(any_value()),
            changed in any_object(any_value()),
            deleted in prop::collection::vec("[a/~01]{0,6}", 0..4),
        ) {
            let unfit = apply(document, &Delta { changed, deleted: deleted.clone() }).err();
            prop_assert!(unfit.is_none_or(|unfit| deleted.contains(&unfit.pointer)));
        }
    }

    #[test]
    fn one_changed_leaf_of_a_large_document_is_a_small_record() {
        let entry = |n: u32| (format!("key {n}"), json!({"count": n, "nested": {"text": "x".repeat(100)}}));
        let old: Document = (0..1000).map(entry).collect();
        let mut new = old.clone();
        new["key 500"]["nested"]["text"] = json!("changed");
        let written = serde_json::to_string(&delta(&old, &new)).unwrap();
        assert_eq!(written, r#"{"changed":{"key 500":{"nested":{"text":"changed"}}},"deleted":[]}"#);
    }

    #[test]
    fn an_object_and_what_is_none_replace_each_other_exactly() {
        let (scalar, full, empty) = (json!({"a": 1}), json!({"a": {"b": 1}}), json!({"a": {}}));
        assert_eq!(
            delta_of(scalar.clone(), full.clone()),
            json!({"changed": {"a": {"b": 1}}, "deleted": []})
        );
        assert_eq!(delta_of(full.clone(), scalar.clone()), json!({"changed": {"a": 1}, "deleted": []}));
        assert_eq!(delta_of(full, empty.clone()), json!({"changed": {}, "deleted": ["/a/b"]}));
        assert_eq!(delta_of(scalar, empty), json!({"changed": {"a": {}}, "deleted": []}));
    }

    #[test]
    fn a_null_is_a_value_and_a_missing_key_is_none() {
        assert_eq!(
            delta_of(json!({"a": 1}), json!({"a": null})),
            json!({"changed": {"a": null}, "deleted": []})
        );
        assert_eq!(delta_of(json!({"a": null}), json!({})), json!({"changed": {}, "deleted": ["/a"]}));
    }

    #[test]
    fn arrays_are_replaced_whole() {
        assert_eq!(
            delta_of(json!({"a": [1, {"b": 2}]}), json!({"a": [1, {"b": 3}]})),
            json!({"changed": {"a": [1, {"b": 3}]}, "deleted": []})
        );
    }

    #[test]
    fn deleting_what_is_not_there_is_an_error() {
        for pointer in ["", "a", "/b", "/a/b", "/a/0"] {
            let delta = Delta { changed: Document::new(), deleted: vec![pointer.to_owned()] };
            let error = DoesNotFit { pointer: pointer.to_owned() };
            assert_eq!(apply(document(json!({"a": [1]})), &delta), Err(error));
        }
    }

    #[test]
    fn a_revision_has_exactly_these_fields() {
        let whole = Revision::whole(1, "t".to_owned(), document(json!({"a": {"b": 1}})));
        let line = r#"{"rev":1,"ts":"t","base":null,"changed":{"a":{"b":1}},"deleted":[]}"#;
        assert_eq!(serde_json::to_string(&whole).unwrap(), line);
        assert_eq!(serde_json::from_str::<Revision>(line).unwrap(), whole);
        assert!(serde_json::from_str::<Revision>(&line.replace("\"ts\"", "\"at\":1,\"ts\"")).is_err());
    }

    #[test]
    fn revisions_give_each_document_again_and_only_in_order() {
        let documents =
            [json!({"a": 1, "b": {"c": 2}}), json!({"b": {"c": 3}}), json!({"b": {"c": 3, "d": []}})];
        let documents = documents.map(document);
        let ts = || "t".to_owned();
        let mut revisions = vec![Revision::whole(1, ts(), documents[0].clone())];
        for (rev, pair) in (1..).zip(documents.windows(2)) {
            revisions.push(Revision::after(rev, rev + 1, ts(), delta(&pair[0], &pair[1]).unwrap()));
        }
        let mut before = None;
        for (revision, document) in revisions.iter().zip(&documents) {
            let rebuilt = revision.clone().document(before).unwrap();
            assert_eq!(&rebuilt, document);
            before = Some((revision.rev, rebuilt));
        }
        let skipped = revisions[2].clone().document(Some((1, documents[0].clone())));
        assert_eq!(skipped, Err(BrokenChain::WrongBase { rev: 3, base: 2 }));
        assert_eq!(revisions[1].clone().document(None), Err(BrokenChain::WrongBase { rev: 2, base: 1 }));
        let unfit = revisions[1].clone().document(Some((1, Document::new())));
        assert!(matches!(unfit, Err(BrokenChain::DoesNotFit { rev: 2, base: 1, .. })), "{unfit:?}");
        let both = Revision { deleted: vec!["/a".to_owned()], ..revisions[0].clone() };
        assert_eq!(both.document(None), Err(BrokenChain::WholeAndDeleting { rev: 1 }));
    }
}
