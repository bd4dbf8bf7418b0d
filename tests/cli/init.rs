//! Making a store, and finding it again.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tickfs_store::{Scope, Store};

use crate::bench::{Bench, TICKFS, as_stranger, disk, is_installed, rel};

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn cli_init_makes_a_store_beside_its_root_once() {
    let bench = Bench::new();
    let before = bench.path("app");
    bench.golden(
        "init",
        &[&["init"], &["init"], &["init", "--json", "--store", "../elsewhere"], &["inspect"]],
    );
    assert_eq!(names(&before), Vec::<String>::new(), "the root is left alone");
    let mode = bench.path(".app.tickfs").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn cli_what_cannot_be_a_root_is_refused_and_nothing_is_made() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("home")).unwrap();
    std::fs::write(bench.path("app/file"), "").unwrap();
    std::fs::create_dir(bench.path("full")).unwrap();
    std::fs::write(bench.path("full/x"), "").unwrap();
    bench.golden(
        "init-refused",
        &[
            &["init", "/"],
            &["init", "../home"],
            &["init", "gone"],
            &["init", "file"],
            &["init", "--store", "../full"],
        ],
    );
    assert_eq!(names(&bench.path("")), ["app", "full", "home"]);
    assert_eq!(bench.run(&["init", "../home", "--yes"]).status, 0);
}

/// Shows EL-35.
#[test]
fn cli_init_refuses_a_network_filesystem_and_creates_nothing() {
    if !is_installed("strace") {
        return;
    }
    let bench = Bench::new();
    // What statfs answers, with the magic number of NFS in its first eight bytes.
    let lie = "inject=statfs:poke_exit=@arg2=6969000000000000";
    let shown =
        bench.shown(bench.command("strace").args(["-qq", "-o", "/dev/null", "-e", lie, TICKFS, "init"]));
    assert_eq!(
        shown.stderr,
        "tickfs: /p/.app.tickfs lies on a network filesystem (nfs), where locks and fsync cannot be relied on: \
         use --store with a directory on a local disk\n"
    );
    assert_eq!((shown.status, names(&bench.path(""))), (1, vec!["app".to_owned()]));
    assert_eq!(names(&bench.path("app")), Vec::<String>::new());
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn cli_init_goes_into_the_root_where_its_place_cannot_be_written_and_else_names_both() {
    let bench = Bench::new();
    let Some(mut command) = as_stranger(&bench) else { return };
    set_mode(&bench.path("app"), 0o555);
    set_mode(&bench.path(""), 0o555);
    let shown = bench.shown(command.arg("init"));
    assert_eq!(
        (shown.stderr.as_str(), shown.status),
        (
            "tickfs: no store can be made: cannot write /p/.app.tickfs (permission denied) or /p/app/.tickfs \
             (permission denied): use --store with a directory on a local disk\n",
            1
        )
    );
    assert_eq!(names(&bench.path("app")), Vec::<String>::new());
    set_mode(&bench.path("app"), 0o777);
    let shown = bench.shown(&mut command);
    assert_eq!(shown.stdout, "made the store /p/app/.tickfs for /p/app\n", "{}", shown.stderr);
    set_mode(&bench.path(""), 0o755);
    let inside = bench.path("app/.tickfs");
    assert_eq!(
        Store::open(disk(), &inside).unwrap().scope().unwrap(),
        Some(Scope::whole(&bench.path("app")))
    );
}

#[test]
fn cli_the_nearest_store_that_records_a_path_answers_for_it() {
    let bench = Bench::new();
    let found = |args: &[&str]| {
        let shown = bench.run(&[&["inspect"], args].concat());
        shown.stdout.lines().next().map(|line| line.replace("store     ", "")).unwrap_or(shown.stderr)
    };
    std::fs::create_dir_all(bench.path("app/nested/deep")).unwrap();
    for root in ["", "nested"] {
        assert_eq!(bench.run(&["init", &bench.path("app").join(root).display().to_string()]).status, 0);
    }
    let alone = bench.path("app/.deep.tickfs");
    std::fs::create_dir(bench.path("app/deep")).unwrap();
    let scope = Scope { root: bench.path("app/deep"), files: Some(vec![rel("one")]) };
    Store::init_for(disk(), &alone, bench.store().id().clone(), Some(&scope)).unwrap();
    assert_eq!(found(&[]), "/p/.app.tickfs");
    assert_eq!(found(&["--file", "gone/by/now"]), "/p/.app.tickfs");
    assert_eq!(found(&["--root", "nested"]), "/p/app/.nested.tickfs");
    assert_eq!(found(&["--file", "nested/deep/x"]), "/p/app/.nested.tickfs", "a nested root is a boundary");
    assert_eq!(found(&["--file", "deep/one"]), "/p/app/.deep.tickfs");
    assert_eq!(found(&["--file", "deep/other"]), "/p/.app.tickfs", "a store answers only for its own paths");
    assert_eq!(found(&["--file", "deep/other", "--store", "nested/../.deep.tickfs"]), "/p/app/.deep.tickfs");
    assert!(found(&["--root", "/"]).starts_with("tickfs: no store records this (/): "));
    let widened = bench.run(&["init", "deep"]).stdout;
    assert_eq!(widened, "the store /p/app/.deep.tickfs records all of /p/app/deep now\n");
    assert_eq!(found(&["--file", "deep/other"]), "/p/app/.deep.tickfs");
}
