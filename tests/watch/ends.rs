//! How a program ends, and what is kept of it then.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::bench::{Bench, TICKFS, lines, shown};

const THREE: &str = "x = watch(0, name='x')\nx = 1\nx = 2\nx = 3\n";

/// Shows WA-26.
#[test]
fn watch_an_exception_is_the_programs_own_and_what_came_before_is_kept() {
    let bench = Bench::python(&format!("{THREE}def main():\n    raise KeyError('gone')\n"));
    let shown = bench.watch(&["--user-script", "app.py"]);
    assert_eq!(shown.status, 1);
    assert!(shown.stderr.contains("Traceback (most recent call last)"), "{shown:?}");
    assert!(shown.stderr.contains("KeyError: 'gone'") && !shown.stderr.contains("<tickfs>"), "{shown:?}");
    assert_eq!(bench.events("watcher_output").len(), 3);
}

#[test]
fn watch_a_syntax_error_is_told_as_python_tells_it() {
    let bench = Bench::python("x = (1,\n");
    let traced = bench.watch(&["--user-script", "app.py", "--log-level", "error"]);
    let plain = shown(bench.command("python3").arg("app.py"));
    assert_eq!(traced, plain);
    assert!(traced.stderr.contains("SyntaxError") && traced.status == 1, "{traced:?}");
}

#[test]
fn watch_the_exit_status_is_passed_on() {
    for (tail, status) in [
        ("import sys; sys.exit(7)", 7),
        ("import sys; sys.exit('a message')", 1),
        ("import os; os._exit(9)", 9),
        ("import os; os.kill(os.getpid(), 9)", 137),
        ("import os; os.abort()", 134),
        ("raise SystemExit", 0),
    ] {
        let bench = Bench::python(&format!("{THREE}{tail}\n"));
        let shown = bench.watch(&["--user-script", "app.py"]);
        assert_eq!(shown.status, status, "{tail}: {shown:?}");
        assert_eq!(bench.events("watcher_output").len(), 3, "{tail}");
    }
}

/// Shows WA-107.
#[test]
fn watch_what_the_program_prints_comes_while_it_runs() {
    let bench = Bench::python(
        "import sys\nprint('one', flush=True)\nsys.stdin.readline()\nprint('two', file=sys.stderr)\nprint('three')\n",
    );
    let mut command = bench.command(TICKFS);
    command.args(["watch", "--user-script", "app.py", "--log-level", "error"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "one\n", "it still waits for its input");
    drop(child.stdin.take());
    let mut err = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut err).unwrap();
    line.clear();
    out.read_line(&mut line).unwrap();
    assert_eq!((line.as_str(), err.as_str()), ("three\n", "two\n"));
    assert!(child.wait().unwrap().success());
}

