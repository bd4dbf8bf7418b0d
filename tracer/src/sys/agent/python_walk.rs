//! Where a thread of a traced Python program stands, asked by the fault handler: often without the GIL, always without
//! allocating anything or calling into the interpreter.
//!
//! CPython keeps its frames in structures that differ from version to version. So their form is learned at the start, from two
//! frames that are known; where that fails, places are not known, and nothing else changes. What is read belongs to the thread
//! that reads it, and stands still while that thread is in C.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::fault::Place;
use super::layout::{Fixed, KIND_MESSAGE, KIND_OVER};
use super::producer::thread_id;
use super::python_query::of_thread;
use super::{Object, Py_DecRef, PyErr_Clear, PyUnicode_AsUTF8AndSize, RING, number, raw};

unsafe extern "C" {
    fn PyObject_GetAttrString(object: Object, name: *const c_char) -> Object;
    fn PyGILState_GetThisThreadState() -> *mut c_void;
    fn PyGILState_Check() -> c_int;
    fn PyCode_Addr2Line(code: *mut c_void, at: c_int) -> c_int;
    fn Py_AddPendingCall(call: unsafe extern "C" fn(*mut c_void) -> c_int, with: *mut c_void) -> c_int;
}

/// How this Python keeps its frames: distances in bytes.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// From the thread's state to its frame, by way of another structure or straight.
    to_frame: usize,
    through: Option<usize>,
    to_code: usize,
    to_outer: usize,
    to_instruction: usize,
    instruction: Instruction,
    to_file: usize,
    to_name: usize,
    /// From a str of ASCII to its letters.
    to_letters: usize,
    code_type: usize,
    main_thread: u32,
}

#[derive(Debug, Clone, Copy)]
enum Instruction {
    /// An address; the code's first instruction lies so far behind the code object.
    Address(usize),
    /// A number, counted in so many bytes.
    Number(i64),
}

static LAYOUT: OnceLock<Layout> = OnceLock::new();
/// From an object to its type, and from a str to its length.
const TO_TYPE: usize = 8;
const TO_LENGTH: usize = 16;
/// Newer versions keep marks in the lowest bits of some pointers.
const POINTER: usize = !7;

// Learning

/// Reads memory of this process that may not be there.
pub(super) fn peek<const N: usize>(at: usize) -> Option<[usize; N]> {
    let mut words = [0_usize; N];
    let size = N * 8;
    let (mut here, mut there) = ([words.as_mut_ptr().addr(), size], [at, size]);
    here[0] = words.as_mut_ptr().expose_provenance();
    const PROCESS_VM_READV: i64 = 310;
    // SAFETY: `here` is `words`; what is not there is an error. JUSTIFICATION: an address of unknown worth.
    let read = unsafe {
        raw::syscall(
            PROCESS_VM_READV,
            std::process::id(),
            here.as_mut_ptr(),
            1_usize,
            there.as_mut_ptr(),
            1_usize,
            0_usize,
        )
    };
    (usize::try_from(read) == Ok(size)).then_some(words)
}

/// An attribute; the object that has it keeps it alive.
fn attribute(object: Object, name: &CStr) -> Option<Object> {
    // SAFETY: a live object and a name; the GIL is held. JUSTIFICATION: CPython's own access.
    let found = unsafe { PyObject_GetAttrString(object, name.as_ptr()) };
    if found.is_null() {
        // SAFETY: clears what was just set. JUSTIFICATION: CPython's own.
        unsafe { PyErr_Clear() };
        return None;
    }
    // SAFETY: a reference that was given. JUSTIFICATION: CPython counts references.
    unsafe { Py_DecRef(found) };
    Some(found)
}

struct Known {
    code: usize,
    at: i64,
}

fn known(frame: Object) -> Option<Known> {
    let code = attribute(frame, c"f_code")?.addr();
    Some(Known { code, at: attribute(frame, c"f_lasti").map(number)? })
}

const FRAME: usize = 16;

/// Learns from the frame that runs and the one that called it. Says whether it could.
pub(super) fn calibrate(inner: Object, outer: Object) -> bool {
    let learned = learn(inner, outer);
    learned.is_some_and(|layout| LAYOUT.set(layout).is_ok())
}

