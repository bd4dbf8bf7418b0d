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

/// Takes the place of functions of C; those that differ in their names alone stand together. `$real` is what would have been
/// called without us.
macro_rules! instead {
    ([$($name:ident)+] $arguments:tt -> $result:ty, |$real:ident| $body:expr) => {
        $(instead!($name $arguments -> $result, |$real| $body);)+
    };
    ($name:ident ($($argument:ident: $kind:ty),+) -> $result:ty, |$real:ident| $body:expr) => {
        /// # Safety
        /// As the C library's function of this name.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $kind),+) -> $result {
            const NAME: &[u8] = concat!(stringify!($name), "\0").as_bytes();
            const C_NAME: &CStr = match CStr::from_bytes_with_nul(NAME) {
                Ok(name) => name,
                Err(_) => panic!("a name ends with its zero"),
            };
            static REAL: Real = Real(AtomicPtr::new(ptr::null_mut()), C_NAME);
            type Function = unsafe extern "C" fn($($kind),+) -> $result;
            let $real = |$($argument: $kind),+| {
                // SAFETY: the loader found it by its name, and this is its type. JUSTIFICATION: an address has no type.
                let function = unsafe { std::mem::transmute::<*mut c_void, Function>(REAL.address()) };
                // SAFETY: the program's own arguments, or the same memory by its other address. JUSTIFICATION: as above.
                unsafe { function($($argument),+) }
            };
            $body
        }
    };
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

instead!([read] (fd: c_int, at: *mut c_void, len: usize) -> isize, |real| into(at, |at| real(fd, at, len)));

instead!([__read_chk] (fd: c_int, at: *mut c_void, len: usize, room: usize) -> isize, |real| {
    into(at, |at| real(fd, at, len, room))
});

instead!([pread pread64] (fd: c_int, at: *mut c_void, len: usize, offset: i64) -> isize, |real| {
    into(at, |at| real(fd, at, len, offset))
});

instead!([recv] (fd: c_int, at: *mut c_void, len: usize, flags: c_int) -> isize, |real| {
    into(at, |at| real(fd, at, len, flags))
});

instead!([__recv_chk] (fd: c_int, at: *mut c_void, len: usize, room: usize, flags: c_int) -> isize, |real| {
    into(at, |at| real(fd, at, len, room, flags))
});

instead!(
    [recvfrom]
    (fd: c_int, at: *mut c_void, len: usize, flags: c_int, from: *mut c_void, from_len: *mut c_uint) -> isize,
    |real| into(at, |at| real(fd, at, len, flags, from, from_len))
);

instead!([getrandom] (at: *mut c_void, len: usize, flags: c_uint) -> isize, |real| {
    into(at, |at| real(at, len, flags))
});

instead!([getentropy] (at: *mut c_void, len: usize) -> c_int, |real| {
    let Some(open) = open(at) else { return real(at, len) };
    let status = real(open, len);
    wrote(at.addr(), if status == 0 { len } else { 0 });
    status
});

instead!([fread] (at: *mut c_void, size: usize, count: usize, file: *mut c_void) -> usize, |real| {
    let Some(open) = open(at) else { return real(at, size, count, file) };
    let whole = real(open, size, count, file);
    // The last one may have come in part.
    wrote(at.addr(), size.saturating_mul(count));
    whole
});

// Whatever its last argument is, it comes in one register.
instead!([ioctl] (fd: c_int, command: c_ulong, at: *mut c_void) -> c_int, |real| {
    let Some(open) = open(at) else { return real(fd, command, at) };
    let status = real(fd, command, open);
    // Its number says how much, for the newer ones.
    let size = usize::try_from(command >> 16 & 0x3FFF).unwrap_or(0);
    wrote(at.addr(), size.max(1024));
    status
});

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

