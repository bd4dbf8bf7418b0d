//! How memory is protected: by `userfaultfd`, which needs no right where only the program's own writes count, or by
//! `mprotect`. Where writes raise a signal in the thread that writes, the page stays as it is. Where the tracer opens pages,
//! it alone has the descriptor: when it dies, whoever waits goes on. Where pages are only marked, nobody waits.

use std::ffi::{c_int, c_void};
use std::ptr;

use super::{Mode, Seen, raw};

const SYS_USERFAULTFD: i64 = 323;
const USER_MODE_ONLY: c_int = 1;
const CLOSE_ON_EXEC: c_int = 0o2_000_000;
const NO_WAIT: c_int = 0o4_000;
const API: u64 = 0xAA;
const IOCTL_API: u64 = 0xC018_AA3F;
const IOCTL_REGISTER: u64 = 0xC020_AA00;
const IOCTL_PROTECT: u64 = 0xC018_AA06;
const MODE_PROTECT: u64 = 2;
/// Protection, that of shared memory, of pages that nobody has touched.
const FEATURES: u64 = 1 | 1 << 12 | 1 << 13;
const SIGNAL: u64 = 1 << 7;
const THREAD: u64 = 1 << 8;
const ASYNC: u64 = 1 << 15;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protection {
    Userfault(c_int),
    Mprotect,
    /// The tracer protects what it is asked to on this socket.
    Tracer(c_int),
    /// The kernel marks pages that are written.
    Marked(c_int),
    /// Memory is compared.
    Nothing,
}

impl Protection {
    /// What this system lets us do in this mode; the range is mapped, and whole pages.
    pub(crate) fn of(mode: Mode, base: *mut c_void, len: usize, channel: c_int) -> Option<Self> {
        match mode {
            Mode::Signal => Some(Self::best(base, len)),
            Mode::Handler => {
                let (file, _kernel) = for_tracer(base, len)?;
                let given = give(channel, base, Some(file));
                // SAFETY: it was opened here; the tracer has its own. JUSTIFICATION: the standard library needs an owner.
                unsafe { raw::close(file) };
                given.then_some(Self::Tracer(channel))
            }
            Mode::Coarse => {
                let (file, map) = marked(base, len).unzip();
                let given = give(channel, base, map);
                if let Some(map) = map {
                    // SAFETY: as above. JUSTIFICATION: as above.
                    unsafe { raw::close(map) };
                }
                given.then(|| file.map_or(Self::Nothing, Self::Marked))
            }
        }
    }

    fn best(base: *mut c_void, len: usize) -> Self {
        userfault(base, len, FEATURES | SIGNAL, USER_MODE_ONLY).map_or(Self::Mprotect, Self::Userfault)
    }

    /// The same, and nothing stays of it.
    pub(crate) fn probe(mode: Mode, base: *mut c_void, len: usize) -> Option<Seen> {
        let (protection, raw, kernel) = match mode {
            Mode::Signal => match Self::best(base, len) {
                Self::Mprotect => (Self::Mprotect, "mprotect", "preload"),
                protection => (protection, "uffd-sigbus", "preload"),
            },
            Mode::Handler => {
                let (file, kernel) = for_tracer(base, len)?;
                (Self::Userfault(file), "uffd-handler", if kernel { "handler" } else { "preload" })
            }
            Mode::Coarse => match marked(base, len) {
                Some((file, map)) => {
                    // SAFETY: it was opened here. JUSTIFICATION: the standard library needs an owner.
                    unsafe { raw::close(map) };
                    (Self::Marked(file), "pagemap-scan", "pagemap-scan")
                }
                None => (Self::Nothing, "compare", "compare"),
            },
        };
        let works = protection.set(base, len, true) && protection.set(base, len, false);
        protection.close();
        works.then_some(Seen { mode, raw, kernel })
    }

    /// It is not used any more.
    pub(crate) fn close(self) {
        if let Self::Userfault(file) | Self::Tracer(file) | Self::Marked(file) = self {
            // SAFETY: it was opened here. JUSTIFICATION: the standard library needs an owner.
            unsafe { raw::close(file) };
        }
    }

    /// SIGBUS or SIGSEGV; 0: none.
    pub(crate) fn signal(self) -> c_int {
        match self {
            Self::Userfault(_) => 7,
            Self::Mprotect => 11,
            Self::Tracer(_) | Self::Marked(_) | Self::Nothing => 0,
        }
    }

    /// Protects whole pages, or opens them. `false`: the kernel would not.
    pub(crate) fn set(self, at: *mut c_void, len: usize, closed: bool) -> bool {
        match self {
            Self::Userfault(file) | Self::Marked(file) => protect(file, at.addr(), len, closed),
            Self::Mprotect => {
                let protection = if closed { raw::PROT_READ } else { raw::PROT_READ_WRITE };
                // SAFETY: pages of the arena, which nothing but watched values lies in. JUSTIFICATION: no safe way.
                unsafe { raw::mprotect(at, len, protection) == 0 }
            }
            Self::Tracer(channel) => {
                let mut question = [0; QUESTION];
                question[..8].copy_from_slice(&(at.addr() as u64).to_le_bytes());
                question[8..16].copy_from_slice(&(len as u64).to_le_bytes());
                question[16] = u8::from(closed);
                raw::send_with(channel, &question, None) && answered(channel)
            }
            Self::Nothing => true,
        }
    }
}

