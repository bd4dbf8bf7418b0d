//! The library that is loaded before all others, so that what the kernel writes into watched memory arrives there.
//!
//! The kernel cannot write protected memory: `read` into it would fail where it succeeds untraced. So these functions give
//! the kernel the open place of the same memory, and tell the agent of it afterwards. And the signal that tells of writes is
//! the agent's: the program may do with it what it likes, and is told what it expects; but it cannot replace the agent's
//! handler, nor block the signal. Until the agent says so, each function is the C library's own.
#![allow(unsafe_code, reason = "it takes the place of functions of C")]

#[path = "../fault/link.rs"]
mod link;

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulong, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use link::{Action, Link};

/// The agent looks for this name; its number grows with the form of `Link`.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "a name of C")]
pub(crate) static tickfs_link_1: Link = Link::new();

const NEXT: *mut c_void = ptr::without_provenance_mut(usize::MAX);

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn __errno_location() -> *mut c_int;
}

/// The function that would have been called without us.
struct Real(AtomicPtr<c_void>, &'static CStr);

impl Real {
    fn address(&self) -> *mut c_void {
        let known = self.0.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        // SAFETY: a name that ends with a zero. JUSTIFICATION: it is known to the loader alone.
        let found = unsafe { dlsym(NEXT, self.1.as_ptr()) };
        self.0.store(found, Ordering::Relaxed);
        found
    }
}

/// Calls the C library's function of this name, with this type.
macro_rules! real {
    ($name:expr, $kind:ty, $($argument:expr),*) => {{
        static REAL: Real = Real(AtomicPtr::new(ptr::null_mut()), $name);
        // SAFETY: the loader found it by its name, and this is its type. JUSTIFICATION: an address has no type.
        let function = unsafe { std::mem::transmute::<*mut c_void, $kind>(REAL.address()) };
        // SAFETY: the program's own arguments, or the same memory by its other address. JUSTIFICATION: as above.
        unsafe { function($($argument),*) }
    }};
}

/// The open place of what lies at this address, if it is watched memory.
fn open<T>(at: *mut T) -> Option<*mut T> {
    let base = tickfs_link_1.base.load(Ordering::Acquire);
    if base == 0 || at.addr().wrapping_sub(base) >= tickfs_link_1.len.load(Ordering::Relaxed) {
        return None;
    }
    Some(at.wrapping_byte_add(tickfs_link_1.distance.load(Ordering::Relaxed)))
}

/// Tells the agent.
fn wrote(at: usize, len: usize) {
    let told = tickfs_link_1.wrote.load(Ordering::Acquire);
    if told.is_null() || len == 0 {
        return;
    }
    // SAFETY: always valid, this thread's own. JUSTIFICATION: the caller is about to read it.
    let errno = unsafe { __errno_location() };
    // SAFETY: as above. JUSTIFICATION: as above.
    let kept = unsafe { *errno };
    // SAFETY: the agent put it there. JUSTIFICATION: an address has no type.
    let told = unsafe { std::mem::transmute::<*mut c_void, extern "C" fn(usize, usize)>(told) };
    told(at, len);
    // SAFETY: as above. JUSTIFICATION: as above.
    unsafe { *errno = kept };
}

/// Calls with the open address where the memory is watched, and tells of what came.
fn into(at: *mut c_void, call: impl FnOnce(*mut c_void) -> isize) -> isize {
    let Some(open) = open(at) else { return call(at) };
    let count = call(open);
    wrote(at.addr(), usize::try_from(count).unwrap_or(0));
    count
}

// What reads into one place

type Read = unsafe extern "C" fn(c_int, *mut c_void, usize) -> isize;
type ReadAt = unsafe extern "C" fn(c_int, *mut c_void, usize, i64) -> isize;
type Receive = unsafe extern "C" fn(c_int, *mut c_void, usize, c_int) -> isize;

/// # Safety
/// As `read`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(fd: c_int, at: *mut c_void, len: usize) -> isize {
    into(at, |at| real!(c"read", Read, fd, at, len))
}