fn endless(bench: &Bench) -> (Child, u32) {
    let mut command = bench.command(TICKFS);
    command.args(["watch", "--user-script", "app.py", "--log-level", "error"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().parse().unwrap())
}

const ENDLESS: &str = "import os, time\nn = watch(0, name='n')\nfor i in range(1, 50_001):\n    n = i\nprint(os.getpid(), flush=True)\nwhile True:\n    time.sleep(0.01)\n    n = n + 1\n";

fn wait(child: &mut Child) -> std::process::ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it ends");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(pid: u32, name: &str) {
    let status = std::process::Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// Shows WA-80.
#[test]
fn watch_an_interrupted_run_keeps_what_there_is() {
    let bench = Bench::python(ENDLESS);
    let (mut child, _program) = endless(&bench);
    signal(child.id(), "INT");
    let status = wait(&mut child);
    assert_eq!(status.code(), Some(130), "{status:?}");
    let events = bench.events("watcher_output");
    assert!(events.len() >= 50_000, "{}", events.len());
}

/// Shows WA-74.
#[test]
fn watch_a_killed_tracer_leaves_what_is_older_than_its_flush_and_the_program_lives() {
    let bench = Bench::python(
        &ENDLESS.replace("    n = n + 1\n", "    n = n + 1\n    if os.path.exists('stop'): break\n"),
    );
    let (mut child, program) = endless(&bench);
    let path = bench.path("app/watcher_output/events.jsonl");
    let begun = Instant::now();
    while lines(&path) < 50_000 {
        assert!(begun.elapsed() < Duration::from_secs(20), "a flush is due every 100 ms");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(bench.events("watcher_output").len() >= 50_000);
    let alive = || std::path::Path::new(&format!("/proc/{program}/stat")).exists();
    assert!(alive(), "the program goes on");
    bench.write("stop", "");
    let begun = Instant::now();
    while alive() {
        assert!(begun.elapsed() < Duration::from_secs(20), "and ends by itself");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Shows WA-76, WA-78.
#[test]
fn watch_a_full_disk_is_told_and_counted() {
    let bench = Bench::python(THREE);
    std::fs::create_dir(bench.path("app/out")).unwrap();
    std::os::unix::fs::symlink("/dev/full", bench.path("app/out/events.jsonl")).unwrap();
    let shown = bench.watch(&["--user-script", "app.py", "--output", "out"]);
    assert_eq!(shown.status, 1, "{shown:?}");
    assert!(shown.stderr.contains("events cannot be written to out/events.jsonl"), "{shown:?}");
    assert!(shown.stderr.contains("0 events in out/events.jsonl, 3 lost"), "{shown:?}");
}

#[test]
fn watch_an_output_that_goes_away_is_made_anew() {
    // There is no event before it goes: nothing is written while it does.
    let source = "import shutil\nx = watch(0, name='x')\nshutil.rmtree('watcher_output')\n";
    let bench = Bench::python(&format!("{source}x = 2\n"));
    let shown = bench.watch(&["--user-script", "app.py"]);
    assert!(shown.status == 0 && shown.stderr.contains("was removed or moved; it is made anew"), "{shown:?}");
    let lines: Vec<u64> =
        bench.events("watcher_output").iter().map(|e| e["line"].as_u64().unwrap()).collect();
    assert_eq!(lines.last(), Some(&4));
    // Where it cannot be made anew, its events are lost, and counted.
    let bench = Bench::python(&format!("{source}open('watcher_output', 'w').close()\nx = 2\n"));
    let shown = bench.watch(&["--user-script", "app.py"]);
    assert!(shown.status == 1 && shown.stderr.contains("events cannot be written to"), "{shown:?}");
}

#[test]
fn watch_a_forked_child_writes_nothing_into_its_parents_history() {
    let bench = Bench::python(
        "import os\nx = watch(0, name='x')\nx = 1\npid = os.fork()\nif pid == 0:\n    x = 99\n    os._exit(0)\nos.waitpid(pid, 0)\nx = 2\n",
    );
    assert_eq!(bench.traced(&[]).len(), 2);
}

#[test]
fn watch_says_so_where_the_interpreter_is_too_old() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::python(THREE);
    let real = shown(bench.command("python3").args(["-c", "import sys; print(sys.executable)"])).stdout;
    // What is given behind -c begins with an age that is not its own.
    let older = format!(
        "#!/bin/sh\nshift; code=\"import sys; sys.version_info = (3, 7, 9)\n$1\"; shift\nexec {} -c \"$code\" \"$@\"\n",
        real.trim_end()
    );
    let python = bench.write("bin/python3", &older);
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bench.path("app/bin").display(), std::env::var("PATH").unwrap());
    let shown = shown(bench.command(TICKFS).args(["watch", "--user-script", "app.py"]).env("PATH", path));
    assert_eq!((shown.status, shown.stdout.as_str()), (1, ""), "{shown:?}");
    let said = "tickfs: this is Python 3.7, and 3.8 is the oldest that can be watched\n";
    assert!(shown.stderr.contains(said) && !shown.stderr.contains("Traceback"), "{shown:?}");
}

/// Shows WA-27.
#[test]
fn watch_says_so_where_the_interpreter_is_missing() {
    let bench = Bench::python(THREE);
    let empty = bench.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let shown = shown(bench.command(TICKFS).args(["watch", "--user-script", "app.py"]).env("PATH", &empty));
    assert_eq!(shown.status, 1);
    assert!(shown.stderr.contains("python3 is not in PATH"), "{shown:?}");
}