fn learn(inner: Object, outer: Object) -> Option<Layout> {
    let (inside, outside) = (known(inner)?, known(outer)?);
    let code = attribute(inner, c"f_code")?;
    // SAFETY: the GIL is held, so there is one. JUSTIFICATION: CPython's own.
    let state = unsafe { PyGILState_GetThisThreadState() };
    let found = frame_from(state.addr(), &inside, &outside)?;
    let (to_frame, through, frame, to_code, to_outer) = found;
    let here = peek::<FRAME>(frame)?;
    let above = peek::<FRAME>(here[to_outer] & POINTER)?;
    let (to_instruction, instruction) = (0..FRAME * 2).find_map(|half| {
        let (word, shift) = (half / 2, half % 2 * 32);
        let number =
            |words: &[usize; FRAME]| i64::try_from((words[word] >> shift) & 0xFFFF_FFFF).unwrap_or(-1);
        let start = |words: &[usize; FRAME], known: &Known| {
            words[word].wrapping_sub(known.code).wrapping_sub(usize::try_from(known.at).unwrap_or(0))
        };
        let (first, second) = (start(&here, &inside), start(&above, &outside));
        if shift == 0 && first == second && first < 4096 {
            return Some((word * 8, Instruction::Address(first)));
        }
        [1, 2].into_iter().find_map(|unit| {
            let same = number(&here) * unit == inside.at && number(&above) * unit == outside.at;
            (same && inside.at != outside.at).then_some((half * 4, Instruction::Number(unit)))
        })
    })?;
    let words = peek::<32>(inside.code)?;
    let place = |object: Object| Some(8 * words.iter().position(|&word| word == object.addr())?);
    let file = attribute(code, c"co_filename")?;
    let name = attribute(code, c"co_qualname").or_else(|| attribute(code, c"co_name"))?;
    let mut len = 0;
    // SAFETY: a str. JUSTIFICATION: CPython's own access.
    let letters = unsafe { PyUnicode_AsUTF8AndSize(file, &raw mut len) };
    let of_file = peek::<3>(file.addr())?;
    let code_type = attribute(code, c"__class__")?.addr();
    let fits = of_file[TO_LENGTH / 8] == usize::try_from(len).ok()? && words[TO_TYPE / 8] == code_type;
    fits.then_some(Layout {
        to_frame,
        through,
        to_code: to_code * 8,
        to_outer: to_outer * 8,
        to_instruction,
        instruction,
        to_file: place(file)?,
        to_name: place(name)?,
        to_letters: letters.addr().checked_sub(file.addr()).filter(|&far| far < 128)?,
        code_type,
        main_thread: thread_id(),
    })
}

type Found = (usize, Option<usize>, usize, usize, usize);

/// The way from a thread's state to a frame with this code, whose caller has that code.
fn frame_from(state: usize, inside: &Known, outside: &Known) -> Option<Found> {
    let is_frame = |at: usize| {
        let words = peek::<FRAME>(at & POINTER)?;
        let to_code = words.iter().position(|word| word & POINTER == inside.code)?;
        let to_outer = words.iter().position(|word| {
            let outer = peek::<FRAME>(word & POINTER);
            outer.is_some_and(|outer| outer[to_code] & POINTER == outside.code)
        })?;
        Some((to_code, to_outer))
    };
    // It may be near the end of what is mapped.
    let words: [usize; 64] = peek::<64>(state)?;
    for (place, &word) in words.iter().enumerate().filter(|(_, word)| **word > 4096) {
        if let Some((to_code, to_outer)) = is_frame(word) {
            return Some((place * 8, None, word & POINTER, to_code, to_outer));
        }
        for (step, &inner) in peek::<8>(word).unwrap_or_default().iter().enumerate() {
            if let Some((to_code, to_outer)) = Some(inner).filter(|&at| at > 4096).and_then(is_frame) {
                return Some((place * 8, Some(step * 8), inner & POINTER, to_code, to_outer));
            }
        }
    }
    None
}

// Asking

/// A word of a structure of this thread.
fn word(at: usize) -> usize {
    // SAFETY: `learn` has found that such structures are made so; the thread that reads has this one. JUSTIFICATION: CPython
    // offers no way to ask without the GIL.
    unsafe { ptr::with_exposed_provenance::<usize>(at).read() }
}

/// Grows when the main thread has gone on.
static STATEMENT: AtomicU64 = AtomicU64::new(1);
static AWAITED: AtomicBool = AtomicBool::new(false);

