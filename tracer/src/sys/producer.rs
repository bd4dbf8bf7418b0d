//! The traced program's end of the ring.
//!
//! Rules of this end: it allocates nothing, and takes no lock. A full ring makes the writer wait, so that no event is lost;
//! when the reader is gone it stops tracing for good, and the program lives on.

use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::clock::now_ns;
pub(crate) use super::clock::thread_id;
use super::layout::{self, FIXED, Fixed, HEADER, Header, KIND_PAD};
use super::raw;

/// A payload longer than this comes in several records, all but the last with `more`.
pub(crate) const PIECE: usize = 16 * 1024;

pub(crate) struct Producer {
    base: *mut u8,
    capacity: usize,
    bell: c_int,
    stopped: AtomicBool,
    /// What `tail` was when somebody last looked: its line comes from the reader's processor, so it is looked at only when
    /// the ring seems full.
    tail: AtomicU64,
}

// SAFETY: all that is shared behind `base` is atomic, or belongs to the thread that took its place in the ring.
unsafe impl Sync for Producer {}
// SAFETY: as above; the mapping belongs to the process, not to a thread.
unsafe impl Send for Producer {}

impl Producer {
    /// Maps the ring; takes both descriptors over, and moves the bell out of the program's way.
    pub(crate) fn attach(ring: c_int, bell: c_int) -> Option<Self> {
        let mapped = Self::mapped(ring);
        let moved = raw::copied_aside(bell);
        for fd in [ring, bell] {
            // SAFETY: both were handed over to be closed here. JUSTIFICATION: the standard library needs an owner.
            unsafe { raw::close(fd) };
        }
        Some(Self { bell: moved?, ..mapped? })
    }

    /// Maps the ring, and wakes nobody who reads it.
    pub(crate) fn mapped(ring: c_int) -> Option<Self> {
        // SAFETY: asks the kernel for a mapping of its own choice. JUSTIFICATION: shared memory is the point.
        let header =
            unsafe { raw::mmap(ptr::null_mut(), HEADER, raw::PROT_READ_WRITE, raw::MAP_SHARED, ring, 0) };
        if header.addr() == usize::MAX {
            return None;
        }
        // SAFETY: the page was just mapped, and is aligned to itself. JUSTIFICATION: as above.
        let there = unsafe { &*header.cast::<Header>() };
        let capacity = usize::try_from(there.capacity.load(Ordering::Acquire)).ok()?;
        if there.magic.load(Ordering::Acquire) != layout::MAGIC || !capacity.is_power_of_two() {
            return None;
        }
        let len = HEADER.checked_add(capacity)?;
        // SAFETY: as for the header. JUSTIFICATION: as above.
        let base = unsafe { raw::mmap(ptr::null_mut(), len, raw::PROT_READ_WRITE, raw::MAP_SHARED, ring, 0) };
        (base.addr() != usize::MAX).then(|| Self {
            base: base.cast(),
            capacity,
            bell: -1,
            stopped: AtomicBool::new(false),
            tail: AtomicU64::new(0),
        })
    }

    fn header(&self) -> &Header {
        // SAFETY: `base` is a mapping that is never unmapped and begins with a header. JUSTIFICATION: shared memory.
        unsafe { &*self.base.cast::<Header>() }
    }

    /// No record is written from now on.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Writes a record, in pieces if it is long. Time is taken here.
    pub(crate) fn push(&self, fixed: Fixed, payload: &[u8]) {
        self.push_both(fixed, &[], payload);
    }

    /// The same with a payload in two parts; the first is short.
    pub(crate) fn push_both(&self, mut fixed: Fixed, head: &[u8], payload: &[u8]) {
        if self.is_stopped() {
            return;
        }
        fixed.time_ns = now_ns();
        let (mut head, mut rest) = (head, payload);
        while rest.len() > PIECE {
            let (piece, behind) = rest.split_at(PIECE);
            self.push_piece(Fixed { more: true, ..fixed }, head, piece);
            (head, rest) = (&[], behind);
        }
        self.push_piece(Fixed { more: false, ..fixed }, head, rest);
        self.wake();
    }

    /// The same for a payload whose length is known: the compiler leaves nothing of the loop and of the copying.
    #[inline(always)]
    pub(crate) fn push_short<const LEN: usize>(&self, mut fixed: Fixed, payload: [u8; LEN]) {
        const { assert!(LEN <= PIECE) }
        if self.is_stopped() {
            return;
        }
        fixed.time_ns = now_ns();
        self.push_piece(fixed, &[], &payload);
        self.wake();
    }

    /// One writer wakes the reader, once.
    #[inline(always)]
    fn wake(&self) {
        let sleeping = &self.header().sleeping.0;
        if self.bell >= 0 && sleeping.load(Ordering::Relaxed) != 0 && sleeping.swap(0, Ordering::Relaxed) != 0
        {
            self.ring_bell();
        }
    }