/// `parts` are `count` valid entries, if `count` is one that the kernel would take.
fn into_parts(parts: *const Part, count: usize, call: impl FnOnce(*const Part) -> isize) -> isize {
    const MOST: usize = 1024;
    if parts.is_null() || count > MOST || tickfs_link_1.base.load(Ordering::Acquire) == 0 {
        return call(parts);
    }
    // SAFETY: the program's own arguments, as it would give them to the kernel. JUSTIFICATION: C's own array.
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

fn many(count: c_int) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

instead!([readv] (fd: c_int, parts: *const c_void, count: c_int) -> isize, |real| {
    into_parts(parts.cast(), many(count), |parts| real(fd, parts.cast(), count))
});

instead!([preadv preadv64] (fd: c_int, parts: *const c_void, count: c_int, offset: i64) -> isize, |real| {
    into_parts(parts.cast(), many(count), |parts| real(fd, parts.cast(), count, offset))
});

instead!(
    [preadv2 preadv64v2]
    (fd: c_int, parts: *const c_void, count: c_int, offset: i64, flags: c_int) -> isize,
    |real| into_parts(parts.cast(), many(count), |parts| real(fd, parts.cast(), count, offset, flags))
);

instead!([recvmsg] (fd: c_int, header: *mut c_void, flags: c_int) -> isize, |real| {
    if header.is_null() || tickfs_link_1.base.load(Ordering::Acquire) == 0 {
        return real(fd, header, flags);
    }
    let header = header.cast::<Header>();
    // SAFETY: the program's own. JUSTIFICATION: C's own structure.
    let given = unsafe { header.read() };
    into_parts(given.parts, given.count, |others| {
        // SAFETY: as above. JUSTIFICATION: as above.
        unsafe { (*header).parts = others.cast_mut() };
        let came = real(fd, header.cast(), flags);
        // SAFETY: as above. JUSTIFICATION: as above.
        unsafe { (*header).parts = given.parts };
        came
    })
});

// The signal

fn is_ours(signal: c_int) -> bool {
    signal != 0 && tickfs_link_1.signal.load(Ordering::Acquire) == signal
}

instead!([sigaction] (signal: c_int, action: *const c_void, previous: *mut c_void) -> c_int, |real| {
    if !is_ours(signal) {
        if action.is_null() || tickfs_link_1.signal.load(Ordering::Acquire) == 0 {
            return real(signal, action, previous);
        }
        // SAFETY: the program's own. JUSTIFICATION: C's own structure.
        let mut action = unsafe { *action.cast::<Action>() };
        unblock(&mut action.mask[0]);
        return real(signal, (&raw const action).cast(), previous);
    }
    let before = tickfs_link_1.action();
    if !action.is_null() {
        // SAFETY: the program's own. JUSTIFICATION: C's own structure.
        tickfs_link_1.set_own_action(unsafe { *action.cast::<Action>() });
    }
    if !previous.is_null() {
        // SAFETY: the program's own. JUSTIFICATION: as above.
        unsafe { *previous.cast::<Action>() = before };
    }
    0
});

instead!([signal] (signal: c_int, handler: usize) -> usize, |real| {
    if !is_ours(signal) {
        return real(signal, handler);
    }
    let before = tickfs_link_1.action();
    const RESTART: c_int = 0x1000_0000;
    tickfs_link_1.set_own_action(Action { handler, flags: RESTART, ..Action::DEFAULT });
    before.handler
});

/// The signal is never blocked: a fault that is blocked ends the program.
fn unblock(set: &mut u64) {
    let signal = tickfs_link_1.signal.load(Ordering::Acquire);
    if signal > 0 {
        *set &= !(1 << (signal - 1));
    }
}

const UNBLOCK: c_int = 1;

/// The set, which may be null, without our signal, if the program would block it.
fn unblocked(how: c_int, set: *const c_void) -> Option<[u64; 16]> {
    if how == UNBLOCK || set.is_null() || tickfs_link_1.signal.load(Ordering::Acquire) == 0 {
        return None;
    }
    // SAFETY: the program's own. JUSTIFICATION: C's own structure.
    let mut set = unsafe { *set.cast::<[u64; 16]>() };
    unblock(&mut set[0]);
    Some(set)
}

instead!([pthread_sigmask sigprocmask] (how: c_int, set: *const c_void, previous: *mut c_void) -> c_int, |real| {
    let other = unblocked(how, set);
    real(how, other.as_ref().map_or(set, |set| set.as_ptr().cast()), previous)
});

/// Runs when the library is loaded, before the program.
extern "C" fn started() {
    static ACTION: Real = Real(AtomicPtr::new(ptr::null_mut()), c"sigaction");
    tickfs_link_1.set_action.store(ACTION.address(), Ordering::Release);
}

#[used]
#[unsafe(link_section = ".init_array")]
static STARTED: extern "C" fn() = started;
