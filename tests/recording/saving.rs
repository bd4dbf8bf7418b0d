//! Each way in which programs save is one tick of the right path, and their temp files are none.

use std::fs::{self, File};
use std::io::Write as _;

use crate::stage::{Stage, has};

fn one_modify(line: &str) {
    let mut stage = Stage::with(&[("f", "old\n"), ("other", "other content\n")]);
    let ticks = stage.during(|stage| stage.sh(line));
    assert_eq!(ticks, ["modify f"], "{line}");
    stage.assert_recorded();
}

#[test]
fn a_save_by_the_shell_is_one_modify() {
    for line in [
        "echo new > f",
        "echo more >> f",
        "truncate -s 1 f",
        "cp other f",
        "cp -p --remove-destination other f",
        "sed -i s/old/new/ f",
        "echo new > .f.tmp; mv .f.tmp f",
        "mv f f~; echo new > f; rm f~",
        "cp f f.bak; echo new > f; rm f.bak",
        "ln other g; rm f; echo new > f; rm g",
        "dd if=other of=f conv=notrunc status=none",
    ] {
        one_modify(line);
    }
}

#[test]
fn vim_saves_in_each_of_its_ways_as_one_modify() {
    if !has("vim") {
        return;
    }
    for copy in ["yes", "no", "auto", "yes,breaksymlink", "auto,breakhardlink"] {
        for more in ["nobackup nowritebackup", "writebackup", "noswapfile"] {
            one_modify(&format!(
                "vim -u NONE -N -es -c 'set backupcopy={copy} {more}' -c 'normal ionew line' -c wq f </dev/null"
            ));
        }
    }
}

/// A backup that is kept is a file like any other.
#[test]
fn vim_that_keeps_its_backup_modifies_the_file_and_creates_the_backup() {
    if !has("vim") {
        return;
    }
    let mut stage = Stage::with(&[("f", "old\n")]);
    let ticks = stage.during(|stage| {
        stage.sh("vim -u NONE -N -es -c 'set backup backupskip=' -c 'normal ix' -c wq f </dev/null")
    });
    assert_eq!(ticks, ["modify f", "create f~"]);
    stage.assert_recorded();
}

#[test]
fn nano_saves_as_one_modify() {
    if !has("nano") || !has("script") {
        return;
    }
    // It wants a terminal: write something, save, leave.
    for options in ["", "-G"] {
        one_modify(&format!(
            "(printf 'new'; sleep 0.3; printf '\\017\\r'; sleep 0.3; printf '\\030') | \
             script -qec 'nano {options} f' /dev/null >/dev/null"
        ));
    }
}

#[test]
fn emacs_saves_in_both_of_its_ways() {
    if !has("emacs") {
        return;
    }
    let save = |settings: &str| {
        format!(
            "emacs --batch -Q --eval '(progn {settings} (find-file \"f\") (insert \"new\") (save-buffer))' 2>/dev/null"
        )
    };
    one_modify(&save("(setq make-backup-files nil)"));
    one_modify(&save("(setq make-backup-files nil file-precious-flag t)"));
    let mut stage = Stage::with(&[("f", "old\n")]);
    let ticks = stage.during(|stage| stage.sh(&save("(setq backup-enable-predicate (lambda (_) t))")));
    assert_eq!(ticks, ["modify f", "create f~"]);
}

#[test]
fn rsync_and_tar_over_what_is_there_modify_it() {
    if has("rsync") {
        let mut stage = Stage::with(&[("d/f", "old"), ("d/same", "same")]);
        let from = stage.outside().join("from");
        fs::create_dir(&from).unwrap();
        fs::write(from.join("f"), "newer").unwrap();
        fs::write(from.join("same"), "same").unwrap();
        let ticks = stage.during(|stage| stage.sh("rsync -r ../from/ d/"));
        assert_eq!(ticks, ["modify d/f"]);
    }
    let mut stage = Stage::with(&[("d/f", "old"), ("d/same", "same")]);
    let ticks = stage.during(|stage| {
        stage.sh(
            "mkdir ../t; cp -a d ../t/; echo newer > ../t/d/f; tar cf ../a.tar -C ../t d; tar xf ../a.tar",
        )
    });
    assert_eq!(ticks, ["modify d/f"]);
    stage.assert_recorded();
}

