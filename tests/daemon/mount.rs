//! `tickfs mount` and `unmount`: where history may be shown, and what is left when it is not shown any more.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::bench::{Bench, Running, is_alive, is_installed, names, signal, wait_until};

/// Whether this machine can mount; says so where not.
pub(crate) fn can_mount(bench: &Bench) -> bool {
    let device = std::fs::File::options().read(true).write(true).open("/dev/fuse");
    let can = device.is_ok() && (rustix::process::getuid().is_root() || is_installed("fusermount3"));
    if !can {
        println!("skipped: /dev/fuse cannot be used on this machine");
    }
    can && bench.path("app").is_dir()
}

pub(crate) fn is_mounted(place: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(4) == place.to_str() && line.contains(" fuse.tickfs "))
}

impl Bench {
    pub(crate) fn mount(&self, args: &[&str]) -> u32 {
        let printed = self.ok(&[&["mount", "--json"], args].concat());
        let mounted: Value = serde_json::from_str(&printed).unwrap();
        u32::try_from(mounted["pid"].as_u64().unwrap()).unwrap()
    }
}

/// Shows CV-31.
#[test]
fn daemon_mount_shows_history_beside_the_root_and_unmount_leaves_nothing() {
    let bench = Bench::new();
    if !can_mount(&bench) {
        return;
    }
    let history = bench.path("app.history");
    assert_eq!(bench.ok(&["mount"]), "the history of /p/app is at /p/app.history\n");
    assert!(is_mounted(&history) && history.join("branches/main").is_dir());
    let pids = bench.processes();
    assert_eq!(pids.len(), 1);
    let again = bench.run(&["mount"]);
    assert_eq!(again.stderr, "tickfs: it is shown there already\n");
    assert_eq!(bench.start(&["--file", "f", "--interval", "1"]), pids[0], "no second process");
    bench.ok(&["daemon", "stop", "--file", "f"]);
    assert!(is_alive(pids[0]), "the mount needs it");
    assert_eq!(bench.ok(&["unmount"]), "took 1 mount away\n");
    assert!(!is_alive(pids[0]) && !history.exists());
    let said = bench.fails(1, &["unmount"]);
    assert!(said.starts_with("tickfs: nothing is shown there (/p/app)"), "{said}");
}

/// What `ps`, `top` and `pgrep` call them.
#[test]
fn daemon_mount_is_served_by_processes_that_have_names() {
    let bench = Bench::new();
    if !can_mount(&bench) {
        return;
    }
    let server = bench.mount(&[]);
    let name = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(name(server), "tickfs\n");
    let keeper = bench.keepers()[0];
    wait_until("the keeper has its name", || name(keeper) == "tickfs-keeper\n");
}

/// Whoever stands in a mount and names nothing means the root that it shows.
#[test]
fn daemon_mount_is_a_place_to_ask_from() {
    let bench = Bench::new();
    if !can_mount(&bench) {
        return;
    }
    bench.mount(&[]);
    let from_there = |args: &[&str]| {
        let place = bench.path("app.history/branches/main");
        let shown = bench.shown(bench.command().args(args).current_dir(place));
        assert_eq!(shown.status, 0, "{args:?}: {shown:?}");
        shown.stdout
    };
    assert_eq!(from_there(&["status"]), bench.ok(&["status"]));
    assert!(from_there(&["status"]).contains("/p/app\n"));
    assert_eq!(from_there(&["snapshot", "list"]), bench.ok(&["snapshot", "list"]));
    assert_eq!(from_there(&["daemon", "status"]), bench.ok(&["daemon", "status"]));
    assert_eq!(from_there(&["unmount"]), "took 1 mount away\n");
}

#[test]
fn daemon_mount_refuses_places_that_would_hide_something() {
    let bench = Bench::new();
    if !can_mount(&bench) {
        return;
    }
    bench.ok(&["init"]);
    std::fs::create_dir_all(bench.path("full")).unwrap();
    std::fs::write(bench.path("full/x"), "x").unwrap();
    let refused = [
        ("../.app.tickfs", "must not lie in the store"),
        ("../.app.tickfs/x", "must not lie in the store"),
        ("..", "must not lie in the store, or hold it"),
        (".", "would hide the root"),
        ("../full", "is not empty"),
        ("../full/x", "is no directory"),
        ("/proc", "proc is mounted there"),
        ("../no/such", "cannot be made"),
    ];
    for (place, why) in refused {
        let said = bench.fails(1, &["mount", ".", place]);
        assert!(said.contains(why), "{place}: {said}");
        assert_eq!(bench.processes(), [0; 0]);
    }
    assert_eq!(names(&bench.path("")), [".app.tickfs", "app", "full"]);
}

#[test]
fn daemon_mount_in_an_empty_directory_or_inside_the_root_leaves_it_as_it_was() {
    let bench = Bench::new();
    if !can_mount(&bench) {
        return;
    }
    std::fs::create_dir(bench.path("mine")).unwrap();
    bench.mount(&[".", "../mine"]);
    bench.mount(&[".", "inside"]);
    assert!(is_mounted(&bench.path("mine")) && is_mounted(&bench.path("app/inside")));
    assert_eq!(bench.ok(&["unmount", "../mine"]), "took 1 mount away\n");
    assert!(bench.path("mine").is_dir() && is_mounted(&bench.path("app/inside")));
    assert_eq!(bench.ok(&["unmount"]), "took 1 mount away\n");
    assert_eq!(names(&bench.path("app")), ["f"]);
}

