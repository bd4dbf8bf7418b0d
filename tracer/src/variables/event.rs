//! One event as a line of JSON: eleven fields, then what processors have added.

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
    json.push_str("{\"event_id\":\"");
    json.push_str(facts.run);
    json.push('-');
    number(json, facts.number);
    json.push_str("\",\"timestamp_ns\":");
    number(json, facts.time_ns);
    json.push(',');
    json.push_str(facts.names);
    json.push(',');
    json.push_str(facts.site);
    json.push_str(",\"deltas\":");
    delta::write(json, facts.at, facts.before, facts.after, facts.depth);
    json.push_str(",\"thread_id\":");
    match facts.thread {
        Some(thread) => number(json, thread.into()),
        None => json.push_str("null"),
    }
    json.push_str(",\"sql_context\":");
    json.push_str(facts.sql);
    json.push_str(",\"scope\":");
    json.push_str(facts.scope);
    let (before, after) = facts.sizes;
    if before != after {
        json.push_str(",\"size_before\":");
        number(json, before as u64);
        json.push_str(",\"size_after\":");
        number(json, after as u64);
    }
}

/// Digits without the formatter, which takes longer than all the rest of an event.
pub(super) fn number(json: &mut String, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    json.push_str(std::str::from_utf8(&digits[first..]).expect("it is text because they are digits"));
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
        if self.extra.is_empty() {
            return json.push('}');
        }
        let extra = spelled(&self.extra);
        json.push(',');
        json.push_str(extra.strip_prefix('{').expect("it opens because it is an object"));
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
