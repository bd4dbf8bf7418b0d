//! The memory that watched values live in: one file, mapped twice. What the program has is protected; what hooks, the
//! kernel and the fault handler write is the alias, which is open. A copy, the shadow, holds what the tracer knows.
//!
//! Invariants:
//!   * In `Mode::Signal` a protected page is never opened while it is watched, so no thread's write is ever missed.
//!   * Under the lock, the shadow is what has been recorded: records lie in the ring in the order of the writes.
//!   * Each value has pages of its own, and a page behind them that belongs to nobody.
//!
//! The lock is taken in signal handlers. Whoever holds it touches no protected page and waits for nothing but the ring, and
//! for the tracer's answer where the tracer protects. In the modes in which the tracer looks for writes, shadow, table and
//! lock lie in the file too, and the tracer has an arena over the same file.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use super::execute::Cache;
use super::layout::{Fixed, KIND_PATCH, KIND_RAW};
use super::producer::Producer;
use super::protect::Protection;
use super::raw;
use super::{Hooks, Mode, Place, Seen};

pub(crate) const PAGE: usize = 4096;
/// Of each mapping. It takes memory only where something lies.
const LEN: usize = 128 * 1024 * 1024;
const COUNT: usize = LEN / PAGE;
const HEAD: usize = PAGE;
const TABLE: usize = HEAD + (COUNT * size_of::<Page>()).next_multiple_of(PAGE);
/// Of the file: memory, shadow, table.
#[allow(dead_code, reason = "the tracer makes it")]
pub(crate) const FILE: u64 = (2 * LEN + TABLE) as u64;
/// Who holds the lock when it is the tracer; no thread has this number.
const TRACER: u32 = u32::MAX;

/// One for each page; the first page of a value says the rest.
struct Page {
    /// The number of the value's first page, plus one; 0: nobody's.
    owner: AtomicU32,
    /// In bytes, and in pages.
    len: AtomicU32,
    pages: AtomicU32,
    variable: AtomicU32,
    /// 1: it is watched.
    closed: AtomicU32,
    /// So many hooks are writing it: they will tell of that themselves.
    hooked: AtomicU32,
}

/// What stands before the table.
#[repr(C)]
struct Head {
    lock: AtomicU32,
    /// Pages behind this one were never anybody's.
    top: AtomicU32,
}

/// Who has this arena.
enum Whose {
    #[allow(dead_code, reason = "agents have it, and tests")]
    Program(Hooks),
    #[allow(dead_code, reason = "the tracer has it")]
    Tracer(Producer),
}

pub(crate) struct Arena {
    base: *mut u8,
    alias: *mut u8,
    shadow: *mut u8,
    table: *mut u8,
    next: AtomicUsize,
    stopped: AtomicBool,
    mode: Mode,
    /// What a child is to find, while its parent forks.
    snapshot: AtomicPtr<u8>,
    pub(crate) protection: Protection,
    /// Only where instructions are done elsewhere.
    pub(crate) cache: Option<Cache>,
    whose: Whose,
}

// SAFETY: what is shared is atomic, or touched under the lock.
unsafe impl Sync for Arena {}
// SAFETY: as above; mappings belong to the process.
unsafe impl Send for Arena {}

/// A value's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) u32);

impl Arena {
    /// The program's own; `channel` leads to the tracer.
    pub(crate) fn new(file: c_int, channel: c_int, mode: Mode, hooks: Hooks) -> Option<Self> {
        let base = map(raw::PROT_READ_WRITE, raw::MAP_SHARED, file, LEN, 0)?;
        let cache = match mode {
            Mode::Signal => Some(Cache::new()?),
            Mode::Handler | Mode::Coarse => None,
        };
        let protection = Protection::of(mode, base.cast(), LEN, channel)?;
        Self::over(base, file, mode, protection, cache, Whose::Program(hooks))
    }

    /// The tracer's, over the program's file.
    #[allow(dead_code, reason = "only the tracer has one")]
    pub(crate) fn of_tracer(file: c_int, mode: Mode, ring: Producer) -> Option<Self> {
        let memory = map(raw::PROT_READ_WRITE, raw::MAP_SHARED, file, LEN, 0)?;
        Self::over(memory, file, mode, Protection::Nothing, None, Whose::Tracer(ring))
    }

