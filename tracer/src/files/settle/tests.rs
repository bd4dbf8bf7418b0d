//! Scripts of events, each with its moment in milliseconds, and what is looked at when.

use std::collections::BTreeSet;

use super::Seen::{Made, Modified, MovedFrom, MovedTo, Removed, Touched, Written};
use super::*;

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn at(millis: u64) -> Moment {
    Duration::from_millis(millis)
}

/// Plays a script over a root in which these paths are recorded, and gives what was handed out: the moment in
/// milliseconds (rounded up) and the paths, `to<from` where one may have been moved.
fn play(recorded: &[&str], script: &[(u64, &str, Seen)]) -> Vec<(u128, Vec<String>)> {
    let recorded: BTreeSet<RelPath> = recorded.iter().map(|text| path(text)).collect();
    let is_recorded = |path: &RelPath| recorded.contains(path);
    let mut settle = Settle::default();
    let mut taken = Vec::new();
    let mut script = script.iter().peekable();
    loop {
        let next = script.peek().map(|(millis, _, _)| at(*millis));
        match (settle.due(), next) {
            (Some(due), next) if next.is_none_or(|next| due < next) => {
                settle.moved_away(due);
                let paths: Vec<String> =
                    settle.take(due).taken.iter().map(|taken| shown(&taken.candidate)).collect();
                if !paths.is_empty() {
                    taken.push((due.as_micros().div_ceil(1000), paths));
                }
            }
            (_, Some(now)) => {
                let (_, name, seen) = script.next().unwrap();
                settle.see(now, path(name), *seen, None, &is_recorded);
            }
            (_, None) => break,
        }
    }
    assert_eq!(settle.len(), 0, "something was never handed out");
    taken
}

fn shown(candidate: &Candidate) -> String {
    match &candidate.from {
        Some(from) => format!("{}<{from}", candidate.path),
        None => candidate.path.to_string(),
    }
}

fn one(millis: u128, paths: &[&str]) -> Vec<(u128, Vec<String>)> {
    vec![(millis, paths.iter().map(|path| (*path).to_owned()).collect())]
}

#[test]
fn a_lone_save_is_looked_at_at_once() {
    assert_eq!(play(&["f"], &[(0, "f", Modified), (3, "f", Written)]), one(4, &["f"]));
}

#[test]
fn a_temp_file_that_is_renamed_onto_the_path_is_never_looked_at() {
    let script = [
        (0, "f.tmp", Made),
        (0, "f.tmp", Modified),
        (50, "f.tmp", Written),
        (51, "f.tmp", MovedFrom { cookie: 1 }),
        (51, "f", MovedTo { cookie: 1 }),
    ];
    assert_eq!(play(&["f"], &script), one(52, &["f"]));
}

#[test]
fn a_backup_that_is_deleted_again_is_never_looked_at() {
    let script = [
        (0, "f", MovedFrom { cookie: 1 }),
        (0, "f~", MovedTo { cookie: 1 }),
        (1, "f", Made),
        (1, "f", Modified),
        (4, "f", Written),
        (5, "f~", Removed),
    ];
    assert_eq!(play(&["f"], &script), one(5, &["f"]));
}

/// A large file, or a slow disk: the backup stands for longer than a new name waits.
#[test]
fn a_backup_is_waited_for_while_its_origin_is_being_written() {
    let script = [
        (0, "f", MovedFrom { cookie: 1 }),
        (0, "f~", MovedTo { cookie: 1 }),
        (1, "f", Made),
        (1, "f", Modified),
        (340, "f", Written),
        (341, "f~", Removed),
    ];
    assert_eq!(play(&["f"], &script), one(341, &["f"]));
    let kept = play(&["f"], &script[..5]);
    assert_eq!(kept, [(341, vec!["f".to_owned()]), (401, vec!["f~<f".to_owned()])]);
}

