//! The sequences that go wrong in lesser tools: after each the whole root is read, and the branches.

use std::os::unix::fs::PermissionsExt as _;

use crate::desk::{Desk, QUIET, rel};
use tickfs_store::history::Stand;
use tickfs_tracer::files::restore::{Commit, Error};

fn text(desk: &Desk, path: &str) -> Option<String> {
    std::fs::read_to_string(desk.path(path)).ok()
}

fn heads(desk: &Desk) -> Vec<(String, u64)> {
    let view = desk.view();
    view.branches().listed().map(|b| (b.label.clone(), view.branches().head(b.no).0)).collect()
}

fn named(heads: &[(&str, u64)]) -> Vec<(String, u64)> {
    heads.iter().map(|&(label, head)| (label.to_owned(), head)).collect()
}

/// Three saves of `a`, with `b` and `d/c` beside it: ticks 1 a, 2 b, 3 a, 4 d, 5 d/c, 6 a.
fn sample() -> Desk {
    let desk = Desk::new(&[("a", "a0")]);
    assert_eq!(desk.save("a", "a1"), 1);
    assert_eq!(desk.save("b", "b2"), 2);
    assert_eq!(desk.save("a", "a3"), 3);
    assert_eq!(desk.save("d/c", "c5"), 5);
    assert_eq!(desk.save("a", "a6"), 6);
    desk
}

#[test]
fn every_tick_can_be_reverted_to_back_and_forth() {
    let desk = sample();
    for at in [1, 6, 0, 4, 5, 2, 3, 6] {
        let name = format!("main@{at}");
        desk.revert(&name).unwrap();
        assert_eq!(desk.tree(), desk.tree_at(&name), "after a revert to {at}");
        assert_eq!(desk.record(), 0, "a revert to {at} made a tick");
        assert_eq!(desk.stands(), ("main".to_owned(), at, at == 6));
    }
}

#[test]
fn a_revert_and_then_a_revert_of_one_file_keep_both() {
    let desk = sample();
    desk.revert("5").unwrap();
    desk.revert_file("a", "1").unwrap();
    assert_eq!(text(&desk, "a").as_deref(), Some("a1"));
    assert_eq!(text(&desk, "d/c").as_deref(), Some("c5"));
    assert_eq!(desk.record(), 0);
    assert_eq!(desk.stands(), ("main".to_owned(), 5, false));
    let before = desk.tree();
    assert_eq!(desk.save("b", "mine"), 8, "the file as it was put back comes first, then the change");
    assert_eq!(heads(&desk), named(&[("main", 6), ("main-1", 8)]));
    let mut expected = before;
    expected.insert("b".to_owned(), "644 mine".to_owned());
    assert_eq!(desk.tree_at("main-1@8"), expected);
    assert_eq!(desk.tree_at("main@6")["a"], "644 a6", "nothing of the old branch is lost");
}

#[test]
fn a_revert_of_a_file_then_changes_of_others_then_a_save_of_it() {
    let desk = sample();
    desk.revert_file("a", "1").unwrap();
    assert_eq!(desk.tree()["b"], "644 b2");
    desk.save("d/c", "other");
    assert_eq!(desk.stands(), ("main-1".to_owned(), 8, true));
    assert_eq!(desk.tree_at("main-1@7")["a"], "644 a1");
    assert_eq!(desk.save("a", "saved"), 9);
    assert_eq!(heads(&desk), named(&[("main", 6), ("main-1", 9)]));
    assert_eq!(desk.tree(), desk.tree_at("main-1@9"));
}

#[test]
fn two_reverts_in_a_row_stand_at_the_second() {
    let desk = sample();
    desk.revert("1").unwrap();
    desk.revert("3").unwrap();
    assert_eq!(desk.tree(), desk.tree_at("main@3"));
    assert_eq!(desk.stands(), ("main".to_owned(), 3, false));
    desk.save("a", "after");
    let view = desk.view();
    let fork = view.branches().by_label("main-1").unwrap();
    assert_eq!(fork.forked_at_tick.map(|t| t.0), Some(3));
}

#[test]
fn a_file_that_was_put_back_and_put_forward_again_attaches() {
    let desk = sample();
    desk.revert_file("a", "1").unwrap();
    assert!(!desk.stands().2);
    desk.revert_file("a", "HEAD").unwrap();
    assert_eq!(desk.stands(), ("main".to_owned(), 6, true));
    assert_eq!(desk.tree(), desk.tree_at("main@6"));
}

