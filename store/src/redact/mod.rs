//! Takes secrets out of whatever is about to be written down: events, arguments, errors, logs.
//!
//! A secret is what follows a name such as `password` or `token` (names.rs), what has the form of one in a text
//! (text.rs), and what was registered, such as the token of a session. In its place stands `<redacted>`.
//!
//! Invariants:
//!   * Redacting what was redacted changes nothing.
//!   * No registered secret is left in what comes out, wherever it stood: in keys and numbers too.
//!   * The work grows with the text alone; nothing panics.
//!   * Recorded file contents never pass here.

mod names;
mod text;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use memchr::memmem;
use parking_lot::RwLock;
use serde_json::{Map, Value};

/// What stands in the place of a secret.
pub const MARK: &str = "<redacted>";

/// Taking a secret out can bring the name of another to light (two halves of a name around it). A text that is not
/// settled after this many passes was made to be so, and is replaced whole.
const PASSES_MAX: usize = 8;

/// One for the whole process; what it is told in one thread it knows in all.
#[derive(Default)]
pub struct Redactor {
    /// In each spelling in which it may appear.
    known: RwLock<Vec<String>>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").field("known", &self.known.read().len()).finish()
    }
}

impl Redactor {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on these characters are taken out wherever they stand, also as JSON and URLs spell them. A secret of
    /// few letters takes much along with it: that is the lesser harm.
    pub fn register(&self, secret: &str) {
        let secret = secret.trim();
        if secret.is_empty() {
            return;
        }
        let mut known = self.known.write();
        for spelling in [secret.to_owned(), as_in_json(secret), as_in_url(secret)] {
            if !known.contains(&spelling) {
                known.push(spelling);
            }
        }
    }

    /// `user:password`, of which the user alone is no secret.
    pub fn register_credential(&self, credential: &str) {
        self.register(credential);
        if let Some((_, password)) = credential.split_once(':') {
            self.register(password);
        }
    }

