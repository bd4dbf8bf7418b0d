//! Which thread a record is of, and when it was made.
//!
//! To ask the kernel's clock takes longer than all the rest of a record. So it is asked once in about a millisecond, and in
//! between the processor's own counter says how much later it is. The counter is trusted no further than it was checked: its
//! pace is measured between two askings, and again at each; a pace that is not the same as before is not used. In a thread,
//! no record has an earlier time than the one before it, unless the clock itself was put back.

use std::cell::Cell;
#[cfg(target_arch = "x86_64")]
use std::sync::atomic::{AtomicU8, Ordering, compiler_fence};

use super::raw;

struct Thread {
    /// 0: not asked yet.
    id: Cell<u32>,
    /// The counter when the clock was asked; 0: never.
    #[cfg(target_arch = "x86_64")]
    ticks: Cell<u64>,
    /// What the clock said.
    #[cfg(target_arch = "x86_64")]
    asked_ns: Cell<u64>,
    /// Nanoseconds of a tick, in 2^-32; 0: not known.
    #[cfg(target_arch = "x86_64")]
    pace: Cell<u64>,
    /// The time that was told last.
    #[cfg(target_arch = "x86_64")]
    told_ns: Cell<u64>,
}

thread_local!(static THREAD: Thread = const {
    Thread {
        id: Cell::new(0),
        #[cfg(target_arch = "x86_64")]
        ticks: Cell::new(0),
        #[cfg(target_arch = "x86_64")]
        asked_ns: Cell::new(0),
        #[cfg(target_arch = "x86_64")]
        pace: Cell::new(0),
        #[cfg(target_arch = "x86_64")]
        told_ns: Cell::new(0),
    }
});

/// The kernel's number of this thread.
#[inline(always)]
pub(crate) fn thread_id() -> u32 {
    THREAD.with(|thread| {
        if thread.id.get() == 0 {
            // SAFETY: takes no arguments, and cannot fail. JUSTIFICATION: the standard library does not tell it.
            let found = unsafe { raw::syscall(raw::SYS_GETTID) };
            thread.id.set(u32::try_from(found).unwrap_or(0));
        }
        thread.id.get()
    })
}

/// Nanoseconds of the real time.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    #[cfg(target_arch = "x86_64")]
    return THREAD.with(Thread::now_ns);
    #[cfg(not(target_arch = "x86_64"))]
    asked_ns()
}

fn asked_ns() -> u64 {
    let mut time = raw::Timespec { seconds: 0, nanos: 0 };
    // SAFETY: writes to a valid place. JUSTIFICATION: the standard library's clock is this and a division more.
    unsafe { raw::clock_gettime(raw::CLOCK_REALTIME, &raw mut time) };
    (time.seconds.cast_unsigned()).wrapping_mul(1_000_000_000).wrapping_add(time.nanos.cast_unsigned())
}