#[test]
fn daemon_mount_replaces_what_a_killed_process_left_and_unmount_clears_it_away() {
    let bench = Bench::new();
    if !can_mount(&bench) {
        return;
    }
    let history = bench.path("app.history");
    let kill = |pid| {
        bench.kill_with_keepers(&[pid]);
        let not_connected = Some(rustix::io::Errno::NOTCONN.raw_os_error());
        let looked = || std::fs::metadata(&history).unwrap_err().raw_os_error();
        wait_until("nobody answers", || looked() == not_connected);
    };
    kill(bench.mount(&[]));
    let pid = bench.mount(&[]);
    assert!(history.join("branches").is_dir());
    kill(pid);
    assert_eq!(bench.ok(&["unmount"]), "took 1 mount away\n");
    assert!(!history.exists(), "it was made by tickfs, and goes with the mount");
    kill(bench.mount(&[]));
    assert_eq!(bench.ok(&["unmount", history.to_str().unwrap()]), "took 1 mount away\n");
    assert!(!history.exists());
}

#[test]
fn daemon_mount_ends_in_order_by_sigterm_and_by_fusermount() {
    let bench = Bench::new();
    if !can_mount(&bench) {
        return;
    }
    let history = bench.path("app.history");
    let pid = bench.mount(&[]);
    signal(pid, Signal::TERM);
    wait_until("it is gone", || !is_alive(pid));
    assert!(!history.exists());
    if !is_installed("fusermount3") {
        return;
    }
    let pid = bench.mount(&[]);
    assert!(Command::new("fusermount3").arg("-u").arg(&history).status().unwrap().success());
    wait_until("it ends, because nothing else needs it", || !is_alive(pid));
    assert!(!history.exists());
}

#[test]
fn daemon_mount_in_the_foreground_stays_until_it_is_interrupted() {
    let bench = Bench::new();
    if !can_mount(&bench) {
        return;
    }
    let mut command = bench.command();
    let child = command.args(["mount", "--foreground"]).stdout(Stdio::null()).spawn().unwrap();
    let mut running = Running(child);
    wait_until("it shows history", || bench.path("app.history/branches").is_dir());
    assert_eq!(running.0.try_wait().unwrap(), None);
    signal(running.0.id(), Signal::INT);
    assert!(running.0.wait().unwrap().success());
    assert!(!bench.path("app.history").exists());
}

/// In a namespace of its own, where anybody may open a device that is like /dev/fuse.
#[test]
fn daemon_mount_works_for_an_ordinary_user() {
    let Some(bench) = Bench::of_a_stranger() else { return };
    let tools = ["unshare", "setpriv", "fusermount3"];
    if !rustix::process::getuid().is_root() || !can_mount(&bench) || !tools.iter().all(|t| is_installed(t)) {
        println!("skipped: only root can let another user mount");
        return;
    }
    let script = r#"
        set -e
        mknod "$1/fuse" c 10 229 && chmod 666 "$1/fuse" && mount --bind "$1/fuse" /dev/fuse
        exec setpriv --reuid=65534 --regid=65534 --clear-groups -- sh -ec '
            cd "$1/app"
            "$1/tickfs" mount && ls "$1/app.history" && "$1/tickfs" unmount && ls "$1"' sh "$1"
    "#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(bench.path(""));
    let shown = bench.shown(command.env("HOME", bench.path("home")).stdin(Stdio::null()));
    assert_eq!(shown.status, 0, "{shown:?}");
    let lines: Vec<&str> = shown.stdout.lines().collect();
    assert_eq!(lines[0], "the history of /p/app is at /p/app.history");
    assert!(lines.contains(&"branches") && lines.contains(&"took 1 mount away"), "{shown:?}");
    assert!(!lines.contains(&"app.history") && bench.processes().is_empty(), "{shown:?}");
}

#[test]
fn daemon_mount_of_one_file_shows_its_history_alone_and_beside_the_root() {
    let bench = Bench::new();
    if !can_mount(&bench) {
        return;
    }
    bench.write("g", "x");
    bench.mount(&[]);
    assert_eq!(bench.ok(&["mount", "f"]), "the history of /p/app/f is at /p/f.history\n");
    assert!(names(&bench.path("f.history/branches/main")).iter().any(|name| name.starts_with("@0")));
    assert_eq!(names(&bench.path("app")), ["f", "g"]);
    assert!(bench.fails(1, &["unmount", "g"]).contains("nothing is shown there"));
    assert_eq!(bench.ok(&["unmount", "f"]), "took 1 mount away\n");
    assert!(!bench.path("f.history").exists() && is_mounted(&bench.path("app.history")));
    std::fs::remove_file(bench.path("app/f")).unwrap();
    assert_eq!(
        bench.ok(&["mount", "f"]),
        "the history of /p/app/f is at /p/f.history\n",
        "it is gone, and had one"
    );
    assert!(bench.fails(1, &["mount", "never-was"]).contains("there is no such"));
    assert_eq!(bench.ok(&["unmount"]), "took 2 mounts away\n");
    assert_eq!(names(&bench.path("")), [".app.tickfs", "app"]);
}
