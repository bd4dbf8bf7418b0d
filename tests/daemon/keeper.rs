//! The serving process dies while somebody reads, and nobody notices; and nothing is left when it ends in order.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::bench::{Bench, is_alive, is_installed, names, signal, wait_until};
use crate::mount::{can_mount, is_mounted};

const FILES: u64 = 220;

/// Bytes that differ from file to file.
fn bytes(of: u64) -> Vec<u8> {
    let mut state = of.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    next.take(2500).flatten().collect()
}

impl Bench {
    /// Waits for a serving process that is another one.
    fn next_server(&self, before: u32) -> u32 {
        let mut found = None;
        wait_until("another process serves", || {
            found = self.servers().into_iter().find(|&pid| pid != before);
            found.is_some()
        });
        found.unwrap()
    }

    fn no_process_is_left(&self) {
        wait_until("no process is left", || self.processes().is_empty() && self.keepers().is_empty());
    }

    /// Nobody serves, and the keeper does nothing about it, while `meanwhile` is done.
    fn outage<T>(&self, server: u32, meanwhile: impl FnOnce() -> T) -> T {
        let keeper = self.keepers()[0];
        signal(keeper, Signal::STOP);
        kill(server);
        let done = meanwhile();
        signal(keeper, Signal::CONT);
        done
    }
}

fn kill(pid: u32) {
    signal(pid, Signal::KILL);
    wait_until("it is gone", || !is_alive(pid));
}

#[test]
fn daemon_keeper_lets_tar_end_in_the_right_archive_though_its_server_is_killed_ten_times() {
    let bench = Bench::new();
    if !can_mount(&bench) || !is_installed("tar") {
        return;
    }
    for n in 0..FILES {
        fs::create_dir_all(bench.path(&format!("app/{}", n % 20))).unwrap();
        fs::write(bench.path(&format!("app/{}/{n}", n % 20)), bytes(n)).unwrap();
    }
    let mut server = bench.mount(&[]);
    let tree = bench.path("app.history/branches/main/@0");
    let mut tar = Command::new("tar")
        .arg("-C")
        .arg(&tree)
        .args(["-cf", "-", "."])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut archive = Vec::new();
    let mut piped = tar.stdout.take().unwrap();
    for _ in 0..10 {
        // A tenth of it, and no more: tar waits with the rest, because the pipe is full.
        piped.by_ref().take(FILES * 20_000 / 11).read_to_end(&mut archive).unwrap();
        signal(server, Signal::KILL);
        server = bench.next_server(server);
    }
    piped.read_to_end(&mut archive).unwrap();
    let ended = tar.wait().unwrap();
    assert!(ended.success(), "{ended}");
    let (file, extracted) = (bench.path("archive"), bench.path("extracted"));
    fs::write(&file, archive).unwrap();
    fs::create_dir(&extracted).unwrap();
    let status = Command::new("tar").arg("-C").arg(&extracted).arg("-xf").arg(&file).status().unwrap();
    assert!(status.success());
    assert_eq!(bench.bytes_of(&extracted).len() as u64, FILES + 1);
    let moved = |of: &Path| {
        let files = bench.bytes_of(of);
        files
            .into_iter()
            .map(|(path, bytes)| (path.strip_prefix(of).unwrap().to_owned(), bytes))
            .collect::<Vec<_>>()
    };
    assert!(moved(&extracted) == moved(&bench.path("app")), "another archive");
    assert_eq!(bench.ok(&["unmount"]), "took 1 mount away\n");
    bench.no_process_is_left();
}

#[test]
fn daemon_keeper_gives_up_when_nobody_serves_for_too_long_and_then_reading_is_an_error() {
    let bench = Bench::new();
    if !can_mount(&bench) {
        return;
    }
    bench.ok(&["init"]);
    fs::write(bench.store().join("config.toml"), "[mount]\noutage-max-seconds = 1\n").unwrap();
    let server = bench.mount(&[]);
    // Without it no process can open the store.
    let (format, away) = (bench.store().join("FORMAT"), bench.path("FORMAT"));
    fs::rename(&format, &away).unwrap();
    kill(server);
    let error = fs::read_dir(bench.path("app.history/ticks")).unwrap_err();
    let broken = [rustix::io::Errno::NOTCONN, rustix::io::Errno::CONNABORTED].map(|e| e.raw_os_error());
    assert!(broken.contains(&error.raw_os_error().unwrap()), "{error}");
    bench.no_process_is_left();
    fs::rename(&away, &format).unwrap();
    bench.mount(&[]);
    assert!(bench.path("app.history/branches/main").is_dir(), "a new mount is in its place");
}

#[test]
fn daemon_keeper_goes_with_the_mount_whoever_takes_it_away() {
    let bench = Bench::new();
    if !can_mount(&bench) {
        return;
    }
    let history = bench.path("app.history");
    let unmount = |ways: &dyn Fn(u32)| {
        let server = bench.mount(&[]);
        assert_eq!((bench.processes(), bench.keepers().len()), (vec![server], 1));
        ways(server);
        bench.no_process_is_left();
        let left = (history.exists(), bench.store().join("KEEPER").exists());
        assert_eq!(left, (false, false));
    };
    unmount(&|_| drop(bench.ok(&["unmount"])));
    unmount(&|server| signal(server, Signal::TERM));
    // Also what went on once is as before.
    unmount(&|server| {
        kill(server);
        bench.next_server(server);
        assert!(history.join("branches/main/@0").is_dir());
        bench.ok(&["unmount"]);
    });
    if is_installed("fusermount3") {
        let taken = || Command::new("fusermount3").arg("-u").arg(&history).status().unwrap().success();
        unmount(&|_| assert!(taken()));
        // While nobody serves.
        unmount(&|server| bench.outage(server, || assert!(taken())));
    }
    // A recording goes on without it.
    let server = bench.mount(&[]);
    bench.start(&["--file", "f", "--interval", "5"]);
    bench.ok(&["unmount"]);
    wait_until("the keeper is gone", || bench.keepers().is_empty());
    assert!(is_alive(server));
    bench.ok(&["daemon", "stop", "--file", "f"]);
    bench.no_process_is_left();
}

