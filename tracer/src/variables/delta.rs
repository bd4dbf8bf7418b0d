//! The bytes in which two values differ.

use super::event;

/// So many bytes are compared at once.
const CHUNK: usize = 64;

/// Appends the changed bytes as JSON, those below `depth` alone; `before` and `after` stand at `at` in the value. A byte
/// that was gained has `before` null, one that was lost has `after` null.
pub(super) fn write(json: &mut String, at: usize, before: &[u8], after: &[u8], depth: Option<u64>) {
    let end = before.len().max(after.len());
    let depth =
        depth.map_or(end, |depth| usize::try_from(depth).map_or(end, |depth| depth.saturating_sub(at)));
    json.push('[');
    let mut first = true;
    let mut next = 0;
    while next < end.min(depth) {
        let offset = next;
        next += 1;
        let (was, is) = (before.get(offset), after.get(offset));
        if was == is {
            let chunk = offset..offset + CHUNK;
            let (was, is) = (before.get(chunk.clone()), after.get(chunk));
            if was.is_some() && was == is {
                next = offset + CHUNK;
            }
            continue;
        }
        let offset = at + offset;
        if !first {
            json.push(',');
        }
        first = false;
        json.push_str("{\"offset\":");
        event::number(json, offset as u64);
        json.push_str(",\"before\":");
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
        write(&mut json, 0, before, after, depth);
        json
    };
    let mut moved = String::new();
    write(&mut moved, 100, b"ab", b"ac", Some(101));
    write(&mut moved, 100, b"ab", b"ac", Some(102));
    assert_eq!(moved, r#"[][{"offset":101,"before":"0x62","after":"0x63"}]"#);
    let (long, mut other) = (vec![7; 1000], vec![7; 1000]);
    other[64] = 8;
    other[999] = 9;
    assert_eq!(told(&long, &other, None).matches("offset").count(), 2);
    assert_eq!(told(&long, &other[..200], None).matches("null").count(), 800);
    assert_eq!(told(&[0, 1, 255], &[0, 2, 255], None), r#"[{"offset":1,"before":"0x01","after":"0x02"}]"#);
    assert_eq!(told(b"a", b"ab", None), r#"[{"offset":1,"before":null,"after":"0x62"}]"#);
    assert_eq!(told(b"ab", b"a", None), r#"[{"offset":1,"before":"0x62","after":null}]"#);
    assert_eq!(told(b"ab", b"cd", Some(1)), r#"[{"offset":0,"before":"0x61","after":"0x63"}]"#);
    assert_eq!(told(b"ab", b"cd", Some(0)), "[]");
    assert_eq!(told(b"ab", b"ab", None), "[]");
}