/// Where this thread stands.
pub(super) fn place(_offset: usize) -> Place {
    let thread = thread_id();
    let mut place = Place { thread, sql: of_thread(), ..Place::default() };
    let Some((layout, frame)) = LAYOUT.get().and_then(|layout| Some((layout, own_frame(layout)?))) else {
        return place;
    };
    let code = word(frame + layout.to_code) & POINTER;
    let at = instruction(layout, frame, code);
    place.site = site(layout, code, at);
    if thread == layout.main_thread && goes_on_is_heard() {
        place.statement = STATEMENT.load(Ordering::Acquire) << 32 | u64::from(at.cast_unsigned());
        place.one_statement = true;
    }
    place
}

/// The innermost frame of the program's own code.
fn own_frame(layout: &Layout) -> Option<usize> {
    // SAFETY: may be called anywhere; null where this is no thread of Python's. JUSTIFICATION: CPython's own.
    let state = unsafe { PyGILState_GetThisThreadState() };
    if state.is_null() {
        return None;
    }
    let mut frame = word(state.addr() + layout.to_frame) & POINTER;
    if let Some(step) = layout.through {
        frame = word(frame + step) & POINTER;
    }
    for _ in 0..64 {
        if frame == 0 {
            return None;
        }
        let code = word(frame + layout.to_code) & POINTER;
        // Newer versions have frames that belong to no code.
        if code != 0 && word(code + TO_TYPE) == layout.code_type {
            let file = text(layout, word(code + layout.to_file));
            // Nor do those belong to the program through which C calls into Python.
            if !file.is_some_and(|file| file == b"<shim>" || file.starts_with(b"<tickfs>/")) {
                return Some(frame);
            }
        }
        frame = word(frame + layout.to_outer) & POINTER;
    }
    None
}

fn instruction(layout: &Layout, frame: usize, code: usize) -> c_int {
    let at = frame + layout.to_instruction;
    let found = match layout.instruction {
        Instruction::Address(start) => word(at).wrapping_sub(code).wrapping_sub(start) as u64,
        Instruction::Number(unit) => {
            let aligned = word(at & POINTER) >> ((at & 4) * 8);
            (aligned as u64 & 0xFFFF_FFFF).wrapping_mul(unit.cast_unsigned())
        }
    };
    c_int::try_from(found).unwrap_or(0)
}

/// The letters of a str, if they are ASCII; nothing is made for it.
fn text<'a>(layout: &Layout, object: usize) -> Option<&'a [u8]> {
    const LONGEST: usize = 3000;
    let len = word(object + TO_LENGTH);
    if len > LONGEST {
        return None;
    }
    let letters = ptr::with_exposed_provenance::<u8>(object + layout.to_letters);
    // SAFETY: a str of `len` characters of at least a byte each, kept by the code that runs. JUSTIFICATION: as for `word`.
    let letters = unsafe { std::slice::from_raw_parts(letters, len) };
    letters.iter().all(|byte| (0x20..0x7F).contains(byte)).then_some(letters)
}

/// The main thread will say when it has gone on. CPython calls what is pending between two instructions.
fn goes_on_is_heard() -> bool {
    if AWAITED.swap(true, Ordering::AcqRel) {
        return true;
    }
    // SAFETY: may be called from anywhere, also without the GIL. JUSTIFICATION: CPython's own.
    let accepted = unsafe { Py_AddPendingCall(gone_on, ptr::null_mut()) } == 0;
    if !accepted {
        AWAITED.store(false, Ordering::Release);
    }
    accepted
}

unsafe extern "C" fn gone_on(_nothing: *mut c_void) -> c_int {
    AWAITED.store(false, Ordering::Release);
    STATEMENT.fetch_add(1, Ordering::AcqRel);
    if let Some(ring) = RING.get() {
        ring.push(Fixed { kind: KIND_OVER, thread: thread_id(), ..Fixed::default() }, &[]);
    }
    0
}

// Sites

const PLACES: usize = 4096;
static KEYS: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];
static SITES: [AtomicU32; PLACES] = [const { AtomicU32::new(0) }; PLACES];
/// The shim counts from below.
static NEXT: AtomicU32 = AtomicU32::new(0x8000_0000);

