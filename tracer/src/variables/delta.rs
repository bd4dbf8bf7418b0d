//! The bytes in which two values differ.

use std::fmt::Write as _;

/// Appends the changed bytes as JSON, those below `depth` alone. A byte that was gained has `before` null, one that was
/// lost has `after` null.
pub(super) fn write(json: &mut String, before: &[u8], after: &[u8], depth: Option<u64>) {
    let end = before.len().max(after.len());
    let end = depth.map_or(end, |depth| usize::try_from(depth).map_or(end, |depth| depth.min(end)));
    json.push('[');
    let mut first = true;
    for offset in 0..end {
        let (was, is) = (before.get(offset), after.get(offset));
        if was == is {
            continue;
        }
        if !first {
            json.push(',');
        }
        first = false;
        // Writing to a String cannot fail.
        let _infallible = write!(json, "{{\"offset\":{offset},\"before\":");
        byte(json, was);
        json.push_str(",\"after\":");
        byte(json, is);
        json.push('}');
    }
    json.push(']');
}

fn byte(json: &mut String, byte: Option<&u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    match byte {
        None => json.push_str("null"),
        Some(byte) => {
            json.push_str("\"0x");
            json.push(char::from(DIGITS[usize::from(byte >> 4)]));
            json.push(char::from(DIGITS[usize::from(byte & 15)]));
            json.push('"');
        }
    }
}

#[test]
fn only_changed_bytes_are_told() {
    let told = |before: &[u8], after: &[u8], depth| {
        let mut json = String::new();
        write(&mut json, before, after, depth);
        json
    };
    assert_eq!(told(&[0, 1, 255], &[0, 2, 255], None), r#"[{"offset":1,"before":"0x01","after":"0x02"}]"#);
    assert_eq!(told(b"a", b"ab", None), r#"[{"offset":1,"before":null,"after":"0x62"}]"#);
    assert_eq!(told(b"ab", b"a", None), r#"[{"offset":1,"before":"0x62","after":null}]"#);
    assert_eq!(told(b"ab", b"cd", Some(1)), r#"[{"offset":0,"before":"0x61","after":"0x63"}]"#);
    assert_eq!(told(b"ab", b"cd", Some(0)), "[]");
    assert_eq!(told(b"ab", b"ab", None), "[]");
}
