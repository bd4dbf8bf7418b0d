//! What lies right below a directory, of paths that are kept in their order. What lies deeper is leapt over.
//!
//! Names that sort between a path and what lies below it begin like the path: `a-b` stands between `a` and `a/b`.

use std::collections::BTreeSet;
use std::ops::Bound;

use tickfs_store::path::RelPath;

/// The names right below a directory. `next`: the first path from there on.
pub(super) fn names_below<'p>(
    dir: &RelPath,
    next: impl Fn(Bound<RelPath>) -> Option<&'p RelPath>,
) -> BTreeSet<&'p [u8]> {
    let depth = dir.components().count();
    let mut names = BTreeSet::new();
    let mut from = first_below(dir);
    while let Some(path) = from.and_then(&next).filter(|path| path.starts_with(dir)) {
        let mut left = path.components().skip(depth);
        names.extend(left.next());
        from = match left.next() {
            None => Some(Bound::Excluded(path.clone())),
            Some(_deeper) => behind(path.components().take(depth + 1)),
        };
    }
    names
}

/// Whether something lies below a path.
pub(super) fn is_above<'p>(path: &RelPath, next: impl Fn(Bound<RelPath>) -> Option<&'p RelPath>) -> bool {
    first_below(path).and_then(next).is_some_and(|first| first.starts_with(path))
}

fn first_below(dir: &RelPath) -> Option<Bound<RelPath>> {
    dir.join(&[1]).ok().map(Bound::Included)
}

/// Where all that is below a directory has passed: `0` follows `/`.
fn behind<'n>(directory: impl Iterator<Item = &'n [u8]>) -> Option<Bound<RelPath>> {
    let mut after = directory.collect::<Vec<_>>().join(&b'/');
    after.push(b'0');
    RelPath::new(after).ok().map(Bound::Included)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn names_and_what_is_above_are_those_that_a_look_at_all_paths_finds() {
        let texts = "a a-b a/b a/b-c a/b/c a/b/d/e a0 b/-/x b/0 b/0/1 b/0/2 c/c/c/c c/c/c/d c/c-/d \u{1} d/\u{1}/\u{1} ab";
        let all: BTreeSet<RelPath> = texts.split(' ').map(path).collect();
        let next = |from| all.range((from, Bound::Unbounded)).next();
        let dirs = "a a/b a/b/d a/b/c b b/0 b/- c c/c c/c/c d d/\u{1} x 0 a- \u{1}";
        for dir in dirs.split(' ').map(path).chain([RelPath::root()]) {
            let depth = dir.components().count();
            let below = all.iter().filter(|path| **path != dir && path.starts_with(&dir));
            let expected: BTreeSet<&[u8]> = below.filter_map(|path| path.components().nth(depth)).collect();
            assert_eq!(names_below(&dir, next), expected, "{dir}");
            assert_eq!(is_above(&dir, next), !expected.is_empty(), "{dir}");
        }
    }

    #[test]
    fn what_lies_deeper_is_leapt_over() {
        let all: BTreeSet<RelPath> =
            (0..10_000).map(|n| path(&format!("{}/{}/{n}", n % 10, n % 100))).collect();
        let asked = std::cell::Cell::new(0);
        let next = |from| {
            asked.set(asked.get() + 1);
            all.range((from, Bound::Unbounded)).next()
        };
        assert_eq!(names_below(&RelPath::root(), next).len(), 10);
        assert_eq!(asked.get(), 11);
    }
}
