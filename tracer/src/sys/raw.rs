//! The functions of libc that are called by hand, because the agents are built from the standard library alone.

use std::ffi::{c_char, c_int, c_long, c_short, c_uint, c_ulong, c_void};

pub(crate) const PROT_READ: c_int = 1;
pub(crate) const PROT_READ_WRITE: c_int = 3;
pub(crate) const PROT_READ_EXEC: c_int = 5;
pub(crate) const MAP_SHARED: c_int = 1;
pub(crate) const MAP_FIXED: c_int = 0x10;
pub(crate) const MAP_PRIVATE_ANONYMOUS: c_int = 0x22;
pub(crate) const MADV_DONTNEED: c_int = 4;
pub(crate) const MADV_REMOVE: c_int = 9;
pub(crate) const MFD_CLOEXEC: c_uint = 1;
pub(crate) const SIG_SETMASK: c_int = 2;
pub(crate) const CLOCK_REALTIME: c_int = 0;
pub(crate) const POLLERR: c_short = 8;
pub(crate) const POLLHUP: c_short = 16;
pub(crate) const MSG_DONTWAIT: c_int = 0x40;
pub(crate) const MSG_NOSIGNAL: c_int = 0x4000;
pub(crate) const F_DUPFD_CLOEXEC: c_int = 1030;
#[cfg(target_arch = "x86_64")]
pub(crate) const SYS_GETTID: c_long = 186;
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const SYS_GETTID: c_long = 178;

#[repr(C)]
pub(crate) struct Timespec {
    pub(crate) seconds: i64,
    pub(crate) nanos: i64,
}

#[repr(C)]
pub(crate) struct PollFd {
    pub(crate) fd: c_int,
    pub(crate) events: c_short,
    pub(crate) revents: c_short,
}

unsafe extern "C" {
    pub(crate) fn mmap(
        at: *mut c_void,
        len: usize,
        protection: c_int,
        flags: c_int,
        fd: c_int,
        offset: i64,
    ) -> *mut c_void;
    pub(crate) fn munmap(at: *mut c_void, len: usize) -> c_int;
    pub(crate) fn mprotect(at: *mut c_void, len: usize, protection: c_int) -> c_int;
    pub(crate) fn madvise(at: *mut c_void, len: usize, advice: c_int) -> c_int;
    pub(crate) fn memfd_create(name: *const c_char, flags: c_uint) -> c_int;
    pub(crate) fn ftruncate(fd: c_int, len: i64) -> c_int;
    pub(crate) fn ioctl(fd: c_int, command: c_ulong, ...) -> c_int;
    pub(crate) fn sched_yield() -> c_int;
    pub(crate) fn raise(signal: c_int) -> c_int;
    pub(crate) fn pthread_sigmask(how: c_int, set: *const c_void, previous: *mut c_void) -> c_int;
    pub(crate) fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    pub(crate) fn memcpy(to: *mut c_void, from: *const c_void, len: usize) -> *mut c_void;
    pub(crate) fn __errno_location() -> *mut c_int;
    pub(crate) fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
    pub(crate) fn poll(fds: *mut PollFd, count: c_ulong, timeout_ms: c_int) -> c_int;
    pub(crate) fn send(fd: c_int, bytes: *const c_void, len: usize, flags: c_int) -> isize;
    pub(crate) fn recv(fd: c_int, bytes: *mut c_void, len: usize, flags: c_int) -> isize;
    fn sendmsg(fd: c_int, message: *const Message, flags: c_int) -> isize;
    pub(crate) fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    pub(crate) fn syscall(number: c_long, ...) -> c_long;
    pub(crate) fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    pub(crate) fn close(fd: c_int) -> c_int;
    pub(crate) fn pthread_atfork(
        prepare: Option<unsafe extern "C" fn()>,
        parent: Option<unsafe extern "C" fn()>,
        child: Option<unsafe extern "C" fn()>,
    ) -> c_int;
}

/// A copy of a descriptor, out of the way of programs that count on low numbers: from 700 on, or as high as the limit allows.
pub(crate) fn copied_aside(fd: c_int) -> Option<c_int> {
    [700, 180, 40, 3].into_iter().find_map(|least| {
        // SAFETY: a command and no memory. JUSTIFICATION: the standard library needs an owner.
        let copy = unsafe { fcntl(fd, F_DUPFD_CLOEXEC, least) };
        (copy >= 0).then_some(copy)
    })
}

#[repr(C)]
struct Message {
    name: *mut c_void,
    name_len: c_uint,
    parts: *mut [usize; 2],
    count: usize,
    control: *mut c_void,
    control_len: usize,
    flags: c_int,
}

/// Sends bytes, and a descriptor with them.
pub(crate) fn send_with(socket: c_int, bytes: &[u8], fd: Option<c_int>) -> bool {
    const RIGHTS: u64 = 1 << 32 | 1;
    let mut part = [bytes.as_ptr().expose_provenance(), bytes.len()];
    // Length, kind, the descriptor.
    let mut control = [20_u64, RIGHTS, fd.map_or(0, |fd| u64::from(fd.cast_unsigned()))];
    let control_len = fd.map_or(0, |_| size_of_val(&control));
    let message = Message {
        name: std::ptr::null_mut(),
        name_len: 0,
        parts: &raw mut part,
        count: 1,
        control: if fd.is_some() { (&raw mut control).cast() } else { std::ptr::null_mut() },
        control_len,
        flags: 0,
    };
    loop {
        // SAFETY: all that it names lives here. JUSTIFICATION: the standard library sends no descriptors.
        let sent = unsafe { sendmsg(socket, &raw const message, MSG_NOSIGNAL) };
        if sent >= 0 || !was_interrupted() {
            return usize::try_from(sent) == Ok(bytes.len());
        }
    }
}

/// The call before this one was, by a signal.
pub(crate) fn was_interrupted() -> bool {
    std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted
}