    #[inline(always)]
    fn push_piece(&self, fixed: Fixed, head: &[u8], payload: &[u8]) {
        let len = FIXED + head.len() + payload.len();
        let Some(offset) = self.take_place(layout::stride(len)) else { return };
        self.write(offset + 4, &spelled(fixed));
        self.write(offset + FIXED, head);
        self.write(offset + FIXED + head.len(), payload);
        self.commit(offset, len);
    }

    /// Takes so many bytes in one piece.
    #[inline(always)]
    fn take_place(&self, len: usize) -> Option<usize> {
        let place = &self.header().head.0;
        let head = place.load(Ordering::Relaxed);
        #[expect(clippy::cast_possible_truncation, reason = "only what lies in the ring is asked for")]
        let offset = head as usize & (self.capacity - 1);
        let end = head.wrapping_add(len as u64);
        // Where `head` is old, `tail` may be beyond it: then this is too much as well.
        let taken = end.wrapping_sub(self.tail.load(Ordering::Acquire));
        let fits = len <= self.capacity - offset && taken <= self.capacity as u64;
        match fits && place.compare_exchange(head, end, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            true => Some(offset),
            false => self.take_place_slowly(len),
        }
    }

    /// The same where the ring ends, or is full, or others write too; what is left before the ring's end is made a pad.
    #[cold]
    fn take_place_slowly(&self, len: usize) -> Option<usize> {
        let header = self.header();
        let mut head = header.head.0.load(Ordering::Relaxed);
        loop {
            let offset = usize::try_from(head).ok()? & (self.capacity - 1);
            let to_end = self.capacity - offset;
            let pad = if len > to_end { to_end } else { 0 };
            let end = head + (pad + len) as u64;
            let tail = header.tail.0.load(Ordering::Acquire);
            self.tail.store(tail, Ordering::Release);
            if tail > head {
                // Others took this place meanwhile, and it was read already.
                head = header.head.0.load(Ordering::Relaxed);
                continue;
            }
            if end - tail > self.capacity as u64 {
                self.wait()?;
                head = header.head.0.load(Ordering::Relaxed);
                continue;
            }
            match header.head.0.compare_exchange_weak(head, end, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if pad > 0 => {
                    let filler = Fixed { kind: KIND_PAD, ..Fixed::default() };
                    self.write(offset + 4, &spelled(filler)[..4]);
                    self.commit(offset, pad);
                    return Some(0);
                }
                Ok(_) => return Some(offset),
                Err(now) => head = now,
            }
        }
    }

    #[inline(always)]
    fn write(&self, offset: usize, bytes: &[u8]) {
        let to = self.base.wrapping_add(HEADER + offset);
        // SAFETY: `take_place` gave this range to this call alone, and it lies inside the mapping.
        // JUSTIFICATION: shared memory has no slice.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    fn commit(&self, offset: usize, len: usize) {
        // SAFETY: the offset is a multiple of 8 inside the mapping. JUSTIFICATION: shared memory.
        let word = unsafe { &*layout::commit_word(self.base, offset) };
        word.store(u32::try_from(len).unwrap_or(u32::MAX), Ordering::Release);
    }

    /// The ring is full: lets the reader run. `None`: there is none any more.
    #[cold]
    fn wait(&self) -> Option<()> {
        if self.is_stopped() {
            return None;
        }
        self.ring_bell();
        if self.has_ended(1) {
            self.stop();
            return None;
        }
        Some(())
    }

    /// Nobody reads any more.
    #[allow(dead_code, reason = "asked where the tracer may hold a lock")]
    pub(crate) fn is_abandoned(&self) -> bool {
        self.has_ended(0)
    }

    fn has_ended(&self, wait_ms: c_int) -> bool {
        let mut fd = raw::PollFd { fd: self.bell, events: 0, revents: 0 };
        // SAFETY: one valid entry, for as long as the call takes. JUSTIFICATION: no safe poll without a dependency.
        unsafe { raw::poll(&raw mut fd, 1, wait_ms) };
        fd.revents & (raw::POLLHUP | raw::POLLERR) != 0
    }

    #[cold]
    fn ring_bell(&self) {
        let flags = raw::MSG_DONTWAIT | raw::MSG_NOSIGNAL;
        // SAFETY: one byte of a constant is read. JUSTIFICATION: `send` alone does not raise SIGPIPE.
        unsafe { raw::send(self.bell, b"!".as_ptr().cast(), 1, flags) };
    }
}

/// All of a record's fixed part but the word that makes it count.
#[inline(always)]
fn spelled(fixed: Fixed) -> [u8; FIXED - 4] {
    let mut bytes = [0; FIXED - 4];
    bytes[0] = fixed.kind;
    bytes[1] = fixed.tag;
    bytes[2] = u8::from(fixed.more);
    bytes[4..12].copy_from_slice(&fixed.time_ns.to_le_bytes());
    for (place, word) in [fixed.variable, fixed.site, fixed.thread, fixed.sql].into_iter().enumerate() {
        bytes[12 + 4 * place..16 + 4 * place].copy_from_slice(&word.to_le_bytes());
    }
    bytes
}
