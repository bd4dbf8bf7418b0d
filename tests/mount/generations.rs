//! Whoever has a generated file open keeps reading the same text, whatever happens meanwhile.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};

use tickfs_fs::{Ino, Options, View};
use tickfs_tests::mount::Project;

const TEXTS: [&str; 8] = [
    "now.json",
    "branches/main/branch.json",
    "ticks/1/diff",
    "ticks/1/tick.json",
    "files/a.txt/@log",
    "events/errors.json",
    "events/journal/HEAD.json",
    "codevovle/a.txt/state.json",
];

#[test]
fn a_text_that_is_open_stays_what_it_was_while_ticks_arrive() {
    let project = Project::new(&[("a.txt", "one\n"), ("b.txt", "")]);
    let Some(mounted) = project.mount() else { return };
    project.save("a.txt", "two\n");
    let before: Vec<Vec<u8>> = TEXTS.iter().map(|text| fs::read(mounted.path(text)).unwrap()).collect();
    let held: Vec<File> = TEXTS.iter().map(|text| File::open(mounted.path(text)).unwrap()).collect();
    for n in 0..20 {
        project.save("a.txt", format!("three {n}\n"));
        for (text, (file, before)) in TEXTS.iter().zip(held.iter().zip(&before)) {
            // Others look meanwhile, and the kernel lets go of what it had.
            fs::read(mounted.path(text)).unwrap();
            let mut got = vec![0; before.len() + 1];
            let len = file.read_at(&mut got, 0).unwrap();
            assert_eq!(&got[..len], &before[..], "{text} after {n}");
            assert_eq!(file.metadata().unwrap().size(), before.len() as u64);
        }
    }
    let after = fs::read(mounted.path("branches/main/branch.json")).unwrap();
    assert_ne!(after, before[1], "a new look sees the new text");
}

/// The kernel may let go of a text between two looks of one moment, and read it only after the next tick.
#[test]
fn a_text_that_was_let_go_and_found_again_is_read_after_the_next_tick() {
    let project = Project::new(&[("a.txt", "one\n")]);
    let view = std::sync::Arc::new(View::new(project.store().clone(), Options::default()).unwrap());
    let told = std::sync::Arc::clone(&view);
    project.writer().on_commit(std::sync::Arc::new(move |what| drop(told.committed(what).unwrap())));
    project.save("a.txt", "two\n");
    let branches = view.lookup(Ino::ROOT, b"branches").unwrap().attr.ino;
    let main = view.lookup(branches, b"main").unwrap().attr.ino;
    let first = view.lookup(main, b"branch.json").unwrap().attr;
    view.forget(first.ino, 1);
    let second = view.lookup(main, b"branch.json").unwrap().attr;
    assert_eq!(first, second);
    project.save("a.txt", "three\n");
    let text = view.read(second.ino, 0, 100_000).unwrap();
    assert_eq!(text.len() as u64, second.size);
    assert!(String::from_utf8_lossy(&text).contains("\"main\""));
}
