//! The memory that watched values live in: one file, mapped twice. What the program has is protected; what hooks, the
//! kernel and the fault handler write is the alias, which is open. A third, private copy holds what the tracer knows.
//!
//! Invariants:
//!   * A protected page is never opened while it is watched, so no thread's write is ever missed.
//!   * Under the lock, the shadow is what has been recorded: records lie in the ring in the order of the writes.
//!   * Each value has pages of its own, and a page behind them that belongs to nobody.
//!
//! The lock is taken in signal handlers. Whoever holds it touches no protected page and waits for nothing but the ring.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use super::execute::Cache;
use super::layout::{Fixed, KIND_PATCH, KIND_RAW};
use super::protect::Protection;
use super::raw;
use super::{Hooks, Place};

pub(crate) const PAGE: usize = 4096;
/// Of the file, and of each mapping. It takes memory only where something lies.
const LEN: usize = 128 * 1024 * 1024;

/// One for each page; the first page of a value says the rest.
struct Page {
    /// The number of the value's first page, plus one; 0: nobody's.
    owner: AtomicU32,
    /// In bytes, and in pages.
    len: AtomicU32,
    pages: AtomicU32,
    variable: AtomicU32,
    /// 1: it is protected.
    closed: AtomicU32,
}

pub(crate) struct Arena {
    base: *mut u8,
    alias: *mut u8,
    shadow: *mut u8,
    pages: *const Page,
    count: usize,
    next: AtomicUsize,
    /// Pages behind this one were never anybody's.
    top: AtomicUsize,
    lock: AtomicU32,
    stopped: AtomicBool,
    pub(crate) protection: Protection,
    pub(crate) cache: Cache,
    pub(crate) hooks: Hooks,
}

// SAFETY: what is shared is atomic, or touched under the lock.
unsafe impl Sync for Arena {}
// SAFETY: as above; mappings belong to the process.
unsafe impl Send for Arena {}

/// A value's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) u32);

impl Arena {
    pub(crate) fn new(file: c_int, hooks: Hooks) -> Option<Self> {
        let len = LEN;
        let base = map(raw::PROT_READ_WRITE, raw::MAP_SHARED, file, len)?;
        let alias = map(raw::PROT_READ_WRITE, raw::MAP_SHARED, file, len)?;
        let shadow = map(raw::PROT_READ_WRITE, raw::MAP_PRIVATE_ANONYMOUS, -1, len)?;
        let count = len / PAGE;
        let pages = map(raw::PROT_READ_WRITE, raw::MAP_PRIVATE_ANONYMOUS, -1, count * size_of::<Page>())?;
        let cache = Cache::new()?;
        let protection = Protection::best(base.cast(), len);
        Some(Self {
            base,
            alias,
            shadow,
            pages: pages.cast(),
            count,
            next: AtomicUsize::new(0),
            top: AtomicUsize::new(0),
            lock: AtomicU32::new(0),
            stopped: AtomicBool::new(false),
            protection,
            cache,
            hooks,
        })
    }

    pub(crate) fn base(&self) -> usize {
        self.base.addr()
    }

    pub(crate) fn len(&self) -> usize {
        self.count * PAGE
    }