/// # Safety
/// As `read`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __read_chk(fd: c_int, at: *mut c_void, len: usize, room: usize) -> isize {
    type Checked = unsafe extern "C" fn(c_int, *mut c_void, usize, usize) -> isize;
    into(at, |at| real!(c"__read_chk", Checked, fd, at, len, room))
}

/// # Safety
/// As `pread`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pread(fd: c_int, at: *mut c_void, len: usize, offset: i64) -> isize {
    into(at, |at| real!(c"pread", ReadAt, fd, at, len, offset))
}

/// # Safety
/// As `pread64`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pread64(fd: c_int, at: *mut c_void, len: usize, offset: i64) -> isize {
    into(at, |at| real!(c"pread64", ReadAt, fd, at, len, offset))
}

/// # Safety
/// As `recv`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recv(fd: c_int, at: *mut c_void, len: usize, flags: c_int) -> isize {
    into(at, |at| real!(c"recv", Receive, fd, at, len, flags))
}

/// # Safety
/// As `recv`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __recv_chk(
    fd: c_int,
    at: *mut c_void,
    len: usize,
    room: usize,
    flags: c_int,
) -> isize {
    type Checked = unsafe extern "C" fn(c_int, *mut c_void, usize, usize, c_int) -> isize;
    into(at, |at| real!(c"__recv_chk", Checked, fd, at, len, room, flags))
}

/// # Safety
/// As `recvfrom`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvfrom(
    fd: c_int,
    at: *mut c_void,
    len: usize,
    flags: c_int,
    from: *mut c_void,
    from_len: *mut c_uint,
) -> isize {
    type From = unsafe extern "C" fn(c_int, *mut c_void, usize, c_int, *mut c_void, *mut c_uint) -> isize;
    into(at, |at| real!(c"recvfrom", From, fd, at, len, flags, from, from_len))
}

/// # Safety
/// As `getrandom`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(at: *mut c_void, len: usize, flags: c_uint) -> isize {
    type Random = unsafe extern "C" fn(*mut c_void, usize, c_uint) -> isize;
    into(at, |at| real!(c"getrandom", Random, at, len, flags))
}

/// # Safety
/// As `getentropy`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getentropy(at: *mut c_void, len: usize) -> c_int {
    type Entropy = unsafe extern "C" fn(*mut c_void, usize) -> c_int;
    let Some(open) = open(at) else { return real!(c"getentropy", Entropy, at, len) };
    let status = real!(c"getentropy", Entropy, open, len);
    wrote(at.addr(), if status == 0 { len } else { 0 });
    status
}

/// # Safety
/// As `fread`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fread(at: *mut c_void, size: usize, count: usize, file: *mut c_void) -> usize {
    type FileRead = unsafe extern "C" fn(*mut c_void, usize, usize, *mut c_void) -> usize;
    let Some(open) = open(at) else { return real!(c"fread", FileRead, at, size, count, file) };
    let whole = real!(c"fread", FileRead, open, size, count, file);
    // The last one may have come in part.
    wrote(at.addr(), size.saturating_mul(count));
    whole
}

/// # Safety
/// As `ioctl`; whatever its last argument is, it comes in one register.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioctl(fd: c_int, command: c_ulong, at: *mut c_void) -> c_int {
    type Control = unsafe extern "C" fn(c_int, c_ulong, *mut c_void) -> c_int;
    let Some(open) = open(at) else { return real!(c"ioctl", Control, fd, command, at) };
    let status = real!(c"ioctl", Control, fd, command, open);
    // Its number says how much, for the newer ones.
    let size = usize::try_from(command >> 16 & 0x3FFF).unwrap_or(0);
    wrote(at.addr(), size.max(1024));
    status
}

// What reads into several places

#[repr(C)]
#[derive(Clone, Copy)]
struct Part {
    at: *mut c_void,
    len: usize,
}

#[repr(C)]
struct Header {
    name: *mut c_void,
    name_len: c_uint,
    parts: *mut Part,
    count: usize,
    control: *mut c_void,
    control_len: usize,
    flags: c_int,
}

