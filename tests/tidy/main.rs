//! The house keeps its own rules: each test here reads the sources and names every place that breaks one.
//!
//! A check is a function from a [`Tree`] of sources to findings, one sentence each, so that it can be shown to fail on
//! a few lines in memory. What it says about this project is asserted here.
#![forbid(unsafe_code)]

mod code;
mod tree;

mod arrows;
mod files;
mod format_document;
mod leaks;
mod modules;
mod rows;
mod total;
mod unsafe_code;

use tree::Tree;

/// Runs one check over this project.
fn assert_none(check: impl Fn(&Tree) -> Vec<String>) {
    let findings = check(&Tree::of_this_project());
    assert!(findings.is_empty(), "{} findings:\n{}\n", findings.len(), findings.join("\n"));
}

#[test]
fn tidy_arrows_between_rooms() {
    assert_none(arrows::findings);
}

#[test]
fn tidy_every_file_opens_with_a_header() {
    assert_none(files::without_header);
}

#[test]
fn tidy_long_files() {
    assert_none(files::too_long);
}

#[test]
fn tidy_no_forgotten_test_file() {
    assert_none(modules::forgotten);
}

#[test]
fn tidy_unsafe_only_in_sys() {
    assert_none(unsafe_code::findings);
}

#[test]
fn tidy_rows_are_shown() {
    assert_none(rows::not_shown);
}

#[test]
fn tidy_tests_name_rows_that_exist() {
    assert_none(rows::unknown);
}

#[test]
fn tidy_format_document_is_in_step() {
    assert_none(format_document::out_of_step);
}

#[test]
fn tidy_no_machine_paths_or_workplace_words() {
    assert_none(leaks::findings);
}
