//! The one process that serves a store: it holds the lock, records, answers on the socket, and ends when nothing needs it.
//!
//! Invariants:
//!   * It listens before it does anything that takes long: who asks meanwhile waits, and knows for whom.
//!   * Requests that change what is recorded come one after the other; asking for the status waits for none of them.
//!   * Once it has begun to end, whoever asks is told so, and asks again of nobody or of the next.
//!   * At the end: the last group is durable, mounts are gone, `daemons/` says nothing of it, and the socket's name is free.
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
use tickfs_store::journal::entry::ItemType;
use tickfs_store::path::RelPath;
use tickfs_store::render::{RECORDING, RecordingConfig, THREADS, ThreadConfig, spell_file_path};
use tickfs_store::{Scope, Store, StoreWriter};
use tickfs_tracer::files::State as RecorderState;

use super::announce::{Announcer, Line};
use super::log::Log;
use super::message::{Absolute, Answer, Request};
use super::metadata::{self, Metadata};
use super::mounts::{Mounts, Wish};
use super::recorder::{Engine, Subject};
use super::status::{Recording, Status};
use super::upkeep::{FIRST_LOOK, Upkeep};
use super::{THREADS_DEFAULT, alive, connection, mounted, mountpoint, socket};
use crate::act::{Act, Place, keep_run, perform};
use crate::error::{Failure, plain};
use crate::now;
use crate::output::counted;
use crate::progress::steps;

/// So long an answer may take that is given at the end.
const LAST_WORDS: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(crate) struct Server {
    this: Weak<Self>,
    writer: Arc<StoreWriter>,
    scope: Mutex<Scope>,
    announcer: Arc<Announcer>,
    log: Arc<Log>,
    since: UnixMillis,
    /// Somebody watches on a terminal: no metadata tells of it.
    foreground: bool,
    /// Held by the one request that changes something.
    changing: Mutex<()>,
    engine: Engine,
    mounts: Mounts,
    upkeep: Upkeep,
    state: Mutex<State>,
    stage_changed: Condvar,
    /// Requests that were heard and not answered yet; `None` when no more are heard.
    speaking: Mutex<Option<usize>>,
    answered: Condvar,
    events: Sender<Event>,
}

