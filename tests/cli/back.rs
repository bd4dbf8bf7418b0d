//! Going back and forth by commands: revert, restore, undo.

use std::os::unix::fs::PermissionsExt as _;

use crate::bench::{Bench, as_stranger};

/// Ticks: 1, 2 and 3 of `a`, 4 of `b`.
fn sample() -> Bench {
    let bench = Bench::with_store();
    assert_eq!(bench.save("a", "zero\n"), 0);
    for n in 1..=3 {
        assert_eq!(bench.save("a", format!("save {n}\n")), n);
    }
    assert_eq!(bench.save("b", "other\n"), 4);
    bench
}

/// Shows CV-80, CV-89.
#[test]
fn cli_a_revert_puts_back_the_root_or_one_file_and_removes_what_did_not_exist_then() {
    let bench = sample();
    let said = bench.done(&["revert", "--at", "2", "--file", "a"]);
    assert!(said.starts_with("a was put back to main@2; 1 file changed, 7 bytes\n"), "{said}");
    assert_eq!((bench.text("a").as_deref(), bench.text("b").as_deref()), (Some("save 2\n"), Some("other\n")));
    bench.done(&["revert", "--at", "3", "--file", "b"]);
    assert_eq!(bench.text("b"), None, "it did not exist at tick 3");
    let said = bench.done(&["revert", "--at", "1"]);
    assert!(said.starts_with("reverted to main@1; 1 file changed, 7 bytes\n"), "{said}");
    assert_eq!((bench.text("a").as_deref(), bench.text("b")), (Some("save 1\n"), None));
    let (files, _) = bench.state();
    assert_eq!(files.len(), 1, "nothing else is in the root");
}

/// Shows CV-81, CV-82, CV-83.
#[test]
fn cli_what_is_no_point_of_the_branch_or_not_tracked_is_refused_and_nothing_is_touched() {
    let bench = sample();
    std::fs::write(bench.path("app/.env"), "secret").unwrap();
    let no_point = bench.refused(&["revert", "--at", "x"], 2);
    assert!(no_point.contains("must be an integer") && no_point.contains("2h, yesterday"), "{no_point}");
    let missing = bench.refused(&["revert"], 2);
    assert!(missing.contains("--at <T>"), "{missing}");
    let beyond = bench.refused(&["revert", "--at", "999", "--file", "a"], 1);
    assert_eq!(beyond, "tickfs: tick 999 is not on branch main: there is no such tick, its last is 4");
    let untracked = bench.refused(&["revert", "--at", "1", "--file", ".env"], 1);
    assert_eq!(untracked, "tickfs: .env is not recorded here, and never was");
    let outside = bench.refused(&["revert", "--at", "1", "--root", ".", "--file", "../x"], 2);
    assert!(outside.contains("cannot be used with"), "{outside}");

    bench.done(&["revert", "--at", "2"]);
    assert_eq!(bench.save("a", "forked\n"), 5);
    let other = bench.refused(&["revert", "--at", "3"], 1);
    assert_eq!(other, "tickfs: tick 3 is not on branch main-1: main@3 names it");
    bench.done(&["revert", "--at", "main@4", "--file", "a"]);
    assert_eq!(
        bench.text("a").as_deref(),
        Some("save 3\n"),
        "a tick of another file gives the file as it was then"
    );
    bench.done(&["revert", "--at", "0", "--file", "a"]);
    assert_eq!(bench.text("a").as_deref(), Some("zero\n"), "the base is on every branch");
}

/// Shows CV-86.
#[test]
fn cli_the_cursor_of_a_file_follows_a_revert() {
    let bench = sample();
    let current = |file: &str| bench.codevovle("state.json")["cursor"][file]["current_tick"].clone();
    assert_eq!((current("a"), current("b")), (3.into(), 4.into()));
    bench.done(&["revert", "--at", "2", "--file", "a"]);
    assert_eq!((current("a"), current("b")), (2.into(), 4.into()));
    bench.done(&["revert", "--at", "1"]);
    assert_eq!((current("a"), current("b")), (1.into(), serde_json::Value::Null));
}