/// # Safety
/// `parts` are `count` valid entries, if `count` is one that the kernel would take.
unsafe fn into_parts(parts: *const Part, count: usize, call: impl FnOnce(*const Part) -> isize) -> isize {
    const MOST: usize = 1024;
    if parts.is_null() || count > MOST || tickfs_link_1.base.load(Ordering::Acquire) == 0 {
        return call(parts);
    }
    // SAFETY: as the caller promises. JUSTIFICATION: C's own array.
    let given = unsafe { std::slice::from_raw_parts(parts, count) };
    if given.iter().all(|part| open(part.at).is_none()) {
        return call(parts);
    }
    let opened = |part: &Part| Part { at: open(part.at).unwrap_or(part.at), len: part.len };
    let others: Vec<Part> = given.iter().map(opened).collect();
    let came = call(others.as_ptr());
    let mut rest = usize::try_from(came).unwrap_or(0);
    for part in given {
        let here = rest.min(part.len);
        rest -= here;
        if open(part.at).is_some() {
            wrote(part.at.addr(), here);
        }
    }
    came
}

/// # Safety
/// As `readv`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn readv(fd: c_int, parts: *const c_void, count: c_int) -> isize {
    type Vector = unsafe extern "C" fn(c_int, *const Part, c_int) -> isize;
    let many = usize::try_from(count).unwrap_or(usize::MAX);
    let call = |parts| real!(c"readv", Vector, fd, parts, count);
    // SAFETY: the program's own arguments. JUSTIFICATION: it called us.
    unsafe { into_parts(parts.cast(), many, call) }
}

type VectorAt = unsafe extern "C" fn(c_int, *const Part, c_int, i64) -> isize;

/// # Safety
/// As `preadv`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn preadv(fd: c_int, parts: *const c_void, count: c_int, offset: i64) -> isize {
    let many = usize::try_from(count).unwrap_or(usize::MAX);
    let call = |parts| real!(c"preadv", VectorAt, fd, parts, count, offset);
    // SAFETY: the program's own arguments. JUSTIFICATION: it called us.
    unsafe { into_parts(parts.cast(), many, call) }
}

/// # Safety
/// As `preadv64`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn preadv64(fd: c_int, parts: *const c_void, count: c_int, offset: i64) -> isize {
    let many = usize::try_from(count).unwrap_or(usize::MAX);
    let call = |parts| real!(c"preadv64", VectorAt, fd, parts, count, offset);
    // SAFETY: the program's own arguments. JUSTIFICATION: it called us.
    unsafe { into_parts(parts.cast(), many, call) }
}

type VectorWith = unsafe extern "C" fn(c_int, *const Part, c_int, i64, c_int) -> isize;

/// # Safety
/// As `preadv2`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn preadv2(
    fd: c_int,
    parts: *const c_void,
    count: c_int,
    offset: i64,
    flags: c_int,
) -> isize {
    let many = usize::try_from(count).unwrap_or(usize::MAX);
    let call = |parts| real!(c"preadv2", VectorWith, fd, parts, count, offset, flags);
    // SAFETY: the program's own arguments. JUSTIFICATION: it called us.
    unsafe { into_parts(parts.cast(), many, call) }
}

/// # Safety
/// As `preadv64v2`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn preadv64v2(
    fd: c_int,
    parts: *const c_void,
    count: c_int,
    offset: i64,
    flags: c_int,
) -> isize {
    let many = usize::try_from(count).unwrap_or(usize::MAX);
    let call = |parts| real!(c"preadv64v2", VectorWith, fd, parts, count, offset, flags);
    // SAFETY: the program's own arguments. JUSTIFICATION: it called us.
    unsafe { into_parts(parts.cast(), many, call) }
}

/// # Safety
/// As `recvmsg`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvmsg(fd: c_int, header: *mut c_void, flags: c_int) -> isize {
    type Message = unsafe extern "C" fn(c_int, *mut Header, c_int) -> isize;
    let header = header.cast::<Header>();
    let call = |header| real!(c"recvmsg", Message, fd, header, flags);
    if header.is_null() || tickfs_link_1.base.load(Ordering::Acquire) == 0 {
        return call(header);
    }
    // SAFETY: the program's own. JUSTIFICATION: C's own structure.
    let given = unsafe { &mut *header };
    let (parts, count) = (given.parts, given.count);
    let with = |others: *const Part| {
        given.parts = others.cast_mut();
        let came = call(header);
        given.parts = parts;
        came
    };
    // SAFETY: as above. JUSTIFICATION: as above.
    unsafe { into_parts(parts, count, with) }
}

