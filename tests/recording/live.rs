//! What one may ask of a recorder, and what it does when things go wrong.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tickfs_store::Store;
use tickfs_store::disk::{Disk as _, Fault, Op, OpKind, SimDisk};
use tickfs_store::history::Stand;
use tickfs_store::ids::{BranchNo, StoreId, Tick, UnixMillis};
use tickfs_store::journal::entry::{Action, Writer};
use tickfs_tracer::files::{Announcement, Error, State};

use crate::stage::{Stage, has, now, path, shown};

#[test]
fn a_flush_records_what_is_there_without_waiting() {
    let stage = Stage::with(&[("a", "1"), ("b", "1")]);
    for round in 0..20 {
        stage.write("a", &format!("a {round}"));
        stage.write(&format!("new{round}"), "new");
        let open = File::create(stage.path("b")).unwrap();
        (&open).write_all(format!("open {round}").as_bytes()).unwrap();
        fs::remove_file(stage.path(&format!("new{}", round - 1))).ok();
        stage.recorder().flush().unwrap();
        stage.assert_recorded();
    }
}

#[test]
fn what_a_command_writes_while_it_holds_the_recorder_makes_no_tick_if_it_is_the_cursors_tree() {
    let mut stage = Stage::with(&[("a", "1"), ("d/b", "1")]);
    stage.during(|stage| {
        stage.write("a", "2");
        stage.write("d/c", "2");
    });
    let ticks = stage.ticks().len();
    stage.recorder().flush().unwrap();
    stage.stop();
    // The writer is with the recorder: a second one is made for the command.
    let writer = std::sync::Arc::new(stage.writer());
    stage.record_with(std::sync::Arc::clone(&writer));
    let held = stage.recorder().hold().unwrap();
    assert_eq!(stage.recorder().status().state, State::Held);
    let base = Stand { branch: BranchNo::MAIN, tick: Tick::BASE, partial: Vec::new() };
    writer.mutate(now(), |mutation| mutation.move_cursor(base, "revert")).unwrap();
    stage.write(".tmp", "1");
    fs::rename(stage.path(".tmp"), stage.path("a")).unwrap();
    fs::remove_file(stage.path("d/c")).unwrap();
    fs::remove_file(stage.path("sentinel-1")).unwrap();
    drop(held);
    assert_eq!(stage.recorder().flush().unwrap().ticks, []);
    assert_eq!(stage.ticks().len(), ticks);
    stage.assert_recorded();
    // The next change forks, and says so.
    let forked = stage.during(|stage| stage.write("a", "3"));
    assert_eq!(forked, ["modify a"]);
    stage.await_heard("the fork", |heard| {
        heard.iter().any(|one| matches!(one, Announcement::Forked { branch } if branch == "main-1"))
    });
}

#[test]
fn while_it_is_held_nothing_is_recorded_but_what_is_asked_for() {
    let stage = Stage::with(&[("a", "1"), ("b", "1")]);
    let held = stage.recorder().hold().unwrap();
    stage.write("a", "2");
    stage.write("b", "2");
    let looked = held.look_at(&[path("b")]).unwrap();
    assert_eq!(looked.ticks.iter().map(shown).collect::<Vec<_>>(), ["modify b"]);
    drop(held);
    stage.recorder().flush().unwrap();
    assert_eq!(stage.ticks().iter().map(shown).collect::<Vec<_>>(), ["modify b", "modify a"]);
}

#[test]
fn what_happened_while_it_was_paused_or_stopped_is_one_burst() {
    let mut stage = Stage::with(&[("a", "1"), ("b", "1")]);
    stage.recorder().pause().unwrap();
    assert_eq!(stage.recorder().status().state, State::Paused);
    stage.sh("echo 2 > a; echo 2 > b; echo 3 > c; echo 3 > a");
    let resumed = stage.recorder().resume().unwrap();
    assert_eq!(resumed.ticks.iter().map(shown).collect::<Vec<_>>(), ["modify a", "modify b", "create c"]);
    stage.stop();
    stage.sh("mv a moved; echo 4 > b; rm c; mkdir d");
    stage.record();
    let started: Vec<String> = stage.ticks()[3..].iter().map(shown).collect();
    assert_eq!(started, ["rename a -> moved", "delete c", "modify b", "mkdir d"]);
    let view = stage.store().view().unwrap();
    assert_eq!(view.burst_of(Tick(6)).unwrap(), (Tick(4), Tick(7)));
    stage.assert_recorded();
}

