//! The signal handler: a write to protected memory is done in the open memory, recorded, and stepped over.
//!
//! Rules of this file: it touches no protected page, allocates nothing, and takes the arena's lock alone. It never opens a
//! page that stays watched. A write that it does not know ends the watching of that value, is said so, and then happens as
//! if nobody had watched. A fault that is none of ours goes to whoever would have had it. It uses little stack.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::Ordering;

use super::arena::{Arena, PAGE};
use super::decode::{RAX, RCX, RDI, RSI, Store};
use super::execute::{FLAGS, Keys, PLACES, RIP, execute};
use super::link::{Action, DEFAULT, Link, SetAction};
use super::opcodes::Kind;
use super::raw;
use super::scatter::scatter;
use super::{Place, arena, link, say_given_up};

#[repr(C)]
struct SignalInfo {
    signal: c_int,
    errno: c_int,
    code: c_int,
    unused: c_int,
    address: usize,
}

/// The C library's `ucontext_t`, as far as it is used.
#[repr(C)]
struct Context {
    head: [u64; 5],
    registers: [u64; 23],
    vectors: *mut u8,
}

const SIGSEGV: c_int = 11;
const IGNORE: usize = 1;
const WITH_INFO: c_int = 4;
const ON_STACK: c_int = 0x0800_0000;
const RESTART: c_int = 0x1000_0000;
const RESET: c_int = c_int::MIN;
const NO_DEFER: c_int = 0x4000_0000;
const DIRECTION: u64 = 0x400;
/// No instruction that is known writes more, but for those that repeat.
const WIDEST: usize = 64;
/// A repeated instruction does so many bytes at a time.
const TURN: usize = 64 * 1024;

/// Installs it; what was installed before is the program's own from now on.
pub(crate) fn install(link: &Link, signal: c_int) -> bool {
    let mut previous = Action::DEFAULT;
    if !set_action(link, signal, None, &mut previous) {
        return false;
    }
    link.set_own_action(previous);
    let handler = on_fault as unsafe extern "C" fn(c_int, *mut c_void, *mut c_void);
    // A stack that is full is told of by SIGSEGV, and then only another one can be used.
    let stack = if signal == SIGSEGV { ON_STACK } else { 0 };
    let flags = WITH_INFO | RESTART | stack;
    // Everything else waits: the handler holds a lock.
    let ours = Action { handler: handler as usize, mask: [u64::MAX; 16], flags, restorer: 0 };
    link.signal.store(signal, Ordering::Release);
    set_action(link, signal, Some(&ours), &mut previous)
}

/// Gives the signal back to the program.
pub(crate) fn remove(link: &Link) {
    let signal = link.signal.swap(0, Ordering::AcqRel);
    if signal != 0 {
        set_action(link, signal, Some(&link.action()), &mut Action::DEFAULT.clone());
    }
}

fn set_action(link: &Link, signal: c_int, action: Option<&Action>, previous: &mut Action) -> bool {
    let real = link.set_action.load(Ordering::Acquire);
    if real.is_null() {
        return false;
    }
    // SAFETY: the library put the C library's own function there. JUSTIFICATION: a pointer in shared memory has no type.
    let real = unsafe { std::mem::transmute::<*mut c_void, SetAction>(real) };
    // SAFETY: valid places, or null. JUSTIFICATION: the standard library handles no signals.
    unsafe { real(signal, action.map_or(ptr::null(), ptr::from_ref), previous) == 0 }
}