/// Address, length, whether it is to be closed.
pub(crate) const QUESTION: usize = 17;

/// Tells the tracer where the memory lies, and gives it what it watches it with.
fn give(channel: c_int, base: *mut c_void, file: Option<c_int>) -> bool {
    let told = raw::send_with(channel, &(base.addr() as u64).to_le_bytes(), file);
    told && answered(channel)
}

/// A tracer that is gone answers nothing.
fn answered(channel: c_int) -> bool {
    let mut answer = 0_u8;
    loop {
        // SAFETY: one byte. JUSTIFICATION: the standard library needs an owner.
        let came = unsafe { raw::recv(channel, (&raw mut answer).cast(), 1, 0) };
        if came >= 0 || !raw::was_interrupted() {
            return came == 1 && answer == 1;
        }
    }
}

/// Protects pages of the process that made the descriptor.
pub(crate) fn protect(file: c_int, at: usize, len: usize, closed: bool) -> bool {
    let mut range = [at as u64, len as u64, u64::from(closed)];
    ioctl(file, IOCTL_PROTECT, range.as_mut_ptr())
}

/// Where the system lets us, with the faults of the kernel.
fn for_tracer(base: *mut c_void, len: usize) -> Option<(c_int, bool)> {
    [0, USER_MODE_ONLY].into_iter().find_map(|flag| {
        let file = userfault(base, len, FEATURES | THREAD, flag | NO_WAIT)?;
        Some((file, flag == 0))
    })
}

/// With the map of this process's pages, in which they are marked.
fn marked(base: *mut c_void, len: usize) -> Option<(c_int, c_int)> {
    let file = userfault(base, len, FEATURES | ASYNC, USER_MODE_ONLY)?;
    // SAFETY: a name that ends with a zero. JUSTIFICATION: the standard library needs an owner.
    let map = unsafe { raw::open(c"/proc/self/pagemap".as_ptr(), CLOSE_ON_EXEC) };
    let usable = map >= 0 && written(map, base.addr(), base.addr() + len).is_some();
    let aside = usable.then(|| raw::copied_aside(map)).flatten();
    if map >= 0 {
        // SAFETY: it was opened here. JUSTIFICATION: as above.
        unsafe { raw::close(map) };
    }
    if aside.is_none() {
        // SAFETY: as above. JUSTIFICATION: as above.
        unsafe { raw::close(file) };
    }
    Some((file, aside?))
}

/// Pages that follow each other.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Region {
    pub(crate) start: u64,
    pub(crate) end: u64,
    categories: u64,
}

/// Which pages were written since they were asked for last; they are marked anew. `None`: this system knows no such thing.
pub(crate) fn written(map: c_int, start: usize, end: usize) -> Option<Vec<Region>> {
    const SCAN: u64 = 0xC060_6610;
    /// Mark what matches; only where marks are made without a fault.
    const MARK: u64 = 1 | 2;
    const WRITTEN: u64 = 2;
    const ROOM: usize = 256;
    let mut found = Vec::new();
    let mut start = start as u64;
    while start < end as u64 {
        let mut regions = [Region::default(); ROOM];
        let place = regions.as_mut_ptr().expose_provenance() as u64;
        let room = ROOM as u64;
        let mut question = [96, MARK, start, end as u64, 0, place, room, 0, 0, WRITTEN, 0, WRITTEN];
        // SAFETY: the question is as the kernel wants it, and names room for its answer. JUSTIFICATION: no safe way.
        let count = unsafe { raw::ioctl(map, SCAN, question.as_mut_ptr().cast::<c_void>()) };
        let count = usize::try_from(count).ok()?;
        found.extend_from_slice(regions.get(..count)?);
        start = question[4].max(start + 1);
    }
    Some(found)
}

fn userfault(base: *mut c_void, len: usize, features: u64, flags: c_int) -> Option<c_int> {
    // SAFETY: flags alone. JUSTIFICATION: the standard library knows no such thing.
    let file = unsafe { raw::syscall(SYS_USERFAULTFD, CLOSE_ON_EXEC | flags) };
    let file = c_int::try_from(file).ok().filter(|&file| file >= 0)?;
    let mut api = [API, features, 0];
    let mut register = [base.addr() as u64, len as u64, MODE_PROTECT, 0];
    let usable = ioctl(file, IOCTL_API, api.as_mut_ptr())
        && ioctl(file, IOCTL_REGISTER, register.as_mut_ptr())
        && register[3] & 1 << 6 != 0;
    let moved = usable.then(|| raw::copied_aside(file)).flatten();
    // SAFETY: the file is ours; its copy keeps what was said. JUSTIFICATION: as above.
    unsafe { raw::close(file) };
    moved
}

fn ioctl(file: c_int, command: u64, argument: *mut u64) -> bool {
    debug_assert!(!ptr::eq(argument, ptr::null()), "each command here has an argument");
    // SAFETY: the argument is as long as the command says. JUSTIFICATION: as above.
    unsafe { raw::ioctl(file, command, argument.cast::<c_void>()) == 0 }
}