    /// How far behind the protected memory the open one lies.
    pub(crate) fn distance(&self) -> usize {
        self.alias.addr().wrapping_sub(self.base.addr())
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    fn page(&self, number: usize) -> &Page {
        let page = self.pages.wrapping_add(number.min(self.count - 1));
        // SAFETY: inside the table, where zeros are valid. JUSTIFICATION: memory that is mapped by hand.
        unsafe { &*page }
    }

    /// The value that this byte belongs to.
    pub(crate) fn slot_at(&self, offset: usize) -> Option<Slot> {
        if offset >= self.len() {
            return None;
        }
        self.page(offset / PAGE).owner.load(Ordering::Acquire).checked_sub(1).map(Slot)
    }

    fn facts(&self, slot: Slot) -> &Page {
        self.page(slot.0 as usize)
    }

    pub(crate) fn is_closed(&self, slot: Slot) -> bool {
        self.facts(slot).closed.load(Ordering::Acquire) != 0
    }

    pub(crate) fn variable(&self, slot: Slot) -> u32 {
        self.facts(slot).variable.load(Ordering::Acquire)
    }

    pub(crate) fn offset(slot: Slot) -> usize {
        slot.0 as usize * PAGE
    }

    fn size(&self, slot: Slot) -> usize {
        self.facts(slot).len.load(Ordering::Acquire) as usize
    }

    /// With the rest of its last page.
    fn room_of(&self, slot: Slot) -> usize {
        self.facts(slot).pages.load(Ordering::Acquire) as usize * PAGE
    }

    /// Where the value ends, with the rest of its last page.
    pub(crate) fn end(&self, slot: Slot) -> usize {
        Self::offset(slot) + self.room_of(slot)
    }

    /// The value where the program has it, or where it is open.
    pub(crate) fn memory(&self, slot: Slot, open: bool) -> *mut u8 {
        let start = if open { self.alias } else { self.base };
        start.wrapping_add(Self::offset(slot))
    }

    pub(crate) fn open_at(&self, offset: usize) -> *mut u8 {
        self.alias.wrapping_add(offset)
    }

    /// A place for a value of so many bytes; it is open, and full of zeros.
    pub(crate) fn take(&self, len: usize) -> Option<Slot> {
        let size = u32::try_from(len).ok()?;
        let pages = len.div_ceil(PAGE).max(1);
        let wanted = pages + 1;
        let _held = self.hold();
        let start = self.next.load(Ordering::Relaxed);
        let first = self.room(start, self.count, wanted).or_else(|| self.room(0, self.count, wanted))?;
        let slot = Slot(u32::try_from(first).ok()?);
        for number in first..first + wanted - 1 {
            self.page(number).owner.store(slot.0 + 1, Ordering::Release);
        }
        let facts = self.facts(slot);
        facts.len.store(size, Ordering::Release);
        facts.pages.store(u32::try_from(pages).ok()?, Ordering::Release);
        facts.variable.store(0, Ordering::Release);
        facts.closed.store(0, Ordering::Release);
        self.next.store(first + wanted, Ordering::Relaxed);
        self.top.fetch_max(first + wanted, Ordering::Release);
        Some(slot)
    }

    /// Pages that follow each other and are nobody's.
    fn room(&self, from: usize, to: usize, wanted: usize) -> Option<usize> {
        let mut found = 0;
        for number in from..to {
            found = if self.page(number).owner.load(Ordering::Relaxed) == 0 { found + 1 } else { 0 };
            // One more before it: the one that belongs to nobody, behind another value.
            if found == wanted + 1 {
                return Some(number + 1 - wanted);
            }
        }
        None
    }

    /// What lies behind so many bytes is not part of the value.
    #[allow(dead_code, reason = "only Python has memory that ends with more than the value")]
    pub(crate) fn shorten(&self, slot: Slot, len: usize) {
        self.facts(slot).len.store(u32::try_from(len).unwrap_or(0), Ordering::Release);
    }

    /// From now on what is written there is the variable's. `false`: it cannot be protected, and stays open.
    pub(crate) fn close(&self, slot: Slot, variable: u32) -> bool {
        let _held = self.hold();
        self.copy_to_shadow(Self::offset(slot), self.size(slot));
        let facts = self.facts(slot);
        facts.variable.store(variable, Ordering::Release);
        let closed = self.protect(slot, true);
        facts.closed.store(u32::from(closed), Ordering::Release);
        closed
    }

    /// From now on the memory is like any other.
    pub(crate) fn open(&self, slot: Slot) {
        let _held = self.hold();
        self.open_held(slot);
    }

    pub(crate) fn open_held(&self, slot: Slot) {
        let facts = self.facts(slot);
        facts.closed.store(0, Ordering::Release);
        self.protect(slot, false);
    }

    fn protect(&self, slot: Slot, closed: bool) -> bool {
        let at = self.memory(slot, false).cast();
        // A forked child has no protection, nor the file that it is made with.
        !self.is_stopped() && self.protection.set(at, self.room_of(slot), closed)
    }

    /// Nobody has this value any more.
    pub(crate) fn free(&self, slot: Slot) {
        let _held = self.hold();
        self.open_held(slot);
        let len = self.room_of(slot);
        self.facts(slot).variable.store(0, Ordering::Release);
        for number in slot.0 as usize..slot.0 as usize + len / PAGE {
            self.page(number).owner.store(0, Ordering::Release);
        }
        // SAFETY: pages that nobody has; they read as zeros again. JUSTIFICATION: the standard library maps nothing.
        unsafe { raw::madvise(self.memory(slot, true).cast(), len, raw::MADV_REMOVE) };
        let shadow = self.shadow.wrapping_add(Self::offset(slot));
        // SAFETY: as above. JUSTIFICATION: as above.
        unsafe { raw::madvise(shadow.cast(), len, raw::MADV_DONTNEED) };
    }

    /// Records what a hook has changed in the open memory.
    pub(crate) fn changed(&self, slot: Slot, fixed: Fixed) {
        let _held = self.hold();
        let Some((at, len)) = self.difference(Self::offset(slot), self.size(slot)) else { return };
        self.copy_to_shadow(at, len);
        self.push(slot, Fixed { kind: KIND_PATCH, ..fixed }, at, len, None);
    }

    /// Records what was written to these bytes; the lock is held.
    pub(crate) fn record(&self, offset: usize, len: usize, place: Place, wide: bool) {
        let Some(slot) = self.slot_at(offset) else { return };
        let end = (Self::offset(slot) + self.size(slot)).min(offset + len);
        let Some((at, len)) = end.checked_sub(offset).and_then(|len| self.difference(offset, len)) else {
            return;
        };
        self.copy_to_shadow(at, len);
        let variable = self.variable(slot);
        if variable != 0 {
            let fixed = Fixed {
                kind: KIND_RAW,
                tag: u8::from(place.one_statement) | u8::from(wide) << 1,
                variable,
                site: place.site,
                thread: place.thread,
                ..Fixed::default()
            };
            self.push(slot, fixed, at, len, Some(place.statement));
        }
    }

    /// Says what stands in the shadow now; the lock is held.
    fn push(&self, slot: Slot, fixed: Fixed, at: usize, len: usize, statement: Option<u64>) {
        let Some(ring) = (self.hooks.ring)() else { return };
        let mut head = [0; 24];
        head[..8].copy_from_slice(&((at - Self::offset(slot)) as u64).to_le_bytes());
        head[8..16].copy_from_slice(&(len as u64).to_le_bytes());
        let used = match statement {
            Some(number) => {
                head[16..].copy_from_slice(&number.to_le_bytes());
                24
            }
            None => 16,
        };
        // SAFETY: inside the shadow, which is written under the lock alone. JUSTIFICATION: memory mapped by hand.
        let bytes = unsafe { std::slice::from_raw_parts(self.shadow.wrapping_add(at), len) };
        ring.push_both(fixed, &head[..used], bytes);
    }

    /// The first and the last byte that differ from what was recorded, as start and length.
    fn difference(&self, offset: usize, len: usize) -> Option<(usize, usize)> {
        // SAFETY: inside the alias. Another thread or the kernel may write there meanwhile: what is read is then one of
        // the two, and it is looked at again after that write. JUSTIFICATION: shared memory has no slice.
        let now = unsafe { std::slice::from_raw_parts(self.alias.wrapping_add(offset), len) };
        // SAFETY: inside the shadow. JUSTIFICATION: as above.
        let known = unsafe { std::slice::from_raw_parts(self.shadow.wrapping_add(offset), len) };
        const STEP: usize = 512;
        let mut start = 0;
        while start + STEP <= len && now[start..start + STEP] == known[start..start + STEP] {
            start += STEP;
        }
        start += now[start..].iter().zip(&known[start..]).position(|(a, b)| a != b)?;
        let mut end = len;
        while end - start > STEP && now[end - STEP..end] == known[end - STEP..end] {
            end -= STEP;
        }
        while end > start + 1 && now[end - 1] == known[end - 1] {
            end -= 1;
        }
        Some((offset + start, end - start))
    }

    fn copy_to_shadow(&self, offset: usize, len: usize) {
        let from = self.alias.wrapping_add(offset);
        let to = self.shadow.wrapping_add(offset);
        // SAFETY: both are inside their mappings, which do not overlap. JUSTIFICATION: memory mapped by hand.
        unsafe { ptr::copy_nonoverlapping(from, to, len) };
    }

    fn slots(&self) -> impl Iterator<Item = Slot> {
        (0..self.top.load(Ordering::Acquire).min(self.count)).filter_map(|number| {
            let owner = self.page(number).owner.load(Ordering::Acquire);
            (owner as usize == number + 1).then(|| Slot(owner - 1))
        })
    }

    /// Takes the lock, unless this thread has it.
    pub(crate) fn hold(&self) -> Held<'_> {
        let mine = super::own_thread();
        if self.lock.load(Ordering::Relaxed) == mine {
            return Held(None);
        }
        let mut tries = 0_u32;
        while self.lock.compare_exchange_weak(0, mine, Ordering::Acquire, Ordering::Relaxed).is_err() {
            tries += 1;
            if tries.is_multiple_of(64) {
                // SAFETY: no arguments. JUSTIFICATION: a signal handler may call nothing that locks.
                unsafe { raw::sched_yield() };
            }
            std::hint::spin_loop();
        }
        Held(Some(&self.lock))
    }

