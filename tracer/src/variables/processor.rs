//! A processor: a process of its own that sees each event before it is written, one JSON line in, one out.
//!
//! It costs nothing but its own answer: what it does not answer in time, or not in JSON, passes as it is; then it is killed
//! with all that it has started, and the next event finds a fresh one.

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::{Error, Result};
use super::options::Language;

/// From when it has the event to its answer.
const PER_EVENT: Duration = Duration::from_millis(100);
/// Its start does not count.
const TO_START: Duration = Duration::from_secs(20);
/// A longer answer is none.
const ANSWER_MAX: usize = 16 * 1024 * 1024;

const PYTHON: &str = include_str!("../shims/python/processor.py");
const NODE: &str = include_str!("../shims/node/processor.js");

/// What a processor wants to be done with an event.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    Pass,
    Drop,
    Annotate(Map<String, Value>),
    Enrich(Map<String, Value>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    ready: bool,
    error: Option<String>,
    event_id: Option<String>,
    action: Option<String>,
    annotations: Map<String, Value>,
    extra: Map<String, Value>,
}

#[derive(Debug)]
pub(super) struct Processor {
    path: PathBuf,
    language: Language,
    /// `None`: its interpreter is not there, so every event passes.
    interpreter: Option<PathBuf>,
    /// `None`: the next event starts it.
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    read: Vec<u8>,
}

impl Processor {
    /// Starts it and waits until it has loaded. The second value is what a person should know.
    pub(super) fn start(path: &Path, language: Language) -> Result<(Self, Option<String>)> {
        let mut processor = Self { path: path.to_path_buf(), language, interpreter: None, running: None };
        match language.interpreter() {
            Ok(interpreter) => processor.interpreter = Some(interpreter),
            Err(name) => {
                let warning = format!("{name} is not in PATH: the processor {} is skipped", path.display());
                return Ok((processor, Some(warning)));
            }
        }
        match processor.launch() {
            Ok(()) => Ok((processor, None)),
            Err(why) => Err(Error::invalid(format!("the processor cannot be used: {why}"), path)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn launch(&mut self) -> Result<(), String> {
        let Some(interpreter) = &self.interpreter else {
            return Err("its interpreter is not in PATH".to_owned());
        };
        let mut command = Command::new(interpreter);
        match self.language {
            Language::Python => command.args(["-c", PYTHON]),
            Language::JavaScript => command.args(["-e", NODE, "--"]),
        };
        command.arg(&self.path).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("its pipes are missing".to_owned());
        };
        for done in [rustix::io::ioctl_fionbio(&stdin, true), rustix::io::ioctl_fionbio(&stdout, true)] {
            done.map_err(|error| format!("its pipes cannot be used: {error}"))?;
        }
        let mut running = Running { child, stdin, stdout, read: Vec::new() };
        let first = running.line(Instant::now() + TO_START);
        let answer: Answer =
            first.and_then(|line| serde_json::from_slice(&line).map_err(|e| e.to_string()))?;
        match (answer.ready, answer.error) {
            (true, _) => {
                self.running = Some(running);
                Ok(())
            }
            (false, error) => Err(error.unwrap_or_else(|| "it did not get ready".to_owned())),
        }
    }

    /// What it says to an event, a line of JSON with its newline; or why it said nothing usable.
    pub(super) fn ask(&mut self, event_id: &str, event: &[u8]) -> Result<Verdict, String> {
        if self.running.is_none() {
            self.launch()?;
        }
        let Some(running) = &mut self.running else { return Err("it does not run".to_owned()) };
        match running.exchange(event_id, event) {
            Ok(verdict) => verdict,
            Err(why) => {
                self.running = None;
                Err(why)
            }
        }
    }
}

impl Running {
    /// An outer error: it must not go on.
    fn exchange(&mut self, event_id: &str, event: &[u8]) -> Result<Result<Verdict, String>, String> {
        self.write(event, Instant::now() + PER_EVENT)?;
        let deadline = Instant::now() + PER_EVENT;
        loop {
            let line = self.line(deadline)?;
            let Ok(answer) = serde_json::from_slice::<Answer>(&line) else {
                return Err("its answer is no JSON object".to_owned());
            };
            // An answer to an earlier event came too late.
            if answer.event_id.as_deref() == Some(event_id) {
                return Ok(answer.verdict());
            }
        }
    }

    fn write(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), String> {
        while !bytes.is_empty() {
            match self.stdin.write(bytes) {
                Ok(done) => bytes = &bytes[done..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(&self.stdin, PollFlags::OUT, deadline)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_gone) => return Err("it has ended".to_owned()),
            }
        }
        Ok(())
    }

    fn line(&mut self, deadline: Instant) -> Result<Vec<u8>, String> {
        let mut searched = 0;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.read[searched..]) {
                let rest = self.read.split_off(searched + end + 1);
                return Ok(std::mem::replace(&mut self.read, rest));
            }
            searched = self.read.len();
            if searched > ANSWER_MAX {
                return Err("its answer is too long".to_owned());
            }
            let mut piece = [0; 16 * 1024];
            match self.stdout.read(&mut piece) {
                Ok(0) => return Err("it has ended".to_owned()),
                Ok(more) => self.read.extend_from_slice(&piece[..more]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(&self.stdout, PollFlags::IN, deadline)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("its answer cannot be read: {error}")),
            }
            if Instant::now() > deadline {
                return Err("it did not answer in time".to_owned());
            }
        }
    }
}

fn wait(pipe: &impl std::os::fd::AsFd, flags: PollFlags, deadline: Instant) -> Result<(), String> {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(left).map_err(|_too_long| "its time is not a time".to_owned())?;
    let mut fds = [PollFd::new(pipe, flags)];
    match poll(&mut fds, Some(&timeout)) {
        Ok(0) => Err("it did not answer in time".to_owned()),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(format!("it cannot be waited for: {error}")),
    }
}

/// Ends it, and all that it has started in its group; leaves no zombie.
impl Drop for Running {
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let killed = group.map(|group| kill_process_group(group, Signal::KILL));
        debug_assert!(killed.is_some(), "a child has a number");
        if let Err(error) = self.child.wait() {
            debug_assert!(false, "a child can be waited for: {error}");
        }
    }
}

impl Answer {
    fn verdict(self) -> Result<Verdict, String> {
        if let Some(error) = self.error {
            return Err(error);
        }
        match self.action.as_deref() {
            Some("pass") => Ok(Verdict::Pass),
            Some("drop") => Ok(Verdict::Drop),
            Some("annotate") => Ok(Verdict::Annotate(self.annotations)),
            Some("enrich") => Ok(Verdict::Enrich(self.extra)),
            Some(other) => Err(format!("it knows no action {other:?}")),
            None => Err("its answer has no action".to_owned()),
        }
    }
}
