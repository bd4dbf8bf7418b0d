//! The bytes in which two values differ.

use super::event;

/// So many bytes are compared at once,
const CHUNK: usize = 8;
/// and so many while they are the same.
const LONG: usize = 64;

/// Appends the changed bytes as JSON, those below `depth` alone; `before` and `after` stand at `at` in the value. A byte
/// that was gained has `before` null, one that was lost has `after` null.
pub(super) fn write(json: &mut Vec<u8>, at: usize, before: &[u8], after: &[u8], depth: Option<u64>) {
    let end = before.len().max(after.len());
    let depth =
        depth.map_or(end, |depth| usize::try_from(depth).map_or(end, |depth| depth.saturating_sub(at)));
    let end = end.min(depth);
    json.push(b'[');
    let opened = json.len();
    let mut next = 0;
    while next < end {
        let offset = next;
        if let (Some(was), Some(is)) = (chunk(before, offset), chunk(after, offset)) {
            let differ = was ^ is;
            let same = (differ.trailing_zeros() / 8) as usize;
            if same > 0 {
                next += same;
                while same == CHUNK && is_same(before, after, next) {
                    next += LONG;
                }
                continue;
            }
        }
        next += 1;
        let (was, is) = (before.get(offset), after.get(offset));
        if was != is {
            if json.len() > opened {
                json.push(b',');
            }
            json.extend_from_slice(b"{\"offset\":");
            event::number(json, (at + offset) as u64);
            json.extend_from_slice(b",\"before\":");
            byte(json, was);
            json.extend_from_slice(b",\"after\":");
            byte(json, is);
            json.push(b'}');
        }
    }
    json.push(b']');
}

/// The bytes from there on, the first in the lowest place.
fn chunk(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + CHUNK)?.try_into().ok()?))
}

fn is_same(before: &[u8], after: &[u8], at: usize) -> bool {
    let long = at..at + LONG;
    let was = before.get(long.clone());
    was.is_some() && was == after.get(long)
}

fn byte(json: &mut Vec<u8>, byte: Option<&u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    match byte {
        None => json.extend_from_slice(b"null"),
        Some(byte) => {
            let digit = |half: u8| DIGITS[usize::from(half)];
            json.extend_from_slice(&[b'"', b'0', b'x', digit(byte >> 4), digit(byte & 15), b'"']);
        }
    }
}

#[test]
fn only_changed_bytes_are_told() {
    let told = |before: &[u8], after: &[u8], depth| {
        let mut json = Vec::new();
        write(&mut json, 0, before, after, depth);
        String::from_utf8(json).unwrap()
    };
    let mut moved = Vec::new();
    write(&mut moved, 100, b"ab", b"ac", Some(101));
    write(&mut moved, 100, b"ab", b"ac", Some(102));
    let moved = String::from_utf8(moved).unwrap();
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