    // Around a fork. The child's memory is what it was at the fork, and its own; it is no longer watched.

    pub(crate) fn before_fork(&self) {
        std::mem::forget(self.hold());
        for slot in self.slots() {
            if self.is_stopped() || !self.is_closed(slot) {
                self.copy_to_shadow(Self::offset(slot), self.size(slot));
            }
        }
    }

    pub(crate) fn after_fork(&self) {
        self.lock.store(0, Ordering::Release);
    }

    pub(crate) fn in_child(&self) {
        self.stopped.store(true, Ordering::Release);
        self.protection.close();
        // SAFETY: a name and flags. JUSTIFICATION: as above.
        let file = unsafe { raw::memfd_create(c"tickfs-memory".as_ptr(), raw::MFD_CLOEXEC) };
        let size = i64::try_from(self.len()).unwrap_or(0);
        // SAFETY: a file of ours, or none. JUSTIFICATION: as above.
        let shared = file >= 0 && unsafe { raw::ftruncate(file, size) } == 0;
        let flags = if shared { raw::MAP_SHARED } else { raw::MAP_PRIVATE_ANONYMOUS } | raw::MAP_FIXED;
        for at in [self.base, self.alias] {
            let source = if shared { file } else { -1 };
            // SAFETY: takes the place of the arena's own mapping, which the child must not share with its parent.
            // JUSTIFICATION: pointers into it stay valid.
            unsafe { raw::mmap(at.cast(), self.len(), raw::PROT_READ_WRITE, flags, source, 0) };
            for slot in self.slots() {
                self.facts(slot).closed.store(0, Ordering::Release);
                let (from, to) =
                    (self.shadow.wrapping_add(Self::offset(slot)), at.wrapping_add(Self::offset(slot)));
                // SAFETY: both are inside their mappings. JUSTIFICATION: as above.
                unsafe { ptr::copy_nonoverlapping(from, to, self.size(slot)) };
            }
        }
        if file >= 0 {
            // SAFETY: the mappings keep what they need. JUSTIFICATION: as above.
            unsafe { raw::close(file) };
        }
        self.after_fork();
    }
}

