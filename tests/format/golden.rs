//! What was written by the first version of a format is read as it was read then.

use std::fs;

use tickfs_store::doctor::{Depth, Surroundings, examine};
use tickfs_tests::session::who;

use crate::answers::{answers, summary};
use crate::files::{GOLDEN, V1, disk_of, index_name, open};

fn expected() -> String {
    fs::read_to_string(format!("{GOLDEN}.txt")).expect("the summary is committed")
}

#[test]
fn format_1_is_read_as_it_was_written() {
    let disk = disk_of(&V1);
    let store = open(&disk).unwrap();
    store.refresh(who()).unwrap();
    assert_eq!(summary(&answers(&store)), expected());
    let depth = Depth { scrub: true, verify_journal: true };
    assert_eq!(examine(&store, &Surroundings::default(), depth).unwrap().findings, []);
}

#[test]
fn format_1_is_read_from_its_journal_alone() {
    let files: Vec<_> = V1.iter().filter(|(path, _)| path != index_name()).cloned().collect();
    let store = open(&disk_of(&files)).unwrap();
    store.refresh(who()).unwrap();
    assert_eq!(summary(&answers(&store)), expected());
}

/// A golden store that lacks something shows nothing about it.
#[test]
fn the_golden_store_holds_every_kind_of_file() {
    let names: Vec<_> = V1.iter().map(|(path, _)| path.to_string_lossy().into_owned()).collect();
    let kinds = [
        "FORMAT",
        "SCOPE",
        "LOCK",
        "index.db",
        "index.db.sum",
        "journal/HEAD.json",
        "journal/seg-",
        ".jsonl.zst",
        "journal/archive/seg-",
        "journal/checkpoints/",
        "packs/h-",
        "packs/c-",
    ];
    for kind in kinds {
        assert!(names.iter().any(|name| name.contains(kind)), "no {kind} in {names:?}");
    }
}
