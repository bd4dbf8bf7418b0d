//! `tickfs record`: in the foreground, until it is interrupted.

use std::io::Read as _;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use tickfs_store::Store;
use tickfs_store::disk::RealDisk;
use tickfs_store::ids::Tick;
use tickfs_store::path::RelPath;
use tickfs_store::render::Layer;

use crate::bench::{Bench, Running, is_installed, names, signal, wait_until};

/// A recording in the foreground, whose output goes into files.
struct Recording {
    running: Running,
    out: std::path::PathBuf,
    err: std::path::PathBuf,
}

impl Recording {
    fn start(bench: &Bench, args: &[&str]) -> Self {
        let (out, err) = (bench.path("stdout"), bench.path("stderr"));
        let file = |path| std::fs::File::create(path).unwrap();
        let mut command = bench.command();
        command.arg("record").args(args).stdout(file(&out)).stderr(file(&err));
        let recording = Self { running: Running(command.spawn().unwrap()), out, err };
        wait_until("it records", || recording.stdout().starts_with("records "));
        recording
    }

    fn stdout(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap()
    }

    fn stderr(&self) -> String {
        std::fs::read_to_string(&self.err).unwrap()
    }

    fn ticks(&self) -> Vec<u64> {
        let number = |line: &str| line.strip_prefix("tick ")?.split(' ').next()?.parse().ok();
        self.stdout().lines().filter_map(number).collect()
    }

    /// Ends it as Ctrl+C does, or SIGTERM.
    fn end(&mut self, by: Signal) {
        signal(self.running.0.id(), by);
        let status = self.running.0.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.stderr());
    }
}

fn store(bench: &Bench) -> Store {
    Store::open(std::sync::Arc::new(RealDisk), &bench.store()).unwrap()
}

fn content(bench: &Bench, file: &str, tick: u64) -> Vec<u8> {
    let view = store(bench).view().unwrap();
    let tree =
        view.tree(tickfs_store::history::Point { tick: Tick(tick), ..view.cursor_point().unwrap() }).unwrap();
    let entry = tree.resolve(&RelPath::new(file).unwrap()).unwrap().unwrap();
    tree.read(&entry.version).unwrap()
}

/// Shows CV-03, CV-05, CV-13, CV-14, CV-16, CV-25, CV-30.
#[test]
fn daemon_record_of_a_file_prints_a_line_a_tick_and_sums_up_when_it_is_interrupted() {
    let bench = Bench::new();
    let mut recording = Recording::start(&bench, &["--file", "f", "--interval", "0.05"]);
    assert_eq!(recording.running.0.try_wait().unwrap(), None, "the prompt does not return");
    wait_until("progress is told", || recording.stderr().contains("so far, 0 ticks\n"));
    bench.write("f", "two\n");
    wait_until("the first edit is a tick", || recording.ticks() == [1]);
    bench.write("f", "two\n");
    bench.write("f", "three\n");
    wait_until("the second edit is a tick", || recording.ticks() == [1, 2]);
    recording.end(Signal::INT);
    let said = recording.stdout();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[1], "tick 1  modify  f  4 bytes");
    assert_eq!(lines[2], "tick 2  modify  f  4 → 6 bytes");
    let samples = |line: &str| -> u64 { line.split(' ').nth(3).unwrap().parse().unwrap() };
    assert!(lines[3].starts_with("2 ticks and ") && samples(lines[3]) >= 2, "{said}");
    assert_eq!((content(&bench, "f", 1), content(&bench, "f", 2)), (b"two\n".to_vec(), b"three\n".to_vec()));
    assert_eq!((bench.processes(), bench.store().join("SOCKET").exists()), (vec![], false));
}

/// Shows CV-03.
#[test]
fn daemon_record_of_a_root_keeps_each_save() {
    let bench = Bench::new();
    let mut recording = Recording::start(&bench, &[]);
    bench.write("f", "two\n");
    wait_until("it is a tick", || recording.ticks() == [1]);
    bench.write("f", "three\n");
    wait_until("it is a tick", || recording.ticks() == [1, 2]);
    recording.end(Signal::INT);
    assert!(recording.stdout().contains("tick 1  modify  f  4 bytes\n"), "{}", recording.stdout());
}

