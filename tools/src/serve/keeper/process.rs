//! The keeper itself: one thread that waits for whatever happens first.
//!
//! It is served while a serving process is connected. When that goes without a word, an outage begins: the keeper starts the next
//! one, and lets whoever comes first take over, also a process that a command started. It gives up when the outage lasts too long,
//! and when one process after the other dies at once: then it was a request that killed them, and it would kill the next.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SocketFlags;

use super::super::log::{self, Log};
use super::super::message::Request;
use super::super::mounted;
use super::message::{KeptMount, Message, Standing, VERSION, hear, say};
use crate::commands;

/// The first process connected before it started us.
const FIRST: Duration = Duration::from_secs(5);
/// So often is looked during an outage whether a process that was started is gone again, and then the next one is started.
const LOOK: Duration = Duration::from_millis(20);
/// A process that lived shorter died at once.
const SHORT: Duration = Duration::from_secs(1);
const SHORT_LIVES_MAX: u32 = 20;

struct Keeper {
    store: PathBuf,
    listener: OwnedFd,
    outage_max: Duration,
    kept: Vec<(KeptMount, OwnedFd)>,
    standing: Option<Standing>,
    short_lives: u32,
    /// A process that was started in this outage.
    started: Option<Child>,
    /// Processes that were started before. One that was killed may be there for a while yet: a thread of it waits in the kernel for an
    /// answer that the next one gives.
    before: Vec<Child>,
}

/// Why a process is not connected any more.
enum Left {
    InOrder,
    WithoutAWord,
}

/// The life of the keeper.
pub(crate) fn live(store: &Path, outage_max: Duration) -> anyhow::Result<()> {
    match rustix::process::setsid() {
        Ok(_) | Err(rustix::io::Errno::PERM) => {}
        Err(error) => return Err(error).context("could not leave the session"),
    }
    let listener = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3).context("there is no socket")?;
    let nothing = std::fs::File::open("/dev/null").context("could not open /dev/null")?;
    rustix::stdio::dup2_stdin(&nothing).context("could not let go of the socket's number")?;
    let keeper = Keeper {
        store: store.to_path_buf(),
        listener,
        outage_max,
        kept: Vec::new(),
        standing: None,
        short_lives: 0,
        started: None,
        before: Vec::new(),
    };
    keeper.keep()
}

impl Keeper {
    fn keep(mut self) -> anyhow::Result<()> {
        let mut server = self.await_one(FIRST, false)?;
        while let Some(serving) = server {
            let began = Instant::now();
            // One that is gone already may have said something before.
            if let Err(error) = self.greet(&serving)
                && error.kind() != io::ErrorKind::BrokenPipe
            {
                self.tell(&format!("could not speak to a serving process: {error}"));
            }
            let left = self.heed(&serving)?;
            self.before.extend(self.started.take());
            drop(serving);
            // Also one that had lost its last mount is followed by another: something is to be tidied up, and maybe recorded.
            if matches!(left, Left::InOrder) || (self.kept.is_empty() && self.standing.is_none()) {
                return Ok(());
            }
            self.short_lives = if began.elapsed() < SHORT { self.short_lives + 1 } else { 0 };
            if self.short_lives > SHORT_LIVES_MAX {
                self.give_up("one serving process after the other died at once");
                return Ok(());
            }
            self.tell("the serving process died: starting the next one");
            server = self.await_one(self.outage_max, true)?;
        }
        let seconds = self.outage_max.as_secs();
        self.give_up(&format!("nobody served for {seconds} s"));
        Ok(())
    }

    /// Whoever reads gets an error from here on. A thread of a killed process may hold the connection too, and wait for an answer in
    /// the kernel: so it is not enough to let go of it.
    fn give_up(&mut self, why: &str) {
        for (mount, device) in std::mem::take(&mut self.kept) {
            let at = &mount.mount_point.at.0;
            self.tell(&format!("{why}: whoever reads {} gets an error", at.display()));
            drop(device);
            if let Err(error) = mounted::break_connection(at) {
                self.tell(&format!("the connection of {} may not be broken: {error}", at.display()));
            }
        }
    }

