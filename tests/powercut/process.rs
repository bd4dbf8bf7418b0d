//! The two commands that a person gives: one to record, one to check.
//!
//! Invariant: neither outlives this program, nor its time.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::medium::Medium;
use crate::recording::Confirmation;

const WORKLOAD_TIME_MAX: Duration = Duration::from_secs(600);
const CHECK_TIME_MAX: Duration = Duration::from_secs(60);

/// Runs the workload on a directory, and stamps each line that it says with what the medium was told by then.
pub(crate) fn work(
    command: &str,
    dir: &Path,
    medium: &Medium,
    environment: Option<(&str, &str)>,
) -> Result<Vec<Confirmation>> {
    let mut shell = shell(command);
    shell.arg(dir).envs(environment).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = Running(shell.spawn().context("starting the workload")?);
    let output = running.0.stdout.take().expect("because it is piped");
    let (sender, receiver) = mpsc::channel();
    let medium = medium.clone();
    thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let stamped = line.map(|line| Confirmation { at: medium.position(), line });
            if sender.send(stamped).is_err() {
                return;
            }
        }
    });
    let end = Instant::now() + WORKLOAD_TIME_MAX;
    let mut confirmations = Vec::new();
    loop {
        match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(stamped) => confirmations.push(stamped.context("reading what the workload says")?),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => bail!("the workload did not end within 600 s"),
        }
    }
    let status = running.wait_until(end)?.context("the workload closed its output and did not end")?;
    ensure!(status.success(), "the workload ended with {status}");
    Ok(confirmations)
}

/// Runs the check on a directory that holds what `confirmed` says; the error is what the check complains about.
pub(crate) fn check(command: &str, dir: &Path, confirmed: &Path) -> Result<Result<(), String>> {
    let said = confirmed.with_extension("said");
    let output = File::create(&said)?;
    let mut shell = shell(command);
    shell.arg(dir).arg(confirmed).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let mut running = Running(shell.spawn().context("starting the check")?);
    let verdict = match running.wait_until(Instant::now() + CHECK_TIME_MAX)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("the check ended with {status}")),
        None => Err("the check did not end within 60 s".to_owned()),
    };
    let said = fs::read(&said).context("reading what the check says")?;
    Ok(verdict.map_err(|what| format!("{what}: {}", String::from_utf8_lossy(&said).trim())))
}

/// The shell takes the command apart, and gives way to it, so that ending one ends the other. The kernel ends it if
/// this program is killed: else it would hold the mounts.
fn shell(command: &str) -> Command {
    let mut shell = Command::new("setpriv");
    shell.args(["--pdeathsig", "KILL", "sh", "-c", &format!("exec {command} \"$@\""), "powercut"]);
    shell
}

struct Running(Child);

impl Running {
    /// `None`: it still runs.
    fn wait_until(&mut self, end: Instant) -> Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("powercut: process {} may still run: {error}", self.0.id());
        }
    }
}
