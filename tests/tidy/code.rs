//! Tells code from comments and literals, as far as the checks need it.
//!
//! Invariant: what is taken out is replaced by spaces, so that offsets and line numbers stay.

use std::ops::Range;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Code,
    Comment,
    /// A string or a character, with its quotes.
    Literal,
}

/// The text without comments and literals.
pub(crate) fn bare(text: &str) -> String {
    keep(text, Kind::Code)
}

/// The comments alone.
pub(crate) fn comments(text: &str) -> String {
    keep(text, Kind::Comment)
}

/// Words and single signs of bare code.
pub(crate) fn tokens(bare: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = bare.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (token, tail) = rest.split_at(word.max(first.len_utf8()));
        tokens.push(token);
        rest = tail.trim_start();
    }
    tokens
}

/// What only tests compile: each `#[cfg(test)]` up to the end of its item. Takes bare code.
pub(crate) fn test_items(bare: &str) -> Vec<Range<usize>> {
    const MARK: &str = "#[cfg(test)]";
    let mut items: Vec<Range<usize>> = Vec::new();
    let mut from = 0;
    while let Some(start) = bare[from..].find(MARK).map(|at| from + at) {
        from = end_of_item(bare, start + MARK.len());
        items.push(start..from);
    }
    items
}

/// The text in pieces that follow each other without a gap.
pub(crate) fn pieces(text: &str) -> Vec<(Kind, Range<usize>)> {
    let mut pieces = Vec::new();
    let (mut code_from, mut at) = (0, 0);
    while at < text.len() {
        let Some((kind, len)) = comment_or_literal(text, at) else {
            at += 1;
            continue;
        };
        if code_from < at {
            pieces.push((Kind::Code, code_from..at));
        }
        pieces.push((kind, at..at + len));
        at += len;
        code_from = at;
    }
    if code_from < at {
        pieces.push((Kind::Code, code_from..at));
    }
    pieces
}

fn keep(text: &str, wanted: Kind) -> String {
    let blank = |c: char| if c == '\n' { "\n".to_owned() } else { " ".repeat(c.len_utf8()) };
    let show = |(kind, range): (Kind, Range<usize>)| match kind == wanted {
        true => text[range].to_owned(),
        false => text[range].chars().map(blank).collect(),
    };
    pieces(text).into_iter().map(show).collect()
}

fn end_of_item(bare: &str, from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, c) in bare[from..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return from + at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return from + at + 1,
            _ => {}
        }
    }
    bare.len()
}

/// What begins at this byte, and its length.
fn comment_or_literal(text: &str, at: usize) -> Option<(Kind, usize)> {
    let rest = text.get(at..)?;
    let first = rest.chars().next()?;
    match first {
        '/' if rest.starts_with("//") => Some((Kind::Comment, rest.find('\n').unwrap_or(rest.len()))),
        '/' if rest.starts_with("/*") => Some((Kind::Comment, block_comment(rest))),
        '"' => Some((Kind::Literal, quoted(rest, '"'))),
        'r' => raw_string(text, at).map(|len| (Kind::Literal, len)),
        '\'' => character(rest).map(|len| (Kind::Literal, len)),
        _ => None,
    }
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        let Some(mark) = rest[at..].find(['/', '*']).map(|found| at + found) else { return rest.len() };
        match rest.get(mark..mark + 2) {
            Some("/*") => (depth, at) = (depth + 1, mark + 2),
            Some("*/") if depth == 1 => return mark + 2,
            Some("*/") => (depth, at) = (depth - 1, mark + 2),
            _ => at = mark + 1,
        }
    }
}

/// Up to the next quote that no backslash escapes.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#` …, where the `r` begins a word or follows the `b` or `c` that does.
fn raw_string(text: &str, at: usize) -> Option<usize> {
    let before = text[..at].trim_end_matches(['b', 'c']);
    if at - before.len() > 1 || before.ends_with(is_word) {
        return None;
    }
    let after = &text[at + 1..];
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let len = body.find(&close).map_or(body.len(), |end| end + close.len());
    Some(1 + hashes + 1 + len)
}

/// `'x'` or `'\n'`; a lifetime is code.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    let (_, first) = chars.next()?;
    let (at, second) = chars.next()?;
    match (first, second) {
        ('\\', _) => Some(quoted(rest, '\'')),
        (_, '\'') => Some(at + 1),
        _ => None,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[test]
fn literals_and_comments_are_no_code() {
    let text = r##"a("b // c"); // d "e"
r#"f " g"# /* h /* i */ " */ j: &'k str, 'l', '\'', '"', br"\", "\"m", över"##;
    let bare = bare(text);
    assert_eq!(bare.len(), text.len());
    assert_eq!(tokens(&bare).concat(), "a();j:&'kstr,,,,b,,över");
    assert_eq!(tokens(&comments(text)).concat(), r#"//d"e"/*h/*i*/"*/"#);
}

#[test]
fn test_items_end_with_their_brace() {
    let text = "fn a() {}\n#[cfg(test)]\nmod b;\nfn c() {}\n#[cfg(test)]\nmod d { fn e() { {} } }\nfn f() {}";
    let items = test_items(text);
    let shown: Vec<&str> = items.into_iter().map(|item| &text[item]).collect();
    assert_eq!(shown, ["#[cfg(test)]\nmod b;", "#[cfg(test)]\nmod d { fn e() { {} } }"]);
}