#[test]
fn what_is_unsaved_is_recorded_before_a_move() {
    let desk = sample();
    desk.revert("1").unwrap();
    desk.write("a", "unsaved");
    desk.write("new", "unsaved too");
    let to = desk.point("main@HEAD");
    desk.record();
    let stand = Stand { branch: to.branch, tick: to.tick, partial: Vec::new() };
    desk.go(&stand, Commit::Move("jump".to_owned()), QUIET).unwrap();
    assert_eq!(desk.tree(), desk.tree_at("main@6"));
    assert_eq!(desk.stands(), ("main".to_owned(), 6, true));
    let kept = desk.tree_at("main-1@HEAD");
    assert_eq!((kept["a"].as_str(), kept["new"].as_str()), ("644 unsaved", "644 unsaved too"));
}

#[test]
fn what_was_deleted_comes_back_as_one_tick() {
    let desk = sample();
    desk.remove("b");
    assert_eq!(desk.record(), 1);
    desk.restore("b", "2").unwrap();
    assert_eq!(text(&desk, "b").as_deref(), Some("b2"));
    assert_eq!(desk.view().last_tick().0, 8);
    assert_eq!(desk.record(), 0);
    assert_eq!(desk.stands(), ("main".to_owned(), 8, true), "a restore does not fork");
}

#[test]
fn what_was_deleted_with_its_directory_comes_back_with_it() {
    let desk = sample();
    desk.remove("d");
    desk.record();
    desk.restore("d/c", "6").unwrap();
    assert_eq!(text(&desk, "d/c").as_deref(), Some("c5"));
    assert_eq!(desk.record(), 0);
    assert_eq!(desk.tree(), desk.tree_at("HEAD"));
}

#[test]
fn a_file_is_restored_where_a_directory_lies_now_and_the_other_way_round() {
    let desk = sample();
    desk.remove("a");
    desk.write("a/inner/deep", "x");
    desk.record();
    let with_directory = desk.view().last_tick().0;
    desk.restore("a", "6").unwrap();
    assert_eq!(text(&desk, "a").as_deref(), Some("a6"));
    assert_eq!((desk.record(), desk.tree()), (0, desk.tree_at("HEAD")));
    desk.restore("a", &with_directory.to_string()).unwrap();
    assert_eq!(text(&desk, "a/inner/deep").as_deref(), Some("x"));
    assert_eq!((desk.record(), desk.tree()), (0, desk.tree_at("HEAD")));
}

#[test]
fn what_is_not_recorded_stops_a_file_from_taking_its_directory_and_nothing_is_touched() {
    let desk = sample();
    desk.remove("a");
    desk.write("a/inner", "x");
    desk.record();
    desk.write("a/ignored", "precious");
    let before = desk.tree();
    let error = desk.restore("a", "6").unwrap_err();
    assert_eq!(error.to_string(), "a/ignored is in the way, and is not recorded");
    assert_eq!(desk.tree(), before);
    assert_eq!(text(&desk, "a/ignored").as_deref(), Some("precious"));
    assert_eq!(desk.recover(), None, "nothing is left to do");
}

#[test]
fn a_directory_with_unrecorded_things_in_it_stays_and_makes_no_tick() {
    let desk = sample();
    desk.write("d/ignored", "precious");
    let moved = desk.revert("3").unwrap();
    assert_eq!(moved.left, [rel("d")]);
    assert_eq!(text(&desk, "d/ignored").as_deref(), Some("precious"));
    assert_eq!(text(&desk, "d/c"), None);
    assert_eq!(desk.record(), 0, "the directory that stayed is part of where the cursor stands");
    desk.revert("6").unwrap();
    assert_eq!(desk.tree(), desk.tree_at("6"));
}

#[test]
fn a_file_that_is_not_recorded_is_not_overwritten() {
    let desk = sample();
    desk.remove("b");
    desk.record();
    desk.write("keep", "me");
    desk.record();
    let at_keep = desk.view().last_tick().0;
    desk.remove("keep");
    desk.record();
    // Nobody records it from here on, as if a rule excluded it.
    desk.write("keep", "mine");
    let to = desk.point(&at_keep.to_string());
    let stand = tickfs_tracer::files::restore::destination::whole(to);
    let error = desk.go(&stand, Commit::Move("revert".to_owned()), QUIET).unwrap_err();
    assert!(matches!(error, Error::InTheWay { .. }), "{error}");
    assert_eq!(text(&desk, "keep").as_deref(), Some("mine"));
}

#[test]
fn a_branch_that_is_made_while_detached_takes_along_where_the_root_stands() {
    let desk = sample();
    desk.revert("3").unwrap();
    desk.revert_file("a", "1").unwrap();
    desk.write("b", "unsaved");
    desk.writer.mutate(crate::desk::NOW, |m| m.fork_here("mine", false)).unwrap();
    desk.record();
    assert_eq!(desk.stands(), ("mine".to_owned(), 8, true));
    assert_eq!(desk.tree(), desk.tree_at("mine@HEAD"));
    assert_eq!(heads(&desk), named(&[("main", 6), ("mine", 8)]));
}

