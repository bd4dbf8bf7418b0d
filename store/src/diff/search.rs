//! Lines that match a pattern, as grep finds them.
//!
//! A pattern looks at one line at a time, without its newline: `^` and `$` are the line's ends, and nothing spans two.
//! Bytes that are not UTF-8 are searched like all others.

use regex::bytes::{Regex, RegexBuilder};

/// What to look for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Search<'a> {
    pub pattern: &'a str,
    pub ignore_case: bool,
    /// The pattern is text to be found as it stands.
    pub fixed: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("{pattern:?} is no pattern")]
pub struct NotAPattern {
    pub pattern: String,
    pub source: regex::Error,
}

#[derive(Debug, Clone)]
pub struct Matcher {
    regex: Regex,
    /// Whether a match in the whole text is where a match in a line would be; see [`sees_lines_only`].
    in_whole_text: bool,
}

/// What a file gives, as grep reports it.
#[derive(Debug)]
pub enum Found<'m, 't> {
    Nothing,
    /// At least one line matches, and none should be shown: `Binary file … matches`.
    InBinary,
    /// At least one.
    Lines(Matches<'m, 't>),
}

/// A line that matches, without its newline. Lines count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatchedLine<'t> {
    pub number: usize,
    pub text: &'t [u8],
}

impl Matcher {
    pub fn new(search: &Search<'_>) -> Result<Self, NotAPattern> {
        let pattern = match search.fixed {
            true => regex::escape(search.pattern),
            false => search.pattern.to_owned(),
        };
        let built = RegexBuilder::new(&pattern).multi_line(true).case_insensitive(search.ignore_case).build();
        let regex = built.map_err(|source| NotAPattern { pattern: search.pattern.to_owned(), source })?;
        Ok(Self { regex, in_whole_text: sees_lines_only(&pattern) })
    }

    /// Matching lines, or the word that a binary file matches.
    #[must_use]
    pub fn find<'m, 't>(&'m self, text: &'t [u8]) -> Found<'m, 't> {
        let matches = self.matches(text);
        match matches.clone().next() {
            None => Found::Nothing,
            Some(_) if super::is_binary(text) => Found::InBinary,
            Some(_) => Found::Lines(matches),
        }
    }

    /// All matching lines, whatever the text is.
    #[must_use]
    pub fn matches<'m, 't>(&'m self, text: &'t [u8]) -> Matches<'m, 't> {
        let strays_left = if self.in_whole_text { STRAYS_MAX } else { 0 };
        Matches { matcher: self, text, at: 0, number: 1, strays_left }
    }
}

/// How often a match in the whole text may turn out to be none in its line before lines are looked at one by one.
/// Without this bound, a pattern that spans lines would make the search quadratic.
const STRAYS_MAX: usize = 16;

#[derive(Debug, Clone)]
pub struct Matches<'m, 't> {
    matcher: &'m Matcher,
    text: &'t [u8],
    /// Where the next line begins, and its number.
    at: usize,
    number: usize,
    strays_left: usize,
}

impl<'t> Iterator for Matches<'_, 't> {
    type Item = MatchedLine<'t>;

    fn next(&mut self) -> Option<MatchedLine<'t>> {
        while self.at < self.text.len() {
            if self.strays_left > 0 {
                self.skip_to(self.matcher.regex.find_at(self.text, self.at)?.start());
            }
            let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = MatchedLine { number: self.number, text: &rest[..end] };
            self.at += end + 1;
            self.number += 1;
            if self.matcher.regex.is_match(line.text) {
                return Some(line);
            }
            self.strays_left = self.strays_left.saturating_sub(1);
        }
        None
    }
}

impl Matches<'_, '_> {
    /// Goes on to the line that holds `place`.
    fn skip_to(&mut self, place: usize) {
        let skipped = &self.text[self.at..place];
        self.number += memchr::memchr_iter(b'\n', skipped).count();
        self.at += memchr::memrchr(b'\n', skipped).map_or(0, |newline| newline + 1);
    }
}

