//! The recorder as the rest of tickfs holds it: a thread that records, and what one may ask of it.
//!
//! Invariant: a request is answered after everything that had happened to the root when it was made was looked at.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tickfs_store::ids::UnixMillis;
use tickfs_store::path::RelPath;
use tickfs_store::{Scope, StoreWriter};

use super::capture::Holding;
use super::engine::Engine;
use super::error::{Error, Result};
use super::report::{Announcement, Flushed, State, Status};
use super::watch::Wake;

/// Called on the recorder's thread, after what it tells is durable and visible: it must not wait for the recorder.
pub type Announce = Arc<dyn Fn(&Announcement) + Send + Sync>;
/// The clock that dates ticks.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

#[derive(Clone)]
pub struct Options {
    pub announce: Announce,
    pub clock: Clock,
    /// Sample at this interval instead of listening to the kernel: each named file, or the whole root.
    pub interval: Option<Duration>,
    /// Threads that read; without it what the configuration says, else up to four.
    pub threads: Option<NonZeroUsize>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interval, threads, .. } = self;
        f.debug_struct("Options")
            .field("interval", interval)
            .field("threads", threads)
            .finish_non_exhaustive()
    }
}

/// Records one root until it is stopped. Dropping it stops it.
#[derive(Debug)]
pub struct Recorder {
    handle: Arc<Handle>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Handle {
    post: Arc<Wake>,
    shared: Arc<Shared>,
}

/// What the recorder's thread shows while it works.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) status: Mutex<Status>,
    /// Since when something has been waiting to be recorded.
    pub(crate) waiting_since: Mutex<Option<Instant>>,
    pub(crate) held: Arc<Holding>,
}

/// What is asked of the recorder's thread.
pub(crate) enum Request {
    Flush(Sender<Result<Flushed>>),
    /// Flushes, and records nothing until as many releases came.
    Hold(Sender<Result<Flushed>>),
    Release,
    /// Looks at these paths, events or not; while held too.
    Look(Vec<RelPath>, Sender<Result<Flushed>>),
    Pause(Sender<Result<Flushed>>),
    Resume(Sender<Result<Flushed>>),
    SetThreads(NonZeroUsize),
    AddFile {
        path: RelPath,
        interval: Option<Duration>,
        reply: Sender<Result<Flushed>>,
    },
    RemoveFile {
        path: RelPath,
        reply: Sender<Result<Flushed>>,
    },
    Stop,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Request")
    }
}

impl Recorder {
    /// Writes the base, or compares the root with what was recorded before, and then records what happens. When it
    /// returns, the root is recorded as it stands.
    pub fn start(writer: Arc<StoreWriter>, scope: Scope, options: Options) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (engine, post) = Engine::open(writer, scope, options, Arc::clone(&shared))?;
        let (ready, started) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || engine.run(&ready))
            .map_err(Error::io("start a thread for", std::path::Path::new("the recorder")))?;
        let recorder = Self { handle: Arc::new(Handle { post, shared }), thread: Mutex::new(Some(thread)) };
        started.recv().map_err(|_ended| recorder.handle.stopped())??;
        Ok(recorder)
    }

    /// When it returns, everything that was on disk at the time of the call is recorded and durable, save what
    /// [`Flushed::unread`] names.
    pub fn flush(&self) -> Result<Flushed> {
        self.handle.ask(Request::Flush)
    }

    /// Flushes, and keeps the recorder from recording until the guard is dropped. What is written meanwhile and equals
    /// the cursor's tree afterwards makes no tick.
    pub fn hold(&self) -> Result<Held> {
        let flushed = self.handle.ask(Request::Hold)?;
        Ok(Held { handle: Arc::clone(&self.handle), flushed })
    }

    /// Records what is there, and then nothing until [`Self::resume`].
    pub fn pause(&self) -> Result<Flushed> {
        self.handle.ask(Request::Pause)
    }

    /// Records what happened meanwhile as one burst, and goes on.
    pub fn resume(&self) -> Result<Flushed> {
        self.handle.ask(Request::Resume)
    }

    /// 1 to 32 threads that read. They never change the order or the result.
    pub fn set_threads(&self, count: NonZeroUsize) -> Result<()> {
        if count.get() > 32 {
            return Err(Error::Refused { what: format!("there can be 1 to 32 threads, not {count}") });
        }
        self.handle.send(Request::SetThreads(count))
    }

    /// Records one more file of a store that records named files, with `None` by events. The scope on disk says so
    /// afterwards too. A file that joins begins with a `create` tick.
    pub fn add_file(&self, path: RelPath, interval: Option<Duration>) -> Result<Flushed> {
        self.handle.ask(|reply| Request::AddFile { path, interval, reply })
    }

    /// Records what a file is now, and then nothing of it any more. Its history and the scope stay.
    pub fn remove_file(&self, path: RelPath) -> Result<Flushed> {
        self.handle.ask(|reply| Request::RemoveFile { path, reply })
    }

    #[must_use]
    pub fn status(&self) -> Status {
        let lag = self.handle.shared.waiting_since.lock().map(|since| since.elapsed());
        let read_at_once = self.handle.shared.held.ever.load(Ordering::Relaxed);
        Status { lag, read_at_once, ..self.handle.shared.status.lock().clone() }
    }

    /// Records what is there and ends. The last group is durable when it returns.
    pub fn stop(&self) -> Result<()> {
        let Some(thread) = self.thread.lock().take() else { return Ok(()) };
        // A thread that has ended already cannot be told, and need not be.
        let told = self.handle.send(Request::Stop);
        match thread.join() {
            Ok(()) => told.or(Ok(())),
            Err(_panic) => Err(Error::Stopped { why: "its thread failed".to_owned() }),
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            self.handle.shared.status.lock().state = State::Failing { why: error.to_string() };
        }
    }
}

impl Handle {
    fn send(&self, request: Request) -> Result<()> {
        self.post.send(request).map_err(|()| self.stopped())
    }

    fn ask(&self, request: impl FnOnce(Sender<Result<Flushed>>) -> Request) -> Result<Flushed> {
        let (reply, answer) = mpsc::channel();
        self.send(request(reply))?;
        answer.recv().map_err(|_ended| self.stopped())?
    }

    fn stopped(&self) -> Error {
        let why = match &self.shared.status.lock().state {
            State::Failing { why } | State::RootGone { why } => why.clone(),
            _ => "it was told to".to_owned(),
        };
        Error::Stopped { why }
    }
}

/// While this lives, the recorder records nothing.
#[derive(Debug)]
pub struct Held {
    handle: Arc<Handle>,
    flushed: Flushed,
}

impl Held {
    /// What was recorded before the recorder held still.
    #[must_use]
    pub fn flushed(&self) -> &Flushed {
        &self.flushed
    }

    /// Looks at these paths themselves, and records what stands there: before they are overwritten, so that also what
    /// no event told (a write through mmap, another name of a hard link) is kept.
    pub fn look_at(&self, paths: &[RelPath]) -> Result<Flushed> {
        self.handle.ask(|reply| Request::Look(paths.to_vec(), reply))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A recorder that has ended records nothing anyway.
        if self.handle.send(Request::Release).is_err() {
            self.handle.shared.status.lock().state = State::Stopped;
        }
    }
}
