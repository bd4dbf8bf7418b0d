//! Names that stand for a point in history: what follows an `@`.

use tickfs_store::Error as StoreError;
use tickfs_store::history::{Point, When};
use tickfs_store::ids::{BranchNo, Tick};

use super::{Now, View, diff};
use crate::error::Result;

/// What a name behind `@` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// A tick by its number, in the one spelling that a listing gives it.
    Tick(Tick),
    /// Anything else that stands for a point: a symlink to it.
    Point(Point),
}

/// Reads what follows the `@` on a branch. `None`: it is no point, or lies before the base, or is on another branch.
pub(super) fn read(view: &View, now: &Now, branch: BranchNo, said: &[u8]) -> Result<Option<Said>> {
    let Ok(said) = std::str::from_utf8(said) else { return Ok(None) };
    if let Some(tick) = tick(said) {
        let on = now.history().branches().is_on(branch, tick);
        return Ok(on.then_some(Said::Tick(tick)));
    }
    let point = When::parse(said).and_then(|when| match when {
        // Digits in another spelling.
        When::Tick(_) => Err(StoreError::not_found("a tick has one spelling")),
        when => now.history().point_on(branch, &when, &view.moment()),
    });
    match point {
        Ok(point) => Ok(Some(Said::Point(point))),
        Err(error) => diff::absent(error),
    }
}

/// A tick as it is listed: digits without a leading zero, below what reads as a time.
pub(super) fn tick(said: &str) -> Option<Tick> {
    let canonical = said == "0" || said.starts_with(|c: char| ('1'..='9').contains(&c));
    let digits = said.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = said.parse().ok().filter(|_| canonical && digits)?;
    (number < 1_000_000_000).then_some(Tick(number))
}

/// The ending that a version carries so that editors know its syntax: from the last dot, unless that is the first byte;
/// `.tar` before it belongs to it.
pub(super) fn extension(name: &[u8]) -> &[u8] {
    let Some(dot) = name.iter().rposition(|&b| b == b'.').filter(|&dot| dot > 0) else { return b"" };
    match name[..dot].strip_suffix(b".tar") {
        Some(stem) if !stem.is_empty() => &name[stem.len()..],
        _ => &name[dot..],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_carry_the_ending_that_editors_know() {
        for (name, ending) in [
            ("app.py", ".py"),
            (".bashrc", ""),
            ("Makefile", ""),
            ("a.tar.gz", ".tar.gz"),
            (".tar.gz", ".gz"),
            ("a.b.c", ".c"),
            ("a.", "."),
            (".config.toml", ".toml"),
        ] {
            assert_eq!(extension(name.as_bytes()), ending.as_bytes(), "{name}");
        }
    }

    #[test]
    fn a_tick_has_one_spelling() {
        assert_eq!(tick("42"), Some(Tick(42)));
        assert_eq!(tick("0"), Some(Tick(0)));
        for other in ["", "042", "+42", "-1", "42x", "1000000000", "HEAD", "٣"] {
            assert_eq!(tick(other), None, "{other}");
        }
    }
}
