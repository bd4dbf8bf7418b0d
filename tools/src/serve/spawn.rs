//! How a serving process comes about in the background, and how its starter learns that it has begun.
//!
//! The starter runs its own binary again, with a verb that no help names; its standard output is a pipe, on which it says what
//! came of its first request. From then on its output is the log.
//!
//! Invariants:
//!   * The starter returns when recording has begun, or with the reason why it has not; then no process is left.
//!   * The new process has a session of its own: no terminal that closes ends it.

use std::io::BufReader;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use tickfs_store::{Error, Store};

use super::log;
use super::message::{Answer, REPLY_MAX, Reply, Request, hear, say};
use super::process::{Event, Server};
use crate::error::{Failure, plain};
use crate::{commands, find, now};

/// What came of a start.
pub(crate) enum Started {
    Begun {
        pid: u32,
        answer: Answer,
    },
    /// Another process holds the lock: one that serves, or soon will, or a command.
    Busy {
        holder: String,
    },
}

/// Starts a process that serves a store, and waits until it has met its first request.
pub(crate) fn start(store: &Store, request: &Request, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Started> {
    let log = store.layout().logs().join("serve.log");
    let stderr = log::stderr_of(&log).map_err(|error| {
        Failure::new(format!("could not write the log: {}", plain(&error)))
            .next("`tickfs log`, `show`, `diff` and `grep` read a store that cannot be written")
            .at(&log)
    })?;
    let mut child = Command::new("/proc/self/exe")
        .arg0("tickfs")
        .args([commands::serve::NAME, "--store"])
        .arg(store.layout().dir())
        .args(["--request", &serde_json::to_string(request)?])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .context("could not start the background process")?;
    let pipe = child.stdout.take().context("the background process has no output")?;
    let mut said = BufReader::new(pipe);
    let failed = loop {
        match hear::<Reply>(&mut said, REPLY_MAX) {
            Ok(Some(Reply::Progress { text })) => tell(&text),
            Ok(Some(Reply::Done { answer })) => return Ok(Started::Begun { pid: child.id(), answer }),
            Ok(Some(Reply::Busy { holder })) => {
                child.wait().context("could not wait for the background process")?;
                return Ok(Started::Busy { holder });
            }
            Ok(Some(Reply::Failed { failure })) => break failure,
            Ok(Some(Reply::Ending) | None) => {
                break Failure::new("the background process ended before it began")
                    .next("its log says why")
                    .at(&log);
            }
            Err(error) => {
                break Failure::new(format!("the background process said something strange: {error}"))
                    .at(&log);
            }
        }
    };
    child.wait().context("could not wait for the background process")?;
    Err(failed.into())
}

/// The life of the background process.
pub(crate) fn live(dir: &Path, request: &Request) -> anyhow::Result<()> {
    let mut starter = std::io::stdout();
    // One that leads a group already, because a service manager started it, stays in its session.
    match rustix::process::setsid() {
        Ok(_) | Err(rustix::io::Errno::PERM) => {}
        Err(error) => return Err(error).context("could not leave the session"),
    }
    let store = Store::open(find::disk(), dir)?;
    let writer = match store.writer(now::writer(), Duration::ZERO) {
        Ok(writer) => writer,
        Err(Error::Locked { holder }) => return Ok(say(&mut starter, &Reply::Busy { holder })?),
        Err(error) => return tell_failure(&mut starter, &error.into()),
    };
    let (server, events) = match Server::begin(writer, false) {
        Ok(begun) => begun,
        Err(error) => return tell_failure(&mut starter, &error),
    };
    // A starter that went away is noticed when the answer cannot be said.
    let progress = |text| drop(say(&mut std::io::stdout(), &Reply::Progress { text }));
    let meet = || server.announcer().telling(progress, || server.meet_first(request));
    let begun = server.heed_signals().and_then(|()| meet());
    let answer = match begun {
        Ok(answer) => answer,
        Err(error) => {
            server.log().line(&format!("could not begin: {error:#}"));
            let ended = server.end();
            return tell_failure(&mut starter, &ended.err().map_or(error, |ended| ended.context("ending")));
        }
    };
    // A starter that is gone was told to stop: what it asked for stops too.
    let told = say(&mut starter, &Reply::Done { answer });
    server.log().take_output().context("could not write to the log")?;
    if told.is_ok() {
        match events.recv() {
            Ok(Event::Signal(signal)) => server.log().line(&format!("was sent signal {signal}")),
            Ok(Event::End) | Err(_) => {}
        }
    }
    server.end()
}

fn tell_failure(starter: &mut impl std::io::Write, error: &anyhow::Error) -> anyhow::Result<()> {
    Ok(say(starter, &Reply::Failed { failure: Failure::from(error) })?)
}
