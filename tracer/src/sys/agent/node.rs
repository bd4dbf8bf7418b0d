//! The agent in a traced Node program: an addon for N-API.
//!
//! Rules of this file: it runs on a JavaScript thread, in someone else's program. It never panics; a wrong argument
//! makes it do nothing.
#![allow(unsafe_code, reason = "it speaks to Node, which is C")]

#[path = "../clock.rs"]
mod clock;
#[cfg(target_arch = "x86_64")]
#[path = "../fault/mod.rs"]
mod fault;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "raw writes need more of it"))]
#[path = "../layout.rs"]
mod layout;
#[cfg(target_arch = "x86_64")]
mod node_memory;
#[path = "../producer.rs"]
mod producer;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "raw writes need more of it"))]
#[path = "../raw.rs"]
mod raw;

/// Other processors have hooks alone.
#[cfg(not(target_arch = "x86_64"))]
mod node_memory {
    pub(super) const FUNCTIONS: [(&std::ffi::CStr, super::Callback); 0] = [];
}

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

use layout::{Fixed, KIND_MESSAGE, KIND_PATCH, KIND_VALUE};
use producer::{Producer, thread_id};

type Env = *mut c_void;
type Value = *mut c_void;
type Info = *mut c_void;
type Callback = unsafe extern "C" fn(Env, Info) -> Value;

unsafe extern "C" {
    fn napi_get_cb_info(
        env: Env,
        info: Info,
        count: *mut usize,
        args: *mut Value,
        this: *mut Value,
        data: *mut *mut c_void,
    ) -> c_int;
    fn napi_create_function(
        env: Env,
        name: *const c_char,
        len: usize,
        callback: Callback,
        data: *mut c_void,
        made: *mut Value,
    ) -> c_int;
    fn napi_set_named_property(env: Env, object: Value, name: *const c_char, value: Value) -> c_int;
    fn napi_typeof(env: Env, value: Value, kind: *mut c_int) -> c_int;
    fn napi_get_value_double(env: Env, value: Value, number: *mut f64) -> c_int;
    fn napi_get_value_uint32(env: Env, value: Value, number: *mut u32) -> c_int;
    fn napi_get_value_bool(env: Env, value: Value, truth: *mut bool) -> c_int;
    fn napi_get_value_string_utf8(
        env: Env,
        value: Value,
        bytes: *mut c_char,
        room: usize,
        len: *mut usize,
    ) -> c_int;
    fn napi_get_buffer_info(env: Env, value: Value, bytes: *mut *mut c_void, len: *mut usize) -> c_int;
    fn napi_get_boolean(env: Env, truth: bool, made: *mut Value) -> c_int;
}

const UNDEFINED: c_int = 0;
const NULL: c_int = 1;
const BOOLEAN: c_int = 2;
const NUMBER: c_int = 3;
const STRING: c_int = 4;

const TAG_NONE: u8 = 1;
const TAG_BOOL: u8 = 2;
const TAG_STR: u8 = 5;
const TAG_NUMBER: u8 = 9;
const TAG_UNDEFINED: u8 = 10;

/// A string of up to so many bytes needs no allocation.
const SHORT: usize = 256;

static RING: OnceLock<Producer> = OnceLock::new();

/// What a function was called with; what is missing is null.
fn arguments<const N: usize>(env: Env, info: Info) -> [Value; N] {
    let (mut args, mut count) = ([ptr::null_mut(); N], N);
    let nothing = ptr::null_mut();
    // SAFETY: room for N values, as `count` says. JUSTIFICATION: N-API has no other way.
    unsafe { napi_get_cb_info(env, info, &raw mut count, args.as_mut_ptr(), nothing, nothing.cast()) };
    args
}

fn number(env: Env, value: Value) -> u32 {
    let mut number = 0;
    // SAFETY: a valid place; a wrong type leaves it alone. JUSTIFICATION: N-API.
    unsafe { napi_get_value_uint32(env, value, &raw mut number) };
    number
}

fn boolean(env: Env, truth: bool) -> Value {
    let mut made = ptr::null_mut();
    // SAFETY: a valid place. JUSTIFICATION: N-API.
    unsafe { napi_get_boolean(env, truth, &raw mut made) };
    made
}

/// Lends the UTF-8 of a string.
fn with_text(env: Env, value: Value, then: impl FnOnce(&[u8])) {
    let mut short = [0_u8; SHORT];
    let mut len = 0;
    // SAFETY: room as said; it is filled up to `len`. JUSTIFICATION: N-API.
    let status =
        unsafe { napi_get_value_string_utf8(env, value, short.as_mut_ptr().cast(), SHORT, &raw mut len) };
    if status != 0 {
        return;
    }
    // A buffer that is nearly full may hold a part: a character takes up to four bytes, and a zero ends it.
    if len + 5 < SHORT {
        return then(short.get(..len).unwrap_or_default());
    }
    // SAFETY: asks for the length alone. JUSTIFICATION: N-API.
    unsafe { napi_get_value_string_utf8(env, value, ptr::null_mut(), 0, &raw mut len) };
    let mut long = vec![0_u8; len + 1];
    // SAFETY: room as said. JUSTIFICATION: N-API.
    unsafe { napi_get_value_string_utf8(env, value, long.as_mut_ptr().cast(), len + 1, &raw mut len) };
    then(long.get(..len).unwrap_or_default());
}