#[test]
fn cli_what_is_unsaved_is_one_tick_before_the_revert() {
    let bench = sample();
    std::fs::write(bench.path("app/a"), "unsaved\n").unwrap();
    let said = bench.done(&["revert", "--at", "1"]);
    assert!(said.contains("recorded 1 unsaved change first\n"), "{said}");
    assert_eq!(bench.done(&["show", "a", "--at", "5"]), "unsaved\n");
    assert_eq!(bench.record(), 5, "the revert itself made no tick");
}

/// Shows CV-119.
#[test]
fn cli_the_next_change_after_a_revert_forks_and_loses_nothing() {
    let bench = Bench::with_store();
    bench.save("a", "zero\n");
    for n in 1..=5 {
        bench.save("a", format!("save {n}\n"));
    }
    bench.done(&["revert", "--at", "2"]);
    assert_eq!(bench.save("a", "mine\n"), 6);
    let branches = bench.json(&["branch", "list", "--json"]);
    let fork = &branches[1];
    assert_eq!(
        (&fork["label"], &fork["parent"], &fork["forked_at_tick"]),
        (&"main-1".into(), &"main".into(), &2.into())
    );
    assert_eq!((&fork["active"], &fork["head"]), (&true.into(), &6.into()));
    for n in 3..=5 {
        assert_eq!(bench.done(&["show", "a", "--at", &format!("main@{n}")]), format!("save {n}\n"));
    }
    // One file of several: the fork begins at the cursor's tick, and its first tick is that file as it was put back.
    bench.save("b", "beside\n");
    bench.done(&["revert", "--at", "1", "--file", "a"]);
    assert_eq!(bench.save("b", "changed\n"), 9);
    let fork = &bench.json(&["branch", "list", "--json"])[2];
    assert_eq!(
        (&fork["label"], &fork["parent"], &fork["forked_at_tick"]),
        (&"main-2".into(), &"main-1".into(), &7.into())
    );
    assert_eq!(bench.json(&["show", "8", "--json"])["path"], "a");
    assert_eq!(bench.done(&["show", "a", "--at", "8"]), "save 1\n");
}

