//! Each file says first what it is for, and stays short enough to be one idea.

use crate::tree::Tree;

const LINES_MAX: usize = 900;

pub(crate) fn without_header(tree: &Tree) -> Vec<String> {
    let opens = |text: &str| {
        let shebang = text.starts_with("#!") && !text.starts_with("#![");
        text.lines().nth(usize::from(shebang)).is_some_and(|line| line.starts_with("//! "))
    };
    tree.ending(".rs")
        .filter(|(_, text)| !opens(text))
        .map(|(path, _)| format!("{path} does not open with `//!` and its purpose"))
        .collect()
}

pub(crate) fn too_long(tree: &Tree) -> Vec<String> {
    let long = |&(_, text): &(&str, &str)| text.lines().count() > LINES_MAX;
    [".rs", ".py", ".js"]
        .into_iter()
        .flat_map(|suffix| tree.ending(suffix))
        .filter(long)
        .map(|(path, text)| format!("{path} has {} lines, more than {LINES_MAX}", text.lines().count()))
        .collect()
}

#[test]
fn a_header_comes_first() {
    let tree = Tree::of(&[
        ("a.rs", "//! Purpose.\n"),
        ("b.rs", "#!/usr/bin/env cargo\n//! Purpose.\n"),
        ("c.rs", "#![forbid(unsafe_code)]\n//! Too late.\n"),
        ("d.rs", "// No header.\n"),
        ("e.rs", ""),
        ("f.py", "# another language"),
    ]);
    let findings = without_header(&tree).join("\n");
    assert_eq!(findings.lines().map(|line| &line[..4]).collect::<Vec<_>>(), ["c.rs", "d.rs", "e.rs"]);
}

#[test]
fn the_line_after_the_last_is_too_many() {
    let (fits, long) = ("\n".repeat(LINES_MAX), "\n".repeat(LINES_MAX + 1));
    let tree = Tree::of(&[("a.rs", &fits), ("b.rs", &long), ("c.py", &long), ("d.md", &long)]);
    assert_eq!(too_long(&tree), ["b.rs has 901 lines, more than 900", "c.py has 901 lines, more than 900"]);
}
