//! The unified diff of two texts, as `diff -u` writes it and `patch` reads it.
//!
//! Written here and not by the diff library, which writes text that it has decoded: what is not UTF-8 would be lost.

use std::fmt;
use std::io::Write;

use super::script::{Change, Script};

/// What the two sides are called in the two lines of the header. An absent side is always `/dev/null`.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    pub old: &'a [u8],
    pub new: &'a [u8],
}

/// How two texts differ.
#[derive(Clone, PartialEq, Eq)]
pub enum Diff {
    /// In no byte. An absent text and an empty one count as equal here: no line tells them apart.
    Equal,
    /// A unified diff.
    Text(Vec<u8>),
    /// One line which says that binary contents differ.
    Binary(Vec<u8>),
}

impl Diff {
    /// What a file that shows this diff holds.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Equal => Vec::new(),
            Self::Text(bytes) | Self::Binary(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal => f.write_str("Equal"),
            Self::Text(bytes) => write!(f, "Text({})", bytes.escape_ascii()),
            Self::Binary(bytes) => write!(f, "Binary({})", bytes.escape_ascii()),
        }
    }
}

/// The difference with `context` unchanged lines around each change. An absent side is `None`.
///
/// Its size is bounded by that of both texts; whether it is too long to be shown is for the caller to say.
#[must_use]
pub fn unified(old: Option<&[u8]>, new: Option<&[u8]>, labels: &Labels<'_>, context: usize) -> Diff {
    let old_name = if old.is_some() { spell(labels.old) } else { b"/dev/null".to_vec() };
    let new_name = if new.is_some() { spell(labels.new) } else { b"/dev/null".to_vec() };
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    if old == new {
        return Diff::Equal;
    }
    if super::is_binary(old) || super::is_binary(new) {
        return Diff::Binary([b"Binary files ", &old_name[..], b" and ", &new_name, b" differ\n"].concat());
    }
    let mut out = Vec::new();
    for (mark, name) in [(b"--- ", &old_name), (b"+++ ", &new_name)] {
        out.extend_from_slice(mark);
        out.extend_from_slice(name);
        // Without it, `patch` would end a bare name at its first space.
        if name.contains(&b' ') && !name.starts_with(b"\"") {
            out.push(b'\t');
        }
        out.push(b'\n');
    }
    Sides::around(&Script::between(old, new), context).write_hunks(&mut out, context);
    Diff::Text(out)
}

/// The lines that a diff may show: those between the common ends, and the context around them.
struct Sides<'a> {
    /// How many lines both texts have before the first one here.
    skipped: usize,
    old: Vec<&'a [u8]>,
    new: Vec<&'a [u8]>,
    changes: Vec<Change>,
}

impl<'a> Sides<'a> {
    fn around(script: &Script<'a>, context: usize) -> Self {
        let before = last_lines(script.same_before, context);
        let after: Vec<&[u8]> = super::lines(script.same_after).take(context).collect();
        let moved = |change: &Change| Change {
            old: change.old.start + before.len()..change.old.end + before.len(),
            new: change.new.start + before.len()..change.new.end + before.len(),
        };
        Self {
            skipped: memchr::memchr_iter(b'\n', script.same_before).count() - before.len(),
            old: [&before, &script.old[..], &after].concat(),
            new: [&before, &script.new[..], &after].concat(),
            changes: script.changes.iter().map(moved).collect(),
        }
    }

    fn write_hunks(&self, out: &mut Vec<u8>, context: usize) {
        let near = |a: &Change, b: &Change| b.old.start - a.old.end <= context.saturating_mul(2);
        for changes in self.changes.chunk_by(near) {
            self.write_hunk(out, changes, context);
        }
    }

    fn write_hunk(&self, out: &mut Vec<u8>, changes: &[Change], context: usize) {
        let (Some(first), Some(last)) = (changes.first(), changes.last()) else { return };
        let leading = context.min(first.old.start).min(first.new.start);
        let trailing = context.min(self.old.len() - last.old.end);
        let old = first.old.start - leading..last.old.end + trailing;
        let new = first.new.start - leading..last.new.end + trailing;
        let header =
            format!("@@ -{} +{} @@\n", self.place(old.start, old.len()), self.place(new.start, new.len()));
        out.extend_from_slice(header.as_bytes());
        let mut at = old.start;
        for change in changes {
            write_lines(out, b' ', &self.old[at..change.old.start]);
            write_lines(out, b'-', &self.old[change.old.clone()]);
            write_lines(out, b'+', &self.new[change.new.clone()]);
            at = change.old.end;
        }
        write_lines(out, b' ', &self.old[at..old.end]);
    }

    /// Lines count from 1; an empty range names the line before it, and so 0 at the beginning of a text.
    fn place(&self, start: usize, len: usize) -> String {
        let start = self.skipped + start;
        match len {
            0 => format!("{start},0"),
            1 => format!("{}", start + 1),
            _ => format!("{},{len}", start + 1),
        }
    }
}

/// The last lines of a text that ends with a newline, or is empty.
fn last_lines(text: &[u8], count: usize) -> Vec<&[u8]> {
    let mut rest = text;
    let backwards = std::iter::from_fn(|| {
        let without_newline = rest.len().checked_sub(1)?;
        let start = memchr::memrchr(b'\n', &rest[..without_newline]).map_or(0, |newline| newline + 1);
        let (before, line) = rest.split_at(start);
        rest = before;
        Some(line)
    });
    let mut lines: Vec<&[u8]> = backwards.take(count).collect();
    lines.reverse();
    lines
}