#[test]
fn tar_and_cp_of_a_tree_create_each_path_once() {
    let mut stage = Stage::with(&[("d/e/f", "1"), ("d/g", "2")]);
    let copied = stage.during(|stage| stage.sh("cp -a d copy"));
    assert_eq!(copied, ["mkdir copy", "mkdir copy/e", "create copy/e/f", "create copy/g"]);
    let unpacked = stage.during(|stage| {
        stage.sh("mkdir new; tar cf - d | tar xf - -C new");
    });
    assert_eq!(unpacked, ["mkdir new", "mkdir new/d", "mkdir new/d/e", "create new/d/e/f", "create new/d/g"]);
    stage.assert_recorded();
}

/// As VS Code and most others with "atomic" saves do it: a temp file beside, fsync, rename.
#[test]
fn an_atomic_rename_writer_makes_one_modify_and_its_temp_file_none() {
    let mut stage = Stage::with(&[("f", "old")]);
    let ticks = stage.during(|stage| {
        let temp = stage.path("f.1f3b.tmp");
        let mut file = File::create(&temp).unwrap();
        file.write_all(b"new and longer").unwrap();
        file.sync_all().unwrap();
        drop(file);
        fs::rename(temp, stage.path("f")).unwrap();
    });
    assert_eq!(ticks, ["modify f"]);
}

#[test]
fn a_file_that_is_linked_into_being_is_one_create() {
    use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
    use std::os::fd::AsRawFd as _;

    let mut stage = Stage::with(&[("f", "old")]);
    let make = |stage: &Stage, name: &str, text: &[u8]| {
        let mode = Mode::from_raw_mode(0o644);
        let fd = open(stage.root(), OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, mode).unwrap();
        rustix::io::write(&fd, text).unwrap();
        let unnamed = format!("/proc/self/fd/{}", fd.as_raw_fd());
        linkat(CWD, unnamed, CWD, stage.path(name), AtFlags::SYMLINK_FOLLOW).unwrap();
    };
    assert_eq!(stage.during(|stage| make(stage, "g", b"linked")), ["create g"]);
    let over = stage.during(|stage| {
        make(stage, "f.new", b"linked too");
        fs::rename(stage.path("f.new"), stage.path("f")).unwrap();
    });
    assert_eq!(over, ["modify f"]);
    stage.assert_recorded();
}

/// No event tells of a write through a mapping before the file is closed.
#[test]
fn a_write_through_mmap_is_recorded_when_its_file_is_closed() {
    if !has("python3") {
        return;
    }
    one_modify(
        "python3 -c 'import mmap; f = open(\"f\", \"r+b\"); m = mmap.mmap(f.fileno(), 0); m[0:3] = b\"NEW\"; m.flush(); f.close()'",
    );
}

#[test]
fn git_checkout_stash_and_rebase_end_in_what_git_has() {
    if !has("git") {
        return;
    }
    let mut stage = Stage::with(&[("a", "1\n"), ("d/b", "1\n"), ("d/gone", "1\n")]);
    stage.sh("git init -q -b main; git add -A; git commit -qm one");
    stage.sh("echo 2 > a; rm d/gone; echo 2 > d/new; git add -A; git commit -qm two");
    stage.settled();
    let back = stage.during(|stage| stage.sh("git checkout -q HEAD~1"));
    assert_eq!(back, ["delete d/new", "modify a", "create d/gone"], "one burst, in the order of the paths");
    let forth = stage.during(|stage| stage.sh("git checkout -q main"));
    assert_eq!(forth, ["delete d/gone", "modify a", "create d/new"]);
    stage.assert_recorded();

    let stashed = stage.during(|stage| stage.sh("echo changed > d/b; sleep 0.05; git stash -q"));
    assert_eq!(stashed, ["modify d/b", "modify d/b"]);
    stage.sh("git stash pop -q; git commit -qam three; git checkout -qb side HEAD~1; echo side > side; git add -A; git commit -qm side");
    stage.sh("git rebase -q main");
    stage.settled();
    stage.assert_recorded();
}

#[test]
fn cargo_fmt_is_one_modify_of_each_file_that_it_changes() {
    if !has("cargo") || !has("rustfmt") {
        return;
    }
    let manifest = "[package]\nname = \"x\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
    let mut stage = Stage::with(&[
        ("Cargo.toml", manifest),
        ("src/lib.rs", "mod  a ;\npub fn f ( ) {}\n"),
        ("src/a.rs", "pub  fn g() {}\n"),
        ("src/b.rs", "pub fn h() {}\n"),
    ]);
    let mut ticks = stage.during(|stage| stage.sh("cargo fmt"));
    ticks.sort();
    assert_eq!(ticks, ["modify src/a.rs", "modify src/lib.rs"]);
}
