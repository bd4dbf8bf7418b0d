//! Asks the serving process of a store, or finds that there is none.
//!
//! Invariants:
//!   * A conversation is one request. Who answers is known from the kernel before a word is said.
//!   * Where a process begins or ends to serve at the same moment, the command asks again; it never falls between.

use std::cell::RefCell;
use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::Pid;
use tickfs_store::Store;
use tickfs_store::runs::RunFacts;

use crate::act::{self, Act, Report};
use crate::error::Failure;
use crate::now;
use crate::progress::Progress;
use crate::serve::alive;
use crate::serve::message::{Answer, Greeting, REPLY_MAX, Reply, Request, VERSION, hear, say};
use crate::serve::socket;
use crate::serve::spawn::{self, Started};

/// A process that is well greets at once, whatever else it does.
const GREETING: Duration = Duration::from_secs(3);
/// So long may another process begin, end, or hold the lock for a command.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(15);

/// A conversation with the process that serves a store.
#[derive(Debug)]
pub(crate) struct Conversation {
    stream: BufReader<UnixStream>,
    pid: Pid,
}

/// A process serves the store, and does not answer.
#[derive(Debug, thiserror::Error)]
#[error("{}", match .pid { Some(pid) => format!("process {pid} serves the store and does not answer"), None => "the process that serves the store does not answer".to_owned() })]
pub(crate) struct NoAnswer {
    pub(crate) pid: Option<Pid>,
}

/// What was said last.
#[derive(Debug)]
pub(crate) enum Said {
    Done(Answer),
    /// The process ends.
    Ending,
}

impl Conversation {
    /// `None`: nobody serves the store.
    pub(crate) fn open(store: &Path) -> anyhow::Result<Option<Self>> {
        let began = Instant::now();
        let stream = loop {
            match socket::connect(store) {
                Ok(Some(stream)) => break stream,
                Ok(None) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if began.elapsed() > GREETING {
                        return Err(NoAnswer { pid: None }.into());
                    }
                    std::thread::sleep(PAUSE);
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("could not connect to {}", store.display()));
                }
            }
        };
        let pid = socket::peer(&stream)?.pid;
        stream.set_read_timeout(Some(GREETING))?;
        let mut stream = BufReader::new(stream);
        let greeting = match hear::<Greeting>(&mut stream, REPLY_MAX) {
            Ok(Some(greeting)) => greeting,
            // It went away while we connected.
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) if is_timeout(&error) => return Err(NoAnswer { pid: Some(pid) }.into()),
            Err(error) => return Err(error.into()),
        };
        if greeting.tickfs != VERSION {
            return Err(Failure::new(format!("process {pid} is of another version of tickfs"))
                .next("`tickfs daemon stop-all` of that version ends it")
                .into());
        }
        Ok(Some(Self { stream, pid }))
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Asks, and gives what is said on the way to `tell`. A process that says nothing for `patience` does not answer.
    pub(crate) fn ask(
        mut self,
        request: &Request,
        patience: Option<Duration>,
        tell: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Said> {
        self.stream.get_ref().set_read_timeout(patience)?;
        match say(self.stream.get_mut(), request) {
            Err(error) if is_gone(&error) => return Ok(Said::Ending),
            said => said?,
        }
        loop {
            match hear::<Reply>(&mut self.stream, REPLY_MAX) {
                Ok(Some(Reply::Progress { text })) => tell(&text),
                Ok(Some(Reply::Done { answer })) => return Ok(Said::Done(answer)),
                Ok(Some(Reply::Failed { failure })) => return Err(failure.into()),
                Ok(Some(Reply::Ending | Reply::Busy { .. })) => return Ok(Said::Ending),
                Ok(None) if request.may_be_repeated() => return Ok(Said::Ending),
                // What was not read was not done.
                Err(error) if is_gone(&error) => return Ok(Said::Ending),
                Ok(None) => {
                    return Err(Failure::new(format!("process {} ended before it answered", self.pid))
                        .next("run the command again")
                        .into());
                }
                Err(error) if is_timeout(&error) => return Err(NoAnswer { pid: Some(self.pid) }.into()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Counts how long one has been kept waiting by others.
#[derive(Debug)]
pub(crate) struct Patience(Instant);

impl Patience {
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }

    /// Waits a moment, or gives up.
    pub(crate) fn wait(&self, holder: &str) -> anyhow::Result<()> {
        if self.0.elapsed() > PATIENCE {
            return Err(tickfs_store::Error::Locked { holder: holder.to_owned() }.into());
        }
        std::thread::sleep(PAUSE);
        Ok(())
    }
}

/// Asks the process that serves a store to do it, or takes the lock and does it here: the same either way.
pub(crate) fn act(store: &Store, act: &Act) -> anyhow::Result<Report> {
    let patience = Patience::begin();
    let progress = RefCell::new(Progress::default());
    loop {
        let holder = match Conversation::open(store.layout().dir())? {
            Some(conversation) => {
                let pid = conversation.pid();
                let request = Request::Act { act: act.clone() };
                match conversation.ask(&request, None, &mut |text| progress.borrow_mut().tell(text))? {
                    Said::Done(Answer::Acted { report }) => return Ok(*report),
                    Said::Done(_) => {
                        return Err(Failure::new(format!("process {pid} did not understand")).into());
                    }
                    Said::Ending => format!("process {pid}, which ends"),
                }
            }
            None => match act::here(store, act, &|done, of| progress.borrow_mut().count(done, of)) {
                Err(error) => match error.downcast::<tickfs_store::Error>()? {
                    tickfs_store::Error::Locked { holder } => holder,
                    error => return Err(error.into()),
                },
                done => return done,
            },
        };
        patience.wait(&holder)?;
    }
}

/// Writes a run down, through the process that serves the store or here.
pub(crate) fn keep_run(store: &Store, facts: &RunFacts) -> anyhow::Result<()> {
    let patience = Patience::begin();
    loop {
        let holder = match Conversation::open(store.layout().dir())? {
            Some(conversation) => {
                let pid = conversation.pid();
                let request = Request::Run { facts: Box::new(facts.clone()) };
                match conversation.ask(&request, Some(PATIENCE), &mut |_| {})? {
                    Said::Done(_) => return Ok(()),
                    Said::Ending => format!("process {pid}, which ends"),
                }
            }
            None => match store.writer(now::writer(), Duration::ZERO) {
                Ok(writer) => {
                    act::keep_run(&writer, facts)?;
                    return Ok(writer.close()?);
                }
                Err(tickfs_store::Error::Locked { holder }) => holder,
                Err(error) => return Err(error.into()),
            },
        };
        patience.wait(&holder)?;
    }
}

/// Asks the process that serves a store, or starts one for this. Gives its number too.
pub(crate) fn ask_or_start(
    store: &Store,
    request: &Request,
    tell: &mut dyn FnMut(&str),
) -> anyhow::Result<(u32, Answer)> {
    let patience = Patience::begin();
    loop {
        let holder = match Conversation::open(store.layout().dir())? {
            Some(conversation) => {
                let pid = conversation.pid();
                match conversation.ask(request, None, tell)? {
                    Said::Done(answer) => return Ok((number(pid), answer)),
                    Said::Ending => {
                        alive::ends_within(pid, PATIENCE)?;
                        format!("process {pid}, which ends")
                    }
                }
            }
            None => match spawn::start(store, request, tell)? {
                Started::Begun { pid, answer } => return Ok((pid, answer)),
                Started::Busy { holder } => holder,
            },
        };
        patience.wait(&holder)?;
    }
}

pub(crate) fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}