/// `attach(ring, bell)`: whether it worked.
unsafe extern "C" fn attach(env: Env, info: Info) -> Value {
    let [ring, bell] = arguments(env, info);
    let descriptor = |value| c_int::try_from(number(env, value)).unwrap_or(-1);
    let attached = Producer::attach(descriptor(ring), descriptor(bell));
    let first = attached.is_some_and(|producer| RING.set(producer).is_ok());
    // SAFETY: the function stays loaded. JUSTIFICATION: no safe way.
    unsafe { raw::pthread_atfork(None, None, Some(stop_in_child)) };
    boolean(env, first)
}

/// A forked child never writes into its parent's history.
unsafe extern "C" fn stop_in_child() {
    if let Some(ring) = RING.get() {
        ring.stop();
    }
}

/// `value(variable, site, sql, value)`: a value that is no object. Says whether it could.
unsafe extern "C" fn value(env: Env, info: Info) -> Value {
    let [variable, site, sql, value] = arguments(env, info);
    let Some(ring) = RING.get() else { return boolean(env, true) };
    let (variable, site, sql) = (number(env, variable), number(env, site), number(env, sql));
    let fixed =
        |tag| Fixed { kind: KIND_VALUE, tag, variable, site, thread: thread_id(), sql, ..Fixed::default() };
    let say = |tag, payload: &[u8]| ring.push(fixed(tag), payload);
    let mut kind = -1;
    // SAFETY: a valid place. JUSTIFICATION: N-API.
    unsafe { napi_typeof(env, value, &raw mut kind) };
    match kind {
        NUMBER => {
            let mut number = 0.0;
            // SAFETY: it is a number, and the place is valid. JUSTIFICATION: N-API.
            unsafe { napi_get_value_double(env, value, &raw mut number) };
            ring.push_short(fixed(TAG_NUMBER), number.to_le_bytes());
        }
        STRING => with_text(env, value, |text| say(TAG_STR, text)),
        BOOLEAN => {
            let mut truth = false;
            // SAFETY: it is a boolean, and the place is valid. JUSTIFICATION: N-API.
            unsafe { napi_get_value_bool(env, value, &raw mut truth) };
            say(TAG_BOOL, &[u8::from(truth)]);
        }
        UNDEFINED => say(TAG_UNDEFINED, &[]),
        NULL => say(TAG_NONE, &[]),
        _ => return boolean(env, false),
    }
    boolean(env, true)
}

fn encoded(env: Env, info: Info, kind: u8) -> Value {
    let [variable, site, sql, tag, bytes] = arguments(env, info);
    let (mut start, mut len) = (ptr::null_mut(), 0);
    // SAFETY: valid places; a wrong type is a status. JUSTIFICATION: N-API.
    let status = unsafe { napi_get_buffer_info(env, bytes, &raw mut start, &raw mut len) };
    if let Some(ring) = RING.get().filter(|_| status == 0) {
        let payload = match len {
            0 => &[],
            // SAFETY: Node says where the buffer lies; nothing runs meanwhile that could free it. JUSTIFICATION: N-API.
            _ => unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) },
        };
        let tag = u8::try_from(number(env, tag)).unwrap_or(0);
        let (variable, site, sql) = (number(env, variable), number(env, site), number(env, sql));
        ring.push(Fixed { kind, tag, variable, site, thread: thread_id(), sql, ..Fixed::default() }, payload);
    }
    boolean(env, status == 0)
}

/// `bytes(variable, site, sql, tag, buffer)`: a value that the shim has encoded.
unsafe extern "C" fn bytes(env: Env, info: Info) -> Value {
    encoded(env, info, KIND_VALUE)
}

/// `patch(variable, site, sql, 0, buffer)`: offset and removed length, then what stands there now.
unsafe extern "C" fn patch(env: Env, info: Info) -> Value {
    encoded(env, info, KIND_PATCH)
}

/// `message(text)`: a JSON object.
unsafe extern "C" fn message(env: Env, info: Info) -> Value {
    let [text] = arguments(env, info);
    if let Some(ring) = RING.get() {
        with_text(env, text, |text| {
            ring.push(Fixed { kind: KIND_MESSAGE, thread: thread_id(), ..Fixed::default() }, text);
        });
    }
    boolean(env, true)
}

/// Node looks for this name when it loads the addon.
///
/// # Safety
/// Node calls it, with an environment and an object of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn napi_register_module_v1(env: Env, exports: Value) -> Value {
    let functions: [(&std::ffi::CStr, Callback); 5] =
        [(c"attach", attach), (c"value", value), (c"bytes", bytes), (c"patch", patch), (c"message", message)];
    for (name, callback) in functions.into_iter().chain(node_memory::FUNCTIONS) {
        let mut made = ptr::null_mut();
        let nothing = ptr::null_mut();
        let len = name.count_bytes();
        // SAFETY: the name lives as long as the call, the function for ever. JUSTIFICATION: N-API.
        unsafe { napi_create_function(env, name.as_ptr(), len, callback, nothing, &raw mut made) };
        // SAFETY: both values are of this call. JUSTIFICATION: N-API.
        unsafe { napi_set_named_property(env, exports, name.as_ptr(), made) };
    }
    exports
}