// The signal

fn is_ours(signal: c_int) -> bool {
    signal != 0 && tickfs_link_1.signal.load(Ordering::Acquire) == signal
}

type SetAction = link::SetAction;

/// # Safety
/// As `sigaction`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigaction(signal: c_int, action: *const c_void, previous: *mut c_void) -> c_int {
    let (action, previous) = (action.cast::<Action>(), previous.cast::<Action>());
    if !is_ours(signal) {
        if action.is_null() || tickfs_link_1.signal.load(Ordering::Acquire) == 0 {
            return real!(c"sigaction", SetAction, signal, action, previous);
        }
        // SAFETY: the program's own. JUSTIFICATION: C's own structure.
        let mut action = unsafe { *action };
        unblock(&mut action.mask[0]);
        return real!(c"sigaction", SetAction, signal, &raw const action, previous);
    }
    let before = tickfs_link_1.action();
    if !action.is_null() {
        // SAFETY: the program's own. JUSTIFICATION: C's own structure.
        tickfs_link_1.set_own_action(unsafe { *action });
    }
    if !previous.is_null() {
        // SAFETY: the program's own. JUSTIFICATION: as above.
        unsafe { *previous = before };
    }
    0
}

/// # Safety
/// As `signal`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn signal(signal: c_int, handler: usize) -> usize {
    type Old = unsafe extern "C" fn(c_int, usize) -> usize;
    if !is_ours(signal) {
        return real!(c"signal", Old, signal, handler);
    }
    let before = tickfs_link_1.action();
    const RESTART: c_int = 0x1000_0000;
    tickfs_link_1.set_own_action(Action { handler, flags: RESTART, ..Action::DEFAULT });
    before.handler
}

/// The signal is never blocked: a fault that is blocked ends the program.
fn unblock(set: &mut u64) {
    let signal = tickfs_link_1.signal.load(Ordering::Acquire);
    if signal > 0 {
        *set &= !(1 << (signal - 1));
    }
}

const UNBLOCK: c_int = 1;

/// The set without our signal, if the program would block it.
///
/// # Safety
/// `set` is null, or the program's own.
unsafe fn unblocked(how: c_int, set: *const c_void) -> Option<[u64; 16]> {
    if how == UNBLOCK || set.is_null() || tickfs_link_1.signal.load(Ordering::Acquire) == 0 {
        return None;
    }
    // SAFETY: as the caller promises. JUSTIFICATION: C's own structure.
    let mut set = unsafe { *set.cast::<[u64; 16]>() };
    unblock(&mut set[0]);
    Some(set)
}

type SetMask = unsafe extern "C" fn(c_int, *const c_void, *mut c_void) -> c_int;

/// # Safety
/// As `pthread_sigmask`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_sigmask(how: c_int, set: *const c_void, previous: *mut c_void) -> c_int {
    // SAFETY: the program's own. JUSTIFICATION: it called us.
    let other = unsafe { unblocked(how, set) };
    let set = other.as_ref().map_or(set, |set| set.as_ptr().cast());
    real!(c"pthread_sigmask", SetMask, how, set, previous)
}

/// # Safety
/// As `sigprocmask`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigprocmask(how: c_int, set: *const c_void, previous: *mut c_void) -> c_int {
    // SAFETY: the program's own. JUSTIFICATION: it called us.
    let other = unsafe { unblocked(how, set) };
    let set = other.as_ref().map_or(set, |set| set.as_ptr().cast());
    real!(c"sigprocmask", SetMask, how, set, previous)
}

/// Runs when the library is loaded, before the program.
extern "C" fn started() {
    static ACTION: Real = Real(AtomicPtr::new(ptr::null_mut()), c"sigaction");
    tickfs_link_1.set_action.store(ACTION.address(), Ordering::Release);
}

#[used]
#[unsafe(link_section = ".init_array")]
static STARTED: extern "C" fn() = started;
