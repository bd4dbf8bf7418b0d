//! Where secrets stand in a text of which nothing is known: a message, a URL, a header, JSON inside a string.
//!
//! Finds places and changes nothing. In doubt a place is taken as a secret, and rather too much of it than too little.
//! Each way to look passes over the text once.

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::MARK;
use super::names;

/// A longer name before `=` or `:` is looked at in its last bytes only.
const NAME_MAX: usize = 128;

/// Everything between `://` and the last `@` before the path; and a password that holds what should end it.
static URL_USER: LazyLock<Regex> = LazyLock::new(|| built(r#"://([^\s/?#"]*)@"#));
static URL_ODD_PASSWORD: LazyLock<Regex> = LazyLock::new(|| built(r#"://[^\s/?#"@:]+:([^\s"@]+)@"#));
/// `user:password@host`, without a scheme.
static USER_AT_HOST: LazyLock<Regex> =
    LazyLock::new(|| built(r#"\b([A-Za-z0-9_.+%-]+):([^\s:@/"]+)@([A-Za-z0-9\[]+)"#));
static SCHEME_AND_VALUE: LazyLock<Regex> =
    LazyLock::new(|| built(r#"(?i)\b(bearer|basic|negotiate)[ \t]+([^\s"',;]+)"#));
static PRIVATE_KEY: LazyLock<Regex> =
    LazyLock::new(|| built(r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(.*?)(?:-----END |\z)"));
/// Tokens that show what they are: of GitHub, OpenAI and its likes, Slack, AWS; and JSON web tokens.
static KNOWN_SHAPE: LazyLock<Regex> = LazyLock::new(|| {
    built(concat!(
        r"\b(gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|sk-[A-Za-z0-9_-]{20,}|xox[abprs]-[A-Za-z0-9-]{10,}",
        r"|AKIA[0-9A-Z]{16}|eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)",
    ))
});

fn built(pattern: &str) -> Regex {
    Regex::new(pattern).expect("because the pattern is a constant that the tests use")
}

/// In no order, and they may overlap.
pub(super) fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut group = |regex: &Regex, group: usize, is_secret: fn(&Captures<'_>) -> bool| {
        let matches = regex.captures_iter(text).filter(is_secret);
        found.extend(matches.filter_map(|captures| Some(captures.get(group)?.range())));
    };
    group(&URL_USER, 1, |_| true);
    group(&URL_ODD_PASSWORD, 1, |captures| !begins_with_port(&captures[1]));
    group(&USER_AT_HOST, 2, |captures| &captures[1] != "mailto" && &captures[3] != "sha256");
    group(&SCHEME_AND_VALUE, 2, |captures| is_scheme_value(&captures[1], &captures[2]));
    group(&PRIVATE_KEY, 1, |captures| captures[1].trim() != MARK);
    group(&KNOWN_SHAPE, 1, |_| true);
    assignments(text, &mut found);
    found
}

/// `host:8080/path@2`, and not `user:password@host`.
fn begins_with_port(text: &str) -> bool {
    let after = text.trim_start_matches(|c: char| c.is_ascii_digit());
    after.len() < text.len() && after.starts_with(['/', '?', '#'])
}

/// Tells a value from prose: `the bearer token`, `basic understanding`.
fn is_scheme_value(scheme: &str, value: &str) -> bool {
    if scheme.eq_ignore_ascii_case("bearer") {
        return !["token", "tokens", "auth", "authentication", "authorization"].contains(&value);
    }
    let unlike_a_word =
        |b: u8| b.is_ascii_digit() || b.is_ascii_uppercase() || b == b'=' || b == b'+' || b == b'/';
    value.len() >= 8 && value.bytes().skip(1).any(unlike_a_word)
}

/// Values after a sensitive name and `=` or `:`.
fn assignments(text: &str, found: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(at) = memchr::memchr2(b'=', b':', &bytes[from..]).map(|at| from + at) {
        from = at + 1;
        let is_path = bytes[at] == b':' && (bytes.get(at + 1) == Some(&b':') || bytes[..at].ends_with(b":"));
        let Some(name) = Name::before(text, at).filter(|name| !is_path && names::is_sensitive(name.text))
        else {
            continue;
        };
        if let Some(value) = value_after(text, at + 1, &name) {
            from = from.max(value.end);
            found.push(value);
        }
    }
}

struct Name<'t> {
    text: &'t str,
    /// The quote that stands before the name and not behind it: it encloses more than the name.
    enclosing: Option<u8>,
}

impl<'t> Name<'t> {
    fn before(text: &'t str, separator: usize) -> Option<Self> {
        let spaces =
            |bytes: &[u8]| bytes.iter().rev().take(8).take_while(|&&b| b == b' ' || b == b'\t').count();
        let bytes = &text.as_bytes()[..separator];
        let bytes = &bytes[..bytes.len() - spaces(bytes)];
        let (bytes, is_quoted) = match bytes {
            [before @ .., b'\\', b'"' | b'\''] => (before, true),
            [before @ .., b'"' | b'\''] => (before, true),
            _ => (bytes, false),
        };
        let is_part = |b: &&u8| b.is_ascii_alphanumeric() || b"_-.%[]$".contains(b);
        let len = bytes.iter().rev().take(NAME_MAX).take_while(is_part).count();
        let (before, name) = bytes.split_at(bytes.len() - len);
        let quote = before.last().copied().filter(|&b| is_quote(b));
        let text = text.get(before.len()..before.len() + name.len()).filter(|name| !name.is_empty())?;
        Some(Self { text, enclosing: quote.filter(|_| !is_quoted) })
    }
}

fn value_after(text: &str, from: usize, name: &Name<'_>) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let gap = bytes[from..].iter().take_while(|b| b" \t=:>".contains(b)).count();
    let start = from + gap;
    if is_redacted(&text[start..]) {
        return None;
    }
    let prefix = bytes[start..].iter().take(2).take_while(|b| b"bBfFrRuU".contains(b)).count();
    let value = match &bytes[start..] {
        rest if rest.get(prefix).is_some_and(|&b| is_quote(b)) => {
            let quote = start + prefix;
            quote + 1..end_of_quoted(bytes, quote)
        }
        [b'\\', quote, ..] if is_quote(*quote) => {
            let close = [b'\\', *quote];
            let inside = &bytes[start + 2..];
            start + 2..start + 2 + memchr::memmem::find(inside, &close).unwrap_or(inside.len())
        }
        [b'{' | b'[' | b'(', ..] => start..end_of_nested(bytes, start),
        _ => start..end_of_bare(bytes, start, name),
    };
    Some(value).filter(|value| !value.is_empty())
}

/// Whether what begins here is the mark alone.
fn is_redacted(value: &str) -> bool {
    let after = value.strip_prefix(MARK).map(str::as_bytes);
    after.is_some_and(|after| {
        after.first().is_none_or(|b| b.is_ascii_whitespace() || b",;&)]}\"'`\\".contains(b))
    })
}

fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

/// Where the closing quote stands; the end of the text if there is none.
fn end_of_quoted(bytes: &[u8], quote: usize) -> usize {
    let mut at = quote + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            _ if byte == bytes[quote] => return at,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Behind the bracket that closes the one at `start`; the end of the text if there is none.
fn end_of_nested(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' if depth <= 1 => return at + 1,
            b'}' | b']' | b')' => depth -= 1,
            b'"' => at = end_of_quoted(bytes, at),
            b'\\' => at += 1,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// A value without quotes ends with its word, or with its line where the name says so. What closes a sentence, a list
/// or a call is not part of it. A quote opens one more part of the value (`Some("…")`) or ends it (`"…?token=x"`).
fn end_of_bare(bytes: &[u8], start: usize, name: &Name<'_>) -> usize {
    let whole_line = names::takes_the_line(name.text);
    let mut at = start;
    while let Some(&byte) = bytes.get(at) {
        let ends = match byte {
            b'\n' | b'\r' => true,
            b' ' | b'\t' | b'&' | b';' => !whole_line,
            b'\\' => bytes.get(at + 1).is_some_and(|&next| is_quote(next)),
            _ if name.enclosing == Some(byte) => true,
            _ if is_quote(byte) && bytes[start..at].last().is_some_and(|b| b"([{=:,".contains(b)) => {
                at = end_of_quoted(bytes, at);
                false
            }
            _ => is_quote(byte) && !whole_line,
        };
        if ends {
            break;
        }
        at += 1;
    }
    let value = &bytes[start..at.min(bytes.len())];
    start + value.iter().rposition(|b| !b",)]}.".contains(b)).map_or(0, |last| last + 1)
}