/// Shows CV-06.
#[test]
fn daemon_record_writes_each_diff_where_out_says_and_does_not_need_it_again() {
    let bench = Bench::new();
    let mut recording = Recording::start(&bench, &["--file", "f", "--interval", "0.05", "--out", "../diffs"]);
    for (tick, text) in [(1, "two\n"), (2, "three\n")] {
        bench.write("f", text);
        wait_until("it is a tick", || recording.ticks().len() == tick);
    }
    recording.end(Signal::INT);
    assert_eq!(names(&bench.path("diffs")), ["1.diff", "2.diff"]);
    let diff = std::fs::read(bench.path("diffs/2.diff")).unwrap();
    let view = store(&bench).view().unwrap();
    assert_eq!(diff, Layer::new(&view, &RelPath::new("f").unwrap()).unwrap().diff(Tick(2)).unwrap());
    std::fs::remove_dir_all(bench.path("diffs")).unwrap();
    assert_eq!(content(&bench, "f", 2), b"three\n");
    bench.ok(&["doctor", "--scrub", "--file", "f"]);
}

/// Shows CV-07.
#[test]
fn daemon_record_tells_what_it_cost_only_where_that_was_asked() {
    let bench = Bench::new();
    let words = ["avg sample time", "peak memory", "sampling rate"];
    for (flag, told) in [(&["--profile"][..], true), (&[], false)] {
        let args = [&["--file", "f", "--interval", "0.02"], flag].concat();
        let mut recording = Recording::start(&bench, &args);
        bench.write("f", &format!("{told}\n"));
        wait_until("a sample was taken", || recording.ticks().len() == 1);
        recording.end(Signal::INT);
        let said = recording.stdout();
        assert!(words.iter().all(|word| said.contains(word) == told), "{said}");
    }
}

/// Shows CV-08.
#[test]
fn daemon_record_uses_as_many_threads_as_it_is_told() {
    let bench = Bench::new();
    let mut recording = Recording::start(&bench, &["--threads", "3"]);
    assert!(recording.stdout().contains(" with 3 threads; "), "{}", recording.stdout());
    assert_eq!(bench.listing()["process"]["threads"], 3);
    recording.end(Signal::INT);
    let mut recording = Recording::start(&bench, &[]);
    assert!(recording.stdout().contains(" with 4 threads; "), "one run alone was told");
    recording.end(Signal::INT);
}

/// Shows CV-09.
#[test]
fn daemon_record_daemonized_is_not_in_the_help_and_changes_no_content() {
    let bench = Bench::new();
    assert!(!bench.ok(&["record", "--help"]).contains("daemonized"));
    let mut recording = Recording::start(&bench, &["--daemonized"]);
    bench.write("f", "two\n");
    wait_until("it is recorded", || bench.listing()["process"]["ticks"] == 1);
    assert_eq!(bench.metadata_names(), ["@root.daemon"]);
    recording.end(Signal::TERM);
    assert_eq!((recording.ticks(), content(&bench, "f", 1)), (vec![], b"two\n".to_vec()));
}

/// Shows CV-17, CV-18.
#[test]
fn daemon_record_keeps_what_it_announced_when_it_is_interrupted_in_a_storm() {
    for by in [Signal::INT, Signal::TERM] {
        let bench = Bench::new();
        let mut recording = Recording::start(&bench, &["--file", "f", "--interval", "0.01"]);
        let mut storm = Command::new("sh");
        let script = "i=0; while :; do i=$((i+1)); echo line $i >> f; done";
        let mut storm = Running(
            storm.args(["-c", script]).current_dir(bench.path("app")).stdin(Stdio::null()).spawn().unwrap(),
        );
        wait_until("there are ticks", || recording.ticks().len() >= 10);
        recording.end(by);
        storm.0.kill().unwrap();
        let announced = recording.ticks();
        let last = *announced.last().unwrap();
        assert_eq!(announced, (1..=last).collect::<Vec<_>>());
        let view = store(&bench).view().unwrap();
        assert_eq!(view.last_tick(), Tick(last), "none but those were recorded");
        let layer = Layer::new(&view, &RelPath::new("f").unwrap()).unwrap();
        let mut before = content(&bench, "f", 0);
        for tick in announced {
            let now = content(&bench, "f", tick);
            assert!(now.starts_with(&before) && now.len() > before.len(), "tick {tick}");
            assert!(!layer.diff(Tick(tick)).unwrap().is_empty());
            before = now;
        }
    }
}

/// Shows CV-19.
#[test]
fn daemon_record_goes_on_where_it_stopped() {
    let bench = Bench::new();
    let args = ["--file", "f", "--interval", "0.02"];
    let mut recording = Recording::start(&bench, &args);
    bench.write("f", "two\n");
    wait_until("it is a tick", || recording.ticks() == [1]);
    recording.end(Signal::INT);
    bench.write("f", "three\n");
    bench.write("f", "four\n");
    let mut recording = Recording::start(&bench, &args);
    wait_until("what was missed is one tick", || recording.ticks() == [2]);
    bench.write("f", "five\n");
    wait_until("it goes on", || recording.ticks() == [2, 3]);
    recording.end(Signal::INT);
    let contents: Vec<Vec<u8>> = (0..=3).map(|tick| content(&bench, "f", tick)).collect();
    assert_eq!(contents, [&b"one\n"[..], b"two\n", b"four\n", b"five\n"]);
}

