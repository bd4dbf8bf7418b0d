//! Lines of a segment: split on newline and nothing else (a carriage return is data); empty lines are free.

use memchr::memchr;

/// One line that is not empty, without its newlines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawLine<'a> {
    /// Where it begins in the bytes that were given.
    pub(crate) start: usize,
    pub(crate) text: &'a [u8],
    /// Whether a newline closes it; only the last one can lack it.
    pub(crate) closed: bool,
}

impl RawLine<'_> {
    /// The first byte after the line and its newline.
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len() + usize::from(self.closed)
    }
}

/// The first line at or after `at`.
#[inline]
pub(crate) fn next_line(bytes: &[u8], mut at: usize) -> Option<RawLine<'_>> {
    while bytes.get(at) == Some(&b'\n') {
        at += 1;
    }
    let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
    Some(match memchr(b'\n', rest) {
        Some(len) => RawLine { start: at, text: &rest[..len], closed: true },
        None => RawLine { start: at, text: rest, closed: false },
    })
}

pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = RawLine<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let line = next_line(bytes, at)?;
        at = line.end();
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows EL-40, EL-41.
    #[test]
    fn blank_lines_are_free_and_a_carriage_return_is_data() {
        let seen: Vec<_> = lines(b"\n\na\r\n\n\nb\n\nc").map(|l| (l.start, l.text, l.closed)).collect();
        assert_eq!(seen, [(2, &b"a\r"[..], true), (7, b"b", true), (10, b"c", false)]);
    }
}