/// Shows CV-90, CV-117.
#[test]
fn cli_a_directory_that_cannot_be_written_fails_the_move_and_nothing_is_touched() {
    let bench = Bench::new();
    let Some(mut init) = as_stranger(&bench) else { return };
    let stranger = |args: &[&str]| {
        let mut command = as_stranger(&bench).unwrap();
        bench.shown(command.args(args))
    };
    let set_mode = |path: &str, mode| {
        std::fs::set_permissions(bench.path(path), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode("", 0o777);
    set_mode("app", 0o777);
    assert_eq!(bench.shown(init.arg("init")).status, 0);
    let write = |text: &str| {
        std::fs::create_dir_all(bench.path("app/d")).unwrap();
        std::fs::write(bench.path("app/d/a"), text).unwrap();
        set_mode("app/d", 0o555);
        set_mode("app/d/a", 0o666);
    };
    write("zero");
    assert_eq!(stranger(&["snapshot", "create", "first"]).status, 0);
    std::fs::write(bench.path("app/d/a"), "one").unwrap();
    assert_eq!(stranger(&["branch", "create", "there", "--at", "0"]).status, 0);
    assert_eq!(stranger(&["snapshot", "create", "second"]).status, 0);
    for args in [&["revert", "--at", "0"][..], &["branch", "jump", "there"], &["restore", "d/a", "--at", "0"]]
    {
        let before = bench.state();
        let shown = stranger(args);
        assert_eq!(shown.status, 1, "{args:?}: {}", shown.stdout);
        assert_eq!(
            shown.stderr,
            "tickfs: could not write beside it: permission denied (/p/app/d/a): nothing was changed; run it as a user \
             who may\n"
        );
        assert_eq!(bench.state(), before);
    }
}

#[test]
fn cli_a_dry_run_says_what_would_change_and_changes_nothing() {
    let bench = sample();
    bench.save("c", "new\n");
    let before = (bench.state(), bench.store().view().unwrap().applied_seq());
    let said = bench.done(&["revert", "--at", "1", "--dry-run"]);
    assert_eq!(said, "would change 3 paths; nothing was done\n  ~ a\n  - b\n  - c\n");
    assert_eq!((bench.state(), bench.store().view().unwrap().applied_seq()), before);
    let json = bench.json(&["revert", "--at", "1", "--dry-run", "--json"]);
    assert_eq!(json["planned"][0]["path"], "a");
}

#[test]
fn cli_restore_goes_on_and_undo_goes_back() {
    let bench = sample();
    std::fs::remove_file(bench.path("app/b")).unwrap();
    let said = bench.done(&["restore", "b", "--at", "4"]);
    assert!(
        said.starts_with(
            "b was restored from main@4; 1 file changed, 6 bytes\nrecorded 1 unsaved change first\n"
        ),
        "{said}"
    );
    assert_eq!(bench.text("b").as_deref(), Some("other\n"));
    let status = bench.json(&["status", "--json"]);
    assert_eq!(
        (&status["active_branch"], &status["current_tick"], &status["attached"]),
        (&"main".into(), &6.into(), &true.into())
    );
    let said = bench.done(&["undo"]);
    assert!(said.starts_with("the restore was undone: back at main@5;"), "{said}");
    assert_eq!(bench.text("b"), None);
    bench.done(&["undo"]);
    assert_eq!(bench.text("b").as_deref(), Some("other\n"));
    let refused = bench.refused(&["restore", "b", "--at", "1"], 1);
    assert_eq!(refused, "tickfs: b did not exist at main@1: `tickfs log PATH` names the ticks of a path");
}

#[test]
fn cli_a_revert_into_the_middle_of_a_burst_offers_its_end_and_what_was_before() {
    let bench = sample();
    for name in ["x", "y", "z"] {
        std::fs::write(bench.path("app").join(name), "made at once").unwrap();
    }
    assert_eq!(bench.record(), 7);
    let said = bench.done(&["revert", "--at", "6"]);
    let offer = "tick 6 is in the middle of changes that were made at once (5 to 7): --at main@7 is their end, --at main@4 \
                 what was before them\n";
    assert!(said.contains(offer), "{said}");
    assert_eq!((bench.text("y").is_some(), bench.text("z")), (true, None), "what was asked for is done");
    let said = bench.done(&["restore", "x", "--at", "main@5"]);
    assert!(!said.contains("in the middle"), "one file is whole: {said}");
    bench.done(&["undo"]);
    for whole in ["main@7", "main@4"] {
        let said = bench.done(&["revert", "--at", whole]);
        assert!(!said.contains("in the middle"), "{said}");
    }
}

/// A directory as it is where its filesystem is mounted read-only, until this is dropped.
struct ReadOnly(std::path::PathBuf);

impl ReadOnly {
    /// `None`: that takes root.
    fn mount(dir: std::path::PathBuf) -> Option<Self> {
        let mounted = |options: &[&str]| {
            let status = std::process::Command::new("mount").args(options).arg(&dir).status();
            status.is_ok_and(|status| status.success())
        };
        if !rustix::process::geteuid().is_root() || !mounted(&["--bind", dir.to_str()?]) {
            println!("skipped: only root can mount");
            return None;
        }
        assert!(mounted(&["-o", "remount,ro,bind"]));
        Some(Self(dir))
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// A root that nobody may write to is looked at as any other, and stays as it is.
#[test]
fn cli_a_root_that_is_mounted_read_only_fails_each_move_and_nothing_else() {
    let bench = sample();
    let Some(_mounted) = ReadOnly::mount(bench.path("app")) else { return };
    let before = bench.state();
    for args in [&["revert", "--at", "1"][..], &["restore", "a", "--at", "1"]] {
        let said = bench.refused(args, 1);
        assert_eq!(
            said,
            "tickfs: could not write beside it: read-only file system (/p/app/a): nothing was changed"
        );
        assert_eq!(bench.state(), before);
    }
    bench.done(&["snapshot", "create", "kept"]);
    assert!(bench.done(&["log"]).contains("modify   a"));
}

/// The store of a disk that was put aside is read as it lies there.
#[test]
fn cli_a_store_that_is_mounted_read_only_is_read_and_what_would_write_says_so() {
    let bench = sample();
    let looks = [&["log"][..], &["status"], &["show", "2"], &["diff", "0", "3"], &["grep", "^one"]];
    let seen = looks.map(|args| bench.done(args));
    let Some(_mounted) = ReadOnly::mount(bench.path("app").parent().unwrap().to_owned()) else { return };
    assert_eq!(looks.map(|args| bench.done(args)), seen);
    for args in [&["daemon", "start"][..], &["mount"]] {
        let said = bench.refused(args, 1);
        assert_eq!(
            said,
            "tickfs: could not write the log: read-only file system (/p/.app.tickfs/logs/serve.log): \
             `tickfs log`, `show`, `diff` and `grep` read a store that cannot be written"
        );
    }
    let said = bench.refused(&["revert", "--at", "1"], 1);
    assert!(said.contains("read-only file system"), "{said}");
}

#[test]
fn cli_a_store_of_a_newer_format_is_left_alone_by_every_command() {
    let bench = sample();
    let format = bench.path(".app.tickfs/FORMAT");
    let text = std::fs::read_to_string(&format).unwrap();
    std::fs::write(&format, text.replace("\"format\":1", "\"format\":99")).unwrap();
    let before = bench.bytes_of_store();
    for args in [&["log"][..], &["revert", "--at", "1"], &["status"], &["doctor", "--repair"], &["record"]] {
        let shown = bench.run(args);
        let newer =
            "tickfs: /p/.app.tickfs has format 99, and this tickfs knows format 1: use a newer tickfs\n";
        assert_eq!((shown.stderr.as_str(), shown.status), (newer, 1), "{args:?}");
    }
    assert_eq!(bench.bytes_of_store(), before);
}

/// Who may not give files away puts back all but the owner, and that the owner differs then is no change.
#[test]
fn cli_an_owner_that_cannot_be_put_back_is_no_change() {
    let bench = Bench::new();
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give files away");
        return;
    }
    let Some(_) = as_stranger(&bench) else { return };
    let stranger = |args: &[&str]| {
        let shown = bench.shown(as_stranger(&bench).unwrap().args(args));
        assert_eq!((shown.status, shown.stderr.as_str()), (0, ""), "{args:?}");
        shown.stdout
    };
    let nobody = 65534;
    std::os::unix::fs::chown(bench.path("app"), Some(nobody), Some(nobody)).unwrap();
    std::fs::set_permissions(bench.path(""), std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::write(bench.path("app/a"), "of root").unwrap();
    stranger(&["init"]);
    stranger(&["snapshot", "create", "first"]);
    std::fs::write(bench.path("app/a"), "of nobody").unwrap();
    std::os::unix::fs::chown(bench.path("app/a"), Some(nobody), Some(nobody)).unwrap();
    stranger(&["snapshot", "create", "second"]);
    stranger(&["revert", "--at", "0"]);
    assert_eq!(bench.text("a").as_deref(), Some("of root"));
    stranger(&["snapshot", "create", "third"]);
    let status: serde_json::Value = serde_json::from_str(&stranger(&["status", "--json"])).unwrap();
    let stands = (&status["active_branch"], &status["current_tick"], &status["last_tick"]);
    assert_eq!(stands, (&"main".into(), &0.into(), &1.into()), "no tick, and so no fork");
    stranger(&["undo"]);
    assert_eq!(bench.text("a").as_deref(), Some("of nobody"));
}

#[test]
fn cli_bad_requests_say_what_is_wrong_and_what_to_do() {
    let bench = sample();
    bench.done(&["branch", "create", "taken"]);
    bench.golden(
        "refused",
        &[
            &["revert", "--at", "nowhere"],
            &["revert", "--at", "7"],
            &["revert", "--at", "nope@1"],
            &["revert", "--at", "main@"],
            &["revert", "--at", "1", "--file", "../elsewhere/x"],
            &["undo"],
            &["restore", "a", "--at", "1969-01-01"],
            &["branch", "create", "taken"],
            &["branch", "create", "42"],
            &["branch", "rename", "gone", "here"],
            &["branch", "jump", "gone"],
            &["branch", "jump", "main", "--file", "a"],
            &["snapshot", "create", "../x"],
            &["snapshot", "remove", "gone"],
            &["snapshot", "import", "gone"],
            &["show", "0"],
            &["show", "gone", "--at", "1"],
            &["log", "gone"],
            &["log", "--branch", "gone"],
            &["grep", "("],
            &["diff", "1", "--store", "../elsewhere"],
        ],
    );
}
