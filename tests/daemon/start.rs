//! `tickfs daemon start`: one process a store, one recording a file, and nothing left behind where it fails.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::{Bench, is_alive, is_installed, names, wait_until};

/// Shows CV-31, CV-37, CV-38, CV-40, CV-42.
#[test]
fn daemon_start_returns_when_a_process_of_its_own_session_records() {
    let bench = Bench::new();
    let began = Instant::now();
    let printed = bench.ok(&["daemon", "start", "--file", "f", "--interval", "0.25"]);
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
    let text = std::fs::read(bench.metadata("f")).unwrap();
    let metadata: Value = serde_json::from_slice(&text).unwrap();
    let pid = u32::try_from(metadata["pid"].as_u64().unwrap()).unwrap();
    assert_eq!(printed, format!("process {pid} records /p/app/f every 0.25 s with 4 threads\n"));
    assert_eq!(bench.processes(), [pid]);
    assert_eq!(metadata["interval"], 0.25);
    let started = tickfs_store::ids::UnixMillis::from_iso(metadata["start_time"].as_str().unwrap()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(now.as_millis().abs_diff(u128::try_from(started.0).unwrap()) < 2000);
    let raw = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap());
    let session = rustix::process::getsid(raw).unwrap();
    assert_eq!(Some(session), raw, "it leads a session of its own");
    bench.write("g", "two\n");
    assert_eq!(bench.start(&["--file", "g", "--interval", "1"]), pid, "no second process");
    assert_eq!(bench.processes(), [pid]);
}

/// Shows CV-02, CV-04, CV-26, CV-27, CV-33, CV-35.
#[test]
fn daemon_start_that_is_wrong_leaves_no_store_and_no_process() {
    let bench = Bench::new();
    std::os::unix::fs::symlink("/etc/passwd", bench.path("app/out")).unwrap();
    for args in [
        &["--file", "f"][..],
        &["--interval", "1"],
        &["--file", "f", "--interval", "0"],
        &["--file", "f", "--interval", "-1"],
        &["--file", "f", "--interval", "nan"],
        &["--file", "f", "--interval", "inf"],
        &["--file", "f", "--interval", "abc"],
        &["--file", "f", "--interval", "1", "."],
    ] {
        for command in [&["daemon", "start"][..], &["record"]] {
            let said = bench.fails(2, &[command, args].concat());
            assert!(said.starts_with("tickfs: "), "{said}");
        }
    }
    assert!(bench.fails(2, &["record", "--interval", "1"]).contains("--file"));
    assert!(bench.fails(2, &["record", "--file", "f"]).contains("--interval"));
    for command in [&["daemon", "start"][..], &["record"]] {
        let missing = bench.fails(1, &[command, &["--file", "nope", "--interval", "1"]].concat());
        assert_eq!(missing, "tickfs: there is no such file (nope): name one that exists\n");
    }
    assert_eq!(names(&bench.path("")), ["app"]);
    assert_eq!(bench.processes(), [0; 0]);
}

/// Shows CV-11.
#[test]
fn daemon_start_refuses_what_lies_outside_the_root_of_a_named_store_and_writes_nothing() {
    let bench = Bench::new();
    bench.ok(&["init"]);
    std::fs::create_dir(bench.path("other")).unwrap();
    std::fs::write(bench.path("other/x"), "x").unwrap();
    std::os::unix::fs::symlink("../other/x", bench.path("app/leads-out")).unwrap();
    let store = bench.store();
    let before = bench.bytes_of(&store);
    let absolute = bench.path("other/x");
    for file in [absolute.to_str().unwrap(), "../other/x", "leads-out"] {
        for command in [&["daemon", "start"][..], &["record"]] {
            let args = ["--store", store.to_str().unwrap(), "--interval", "1", "--file", file];
            let said = bench.fails(1, &[command, &args].concat());
            assert_eq!(
                said,
                "tickfs: the store records /p/app, and this lies outside (/p/other/x): name a file inside, or another \
                 store\n"
            );
        }
    }
    assert_eq!(bench.bytes_of(&store), before);
}

/// Shows CV-43.
#[test]
fn daemon_start_of_what_is_recorded_already_names_the_process_and_changes_nothing() {
    let bench = Bench::new();
    let pid = bench.start(&["--file", "f", "--interval", "0.5"]);
    let before = std::fs::read(bench.metadata("f")).unwrap();
    let said = bench.fails(1, &["daemon", "start", "--file", "f", "--interval", "2"]);
    assert_eq!(said, format!("tickfs: process {pid} records f already: `tickfs daemon stop` ends that\n"));
    assert_eq!(std::fs::read(bench.metadata("f")).unwrap(), before);
    assert_eq!(bench.processes(), [pid]);
}

