//! A serving process that somebody watches on a terminal: Ctrl+C, or the end of what it serves, ends it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tickfs_store::{Error, Store};

use super::announce::Line;
use super::message::{Answer, Request};
use super::process::{Event, Server};
use super::status::Status;
use crate::client::{Conversation, Patience, Said};
use crate::error::Failure;
use crate::now;
use crate::output::counted;

pub(crate) struct Foreground {
    server: Arc<Server>,
    events: Receiver<Event>,
    lines: Receiver<Line>,
    pub(crate) answer: Answer,
    began: Instant,
}

/// What came of it.
pub(crate) struct Ended {
    pub(crate) status: Status,
    pub(crate) took: Duration,
}

/// Lines and the end come on two channels; so long one is waited for before the other is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// That it samples is told ever more rarely, and then every so many samples.
const TOLD_EACH: u64 = 1000;

impl Foreground {
    /// Takes the store's lock and meets the request. Refused where another process serves the store.
    /// A `watched` one has no metadata: who watches it knows of it.
    pub(crate) fn begin(store: &Store, request: &Request, watched: bool) -> anyhow::Result<Self> {
        let patience = Patience::begin();
        let began = Instant::now();
        let (server, events) = loop {
            refuse_if_served(store)?;
            match store.writer(now::writer(), Duration::ZERO) {
                Ok(writer) => break Server::begin(writer, watched)?,
                Err(Error::Locked { holder }) => patience.wait(&holder)?,
                Err(error) => return Err(error.into()),
            }
        };
        let lines = server.announcer().listen();
        match server.heed_signals().and_then(|()| server.meet_first(request)) {
            Ok(answer) => Ok(Self { server, events, lines, answer, began }),
            Err(error) => {
                server.end()?;
                Err(error)
            }
        }
    }

    /// Gives each line to `show` until the end, and what is told while it ends.
    pub(crate) fn watch(self, show: &mut dyn FnMut(&Line) -> anyhow::Result<()>) -> anyhow::Result<Ended> {
        let watched = self.watch_until_the_end(show);
        let status = self.server.status();
        let ended = self.server.end();
        watched?;
        self.lines.try_iter().try_for_each(|line| show(&line))?;
        ended?;
        let samples = self.server.status().samples.max(status.samples);
        Ok(Ended { status: Status { samples, ..status }, took: self.began.elapsed() })
    }

    fn watch_until_the_end(&self, show: &mut dyn FnMut(&Line) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut told_at = 1;
        loop {
            let Status { samples, ticks, .. } = self.server.status();
            if samples >= told_at {
                let text = format!("sampled {} so far, {}", counted(samples, "time"), counted(ticks, "tick"));
                show(&Line::Note { text })?;
                told_at = if samples < TOLD_EACH { samples * 10 } else { samples + TOLD_EACH };
            }
            match self.lines.recv_timeout(LOOK) {
                Ok(line) => show(&line)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if let Ok(event) = self.events.try_recv() {
                self.server.log().line(match event {
                    Event::Signal(_) => "was interrupted",
                    Event::End => "has nothing left to do",
                });
                return Ok(());
            }
        }
    }
}

fn refuse_if_served(store: &Store) -> anyhow::Result<()> {
    let Some(conversation) = Conversation::open(store.layout().dir())? else { return Ok(()) };
    match conversation.ask(&Request::Status, None, &mut |_| {})? {
        Said::Done(Answer::Status(status)) => {
            Err(Failure::new(format!("process {} serves this store already", status.pid))
                .at(&status.root)
                .next("`tickfs daemon start` and `tickfs mount` give it more to do, `tickfs daemon stop` and `tickfs unmount` less")
                .into())
        }
        Said::Done(_) | Said::Ending => Ok(()),
    }
}