/// Shows CV-28.
#[test]
fn daemon_record_warns_of_a_file_that_cannot_be_read_and_goes_on() {
    let Some(bench) = Bench::of_a_stranger() else { return };
    let mut recording = Recording::start(&bench, &["--file", "f", "--interval", "0.05"]);
    std::fs::remove_file(bench.path("app/f")).unwrap();
    wait_until("the removal is a tick", || recording.ticks() == [1]);
    assert!(recording.stdout().contains("tick 1  delete  f"), "{}", recording.stdout());
    bench.write("f", "back\n");
    wait_until("it came back", || recording.ticks() == [1, 2]);
    bench.set_mode("app/f", 0o000);
    wait_until("it warns", || recording.stderr().contains("could not be read"));
    assert_eq!(recording.running.0.try_wait().unwrap(), None);
    bench.set_mode("app/f", 0o644);
    bench.write("f", "edited\n");
    wait_until("it goes on", || recording.stdout().contains("7 bytes"));
    recording.end(Signal::INT);
}

/// Shows CV-47, CV-48.
#[test]
fn daemon_records_several_files_each_by_itself_until_it_is_stopped() {
    let bench = Bench::new();
    for file in ["f", "g", "h"] {
        bench.write(file, "one\n");
        bench.start(&["--file", file, "--interval", "0.05"]);
    }
    let first = bench.listing()["process"]["ticks"].as_u64().unwrap();
    let ticks = || bench.listing()["process"]["ticks"].as_u64().unwrap() - first;
    let log = || std::fs::read_to_string(bench.store().join("logs/serve.log")).unwrap();
    bench.write("g", "two\n");
    wait_until("the edit is a tick", || ticks() == 1);
    assert!(log().lines().last().unwrap().contains("modify  g"), "{}", log());
    bench.ok(&["daemon", "stop", "--file", "g"]);
    bench.write("g", "three\n");
    bench.write("h", "two\n");
    wait_until("the other edit is a tick", || ticks() == 2);
    assert!(!log().contains("modify  g  4 → 6"), "{}", log());
}

#[test]
fn daemon_pause_keeps_nothing_until_it_goes_on() {
    let bench = Bench::new();
    bench.start(&[]);
    bench.ok(&["daemon", "pause"]);
    bench.write("f", "two\n");
    bench.write("f", "three\n");
    assert_eq!(bench.listing()["process"]["ticks"], 0);
    assert!(bench.ok(&["daemon", "status"]).contains("recording is paused"));
    bench.ok(&["daemon", "resume"]);
    wait_until("it is one tick", || bench.listing()["process"]["ticks"] == 1);
    assert_eq!(content(&bench, "f", 1), b"three\n");
}

/// Shows CV-72.
#[test]
fn daemon_threads_never_change_what_is_recorded() {
    let recorded = |threads: &str| {
        let bench = Bench::new();
        for n in 0..40 {
            bench.write(&format!("d/{n}"), &"x".repeat(n * 100));
        }
        let mut recording = Recording::start(&bench, &["--threads", threads]);
        for n in 0..40 {
            bench.write(&format!("d/{n}"), &format!("edited {n}"));
        }
        wait_until("all are recorded", || recording.ticks().len() >= 40);
        recording.end(Signal::INT);
        let view = store(&bench).view().unwrap();
        let tree = view.tree(view.cursor_point().unwrap()).unwrap();
        let mut contents = Vec::new();
        tree.walk(&RelPath::root(), &mut |path, entry| {
            contents
                .push((path.clone(), entry.version.content.map(|_| tree.read(&entry.version)).transpose()?));
            Ok(())
        })
        .unwrap();
        let mut modified: Vec<String> =
            recording.stdout().lines().filter_map(|line| Some(line.split_once("  ")?.1.to_owned())).collect();
        modified.sort();
        (contents, modified)
    };
    assert_eq!(recorded("1"), recorded("32"));
}

#[test]
fn daemon_record_where_a_process_serves_already_says_so() {
    let bench = Bench::new();
    let pid = bench.start(&[]);
    let said = bench.fails(1, &["record"]);
    assert!(said.contains(&format!("process {pid} serves this store already")), "{said}");
}

