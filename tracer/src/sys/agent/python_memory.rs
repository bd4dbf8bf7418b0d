//! Watched memory in a traced Python program: what the shim calls to put values there.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

use super::fault::{self, Hooks, arena::Slot};
use super::layout::Fixed;
use super::producer::thread_id;
use super::python_walk as walk;
use super::{
    MethodDef, Object, Py_IncRef, PyLong_FromUnsignedLong, RING, arguments, bytes_of, failed, method, none,
    number, query, small,
};

unsafe extern "C" {
    static mut _Py_TrueStruct: super::PyObject;
    static mut _Py_FalseStruct: super::PyObject;
    fn PyMemoryView_FromMemory(at: *mut c_char, len: isize, flags: c_int) -> Object;
    fn PyUnicode_FromStringAndSize(text: *const c_char, len: isize) -> Object;
    fn PyMem_GetAllocator(domain: c_int, allocator: *mut Allocator);
    fn PyMem_SetAllocator(domain: c_int, allocator: *mut Allocator);
    fn PyMem_Free(at: *mut c_void);
    fn PyObject_Free(at: *mut c_void);
}

const WRITABLE: c_int = 0x200;

pub(super) const METHODS: [MethodDef; 11] = [
    method(c"memory_start", start),
    method(c"memory_calibrate", calibrate),
    method(c"memory_take", take),
    method(c"memory_view", view),
    method(c"memory_close", close),
    method(c"memory_open", open),
    method(c"memory_free", free),
    method(c"memory_catch_up", catch_up),
    method(c"memory_changed", changed),
    method(c"memory_adopt", adopt),
    method(c"memory_holds", holds),
];

fn truth(truth: bool) -> Object {
    let object = if truth { &raw mut _Py_TrueStruct } else { &raw mut _Py_FalseStruct };
    // SAFETY: a constant of CPython. JUSTIFICATION: CPython counts references.
    unsafe { Py_IncRef(object) };
    object
}

fn size(object: Object) -> usize {
    usize::try_from(number(object)).unwrap_or(0)
}

fn slot(object: Object) -> Slot {
    Slot(small(object))
}

/// `memory_start(file, channel, mode)`: mode, `raw` and `kernel` as they are; raises RuntimeError with the reason where memory is
/// not watched.
unsafe extern "C" fn start(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[file, channel, mode] = (unsafe { arguments(args, count) }) else {
        return failed(c"memory_start takes file, channel and mode");
    };
    let hooks = Hooks { ring: || RING.get(), place: walk::place };
    BELOW.get_or_init(|| Below(allocators()));
    let descriptor = |object| c_int::try_from(number(object)).unwrap_or(-1);
    let mode = bytes_of(mode).unwrap_or_default();
    match fault::start(descriptor(file), descriptor(channel), mode, hooks) {
        Err(why) => failed(why),
        Ok(seen) => {
            let name = seen.to_string();
            let len = isize::try_from(name.len()).unwrap_or(0);
            // SAFETY: the text is as long as said, and is copied. JUSTIFICATION: CPython's own.
            unsafe { PyUnicode_FromStringAndSize(name.as_ptr().cast(), len) }
        }
    }
}

/// `memory_holds(address)`: whether watched memory is there.
unsafe extern "C" fn holds(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[address] = (unsafe { arguments(args, count) }) else {
        return failed(c"memory_holds takes address");
    };
    let offset = |base: usize| size(address).wrapping_sub(base);
    truth(fault::arena().is_some_and(|arena| offset(arena.base()) < arena.len()))
}

/// `memory_calibrate(inner, outer)`: frames, from which it is learned how this Python keeps them.
unsafe extern "C" fn calibrate(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[inner, outer] = (unsafe { arguments(args, count) }) else {
        return failed(c"memory_calibrate takes two frames");
    };
    truth(walk::calibrate(inner, outer))
}

/// `memory_take(len)`: a slot, or -1.
unsafe extern "C" fn take(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[len] = (unsafe { arguments(args, count) }) else { return failed(c"memory_take takes len") };
    match fault::take(size(len)) {
        // SAFETY: makes a number. JUSTIFICATION: CPython's own.
        Some((_arena, slot)) => unsafe { PyLong_FromUnsignedLong(u64::from(slot.0)) },
        None => none(),
    }
}

/// `memory_view(slot, len, open)`
unsafe extern "C" fn view(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[number_of, len, open] = (unsafe { arguments(args, count) }) else {
        return failed(c"memory_view takes slot, len and open");
    };
    let Some(arena) = fault::arena() else { return failed(c"there is no watched memory") };
    let at = arena.memory(slot(number_of), number(open) != 0);
    let len = isize::try_from(size(len)).unwrap_or(0);
    // SAFETY: the slot is so long, and its memory stays mapped. JUSTIFICATION: CPython's own.
    unsafe { PyMemoryView_FromMemory(at.cast(), len, WRITABLE) }
}