#[test]
fn a_root_that_vanishes_is_one_gap_and_never_a_mass_delete() {
    let mut stage = Stage::with(&[("a", "1"), ("d/b", "1")]);
    let away = stage.outside().join("away");
    fs::rename(stage.root(), &away).unwrap();
    stage.await_heard("the gap", |heard| heard.iter().any(|one| matches!(one, Announcement::Gap(_))));
    let State::RootGone { why } = stage.recorder().status().state else { panic!() };
    assert!(why.contains("init --adopt") && why.contains("away"), "{why}");
    assert!(matches!(stage.recorder().flush(), Err(Error::RootGone { .. })));
    fs::write(away.join("a"), "changed elsewhere").unwrap();
    fs::rename(&away, stage.root()).unwrap();
    stage.await_heard("that it is back", |heard| heard.iter().any(|one| matches!(one, Announcement::Back)));
    let after = stage.during(|stage| stage.write("d/b", "2"));
    assert_eq!(after, ["modify d/b"]);
    assert_eq!(stage.ticks().iter().map(shown).collect::<Vec<_>>(), ["modify a", "modify d/b"]);
    let gaps = stage.store().view().unwrap().observed(&[Action::Gap], 10).unwrap();
    assert_eq!((gaps.len(), stage.recorder().status().gaps), (1, 1));
}

/// A clean checkout made anew: the history of what comes back goes on.
#[test]
fn a_root_that_is_removed_and_made_anew_keeps_its_history() {
    let mut stage = Stage::with(&[("a", "1")]);
    stage.sh("cp -a . ../copy");
    stage.sh("rm -rf ../app");
    stage.await_heard("the gap", |heard| heard.iter().any(|one| matches!(one, Announcement::Gap(_))));
    fs::create_dir(stage.root()).unwrap();
    fs::copy(stage.outside().join("copy/a"), stage.path("a")).unwrap();
    stage.await_heard("that it is back", |heard| heard.iter().any(|one| matches!(one, Announcement::Back)));
    let after = stage.during(|stage| stage.write("a", "2"));
    assert_eq!(after, ["modify a"]);
    stage.assert_recorded();
}

/// The store lies beside the root, where it takes nothing along.
#[test]
fn a_clean_of_all_that_git_does_not_know_is_ticks_and_can_be_gone_back_behind() {
    if !has("git") {
        return;
    }
    let mut stage = Stage::with(&[("known", "1"), ("d/unknown", "1"), ("unknown", "1")]);
    stage.sh("git init -q; git add known; git commit -qm one");
    let before = stage.recorded_at(None);
    let cleaned = stage.during(|stage| stage.sh("git clean -xdfq"));
    assert_eq!(cleaned, ["delete unknown", "delete d/unknown", "rmdir d"]);
    let kept = stage.recorded_at(Some(Tick::BASE));
    assert_eq!(kept["d/unknown"], before["d/unknown"]);
    stage.assert_recorded();
}

#[test]
fn what_cannot_be_read_is_a_warning_and_is_tried_again() {
    if rustix::process::geteuid().is_root() {
        println!("skipped: root can read everything");
        return;
    }
    let mut stage = Stage::with(&[("a", "1")]);
    fs::set_permissions(stage.path("a"), fs::Permissions::from_mode(0o000)).unwrap();
    stage.await_heard("the warning", |heard| heard.iter().any(|one| matches!(one, Announcement::Warning(_))));
    assert_eq!(stage.recorder().status().unread.len(), 1);
    fs::set_permissions(stage.path("a"), fs::Permissions::from_mode(0o644)).unwrap();
    let after = stage.during(|stage| stage.write("a", "2"));
    assert_eq!(after, ["modify a"]);
    assert_eq!(stage.recorder().status().unread, []);
}

