//! The tracer's end of the ring: reads records in the order in which places were taken.

use std::io;
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::atomic::Ordering;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::layout::{self, FIXED, Fixed, HEADER, Header, KIND_PAD};

const CAPACITY_MIN: usize = 64 * 1024;
const CAPACITY_MAX: usize = 1 << 30;
/// So many bytes are read before their place is given back: each time, the line of `tail` goes from this processor to the
/// writers' and back.
const GIVE_BACK: u64 = 16 * 1024;

/// The ring, made here and read here. The mapping ends with the value.
#[derive(Debug)]
pub(crate) struct Ring {
    base: *mut u8,
    capacity: usize,
    file: OwnedFd,
    /// Up to here records were read; the place is given back in larger pieces.
    read: u64,
    /// Up to here writers have it back: `tail`.
    freed: u64,
}

// SAFETY: the mapping belongs to the process, not to a thread; reading takes `&mut`.
unsafe impl Send for Ring {}

/// What was found at the end of what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Record,
    Nothing,
    /// Bytes that no agent writes: nothing behind them can be read.
    Damaged,
}

impl Ring {
    /// Room for so many bytes of records, made a power of two.
    pub(crate) fn new(wanted: usize) -> io::Result<Self> {
        let capacity = wanted.clamp(CAPACITY_MIN, CAPACITY_MAX).next_power_of_two();
        let file = rustix::fs::memfd_create("tickfs-ring", rustix::fs::MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&file, (HEADER + capacity) as u64)?;
        let (len, protection) = (HEADER + capacity, ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a new mapping where the kernel likes. JUSTIFICATION: shared memory is the point.
        let base = unsafe { mmap(ptr::null_mut(), len, protection, MapFlags::SHARED, &file, 0) }?;
        let ring = Self { base: base.cast(), capacity, file, read: 0, freed: 0 };
        ring.header().capacity.store(capacity as u64, Ordering::Release);
        ring.header().magic.store(layout::MAGIC, Ordering::Release);
        Ok(ring)
    }

    /// The memory, to be inherited by the traced program.
    pub(crate) fn file(&self) -> &OwnedFd {
        &self.file
    }

    fn header(&self) -> &Header {
        // SAFETY: the mapping begins with a header, and lives as long as `self`. JUSTIFICATION: shared memory.
        unsafe { &*self.base.cast::<Header>() }
    }

    /// Asks writers to ring the bell, or not to.
    pub(crate) fn set_sleeping(&self, sleeping: bool) {
        self.header().sleeping.0.store(u64::from(sleeping), Ordering::SeqCst);
    }

    /// Reads the next record into `payload`.
    pub(crate) fn next(&mut self, fixed: &mut Fixed, payload: &mut Vec<u8>) -> Next {
        loop {
            let offset = self.offset(self.read);
            // SAFETY: a multiple of 8 inside the mapping. JUSTIFICATION: shared memory.
            let word = unsafe { &*layout::commit_word(self.base, offset) };
            let len = word.load(Ordering::Acquire) as usize;
            if len == 0 {
                self.give_back();
                return Next::Nothing;
            }
            // The pad may be shorter than a record's fixed part.
            if len < 8 || layout::stride(len) > self.capacity - offset {
                return Next::Damaged;
            }
            let kind = self.bytes(offset, 8)[4];
            if kind != KIND_PAD {
                if len < FIXED {
                    return Next::Damaged;
                }
                let bytes = self.bytes(offset, len);
                *fixed = fixed_of(bytes);
                payload.clear();
                payload.extend_from_slice(&bytes[FIXED..]);
            }
            self.read += layout::stride(len) as u64;
            // What is given back is one piece.
            if self.read - self.freed >= GIVE_BACK || self.offset(self.read) == 0 {
                self.give_back();
            }
            if kind != KIND_PAD {
                return Next::Record;
            }
        }
    }

    fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        let from = self.base.wrapping_add(HEADER + offset);
        // SAFETY: the range was checked against the capacity, and its writer has said that it is done with it.
        // JUSTIFICATION: shared memory has no slice.
        unsafe { std::slice::from_raw_parts(from, len) }
    }

    fn offset(&self, place: u64) -> usize {
        usize::try_from(place).unwrap_or(0) & (self.capacity - 1)
    }