fn write_lines(out: &mut Vec<u8>, sign: u8, lines: &[&[u8]]) {
    for line in lines {
        out.push(sign);
        out.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            out.extend_from_slice(b"\n\\ No newline at end of file\n");
        }
    }
}

/// A name as git and `patch` read it: bare where that is safe, else in quotes with the escapes of C.
fn spell(name: &[u8]) -> Vec<u8> {
    let special = |&b: &u8| b.is_ascii_control() || b == b'"' || b == b'\\';
    let spaced = name.starts_with(b" ") || name.ends_with(b" ");
    if !name.iter().any(special) && !spaced && std::str::from_utf8(name).is_ok() {
        return name.to_vec();
    }
    let mut quoted = vec![b'"'];
    for &byte in name {
        match byte {
            b'"' | b'\\' => quoted.extend([b'\\', byte]),
            b'\n' => quoted.extend(b"\\n"),
            b'\t' => quoted.extend(b"\\t"),
            b'\r' => quoted.extend(b"\\r"),
            b' '..=b'~' => quoted.push(byte),
            _ => write!(quoted, "\\{byte:03o}").expect("because writing to memory does not fail"),
        }
    }
    quoted.push(b'"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: Labels<'_> = Labels { old: b"a/x", new: b"b/x" };

    fn shown(old: Option<&[u8]>, new: Option<&[u8]>, context: usize) -> String {
        String::from_utf8(unified(old, new, &LABELS, context).into_bytes()).unwrap()
    }

    #[test]
    fn a_change_stands_between_its_context() {
        assert_eq!(
            shown(Some(b"1\n2\n3\n4\n5\n6\n7\n8\n9\n"), Some(b"1\n2\n3\n4\nfive\n6\n7\n8\n9\n"), 3),
            "--- a/x\n+++ b/x\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n"
        );
    }

    #[test]
    fn changes_share_a_hunk_only_where_their_context_meets() {
        let (old, new) = (b"a\n1\n2\n3\nb\n", b"A\n1\n2\n3\nB\n");
        assert_eq!(shown(Some(old), Some(new), 2).matches("\n@@").count(), 1);
        assert_eq!(
            shown(Some(old), Some(new), 1),
            "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-a\n+A\n 1\n@@ -4,2 +4,2 @@\n 3\n-b\n+B\n"
        );
        assert_eq!(
            shown(Some(old), Some(b"a\n1\nnew\n2\n3\nb\n"), 0),
            "--- a/x\n+++ b/x\n@@ -2,0 +3 @@\n+new\n"
        );
    }

    #[test]
    fn an_absent_side_is_dev_null_and_an_empty_one_keeps_its_name() {
        assert_eq!(shown(None, Some(b"1\n2\n"), 3), "--- /dev/null\n+++ b/x\n@@ -0,0 +1,2 @@\n+1\n+2\n");
        assert_eq!(shown(Some(b"1\n"), None, 3), "--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n");
        assert_eq!(shown(Some(b""), Some(b"1\n"), 3), "--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n+1\n");
    }

    #[test]
    fn a_missing_last_newline_is_said() {
        assert_eq!(
            shown(Some(b"1\n2"), Some(b"1\n2\n"), 3),
            "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n 1\n-2\n\\ No newline at end of file\n+2\n"
        );
        assert_eq!(
            shown(Some(b"1\n2"), Some(b"one\n2"), 3),
            "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-1\n+one\n 2\n\\ No newline at end of file\n"
        );
    }

    #[test]
    fn binary_content_is_only_said_to_differ() {
        let notice = Diff::Binary(b"Binary files a/x and /dev/null differ\n".to_vec());
        assert_eq!(unified(Some(b"\0"), None, &LABELS, 3), notice);
        let late_nul = [&[b'a'; 8192][..], b"\0\n"].concat();
        assert!(matches!(unified(Some(&late_nul), None, &LABELS, 3), Diff::Text(_)));
    }

    #[test]
    fn equal_texts_have_no_diff() {
        assert_eq!(unified(Some(b"a\0"), Some(b"a\0"), &LABELS, 3), Diff::Equal);
        assert_eq!(unified(None, Some(b""), &LABELS, 3), Diff::Equal);
        assert!(Diff::Equal.into_bytes().is_empty());
    }

    #[test]
    fn names_that_would_break_the_header_are_quoted() {
        for (name, spelled) in [
            (&b"a/plain"[..], &b"a/plain"[..]),
            (b"a/\xc3\xa9t\xc3\xa9", b"a/\xc3\xa9t\xc3\xa9"),
            (b"a/with space", b"a/with space"),
            (b"a/new\nline", b"\"a/new\\nline\""),
            (b"a/\"\\\t\r", b"\"a/\\\"\\\\\\t\\r\""),
            (b"a/\xff\x01", b"\"a/\\377\\001\""),
            (b"a/end ", b"\"a/end \""),
        ] {
            assert_eq!(spell(name).escape_ascii().to_string(), spelled.escape_ascii().to_string());
        }
    }

    #[test]
    fn any_context_is_accepted() {
        let all = shown(Some(b"1\n2\n3\n4\n5\n"), Some(b"1\n2\n3\n4\nfive\n"), usize::MAX);
        assert_eq!(all, "--- a/x\n+++ b/x\n@@ -1,5 +1,5 @@\n 1\n 2\n 3\n 4\n-5\n+five\n");
    }
}
