//! Recording once, without a recorder: what a command does when no process records.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use tickfs_tracer::files::{Error, record_now};

use crate::stage::{Stage, now, path, shown};

#[test]
fn the_base_is_no_tick_and_what_differs_later_is_one_burst() {
    let stage = Stage::new();
    stage.write("a", "1");
    stage.write("dir/b", "2");
    stage.write("dir/moved", "moved");
    stage.write("gone", "3");
    symlink("a", stage.path("link")).unwrap();
    let writer = stage.writer();
    let flushed = record_now(&writer, &stage.scope(), &now).unwrap();
    assert_eq!(flushed.ticks, []);
    stage.assert_recorded();

    stage.write("a", "1 and more");
    stage.write("new/c", "4");
    fs::rename(stage.path("dir/moved"), stage.path("new/here")).unwrap();
    fs::remove_file(stage.path("gone")).unwrap();
    fs::remove_file(stage.path("link")).unwrap();
    symlink("dir/b", stage.path("link")).unwrap();
    fs::set_permissions(stage.path("dir/b"), fs::Permissions::from_mode(0o600)).unwrap();
    let flushed = record_now(&writer, &stage.scope(), &now).unwrap();
    let ticks: Vec<String> = flushed.ticks.iter().map(shown).collect();
    assert_eq!(
        ticks,
        [
            "mkdir new",
            "rename dir/moved -> new/here",
            "delete gone",
            "modify a",
            "mode dir/b",
            "symlink link",
            "create new/c"
        ]
    );
    let (first, last) = writer.store().view().unwrap().burst_of(flushed.ticks[3].tick).unwrap();
    assert_eq!((first, last), (flushed.ticks[0].tick, flushed.ticks[6].tick));
    stage.assert_recorded();
    assert_eq!(record_now(&writer, &stage.scope(), &now).unwrap().ticks, []);
}

/// Shows CV-14.
#[test]
fn what_was_touched_or_written_anew_with_equal_bytes_is_no_tick() {
    let stage = Stage::new();
    stage.write("a", "same");
    let writer = stage.writer();
    record_now(&writer, &stage.scope(), &now).unwrap();
    stage.write("a", "same");
    fs::File::open(stage.path("a")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(record_now(&writer, &stage.scope(), &now).unwrap().ticks, []);
}

#[test]
fn a_root_that_is_gone_or_empty_is_not_taken_for_deleted() {
    let stage = Stage::new();
    stage.write("a", "1");
    let writer = stage.writer();
    record_now(&writer, &stage.scope(), &now).unwrap();
    fs::remove_dir_all(stage.root()).unwrap();
    let gone = record_now(&writer, &stage.scope(), &now);
    assert!(matches!(gone, Err(Error::RootGone { .. })), "{gone:?}");
    fs::create_dir(stage.root()).unwrap();
    let empty = record_now(&writer, &stage.scope(), &now);
    assert!(matches!(empty, Err(Error::RootGone { .. })), "{empty:?}");
    stage.write("b", "2");
    let back = record_now(&writer, &stage.scope(), &now).unwrap();
    assert_eq!(back.ticks.iter().map(shown).collect::<Vec<_>>(), ["delete a", "create b"]);
}

#[test]
fn what_is_recorded_stays_recorded_when_a_rule_excludes_it_later() {
    let stage = Stage::new();
    stage.write("a.log", "1");
    stage.write("logs/b", "1");
    let writer = stage.writer();
    record_now(&writer, &stage.scope(), &now).unwrap();
    stage.write(".gitignore", "*.log\nlogs/\n");
    for name in ["a.log", "logs/b", "c.log", "logs/d"] {
        stage.write(name, "2");
    }
    let flushed = record_now(&writer, &stage.scope(), &now).unwrap();
    let ticks: Vec<String> = flushed.ticks.iter().map(shown).collect();
    assert_eq!(ticks, ["create .gitignore", "modify a.log", "modify logs/b"]);
}

#[test]
fn the_first_change_while_the_root_stands_in_the_past_forks() {
    let stage = Stage::new();
    stage.write("a", "1");
    let writer = stage.writer();
    record_now(&writer, &stage.scope(), &now).unwrap();
    stage.write("a", "2");
    let first = record_now(&writer, &stage.scope(), &now).unwrap().ticks[0].tick;
    stage.write("a", "1");
    let to = tickfs_store::history::Stand {
        branch: tickfs_store::ids::BranchNo::MAIN,
        tick: tickfs_store::ids::Tick::BASE,
        partial: Vec::new(),
    };
    writer.mutate(now(), |mutation| mutation.move_cursor(to, "revert")).unwrap();
    assert_eq!(
        record_now(&writer, &stage.scope(), &now).unwrap().ticks,
        [],
        "what a revert wrote is no tick"
    );
    stage.write("a", "3");
    let flushed = record_now(&writer, &stage.scope(), &now).unwrap();
    assert_eq!(flushed.forks, ["main-1"]);
    let view = writer.store().view().unwrap();
    let main = view.tree(view.head(tickfs_store::ids::BranchNo::MAIN)).unwrap();
    let kept = main.resolve(&path("a")).unwrap().unwrap();
    assert_eq!((kept.version.tick, main.read(&kept.version).unwrap()), (first, b"2".to_vec()));
    stage.assert_recorded();
}