#[test]
fn daemon_record_goes_on_while_nobody_reads_its_lines() {
    let bench = Bench::new();
    let mut command = bench.command();
    let mut running = Running(command.arg("record").stdout(Stdio::piped()).spawn().unwrap());
    let mut first = [0; 8];
    running.0.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"records ");
    // More lines than a pipe holds.
    for n in 0..3000 {
        bench.write(&format!("d/{n}"), "x");
    }
    let ticks = || -> u64 {
        let listing: Value = bench.listing();
        listing["process"]["ticks"].as_u64().unwrap()
    };
    wait_until("all is recorded", || ticks() >= 3001);
}

/// In a namespace of its own, with the store on a disk that is soon full.
/// Shows CV-29.
#[test]
fn daemon_on_a_full_disk_warns_and_counts_and_records_when_there_is_room_again() {
    let bench = Bench::new();
    let can_mount = std::fs::File::options().read(true).write(true).open("/dev/fuse").is_ok();
    let tools = ["unshare", "nsenter"];
    if !rustix::process::getuid().is_root() || !can_mount || !tools.iter().all(|tool| is_installed(tool)) {
        println!("skipped: only root can make a small disk");
        return;
    }
    for dir in ["small", "h"] {
        std::fs::create_dir(bench.path(dir)).unwrap();
    }
    let script =
        "mount -t tmpfs -o size=4m none ../small && exec \"$@\" mount --foreground . ../h --store ../small/s";
    let mut command = bench.wrapped(&["unshare", "--mount", "sh", "-c", script, "sh"]);
    let (out, err) = (bench.path("stdout"), bench.path("stderr"));
    command.stdout(std::fs::File::create(&out).unwrap()).stderr(std::fs::File::create(&err).unwrap());
    let mut running = Running(command.spawn().unwrap());
    let said = || std::fs::read_to_string(&out).unwrap();
    wait_until("it shows history", || said().starts_with("the history of "));
    let pid = running.0.id().to_string();
    let inside = |args: &[&str]| -> String {
        let output = Command::new("nsenter").args(["-t", &pid, "-m"]).args(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let fill = bench.path("small/fill").display().to_string();
    inside(&["dd", "if=/dev/zero", &format!("of={fill}"), "bs=4k"]);
    // What does not compress.
    let bytes: Vec<u8> = (0..200_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    std::fs::write(bench.path("app/f"), &bytes).unwrap();
    let warned = || std::fs::read_to_string(&err).unwrap();
    wait_until("it warns", || warned().contains("could not be recorded, and is tried again"));
    let stats = bench.path("h/stats.json").display().to_string();
    let numbers = || -> Value { serde_json::from_str(&inside(&["cat", &stats])).unwrap() };
    assert!(numbers()["recorder"]["failures"].as_u64().unwrap() >= 1, "{}", numbers());
    assert_eq!(numbers()["recorder"]["events_lost"], 0, "{}", numbers());
    let log = bench.path("h/branches/main/log").display().to_string();
    assert_eq!(inside(&["cat", &log]), "", "no tick without its content");
    inside(&["rm", &fill]);
    wait_until("the edit is a tick", || said().contains("tick 1  modify  f"));
    let after = bench.path("h/ticks/1/after").display().to_string();
    let same =
        Command::new("nsenter").args(["-t", &pid, "-m", "cmp", &after]).arg(bench.path("app/f")).status();
    assert!(same.unwrap().success());
    signal(running.0.id(), Signal::INT);
    assert!(running.0.wait().unwrap().success());
}

#[test]
fn daemon_looks_into_a_directory_as_soon_as_it_may() {
    let Some(bench) = Bench::of_a_stranger() else { return };
    bench.write("d/inside", "one");
    let set_mode = |mode: u32| bench.set_mode("app/d", mode);
    set_mode(0o000);
    bench.ok(&["init"]);
    bench.start(&[]);
    let unread = || bench.listing()["process"]["warnings"].to_string().contains("d cannot be read");
    wait_until("it says that it cannot look", unread);
    bench.write("f", "two");
    wait_until("it records what it may", || bench.listing()["process"]["ticks"] != 0);
    assert!(unread());
    let told = bench.ok(&["status"]);
    assert!(told.contains("\n  d  cannot be read: permission denied\n"), "{told}");
    set_mode(0o755);
    wait_until("what lies in it is recorded", || bench.ok(&["log", "--each"]).contains("d/inside"));
    bench.write("d/inside", "more than one");
    assert!(!unread());
    wait_until("it is watched", || bench.ok(&["log", "-p", "-n", "1"]).contains("more than one"));
}