#[derive(Debug, Default)]
struct State {
    stage: Stage,
    recordings: BTreeMap<Option<RelPath>, Recording>,
    /// All that the store records is to be recorded, although no mount shows it (yet).
    all: bool,
    paused: bool,
    threads: u8,
    notes: Vec<String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
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
            upkeep,
            state: Mutex::new(State { threads, ..State::default() }),
            stage_changed: Condvar::new(),
            speaking: Mutex::new(Some(0)),
            answered: Condvar::new(),
            events,
        });
        connection::accept(&server, listener)?;
        server.mounts.follow(&server.writer);
        server.clean_up()?;
        server.watch_mounts()?;
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
        let mut notes: Vec<String> = found.parked.iter().map(metadata::told_of_parked).collect();
        for (_, stale) in &found.recordings {
            metadata::remove(self.writer.store(), stale.file.as_ref())?;
            notes.push(format!("process {} was gone without a word", stale.pid));
        }
        notes.extend(mountpoint::clear_leftovers(self.writer.store(), &self.scope.lock().root)?);
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
                Answer::Met
            }
            Request::SetThreads { count } => {
                store_threads(&self.writer, *count)?;
                self.engine.set_threads(*count)?;
                self.state.lock().threads = *count;
                self.write_metadata()?;
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
            Request::Stop => {
                self.begin_to_end();
                Answer::Met
            }
            Request::Status => Answer::Met,
        };
        drop(changing);
        Ok(Outcome::Answer(answer))
    }

    fn record(
        &self,
        file: Option<&RelPath>,
        interval: Option<f64>,
        threads: Option<u8>,
    ) -> anyhow::Result<Answer> {
        let what = file.map_or_else(|| "the root".to_owned(), ToString::to_string);
        if self.state.lock().recordings.contains_key(&file.cloned()) {
            let pid = std::process::id();
            return Err(Failure::new(format!("process {pid} records {what} already"))
                .next("`tickfs daemon stop` ends that")
                .into());
        }
        self.widen_scope(file)?;
        keep_interval(&self.writer, file, interval)?;
        if let Some(threads) = threads {
            self.state.lock().threads = threads;
        }
        let since = now::now().to_iso();
        let recording = Recording { file: file.cloned(), interval, since, foreground: self.foreground };
        let before = self.state.lock().recordings.clone();
        self.state.lock().recordings.insert(file.cloned(), recording);
        let begun = self.follow_recordings().and_then(|()| self.write_metadata());
        if let Err(error) = begun {
            self.state.lock().recordings = before;
            metadata::remove(self.writer.store(), file)?;
            return Err(error);
        }
        let mut state = self.state.lock();
        let every = interval.map(|seconds| format!(" every {seconds} s")).unwrap_or_default();
        self.log.line(&format!("records {what}{every}"));
        Ok(Answer::Recording { threads: state.threads, notes: std::mem::take(&mut state.notes) })
    }

    fn forget(&self, file: Option<&RelPath>) -> anyhow::Result<Answer> {
        let was_recorded = self.state.lock().recordings.remove(&file.cloned()).is_some();
        if was_recorded {
            self.follow_recordings()?;
            let what = file.map_or_else(|| "the root".to_owned(), ToString::to_string);
            self.log.line(&format!("records {what} no more"));
        }
        // Where it was not recorded, this may be what a process left that is gone.
        metadata::remove(self.writer.store(), file)?;
        let ends = self.is_idle();
        if ends {
            self.begin_to_end();
        }
        Ok(Answer::Forgotten { was_recorded, ends })
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

    fn mount(
        &self,
        candidates: &[Absolute],
        file: Option<&RelPath>,
        allow_other: bool,
        list_ticks: Option<u64>,
    ) -> anyhow::Result<Answer> {
        if let Some(at) = self.mounts.shown_at(candidates, file) {
            return Ok(Answer::Mounted { at, notes: vec!["it is shown there already".to_owned()] });
        }
        self.state.lock().all = true;
        let mounted = self.mount_recorded(candidates, file, allow_other, list_ticks);
        self.state.lock().all = false;
        let at = match mounted {
            Ok(at) => at,
            Err(error) => {
                self.follow_recordings()?;
                return Err(error);
            }
        };
        self.log.line(&format!("shows history at {}", at.0.display()));
        Ok(Answer::Mounted { at, notes: std::mem::take(&mut self.state.lock().notes) })
    }

    fn mount_recorded(
        &self,
        candidates: &[Absolute],
        file: Option<&RelPath>,
        allow_other: bool,
        list_ticks: Option<u64>,
    ) -> anyhow::Result<Absolute> {
        self.follow_recordings()?;
        let store = self.writer.store();
        let root = self.scope.lock().root.clone();
        // A mount point in the root comes to be while nothing is recorded, so that it is no tick.
        let held = self.engine.hold()?;
        let mount_point = mountpoint::prepare(store, &root, candidates)?;
        let at = mount_point.at.clone();
        let this = self.this.clone();
        let extras: tickfs_fs::Extras = Arc::new(move || this.upgrade().map_or(Value::Null, |s| s.numbers()));
        let wish = Wish { root: &root, file, allow_other, list_ticks, extras };
        self.mounts.show(store, mount_point, wish)?;
        drop(held);
        Ok(at)
    }

    fn unmount(&self, at: Option<&Absolute>, file: Option<&RelPath>) -> anyhow::Result<Answer> {
        let held = self.engine.hold()?;
        let count = self.mounts.take_away(self.writer.store(), at, file);
        drop(held);
        let count = count?;
        self.log.line(&format!("{} taken away", counted(count, "mount")));
        Ok(Answer::Unmounted { count, ends: self.after_a_mount_ended()? })
    }

    /// Whether that was the end of all there is to do.
    fn after_a_mount_ended(&self) -> anyhow::Result<bool> {
        self.follow_recordings()?;
        let ends = self.is_idle();
        if ends {
            self.begin_to_end();
        }
        Ok(ends)
    }

    /// Notices mounts that somebody else takes away.
    fn watch_mounts(&self) -> anyhow::Result<()> {
        let this = self.this.clone();
        let changed = move || {
            let Some(server) = this.upgrade() else { return false };
            if let Err(error) = server.look_at_mounts() {
                server.log.line(&format!("could not see to the mounts: {error:#}"));
            }
            true
        };
        let watch = move || mounted::on_change(changed);
        std::thread::Builder::new()
            .name("mounts".to_owned())
            .spawn(watch)
            .context("could not start a thread")?;
        Ok(())
    }

    fn look_at_mounts(&self) -> anyhow::Result<()> {
        let _changing = self.changing.lock();
        if self.state.lock().stage != Stage::Serving {
            return Ok(());
        }
        let held = self.engine.hold()?;
        let count = self.mounts.forget_vanished(self.writer.store());
        drop(held);
        if count? > 0 {
            self.log.line("a mount was taken away by somebody else");
            self.after_a_mount_ended()?;
        }
        Ok(())
    }

    /// For `stats.json`.
    fn numbers(&self) -> Value {
        let mut numbers = serde_json::to_value(self.status()).unwrap_or(Value::Null);
        if let (Value::Object(all), Some(recorder)) = (&mut numbers, self.engine.numbers()) {
            all.extend(recorder);
        }
        numbers
    }

    /// Makes the recorder record what there are recordings of, and nothing else.
    fn follow_recordings(&self) -> anyhow::Result<()> {
        let (recordings, threads, all) = {
            let state = self.state.lock();
            (state.recordings.clone(), state.threads, state.all)
        };
        let scope = self.scope.lock().clone();
        let mut files: BTreeMap<RelPath, Option<f64>> = BTreeMap::new();
        let shown = all || !self.mounts.is_empty();
        // What is shown is recorded: everything that the store records.
        if let Some(all) = scope.files.as_ref().filter(|_| shown) {
            files.extend(all.iter().map(|file| (file.clone(), None)));
        }
        files.extend(recordings.iter().filter_map(|(file, r)| Some((file.clone()?, r.interval))));
        let whole = scope.files.is_none() && (shown || recordings.contains_key(&None));
        self.engine.follow(&self.writer, &self.announcer, Subject { scope, whole, files }, threads)
    }

    /// A store that records some files is made to record one more.
    fn widen_scope(&self, file: Option<&RelPath>) -> anyhow::Result<()> {
        let mut scope = self.scope.lock();
        let Some(file) = file else {
            return match scope.files {
                None => Ok(()),
                Some(_) => Err(Failure::new("this store records single files alone")
                    .at(&scope.root)
                    .next("`tickfs init` there makes it record the whole directory")
                    .into()),
            };
        };
        if let Some(files) = &scope.files
            && !files.contains(file)
        {
            let wider = files.iter().cloned().chain([file.clone()]).collect();
            let wider = Scope { root: scope.root.clone(), files: Some(wider) };
            self.writer.set_scope(&wider)?;
            *scope = wider;
        }
        Ok(())
    }

    fn write_metadata(&self) -> anyhow::Result<()> {
        if self.foreground {
            return Ok(());
        }
        let pid = std::process::id();
        let process_began = alive::began(pid).context("could not look at this process")?;
        let (recordings, threads) = {
            let state = self.state.lock();
            (state.recordings.clone(), state.threads)
        };
        for (file, Recording { interval, since, .. }) in recordings {
            let metadata = Metadata { file, pid, process_began, interval, start_time: since, threads };
            metadata::write(self.writer.store(), &metadata)?;
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.state.lock().recordings.is_empty() && self.mounts.is_empty()
    }

    fn begin_to_end(&self) {
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
        stopped.and(unmounted).and(cleaned).and(unnamed).and(rested.map_err(anyhow::Error::from))
    }
}

/// The number of threads that somebody set, in the store or its configuration, or the default.
pub(crate) fn stored_threads(store: &Store) -> anyhow::Result<u8> {
    let row = store.view()?.entity(&kind(THREADS), "root")?;
    let stored = match row {
        Some(row) => serde_json::from_str::<ThreadConfig>(&row.body)?.daemon_threads,
        None => store.config().record.threads,
    };
    Ok(stored.unwrap_or(THREADS_DEFAULT))
}

pub(crate) fn store_threads(writer: &StoreWriter, count: u8) -> anyhow::Result<()> {
    let config = ThreadConfig { daemon_threads: Some(count) };
    Ok(writer.mutate(now::now(), move |m| m.put_entity(&kind(THREADS), "root", &config))?)
}

fn keep_interval(writer: &StoreWriter, file: Option<&RelPath>, interval: Option<f64>) -> anyhow::Result<()> {
    let id = file.map_or_else(|| ".".to_owned(), spell_file_path);
    let config = RecordingConfig { interval };
    writer.mutate(now::now(), move |m| {
        let kept = m.entity(&kind(RECORDING), &id)?;
        let same = kept.is_some_and(|body| {
            serde_json::from_str::<RecordingConfig>(&body).ok().as_ref() == Some(&config)
        });
        if same { Ok(()) } else { m.put_entity(&kind(RECORDING), &id, &config) }
    })?;
    Ok(())
}

fn kind(name: &'static str) -> ItemType {
    ItemType::parse(name).expect("it is lower-case and short, because it is a constant")
}
