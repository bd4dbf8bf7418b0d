//! The one process that serves a store: it holds the lock, records, answers on the socket, and ends when nothing needs it.
//!
//! Invariants:
//!   * It listens before it does anything that takes long: who asks meanwhile waits, and knows for whom.
//!   * Requests that change what is recorded come one after the other; asking for the status waits for none of them.
//!   * Once it has begun to end, whoever asks is told so, and asks again of nobody or of the next.
//!   * At the end: the last group is durable, mounts and their keeper are gone, `daemons/` says nothing of it, and the
//!     socket's name is free.
//!
//! Lock order: `changing`, then `state`.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::{Condvar, Mutex};
use serde_json::Value;
use tickfs_store::ids::UnixMillis;
use tickfs_store::path::RelPath;
use tickfs_store::{Scope, StoreWriter};
use tickfs_tracer::files::State as RecorderState;

use super::announce::{Announcer, Line};
use super::keeper::link::{Inheritance, Link};
use super::log::Log;
use super::message::{Answer, Request};
use super::metadata;
use super::mounts::Mounts;
use super::recorder::Engine;
use super::recordings::{store_threads, stored_threads};
use super::status::{Recording, Status};
use super::upkeep::{FIRST_LOOK, Upkeep};
use super::{connection, mountpoint, socket};
use crate::act::{Act, Place, keep_run, perform};
use crate::error::{Failure, plain};
use crate::now;
use crate::output::counted;
use crate::progress::steps;

/// So long an answer may take that is given at the end.
const LAST_WORDS: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(crate) struct Server {
    pub(super) this: Weak<Self>,
    pub(super) writer: Arc<StoreWriter>,
    pub(super) scope: Mutex<Scope>,
    pub(super) announcer: Arc<Announcer>,
    pub(super) log: Arc<Log>,
    pub(super) since: UnixMillis,
    /// Somebody watches on a terminal: no metadata tells of it.
    pub(super) foreground: bool,
    /// Held by the one request that changes something.
    pub(super) changing: Mutex<()>,
    pub(super) engine: Engine,
    pub(super) mounts: Mounts,
    pub(super) keeper: Arc<Link>,
    upkeep: Upkeep,
    pub(super) state: Mutex<State>,
    stage_changed: Condvar,
    /// Requests that were heard and not answered yet; `None` when no more are heard.
    speaking: Mutex<Option<usize>>,
    answered: Condvar,
    events: Sender<Event>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) stage: Stage,
    pub(super) recordings: BTreeMap<Option<RelPath>, Recording>,
    /// All that the store records is to be recorded, although no mount shows it (yet).
    pub(super) all: bool,
    pub(super) paused: bool,
    pub(super) threads: u8,
    pub(super) notes: Vec<String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The first request is not met yet.
    #[default]
    Starting,
    Serving,
    Ending,
}

/// Why a process looks up from its wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// SIGTERM, SIGINT or SIGHUP.
    Signal(i32),
    /// Nothing is left to do, or somebody asked for the end.
    End,
}

/// What a request came to when it is no failure.
pub(crate) enum Outcome {
    Answer(Answer),
    Ending,
}

