//! The tracer's part in seeing raw writes, in the modes in which they happen before they are seen.
//!
//! Its thread looks at the watched memory of the program, and tells what differs from what is known, under the lock that the
//! program's hooks take too: so each byte is told of once, in the order in which it is found. In `Mode::Handler` it also
//! takes the faults: it opens the page, so that the thread goes on, closes it a little later, and looks at it then.
//!
//! Rules of the thread: it never waits for the lock, because whoever has it may be waiting for an answer; and it touches the
//! memory through a mapping of its own, which nobody protects.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags, SocketType,
    recvmsg, send, socketpair,
};

use super::consumer::Ring;
pub(crate) use super::fault::Mode;
use super::fault::arena::{Arena, PAGE, Slot};
use super::fault::protect::{QUESTION, protect, written};
use super::fault::{Place, say};
use super::producer::Producer;

/// So often memory is looked at; less often where a look takes long.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A page stays open so long: time enough for the thread that waits to go on.
const OPEN_FOR: Duration = Duration::from_micros(100);
/// The longest, where the same page is written again and again.
const OPEN_LONGEST: Duration = Duration::from_millis(5);
/// A hook that is not over by then tells what is left.
const HOOKED_LONGEST: Duration = Duration::from_secs(1);
/// Who writes again so soon after a page was closed is writing on.
const AGAIN: Duration = Duration::from_millis(1);

const GIVEN_UP: &[u8] =
    br#"{"note":"the system no longer lets memory be protected: from here on it is looked at every 10 ms"}"#;

pub(crate) struct Keeper {
    arena: Arc<Arena>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Looks at the memory of this file, and writes what it finds into the ring. Gives the program's end of its channel too.
    pub(crate) fn start(file: &OwnedFd, ring: &Ring, mode: Mode) -> std::io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let (channel, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::io::ioctl_fionbio(&channel, true)?;
        let ring = Producer::mapped(ring.file().as_raw_fd());
        let arena = ring.and_then(|ring| Arena::of_tracer(file.as_raw_fd(), mode, ring));
        let arena = Arc::new(arena.ok_or(std::io::ErrorKind::OutOfMemory)?);
        let over = Arc::new(AtomicBool::new(false));
        let looking = Looking {
            arena: Arc::clone(&arena),
            over: Arc::clone(&over),
            channel: Some(channel),
            mode,
            base: 0,
            given: None,
            found: BTreeMap::new(),
            open: Vec::new(),
            before: Vec::new(),
            open_for: OPEN_FOR,
            next: Instant::now(),
        };
        let thread = std::thread::Builder::new().name("memory".to_owned()).spawn(|| looking.run())?;
        Ok((Self { arena, over, thread: Some(thread) }, theirs))
    }

    /// The program has ended: what it has left is looked at, and told.
    pub(crate) fn finish(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Nothing comes any more.
    pub(crate) fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.finish();
        // Nobody may be reading any more.
        self.arena.ring().into_iter().for_each(Producer::stop);
        let ended = self.thread.take().map(JoinHandle::join);
        debug_assert!(ended.is_none_or(|ended| ended.is_ok()), "the thread that looks does not panic");
    }
}

/// What is to be told of a value: where in the memory it differs, as far as is known.
struct Found {
    from: usize,
    to: usize,
    /// Who wrote; 0: not one alone.
    thread: u32,
    since: Instant,
}

/// What the thread has.
struct Looking {
    arena: Arc<Arena>,
    over: Arc<AtomicBool>,
    channel: Option<OwnedFd>,
    mode: Mode,
    /// Where the program has the memory.
    base: usize,
    /// With what it is watched: the program's faults, or the map of its pages.
    given: Option<OwnedFd>,
    /// By slot.
    found: BTreeMap<u32, Found>,
    /// Pages that are open, and the threads that have opened them.
    open: Vec<(usize, u32)>,
    /// Those that were open before.
    before: Vec<(usize, u32)>,
    open_for: Duration,
    /// When something is due: a look, or the closing of what is open.
    next: Instant,
}

impl Looking {
    fn run(mut self) {
        while !self.over.load(Ordering::Acquire) {
            self.wait();
            self.answer();
            match self.mode {
                Mode::Handler => self.handle(),
                _ if Instant::now() >= self.next => self.look(),
                _ => {}
            }
            self.tell();
        }
        let arena = &self.arena;
        let _held = arena.hold_what_is_left();
        for slot in arena.slots().filter(|&slot| arena.is_closed(slot)) {
            arena.record(Arena::offset(slot), arena.size(slot), Place::default(), false);
        }
    }

    fn wait(&self) {
        let due = match self.mode {
            Mode::Handler if self.open.is_empty() => LOOK_EVERY,
            _ => self.next.saturating_duration_since(Instant::now()),
        };
        let due = if self.found.is_empty() { due } else { due.min(OPEN_FOR) };
        let timeout = Timespec::try_from(due).unwrap_or_default();
        let faults = self.given.as_ref().filter(|_| self.mode == Mode::Handler);
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(2);
        fds.extend(self.channel.iter().chain(faults).map(|fd| PollFd::new(fd, PollFlags::IN)));
        // Interrupted or failed: either way it is time to look.
        if poll(&mut fds, Some(&timeout)).is_err() {}
    }

