//! The agent in a traced Python program: the extension module `_tickfs_agent`, for CPython's stable ABI.
//!
//! Rules of this file: it runs with the GIL held, in someone else's program. It never panics, and what it cannot do
//! itself it leaves to the shim (`slow`).
#![allow(unsafe_code, reason = "it speaks to CPython, which is C")]
#![allow(non_upper_case_globals, non_snake_case, reason = "these names are CPython's")]

#[path = "../clock.rs"]
mod clock;
#[cfg(target_arch = "x86_64")]
#[path = "../fault/mod.rs"]
mod fault;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "raw writes need more of it"))]
#[path = "../layout.rs"]
mod layout;
#[path = "../producer.rs"]
mod producer;
#[cfg(target_arch = "x86_64")]
mod python_memory;
mod python_query;
#[cfg(target_arch = "x86_64")]
mod python_walk;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "raw writes need more of it"))]
#[path = "../raw.rs"]
mod raw;

/// Other processors have hooks alone.
#[cfg(not(target_arch = "x86_64"))]
mod python_memory {
    pub(super) const METHODS: [super::MethodDef; 0] = [];
}

use std::ffi::{c_char, c_int, c_long, c_longlong, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use layout::{Fixed, KIND_MESSAGE, KIND_PATCH, KIND_VALUE};
use producer::{Producer, thread_id};
use python_query::query;

#[repr(C)]
#[derive(Debug)]
pub struct PyObject {
    refcount: isize,
    kind: *mut PyObject,
}

type Object = *mut PyObject;
type Fast = unsafe extern "C" fn(Object, *const Object, isize) -> Object;

#[repr(C)]
#[derive(Clone, Copy)]
struct MethodDef {
    name: *const c_char,
    function: Option<Fast>,
    flags: c_int,
    doc: *const c_char,
}

#[repr(C)]
struct ModuleDef {
    base: PyObject,
    init: *mut c_void,
    index: isize,
    copy: *mut c_void,
    name: *const c_char,
    doc: *const c_char,
    size: isize,
    methods: *mut MethodDef,
    unused: [*mut c_void; 4],
}

const METH_FASTCALL: c_int = 0x80;
const STABLE_ABI: c_int = 3;

unsafe extern "C" {
    static mut PyLong_Type: PyObject;
    static mut PyBool_Type: PyObject;
    static mut PyFloat_Type: PyObject;
    static mut PyUnicode_Type: PyObject;
    static mut PyBytes_Type: PyObject;
    static mut _Py_NoneStruct: PyObject;
    static mut PyExc_RuntimeError: Object;
    fn PyModule_Create2(def: *mut ModuleDef, version: c_int) -> Object;
    fn PyErr_SetString(kind: Object, text: *const c_char);
    fn PyErr_Clear();
    fn PyErr_Occurred() -> Object;
    fn Py_IncRef(object: Object);
    fn Py_DecRef(object: Object);
    fn PyLong_AsLong(object: Object) -> c_long;
    fn PyLong_AsLongLongAndOverflow(object: Object, overflow: *mut c_int) -> c_longlong;
    fn PyLong_FromUnsignedLong(number: u64) -> Object;
    fn PyFloat_AsDouble(object: Object) -> f64;
    fn PyUnicode_AsUTF8AndSize(object: Object, len: *mut isize) -> *const c_char;
    fn PyBytes_AsStringAndSize(object: Object, bytes: *mut *mut c_char, len: *mut isize) -> c_int;
    fn PyObject_CallFunctionObjArgs(callable: Object, ...) -> Object;
}

const TAG_NONE: u8 = 1;
const TAG_BOOL: u8 = 2;
const TAG_INT: u8 = 3;
const TAG_FLOAT: u8 = 4;
const TAG_STR: u8 = 5;
const TAG_BYTES: u8 = 6;

const SLOTS: usize = 1 << 16;

/// Variables whose number is the same in its last 16 bits share a place here: it only ever costs a detour.
static HELD: [AtomicU32; SLOTS] = [const { AtomicU32::new(0) }; SLOTS];
static RING: OnceLock<Producer> = OnceLock::new();
/// The variable that each slot of a rewritten module is bound to; 0: none.
static BOUND: [AtomicU32; SLOTS] = [const { AtomicU32::new(0) }; SLOTS];
/// `slow(variable, site, value)`: what is no scalar; gives back what is to be bound.
static SLOW: AtomicPtr<PyObject> = AtomicPtr::new(ptr::null_mut());

/// A new reference to `None`.
fn none() -> Object {
    let none = &raw mut _Py_NoneStruct;
    kept(none)
}

/// The object with one reference more.
fn kept(object: Object) -> Object {
    // SAFETY: every object here is alive: it is an argument or a constant. JUSTIFICATION: CPython counts references.
    unsafe { Py_IncRef(object) };
    object
}

fn failed(text: &std::ffi::CStr) -> Object {
    // SAFETY: reads a static of CPython. JUSTIFICATION: that is how its exceptions are named.
    let kind = unsafe { PyExc_RuntimeError };
    // SAFETY: the text ends with a zero, and CPython copies it. JUSTIFICATION: as above.
    unsafe { PyErr_SetString(kind, text.as_ptr()) };
    ptr::null_mut()
}

/// The arguments of a call.
///
/// # Safety
/// `args` and `count` are those that CPython gave.
unsafe fn arguments<'a>(args: *const Object, count: isize) -> &'a [Object] {
    let count = usize::try_from(count).unwrap_or(0);
    if count == 0 {
        return &[];
    }
    // SAFETY: CPython gives an array of so many live objects. JUSTIFICATION: its calling convention.
    unsafe { std::slice::from_raw_parts(args, count) }
}

/// -1 where it is no number; the exception is then set.
fn number(object: Object) -> i64 {
    // SAFETY: any object may be asked; the GIL is held. JUSTIFICATION: CPython's own conversion.
    unsafe { PyLong_AsLong(object) }
}

fn small(object: Object) -> u32 {
    u32::try_from(number(object)).unwrap_or(0)
}

fn bytes_of<'a>(object: Object) -> Option<&'a [u8]> {
    let (mut start, mut len) = (ptr::null_mut(), 0);
    // SAFETY: both places are valid; a wrong type gives -1. JUSTIFICATION: CPython's own access.
    let status = unsafe { PyBytes_AsStringAndSize(object, &raw mut start, &raw mut len) };
    if status != 0 {
        return None;
    }
    // SAFETY: CPython says where its bytes lie; the caller holds the object. JUSTIFICATION: as above.
    Some(unsafe { std::slice::from_raw_parts(start.cast(), usize::try_from(len).unwrap_or(0)) })
}

/// `attach(ring, bell, slow)`
unsafe extern "C" fn attach(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[ring, bell, slow] = (unsafe { arguments(args, count) }) else {
        return failed(c"attach takes ring, bell and slow");
    };
    let descriptor = |object| c_int::try_from(number(object)).unwrap_or(-1);
    let Some(producer) = Producer::attach(descriptor(ring), descriptor(bell)) else {
        return failed(c"the ring of tickfs cannot be mapped");
    };
    if RING.set(producer).is_err() {
        return failed(c"tickfs is attached already");
    }
    SLOW.store(kept(slow), Ordering::Release);
    // SAFETY: the function outlives the process's last fork, as nothing unloads this library. JUSTIFICATION: no safe way.
    unsafe { raw::pthread_atfork(None, None, Some(stop_in_child)) };
    none()
}

/// A forked child never writes into its parent's history.
unsafe extern "C" fn stop_in_child() {
    if let Some(ring) = RING.get() {
        ring.stop();
    }
}

/// `bind(slot, variable)`
unsafe extern "C" fn bind(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[slot, variable] = (unsafe { arguments(args, count) }) else {
        return failed(c"bind takes slot and variable");
    };
    match BOUND.get(usize::try_from(number(slot)).unwrap_or(SLOTS)) {
        Some(place) => place.store(small(variable), Ordering::Relaxed),
        None => return failed(c"too many variables are watched"),
    }
    none()
}

/// `held(variable, whether)`: its value tells of its own changes, so the shim has to know when it is replaced.
unsafe extern "C" fn held(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[variable, whether] = (unsafe { arguments(args, count) }) else {
        return failed(c"held takes variable and whether");
    };
    // Others may share the place: it counts them.
    let place = &HELD[small(variable) as usize % SLOTS];
    match number(whether) {
        1 => place.fetch_add(1, Ordering::Relaxed),
        _ => place.fetch_sub(1, Ordering::Relaxed),
    };
    none()
}

/// `bound(slot)`
unsafe extern "C" fn bound(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[slot] = (unsafe { arguments(args, count) }) else { return failed(c"bound takes slot") };
    let place = BOUND.get(usize::try_from(number(slot)).unwrap_or(SLOTS));
    let variable = place.map_or(0, |place| place.load(Ordering::Relaxed));
    // SAFETY: makes a number. JUSTIFICATION: CPython's own.
    unsafe { PyLong_FromUnsignedLong(u64::from(variable)) }
}

/// `store(key, value)`, with slot and site in one key as `key_of` in the shim makes it: the hook behind every assignment to a watched name of a module.
unsafe extern "C" fn store(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[key, value] = (unsafe { arguments(args, count) }) else {
        return failed(c"store takes key and value");
    };
    let key = number(key).cast_unsigned();
    let bits = if key < 1 << 30 { 16 } else { 32 };
    let slot = usize::try_from(key >> bits).unwrap_or(SLOTS);
    let variable = BOUND.get(slot).map_or(0, |place| place.load(Ordering::Relaxed));
    #[expect(clippy::cast_possible_truncation, reason = "the site has at most so many bits")]
    changed(variable, (key & ((1 << bits) - 1)) as u32, value)
}

/// `local(variable or None, site, value)`: the same for names of a function.
unsafe extern "C" fn local(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[variable, site, value] = (unsafe { arguments(args, count) }) else {
        return failed(c"local takes variable, site and value");
    };
    if variable == &raw mut _Py_NoneStruct {
        return kept(value);
    }
    changed(small(variable), small(site), value)
}

/// Says a new value; gives back what is to be bound, as a new reference.
fn changed(variable: u32, site: u32, value: Object) -> Object {
    let Some(ring) = RING.get().filter(|ring| variable != 0 && !ring.is_stopped()) else {
        return kept(value);
    };
    if HELD[variable as usize % SLOTS].load(Ordering::Relaxed) != 0 {
        return leave_to_the_shim(variable, site, value);
    }
    let fixed = |tag| Fixed {
        kind: KIND_VALUE,
        tag,
        variable,
        site,
        thread: thread_id(),
        sql: query(),
        ..Fixed::default()
    };
    // SAFETY: `value` is an argument, so it is alive. JUSTIFICATION: `Py_TYPE` is a macro.
    let kind = unsafe { (*value).kind };
    if kind == &raw mut PyLong_Type {
        let mut overflow = 0;
        // SAFETY: it is an int, and the place is valid. JUSTIFICATION: CPython's own access.
        let number = unsafe { PyLong_AsLongLongAndOverflow(value, &raw mut overflow) };
        if overflow != 0 {
            return leave_to_the_shim(variable, site, value);
        }
        ring.push_short(fixed(TAG_INT), number.to_le_bytes());
    } else if kind == &raw mut PyFloat_Type {
        // SAFETY: it is a float. JUSTIFICATION: CPython's own access.
        let number = unsafe { PyFloat_AsDouble(value) };
        ring.push_short(fixed(TAG_FLOAT), number.to_le_bytes());
    } else if kind == &raw mut PyUnicode_Type {
        let mut len = 0;
        // SAFETY: it is a str, and the place is valid. JUSTIFICATION: CPython's own access.
        let start = unsafe { PyUnicode_AsUTF8AndSize(value, &raw mut len) };
        if start.is_null() {
            // Lone surrogates; the shim knows how to spell them.
            // SAFETY: clears what was just set. JUSTIFICATION: CPython's own.
            unsafe { PyErr_Clear() };
            return leave_to_the_shim(variable, site, value);
        }
        let len = usize::try_from(len).unwrap_or(0);
        // SAFETY: CPython keeps these bytes as long as the str. JUSTIFICATION: as above.
        ring.push(fixed(TAG_STR), unsafe { std::slice::from_raw_parts(start.cast(), len) });
    } else if kind == &raw mut PyBytes_Type {
        let Some(bytes) = bytes_of(value) else { return leave_to_the_shim(variable, site, value) };
        ring.push(fixed(TAG_BYTES), bytes);
    } else if kind == &raw mut PyBool_Type {
        // SAFETY: a bool is an int. JUSTIFICATION: CPython's own access.
        let truth = unsafe { PyLong_AsLong(value) };
        ring.push_short(fixed(TAG_BOOL), [u8::from(truth != 0)]);
    } else if value == &raw mut _Py_NoneStruct {
        ring.push_short(fixed(TAG_NONE), []);
    } else {
        return leave_to_the_shim(variable, site, value);
    }
    kept(value)
}

#[cold]
fn leave_to_the_shim(variable: u32, site: u32, value: Object) -> Object {
    let slow = SLOW.load(Ordering::Acquire);
    // SAFETY: makes numbers. JUSTIFICATION: CPython's own.
    let variable = unsafe { PyLong_FromUnsignedLong(u64::from(variable)) };
    // SAFETY: as above. JUSTIFICATION: as above.
    let site = unsafe { PyLong_FromUnsignedLong(u64::from(site)) };
    // SAFETY: live objects, closed by a null; the GIL is held. JUSTIFICATION: CPython's own call.
    let answer =
        unsafe { PyObject_CallFunctionObjArgs(slow, variable, site, value, ptr::null_mut::<PyObject>()) };
    for number in [variable, site] {
        // SAFETY: both were made here. JUSTIFICATION: CPython counts references.
        unsafe { Py_DecRef(number) };
    }
    answer
}

/// `value(variable, site, tag, bytes)`: what the shim has encoded.
unsafe extern "C" fn value(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[variable, site, tag, bytes] = (unsafe { arguments(args, count) }) else {
        return failed(c"value takes variable, site, tag and bytes");
    };
    let tag = u8::try_from(number(tag)).unwrap_or(0);
    say(KIND_VALUE, tag, variable, site, bytes)
}

/// `patch(variable, site, bytes)`: offset and removed length, then what stands there now.
unsafe extern "C" fn patch(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[variable, site, bytes] = (unsafe { arguments(args, count) }) else {
        return failed(c"patch takes variable, site and bytes");
    };
    say(KIND_PATCH, 0, variable, site, bytes)
}

fn say(kind: u8, tag: u8, variable: Object, site: Object, bytes: Object) -> Object {
    let (variable, site) = (small(variable), small(site));
    let Some(bytes) = bytes_of(bytes) else { return ptr::null_mut() };
    // SAFETY: asks whether a conversion failed. JUSTIFICATION: CPython's own.
    if !unsafe { PyErr_Occurred() }.is_null() {
        return ptr::null_mut();
    }
    if let Some(ring) = RING.get() {
        let sql = query();
        ring.push(Fixed { kind, tag, variable, site, thread: thread_id(), sql, ..Fixed::default() }, bytes);
    }
    none()
}

/// `message(bytes)`: a JSON object.
unsafe extern "C" fn message(_module: Object, args: *const Object, count: isize) -> Object {
    // SAFETY: as CPython gave them. JUSTIFICATION: its calling convention.
    let &[bytes] = (unsafe { arguments(args, count) }) else { return failed(c"message takes bytes") };
    let Some(bytes) = bytes_of(bytes) else { return ptr::null_mut() };
    if let Some(ring) = RING.get() {
        ring.push(Fixed { kind: KIND_MESSAGE, thread: thread_id(), ..Fixed::default() }, bytes);
    }
    none()
}

const fn method(name: &'static std::ffi::CStr, function: Fast) -> MethodDef {
    MethodDef { name: name.as_ptr(), function: Some(function), flags: METH_FASTCALL, doc: ptr::null() }
}

const OWN: [MethodDef; 11] = [
    method(c"attach", attach),
    method(c"bind", bind),
    method(c"bound", bound),
    method(c"held", held),
    method(c"store", store),
    method(c"local", local),
    method(c"queries", python_query::queries),
    method(c"query_runs", python_query::query_runs),
    method(c"value", value),
    method(c"patch", patch),
    method(c"message", message),
];
const END: MethodDef = MethodDef { name: ptr::null(), function: None, flags: 0, doc: ptr::null() };

static mut METHODS: [MethodDef; OWN.len() + python_memory::METHODS.len() + 1] = {
    let mut all = [END; OWN.len() + python_memory::METHODS.len() + 1];
    let mut place = 0;
    while place < all.len() - 1 {
        all[place] = if place < OWN.len() { OWN[place] } else { python_memory::METHODS[place - OWN.len()] };
        place += 1;
    }
    all
};

static mut MODULE: ModuleDef = ModuleDef {
    base: PyObject { refcount: 1, kind: ptr::null_mut() },
    init: ptr::null_mut(),
    index: 0,
    copy: ptr::null_mut(),
    name: c"_tickfs_agent".as_ptr(),
    doc: ptr::null(),
    size: -1,
    methods: &raw mut METHODS as *mut MethodDef,
    unused: [ptr::null_mut(); 4],
};

/// CPython looks for this name when it loads the library.
#[unsafe(no_mangle)]
pub extern "C" fn PyInit__tickfs_agent() -> Object {
    let module = &raw mut MODULE;
    // SAFETY: CPython calls this once, with the GIL held; the definition is static. JUSTIFICATION: its convention.
    unsafe { PyModule_Create2(module, STABLE_ABI) }
}