/// `memory_close(slot, variable)`: whether what is written there is recorded from now on.
unsafe extern "C" fn close(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[number_of, variable] = (unsafe { arguments(args, count) }) else {
        return failed(c"memory_close takes slot and variable");
    };
    truth(fault::arena().is_some_and(|arena| arena.close(slot(number_of), small(variable))))
}

/// `memory_open(slot, variable)`: it is the variable's no more.
unsafe extern "C" fn open(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[number_of, variable] = (unsafe { arguments(args, count) }) else {
        return failed(c"memory_open takes slot and variable");
    };
    if let Some(arena) = fault::arena().filter(|arena| arena.variable(slot(number_of)) == small(variable)) {
        arena.open(slot(number_of));
    }
    none()
}

/// `memory_free(slot)`
unsafe extern "C" fn free(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[number_of] = (unsafe { arguments(args, count) }) else { return failed(c"memory_free takes slot") };
    if let Some(arena) = fault::arena() {
        arena.free(slot(number_of));
    }
    none()
}

/// `memory_catch_up(slot)`: tells of what was written there unseen, before a hook writes, which then calls `memory_changed`.
unsafe extern "C" fn catch_up(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[number_of] = (unsafe { arguments(args, count) }) else {
        return failed(c"memory_catch_up takes slot");
    };
    if let Some(arena) = fault::arena() {
        arena.catch_up(slot(number_of));
    }
    none()
}

/// `memory_changed(slot, variable, site)`: records what a hook has changed. Whether the slot is still the variable's.
unsafe extern "C" fn changed(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[number_of, variable, site] = (unsafe { arguments(args, count) }) else {
        return failed(c"memory_changed takes slot, variable and site");
    };
    let (slot, variable, site) = (slot(number_of), small(variable), small(site));
    let Some(arena) = fault::arena().filter(|arena| !arena.is_stopped() && arena.variable(slot) == variable)
    else {
        return truth(false);
    };
    if arena.is_closed(slot) {
        let sql = query();
        arena.changed(slot, Fixed { variable, site, thread: thread_id(), sql, ..Fixed::default() });
        return truth(true);
    }
    truth(false)
}

// The memory of a `bytearray` and of an `array` is taken over: the object stays what it is, and points to a slot. When it
// grows, or goes, its memory comes back to CPython's allocator, which therefore has to know the arena.

#[repr(C)]
#[derive(Clone, Copy)]
struct Allocator {
    context: *mut c_void,
    malloc: Option<unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void>,
    calloc: Option<unsafe extern "C" fn(*mut c_void, usize, usize) -> *mut c_void>,
    realloc: Option<unsafe extern "C" fn(*mut c_void, *mut c_void, usize) -> *mut c_void>,
    free: Option<unsafe extern "C" fn(*mut c_void, *mut c_void)>,
}

impl Allocator {
    /// Its functions by their addresses: those of a library that stays loaded.
    fn places(&self) -> [usize; 5] {
        [
            self.context.addr(),
            self.malloc.map_or(0, |function| function as usize),
            self.calloc.map_or(0, |function| function as usize),
            self.realloc.map_or(0, |function| function as usize),
            self.free.map_or(0, |function| function as usize),
        ]
    }
}

const NO_ALLOCATOR: Allocator =
    Allocator { context: ptr::null_mut(), malloc: None, calloc: None, realloc: None, free: None };

struct Below([Allocator; 2]);

// SAFETY: set once, then only read; what it points to is CPython's.
unsafe impl Sync for Below {}
// SAFETY: as above.
unsafe impl Send for Below {}

/// What stood there when the program started.
static BELOW: OnceLock<Below> = OnceLock::new();
/// Of `mem` and of `obj`.
const DOMAINS: [c_int; 2] = [1, 2];

fn allocators() -> [Allocator; 2] {
    DOMAINS.map(|domain| {
        let mut found = NO_ALLOCATOR;
        // SAFETY: a valid place. JUSTIFICATION: CPython's own.
        unsafe { PyMem_GetAllocator(domain, &raw mut found) };
        found
    })
}

/// Puts ours before CPython's allocators; the GIL is held. `false`: somebody else has put his there since the start, and
/// will put back what he found without knowing of ours.
fn take_over_allocators() -> bool {
    static TAKEN: OnceLock<bool> = OnceLock::new();
    *TAKEN.get_or_init(|| {
        let now = allocators().map(|allocator| allocator.places());
        let unchanged = |below: &&Below| below.0.map(|allocator| allocator.places()) == now;
        let Some(below) = BELOW.get().filter(unchanged) else { return false };
        for (place, domain) in DOMAINS.into_iter().enumerate() {
            let mut ours = below.0[place];
            let (realloc, free): (ReallocOf, FreeOf) =
                if place == 0 { (realloc_of::<0>, free_of::<0>) } else { (realloc_of::<1>, free_of::<1>) };
            ours.realloc = Some(realloc);
            ours.free = Some(free);
            // SAFETY: what was allocated before is freed by the same functions as ever. JUSTIFICATION: CPython's own.
            unsafe { PyMem_SetAllocator(domain, &raw mut ours) };
        }
        true
    })
}

