//! Paths as JSON strings: text as it is, bytes that are not UTF-8 as `%XX`. Reversible.

use crate::path::{NotBelowRoot, RelPath};

/// `src/app.py`; the byte ff becomes `%FF`, and a `%` that could be read as such an escape becomes `%25`.
#[must_use]
pub fn spell_file_path(path: &RelPath) -> String {
    let mut spelled = String::new();
    let mut rest = path.as_bytes();
    while !rest.is_empty() {
        let (text, bad) = match std::str::from_utf8(rest) {
            Ok(text) => (text, 0),
            Err(error) => {
                let (good, _) = rest.split_at(error.valid_up_to());
                let bad = error.error_len().unwrap_or(rest.len() - good.len());
                (std::str::from_utf8(good).unwrap_or_default(), bad)
            }
        };
        push_text(&mut spelled, text);
        let (bytes, tail) = rest[text.len()..].split_at(bad);
        bytes.iter().for_each(|byte| spelled.push_str(&format!("%{byte:02X}")));
        rest = tail;
    }
    spelled
}

fn push_text(spelled: &mut String, text: &str) {
    for (at, letter) in text.char_indices() {
        spelled.push(letter);
        if letter == '%' && escaped_byte(&text.as_bytes()[at..]).is_some() {
            spelled.push_str("25");
        }
    }
}

/// The inverse of [`spell_file_path`].
pub fn parse_file_path(spelled: &str) -> Result<RelPath, NotBelowRoot> {
    let mut bytes = Vec::with_capacity(spelled.len());
    let mut rest = spelled.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        match escaped_byte(rest) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    RelPath::new(bytes)
}

fn escaped_byte(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows CV-147.
    #[test]
    fn every_path_is_spelled_as_text_and_read_back() {
        for (bytes, spelled) in [
            (&b"src/app.py"[..], "src/app.py"),
            ("übung/日本".as_bytes(), "übung/日本"),
            (b"100%.txt", "100%.txt"),
            (b"%41", "%2541"),
            (b"%%41%", "%%2541%"),
            (b"a\xff\xfeb", "a%FF%FEb"),
            (b"%\xff", "%%FF"),
            (b"%4\xc3", "%4%C3"),
            (b"\xe6\x97", "%E6%97"),
        ] {
            let path = RelPath::new(bytes).unwrap();
            assert_eq!(spell_file_path(&path), spelled);
            assert_eq!(parse_file_path(spelled), Ok(path));
        }
    }
}
