//! Each row of the specification is shown by a test that names it, or its page says why it is not built.
//!
//! A test names rows in a comment: the word `Shows`, then ids with commas or `and` between them. A row that is not
//! built holds `not built:` and a reason.

use std::collections::{BTreeMap, BTreeSet};

use crate::code;
use crate::tree::Tree;

pub(crate) fn not_shown(tree: &Tree) -> Vec<String> {
    let shown: BTreeSet<String> = shown(tree).into_keys().collect();
    let open = rows(tree).into_iter().filter(|(id, row)| !shown.contains(id) && !row.excused);
    open.map(|(id, row)| format!("{id} ({}) is shown by no test", row.page)).collect()
}

/// A test that names a row which its area's page does not hold shows nothing. Areas come with their pages, one by one.
pub(crate) fn unknown(tree: &Tree) -> Vec<String> {
    let rows = rows(tree);
    let area = |id: &str| id.split('-').next().unwrap_or_default().to_owned();
    let areas: BTreeSet<String> = rows.keys().map(|id| area(id)).collect();
    let strange =
        shown(tree).into_iter().filter(|(id, _)| areas.contains(&area(id)) && !rows.contains_key(id));
    strange.map(|(id, path)| format!("{path} shows {id}, which is a row of no page in tests/spec")).collect()
}

struct Row {
    page: String,
    excused: bool,
}

fn rows(tree: &Tree) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for (page, text) in tree.ending(".md").filter(|(path, _)| path.starts_with("tests/spec/")) {
        for line in text.lines() {
            let id = line.strip_prefix("| ").and_then(|cell| cell.split(' ').next()).filter(|id| is_id(id));
            let reason = line.split_once("not built:").map(|(_, reason)| reason);
            let excused = reason.is_some_and(|reason| reason.trim_start().starts_with(char::is_alphanumeric));
            let row = Row { page: page.to_owned(), excused };
            if let Some(id) = id {
                rows.insert(id.to_owned(), row);
            }
        }
    }
    rows
}

/// Each row that a comment says is shown, and one of the files that say so.
fn shown(tree: &Tree) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    for (path, text) in tree.iter() {
        let comments = match path.rsplit('.').next() {
            Some("rs" | "js") => code::comments(text),
            Some("sh" | "py") => text
                .lines()
                .filter(|line| line.trim_start().starts_with('#'))
                .fold(String::new(), |all, line| all + line + "\n"),
            _ => continue,
        };
        for list in comments.split("Shows ").skip(1) {
            shown.extend(ids_at_start(list).into_iter().map(|id| (id, path.to_owned())));
        }
    }
    shown
}

/// The ids a list begins with; it may go on in the comment's next line.
fn ids_at_start(list: &str) -> Vec<String> {
    let between = |word: &&str| !matches!(*word, "and" | "//" | "///" | "//!" | "#" | "*");
    let words = list.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
    let ids = words.filter(between).map(|word| word.trim_end_matches(['.', ';', ':', ')']));
    ids.take_while(|word| is_id(word)).map(str::to_owned).collect()
}

/// Two capital letters, a dash, digits.
fn is_id(word: &str) -> bool {
    let Some((area, number)) = word.split_once('-') else { return false };
    area.len() == 2
        && area.bytes().all(|b| b.is_ascii_uppercase())
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
}

#[test]
fn a_row_that_no_test_names_is_found() {
    let page = "| Id | Kind |\n| --- | --- |\n| ZZ-01 | x |\n| ZZ-02 | not built: needs a kernel |\n| ZZ-03 | not built: |\n\
                | ZZ-04 | x |\n| ZZ-05 | x |\n| ZZ-06 | x |\n| ZZ-07 | see ZZ-08 |\n";
    let tests = "/// Shows ZZ-01, ZZ-04\n/// and ZZ-05. Unlike ZZ-07.\nfn f() { \"Shows ZZ-03\"; }\n/// Shows nothing, ZZ-07";
    let tree = Tree::of(&[
        ("tests/spec/area.md", page),
        ("tests/reference/main.rs", tests),
        ("scripts/smoke.sh", "# Shows ZZ-06, ZZ-99.\necho Shows ZZ-07\n"),
    ]);
    let because = |id: &str| format!("{id} (tests/spec/area.md) is shown by no test");
    assert_eq!(not_shown(&tree), [because("ZZ-03"), because("ZZ-07")]);
    assert_eq!(unknown(&tree), ["scripts/smoke.sh shows ZZ-99, which is a row of no page in tests/spec"]);
}
