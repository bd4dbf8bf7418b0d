//! Watched memory in a traced Node program: what the shim calls to put typed arrays there.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use super::fault::{self, Hooks, Place, arena::Slot};
use super::layout::Fixed;
use super::producer::thread_id;
use super::{Callback, Env, Info, RING, Value, arguments, boolean, number, with_text};

type Finalize = unsafe extern "C" fn(Env, *mut c_void, *mut c_void);

unsafe extern "C" {
    fn napi_create_external_arraybuffer(
        env: Env,
        data: *mut c_void,
        len: usize,
        finalize: Option<Finalize>,
        hint: *mut c_void,
        made: *mut Value,
    ) -> c_int;
    fn napi_create_string_utf8(env: Env, text: *const i8, len: usize, made: *mut Value) -> c_int;
    fn napi_create_uint32(env: Env, number: u32, made: *mut Value) -> c_int;
    fn napi_detach_arraybuffer(env: Env, buffer: Value) -> c_int;
    fn napi_get_undefined(env: Env, made: *mut Value) -> c_int;
}

pub(super) const FUNCTIONS: [(&std::ffi::CStr, Callback); 10] = [
    (c"memoryStart", start),
    (c"memoryTake", take),
    (c"memoryBuffer", buffer),
    (c"memoryClose", close),
    (c"memoryOpen", open),
    (c"memoryCatchUp", catch_up),
    (c"memoryChanged", changed),
    (c"memorySite", set_site),
    (c"memoryQuery", set_query),
    (c"memoryDetach", detach),
];

fn undefined(env: Env) -> Value {
    let mut made = ptr::null_mut();
    // SAFETY: a valid place. JUSTIFICATION: N-API.
    unsafe { napi_get_undefined(env, &raw mut made) };
    made
}

fn slot(env: Env, value: Value) -> Slot {
    Slot(number(env, value))
}

/// The place that runs, as far as a hook has said, and the thread that said it.
static SITE: AtomicU32 = AtomicU32::new(0);
static THREAD: AtomicU32 = AtomicU32::new(0);

thread_local!(static QUERY: Cell<u32> = const { Cell::new(0) });

/// `memoryQuery(number)`: the query that runs in this thread from here on.
unsafe extern "C" fn set_query(env: Env, info: Info) -> Value {
    let [query] = arguments(env, info);
    QUERY.with(|place| place.set(number(env, query)));
    undefined(env)
}

/// Asked by the fault handler.
fn place(_offset: usize) -> Place {
    let thread = thread_id();
    let known = THREAD.load(Ordering::Acquire) == thread;
    let site = if known { SITE.load(Ordering::Acquire) } else { 0 };
    Place { thread, site, sql: QUERY.with(Cell::get), ..Place::default() }
}

/// `memorySite(site)`: where this thread stands, until it is 0 again.
unsafe extern "C" fn set_site(env: Env, info: Info) -> Value {
    let [site] = arguments(env, info);
    THREAD.store(thread_id(), Ordering::Release);
    let site = number(env, site);
    SITE.store(site, Ordering::Release);
    match fault::arena() {
        Some(arena) if site == 0 => arena.settle_all(),
        Some(arena) => arena.catch_up_all(),
        None => {}
    }
    undefined(env)
}

/// `memoryStart(file, channel, mode)`: mode, `raw` and `kernel` as they are, or `off: ` and why memory is not watched.
unsafe extern "C" fn start(env: Env, info: Info) -> Value {
    let [file, channel, mode] = arguments(env, info);
    let hooks = Hooks { ring: || RING.get(), place };
    let descriptor = |value| c_int::try_from(number(env, value)).unwrap_or(-1);
    let mut started = Err(c"no mode is named");
    with_text(env, mode, |mode| {
        started = fault::start(descriptor(file), descriptor(channel), mode, hooks);
    });
    let said = match started {
        Ok(seen) => seen.to_string(),
        Err(why) => format!("off: {}", why.to_string_lossy()),
    };
    let mut made = ptr::null_mut();
    // SAFETY: the text is as long as said, and is copied. JUSTIFICATION: N-API.
    unsafe { napi_create_string_utf8(env, said.as_ptr().cast(), said.len(), &raw mut made) };
    made
}

