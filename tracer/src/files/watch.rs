//! Listens to the kernel: one inotify watch per directory that is not excluded.
//!
//! inotify directly, not through the crate notify: that one drops the cookie by which the two halves of a rename find
//! each other, subscribes to opens, which a build makes by the thousand, and does not tell a queue that overflowed apart
//! from other trouble. What is left is small: a descriptor, a mask, and the table from a watch to its directory.
//!
//! Invariants:
//!   * One thread reads events, and what writers left under their paths; it never waits for anything else, so that the
//!     kernel's queue stays short while a group is committed.
//!   * A request passes through that thread, behind every event that was in the kernel's queue when it was made.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tickfs_store::path::RelPath;

use super::capture::{Eyes, Heard, Holding};
use super::engine::Message;
use super::place::Place;
use super::recorder::Request;
use super::stamps::{below, renamed};

/// So many events may wait in memory; beyond that they are dropped, which is told as an overflow.
const QUEUE_MAX: usize = 400_000;

/// An event as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) watch: i32,
    pub(crate) flags: ReadFlags,
    pub(crate) cookie: u32,
    pub(crate) name: Box<[u8]>,
}

/// The way to the recorder's thread.
#[derive(Debug)]
pub(crate) struct Wake {
    requests: Mutex<Option<Vec<Request>>>,
    event: OwnedFd,
    /// Events that were read and not handled yet.
    pub(crate) queued: AtomicUsize,
}

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { requests: Mutex::new(Some(Vec::new())), event, queued: AtomicUsize::new(0) })
    }

    /// `Err`: nobody listens any more.
    pub(crate) fn send(&self, request: Request) -> Result<(), ()> {
        self.requests.lock().as_mut().ok_or(())?.push(request);
        self.ring();
        Ok(())
    }

    fn ring(&self) {
        // It fails only when it has been rung 2^64 times and nobody came: then it rings already.
        if rustix::io::write(&self.event, &[1; 8]).is_err() {
            std::thread::yield_now();
        }
    }

    /// Ends the reading thread; whoever waits for an answer gets none.
    pub(crate) fn close(&self) {
        drop(self.requests.lock().take());
        self.ring();
    }
}

/// The watches of one root.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: Arc<OwnedFd>,
    dirs: BTreeMap<RelPath, i32>,
    by_watch: Arc<Mutex<HashMap<i32, RelPath>>>,
    place: Arc<Mutex<Option<Arc<Place>>>>,
    /// Directories for which there was no watch left.
    unwatched: BTreeSet<RelPath>,
    /// So many at most, whatever the kernel allows: for tests of the limit.
    pub(crate) limit: usize,
}

/// What became of a watch that was asked for.
#[derive(Debug)]
pub(crate) enum Added {
    Watched,
    /// The user's limit of watches is reached.
    Limit,
    Gone,
    Failed(io::Error),
}

impl Watch {
    pub(crate) fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self {
            inotify: Arc::new(inotify),
            dirs: BTreeMap::new(),
            by_watch: Arc::default(),
            place: Arc::default(),
            unwatched: BTreeSet::new(),
            limit: usize::MAX,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.by_watch.lock().len()
    }

    pub(crate) fn unwatched(&self) -> usize {
        self.unwatched.len()
    }

    pub(crate) fn dir(&self, watch: i32) -> Option<RelPath> {
        self.by_watch.lock().get(&watch).cloned()
    }

    /// The directory in which events are about paths.
    pub(crate) fn look_in(&self, place: &Arc<Place>) {
        *self.place.lock() = Some(Arc::clone(place));
    }

