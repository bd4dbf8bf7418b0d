//! How memory is protected: by `userfaultfd`, which needs no right where only the program's own writes count, or by
//! `mprotect`. Either way a write raises a signal in the thread that writes, and the page stays as it is.

use std::ffi::{c_int, c_void};
use std::ptr;

use super::raw;

const SYS_USERFAULTFD: i64 = 323;
const USER_MODE_ONLY: c_int = 1;
const CLOSE_ON_EXEC: c_int = 0o2_000_000;
const API: u64 = 0xAA;
const IOCTL_API: u64 = 0xC018_AA3F;
const IOCTL_REGISTER: u64 = 0xC020_AA00;
const IOCTL_PROTECT: u64 = 0xC018_AA06;
const MODE_PROTECT: u64 = 2;
/// Protection, the signal, protection of shared memory, of pages that nobody has touched.
const FEATURES: u64 = 1 | 1 << 7 | 1 << 12 | 1 << 13;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protection {
    Userfault(c_int),
    Mprotect,
}

impl Protection {
    /// What this system lets us do; the range is mapped, and whole pages.
    pub(crate) fn best(base: *mut c_void, len: usize) -> Self {
        userfault(base, len).map_or(Self::Mprotect, Self::Userfault)
    }

    /// It is not used any more.
    pub(crate) fn close(self) {
        if let Self::Userfault(file) = self {
            // SAFETY: it was opened here. JUSTIFICATION: the standard library needs an owner.
            unsafe { raw::close(file) };
        }
    }

    /// SIGBUS or SIGSEGV.
    pub(crate) fn signal(self) -> c_int {
        match self {
            Self::Userfault(_) => 7,
            Self::Mprotect => 11,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Userfault(_) => "uffd-sigbus",
            Self::Mprotect => "mprotect",
        }
    }

    /// Protects whole pages, or opens them. `false`: the kernel would not.
    pub(crate) fn set(self, at: *mut c_void, len: usize, closed: bool) -> bool {
        match self {
            Self::Userfault(file) => {
                let mut range = [at.addr() as u64, len as u64, u64::from(closed)];
                ioctl(file, IOCTL_PROTECT, range.as_mut_ptr())
            }
            Self::Mprotect => {
                let protection = if closed { raw::PROT_READ } else { raw::PROT_READ_WRITE };
                // SAFETY: pages of the arena, which nothing but watched values lies in. JUSTIFICATION: no safe way.
                unsafe { raw::mprotect(at, len, protection) == 0 }
            }
        }
    }
}

fn userfault(base: *mut c_void, len: usize) -> Option<c_int> {
    // SAFETY: flags alone. JUSTIFICATION: the standard library knows no such thing.
    let file = unsafe { raw::syscall(SYS_USERFAULTFD, CLOSE_ON_EXEC | USER_MODE_ONLY) };
    let file = c_int::try_from(file).ok().filter(|&file| file >= 0)?;
    let mut api = [API, FEATURES, 0];
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
