//! Which SQL statement runs in a thread of a traced Python program: for hooks, and for the fault handler.
//!
//! The shim keeps it in a `ContextVar`, so that threads and tasks have their own. With the GIL it can be read, without running
//! any code of Python's. A thread that writes while it has let go of the GIL is asked what it set last, which holds as long as
//! it is still in the same context.

use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::{Object, Py_DecRef, PyErr_Clear, PyObject, arguments, failed, kept, none, small};

unsafe extern "C" {
    fn PyContextVar_Get(variable: Object, default: Object, value: *mut Object) -> c_int;
}

/// The shim's `ContextVar`; null: no query ever ran.
static QUERY: AtomicPtr<PyObject> = AtomicPtr::new(ptr::null_mut());

/// `query_runs(number)`: from here on, in this thread and context. Gives the context, if it is known, to be kept until the next
/// call: another one at its address would be taken for it.
pub(super) unsafe extern "C" fn query_runs(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[number] = (unsafe { arguments(args, count) }) else { return failed(c"query_runs takes number") };
    #[cfg(target_arch = "x86_64")]
    return without_lock::note(small(number)).map_or_else(none, kept);
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _only_the_fault_handler_asks = number;
        none()
    }
}

/// `queries(variable)`: where the number of the query that runs is kept.
pub(super) unsafe extern "C" fn queries(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[variable] = (unsafe { arguments(args, count) }) else { return failed(c"queries takes variable") };
    #[cfg(target_arch = "x86_64")]
    without_lock::prepare();
    QUERY.store(kept(variable), Ordering::Release);
    none()
}

/// The number of the query that runs here; 0: none. The GIL is held.
pub(super) fn query() -> u32 {
    let variable = QUERY.load(Ordering::Acquire);
    if variable.is_null() {
        return 0;
    }
    let mut value = ptr::null_mut();
    // SAFETY: a live ContextVar and a valid place; the GIL is held. JUSTIFICATION: CPython's own.
    let found = unsafe { PyContextVar_Get(variable, ptr::null_mut(), &raw mut value) } == 0;
    if !found {
        // SAFETY: clears what the call set: tracing never raises. JUSTIFICATION: CPython's own.
        unsafe { PyErr_Clear() };
    }
    if value.is_null() {
        return 0;
    }
    let number = small(value);
    // SAFETY: a reference that was given. JUSTIFICATION: CPython counts references.
    unsafe { Py_DecRef(value) };
    number
}

#[cfg(target_arch = "x86_64")]
pub(super) use without_lock::of_thread;

#[cfg(target_arch = "x86_64")]
mod without_lock {
    use std::cell::Cell;
    use std::ffi::c_void;
    use std::sync::atomic::AtomicUsize;

    use super::super::python_walk::peek;
    use super::super::raw;
    use super::*;

    unsafe extern "C" {
        static mut PyContext_Type: PyObject;
        fn PyGILState_GetThisThreadState() -> *mut c_void;
    }

    type Current = unsafe extern "C" fn() -> *mut c_void;

    /// Tells the state that runs here; its name has changed.
    static CURRENT: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    /// From a thread's state to its context; 0: not known.
    static TO_CONTEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static LAST: Cell<(usize, u32)> = const { Cell::new((0, 0)) });

    pub(super) fn prepare() {
        for name in [c"PyThreadState_GetUnchecked", c"_PyThreadState_UncheckedGet"] {
            // SAFETY: a name that ends with a zero. JUSTIFICATION: not each version has it.
            let found = unsafe { raw::dlsym(ptr::null_mut(), name.as_ptr()) };
            if !found.is_null() {
                CURRENT.store(found, Ordering::Release);
            }
        }
    }

    fn own_state() -> *mut c_void {
        // SAFETY: may be called anywhere; null where this is no thread of Python's. JUSTIFICATION: CPython's own.
        unsafe { PyGILState_GetThisThreadState() }
    }

    fn holds_lock(state: *mut c_void) -> bool {
        let current = CURRENT.load(Ordering::Acquire);
        if current.is_null() {
            return false;
        }
        // SAFETY: it was found by its name. JUSTIFICATION: an address has no type.
        let current = unsafe { std::mem::transmute::<*mut c_void, Current>(current) };
        // SAFETY: may be called anywhere. JUSTIFICATION: CPython's own.
        unsafe { current() == state }
    }

    /// The context of a thread that stands still.
    fn context(state: *mut c_void) -> usize {
        match TO_CONTEXT.load(Ordering::Acquire) {
            0 => 0,
            // SAFETY: the state is this thread's own, and a word was found there. JUSTIFICATION: CPython tells nobody
            // without the GIL.
            far => unsafe { state.wrapping_byte_add(far).cast::<usize>().read() },
        }
    }

    pub(super) fn note(number: u32) -> Option<Object> {
        let state = own_state();
        if TO_CONTEXT.load(Ordering::Acquire) == 0 {
            let kind = (&raw mut PyContext_Type).addr();
            let is_context = |at: usize| at > 4096 && peek::<2>(at).is_some_and(|words| words[1] == kind);
            let words = peek::<64>(state.addr()).unwrap_or([0; 64]);
            if let Some(place) = words.into_iter().position(is_context) {
                TO_CONTEXT.store(place * 8, Ordering::Release);
            }
        }
        let context = if number == 0 { 0 } else { context(state) };
        LAST.with(|last| last.set((context, number)));
        (context != 0).then(|| ptr::with_exposed_provenance_mut(context))
    }

    /// The number of the query that runs in the thread that asks, which may be in the middle of anything.
    pub(crate) fn of_thread() -> u32 {
        if QUERY.load(Ordering::Acquire).is_null() {
            return 0;
        }
        let state = own_state();
        if state.is_null() {
            return 0;
        }
        if holds_lock(state) {
            return query();
        }
        let (known, number) = LAST.with(Cell::get);
        if known != 0 && known == context(state) { number } else { 0 }
    }
}