#[test]
fn a_file_that_is_never_closed_is_sampled_and_said_to_be() {
    let stage = Stage::with(&[("log", "")]);
    let mut file = File::options().append(true).open(stage.path("log")).unwrap();
    let until = std::time::Instant::now() + crate::stage::PATIENCE;
    while stage.recorder().status().written_all_the_time != [path("log")] {
        assert!(std::time::Instant::now() < until, "never said");
        writeln!(file, "line").unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    let ticks = stage.ticks();
    assert!(
        (1..=3).contains(&ticks.len()) && ticks.iter().all(|tick| shown(tick) == "modify log"),
        "{ticks:?}"
    );
    drop(file);
    stage.recorder().flush().unwrap();
    assert_eq!(stage.recorder().status().written_all_the_time, []);
    stage.assert_recorded();
}

#[test]
fn a_rule_that_changes_takes_effect_at_once() {
    let mut stage = Stage::with(&[(".gitignore", "*.log\nbuild/\n"), ("a.log", "1"), ("build/x/y", "1")]);
    let ignored = stage.during(|stage| stage.sh("echo 2 > a.log; echo 2 > build/x/y; mkdir build/z"));
    assert_eq!(ignored, Vec::<String>::new());
    let mut now_seen = stage.during(|stage| stage.write(".gitignore", "\n"));
    now_seen.sort();
    assert_eq!(
        now_seen,
        [
            "create a.log",
            "create build/x/y",
            "mkdir build",
            "mkdir build/x",
            "mkdir build/z",
            "modify .gitignore"
        ]
    );
    let later = stage.during(|stage| stage.write("build/x/y", "3"));
    assert_eq!(later, ["modify build/x/y"]);
}

#[test]
fn named_files_are_sampled_at_their_interval_or_heard_of_by_events() {
    let mut stage = Stage::new();
    stage.write("d/a", "1");
    stage.write("b", "1");
    stage.write("other", "1");
    stage.files = Some(vec![path("d/a")]);
    stage.interval = Some(Duration::from_millis(50));
    stage.record();
    stage.write("other", "2");
    stage.write("d/a", "2");
    stage.await_heard("the tick", |heard| heard.iter().any(|one| matches!(one, Announcement::Ticks { .. })));
    let added = stage.recorder().add_file(path("b"), None).unwrap();
    assert_eq!(added.ticks.iter().map(shown).collect::<Vec<_>>(), ["create b"]);
    stage.write("b", "2");
    stage.recorder().flush().unwrap();
    let ticks: Vec<String> = stage.ticks().iter().map(shown).collect();
    assert_eq!(ticks, ["modify d/a", "create b", "modify b"]);
    let status = stage.recorder().status();
    assert_eq!(status.files, [(path("d/a"), Some(Duration::from_millis(50))), (path("b"), None)]);
    assert!(status.samples > 0);
    assert_eq!(stage.store().scope().unwrap().unwrap().files, Some(vec![path("d/a"), path("b")]));

    stage.recorder().remove_file(path("b")).unwrap();
    stage.write("b", "3");
    stage.write("d/a", "3");
    stage.recorder().flush().unwrap();
    assert_eq!(stage.ticks().iter().map(shown).skip(3).collect::<Vec<_>>(), ["modify d/a"]);
}

#[test]
fn any_number_of_threads_makes_the_same_ticks() {
    let mut made = Vec::new();
    for threads in [1, 32] {
        let stage = Stage::with(&[("keep", "1")]);
        stage.recorder().set_threads(threads.try_into().unwrap()).unwrap();
        stage.recorder().pause().unwrap();
        for n in 0..300 {
            stage.write(&format!("d{}/f{n}", n % 7), &format!("{n}").repeat(n));
        }
        stage.recorder().resume().unwrap();
        assert_eq!(stage.recorder().status().threads, threads);
        stage.assert_recorded();
        made.push(stage.ticks().iter().map(|tick| (tick.tick, shown(tick))).collect::<Vec<_>>());
    }
    assert_eq!(made[0], made[1]);
    assert_eq!(made[0].len(), 307);
}

#[test]
fn what_a_full_disk_refuses_is_recorded_when_there_is_room() {
    if !has("mount") || !rustix::process::geteuid().is_root() {
        println!("skipped: only root can mount a small filesystem");
        return;
    }
    let mut stage = Stage::new();
    let small = stage.small_filesystem(4);
    stage.write("a", "1");
    stage.record();
    let fill = small.fill();
    let mut noise = vec![0_u8; 1 << 20];
    fastrand::Rng::with_seed(1).fill(&mut noise);
    fs::write(stage.path("a"), &noise).unwrap();
    stage.await_heard("the warning", |heard| heard.iter().any(|one| matches!(one, Announcement::Warning(_))));
    assert!(stage.recorder().status().failures > 0);
    assert_eq!(stage.ticks(), []);
    fs::remove_file(fill).unwrap();
    stage.await_heard("the tick", |heard| heard.iter().any(|one| matches!(one, Announcement::Ticks { .. })));
    assert_eq!(stage.recorder().status().state, State::Recording);
    stage.assert_recorded();
    stage.stop();
}

/// Shows EL-53: the recorder's own events are told as well as they can be: one that cannot be written stops nothing, and is
/// counted (`stats.json` shows the same number, `daemon_on_a_full_disk…`).
#[test]
fn an_event_of_the_recorder_that_cannot_be_written_is_counted_and_recording_goes_on() {
    let mut stage = Stage::new();
    stage.write("a", "1");
    let disk = SimDisk::default();
    disk.create_dir(Path::new("/s")).unwrap();
    let dir = Path::new("/s/.app.tickfs");
    let id = StoreId::new(UnixMillis(1), [7; 10]);
    let store = Store::init_for(Arc::new(disk.clone()), dir, id, Some(&stage.scope())).unwrap();
    let who = Writer { writer: "test".to_owned(), writer_id: None, pid: 1 };
    let writer = Arc::new(store.writer(who, Duration::ZERO).unwrap());
    // The first record that is written is the one that says that the recorder began.
    let mut fails = true;
    let first = move |op: &Op| {
        op.kind == OpKind::Append && op.path.to_string_lossy().contains("/seg-") && std::mem::take(&mut fails)
    };
    disk.fail_when(first, Fault::NoSpace);
    stage.record_with(Arc::clone(&writer));
    stage.write("a", "2");
    stage
        .await_heard("the save", |heard| heard.iter().any(|said| matches!(said, Announcement::Ticks { .. })));
    assert_eq!(writer.events_lost(), 1);
    stage.stop();
    assert_eq!(writer.events_lost(), 1, "its end could be told");
    let view = store.view().unwrap();
    let actions = [Action::SessionStart, Action::SessionEnd];
    let told: Vec<Action> =
        view.observed(&actions, 10).unwrap().into_iter().map(|(_, action)| action).collect();
    assert_eq!(told, [Action::SessionEnd]);
    assert_eq!(view.last_tick(), Tick(1));
}