    pub(crate) fn add(&mut self, root: &Path, dir: &RelPath) -> Added {
        let mask = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR
            | WatchFlags::DONT_FOLLOW
            | WatchFlags::EXCL_UNLINK;
        // The root may be reached through a symlink; what is in it may not.
        let mask = if dir.is_root() { mask.difference(WatchFlags::DONT_FOLLOW) } else { mask };
        if self.by_watch.lock().len() >= self.limit && !self.dirs.contains_key(dir) {
            self.unwatched.insert(dir.clone());
            return Added::Limit;
        }
        match inotify::add_watch(&*self.inotify, root.join(dir.as_path()), mask) {
            Ok(watch) => {
                let before = self.by_watch.lock().insert(watch, dir.clone());
                if let Some(before) = before
                    && before != *dir
                    && self.dirs.get(&before) == Some(&watch)
                {
                    self.dirs.remove(&before);
                }
                self.dirs.insert(dir.clone(), watch);
                self.unwatched.remove(dir);
                Added::Watched
            }
            Err(Errno::NOSPC | Errno::NOMEM) => {
                self.unwatched.insert(dir.clone());
                Added::Limit
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Added::Gone,
            Err(error) => Added::Failed(error.into()),
        }
    }

    /// The kernel says that a watch is no more.
    pub(crate) fn forget(&mut self, watch: i32) {
        let dir = self.by_watch.lock().remove(&watch);
        if let Some(dir) = dir
            && self.dirs.get(&dir) == Some(&watch)
        {
            self.dirs.remove(&dir);
        }
    }

    /// A directory has another name, with all that is below it.
    pub(crate) fn rename(&mut self, from: &RelPath, to: &RelPath) {
        let moved: Vec<RelPath> = below(&self.dirs, from).map(|(dir, _)| dir.clone()).collect();
        for dir in moved.into_iter().chain([from.clone()]) {
            if let (Some(watch), Some(to)) = (self.dirs.remove(&dir), renamed(&dir, from, to)) {
                self.by_watch.lock().insert(watch, to.clone());
                self.dirs.insert(to, watch);
            }
        }
    }

    /// Ends the watches of a directory that left the root, and of all below it. `again`: something has its name by now,
    /// and the watches of that stay.
    pub(crate) fn remove(&mut self, dir: &RelPath, again: bool) {
        let stale = |(watch, at): (&i32, &RelPath)| {
            let current = self.dirs.get(at) == Some(watch);
            (at.starts_with(dir) && !(again && current)).then_some(*watch)
        };
        let stale: Vec<i32> = self.by_watch.lock().iter().filter_map(stale).collect();
        for watch in stale {
            self.forget(watch);
            self.end(watch);
        }
        self.unwatched.retain(|at| !at.starts_with(dir));
    }

    pub(crate) fn clear(&mut self) {
        self.remove(&RelPath::root(), false);
    }

    fn end(&self, watch: i32) {
        // A watch whose directory is gone has ended by itself.
        if inotify::remove_watch(&*self.inotify, watch).is_err() {
            std::hint::spin_loop();
        }
    }

    /// Starts the thread that reads.
    pub(crate) fn listen(&self, wake: Arc<Wake>, held: Arc<Holding>, to: Sender<Message>) -> io::Result<()> {
        let inotify = Arc::clone(&self.inotify);
        let eyes = Eyes { place: Arc::clone(&self.place), names: Arc::clone(&self.by_watch), held };
        std::thread::Builder::new().name("recorder-events".to_owned()).spawn(move || {
            hurry();
            if let Err(error) = read_all(&inotify, &wake, &eyes, &to) {
                // Whoever records hears it if it still runs; else nobody needs to.
                if to.send(Message::Deaf(error.to_string())).is_err() {
                    wake.close();
                }
                forward_requests(&wake, &to);
            }
        })?;
        Ok(())
    }
}

/// It does little, and what it comes too late for is lost: where it may, it goes before what merely computes.
fn hurry() {
    let thread = rustix::thread::gettid();
    // An ordinary user may not; then it waits its turn like any other.
    rustix::process::setpriority_process(Some(thread), -10).unwrap_or_default();
}

fn read_all(inotify: &OwnedFd, wake: &Wake, eyes: &Eyes, to: &Sender<Message>) -> io::Result<()> {
    let mut buffer = vec![MaybeUninit::uninit(); 64 * 1024];
    loop {
        let rang = {
            let mut fds = [PollFd::new(inotify, PollFlags::IN), PollFd::new(&wake.event, PollFlags::IN)];
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                waited => waited?,
            };
            fds[1].revents().contains(PollFlags::IN)
        };
        let requests = match rang {
            true => match take_requests(wake) {
                Some(requests) => requests,
                None => return Ok(()),
            },
            false => Vec::new(),
        };
        let mut portion = read_portion(inotify, &mut buffer)?;
        while !portion.is_empty() {
            let looked = eyes.look(&mut portion);
            // What came meanwhile is held against what was read. Behind a request everything that the kernel holds is
            // read first; else poll says when there is more.
            let next = match looked || !requests.is_empty() {
                true => read_portion(inotify, &mut buffer)?,
                false => Vec::new(),
            };
            eyes.doubt(&mut portion, &next);
            hand_on(portion, wake, to);
            portion = next;
        }
        for request in requests {
            if to.send(Message::Request(request)).is_err() {
                return Ok(());
            }
        }
    }
}

fn take_requests(wake: &Wake) -> Option<Vec<Request>> {
    let mut count = [0; 8];
    match rustix::io::read(&wake.event, &mut count) {
        Ok(_) | Err(_) => wake.requests.lock().as_mut().map(std::mem::take),
    }
}

/// What the kernel holds, as far as it fits.
fn read_portion(inotify: &OwnedFd, buffer: &mut [MaybeUninit<u8>]) -> io::Result<Vec<Heard>> {
    let mut reader = Reader::new(inotify.as_fd(), buffer);
    let mut events: Vec<Heard> = Vec::new();
    loop {
        let raw = match reader.next() {
            Ok(event) => Raw {
                watch: event.wd(),
                flags: event.events(),
                cookie: event.cookie(),
                name: event.file_name().map(|name| name.to_bytes()).unwrap_or_default().into(),
            },
            Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        if events.last().is_none_or(|last| last.raw != raw) {
            events.push(Heard { raw, captured: None });
        }
        if reader.is_buffer_empty() {
            break;
        }
    }
    Ok(events)
}

fn hand_on(mut events: Vec<Heard>, wake: &Wake, to: &Sender<Message>) {
    if wake.queued.fetch_add(events.len(), Ordering::Relaxed) > QUEUE_MAX {
        wake.queued.fetch_sub(events.len(), Ordering::Relaxed);
        let raw = Raw { watch: -1, flags: ReadFlags::QUEUE_OVERFLOW, cookie: 0, name: Box::default() };
        wake.queued.fetch_add(1, Ordering::Relaxed);
        events = vec![Heard { raw, captured: None }];
    }
    // When nobody takes them any more, the next request finds that out.
    if to.send(Message::Events(events)).is_err() {
        wake.close();
    }
}

/// Without a queue to read, requests still get through.
fn forward_requests(wake: &Wake, to: &Sender<Message>) {
    loop {
        let mut fds = [PollFd::new(&wake.event, PollFlags::IN)];
        if poll(&mut fds, None).is_err_and(|error| error != Errno::INTR) {
            return;
        }
        let Some(requests) = take_requests(wake) else { return };
        for request in requests {
            if to.send(Message::Request(request)).is_err() {
                return;
            }
        }
    }
}