/// Whether each match inside a line is also a match in the whole text, which is then searched much faster.
///
/// That is so unless the pattern speaks of the ends of the text: with `\A`, `\z`, or by changing the meaning of `^` and
/// `$` with flags. Of groups with flags only `(?i)` is let through; what is refused here is slower and not wrong.
fn sees_lines_only(pattern: &str) -> bool {
    let harmless = [":", "P<", "<", "i)", "i:"];
    let groups_are_harmless =
        pattern.split("(?").skip(1).all(|group| harmless.iter().any(|start| group.starts_with(start)));
    groups_are_harmless && !pattern.contains("\\A") && !pattern.contains("\\z")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matcher(pattern: &str) -> Matcher {
        Matcher::new(&Search { pattern, ..Search::default() }).unwrap()
    }

    fn numbers(pattern: &str, text: &[u8]) -> Vec<usize> {
        matcher(pattern).matches(text).map(|line| line.number).collect()
    }

    #[test]
    fn lines_are_numbered_and_shown_without_their_newline() {
        let text = b"one\ntwo TODO\n\nTODO three";
        let found: Vec<_> = matcher("TODO").matches(text).map(|line| (line.number, line.text)).collect();
        assert_eq!(found, [(2, &b"two TODO"[..]), (4, b"TODO three")]);
    }

    #[test]
    fn a_pattern_never_spans_lines() {
        assert_eq!(numbers(r"a\s+b", b"a\nb\na b\n"), [3]);
        assert_eq!(numbers(r"\n", b"a\nb\n"), [0; 0]);
        let far = format!("{}yes\n", "a\n".repeat(100));
        assert_eq!(numbers("[^b]+s", far.as_bytes()), [101]);
    }

    #[test]
    fn line_ends_and_text_ends_are_the_same() {
        assert_eq!(numbers("^$", b"a\n\nb\n"), [2]);
        assert_eq!(numbers(r"\Ab\z", b"a\nb\nbb\n"), [2]);
        assert_eq!(numbers("(?-m)^b", b"a\nb\n"), [2]);
        assert_eq!(numbers("x*", b"a\nb\n"), [1, 2]);
    }

    #[test]
    fn bytes_that_are_no_text_are_searched_too() {
        assert_eq!(numbers("caf", b"\xff caf\xe9\n"), [1]);
        assert_eq!(numbers("café", "CAFÉ\ncafé\n".as_bytes()), [2]);
        let any_case = Search { pattern: "CAFÉ", ignore_case: true, fixed: false };
        assert_eq!(Matcher::new(&any_case).unwrap().matches("café\n".as_bytes()).count(), 1);
    }

    #[test]
    fn fixed_text_is_no_pattern() {
        let fixed = Search { pattern: "a.c(", fixed: true, ..Search::default() };
        assert_eq!(Matcher::new(&fixed).unwrap().matches(b"abc(\na.c(\n").count(), 1);
        assert!(Matcher::new(&Search { pattern: "a.c(", ..Search::default() }).is_err());
    }

    #[test]
    fn a_binary_file_only_matches() {
        assert!(matches!(matcher("a").find(b"\0a\n"), Found::InBinary));
        assert!(matches!(matcher("b").find(b"\0a\n"), Found::Nothing));
        assert!(matches!(matcher("a").find(b"a\n"), Found::Lines(lines) if lines.clone().count() == 1));
    }

    proptest! {
        #[test]
        fn the_fast_way_finds_what_the_plain_way_finds(
            text in "[ab\n]{0,60}",
            pattern in prop::sample::select(vec![
                "a", "ab", "^a", "b$", "^$", r"a\s*b", "[^a]+a", r"\bab\b", "(?i)A", "a|^b$", "b*", r"[^b]{3}", r"\Ba",
            ]),
        ) {
            let matcher = matcher(pattern);
            prop_assert!(matcher.in_whole_text);
            let plain = text.split_terminator('\n').enumerate();
            let plain = plain.filter(|(_, line)| matcher.regex.is_match(line.as_bytes()));
            let expected: Vec<usize> = plain.map(|(index, _)| index + 1).collect();
            prop_assert_eq!(matcher.matches(text.as_bytes()).map(|line| line.number).collect::<Vec<_>>(), expected);
        }
    }
}
