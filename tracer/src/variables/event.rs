//! One event as a line of JSON: eleven fields, then what processors have added.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::delta;

/// What the eleven fields are made of.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) run: &'a str,
    pub(super) number: u64,
    pub(super) time_ns: u64,
    /// `"variable_id":…,"variable_name":…`
    pub(super) names: &'a str,
    /// `"function":…,"file":…,"line":…`
    pub(super) site: &'a str,
    /// Where `before` and `after` stand in the value.
    pub(super) at: usize,
    pub(super) before: &'a [u8],
    pub(super) after: &'a [u8],
    /// Of all of the value, before and after.
    pub(super) sizes: (usize, usize),
    pub(super) depth: Option<u64>,
    pub(super) thread: Option<u32>,
    /// JSON.
    pub(super) sql: &'a str,
    /// JSON.
    pub(super) scope: &'a str,
}

/// A processor cannot overwrite these.
const CORE: [&str; 11] = [
    "event_id",
    "timestamp_ns",
    "variable_id",
    "variable_name",
    "function",
    "file",
    "line",
    "deltas",
    "thread_id",
    "sql_context",
    "scope",
];
/// Nor these, which follow them.
const OURS: [&str; 3] = ["size_before", "size_after", "annotations"];

/// The names in variables and sites of which nothing is known.
pub(super) const UNKNOWN: &str = r#""variable_id":"unknown","variable_name":"unknown_var""#;

/// Writes the event without its closing brace, so that something can still be added.
pub(super) fn open(json: &mut String, facts: &Facts<'_>) {
    // Writing to a String cannot fail.
    let _infallible = write!(
        json,
        "{{\"event_id\":\"{}-{}\",\"timestamp_ns\":{},{},{},\"deltas\":",
        facts.run, facts.number, facts.time_ns, facts.names, facts.site
    );
    delta::write(json, facts.at, facts.before, facts.after, facts.depth);
    json.push_str(",\"thread_id\":");
    match facts.thread {
        Some(thread) => {
            let _infallible = write!(json, "{thread}");
        }
        None => json.push_str("null"),
    }
    json.push_str(",\"sql_context\":");
    json.push_str(facts.sql);
    json.push_str(",\"scope\":");
    json.push_str(facts.scope);
    let (before, after) = facts.sizes;
    if before != after {
        let _infallible = write!(json, ",\"size_before\":{before},\"size_after\":{after}");
    }
}

/// What processors add to an event.
#[derive(Debug, Default)]
pub(super) struct Added {
    annotations: Map<String, Value>,
    extra: Map<String, Value>,
}

impl Added {
    pub(super) fn annotate(&mut self, annotations: Map<String, Value>) {
        self.annotations.extend(annotations);
    }

    /// Returns how many fields it refused.
    pub(super) fn enrich(&mut self, extra: Map<String, Value>) -> u64 {
        let mut refused = 0;
        for (name, value) in extra {
            match CORE.contains(&name.as_str()) || OURS.contains(&name.as_str()) {
                true => refused += 1,
                false => drop(self.extra.insert(name, value)),
            }
        }
        refused
    }

    /// Adds it all, and the closing brace.
    pub(super) fn close(&self, json: &mut String) {
        if !self.annotations.is_empty() {
            json.push_str(",\"annotations\":");
            json.push_str(&spelled(&self.annotations));
        }
        let extra = spelled(&self.extra);
        if let Some(fields) = extra.strip_prefix('{').filter(|fields| *fields != "}") {
            json.push(',');
            json.push_str(fields);
        } else {
            json.push('}');
        }
    }
}

fn spelled(fields: &Map<String, Value>) -> String {
    serde_json::to_string(fields).expect("what was parsed from JSON is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts<'a>(before: &'a [u8], after: &'a [u8]) -> Facts<'a> {
        Facts {
            run: "r",
            number: 7,
            time_ns: 1_707_916_400_000_000_000,
            names: UNKNOWN,
            site: r#""function":"main","file":"a.py","line":3"#,
            at: 0,
            before,
            after,
            sizes: (before.len(), after.len()),
            depth: None,
            thread: None,
            sql: "null",
            scope: "null",
        }
    }

    #[test]
    fn an_event_has_eleven_fields_and_what_a_processor_adds() {
        let mut json = String::new();
        open(&mut json, &facts(&[0], &[1]));
        let mut added = Added::default();
        added.close(&mut json);
        let event: Value = serde_json::from_str(&json).unwrap();
        let names: Vec<&String> = event.as_object().unwrap().keys().collect();
        assert_eq!(names.len(), 11, "{names:?}");
        assert_eq!(
            (&event["variable_id"], &event["variable_name"]),
            (&json!("unknown"), &json!("unknown_var"))
        );
        assert_eq!(
            (&event["event_id"], &event["timestamp_ns"]),
            (&json!("r-7"), &json!(1_707_916_400_000_000_000_u64))
        );

        let object = |value: Value| value.as_object().unwrap().clone();
        added.annotate(object(json!({"a": 1, "b": 1})));
        added.annotate(object(json!({"b": 2})));
        assert_eq!(added.enrich(object(json!({"host": "h", "line": 9}))), 1);
        json.clear();
        open(&mut json, &facts(b"a", b"ab"));
        added.close(&mut json);
        let event: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(event["annotations"], json!({"a": 1, "b": 2}));
        assert_eq!((&event["host"], &event["line"]), (&json!("h"), &json!(3)));
        assert_eq!((&event["size_before"], &event["size_after"]), (&json!(1), &json!(2)));
    }
}