#[cfg(target_arch = "x86_64")]
impl Thread {
    /// For so many ticks the clock is not asked again: about a millisecond.
    const TRUSTED: u64 = 1 << 21;
    /// A pace is measured over at least so many, and at most so many.
    const MEASURED: std::ops::Range<u64> = 1 << 19..1 << 34;
    /// The clock answers within so many, or the thread was interrupted meanwhile.
    const ANSWERED: u64 = 1 << 11;
    /// From one measured pace to the next it may change by this part of it.
    const STEADY: u64 = 1 << 10;
    /// Time never goes back by less than this: it is the counter that was ahead.
    const BACK: u64 = 1_000_000;

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        let passed = ticks().wrapping_sub(self.ticks.get());
        let pace = self.pace.get();
        if pace == 0 || passed >= Self::TRUSTED {
            return self.ask();
        }
        self.tell(self.asked_ns.get() + ((passed * pace) >> 32))
    }

    #[inline(always)]
    fn tell(&self, now: u64) -> u64 {
        let told = self.told_ns.get();
        let now = if now < told && told - now < Self::BACK { told } else { now };
        self.told_ns.set(now);
        now
    }

    #[cold]
    fn ask(&self) -> u64 {
        let (before, now, after) = (ticks(), asked_ns(), ticks());
        if !is_invariant() {
            return self.tell(now);
        }
        let passed = before.wrapping_sub(self.ticks.get());
        if self.ticks.get() != 0 && passed < Self::MEASURED.start {
            return self.tell(now);
        }
        let measured = self.measured(now, passed);
        let before_that = self.pace.get();
        // A handler of a signal may come in between: it asks the clock itself.
        self.pace.set(0);
        compiler_fence(Ordering::SeqCst);
        let answered = after.wrapping_sub(before) < Self::ANSWERED;
        self.ticks.set(if answered { before } else { 0 });
        self.asked_ns.set(now);
        compiler_fence(Ordering::SeqCst);
        let steady = before_that == 0 || measured.abs_diff(before_that) < before_that / Self::STEADY;
        self.pace.set(if answered && steady { measured } else { 0 });
        self.tell(now)
    }

    /// The pace since the clock was asked; 0 if it cannot be told.
    fn measured(&self, now: u64, passed: u64) -> u64 {
        if self.ticks.get() == 0 || !Self::MEASURED.contains(&passed) {
            return 0;
        }
        let later = u128::from(now.saturating_sub(self.asked_ns.get()));
        // No processor counts slower than one tick in four nanoseconds.
        u64::try_from((later << 32) / u128::from(passed)).ok().filter(|&pace| pace < 4 << 32).unwrap_or(0)
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn ticks() -> u64 {
    // SAFETY: every processor of this kind has the counter. JUSTIFICATION: there is no safe way to it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Whether the processor says that its counter has one pace, whatever it does. That is asked once: it is dear in a guest.
#[cfg(target_arch = "x86_64")]
fn is_invariant() -> bool {
    static IS: AtomicU8 = AtomicU8::new(NOT_ASKED);
    const NOT_ASKED: u8 = 2;
    if IS.load(Ordering::Relaxed) == NOT_ASKED {
        const POWER: u32 = 0x8000_0007;
        let most = std::arch::x86_64::__cpuid(0x8000_0000).eax;
        let is = most >= POWER && std::arch::x86_64::__cpuid(POWER).edx & 1 << 8 != 0;
        IS.store(u8::from(is), Ordering::Relaxed);
    }
    IS.load(Ordering::Relaxed) == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_that_of_the_clock_and_never_goes_back() {
        let (mut last, mut counted, mut far) = (0, 0, 0);
        let begun = std::time::Instant::now();
        while begun.elapsed() < std::time::Duration::from_millis(300) {
            let (before, now, after) = (asked_ns(), now_ns(), asked_ns());
            assert!(now >= last, "{now} after {last}");
            last = now;
            counted += 1;
            // Where the counter is off by this much, the clock itself is being slewed.
            far += u64::from(now + 20_000 < before || now > after + 20_000);
        }
        assert!(counted > 1000 && far == 0, "{far} of {counted} are more than 20 µs off");
        #[cfg(target_arch = "x86_64")]
        assert_eq!(THREAD.with(|thread| thread.pace.get()) != 0, is_invariant(), "the counter is used");
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_counter_that_jumps_is_not_believed() {
        let thread = || Thread {
            id: Cell::new(0),
            ticks: Cell::new(0),
            asked_ns: Cell::new(0),
            pace: Cell::new(0),
            told_ns: Cell::new(0),
        };
        // It was asked long ago, by a counter that has gone back since.
        let back = thread();
        back.ticks.set(ticks() + (1 << 40));
        back.pace.set(1 << 32);
        let (before, now) = (asked_ns(), back.now_ns());
        assert!(now >= before && now - before < 1_000_000_000, "{now} {before}");
        assert_eq!(back.pace.get(), 0);
        // Its pace is not what it was.
        let other = thread();
        other.ticks.set(ticks() - Thread::TRUSTED);
        other.asked_ns.set(asked_ns() - 7_000_000);
        other.pace.set(1 << 31);
        other.now_ns();
        assert_eq!(other.pace.get(), 0);
        // The clock was put back by an hour.
        let hour = thread();
        hour.told_ns.set(asked_ns() + 3_600_000_000_000);
        assert!(hour.now_ns() <= asked_ns());
    }
}