    #[must_use]
    pub fn redact_str<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut redacted = Cow::Borrowed(text);
        for _ in 0..PASSES_MAX {
            match self.pass(&redacted) {
                None => return redacted,
                Some(changed) => redacted = Cow::Owned(changed),
            }
        }
        Cow::Borrowed(MARK)
    }

    /// The arguments of a command. After an option such as `--password`, the next one is its value.
    #[must_use]
    pub fn redact_args(&self, args: &[String]) -> Vec<String> {
        let previous = std::iter::once(None).chain(args.iter().map(|arg| Some(arg.as_str())));
        previous.zip(args).map(|(previous, arg)| self.redact_arg(previous, arg)).collect()
    }

    /// In keys and values, at any depth. What stands under a sensitive name is replaced whole, whatever it is.
    pub fn redact_value(&self, value: &mut Value) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => {
                if self.holds_known(&number.to_string()) {
                    *value = mark();
                }
            }
            Value::String(text) => {
                if let Cow::Owned(redacted) = self.redact_str(text) {
                    *text = redacted;
                }
            }
            Value::Array(items) => self.redact_items(items),
            Value::Object(object) => self.redact_object(object),
        }
    }

    /// A list may hold arguments, or be a pair of a name and its value.
    fn redact_items(&self, items: &mut [Value]) {
        if let [Value::String(name), value] = items
            && is_sensitive_name(name)
        {
            *value = mark();
        }
        let mut previous: Option<String> = None;
        for item in items {
            let current = item.as_str().map(str::to_owned);
            match &current {
                Some(arg) => *item = Value::String(self.redact_arg(previous.as_deref(), arg)),
                None if previous.as_deref().is_some_and(is_sensitive_option) => *item = mark(),
                None => self.redact_value(item),
            }
            previous = current;
        }
    }

    fn redact_object(&self, object: &mut Map<String, Value>) {
        for (name, value) in object.iter_mut() {
            match self.is_sensitive_key(name) {
                true => *value = mark(),
                false => self.redact_value(value),
            }
        }
        // `{"name": "Authorization", "value": "…"}`
        let named = ["name", "key"].iter().filter_map(|field| object.get(*field)?.as_str());
        if named.into_iter().any(is_sensitive_name)
            && let Some(value) = object.get_mut("value")
        {
            *value = mark();
        }
        self.redact_keys(object);
    }

    fn redact_keys(&self, object: &mut Map<String, Value>) {
        let clean = |key: &String| matches!(self.redact_str(key), Cow::Borrowed(same) if same == key);
        if object.keys().all(clean) {
            return;
        }
        for (key, value) in std::mem::take(object) {
            let redacted = self.redact_str(&key).into_owned();
            // Two keys that became one are kept apart by further marks, so that no value is lost.
            let marked = (1_usize..).map(|marks| redacted.clone() + &MARK.repeat(marks));
            let free = std::iter::once(redacted.clone()).chain(marked).find(|key| !object.contains_key(key));
            object.insert(free.expect("because an object has fewer keys than there are numbers"), value);
        }
    }

    fn redact_arg(&self, previous: Option<&str>, arg: &str) -> String {
        let redacted = match arg.split_once('=') {
            Some((name, _)) if is_sensitive_name(name) => {
                self.redact_str(&format!("{name}={MARK}")).into_owned()
            }
            _ => self.redact_str(arg).into_owned(),
        };
        // What looks like the next option is shown: the one before it may have no value, and this one have another.
        let is_value = previous.is_some_and(is_sensitive_option) && !redacted.starts_with("--");
        if is_value { MARK.to_owned() } else { redacted }
    }

    /// A key as it stands, or as it will stand.
    fn is_sensitive_key(&self, key: &str) -> bool {
        names::is_sensitive(key) || names::is_sensitive(&self.redact_str(key))
    }

    fn holds_known(&self, text: &str) -> bool {
        self.known.read().iter().any(|secret| text.contains(secret.as_str()))
    }

    /// The text without the secrets that can be seen in it, or `None` if there are none.
    fn pass(&self, text: &str) -> Option<String> {
        let mut secrets = text::secrets(text);
        self.find_known(text, &mut secrets);
        secrets.retain(|secret| !secret.is_empty() && &text[secret.clone()] != MARK);
        if secrets.is_empty() {
            return None;
        }
        secrets.sort_unstable_by_key(|secret| secret.start);
        let mut redacted = String::with_capacity(text.len());
        let mut at = 0;
        for secret in merged(secrets) {
            redacted.push_str(&text[at..secret.start]);
            redacted.push_str(MARK);
            at = secret.end;
        }
        redacted.push_str(&text[at..]);
        Some(redacted)
    }

    /// Between the marks that stand there already: a secret that is part of the mark itself would never settle.
    fn find_known(&self, text: &str, found: &mut Vec<Range<usize>>) {
        let known = self.known.read();
        let mut start = 0;
        for part in text.split(MARK) {
            for secret in known.iter() {
                let places = memmem::find_iter(part.as_bytes(), secret.as_bytes());
                found.extend(places.map(|at| start + at..start + at + secret.len()));
            }
            start += part.len() + MARK.len();
        }
    }
}

fn is_sensitive_option(arg: &str) -> bool {
    arg.starts_with('-') && is_sensitive_name(arg)
}

/// One word, as options, headers and variables are named, and no sentence that speaks of a secret.
fn is_sensitive_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)) && names::is_sensitive(text)
}

fn mark() -> Value {
    Value::String(MARK.to_owned())
}

/// Ranges sorted by where they start; those that overlap or touch become one.
fn merged(ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

fn as_in_json(secret: &str) -> String {
    Value::from(secret).to_string().trim_matches('"').to_owned()
}

fn as_in_url(secret: &str) -> String {
    let spell = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    secret.bytes().map(spell).collect()
}

#[cfg(test)]
mod tests;