impl Server {
    /// Takes over a store whose lock is held, and listens.
    pub(crate) fn begin(
        writer: StoreWriter,
        foreground: bool,
    ) -> anyhow::Result<(Arc<Self>, Receiver<Event>)> {
        let store = writer.store().clone();
        let dir = store.layout().dir().to_path_buf();
        let scope = store.scope()?.ok_or_else(|| {
            Failure::new("the store does not say what it records").at(&dir).next("`tickfs init` says it")
        })?;
        let log = Log::open(&store.layout().logs(), Some(store.clone())).map_err(|source| {
            tickfs_store::Error::Io { action: "open", path: store.layout().logs(), source }
        })?;
        let log = Arc::new(log);
        let threads = stored_threads(&store)?;
        let (events, receiver) = channel();
        let listener =
            socket::listen(&dir).with_context(|| format!("could not listen at {}", dir.display()))?;
        let writer = Arc::new(writer);
        let keeper = Link::new(&dir, Arc::clone(&log), store.config().mount.outage_max_seconds);
        let upkeep = Upkeep::begin(&writer, Arc::clone(&log), FIRST_LOOK)?;
        let server = Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            writer,
            scope: Mutex::new(scope),
            announcer: Arc::new(Announcer::new(Arc::clone(&log))),
            log,
            since: now::now(),
            foreground,
            changing: Mutex::new(()),
            engine: Engine::default(),
            mounts: Mounts::default(),
            keeper: Arc::new(keeper),
            upkeep,
            state: Mutex::new(State { threads, ..State::default() }),
            stage_changed: Condvar::new(),
            speaking: Mutex::new(Some(0)),
            answered: Condvar::new(),
            events,
        });
        connection::accept(&server, listener)?;
        let this = server.this.clone();
        let tell = move || this.upgrade().iter().for_each(|server| server.tell_keeper());
        let inherited = server.keeper.inherit(tell.clone());
        let Inheritance { mounts, standing } =
            inherited.context("could not hear what a process before this one left")?;
        server.mounts.follow(&server.writer, tell);
        server.take_over(mounts);
        server.clean_up()?;
        server.watch_mounts()?;
        server.resume(standing)?;
        Ok((server, receiver))
    }

    /// Signals become events. A terminal that closes ends what it watches.
    pub(crate) fn heed_signals(&self) -> anyhow::Result<()> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])
            .context("could not listen to signals")?;
        let events = self.events.clone();
        let heed = move || {
            for signal in signals.forever() {
                if events.send(Event::Signal(signal)).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(heed)
            .context("could not start a thread")?;
        Ok(())
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn announcer(&self) -> &Announcer {
        &self.announcer
    }

    /// What lies in `daemons/` is of processes before this one, because this one has the lock.
    fn clean_up(&self) -> anyhow::Result<()> {
        let found = metadata::read_all(self.writer.store())?;
        let served = self.mounts.places();
        let mut notes: Vec<String> = found.parked.iter().map(metadata::told_of_parked).collect();
        for (_, stale) in &found.recordings {
            metadata::remove(self.writer.store(), stale.file.as_ref())?;
            notes.push(format!("process {} was gone without a word", stale.pid));
        }
        notes.extend(mountpoint::clear_leftovers(self.writer.store(), &self.scope.lock().root, &served)?);
        notes.iter().for_each(|note| self.log.line(note));
        self.state.lock().notes = notes;
        Ok(())
    }

    /// From here on the process does not end before `meet` was answered; `false`: it ends now, and nothing may be met.
    pub(crate) fn hears(&self) -> bool {
        let mut speaking = self.speaking.lock();
        *speaking = speaking.map(|count| count + 1);
        speaking.is_some()
    }

    pub(crate) fn answered(&self) {
        let mut speaking = self.speaking.lock();
        *speaking = speaking.map(|count| count.saturating_sub(1));
        self.answered.notify_all();
    }

    fn hear_no_more(&self) {
        let mut speaking = self.speaking.lock();
        while speaking.is_some_and(|count| count > 0) {
            if self.answered.wait_for(&mut speaking, LAST_WORDS).timed_out() {
                break;
            }
        }
        *speaking = None;
    }

    /// Meets a request of whoever connected, once the first one is met.
    pub(crate) fn meet(&self, request: &Request) -> anyhow::Result<Outcome> {
        let mut state = self.state.lock();
        while state.stage == Stage::Starting {
            self.stage_changed.wait(&mut state);
        }
        let ends = state.stage == Stage::Ending;
        drop(state);
        if ends {
            return Ok(Outcome::Ending);
        }
        self.meet_now(request)
    }

    /// Meets the request for which the process was started.
    pub(crate) fn meet_first(&self, request: &Request) -> anyhow::Result<Answer> {
        match self.meet_now(request)? {
            Outcome::Answer(answer) => {
                self.state.lock().stage = Stage::Serving;
                self.stage_changed.notify_all();
                Ok(answer)
            }
            Outcome::Ending => Err(Failure::new("the process ended before it began").into()),
        }
    }

    fn meet_now(&self, request: &Request) -> anyhow::Result<Outcome> {
        if matches!(request, Request::Status) {
            return Ok(Outcome::Answer(Answer::Status(Box::new(self.status()))));
        }
        let changing = self.changing.lock();
        if self.state.lock().stage == Stage::Ending {
            return Ok(Outcome::Ending);
        }
        let answer = match request {
            Request::Record { file, interval, threads } => self.record(file.as_ref(), *interval, *threads)?,
            Request::Forget { file } => self.forget(file.as_ref())?,
            Request::Pause | Request::Resume => {
                let pause = matches!(request, Request::Pause);
                self.engine.set_paused(pause)?;
                self.state.lock().paused = pause;
                self.tell_keeper();
                Answer::Met
            }
            Request::SetThreads { count } => {
                store_threads(&self.writer, *count)?;
                self.engine.set_threads(*count)?;
                self.state.lock().threads = *count;
                self.write_metadata()?;
                self.tell_keeper();
                Answer::Met
            }
            Request::Act { act } => self.act(act)?,
            Request::Run { facts } => {
                keep_run(&self.writer, facts)?;
                Answer::Met
            }
            Request::Mount { candidates, file, allow_other, list_ticks } => {
                self.mount(candidates, file.as_ref(), *allow_other, *list_ticks)?
            }
            Request::Unmount { at, file } => self.unmount(at.as_ref(), file.as_ref())?,
            Request::Continue => {
                if self.is_idle() {
                    self.begin_to_end();
                }
                Answer::Met
            }
            Request::Stop => {
                self.begin_to_end();
                Answer::Met
            }
            Request::Status => Answer::Met,
        };
        drop(changing);
        Ok(Outcome::Answer(answer))
    }

    /// Everything that the store records is recorded while the root is written to, so that nothing unsaved is lost.
    fn act(&self, act: &Act) -> anyhow::Result<Answer> {
        self.state.lock().all = true;
        let acted = self.follow_recordings().and_then(|()| {
            let scope = self.scope.lock().clone();
            let recorder = self.engine.recorder();
            let progress = |done, of| {
                self.announcer.tell(&Line::Progress { text: steps(done, of) });
            };
            let place = Place {
                writer: &self.writer,
                scope: &scope,
                recorder: recorder.as_deref(),
                progress: &progress,
            };
            perform(act, &place)
        });
        self.state.lock().all = false;
        let followed = self.follow_recordings();
        let report = acted?;
        followed?;
        self.log.line(&report.said);
        Ok(Answer::Acted { report: Box::new(report) })
    }

    /// For `stats.json`.
    pub(super) fn numbers(&self) -> Value {
        let mut numbers = serde_json::to_value(self.status()).unwrap_or(Value::Null);
        if let (Value::Object(all), Some(recorder)) = (&mut numbers, self.engine.numbers()) {
            all.extend(recorder);
            all.insert("events_lost".to_owned(), self.writer.events_lost().into());
        }
        numbers
    }

    pub(super) fn is_idle(&self) -> bool {
        self.state.lock().recordings.is_empty() && self.mounts.is_empty()
    }

    pub(super) fn begin_to_end(&self) {
        self.state.lock().stage = Stage::Ending;
        self.stage_changed.notify_all();
        let heard = self.events.send(Event::End);
        debug_assert!(heard.is_ok(), "the process waits for its end");
    }

    pub(crate) fn status(&self) -> Status {
        let recorder = self.engine.status().unwrap_or_default();
        let state = self.state.lock();
        let mut warnings = state.notes.clone();
        if let RecorderState::RootGone { why } | RecorderState::Failing { why } = &recorder.state {
            warnings.push(why.clone());
        }
        if self.log.lost() > 0 {
            warnings.push(format!("{} of the log could not be written", counted(self.log.lost(), "line")));
        }
        warnings.extend(recorder.unread.iter().map(|(path, why)| format!("{path} cannot be read: {why}")));
        Status {
            pid: std::process::id(),
            root: self.scope.lock().root.display().to_string(),
            since: self.since.to_iso(),
            paused: state.paused,
            threads: state.threads,
            recordings: state.recordings.values().cloned().collect(),
            mounts: self.mounts.status(),
            ticks: self.announcer.ticks(),
            samples: recorder.samples,
            sampling_ms: recorder.sampling.as_secs_f64() * 1000.0,
            warnings,
        }
    }

    /// Ends in order. What fails on the way is told, and does not keep the rest from ending.
    pub(crate) fn end(&self) -> anyhow::Result<()> {
        self.state.lock().stage = Stage::Ending;
        self.stage_changed.notify_all();
        // A request under way is met first.
        let changing = self.changing.lock();
        self.upkeep.end();
        let stopped = self.engine.stop();
        let store = self.writer.store();
        let unmounted = self.mounts.take_away(store, None, None).map(drop);
        let kept_no_more = self.keeper.end();
        let recorded: Vec<Option<RelPath>> = self.state.lock().recordings.keys().cloned().collect();
        let cleaned: anyhow::Result<()> =
            recorded.iter().try_for_each(|file| metadata::remove(store, file.as_ref()).map(drop));
        let rested = self.writer.rest();
        self.announcer.end();
        let dir = store.layout().dir();
        let unnamed = socket::remove(dir).map_err(|error| {
            Failure::new(format!("could not remove the socket: {}", plain(&error))).at(dir).into()
        });
        drop(changing);
        self.hear_no_more();
        self.log.line("ends");
        stopped
            .and(unmounted)
            .and(kept_no_more)
            .and(cleaned)
            .and(unnamed)
            .and(rested.map_err(anyhow::Error::from))
    }
}