unsafe extern "C" fn on_fault(signal: c_int, info: *mut c_void, context: *mut c_void) {
    // SAFETY: always valid, this thread's own. JUSTIFICATION: the code that faulted may be about to read it.
    let errno = unsafe { raw::__errno_location() };
    // SAFETY: as above. JUSTIFICATION: as above.
    let kept = unsafe { *errno };
    // SAFETY: the kernel gives it to the handler. JUSTIFICATION: its convention.
    let facts = unsafe { &*info.cast::<SignalInfo>() };
    // SAFETY: as above; nobody else has it. JUSTIFICATION: as above.
    let frame = unsafe { &mut *context.cast::<Context>() };
    let ours = arena().filter(|arena| facts.code > 0 && !arena.is_stopped()).and_then(|arena| {
        let offset = facts.address.checked_sub(arena.base()).filter(|&offset| offset < arena.len())?;
        Some((arena, offset))
    });
    match ours {
        Some((arena, offset)) => write(arena, offset, frame),
        None => pass_on(signal, info, context),
    }
    // SAFETY: as above. JUSTIFICATION: as above.
    unsafe { *errno = kept };
}

/// Does what the thread was about to do at `offset`, or lets it do that.
fn write(arena: &Arena, offset: usize, frame: &mut Context) {
    let place = arena.place(offset);
    let _held = arena.hold();
    let Some(slot) = arena.slot_at(offset).filter(|&slot| arena.is_closed(slot)) else {
        // It was opened meanwhile; the thread tries again.
        let page = ptr::without_provenance_mut::<c_void>(arena.base() + offset / PAGE * PAGE);
        arena.protection.set(page, PAGE, false);
        return;
    };
    let _keys = arena.cache.as_ref().map(Keys::open);
    let at = frame.registers[RIP];
    let done = match arena.cache.as_ref().and_then(|cache| cache.look(at)) {
        Some((store, code)) => match store.kind {
            Kind::Fill | Kind::Copy => string(arena, &store, offset, frame, place),
            Kind::Scatter => {
                let done = scatter(arena, &store, &frame.registers, frame.vectors, place);
                frame.registers[RIP] += if done { store.len as u64 } else { 0 };
                done
            }
            _ => single(arena, &store, code, offset, frame, place),
        },
        None => false,
    };
    if !done {
        arena.open_held(slot);
        say_given_up(arena.ring(), arena.variable(slot), at);
    }
}

fn single(
    arena: &Arena,
    store: &Store,
    code: *const u8,
    offset: usize,
    frame: &mut Context,
    place: Place,
) -> bool {
    let register =
        |number: Option<u8>| number.map_or(0, |number| frame.registers[PLACES[usize::from(number)]]);
    let address = store.address;
    let mut to = register(address.base)
        .wrapping_add(register(address.index) << address.scale)
        .wrapping_add(address.displacement.cast_unsigned());
    if address.from_next {
        to = to.wrapping_add(frame.registers[RIP]).wrapping_add(store.len as u64);
    }
    let start = usize::try_from(to).unwrap_or(0).wrapping_sub(arena.base());
    // The kernel says where it faulted: in what is written there, or nothing here is as it seems.
    if start >= arena.len() || offset.wrapping_sub(start) >= WIDEST {
        return false;
    }
    let registers = frame.registers.as_mut_ptr();
    // SAFETY: the frame's own parts; the open memory goes a page beyond each value. JUSTIFICATION: see there.
    let executed = unsafe { execute(store, code, registers, frame.vectors, arena.open_at(start).cast()) };
    if executed {
        frame.registers[RIP] += store.len as u64;
        arena.record(start, WIDEST, place, store.wide);
    }
    executed
}