    /// Tells all that is kept.
    fn greet(&self, server: &OwnedFd) -> io::Result<()> {
        say(server, &Message::Hello { version: VERSION }, None)?;
        for (mount, device) in &self.kept {
            use std::os::fd::AsFd as _;
            say(server, &Message::Keep { mount: Box::new(mount.clone()) }, Some(device.as_fd()))?;
        }
        say(server, &Message::Standing { standing: self.standing.clone() }, None)
    }

    /// Does what the serving process says, until it goes.
    fn heed(&mut self, server: &OwnedFd) -> anyhow::Result<Left> {
        loop {
            if !self.wait(server, None)? {
                continue;
            }
            match hear(server) {
                Ok(Some((Message::Keep { mount }, device))) => self.take(*mount, device),
                Ok(Some((Message::Release { mount_point }, _))) => {
                    self.kept.retain(|(mount, _)| mount.mount_point.at != mount_point.at);
                }
                Ok(Some((Message::Standing { standing }, _))) => self.standing = standing,
                Ok(Some((Message::End, _))) => return Ok(Left::InOrder),
                Ok(Some((Message::Hello { .. }, _))) => {}
                Ok(None) => return Ok(Left::WithoutAWord),
                Err(error) => self.tell(&format!("the serving process said something strange: {error}")),
            }
        }
    }

    fn take(&mut self, mount: KeptMount, device: Option<OwnedFd>) {
        let at = &mount.mount_point.at;
        let before = self.kept.iter().position(|(other, _)| other.mount_point.at == *at);
        match (before, device) {
            (Some(place), None) => self.kept[place].0 = mount,
            (Some(place), Some(device)) => self.kept[place] = (mount, device),
            (None, Some(device)) => self.kept.push((mount, device)),
            // It was unmounted meanwhile.
            (None, None) => {}
        }
    }

    /// Waits for a serving process, and starts one if need be. `None`: it took too long.
    fn await_one(&mut self, patience: Duration, starts: bool) -> anyhow::Result<Option<OwnedFd>> {
        let began = Instant::now();
        while began.elapsed() < patience {
            self.reap()?;
            if starts && self.started.is_none() {
                self.started = Some(self.start()?);
            }
            let listener = rustix::io::fcntl_dupfd_cloexec(&self.listener, 3)?;
            if self.wait(&listener, Some(LOOK))? {
                return Ok(Some(rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC)?));
            }
        }
        Ok(None)
    }

    /// Waits until something is to be read, and lets go of connections that were unmounted. `false`: there is nothing to be read.
    fn wait(&mut self, from: &OwnedFd, patience: Option<Duration>) -> anyhow::Result<bool> {
        let patience = patience.map(Timespec::try_from).transpose()?;
        let mut polled = vec![PollFd::new(from, PollFlags::IN)];
        // An error is told without being asked for.
        polled.extend(self.kept.iter().map(|(_, device)| PollFd::new(device, PollFlags::empty())));
        match poll(&mut polled, patience.as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(false),
            ready => ready?,
        };
        let mut happened: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        let is_ready = happened.remove(0);
        let mut gone = happened.into_iter();
        self.kept.retain(|_| !gone.next().unwrap_or(false));
        Ok(is_ready)
    }

    fn start(&self) -> anyhow::Result<Child> {
        Command::new("/proc/self/exe")
            .arg0("tickfs")
            .args([commands::serve::NAME, "--store"])
            .arg(&self.store)
            .args(["--request", &serde_json::to_string(&Request::Continue)?])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log::stderr_of(&self.store.join("logs/serve.log"))?)
            .spawn()
            .context("could not start a serving process")
    }

    fn reap(&mut self) -> io::Result<()> {
        if let Some(started) = &mut self.started
            && started.try_wait()?.is_some()
        {
            self.started = None;
        }
        let mut living = Vec::new();
        for mut child in self.before.drain(..) {
            if child.try_wait()?.is_none() {
                living.push(child);
            }
        }
        self.before = living;
        Ok(())
    }

    /// A line of the log. Where it cannot be written, there is nobody else to be told.
    fn tell(&self, text: &str) {
        match Log::open(&self.store.join("logs"), None) {
            Ok(log) => log.line(text),
            Err(error) => eprintln!("{text}; the log cannot be written: {error}"),
        }
    }
}