type ReallocOf = unsafe extern "C" fn(*mut c_void, *mut c_void, usize) -> *mut c_void;
type FreeOf = unsafe extern "C" fn(*mut c_void, *mut c_void);

fn slot_of(at: *mut c_void) -> Option<(&'static fault::arena::Arena, Slot)> {
    let arena = fault::arena()?;
    let offset = at.addr().checked_sub(arena.base()).filter(|&offset| offset < arena.len())?;
    Some((arena, arena.slot_at(offset)?))
}

unsafe extern "C" fn free_of<const PLACE: usize>(context: *mut c_void, at: *mut c_void) {
    if let Some((arena, slot)) = slot_of(at) {
        return arena.free(slot);
    }
    if let Some(free) = BELOW.get().and_then(|below| below.0[PLACE].free) {
        // SAFETY: as CPython called us. JUSTIFICATION: its own allocator.
        unsafe { free(context, at) };
    }
}

unsafe extern "C" fn realloc_of<const PLACE: usize>(
    context: *mut c_void,
    at: *mut c_void,
    len: usize,
) -> *mut c_void {
    let Some(below) = BELOW.get().map(|below| below.0[PLACE]) else { return ptr::null_mut() };
    let (Some(malloc), Some(realloc)) = (below.malloc, below.realloc) else { return ptr::null_mut() };
    let Some((arena, slot)) = slot_of(at) else {
        // SAFETY: as CPython called us. JUSTIFICATION: its own allocator.
        return unsafe { realloc(context, at, len) };
    };
    // SAFETY: as above. JUSTIFICATION: as above.
    let made = unsafe { malloc(context, len) };
    if !made.is_null() {
        let known = arena.end(slot) - fault::arena::Arena::offset(slot);
        // SAFETY: both are so long. JUSTIFICATION: two mappings.
        unsafe { ptr::copy_nonoverlapping(arena.memory(slot, true), made.cast(), len.min(known)) };
        arena.free(slot);
    }
    made
}

/// `memory_adopt(object, words, address, len, items, variable)`: a slot, or `None`. `words` is how big the object is; `items` is 0
/// for a `bytearray`, and for an `array` how many it holds.
unsafe extern "C" fn adopt(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[object, words, address, len, items, variable] = (unsafe { arguments(args, count) }) else {
        return failed(c"memory_adopt takes object, words, address, len, items and variable");
    };
    let (words, address, len, items) = (size(words), size(address), size(len), size(items));
    // SAFETY: the object is so big, and the GIL is held. JUSTIFICATION: CPython offers no way to give it its memory.
    let object = unsafe { std::slice::from_raw_parts_mut(object.cast::<usize>(), words) };
    let found: Vec<usize> = (2..words).filter(|&place| object[place] == address).collect();
    let (terminated, place) = match (items, &found[..]) {
        // ob_alloc, ob_bytes, ob_start, ob_exports
        (0, &[bytes, start]) if start == bytes + 1 && object[bytes - 1] > len => (1, bytes),
        // ob_item, allocated, ob_descr, weakreflist, ob_exports
        (1.., &[item]) if object.get(item + 1).is_some_and(|&allocated| allocated >= items) => (0, item),
        _ => return none(),
    };
    let exports = place + if items == 0 { 2 } else { 4 };
    if object.get(exports).is_none_or(|exports| exports & 0xFFFF_FFFF != 0) {
        return none();
    }
    if !take_over_allocators() {
        return none();
    }
    let Some((arena, slot)) = fault::take(len + terminated) else { return none() };
    // SAFETY: both are so long; a `bytearray` ends with a zero. JUSTIFICATION: CPython's own memory.
    unsafe {
        ptr::copy_nonoverlapping(
            ptr::without_provenance::<u8>(address),
            arena.memory(slot, true),
            len + terminated,
        )
    };
    arena.shorten(slot, len);
    let at = arena.memory(slot, false).addr();
    if items == 0 {
        (object[place - 1], object[place], object[place + 1]) = (len + 1, at, at);
        // SAFETY: nothing points there any more. JUSTIFICATION: CPython's own allocator.
        unsafe { PyObject_Free(ptr::without_provenance_mut(address)) };
    } else {
        (object[place], object[place + 1]) = (at, items);
        // SAFETY: as above. JUSTIFICATION: as above.
        unsafe { PyMem_Free(ptr::without_provenance_mut(address)) };
    }
    arena.close(slot, small(variable));
    // SAFETY: makes a number. JUSTIFICATION: CPython's own.
    unsafe { PyLong_FromUnsignedLong(u64::from(slot.0)) }
}