/// `stos` and `movs`, as far as the value goes; the thread goes on from there.
fn string(arena: &Arena, store: &Store, offset: usize, frame: &mut Context, place: Place) -> bool {
    let [to, from, count, filler] = [RDI, RSI, RCX, RAX].map(|register| PLACES[usize::from(register)]);
    let backward = frame.registers[FLAGS] & DIRECTION != 0;
    let start = usize::try_from(frame.registers[to]).unwrap_or(0).wrapping_sub(arena.base());
    let Some(slot) = arena.slot_at(offset).filter(|_| start < arena.len()) else { return false };
    if offset.wrapping_sub(start) >= store.size {
        return false;
    }
    let wanted = if store.repeated { frame.registers[count] } else { 1 };
    let room = if backward { 1 } else { (arena.end(slot).saturating_sub(start)).min(TURN) / store.size };
    // An element that reaches into the page behind the value is done too.
    let elements = usize::try_from(wanted).unwrap_or(usize::MAX).min(room.max(1));
    let mut source = usize::try_from(frame.registers[from]).unwrap_or(0);
    if source.wrapping_sub(arena.base()) < arena.len() {
        source += arena.distance();
    }
    let value = frame.registers[filler].to_le_bytes();
    for element in 0..elements {
        let to = arena.open_at(start + element * store.size);
        let from = match store.kind {
            Kind::Fill => value.as_ptr(),
            _ => ptr::without_provenance(source + element * store.size),
        };
        let mut bytes = [0; 8];
        // SAFETY: what the thread was about to read, or a register. JUSTIFICATION: its own pointers.
        unsafe { ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), store.size) };
        // SAFETY: the open memory goes a page beyond each value. JUSTIFICATION: as above.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, store.size) };
    }
    let moved = (elements * store.size) as u64;
    let step = |register: u64| {
        if backward { register.wrapping_sub(moved) } else { register.wrapping_add(moved) }
    };
    frame.registers[to] = step(frame.registers[to]);
    if store.kind == Kind::Copy {
        frame.registers[from] = step(frame.registers[from]);
    }
    if store.repeated {
        frame.registers[count] = wanted - elements as u64;
    }
    if !store.repeated || frame.registers[count] == 0 {
        frame.registers[RIP] += store.len as u64;
    }
    arena.record(start, elements * store.size, place, store.repeated);
    true
}

/// What the program does with the signal, as if we were not there.
fn pass_on(signal: c_int, info: *mut c_void, context: *mut c_void) {
    let Some(link) = link() else { return };
    let action = link.action();
    // SAFETY: the kernel's own. JUSTIFICATION: its convention.
    let sent = unsafe { (*info.cast::<SignalInfo>()).code } <= 0;
    match action.handler {
        IGNORE if sent => {}
        DEFAULT | IGNORE => {
            // A fault happens again, and now ends the program as it should; what was sent is sent again.
            let default = Action::DEFAULT;
            set_action(link, signal, Some(&default), &mut Action::DEFAULT.clone());
            if sent {
                // SAFETY: a number. JUSTIFICATION: the standard library sends no signals.
                unsafe { raw::raise(signal) };
            }
        }
        handler => {
            if action.flags & RESET != 0 {
                link.set_own_action(Action::DEFAULT);
            }
            let mut before = [0_u64; 16];
            let mut mask = action.mask;
            if action.flags & NO_DEFER == 0 {
                mask[0] |= 1 << (signal - 1);
            }
            // SAFETY: valid places. JUSTIFICATION: the handler is to run with the mask it asked for.
            unsafe {
                raw::pthread_sigmask(raw::SIG_SETMASK, mask.as_ptr().cast(), before.as_mut_ptr().cast())
            };
            if action.flags & WITH_INFO != 0 {
                // SAFETY: the program said that it is such a function. JUSTIFICATION: an address has no type.
                let handler = unsafe {
                    std::mem::transmute::<usize, unsafe extern "C" fn(c_int, *mut c_void, *mut c_void)>(
                        handler,
                    )
                };
                // SAFETY: what the kernel would give it. JUSTIFICATION: it is the program's own.
                unsafe { handler(signal, info, context) };
            } else {
                // SAFETY: as above. JUSTIFICATION: as above.
                let handler = unsafe { std::mem::transmute::<usize, unsafe extern "C" fn(c_int)>(handler) };
                // SAFETY: as above. JUSTIFICATION: as above.
                unsafe { handler(signal) };
            }
            // SAFETY: as above. JUSTIFICATION: as above.
            unsafe { raw::pthread_sigmask(raw::SIG_SETMASK, before.as_ptr().cast(), ptr::null_mut()) };
        }
    }
}