#[test]
fn daemon_keeper_that_is_killed_is_followed_by_another() {
    let bench = Bench::new();
    if !can_mount(&bench) {
        return;
    }
    let server = bench.mount(&[]);
    let first = bench.keepers()[0];
    kill(first);
    let holds_the_connection = |pid: u32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|target| target == Path::new("/dev/fuse"))
    };
    wait_until("another keeper holds the connection", || {
        bench.keepers().into_iter().any(holds_the_connection)
    });
    assert!(is_alive(server));
    // What it was told it knows when it answers the next process.
    kill(server);
    bench.next_server(server);
    assert!(bench.path("app.history/branches/main/@0/f").is_file() && is_mounted(&bench.path("app.history")));
}

#[test]
fn daemon_keeper_lets_recordings_go_on_and_what_was_saved_meanwhile_is_one_burst() {
    let bench = Bench::new();
    if !can_mount(&bench) {
        return;
    }
    let server = bench.mount(&[]);
    bench.start(&["--file", "f", "--interval", "5"]);
    bench.outage(server, || {
        (0..3).for_each(|n| bench.write(&format!("new{n}"), "saved while nobody looked\n"))
    });
    let head = bench.path("app.history/branches/main/@HEAD");
    wait_until("it is recorded", || (0..3).all(|n| head.join(format!("new{n}")).is_file()));
    let log: Value = serde_json::from_str(&bench.ok(&["log", "--json"])).unwrap();
    let of_new = |tick: &&Value| tick["path"].as_str().unwrap().starts_with("new");
    let ticks: Vec<&Value> = log.as_array().unwrap().iter().filter(of_new).collect();
    // The last comes first; a burst is named after its first tick, which does not say so.
    let burst_of = |n: usize| ticks[n]["burst"].as_u64();
    assert_eq!(
        (ticks.len(), burst_of(0), burst_of(1)),
        (3, ticks[2]["tick"].as_u64(), burst_of(0)),
        "{log:#}"
    );
    assert_eq!(bench.recorded(), ["f"]);
    assert_eq!(bench.listing()["recordings"][0]["interval"], 5.0);
    bench.write("later", "and on it goes\n");
    wait_until("the next save is recorded", || head.join("later").is_file());
}

#[test]
fn daemon_keeper_lets_open_files_be_read_on_and_no_text_is_another() {
    let bench = Bench::new();
    if !can_mount(&bench) {
        return;
    }
    let whole: Vec<u8> = (0..40).flat_map(bytes).collect();
    fs::write(bench.path("app/large"), &whole).unwrap();
    let server = bench.mount(&[]);
    let main = bench.path("app.history/branches/main");
    let large = File::open(main.join("@0/large")).unwrap();
    let mut piece = vec![0; 5000];
    large.read_exact_at(&mut piece, 0).unwrap();
    let (log, branch) =
        (File::open(main.join("log")).unwrap(), File::open(main.join("branch.json")).unwrap());
    let said = branch.metadata().unwrap().len();
    bench.outage(server, || bench.write("f", "two\n"));
    large.read_exact_at(&mut piece, 500_000).unwrap();
    assert_eq!(piece, whole[500_000..505_000]);
    wait_until("the save is told in the log that is open", || {
        let mut line = vec![0; 1000];
        let len = log.read_at(&mut line, 0).unwrap();
        line[..len].ends_with(b"\tf\t4\t4\n")
    });
    // It is of another time, and says so, or is what it was.
    let mut text = vec![0; 10_000];
    match branch.read_at(&mut text, 0) {
        Ok(len) => assert_eq!(len as u64, said),
        Err(error) => assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::STALE.raw_os_error())),
    }
    let anew: Value = serde_json::from_slice(&fs::read(main.join("branch.json")).unwrap()).unwrap();
    assert_eq!(anew["label"], "main");
}

#[test]
fn daemon_keeper_lets_nothing_be_stale_that_changed_while_nobody_served() {
    let bench = Bench::new();
    if !can_mount(&bench) {
        return;
    }
    bench.ok(&["init"]);
    bench.ok(&["daemon", "start"]);
    bench.ok(&["branch", "create", "old"]);
    bench.ok(&["branch", "create", "other"]);
    let server = bench.mount(&[]);
    let branches = bench.path("app.history/branches");
    assert!(branches.join("old").is_dir() && branches.join("other").is_dir());
    bench.outage(server, || bench.ok(&["branch", "rename", "old", "new"]));
    assert!(branches.join("new").is_dir() && branches.join("other").is_dir(), "{:?}", names(&branches));
    assert!(!branches.join("old").exists(), "{:?}", names(&branches));
}
