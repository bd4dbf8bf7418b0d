//! `store/docs/format.md` is the one description of the format, and the code that spells it must not move alone.
//!
//! The document holds a line with a hash for each source file that defines bytes on disk. The hash leaves out
//! comments, spaces and tests: what changes it may change the format.

use crate::code::{self, Kind};
use crate::tree::Tree;

const DOCUMENT: &str = "store/docs/format.md";

/// Where bytes on disk are spelled; one that does not exist yet needs no line.
const SOURCES: &[&str] = &[
    "store/src/journal/entry.rs",
    "store/src/journal/seal.rs",
    "store/src/content/record.rs",
    "store/src/content/splice.rs",
    "store/src/content/cold.rs",
    "store/src/index/schema.rs",
    "store/src/runs/row.rs",
    "store/src/runs/value.rs",
];

pub(crate) fn out_of_step(tree: &Tree) -> Vec<String> {
    let document = tree.get(DOCUMENT).unwrap_or_default();
    let mut findings = Vec::new();
    for &path in SOURCES {
        let Some(source) = tree.get(path) else { continue };
        let line = line(path, source);
        if !document.lines().any(|there| there == line) {
            findings.push(format!(
                "{path} changed: read {DOCUMENT} against it, mend it, then put there:\n{line}"
            ));
        }
    }
    for named in document.lines().filter_map(named_source) {
        if !SOURCES.contains(&named) || tree.get(named).is_none() {
            findings.push(format!("{DOCUMENT} is in step with {named}, which is no source of the format"));
        }
    }
    findings
}

fn line(path: &str, source: &str) -> String {
    let hash = blake3::hash(&essence(source)).to_hex();
    format!("<!-- in step with {path}: {} -->", &hash[..16])
}

fn named_source(line: &str) -> Option<&str> {
    Some(line.strip_prefix("<!-- in step with ")?.split_once(':')?.0)
}

/// The code without comments, without what only tests compile, and without what rustfmt may change: spaces outside
/// literals and the comma before a closing bracket.
fn essence(source: &str) -> Vec<u8> {
    let tests = code::test_items(&code::bare(source));
    let kept = |at: usize| !tests.iter().any(|item| item.contains(&at));
    let mut essence = Vec::new();
    for (kind, range) in code::pieces(source) {
        match kind {
            Kind::Code => {
                let signs = range.clone().zip(source[range].bytes()).filter(|&(at, _)| kept(at));
                append_signs(&mut essence, signs.map(|(_, sign)| sign));
            }
            Kind::Literal if kept(range.start) => essence.extend_from_slice(source[range].as_bytes()),
            Kind::Literal | Kind::Comment => {}
        }
    }
    essence
}

fn append_signs(essence: &mut Vec<u8>, signs: impl Iterator<Item = u8>) {
    for sign in signs.filter(|sign| !sign.is_ascii_whitespace()) {
        if matches!(sign, b')' | b']' | b'}') && essence.last() == Some(&b',') {
            essence.pop();
        }
        essence.push(sign);
    }
}

#[test]
fn only_what_may_change_the_format_trips_the_check() {
    let before = "const LEN: usize = f(4);\nconst MARK: &str = \"a b\";\n";
    let path = "store/src/journal/entry.rs";
    let document = format!("# The format\n{}\n", line(path, before));
    let findings = |source: &str| out_of_step(&Tree::of(&[(DOCUMENT, &document), (path, source)]));

    assert!(findings(before).is_empty());
    let dressed = "//! Header.\n\nconst LEN:usize /* bytes */ = f(\n4,\n);\nconst MARK: &str =\n    \"a b\";\n\
                   #[cfg(test)]\nmod tests {\n    const X: char = '}';\n}\n";
    assert!(findings(dressed).is_empty(), "{:?}", findings(dressed));
    assert!(findings("const LEN: usize = f(8);\nconst MARK: &str = \"a b\";\n")[0].contains("in step with"));
    assert_eq!(findings("const LEN: usize = f(4);\nconst MARK: &str = \"ab\";\n").len(), 1);
}

#[test]
fn a_line_of_a_file_that_is_gone_is_found() {
    let document = "<!-- in step with store/src/journal/old.rs: 0011223344556677 -->";
    let findings = out_of_step(&Tree::of(&[(DOCUMENT, document), ("store/src/journal/entry.rs", "")]));
    assert_eq!(findings.len(), 2, "{findings:?}");
}