/// The number of a place in code; two threads may give it two, and both are told of.
fn site(layout: &Layout, code: usize, at: c_int) -> u32 {
    // SAFETY: a code object that runs; nothing is made for it. JUSTIFICATION: CPython's own.
    let line = unsafe { PyCode_Addr2Line(ptr::with_exposed_provenance_mut(code), at) };
    let (file, name) = (word(code + layout.to_file), word(code + layout.to_name));
    // Another code that comes to lie here has other names.
    let mut key = 0x9E37_79B9_7F4A_7C15_u64;
    for part in [code as u64, u64::from(line.cast_unsigned()), file as u64, name as u64] {
        key = (key ^ part).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        key ^= key >> 32;
    }
    let key = key.max(1);
    for step in 0..8_u64 {
        let place = usize::try_from(key.wrapping_add(step) % PLACES as u64).unwrap_or(0);
        let there = KEYS[place].load(Ordering::Acquire);
        if there == key {
            let known = SITES[place].load(Ordering::Acquire);
            return if known == 0 { new_site(layout, file, name, line) } else { known };
        }
        if there == 0 && KEYS[place].compare_exchange(0, key, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            let number = new_site(layout, file, name, line);
            SITES[place].store(number, Ordering::Release);
            return number;
        }
    }
    new_site(layout, file, name, line)
}

/// Where sites are spelled: a signal's stack may be small. Whoever swaps in `true` has it.
struct Desk(AtomicBool, UnsafeCell<[u8; 8192]>);

// SAFETY: the bytes belong to the thread that has swapped in `true`.
unsafe impl Sync for Desk {}

static DESK: Desk = Desk(AtomicBool::new(false), UnsafeCell::new([0; 8192]));

/// Says what a number means.
#[inline(never)]
fn new_site(layout: &Layout, file: usize, name: usize, line: c_int) -> u32 {
    use std::io::Write as _;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    while DESK.0.swap(true, Ordering::Acquire) {
        std::hint::spin_loop();
    }
    // SAFETY: this thread has it, and lets go of it below. JUSTIFICATION: a signal handler may take no lock of the
    // standard library.
    let json = unsafe { &mut *DESK.1.get() };
    let room = json.len();
    let mut rest = &mut json[..];
    let told = rest.write_all(b"{\"sites\":[\"").is_ok()
        && spell(&mut rest, utf8(layout, file))
        && write!(rest, "\",[[{number},\"").is_ok()
        && spell(&mut rest, utf8(layout, name))
        && write!(rest, "\",{}]]]}}", line.max(0)).is_ok();
    let len = room - rest.len();
    if let Some(ring) = RING.get().filter(|_| told) {
        ring.push(Fixed { kind: KIND_MESSAGE, thread: thread_id(), ..Fixed::default() }, &json[..len]);
    }
    DESK.0.store(false, Ordering::Release);
    number
}

/// A str as bytes; what is not ASCII is only known while the GIL is held.
fn utf8<'a>(layout: &Layout, object: usize) -> &'a [u8] {
    if let Some(letters) = text(layout, object) {
        return letters;
    }
    // SAFETY: may be called anywhere. JUSTIFICATION: CPython's own.
    if unsafe { PyGILState_Check() } == 0 {
        return b"<unseen>";
    }
    let mut len = 0;
    // SAFETY: a live str, and the GIL is held. JUSTIFICATION: CPython's own.
    let letters = unsafe { PyUnicode_AsUTF8AndSize(ptr::with_exposed_provenance_mut(object), &raw mut len) };
    if letters.is_null() {
        // SAFETY: clears what was just set. JUSTIFICATION: CPython's own.
        unsafe { PyErr_Clear() };
        return b"<unseen>";
    }
    // SAFETY: CPython keeps these bytes as long as the str. JUSTIFICATION: as above.
    unsafe { std::slice::from_raw_parts(letters.cast(), usize::try_from(len).unwrap_or(0)) }
}

/// Writes a string's inside as JSON, without what only says that a function is local.
fn spell(rest: &mut &mut [u8], text: &[u8]) -> bool {
    use std::io::Write as _;
    const LOCALS: &[u8] = b".<locals>";
    let mut from = 0;
    while from < text.len() {
        if text[from..].starts_with(LOCALS) {
            from += LOCALS.len();
            continue;
        }
        let byte = text[from];
        let written = match byte {
            b'"' | b'\\' => rest.write_all(&[b'\\', byte]),
            0..0x20 => write!(rest, "\\u{byte:04x}"),
            _ => rest.write_all(&[byte]),
        };
        if written.is_err() {
            return false;
        }
        from += 1;
    }
    true
}
