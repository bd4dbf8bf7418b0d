//! A root that was moved, and a machine that is started again.

use crate::bench::{Bench, names};

#[test]
fn daemon_a_root_that_was_moved_is_adopted_with_its_history() {
    let bench = Bench::new();
    bench.start(&[]);
    std::fs::rename(bench.path("app"), bench.path("new")).unwrap();
    std::fs::create_dir(bench.path("app")).unwrap();
    let new = bench.path("new").display().to_string();
    let said = bench.fails(1, &["init", &new, "--adopt"]);
    assert!(said.contains("no store near it misses its root"), "{said}");
    let store = bench.store().display().to_string();
    let said = bench.fails(1, &["init", &new, "--adopt", "--store", &store]);
    assert!(said.contains("which is still there"), "{said}");
    std::fs::rename(bench.path("app"), bench.path("other")).unwrap();
    let mut command = bench.command();
    let shown = bench.shown(command.current_dir(bench.path("")).args(["init", &new, "--adopt"]));
    assert_eq!(shown.stdout, "the store /p/.new.tickfs belongs to /p/new now\n", "{shown:?}");
    assert_eq!(names(&bench.path("")), [".new.tickfs", "new", "other"]);
    let mut command = bench.command();
    let shown = bench.shown(command.current_dir(bench.path("new")).args(["inspect"]));
    assert!(shown.stdout.starts_with("store     /p/.new.tickfs\n"), "{shown:?}");
    std::fs::write(bench.path("new/f"), "edited").unwrap();
    let mut command = bench.command();
    let shown = bench.shown(command.current_dir(bench.path("new")).args(["daemon", "start"]));
    assert_eq!(shown.status, 0, "{shown:?}");
    let log = std::fs::read_to_string(bench.path(".new.tickfs/logs/serve.log")).unwrap();
    assert!(log.contains("tick 1  modify  f"), "{log}");
}

#[test]
fn daemon_service_writes_a_unit_and_says_where_systemd_does_not_run() {
    let bench = Bench::new();
    let config = bench.path("config");
    let run = |args: &[&str]| bench.shown(bench.command().env("XDG_CONFIG_HOME", &config).args(args));
    if std::path::Path::new("/run/systemd/system").is_dir() {
        println!("skipped: systemd runs here, and would be told of the unit");
        return;
    }
    let shown = run(&["service", "install"]);
    assert!(shown.status == 0 && shown.stdout.contains("systemd does not run on this machine"), "{shown:?}");
    let dir = config.join("systemd/user");
    let unit = std::fs::read_to_string(dir.join(&names(&dir)[0])).unwrap();
    let root = bench.path("app").display().to_string();
    assert!(unit.contains(&format!(" record --daemonized \"{root}\"\n")), "{unit}");
    let shown = run(&["service", "remove"]);
    assert!(
        shown.status == 0 && shown.stdout.starts_with("removed /p/config/systemd/user/tickfs-"),
        "{shown:?}"
    );
    assert_eq!(run(&["service", "remove"]).status, 1);
}
