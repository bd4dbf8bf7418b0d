//! What the preloaded library and the agent know of each other, in one place of memory that both can see.
//!
//! The library comes first and knows nothing; the agent finds the link by its name and fills it in. While `base` and
//! `signal` are 0, the library does what the C library does, and nothing else.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

/// The C library's `struct sigaction` on Linux.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Action {
    pub(crate) handler: usize,
    pub(crate) mask: [u64; 16],
    pub(crate) flags: c_int,
    pub(crate) restorer: usize,
}

pub(crate) const DEFAULT: usize = 0;

impl Action {
    pub(crate) const DEFAULT: Self = Self { handler: DEFAULT, mask: [0; 16], flags: 0, restorer: 0 };
}

#[allow(dead_code, reason = "the agent calls one")]
pub(crate) type SetAction = unsafe extern "C" fn(c_int, *const Action, *mut Action) -> c_int;

#[repr(C)]
pub(crate) struct Link {
    /// Where the protected memory begins, how long it is, and how far behind it the same memory is open.
    pub(crate) base: AtomicUsize,
    pub(crate) len: AtomicUsize,
    pub(crate) distance: AtomicUsize,
    /// A function of an address and a length: the kernel has written there.
    pub(crate) wrote: AtomicPtr<c_void>,
    /// The signal that tells of a write, which the agent handles; what the program does with it stands in `actions`.
    pub(crate) signal: AtomicI32,
    /// A `SetAction`: the C library's own.
    pub(crate) set_action: AtomicPtr<c_void>,
    /// Which of `actions` holds.
    pub(crate) which: AtomicU32,
    pub(crate) actions: std::cell::UnsafeCell<[Action; 2]>,
    pub(crate) writing: AtomicU32,
}

// SAFETY: `actions` is written under `writing`, at the place that `which` does not name; the rest is atomic.
unsafe impl Sync for Link {}

impl Link {
    #[allow(dead_code, reason = "the library makes it, and the agent finds it")]
    pub(crate) const fn new() -> Self {
        Self {
            base: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            distance: AtomicUsize::new(0),
            wrote: AtomicPtr::new(std::ptr::null_mut()),
            signal: AtomicI32::new(0),
            set_action: AtomicPtr::new(std::ptr::null_mut()),
            which: AtomicU32::new(0),
            actions: std::cell::UnsafeCell::new([Action::DEFAULT; 2]),
            writing: AtomicU32::new(0),
        }
    }

    /// What the program does with the signal.
    pub(crate) fn action(&self) -> Action {
        let which = self.which.load(Ordering::Acquire) as usize & 1;
        let actions = self.actions.get();
        // SAFETY: the place that `which` names is not written. JUSTIFICATION: a signal handler may take no lock.
        unsafe { (*actions)[which] }
    }

    pub(crate) fn set_own_action(&self, action: Action) {
        while self.writing.swap(1, Ordering::Acquire) != 0 {
            std::hint::spin_loop();
        }
        let free = (self.which.load(Ordering::Acquire) as usize & 1) ^ 1;
        let actions = self.actions.get();
        // SAFETY: only this thread writes, and nobody reads the place that is not named. JUSTIFICATION: as above.
        unsafe { (*actions)[free] = action };
        self.which.store(u32::try_from(free).unwrap_or(0), Ordering::Release);
        self.writing.store(0, Ordering::Release);
    }
}
