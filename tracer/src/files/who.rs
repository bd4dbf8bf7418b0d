//! Who wrote a file, where the kernel tells: to root, fanotify names the process that closed it.
//!
//! Invariants:
//!   * Only directories that are watched are marked: what else is written on the machine wakes nobody here.
//!   * It is a courtesy: where it fails, or comes too late, the tick is recorded without it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::io::Errno;
use tickfs_store::journal::entry::Who;

/// Whoever wrote a file longer ago did not make what is recorded now.
const FRESH: Duration = Duration::from_secs(5);
/// More than one burst holds.
const KNOWN_MAX: usize = 65_536;

/// By inode, so that it holds for a temp file that is renamed onto its path too.
type Known = Mutex<HashMap<u64, Wrote>>;

#[derive(Debug)]
struct Wrote {
    who: Who,
    at: Instant,
    /// Another process wrote it too, since it was told last.
    others: bool,
}

/// Knows who wrote lately.
#[derive(Debug)]
pub(crate) struct Writers {
    fanotify: Arc<Fanotify>,
    known: Arc<Known>,
    end: Arc<OwnedFd>,
}

impl Writers {
    /// `None` where the kernel does not tell us.
    pub(crate) fn listen() -> Option<Self> {
        let flags = InitFlags::FAN_CLASS_NOTIF
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK
            | InitFlags::FAN_UNLIMITED_MARKS;
        let opened = EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC | EventFFlags::O_LARGEFILE;
        let fanotify = Arc::new(Fanotify::init(flags, opened).ok()?);
        let end = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).ok()?);
        let writers = Self { fanotify, known: Arc::default(), end };
        let (fanotify, known, end) =
            (Arc::clone(&writers.fanotify), Arc::clone(&writers.known), Arc::clone(&writers.end));
        let thread = std::thread::Builder::new().name("recorder-who".to_owned());
        thread.spawn(move || note_writers(&fanotify, &known, &end)).ok()?;
        Some(writers)
    }

    /// What is closed in this directory is noted from here on. Where that is refused (it is gone again, or lies on a
    /// filesystem that cannot), nobody is named for what is written there.
    pub(crate) fn mark(&self, dir: &Path) {
        let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_ONLYDIR;
        let mask = MaskFlags::FAN_CLOSE_WRITE | MaskFlags::FAN_EVENT_ON_CHILD;
        self.fanotify.mark(flags, mask, rustix::fs::CWD, Some(dir)).unwrap_or_default();
    }

    /// Who closed the file with this inode last, not long ago. Told once.
    pub(crate) fn of(&self, ino: u64) -> Option<Who> {
        let Wrote { who, at, .. } = self.known.lock().remove(&ino)?;
        (at.elapsed() < FRESH).then_some(who)
    }

    /// Who closed it each time since it was told last, if that was one and the same process.
    pub(crate) fn only_one_of(&self, ino: u64) -> Option<Who> {
        let known = self.known.lock();
        let Wrote { who, at, others } = known.get(&ino)?;
        (at.elapsed() < FRESH && !others).then(|| who.clone())
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        // A full counter rings already.
        if rustix::io::write(&*self.end, &[1; 8]).is_err() {
            std::thread::yield_now();
        }
    }
}

fn note_writers(fanotify: &Fanotify, known: &Known, end: &OwnedFd) {
    loop {
        let mut fds =
            [PollFd::from_borrowed_fd(fanotify.as_fd(), PollFlags::IN), PollFd::new(end, PollFlags::IN)];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) if !fds[1].revents().is_empty() => return,
            Ok(_) => {}
        }
        // An event that cannot be opened any more is passed over.
        let Ok(events) = fanotify.read_events() else { continue };
        for event in events {
            let stat = event.fd().map(rustix::fs::fstat);
            if let (Some(Ok(stat)), Ok(pid)) = (stat, u32::try_from(event.pid())) {
                let mut known = known.lock();
                if known.len() >= KNOWN_MAX {
                    known.clear();
                }
                let others =
                    known.get(&stat.st_ino).is_some_and(|before| before.others || before.who.pid != pid);
                let who = Who { pid, comm: name_of(pid) };
                known.insert(stat.st_ino, Wrote { who, at: Instant::now(), others });
            }
        }
    }
}

/// Empty for a process that has ended by now.
fn name_of(pid: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}
