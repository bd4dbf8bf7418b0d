//! Raw writes to watched memory: seen where they happen, exactly, whoever writes. Or, in the modes in which the tracer looks
//! for them (`sys/keeper.rs`), seen afterwards.
//!
//! `decode` and `opcodes` read an instruction, `execute` does it elsewhere, `protect` and `arena` are the memory, `handler`
//! puts them together, `link` is what the preloaded library needs to know. Only x86-64 has it.

pub(crate) mod arena;
pub(crate) mod decode;
mod execute;
mod handler;
pub(crate) mod link;
mod opcodes;
pub(crate) mod protect;
mod scatter;

use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::layout::{self, Fixed, KIND_MESSAGE};
use super::producer::{self, Producer};
use super::raw;
use arena::{Arena, Slot};
use link::Link;

/// Where a write comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) site: u32,
    pub(crate) thread: u32,
    /// The query that runs there.
    pub(crate) sql: u32,
    /// Grows when the program has gone on to another statement, as far as that is known.
    pub(crate) statement: u64,
    /// It is known: writes with the same place and statement are one.
    pub(crate) one_statement: bool,
}

/// How writes are seen that no hook sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// In the thread that writes, by a signal.
    Signal,
    /// The tracer opens the page, and looks at it when it has closed it again.
    Handler,
    /// The tracer looks from time to time.
    Coarse,
}

impl Mode {
    fn of(name: &[u8]) -> Option<Self> {
        match name {
            b"signal" => Some(Self::Signal),
            b"handler" => Some(Self::Handler),
            b"coarse" => Some(Self::Coarse),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Handler => "handler",
            Self::Coarse => "coarse",
        }
    }

    /// A write has happened before it is seen.
    pub(crate) fn is_late(self) -> bool {
        self != Self::Signal
    }
}

/// What this system lets us see: raw writes, and those of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) mode: Mode,
    pub(crate) raw: &'static str,
    pub(crate) kernel: &'static str,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.mode.name(), self.raw, self.kernel)
    }
}

/// What an agent gives.
#[derive(Clone, Copy)]
pub(crate) struct Hooks {
    pub(crate) ring: fn() -> Option<&'static Producer>,
    /// Where the thread that runs stands; the offset says what it is about to write.
    pub(crate) place: fn(usize) -> Place,
}

/// Made with the first value: before that, nothing of the program is other than it was.
static ARENA: OnceLock<Option<Arena>> = OnceLock::new();
static PLAN: OnceLock<Plan> = OnceLock::new();

struct Plan {
    /// The file of watched memory, and the way to the tracer, where it takes part.
    file: c_int,
    channel: c_int,
    mode: Mode,
    hooks: Hooks,
}

fn own_thread() -> u32 {
    producer::thread_id()
}

pub(crate) fn arena() -> Option<&'static Arena> {
    ARENA.get()?.as_ref()
}

/// The preloaded library's end, if there is one.
fn link() -> Option<&'static Link> {
    static LINK: OnceLock<Option<&'static Link>> = OnceLock::new();
    *LINK.get_or_init(|| {
        // SAFETY: a name that ends with a zero. JUSTIFICATION: the library may not be there.
        let found = unsafe { raw::dlsym(ptr::null_mut(), c"tickfs_link_1".as_ptr()) };
        // SAFETY: the name is ours, and says of which form it is; it is never unloaded. JUSTIFICATION: as above.
        unsafe { found.cast::<Link>().as_ref() }
    })
}

/// Looks whether memory of `file` can be watched in the mode that is asked for, or else by signals. Says how, or why not. The
/// files are kept, out of the program's way.
pub(crate) fn start(file: c_int, channel: c_int, mode: &[u8], hooks: Hooks) -> Result<Seen, &'static CStr> {
    let probed = |mode: Mode| {
        let seen = arena::probe(file, mode);
        let needs_preload = |seen: &Seen| seen.kernel == "preload";
        seen.filter(|seen| link().is_some() || !needs_preload(seen))
    };
    let Some(seen) = Mode::of(mode).and_then(probed).or_else(|| probed(Mode::Signal)) else {
        return Err(match link() {
            None => c"nothing can be preloaded into this program, so that what the kernel writes would fail",
            Some(_) => c"this system lets the program make or protect no memory of that kind",
        });
    };
    let aside = |fd| raw::copied_aside(fd).ok_or(c"this program may open no more files");
    let channel = if seen.mode.is_late() { aside(channel)? } else { -1 };
    let plan = Plan { file: aside(file)?, channel, mode: seen.mode, hooks };
    PLAN.set(plan).map_err(|_it_is| c"it is watched already")?;
    Ok(seen)
}

