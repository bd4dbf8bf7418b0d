//! Programs that a test runs: what they showed, whether they live, and their end.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

const DEADLINE: Duration = Duration::from_secs(30);

/// What a run of a program showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub stdout: String,
    pub stderr: String,
    pub status: i32,
}

impl Shown {
    /// Runs it to its end. `same` makes what it printed the same on every machine.
    #[track_caller]
    pub fn of(command: &mut Command, same: impl Fn(&str) -> String) -> Self {
        let output = command.output().unwrap_or_else(|error| panic!("could not run {command:?}: {error}"));
        Self {
            stdout: same(&String::from_utf8_lossy(&output.stdout)),
            stderr: same(&String::from_utf8_lossy(&output.stderr)),
            status: output.status.code().unwrap_or(-1),
        }
    }
}

/// A child that is ended with the test.
#[derive(Debug)]
pub struct Running(pub Child);

impl Running {
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("could not start {command:?}: {error}")))
    }

    #[track_caller]
    pub fn succeeds(mut self) {
        let status = self.0.wait().unwrap_or_else(|error| panic!("could not wait for {self:?}: {error}"));
        assert!(status.success(), "{status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let ended = self.0.try_wait().and_then(|status| match status {
            Some(_) => Ok(()),
            None => self.0.kill().and_then(|()| self.0.wait().map(drop)),
        });
        ended.unwrap_or_else(|error| panic!("process {} may still run: {error}", self.0.id()));
    }
}

/// Lives, and is no zombie. The first thread of a process that was killed is one before the others are gone, and with
/// them its locks and sockets.
pub fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let is_zombie = stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']));
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    !is_zombie || threads > 1
}

/// Sends a signal; that the process is gone already is no fault.
#[track_caller]
pub fn signal(pid: u32, signal: Signal) {
    let pid =
        i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap_or_else(|| panic!("{pid} is no process"));
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => panic!("could not signal {pid:?}: {error}"),
    }
}

/// Looks again and again until it holds.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < DEADLINE, "in vain it was awaited that {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `false`, and said, where a program that a test needs is not installed.
#[expect(
    clippy::print_stdout,
    reason = "that a test is skipped is said on its output, where the total counts it"
)]
pub fn is_installed(program: &str) -> bool {
    let found =
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}
