//! Directories, links and modes: whatever comes, goes and moves is recorded as what it is, and nothing is missed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::stage::{Stage, shown};

#[test]
fn a_file_that_moves_is_one_rename() {
    let mut stage = Stage::with(&[("a", "1"), ("d/b", "2")]);
    let moved = stage.during(|stage| fs::rename(stage.path("a"), stage.path("d/a2")).unwrap());
    assert_eq!(moved, ["rename a -> d/a2"]);
    let changed = stage.during(|stage| {
        fs::rename(stage.path("d/a2"), stage.path("c")).unwrap();
        fs::write(stage.path("c"), "and changed").unwrap();
    });
    assert_eq!(changed, ["rename d/a2 -> c", "modify c"]);
    stage.assert_recorded();
}

#[test]
fn a_directory_moves_with_all_that_is_in_it_as_one_rename() {
    let names: Vec<String> = (0..1000).map(|n| format!("d/e{}/f{n}", n % 10)).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let mut stage = Stage::with(&files);
    let moved = stage.during(|stage| fs::rename(stage.path("d"), stage.path("moved")).unwrap());
    assert_eq!(moved, ["rename d -> moved"]);
    // What happens in it afterwards happens there.
    let inside = stage.during(|stage| {
        stage.write("moved/e0/f0", "changed");
        stage.write("moved/e1/new", "new");
    });
    assert_eq!(inside, ["modify moved/e0/f0", "create moved/e1/new"]);
    let both = stage.during(|stage| {
        fs::rename(stage.path("moved"), stage.path("again")).unwrap();
        stage.write("again/e2/f2", "at once");
    });
    assert_eq!(both, ["rename moved -> again", "modify again/e2/f2"]);
    stage.assert_recorded();
}

#[test]
fn directories_that_are_moved_in_and_out_come_and_go_whole() {
    let mut stage = Stage::with(&[("keep", "1")]);
    stage.sh("mkdir -p ../out/a/b; echo 1 > ../out/a/b/c; echo 2 > ../out/d");
    let came = stage.during(|stage| stage.sh("mv ../out in"));
    assert_eq!(came, ["mkdir in", "mkdir in/a", "mkdir in/a/b", "create in/a/b/c", "create in/d"]);
    let went = stage.during(|stage| stage.sh("mv in/a ../gone"));
    assert_eq!(went, ["delete in/a/b/c", "rmdir in/a/b", "rmdir in/a"]);
    // What is done to it elsewhere is no business of ours.
    let elsewhere = stage.during(|stage| stage.sh("echo 2 > ../gone/b/c; echo 3 > ../gone/b/new"));
    assert_eq!(elsewhere, Vec::<String>::new());
    stage.assert_recorded();
}

#[test]
fn a_directory_that_is_deleted_and_made_again_is_watched_again() {
    let mut stage = Stage::with(&[("d/a", "1"), ("d/b", "2")]);
    let again = stage.during(|stage| stage.sh("rm -r d; mkdir d; echo changed > d/a"));
    assert_eq!(again, ["delete d/b", "modify d/a"]);
    let later = stage.during(|stage| stage.write("d/a", "once more"));
    assert_eq!(later, ["modify d/a"]);
    let gone = stage.during(|stage| stage.sh("rm -r d"));
    assert_eq!(gone, ["delete d/a", "rmdir d"]);
    stage.assert_recorded();
}

#[test]
fn a_file_becomes_a_directory_and_a_symlink_and_back() {
    let mut stage = Stage::with(&[("x", "1"), ("target", "t")]);
    let dir = stage.during(|stage| stage.sh("rm x; mkdir x; echo 2 > x/y"));
    assert_eq!(dir, ["mkdir x", "create x/y"], "the delete stands in the history, as a tick of its own");
    let link = stage.during(|stage| {
        fs::remove_dir_all(stage.path("x")).unwrap();
        symlink("target", stage.path("x")).unwrap();
    });
    assert_eq!(link.last().map(String::as_str), Some("symlink x"), "{link:?}");
    let other = stage.during(|stage| {
        fs::remove_file(stage.path("x")).unwrap();
        symlink("elsewhere", stage.path("x")).unwrap();
    });
    assert_eq!(other, ["symlink x"]);
    stage.assert_recorded();
}

#[test]
fn a_change_of_mode_is_a_tick_of_its_own_kind() {
    let mut stage = Stage::with(&[("a", "1"), ("d/b", "2")]);
    let modes = stage.during(|stage| {
        fs::set_permissions(stage.path("a"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(stage.path("d"), fs::Permissions::from_mode(0o700)).unwrap();
    });
    assert_eq!(modes, ["mode a", "mode d"]);
    let touched = stage.during(|stage| stage.sh("touch a d/b"));
    assert_eq!(touched, Vec::<String>::new());
}

/// An event names one of the links only.
#[test]
fn a_write_through_one_hard_link_is_recorded_for_each() {
    let mut stage = Stage::with(&[("a", "1")]);
    let linked = stage.during(|stage| fs::hard_link(stage.path("a"), stage.path("b")).unwrap());
    assert_eq!(linked, ["create b"]);
    let written = stage.during(|stage| stage.write("a", "through a"));
    assert_eq!(written, ["modify a", "modify b"]);
    stage.assert_recorded();
}

#[test]
fn swapped_and_chained_renames_end_in_what_stands_there() {
    let mut stage = Stage::with(&[("a", "aaa"), ("b", "bbb"), ("c", "ccc")]);
    stage.during(|stage| stage.sh("mv a t; mv b a; mv t b"));
    stage.assert_recorded();
    let chained = stage.during(|stage| stage.sh("mv c c1; mv c1 c2; mv c2 c3"));
    assert_eq!(chained, ["rename c -> c3"]);
    stage.assert_recorded();
    let over = stage.during(|stage| stage.sh("mv a b"));
    assert_eq!(over, ["delete a", "modify b"]);
    stage.assert_recorded();
}

/// Trees that are made, filled, moved and removed by several at once, while the recorder is watching.
#[test]
fn no_file_is_missed_however_the_events_race() {
    let mut stage = Stage::with(&[("keep", "1")]);
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let root = stage.root();
            std::thread::spawn(move || {
                let mut chance = fastrand::Rng::with_seed(worker);
                for round in 0..60 {
                    let dir = root.join(format!("w{worker}/r{}/deep/er", round % 7));
                    fs::create_dir_all(&dir).unwrap();
                    for file in 0..chance.usize(1..12) {
                        fs::write(dir.join(format!("f{file}")), format!("{worker} {round}")).unwrap();
                    }
                    let top = root.join(format!("w{worker}/r{}", round % 7));
                    match chance.u8(0..4) {
                        0 => fs::remove_dir_all(&top).unwrap(),
                        1 => {
                            let to = root.join(format!("w{worker}/moved{}", chance.u8(0..3)));
                            if !to.exists() {
                                fs::rename(&top, to).unwrap();
                            }
                        }
                        _ => {}
                    }
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    stage.settled();
    stage.recorder().flush().unwrap();
    stage.assert_recorded();
    let doubled: Vec<String> =
        stage.ticks().iter().map(shown).filter(|tick| tick.contains("er/er")).collect();
    assert_eq!(doubled, Vec::<String>::new());
}