#[test]
fn a_new_name_and_a_removal_wait_for_their_other_half() {
    assert_eq!(play(&[], &[(0, "n", Made), (2, "n", Written)]), one(102, &["n"]));
    assert_eq!(play(&["f"], &[(0, "f", Removed)]), one(100, &["f"]));
    let replaced = [(0, "f", Removed), (20, "f", Made), (21, "f", Modified), (30, "f", Written)];
    assert_eq!(play(&["f"], &replaced), one(31, &["f"]));
    assert_eq!(play(&[], &[(0, "n", Made), (2, "n", Written), (90, "n", Removed)]), []);
}

#[test]
fn a_rename_keeps_where_it_came_from_through_a_chain() {
    let script = [
        (0, "a", MovedFrom { cookie: 1 }),
        (0, "b", MovedTo { cookie: 1 }),
        (5, "b", MovedFrom { cookie: 2 }),
        (5, "c", MovedTo { cookie: 2 }),
        (9, "c", Modified),
        (10, "c", Written),
    ];
    assert_eq!(play(&["a"], &script), one(110, &["a", "c<a"]));
}

#[test]
fn what_happens_below_a_directory_that_moves_happened_under_its_new_name() {
    let script = [
        (0, "d/new", Made),
        (1, "d/new", Written),
        (2, "d", MovedFrom { cookie: 1 }),
        (2, "e", MovedTo { cookie: 1 }),
    ];
    assert_eq!(play(&["d"], &script), one(102, &["d", "e<d", "e/new"]));
}

#[test]
fn a_burst_is_handed_out_when_it_is_over() {
    let names: Vec<String> = (0..100).map(|n| format!("f{n:02}")).collect();
    let recorded: Vec<&str> = names.iter().map(String::as_str).collect();
    // One every millisecond would be a hundred commits.
    let script: Vec<(u64, &str, Seen)> =
        recorded.iter().zip(0..).map(|(name, n)| (n / 2, *name, Written)).collect();
    assert_eq!(play(&recorded, &script), one(54, &recorded));
}

#[test]
fn a_checkout_that_makes_and_removes_too_is_one_burst() {
    let script = [
        (0, "gone", Removed),
        (1, "a", Removed),
        (1, "a", Made),
        (1, "a", Written),
        (2, "new", Made),
        (2, "new", Written),
    ];
    assert_eq!(play(&["a", "gone"], &script), one(102, &["a", "gone", "new"]));
}

#[test]
fn a_burst_without_an_end_is_handed_out_in_parts() {
    let script: Vec<(u64, String)> = (0..3000).map(|n| (n, format!("n{n:04}"))).collect();
    let script: Vec<(u64, &str, Seen)> =
        script.iter().map(|(n, name)| (*n, name.as_str(), Written)).collect();
    let taken = play(&[], &script);
    assert!((3..=4).contains(&taken.len()), "{} parts", taken.len());
    assert_eq!(taken.iter().map(|(_, paths)| paths.len()).sum::<usize>(), 3000);
    assert_eq!(taken[0].0, 1000);
}

/// Two files that are saved in turn, faster than a burst would end: none of the saves may wait for the next.
#[test]
fn a_path_that_is_saved_again_while_it_is_ready_is_looked_at_at_once() {
    let script: Vec<(u64, &str, Seen)> =
        (0..20).map(|n| (n * 4, if n % 2 == 0 { "a" } else { "b" }, Written)).collect();
    let taken = play(&["a", "b"], &script);
    assert_eq!(taken.iter().map(|(_, paths)| paths.len()).sum::<usize>(), 20, "{taken:?}");
}

#[test]
fn a_file_that_is_not_closed_is_sampled() {
    let mut script: Vec<(u64, &str, Seen)> = (0..50).map(|n| (n * 100, "f", Modified)).collect();
    script.push((5000, "f", Written));
    let moments: Vec<u128> = play(&["f"], &script).into_iter().map(|(moment, _)| moment).collect();
    assert_eq!(moments, [2000, 4100, 5001]);
}