    fn over(
        base: *mut u8,
        file: c_int,
        mode: Mode,
        protection: Protection,
        cache: Option<Cache>,
        whose: Whose,
    ) -> Option<Self> {
        let alias = map(raw::PROT_READ_WRITE, raw::MAP_SHARED, file, LEN, 0)?;
        let (flags, file) =
            if mode.is_late() { (raw::MAP_SHARED, file) } else { (raw::MAP_PRIVATE_ANONYMOUS, -1) };
        Some(Self {
            base,
            alias,
            shadow: map(raw::PROT_READ_WRITE, flags, file, LEN, LEN)?,
            table: map(raw::PROT_READ_WRITE, flags, file, TABLE, 2 * LEN)?,
            next: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            mode,
            snapshot: AtomicPtr::new(ptr::null_mut()),
            protection,
            cache,
            whose,
        })
    }

    pub(crate) fn ring(&self) -> Option<&Producer> {
        match &self.whose {
            Whose::Program(hooks) => (hooks.ring)(),
            Whose::Tracer(ring) => Some(ring),
        }
    }

    /// Where the thread that runs stands.
    pub(crate) fn place(&self, offset: usize) -> Place {
        match &self.whose {
            Whose::Program(hooks) => (hooks.place)(offset),
            Whose::Tracer(_) => Place::default(),
        }
    }

    pub(crate) fn base(&self) -> usize {
        self.base.addr()
    }

    pub(crate) fn len(&self) -> usize {
        LEN
    }