/// Shows CV-44.
#[test]
fn daemon_start_twenty_times_at_once_gives_one_recording_and_one_process() {
    let bench = Bench::new();
    let start = || {
        let mut command = bench.command();
        command.args(["daemon", "start", "--file", "f", "--interval", "0.5"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..20).map(|_| start()).collect();
    let outputs: Vec<_> = children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    let said: Vec<String> = outputs.iter().map(|o| String::from_utf8_lossy(&o.stderr).into_owned()).collect();
    assert_eq!(outputs.iter().filter(|o| o.status.success()).count(), 1, "{said:#?}");
    assert_eq!(said.iter().filter(|said| said.contains("records f already")).count(), 19, "{said:#?}");
    wait_until("one process is left", || bench.processes().len() == 1);
    assert_eq!(bench.recorded(), ["f"]);
}

/// Shows CV-36.
#[test]
fn daemon_start_in_a_store_that_cannot_be_written_leaves_no_process() {
    let Some(bench) = Bench::of_a_stranger() else { return };
    bench.ok(&["init"]);
    bench.set_mode(".app.tickfs", 0o500);
    let said = bench.fails(1, &["daemon", "start", "--file", "f", "--interval", "1"]);
    assert!(said.contains("permission denied"), "{said}");
    assert_eq!(bench.processes(), [0; 0]);
    bench.set_mode(".app.tickfs", 0o700);
    assert_eq!(bench.metadata_names(), [""; 0]);
}

/// Shows CV-45.
#[test]
fn daemon_start_that_may_start_no_process_says_so_and_leaves_no_metadata() {
    let Some(bench) = Bench::of_a_stranger() else { return };
    if !rustix::process::getuid().is_root() || !is_installed("prlimit") {
        println!("skipped: only root can take away the right to start processes from another user alone");
        return;
    }
    bench.ok(&["init"]);
    let mut command = bench.wrapped(&["prlimit", "--nproc=1:1"]);
    let shown = bench.shown(command.args(["daemon", "start", "--file", "f", "--interval", "1"]));
    assert!(
        shown.status == 1 && shown.stderr.starts_with("tickfs: could not start the background process: "),
        "{shown:?}"
    );
    assert_eq!((bench.metadata_names(), bench.processes()), (vec![], vec![]));
}

/// Shows CV-46.
#[test]
fn daemon_start_moves_garbage_in_the_place_of_metadata_out_of_the_way() {
    let bench = Bench::new();
    bench.ok(&["init"]);
    std::fs::create_dir_all(bench.store().join("daemons")).unwrap();
    std::fs::write(bench.metadata("f"), "garbage").unwrap();
    let shown = bench.run(&["daemon", "start", "--file", "f", "--interval", "1"]);
    assert_eq!(shown.status, 0, "{shown:?}");
    assert!(shown.stderr.contains("f.daemon was no metadata"), "{shown:?}");
    let parked = bench.store().join("quarantine/f.daemon");
    assert_eq!(std::fs::read_to_string(parked).unwrap(), "garbage");
    serde_json::from_slice::<Value>(&std::fs::read(bench.metadata("f")).unwrap()).unwrap();
}

/// Shows CV-39.
#[test]
fn daemon_metadata_has_a_name_of_its_own_for_every_path() {
    let bench = Bench::new();
    for file in ["a/b.txt", "a_b.txt", "a%2Fb.txt"] {
        bench.write(file, "x");
    }
    bench.ok(&["init"]);
    for file in ["a/b.txt", "a_b.txt", "a%2Fb.txt"] {
        bench.start(&["--file", file, "--interval", "1"]);
    }
    assert_eq!(bench.metadata_names(), ["a%252Fb.txt.daemon", "a%2Fb.txt.daemon", "a_b.txt.daemon"]);
}

/// Shows CV-10.
#[test]
fn daemon_start_makes_a_store_for_one_file_wherever_it_lies_and_extends_it() {
    let bench = Bench::new();
    for dir in ["other", "CodeVovle"] {
        std::fs::create_dir(bench.path(dir)).unwrap();
        std::fs::write(bench.path(dir).join("x"), "x").unwrap();
        std::fs::write(bench.path(dir).join("y"), "y").unwrap();
        for file in ["x", "y"] {
            bench.start(&["--interval", "1", "--file", bench.path(dir).join(file).to_str().unwrap()]);
        }
        let store = bench.path(&format!(".{dir}.tickfs"));
        let scope = std::fs::read_to_string(store.join("SCOPE")).unwrap();
        assert_eq!(scope.trim(), format!("{{\"root\":\"../{dir}\",\"files\":[\"x\",\"y\"]}}"));
        assert_eq!(names(&bench.path(dir)), ["x", "y"]);
    }
}

/// Shows CV-10.
#[test]
fn daemon_start_where_no_store_can_be_made_names_both_places() {
    let Some(bench) = Bench::of_a_stranger() else { return };
    bench.set_mode("app", 0o555);
    bench.set_mode("", 0o555);
    let said = bench.fails(1, &["daemon", "start", "--file", "f", "--interval", "1"]);
    assert_eq!(
        said,
        "tickfs: no store can be made: cannot write /p/.app.tickfs (permission denied) or /p/app/.tickfs (permission \
         denied): use --store with a directory on a local disk\n"
    );
    assert_eq!((names(&bench.path("app")), bench.processes()), (vec!["f".to_owned()], vec![]));
    bench.set_mode("app", 0o755);
    bench.start(&["--file", "f", "--interval", "1"]);
    assert_eq!(names(&bench.path("app")), [".tickfs", "f"]);
    bench.set_mode("", 0o755);
}

#[test]
fn daemon_start_after_a_kill_begins_again_at_once() {
    let bench = Bench::new();
    let first = bench.start(&["--file", "f", "--interval", "1"]);
    crate::bench::signal(first, rustix::process::Signal::KILL);
    wait_until("it is gone", || !is_alive(first));
    let shown = bench.run(&["daemon", "start", "--file", "f", "--interval", "1"]);
    assert_eq!(shown.status, 0, "{shown:?}");
    assert!(shown.stderr.contains(&format!("process {first} was gone without a word")), "{shown:?}");
    assert_eq!(bench.recorded(), ["f"]);
}
