//! Applies a unified diff, strictly: each line that it names must stand exactly where it says.

use std::ops::Range;

/// Why a diff was not applied. `line` counts the diff's own lines from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotApplied {
    #[error("it says only that binary files differ; their content is not in it")]
    Binary,
    #[error("line {line} is no part of a unified diff")]
    Malformed { line: usize },
    #[error("line {line} does not stand where the diff says")]
    Elsewhere { line: usize },
}

/// The new text. An empty diff changes nothing.
pub fn apply_diff(old: &[u8], diff: &[u8]) -> Result<Vec<u8>, NotApplied> {
    let old: Vec<&[u8]> = old.split_inclusive(|&b| b == b'\n').collect();
    let mut lines = Lines { all: diff.split_inclusive(|&b| b == b'\n').collect(), at: 0 };
    lines.skip_header()?;
    let (mut new, mut taken) = (Vec::new(), 0);
    while let Some(header) = lines.next() {
        let [from, to] = ranges(header).ok_or(lines.malformed())?;
        let before = old.get(taken..from.start).ok_or(lines.elsewhere())?;
        new.extend(before);
        if new.len() != to.start {
            return Err(lines.elsewhere());
        }
        taken = from.start;
        while taken < from.end || new.len() < to.end {
            let line = lines.next().ok_or(lines.malformed())?;
            let (sign, text) = line.split_first().ok_or(lines.malformed())?;
            let text = lines.without_newline_if_told(text);
            if matches!(sign, b' ' | b'-') {
                if taken == from.end || old.get(taken) != Some(&text) {
                    return Err(lines.elsewhere());
                }
                taken += 1;
            }
            match sign {
                b' ' | b'+' if new.len() < to.end => new.push(text),
                b'-' => {}
                _ => return Err(lines.malformed()),
            }
        }
    }
    new.extend(old.get(taken..).unwrap_or_default());
    Ok(new.concat())
}

struct Lines<'d> {
    all: Vec<&'d [u8]>,
    at: usize,
}

impl<'d> Lines<'d> {
    fn next(&mut self) -> Option<&'d [u8]> {
        let line = self.all.get(self.at).copied();
        self.at += 1;
        line
    }

    fn skip_header(&mut self) -> Result<(), NotApplied> {
        match self.all[..] {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"Binary files ") || first.starts_with(b"Files ") => {
                Err(NotApplied::Binary)
            }
            [old, new, ..] if old.starts_with(b"--- ") && new.starts_with(b"+++ ") => {
                self.at = 2;
                Ok(())
            }
            _ => Err(NotApplied::Malformed { line: 1 }),
        }
    }

    fn without_newline_if_told(&mut self, text: &'d [u8]) -> &'d [u8] {
        match self.all.get(self.at) {
            Some(next) if next.starts_with(b"\\") => {
                self.at += 1;
                text.strip_suffix(b"\n").unwrap_or(text)
            }
            _ => text,
        }
    }

    fn malformed(&self) -> NotApplied {
        NotApplied::Malformed { line: self.at }
    }

    fn elsewhere(&self) -> NotApplied {
        NotApplied::Elsewhere { line: self.at }
    }
}

/// The lines, counted from 0, that `@@ -10,5 +10,6 @@` speaks of on both sides.
fn ranges(header: &[u8]) -> Option<[Range<usize>; 2]> {
    let text = std::str::from_utf8(header).ok()?.strip_prefix("@@ -")?;
    let (old, rest) = text.split_once(" +")?;
    let (new, _) = rest.split_once(" @@")?;
    Some([range(old)?, range(new)?])
}

fn range(text: &str) -> Option<Range<usize>> {
    let (start, len) = text.split_once(',').unwrap_or((text, "1"));
    let (start, len): (usize, usize) = (start.parse().ok()?, len.parse().ok()?);
    // An empty range names the line before it.
    let start = if len == 0 { start } else { start.checked_sub(1)? };
    Some(start..start.checked_add(len)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::diff::{Labels, unified};

    proptest! {
        #[test]
        fn what_was_written_as_a_diff_applies(
            old in prop::collection::vec("[abc]?\n", 0..30), new in prop::collection::vec("[abc]?\n", 0..30),
            cut in any::<(bool, bool)>(), context in 0usize..4,
        ) {
            let text = |lines: Vec<String>, cut| {
                let text = lines.concat();
                if cut { text.trim_end_matches('\n').as_bytes().to_vec() } else { text.into_bytes() }
            };
            let (old, new) = (text(old, cut.0), text(new, cut.1));
            let diff = unified(Some(&old), Some(&new), &Labels { old: b"a", new: b"b" }, context).into_bytes();
            prop_assert_eq!(apply_diff(&old, &diff), Ok(new));
        }
    }

    #[test]
    fn a_diff_that_does_not_fit_is_refused() {
        let diff = b"--- a\n+++ b\n@@ -2 +2 @@\n-two\n+zwei\n";
        assert_eq!(apply_diff(b"one\ntwo\n", diff), Ok(b"one\nzwei\n".to_vec()));
        assert_eq!(apply_diff(b"two\none\n", diff), Err(NotApplied::Elsewhere { line: 4 }));
        assert_eq!(apply_diff(b"", diff), Err(NotApplied::Elsewhere { line: 3 }));
        assert_eq!(apply_diff(b"one\ntwo\n", &diff[..24]), Err(NotApplied::Malformed { line: 4 }));
        assert_eq!(apply_diff(b"", b"Binary files a and b differ\n"), Err(NotApplied::Binary));
        assert_eq!(apply_diff(b"", b"what\nis this"), Err(NotApplied::Malformed { line: 1 }));
        let huge = b"--- a\n+++ b\n@@ -1,18446744073709551615 +1 @@\n-x\n";
        assert!(apply_diff(b"x\n", huge).is_err());
    }
}
