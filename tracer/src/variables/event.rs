//! One event as a line of JSON: eleven fields, then what processors have added.

use serde_json::{Map, Value};

use super::delta;

/// What the eleven fields are made of.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    /// `{"event_id":"…-`
    pub(super) head: &'a [u8],
    pub(super) number: u64,
    pub(super) time_ns: u64,
    /// `"variable_id":…,"variable_name":…,`
    pub(super) names: &'a str,
    /// `"function":…,"file":…,"line":…,"deltas":`
    pub(super) site: &'a str,
    /// Where `before` and `after` stand in the value.
    pub(super) at: usize,
    pub(super) before: &'a [u8],
    pub(super) after: &'a [u8],
    /// Of all of the value, before and after.
    pub(super) sizes: (usize, usize),
    pub(super) depth: Option<u64>,
    /// `,"thread_id":…` up to the scope.
    pub(super) end: End<'a>,
}

/// How an event's eleven fields end.
#[derive(Debug, Clone, Copy)]
pub(super) enum End<'a> {
    /// The same for all events of a variable.
    Ready(&'a [u8]),
    /// `scope` and `sql` are JSON.
    Of { thread: Option<u32>, sql: &'a str, scope: &'a str },
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

/// The names in variables of which nothing is known.
pub(super) const UNKNOWN: &str = r#""variable_id":"unknown","variable_name":"unknown_var","#;

/// How all events of a run begin.
pub(super) fn head(run: &str) -> Vec<u8> {
    format!("{{\"event_id\":\"{run}-").into_bytes()
}

impl End<'_> {
    pub(super) fn write(self, json: &mut Vec<u8>) {
        let (thread, sql, scope) = match self {
            Self::Ready(end) => return json.extend_from_slice(end),
            Self::Of { thread, sql, scope } => (thread, sql, scope),
        };
        json.extend_from_slice(b",\"thread_id\":");
        match thread {
            Some(thread) => number(json, thread.into()),
            None => json.extend_from_slice(b"null"),
        }
        json.extend_from_slice(b",\"sql_context\":");
        json.extend_from_slice(sql.as_bytes());
        json.extend_from_slice(b",\"scope\":");
        json.extend_from_slice(scope.as_bytes());
    }
}

/// Writes the event without its closing brace, so that something can still be added.
pub(super) fn open(json: &mut Vec<u8>, facts: &Facts<'_>) {
    json.extend_from_slice(facts.head);
    number(json, facts.number);
    json.extend_from_slice(b"\",\"timestamp_ns\":");
    number(json, facts.time_ns);
    json.push(b',');
    json.extend_from_slice(facts.names.as_bytes());
    json.extend_from_slice(facts.site.as_bytes());
    delta::write(json, facts.at, facts.before, facts.after, facts.depth);
    facts.end.write(json);
    let (before, after) = facts.sizes;
    if before != after {
        json.extend_from_slice(b",\"size_before\":");
        number(json, before as u64);
        json.extend_from_slice(b",\"size_after\":");
        number(json, after as u64);
    }
}

/// Digits without the formatter, which takes longer than all the rest of an event.
pub(super) fn number(json: &mut Vec<u8>, number: u64) {
    let mut digits = [b'0'; 24];
    let mut rest = number;
    // Eight digits at once: their pairs do not wait for each other.
    let mut first = digits.len();
    while rest >= 10_000 {
        first -= 8;
        let eight = (rest % 100_000_000) as u32;
        rest /= 100_000_000;
        let (high, low) = (eight / 10_000, eight % 10_000);
        for (place, pair) in [high / 100, high % 100, low / 100, low % 100].into_iter().enumerate() {
            digits[first + 2 * place..first + 2 * place + 2].copy_from_slice(&PAIRS[pair as usize]);
        }
    }
    if rest > 0 {
        first -= 4;
        let four = (rest % 10_000) as u32;
        digits[first..first + 2].copy_from_slice(&PAIRS[(four / 100) as usize]);
        digits[first + 2..first + 4].copy_from_slice(&PAIRS[(four % 100) as usize]);
    }
    let zeros = digits[first.min(23)..23].iter().take_while(|&&digit| digit == b'0').count();
    json.extend_from_slice(&digits[first.min(23) + zeros..]);
}

const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut n = 0;
    while n < 100 {
        pairs[n as usize] = [b'0' + n / 10, b'0' + n % 10];
        n += 1;
    }
    pairs
};

/// The end of an event to which nothing is added.
pub(super) const CLOSE: &[u8] = b"}\n";

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

    /// Adds it all, the closing brace, and the line's end.
    pub(super) fn close(&self, json: &mut Vec<u8>) {
        if !self.annotations.is_empty() {
            json.extend_from_slice(b",\"annotations\":");
            json.extend_from_slice(spelled(&self.annotations).as_bytes());
        }
        if self.extra.is_empty() {
            return json.extend_from_slice(CLOSE);
        }
        let extra = spelled(&self.extra);
        json.push(b',');
        json.extend_from_slice(extra.strip_prefix('{').expect("it opens because it is an object").as_bytes());
        json.push(b'\n');
    }
}

fn spelled(fields: &Map<String, Value>) -> String {
    serde_json::to_string(fields).expect("what was parsed from JSON is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn opened(json: &mut Vec<u8>, before: &[u8], after: &[u8]) {
        let facts = Facts {
            head: &head("r"),
            number: 7,
            time_ns: 1_707_916_400_000_000_000,
            names: UNKNOWN,
            site: r#""function":"main","file":"a.py","line":3,"deltas":"#,
            at: 0,
            before,
            after,
            sizes: (before.len(), after.len()),
            depth: None,
            end: End::Of { thread: None, sql: "null", scope: "null" },
        };
        open(json, &facts);
    }

    #[test]
    fn a_number_has_the_digits_that_the_formatter_gives_it() {
        let near = |n: u64| [n - 1, n, n + 1];
        let tens = (0..20).flat_map(|power| near(10_u64.pow(power)));
        for number in tens.chain([0, 7, 42, 99, 100, 12_345, u64::MAX]) {
            let mut json = Vec::new();
            super::number(&mut json, number);
            assert_eq!(String::from_utf8(json).unwrap(), number.to_string());
        }
    }

    #[test]
    fn an_event_has_eleven_fields_and_what_a_processor_adds() {
        let mut json = Vec::new();
        opened(&mut json, &[0], &[1]);
        let mut added = Added::default();
        added.close(&mut json);
        let event: Value = serde_json::from_slice(&json).unwrap();
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
        opened(&mut json, b"a", b"ab");
        added.close(&mut json);
        let event: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(event["annotations"], json!({"a": 1, "b": 2}));
        assert_eq!((&event["host"], &event["line"]), (&json!("h"), &json!(3)));
        assert_eq!((&event["size_before"], &event["size_after"]), (&json!(1), &json!(2)));
    }
}