    /// Does what the program asks for.
    fn answer(&mut self) {
        while let Some(channel) = &self.channel {
            let mut bytes = [0; QUESTION];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let came = match recvmsg(channel, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(came) => came.bytes,
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_closed) => 0,
            };
            let files = control.drain().flat_map(|message| match message {
                RecvAncillaryMessage::ScmRights(files) => files.collect(),
                _ => Vec::new(),
            });
            let file = files.last();
            let word = |at: usize| usize::from_le_bytes(*bytes[at..].first_chunk().unwrap_or(&[0; 8]));
            let done = match came {
                0 => {
                    self.channel = None;
                    return;
                }
                8 => {
                    (self.base, self.given) = (word(0), file);
                    self.given.is_some() || self.mode == Mode::Coarse
                }
                QUESTION => {
                    let (at, len) = (word(0), word(8));
                    let from = at.wrapping_sub(self.base);
                    self.open.retain(|&(page, _thread)| page.wrapping_sub(from) >= len);
                    self.given.as_ref().is_some_and(|file| protect(file.as_raw_fd(), at, len, bytes[16] != 0))
                }
                _ => false,
            };
            // Whoever asked may be gone already.
            if send(channel, &[u8::from(done)], SendFlags::NOSIGNAL).is_err() {}
        }
    }

    // Faults

    fn handle(&mut self) {
        let Some(file) = &self.given else { return };
        const ONE: usize = 32;
        const FAULT: u8 = 0x12;
        let mut messages = [0; ONE * 16];
        let came = rustix::io::read(file, &mut messages).unwrap_or(0);
        for message in messages[..came].chunks_exact(ONE).filter(|message| message[0] == FAULT) {
            let word = |at: usize| usize::from_le_bytes(*message[at..].first_chunk().unwrap_or(&[0; 8]));
            let page = word(16).wrapping_sub(self.base) / PAGE * PAGE;
            let thread = u32::try_from(word(24) & 0xFFFF_FFFF).unwrap_or(0);
            if self.open.is_empty() {
                let goes_on =
                    self.next.elapsed() < AGAIN && self.before.iter().any(|&(known, _)| known == page);
                self.open_for = if goes_on { (self.open_for * 2).min(OPEN_LONGEST) } else { OPEN_FOR };
                self.next = Instant::now() + self.open_for;
            }
            self.open.push((page, thread));
            if !protect(file.as_raw_fd(), self.base + page, PAGE, false) {
                return self.give_up();
            }
        }
        if !self.open.is_empty() && Instant::now() >= self.next {
            self.close();
        }
    }

    /// Whoever writes from here on waits again; what was written until here is looked at.
    fn close(&mut self) {
        self.next = Instant::now();
        self.before = std::mem::take(&mut self.open);
        for (page, thread) in self.before.clone() {
            let slot = self.arena.slot_at(page).filter(|&slot| self.arena.is_closed(slot));
            let (Some(slot), Some(file)) = (slot, &self.given) else { continue };
            if !protect(file.as_raw_fd(), self.base + page, PAGE, true) {
                return self.give_up();
            }
            self.note(slot, page, page + PAGE, thread);
        }
    }

    /// Without the descriptor nobody waits, and nothing is protected: memory is compared.
    fn give_up(&mut self) {
        const NO_SUCH_PROCESS: i32 = 3;
        let error = std::io::Error::last_os_error();
        // A program that has just ended needs no protection, and there is nothing to be said of it.
        if error.raw_os_error() != Some(NO_SUCH_PROCESS) {
            say(self.arena.ring(), GIVEN_UP);
        }
        (self.mode, self.given) = (Mode::Coarse, None);
        self.open.clear();
    }

    // Looks

    fn look(&mut self) {
        let began = Instant::now();
        let end = self.base + self.arena.used();
        let marked = self.given.as_ref().and_then(|map| written(map.as_raw_fd(), self.base, end));
        match marked {
            Some(regions) => {
                for region in regions {
                    let at = |address: u64| usize::try_from(address).unwrap_or(0).saturating_sub(self.base);
                    for page in (at(region.start)..at(region.end)).step_by(PAGE) {
                        if let Some(slot) = self.arena.slot_at(page) {
                            self.note(slot, page, page + PAGE, 0);
                        }
                    }
                }
            }
            None => {
                let arena = Arc::clone(&self.arena);
                for slot in arena.slots().filter(|&slot| arena.is_closed(slot)) {
                    if let Some((at, len)) = arena.difference(Arena::offset(slot), arena.size(slot)) {
                        self.note(slot, at, at + len, 0);
                    }
                }
            }
        }
        self.next = Instant::now() + LOOK_EVERY.max(began.elapsed() * 10);
    }

    fn note(&mut self, slot: Slot, from: usize, to: usize, thread: u32) {
        let found = self.found.entry(slot.0).or_insert(Found { from, to, thread, since: Instant::now() });
        (found.from, found.to) = (found.from.min(from), found.to.max(to));
        if found.thread != thread {
            found.thread = 0;
        }
    }

    /// What cannot be told now, because somebody has the lock or is about to tell of it, is told a little later.
    fn tell(&mut self) {
        let arena = &self.arena;
        self.found.retain(|&slot, found| {
            if arena.is_hooked(Slot(slot)) && found.since.elapsed() < HOOKED_LONGEST {
                return true;
            }
            let Some(_held) = arena.try_hold() else { return true };
            if arena.is_closed(Slot(slot)) {
                let place = Place { thread: found.thread, ..Place::default() };
                arena.record(found.from, found.to - found.from, place, false);
            }
            false
        });
    }
}
