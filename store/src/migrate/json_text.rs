//! JSON as text: without its spaces, and with them again. Keys keep their order and numbers their spelling, which a
//! parsed value would lose.

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// One JSON object on one line; `None` if the text is no JSON object.
pub(super) fn on_one_line(text: &[u8]) -> Option<Box<RawValue>> {
    let text = std::str::from_utf8(text).ok()?;
    let object: std::collections::BTreeMap<String, IgnoredAny> = serde_json::from_str(text).ok()?;
    drop(object);
    let mut line = String::with_capacity(text.len());
    for (sign, in_string) in signs(text) {
        if in_string || !sign.is_ascii_whitespace() {
            line.push(sign);
        }
    }
    RawValue::from_string(line).ok()
}

/// A line of JSON spread out with two spaces a level, and a newline at its end.
pub(super) fn spread_out(line: &str) -> Vec<u8> {
    let mut out = String::with_capacity(line.len() * 2);
    let (mut level, mut before) = (0_usize, ' ');
    for (sign, in_string) in signs(line) {
        if in_string {
            open_after(&mut out, before, level);
            out.push(sign);
            before = '"';
            continue;
        }
        if sign.is_ascii_whitespace() {
            continue;
        }
        match sign {
            '}' | ']' => {
                level = level.saturating_sub(1);
                if !matches!(before, '{' | '[') {
                    new_line(&mut out, level);
                }
                out.push(sign);
            }
            ',' => {
                out.push(sign);
                new_line(&mut out, level);
            }
            ':' => out.push_str(": "),
            _ => {
                open_after(&mut out, before, level);
                out.push(sign);
                level += usize::from(matches!(sign, '{' | '['));
            }
        }
        before = sign;
    }
    out.push('\n');
    out.into_bytes()
}

/// The first thing inside a bracket stands on a line of its own.
fn open_after(out: &mut String, before: char, level: usize) {
    if matches!(before, '{' | '[') {
        new_line(out, level);
    }
}

fn new_line(out: &mut String, level: usize) {
    out.push('\n');
    (0..level).for_each(|_| out.push_str("  "));
}

/// Each character, and whether it belongs to a string (its quotes too).
fn signs(text: &str) -> impl Iterator<Item = (char, bool)> {
    let (mut inside, mut escaped) = (false, false);
    text.chars().map(move |sign| {
        let was_inside = inside;
        match sign {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            _ => {}
        }
        (sign, was_inside || inside)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_and_order_survive_both_ways() {
        let spread = "{\n  \"b\": 1.50,\n  \"a\": [\n    12345678901234567890123,\n    {\n      \"x y\": \"\\\" { , \\\\\"\n    }\n  ],\n  \"e\": {},\n  \"l\": []\n}\n";
        let line = on_one_line(spread.as_bytes()).unwrap();
        let expected = r#"{"b":1.50,"a":[12345678901234567890123,{"x y":"\" { , \\"}],"e":{},"l":[]}"#;
        assert_eq!(line.get(), expected);
        assert_eq!(String::from_utf8(spread_out(line.get())).unwrap(), spread);
        let value: serde_json::Value = serde_json::json!({"k": [[], [1, {"z": null}]], "m": "ü"});
        let pretty = serde_json::to_string_pretty(&value).unwrap() + "\n";
        assert_eq!(spread_out(&value.to_string()), pretty.as_bytes());
        for bad in [&b"{"[..], b"[1]", b"", b"{} x", b"\xff", b"{\"a\":}"] {
            assert!(on_one_line(bad).is_none());
        }
    }
}