    /// How far behind the protected memory the open one lies.
    pub(crate) fn distance(&self) -> usize {
        self.alias.addr().wrapping_sub(self.base.addr())
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    fn head(&self) -> &Head {
        // SAFETY: the table begins with it; zeros are valid. JUSTIFICATION: memory that is mapped by hand.
        unsafe { &*self.table.cast::<Head>() }
    }

    fn top(&self) -> usize {
        (self.head().top.load(Ordering::Acquire) as usize).min(COUNT)
    }

    fn page(&self, number: usize) -> &Page {
        let page = self.table.wrapping_add(HEAD).cast::<Page>().wrapping_add(number.min(COUNT - 1));
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

    pub(crate) fn size(&self, slot: Slot) -> usize {
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
        let first = self.room(start, COUNT, wanted).or_else(|| self.room(0, COUNT, wanted))?;
        let slot = Slot(u32::try_from(first).ok()?);
        for number in first..first + wanted - 1 {
            self.page(number).owner.store(slot.0 + 1, Ordering::Release);
        }
        let facts = self.facts(slot);
        facts.len.store(size, Ordering::Release);
        facts.pages.store(u32::try_from(pages).ok()?, Ordering::Release);
        facts.variable.store(0, Ordering::Release);
        facts.closed.store(0, Ordering::Release);
        facts.hooked.store(0, Ordering::Release);
        self.next.store(first + wanted, Ordering::Relaxed);
        self.head().top.fetch_max(u32::try_from(first + wanted).ok()?, Ordering::Release);
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
        self.catch_up_held(slot);
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
        self.catch_up_held(slot);
        self.open_held(slot);
        let len = self.room_of(slot);
        self.facts(slot).variable.store(0, Ordering::Release);
        for number in slot.0 as usize..slot.0 as usize + len / PAGE {
            self.page(number).owner.store(0, Ordering::Release);
        }
        // SAFETY: pages that nobody has; they read as zeros again. JUSTIFICATION: the standard library maps nothing.
        unsafe { raw::madvise(self.memory(slot, true).cast(), len, raw::MADV_REMOVE) };
        let shadow = self.shadow.wrapping_add(Self::offset(slot));
        let advice = if self.mode.is_late() { raw::MADV_REMOVE } else { raw::MADV_DONTNEED };
        // SAFETY: as above. JUSTIFICATION: as above.
        unsafe { raw::madvise(shadow.cast(), len, advice) };
    }

    /// Tells of what was written there unseen, before a hook writes there too, which then calls `changed`.
    pub(crate) fn catch_up(&self, slot: Slot) {
        if self.mode.is_late() && !self.is_stopped() && self.is_closed(slot) {
            let _held = self.hold();
            self.catch_up_held(slot);
            self.facts(slot).hooked.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The same where a hook does not know what it will write.
    #[allow(dead_code, reason = "hooks of Python know it")]
    pub(crate) fn catch_up_all(&self) {
        if self.mode.is_late() {
            self.slots().for_each(|slot| self.catch_up(slot));
        }
    }

    /// That hook has written what it has written.
    #[allow(dead_code, reason = "as above")]
    pub(crate) fn settle_all(&self) {
        if self.mode.is_late() {
            self.slots().for_each(|slot| self.settle(slot));
        }
    }

    fn settle(&self, slot: Slot) {
        let hooked = &self.facts(slot).hooked;
        hooked.update(Ordering::AcqRel, Ordering::Acquire, |hooks| hooks.saturating_sub(1));
    }

    fn catch_up_held(&self, slot: Slot) {
        if self.mode.is_late() && self.is_closed(slot) {
            self.record(Self::offset(slot), self.size(slot), Place::default(), false);
        }
    }

    /// Records what a hook has changed in the open memory.
    pub(crate) fn changed(&self, slot: Slot, fixed: Fixed) {
        let _held = self.hold();
        if let Some((at, len)) = self.difference(Self::offset(slot), self.size(slot)) {
            self.copy_to_shadow(at, len);
            self.push(slot, Fixed { kind: KIND_PATCH, ..fixed }, at, len, None);
        }
        if self.mode.is_late() {
            self.settle(slot);
        }
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
                sql: place.sql,
                ..Fixed::default()
            };
            self.push(slot, fixed, at, len, Some(place.statement));
        }
    }

    /// Says what stands in the shadow now; the lock is held.
    fn push(&self, slot: Slot, fixed: Fixed, at: usize, len: usize, statement: Option<u64>) {
        let Some(ring) = self.ring() else { return };
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
    pub(crate) fn difference(&self, offset: usize, len: usize) -> Option<(usize, usize)> {
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

    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> {
        (0..self.top()).filter_map(|number| {
            let owner = self.page(number).owner.load(Ordering::Acquire);
            (owner as usize == number + 1).then(|| Slot(owner - 1))
        })
    }

    /// Hooks that write there now will tell of it.
    #[allow(dead_code, reason = "only the tracer asks")]
    pub(crate) fn is_hooked(&self, slot: Slot) -> bool {
        self.facts(slot).hooked.load(Ordering::Acquire) != 0
    }

    /// Up to here pages were ever anybody's.
    #[allow(dead_code, reason = "only the tracer asks")]
    pub(crate) fn used(&self) -> usize {
        self.top() * PAGE
    }

    /// Takes the lock, unless this thread has it.
    pub(crate) fn hold(&self) -> Held<'_> {
        let mine = super::own_thread();
        let lock = &self.head().lock;
        if lock.load(Ordering::Relaxed) == mine {
            return Held(None);
        }
        let mut tries = 0_u32;
        while lock.compare_exchange_weak(0, mine, Ordering::Acquire, Ordering::Relaxed).is_err() {
            tries = tries.wrapping_add(1);
            if tries.is_multiple_of(64) {
                // SAFETY: no arguments. JUSTIFICATION: a signal handler may call nothing that locks.
                unsafe { raw::sched_yield() };
            }
            // A tracer that was killed gives nothing back.
            if tries.is_multiple_of(4096)
                && lock.load(Ordering::Relaxed) == TRACER
                && self.ring().is_some_and(Producer::is_abandoned)
                && lock.compare_exchange(TRACER, mine, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                break;
            }
            std::hint::spin_loop();
        }
        Held(Some(lock))
    }

    /// The tracer takes the lock, if it is free before long; whoever holds it may be waiting for the tracer.
    #[allow(dead_code, reason = "only the tracer must not wait")]
    pub(crate) fn try_hold(&self) -> Option<Held<'_>> {
        const TRIES: u32 = 1000;
        let lock = &self.head().lock;
        let free = || lock.compare_exchange(0, TRACER, Ordering::Acquire, Ordering::Relaxed).is_ok();
        let took = (0..TRIES).any(|_| {
            std::hint::spin_loop();
            free()
        });
        took.then_some(Held(Some(lock)))
    }

    /// The same when the program is no more: whoever held it does nothing with it.
    #[allow(dead_code, reason = "as above")]
    pub(crate) fn hold_what_is_left(&self) -> Held<'_> {
        let lock = &self.head().lock;
        lock.store(TRACER, Ordering::Release);
        Held(Some(lock))
    }

    // Around a fork. The child's memory is what it was at the fork, and its own; it is no longer watched.

    pub(crate) fn before_fork(&self) {
        std::mem::forget(self.hold());
        if self.is_stopped() {
            return self.slots().for_each(|slot| self.copy_to_shadow(Self::offset(slot), self.size(slot)));
        }
        if self.mode.is_late() {
            return self.take_snapshot();
        }
        for slot in self.slots().filter(|&slot| !self.is_closed(slot)) {
            self.copy_to_shadow(Self::offset(slot), self.size(slot));
        }
    }

    /// Memory and table as they are, in memory that a child has for itself. It is taken away again after the fork.
    fn take_snapshot(&self) {
        let top = self.top();
        let Some(copy) = map(raw::PROT_READ_WRITE, raw::MAP_PRIVATE_ANONYMOUS, -1, LEN + TABLE, 0) else {
            return;
        };
        for slot in self.slots() {
            let to = copy.wrapping_add(Self::offset(slot));
            // SAFETY: both are inside their mappings. JUSTIFICATION: memory mapped by hand.
            unsafe { ptr::copy_nonoverlapping(self.memory(slot, true), to, self.size(slot)) };
        }
        let len = HEAD + top * size_of::<Page>();
        // SAFETY: as above. JUSTIFICATION: as above.
        unsafe { ptr::copy_nonoverlapping(self.table, copy.wrapping_add(LEN), len) };
        self.snapshot.store(copy, Ordering::Release);
    }

    fn drop_snapshot(&self) {
        let copy = self.snapshot.swap(ptr::null_mut(), Ordering::AcqRel);
        if !copy.is_null() {
            // SAFETY: it was mapped in `take_snapshot`. JUSTIFICATION: the standard library maps nothing.
            unsafe { raw::munmap(copy.cast(), LEN + TABLE) };
        }
    }

    /// Shadow and table are the child's own from here on, and what they were at the fork.
    fn part_from_parent(&self) {
        let copy = self.snapshot.load(Ordering::Acquire);
        for (at, len) in [(self.shadow, LEN), (self.table, TABLE)] {
            let flags = raw::MAP_PRIVATE_ANONYMOUS | raw::MAP_FIXED;
            // SAFETY: takes the place of the arena's own mapping. JUSTIFICATION: pointers into it stay valid.
            unsafe { raw::mmap(at.cast(), len, raw::PROT_READ_WRITE, flags, -1, 0) };
        }
        if copy.is_null() {
            return;
        }
        // SAFETY: both are so long. JUSTIFICATION: memory mapped by hand.
        unsafe { ptr::copy_nonoverlapping(copy.wrapping_add(LEN), self.table, HEAD) };
        let len = self.top() * size_of::<Page>();
        let (from, to) = (copy.wrapping_add(LEN + HEAD), self.table.wrapping_add(HEAD));
        // SAFETY: as above. JUSTIFICATION: as above.
        unsafe { ptr::copy_nonoverlapping(from, to, len) };
        for slot in self.slots() {
            let at = Self::offset(slot);
            // SAFETY: as above. JUSTIFICATION: as above.
            unsafe {
                ptr::copy_nonoverlapping(copy.wrapping_add(at), self.shadow.wrapping_add(at), self.size(slot))
            };
        }
        self.drop_snapshot();
    }

    pub(crate) fn after_fork(&self) {
        self.drop_snapshot();
        self.head().lock.store(0, Ordering::Release);
    }

    pub(crate) fn in_child(&self) {
        let is_first = !self.stopped.swap(true, Ordering::AcqRel);
        self.protection.close();
        if is_first && self.mode.is_late() {
            self.part_from_parent();
        }
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

/// How memory of this file can be watched in this mode, if it can. Nothing stays of what is tried.
pub(crate) fn probe(file: c_int, mode: Mode) -> Option<Seen> {
    let at = map(raw::PROT_READ_WRITE, raw::MAP_SHARED, file, PAGE, 0)?;
    let seen = Protection::probe(mode, at.cast(), PAGE);
    // SAFETY: it was mapped here. JUSTIFICATION: the standard library maps nothing.
    unsafe { raw::munmap(at.cast(), PAGE) };
    let executes = mode != Mode::Signal || Cache::new().map(Cache::unmap).is_some();
    seen.filter(|_| executes)
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

fn map(protection: c_int, flags: c_int, file: c_int, len: usize, from: usize) -> Option<*mut u8> {
    let from = i64::try_from(from).ok()?;
    // SAFETY: a new mapping where the kernel likes. JUSTIFICATION: the standard library maps nothing.
    let at: *mut c_void = unsafe { raw::mmap(ptr::null_mut(), len, protection, flags, file, from) };
    (at.addr() != usize::MAX).then(|| at.cast())
}