/// `memoryTake(len)`: a slot, or undefined.
unsafe extern "C" fn take(env: Env, info: Info) -> Value {
    let [len] = arguments(env, info);
    let Some((_arena, slot)) = fault::take(number(env, len) as usize) else { return undefined(env) };
    let mut made = ptr::null_mut();
    // SAFETY: a valid place. JUSTIFICATION: N-API.
    unsafe { napi_create_uint32(env, slot.0, &raw mut made) };
    made
}

/// `memoryBuffer(slot, len, open)`: an ArrayBuffer over the slot, or undefined where this Node makes none. With the one that is
/// not open, the slot ends.
unsafe extern "C" fn buffer(env: Env, info: Info) -> Value {
    let [number_of, len, open] = arguments(env, info);
    let slot = slot(env, number_of);
    let Some(arena) = fault::arena() else { return undefined(env) };
    let open = number(env, open) != 0;
    let at = arena.memory(slot, open).cast();
    let mut made = ptr::null_mut();
    let hint = ptr::without_provenance_mut(slot.0 as usize);
    let end = (!open).then_some(freed as Finalize);
    let len = number(env, len) as usize;
    // SAFETY: the slot is so long, and stays mapped. JUSTIFICATION: N-API.
    let status = unsafe { napi_create_external_arraybuffer(env, at, len, end, hint, &raw mut made) };
    if status == 0 { made } else { undefined(env) }
}

/// `memoryDetach(buffer)`: it has no bytes any more.
unsafe extern "C" fn detach(env: Env, info: Info) -> Value {
    let [buffer] = arguments(env, info);
    // SAFETY: a wrong type is a status. JUSTIFICATION: N-API.
    boolean(env, unsafe { napi_detach_arraybuffer(env, buffer) } == 0)
}

unsafe extern "C" fn freed(_env: Env, _data: *mut c_void, hint: *mut c_void) {
    if let Some(arena) = fault::arena() {
        arena.free(Slot(u32::try_from(hint.addr()).unwrap_or(0)));
    }
}

/// `memoryClose(slot, variable)`: whether what is written there is recorded from now on.
unsafe extern "C" fn close(env: Env, info: Info) -> Value {
    let [number_of, variable] = arguments(env, info);
    let slot = slot(env, number_of);
    boolean(env, fault::arena().is_some_and(|arena| arena.close(slot, number(env, variable))))
}

/// `memoryOpen(slot, variable)`: it is the variable's no more.
unsafe extern "C" fn open(env: Env, info: Info) -> Value {
    let [number_of, variable] = arguments(env, info);
    let (slot, variable) = (slot(env, number_of), number(env, variable));
    if let Some(arena) = fault::arena().filter(|arena| arena.variable(slot) == variable) {
        arena.open(slot);
    }
    undefined(env)
}

/// `memoryCatchUp(slot)`: tells of what was written there unseen, before a hook writes, which then calls `memoryChanged`.
unsafe extern "C" fn catch_up(env: Env, info: Info) -> Value {
    let [number_of] = arguments(env, info);
    if let Some(arena) = fault::arena() {
        arena.catch_up(slot(env, number_of));
    }
    undefined(env)
}

/// `memoryChanged(slot, variable, site, sql)`: records what a hook has changed. Whether the slot is still the variable's.
unsafe extern "C" fn changed(env: Env, info: Info) -> Value {
    let [number_of, variable, site, sql] = arguments(env, info);
    let (slot, variable) = (slot(env, number_of), number(env, variable));
    let Some(arena) = fault::arena()
        .filter(|arena| !arena.is_stopped() && arena.variable(slot) == variable && arena.is_closed(slot))
    else {
        return boolean(env, false);
    };
    let (site, sql) = (number(env, site), number(env, sql));
    arena.changed(slot, Fixed { variable, site, thread: thread_id(), sql, ..Fixed::default() });
    boolean(env, true)
}
