//! One version of a variable, as a row of fixed length in the variable's own file, and how its value is stored.

use super::value::Tag;

/// `value_at 8 | event_at 8 | value_len 4 | event_len 4 | tag 1 | hops 1 | zero 2 | crc 4`
pub(super) const ROW: usize = 32;
/// A version is at most so many patches away from a whole value.
pub(super) const HOPS_MAX: u8 = 63;
/// A value of up to so many bytes is always whole.
pub(super) const SHORT: usize = 64;
/// Before a patch's bytes: where it stands, and how many bytes it replaces.
const PATCH_HEAD: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// Where the value's bytes lie in `values`.
    pub(super) value_at: u64,
    pub(super) value_len: u32,
    /// Where the event's line lies in `events.jsonl`; of no length for the value that a variable began with.
    pub(super) event_at: u64,
    pub(super) event_len: u32,
    pub(super) tag: Tag,
    /// 0: the value is whole; else it is a patch of the version before, which has one hop less.
    pub(super) hops: u8,
}

impl Row {
    /// The sum covers the row and the bytes that it points to.
    pub(super) fn encode(&self, stored: &[u8]) -> [u8; ROW] {
        let mut row = [0; ROW];
        row[0..8].copy_from_slice(&self.value_at.to_le_bytes());
        row[8..16].copy_from_slice(&self.event_at.to_le_bytes());
        row[16..20].copy_from_slice(&self.value_len.to_le_bytes());
        row[20..24].copy_from_slice(&self.event_len.to_le_bytes());
        row[24] = self.tag.to_byte();
        row[25] = self.hops;
        let sum = sum(&row, stored);
        row[28..32].copy_from_slice(&sum.to_le_bytes());
        row
    }

    /// `None`: no writer writes this.
    pub(super) fn decode(row: &[u8; ROW]) -> Option<Self> {
        let long = |at: usize| Some(u64::from_le_bytes(row.get(at..at + 8)?.try_into().ok()?));
        let short = |at: usize| Some(u32::from_le_bytes(row.get(at..at + 4)?.try_into().ok()?));
        Some(Self {
            value_at: long(0)?,
            event_at: long(8)?,
            value_len: short(16)?,
            event_len: short(20)?,
            tag: Tag::from_byte(row[24])?,
            hops: row[25],
        })
    }

    pub(super) fn is_sound(row: &[u8; ROW], stored: &[u8]) -> bool {
        row[28..32] == sum(row, stored).to_le_bytes()
    }
}

fn sum(row: &[u8; ROW], stored: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&row[..28]);
    sum.update(stored);
    sum.finalize()
}

/// What turns `before` into `after`: one piece in the middle.
pub(super) fn patch(before: &[u8], after: &[u8]) -> Option<Vec<u8>> {
    let common = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let (before_rest, after_rest) = (&before[common..], &after[common..]);
    let tail = before_rest.iter().rev().zip(after_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let (at, removed) = (u32::try_from(common).ok()?, u32::try_from(before_rest.len() - tail).ok()?);
    let mut patch = Vec::with_capacity(PATCH_HEAD + after_rest.len() - tail);
    patch.extend_from_slice(&at.to_le_bytes());
    patch.extend_from_slice(&removed.to_le_bytes());
    patch.extend_from_slice(&after_rest[..after_rest.len() - tail]);
    Some(patch)
}

/// Undoes [`patch`]; `None` if it does not fit.
pub(super) fn apply(value: &mut Vec<u8>, patch: &[u8]) -> Option<()> {
    let (head, bytes) = patch.split_at_checked(PATCH_HEAD)?;
    let number = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?) as usize);
    let (at, removed) = (number(0)?, number(4)?);
    let end = at.checked_add(removed).filter(|&end| end <= value.len())?;
    value.splice(at..end, bytes.iter().copied());
    Some(())
}

#[test]
fn a_patch_turns_the_one_into_the_other() {
    for (before, after) in [
        ("", "abc"),
        ("abc", ""),
        ("abc", "abc"),
        ("aaaa", "aa"),
        ("hello world", "hello new world"),
        ("ab", "ba"),
    ] {
        let mut value = before.as_bytes().to_vec();
        apply(&mut value, &patch(before.as_bytes(), after.as_bytes()).unwrap()).unwrap();
        assert_eq!(value, after.as_bytes());
    }
    assert_eq!(apply(&mut vec![1], &[9, 0, 0, 0, 1, 0, 0, 0]), None);
}