#[test]
fn a_revert_into_the_middle_of_a_checkout_gives_just_that_tick() {
    let desk = sample();
    for n in 0..5 {
        desk.write(&format!("f{n}"), "checked out");
    }
    assert_eq!(desk.record(), 5);
    assert_eq!(
        desk.view().burst_of(crate::desk::tick_of(9)).unwrap(),
        (crate::desk::tick_of(7), crate::desk::tick_of(11))
    );
    desk.revert("9").unwrap();
    assert_eq!(desk.tree(), desk.tree_at("main@9"));
    assert_eq!((text(&desk, "f2").is_some(), text(&desk, "f3")), (true, None));
    assert_eq!(desk.record(), 0);
}

#[test]
fn undo_goes_back_before_the_last_move_and_undo_of_undo_again() {
    let desk = sample();
    desk.revert("1").unwrap();
    desk.undo().unwrap();
    assert_eq!((desk.tree(), desk.stands()), (desk.tree_at("main@6"), ("main".to_owned(), 6, true)));
    desk.undo().unwrap();
    assert_eq!((desk.tree(), desk.stands()), (desk.tree_at("main@1"), ("main".to_owned(), 1, false)));
    desk.save("a", "forked");
    desk.undo().unwrap();
    assert_eq!(desk.stands(), ("main".to_owned(), 6, true), "also after a change has forked");
    desk.restore("a", "1").unwrap();
    desk.undo().unwrap();
    assert_eq!(desk.tree(), desk.tree_at("main@6"), "a restore can be undone");
}

#[test]
fn modes_symlinks_and_empty_directories_come_back() {
    let desk = Desk::new(&[("run", "#!/bin/sh\n")]);
    std::fs::set_permissions(desk.path("run"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(desk.path("empty")).unwrap();
    std::fs::set_permissions(desk.path("empty"), std::fs::Permissions::from_mode(0o500)).unwrap();
    std::os::unix::fs::symlink("run", desk.path("link")).unwrap();
    desk.record();
    let full = desk.view().last_tick().0.to_string();
    desk.remove("empty");
    desk.remove("link");
    std::os::unix::fs::symlink("elsewhere", desk.path("link")).unwrap();
    desk.remove("run");
    desk.write("run/now/a/directory", "x");
    desk.record();
    let last = desk.view().last_tick().0.to_string();
    for at in ["0", &full, &last, &full] {
        desk.revert(&format!("main@{at}")).unwrap();
        assert_eq!(desk.tree(), desk.tree_at(&format!("main@{at}")), "at {at}");
        assert_eq!(desk.record(), 0, "at {at}");
    }
}

#[test]
fn a_thousand_files_go_back_and_forth() {
    let desk = Desk::new(&[]);
    for n in 0..1_000 {
        desk.write(&format!("dir{}/file{n}", n % 20), &format!("first {n}"));
    }
    desk.record();
    let first = desk.view().last_tick().0.to_string();
    for n in 0..1_000 {
        desk.write(&format!("dir{}/file{n}", n % 20), &format!("second {n}"));
    }
    desk.record();
    let moved = desk.revert(&first).unwrap();
    assert_eq!(moved.files, 1_000);
    assert_eq!(desk.tree(), desk.tree_at(&format!("main@{first}")));
    desk.undo().unwrap();
    assert_eq!(desk.tree(), desk.tree_at("main@HEAD"));
}

/// As many paths as a directory has are put back one by one: none of it may cost what their square does.
#[test]
fn a_directory_of_many_files_is_put_back_as_one_file_is() {
    let desk = Desk::new(&[("beside", "beside")]);
    let write = |word: &str| (0..800).for_each(|n| desk.write(&format!("d/{}/f{n}", n % 30), word));
    write("first");
    desk.record();
    let first = desk.view().last_tick().0.to_string();
    write("second");
    desk.record();
    desk.save("beside", "later");
    let moved = desk.revert_file("d", &first).unwrap();
    assert_eq!(moved.files, 800);
    assert_eq!(
        (text(&desk, "d/7/f7").as_deref(), text(&desk, "beside").as_deref()),
        (Some("first"), Some("later"))
    );
    assert_eq!(desk.record(), 0);
    desk.undo().unwrap();
    assert_eq!(desk.tree(), desk.tree_at("main@HEAD"));
    desk.restore("d", &first).unwrap();
    assert_eq!(text(&desk, "d/7/f7").as_deref(), Some("first"));
    assert_eq!((desk.record(), desk.tree()), (0, desk.tree_at("main@HEAD")));
}