/// A place for a value, in an arena that is made with the first one. `None`: there is no room, or no arena.
pub(crate) fn take(len: usize) -> Option<(&'static Arena, Slot)> {
    let plan = PLAN.get()?;
    let made = || {
        let arena = Arena::new(plan.file, plan.channel, plan.mode, plan.hooks)?;
        // SAFETY: it is ours, and mapped. JUSTIFICATION: the standard library needs an owner.
        unsafe { raw::close(plan.file) };
        Some(arena)
    };
    let arena = ARENA.get_or_init(made).as_ref().filter(|arena| !arena.is_stopped())?;
    static WATCHING: OnceLock<bool> = OnceLock::new();
    let watching = *WATCHING.get_or_init(|| begin(arena));
    let slot = watching.then(|| arena.take(len))?;
    static SAID: AtomicBool = AtomicBool::new(false);
    if slot.is_none() && !SAID.swap(true, Ordering::AcqRel) {
        say((plan.hooks.ring)(), NO_ROOM);
    }
    Some((arena, slot?))
}

const NO_ROOM: &[u8] =
    br#"{"note":"there is no room for more watched memory: further buffers are followed by hooks alone"}"#;

/// A variable's memory is no longer watched, because of the instruction at this address.
fn say_given_up(ring: Option<&Producer>, variable: u32, at: u64) {
    use std::io::Write as _;
    let mut text = [0_u8; 96];
    let mut rest = &mut text[..];
    let room = rest.len();
    if write!(rest, "{{\"given_up\":[{variable},\"{at:x}\"]}}").is_ok() {
        let len = room - rest.len();
        say(ring, &text[..len]);
    }
}

/// A JSON object for the tracer.
pub(crate) fn say(ring: Option<&Producer>, json: &[u8]) {
    if let Some(ring) = ring {
        ring.push(Fixed { kind: KIND_MESSAGE, thread: own_thread(), ..Fixed::default() }, json);
    }
}

fn begin(arena: &Arena) -> bool {
    if let Some(link) = link() {
        link.wrote.store(wrote as extern "C" fn(usize, usize) as *mut c_void, Ordering::Release);
        link.distance.store(arena.distance(), Ordering::Release);
        link.len.store(arena.len(), Ordering::Release);
        let signal = arena.protection.signal();
        if signal != 0 && !handler::install(link, signal) {
            return false;
        }
        link.base.store(arena.base(), Ordering::Release);
    }
    // SAFETY: these functions stay loaded. JUSTIFICATION: the standard library knows nothing of forks.
    unsafe { raw::pthread_atfork(Some(before_fork), Some(after_fork), Some(in_child)) };
    true
}

/// The kernel has written so many bytes at this address of the protected memory, through the open one.
extern "C" fn wrote(address: usize, len: usize) {
    let Some(arena) = arena().filter(|arena| !arena.is_stopped()) else { return };
    let Some(offset) = address.checked_sub(arena.base()).filter(|&offset| offset < arena.len()) else {
        return;
    };
    let place = arena.place(offset);
    let _held = arena.hold();
    if arena.slot_at(offset).is_some_and(|slot| arena.is_closed(slot)) {
        arena.record(offset, len, place, true);
    }
}

unsafe extern "C" fn before_fork() {
    if let Some(arena) = arena() {
        arena.before_fork();
    }
}

unsafe extern "C" fn after_fork() {
    if let Some(arena) = arena() {
        arena.after_fork();
    }
}

unsafe extern "C" fn in_child() {
    if let Some(link) = link() {
        link.base.store(0, Ordering::Release);
        handler::remove(link);
    }
    if let Some(arena) = arena() {
        arena.in_child();
    }
}