#[test]
fn a_change_of_metadata_before_the_close_belongs_to_the_save() {
    assert_eq!(
        play(&["f"], &[(0, "f", Touched), (1, "f", Modified), (2, "f", Touched), (3, "f", Written)]),
        one(4, &["f"])
    );
    assert_eq!(play(&["f"], &[(0, "f", Touched)]), one(100, &["f"]));
}

/// Versions and candidates as they are handed out: a candidate that was read is marked.
fn portion(portion: &Portion) -> (Vec<String>, Vec<String>) {
    let versions = portion.versions.iter().map(|version| version.path.to_string());
    let mark = |taken: &Taken| if taken.candidate.captured.is_some() { "*" } else { "" };
    let taken = portion.taken.iter().map(|taken| shown(&taken.candidate) + mark(taken));
    (versions.collect(), taken.collect())
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn saves_that_were_read_are_all_handed_out_in_their_order() {
    let mut settle = Settle::default();
    let mut save = |name: &str, read: bool| {
        let captured = read.then(|| Captured::of(path(name), b"x"));
        settle.see(at(0), path(name), Modified, None, &|_| true);
        settle.see(at(0), path(name), Written, captured, &|_| true);
    };
    for name in ["f", "g", "f", "f", "g"] {
        save(name, true);
    }
    assert_eq!(portion(&settle.take(at(0))), (names(&["f", "g", "f"]), names(&["f*", "g*"])));
    assert_eq!((settle.merged(), settle.len()), (0, 0));
}

#[test]
fn a_save_that_was_not_read_is_counted_when_the_next_one_comes() {
    let mut settle = Settle::default();
    for read in [true, false, true] {
        let captured = read.then(|| Captured::of(path("f"), b"x"));
        settle.see(at(0), path("f"), Written, captured, &|_| true);
    }
    assert_eq!(portion(&settle.take(at(0))), (names(&["f"]), names(&["f*"])));
    assert_eq!(settle.merged(), 1);
}

#[test]
fn what_was_saved_before_it_was_removed_or_replaced_is_a_version_that_comes_first() {
    let mut settle = Settle::default();
    settle.see(at(0), path("f"), Written, Some(Captured::of(path("f"), b"x")), &|_| true);
    settle.see(at(0), path("f"), Removed, None, &|_| true);
    settle.see(at(0), path("g"), Written, Some(Captured::of(path("g"), b"x")), &|_| true);
    settle.see(at(0), path("g"), MovedTo { cookie: 1 }, None, &|_| true);
    assert_eq!(settle.due(), Some(at(100)), "what is ready waits for the removal, as one burst");
    assert_eq!(portion(&settle.take(at(100))), (names(&["f", "g"]), names(&["g", "f"])));
    assert_eq!(settle.merged(), 0);
}

#[test]
fn versions_that_could_not_be_written_down_come_first_the_next_time() {
    let mut settle = Settle::default();
    settle.see(at(0), path("f"), Written, Some(Captured::of(path("f"), b"x")), &|_| true);
    settle.see(at(0), path("f"), Written, Some(Captured::of(path("f"), b"x")), &|_| true);
    let refused = settle.take(at(0)).versions;
    settle.see(at(1), path("g"), Written, Some(Captured::of(path("g"), b"x")), &|_| true);
    settle.hold_again(at(2000), refused);
    assert_eq!(portion(&settle.take(at(2))), (names(&["f"]), names(&["g*"])));
    settle.see(at(3), path("f"), Written, Some(Captured::of(path("f"), b"x")), &|_| true);
    let portion = settle.take(at(4));
    settle.hold_again(at(2004), vec![Arc::clone(portion.taken[0].candidate.captured.as_ref().unwrap())]);
    assert_eq!(settle.due(), Some(at(2004)));
}