/// How memory of this file can be watched, if it can. Nothing stays of what is tried.
pub(crate) fn probe(file: c_int) -> Option<&'static str> {
    let at = map(raw::PROT_READ_WRITE, raw::MAP_SHARED, file, PAGE)?;
    let protection = Protection::best(at.cast(), PAGE);
    let works = protection.set(at.cast(), PAGE, true) && protection.set(at.cast(), PAGE, false);
    protection.close();
    // SAFETY: it was mapped here. JUSTIFICATION: the standard library maps nothing.
    unsafe { raw::munmap(at.cast(), PAGE) };
    let executes = Cache::new().map(Cache::unmap).is_some();
    (works && executes).then(|| protection.name())
}

/// The lock; `None`: this thread has it from before.
pub(crate) struct Held<'a>(Option<&'a AtomicU32>);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(lock) = self.0 {
            lock.store(0, Ordering::Release);
        }
    }
}

fn map(protection: c_int, flags: c_int, file: c_int, len: usize) -> Option<*mut u8> {
    // SAFETY: a new mapping where the kernel likes. JUSTIFICATION: the standard library maps nothing.
    let at: *mut c_void = unsafe { raw::mmap(ptr::null_mut(), len, protection, flags, file, 0) };
    (at.addr() != usize::MAX).then(|| at.cast())
}