    /// Gives the place of what was read to the writers.
    fn give_back(&mut self) {
        let len = usize::try_from(self.read - self.freed).unwrap_or(0);
        let from = self.base.wrapping_add(HEADER + self.offset(self.freed));
        // SAFETY: all of it was read as records, which were checked, and it ends before the ring does; no writer may have it
        // before `tail` moves. JUSTIFICATION: shared memory.
        unsafe { ptr::write_bytes(from, 0, len) };
        self.freed = self.read;
        self.header().tail.0.store(self.freed, Ordering::Release);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone in this process, and nothing borrows from it. JUSTIFICATION: no safe way.
        let unmapped = unsafe { munmap(self.base.cast(), HEADER + self.capacity) };
        debug_assert!(unmapped.is_ok(), "a mapping that was made can be unmapped");
    }
}

fn fixed_of(bytes: &[u8]) -> Fixed {
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    Fixed {
        kind: bytes[4],
        tag: bytes[5],
        more: bytes[6] != 0,
        time_ns: u64::from(word(8)) | u64::from(word(12)) << 32,
        variable: word(16),
        site: word(20),
        thread: word(24),
        sql: word(28),
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::{KIND_MESSAGE, KIND_VALUE};
    use super::super::producer::{PIECE, Producer, thread_id};
    use super::*;
    use std::os::fd::IntoRawFd as _;
    use std::os::unix::net::UnixStream;

    fn pair() -> (Ring, Producer, UnixStream) {
        let ring = Ring::new(0).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let copy = ring.file().try_clone().unwrap();
        let producer = Producer::attach(copy.into_raw_fd(), theirs.into_raw_fd()).unwrap();
        (ring, producer, ours)
    }

    fn value(variable: u32, kind: u8) -> Fixed {
        Fixed { kind, variable, site: 7, thread: thread_id(), ..Fixed::default() }
    }

    #[test]
    fn what_is_written_is_read_in_order_however_often_the_ring_turns() {
        let (mut ring, producer, _bell) = pair();
        let (mut fixed, mut payload) = (Fixed::default(), Vec::new());
        assert_eq!(ring.next(&mut fixed, &mut payload), Next::Nothing);
        for round in 0..5_000_u32 {
            let long = vec![round.to_le_bytes()[0]; (round * 37 % 900) as usize];
            producer.push(value(round, KIND_VALUE), &long);
            assert_eq!(ring.next(&mut fixed, &mut payload), Next::Record);
            assert_eq!((fixed.variable, fixed.site, &payload), (round, 7, &long));
            assert!(fixed.time_ns > 0 && fixed.thread > 0);
        }
        assert_eq!(ring.next(&mut fixed, &mut payload), Next::Nothing);
    }

    #[test]
    fn a_full_ring_makes_the_writers_wait_and_loses_nothing() {
        let (mut ring, producer, _bell) = pair();
        const EACH: u32 = 20_000;
        std::thread::scope(|scope| {
            let producer = &producer;
            let writers = [0, 1].map(|thread| {
                scope.spawn(move || {
                    (0..EACH).for_each(|n| producer.push_short(value(thread, KIND_VALUE), n.to_le_bytes()))
                })
            });
            let (mut fixed, mut payload, mut next) = (Fixed::default(), Vec::new(), [0_u32; 2]);
            while next != [EACH; 2] {
                let over = writers.iter().all(|writer| writer.is_finished());
                match ring.next(&mut fixed, &mut payload) {
                    Next::Record => {
                        let expected = &mut next[fixed.variable as usize];
                        assert_eq!(payload, expected.to_le_bytes());
                        *expected += 1;
                    }
                    Next::Nothing if over => panic!("{next:?} is all that came"),
                    Next::Nothing => std::thread::yield_now(),
                    Next::Damaged => panic!("the ring is damaged"),
                }
            }
        });
    }

    #[test]
    fn a_long_payload_comes_in_pieces() {
        let (mut ring, producer, _bell) = pair();
        let long: Vec<u8> = (0..PIECE * 2 + 5).map(|n| n.to_le_bytes()[0]).collect();
        producer.push(value(1, KIND_MESSAGE), &long);
        let (mut fixed, mut payload, mut all) = (Fixed::default(), Vec::new(), Vec::new());
        for more in [true, true, false] {
            assert_eq!(ring.next(&mut fixed, &mut payload), Next::Record);
            assert_eq!(fixed.more, more);
            all.extend_from_slice(&payload);
        }
        assert_eq!(all, long);
    }

    #[test]
    fn a_writer_without_a_reader_stops_and_lives_on() {
        let (ring, producer, bell) = pair();
        drop(bell);
        for _ in 0..20_000 {
            producer.push(value(1, KIND_VALUE), &[0; 64]);
        }
        assert!(producer.is_stopped());
        drop(ring);
    }
}
