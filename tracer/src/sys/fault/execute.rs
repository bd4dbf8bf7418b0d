//! Executes one re-spelled instruction with the registers of the thread that faulted, inside the signal handler.
//!
//! The registers are those that the kernel put on the signal's frame, and go back there; so one signal is all that a write
//! costs, and no other thread ever sees the memory open. What is executed lies in a page of ours, mapped twice: once to be
//! written, once to be executed.

use std::arch::x86_64::__cpuid_count;
use std::arch::{asm, global_asm};
use std::ffi::{c_int, c_void};
use std::ptr;

use super::decode::{LONGEST, Store};
use super::raw;
use super::scatter::Areas;

/// The general registers as a signal's frame has them: which place holds the register of a number.
pub(crate) const PLACES: [usize; 16] = [13, 14, 12, 11, 15, 10, 9, 8, 0, 1, 2, 3, 4, 5, 6, 7];
pub(crate) const RIP: usize = 16;
pub(crate) const FLAGS: usize = 17;

/// Carry, parity, adjust, zero, sign, direction, overflow.
const ARITHMETIC: u64 = 0x0CD5;
/// Everything of floating point and vectors up to 512 bits.
const VECTORS: u64 = 0xE7;
/// x87, and what the vector unit says of its results.
const FLOAT: u64 = 3;
/// What the kernel writes behind the first 464 bytes of a frame's vector state where there is more than the oldest part.
const MORE_MAGIC: u32 = 0x4650_5853;

global_asm!(
    // rdi: registers, rsi: code, rdx: vector state or null, rcx: what of it to load, r8: what of it to save
    ".globl tickfs_execute",
    ".hidden tickfs_execute",
    ".type tickfs_execute, @function",
    "tickfs_execute:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "push rdi",
    "push rsi",
    "push rdx",
    "push r8",
    "test rdx, rdx",
    "jz 2f",
    "mov r8, rdx",
    "mov eax, ecx",
    "xor edx, edx",
    "xrstor64 [r8]",
    "2:",
    "push qword ptr [rdi + 8*17]",
    "popfq",
    "mov r8, [rdi + 8*0]",
    "mov r9, [rdi + 8*1]",
    "mov r10, [rdi + 8*2]",
    "mov r11, [rdi + 8*3]",
    "mov r12, [rdi + 8*4]",
    "mov r13, [rdi + 8*5]",
    "mov r14, [rdi + 8*6]",
    "mov r15, [rdi + 8*7]",
    "mov rsi, [rdi + 8*9]",
    "mov rbp, [rdi + 8*10]",
    "mov rbx, [rdi + 8*11]",
    "mov rdx, [rdi + 8*12]",
    "mov rax, [rdi + 8*13]",
    "mov rcx, [rdi + 8*14]",
    "mov rdi, [rdi + 8*8]",
    "call qword ptr [rsp + 16]",
    "push rdi",
    "mov rdi, [rsp + 32]",
    "mov [rdi + 8*0], r8",
    "mov [rdi + 8*1], r9",
    "mov [rdi + 8*2], r10",
    "mov [rdi + 8*3], r11",
    "mov [rdi + 8*4], r12",
    "mov [rdi + 8*5], r13",
    "mov [rdi + 8*6], r14",
    "mov [rdi + 8*7], r15",
    "mov [rdi + 8*9], rsi",
    "mov [rdi + 8*10], rbp",
    "mov [rdi + 8*11], rbx",
    "mov [rdi + 8*12], rdx",
    "mov [rdi + 8*13], rax",
    "mov [rdi + 8*14], rcx",
    "pop qword ptr [rdi + 8*8]",
    "pushfq",
    "pop qword ptr [rdi + 8*17]",
    "cld",
    "mov eax, [rsp]",
    "test eax, eax",
    "jz 3f",
    "mov r8, [rsp + 8]",
    "xor edx, edx",
    "xsave64 [r8]",
    "3:",
    "add rsp, 32",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
);

unsafe extern "C" {
    fn tickfs_execute(registers: *mut u64, code: *const u8, vectors: *mut u8, load: u64, save: u64);
}

/// Memory keys: a handler starts without the right to read code that a compiler in the program has locked by one.
pub(crate) struct Keys(Option<u32>);

impl Keys {
    /// Lets this thread read everything.
    pub(crate) fn open(cache: &Cache) -> Self {
        if !cache.has_keys {
            return Self(None);
        }
        let rights: u32;
        // SAFETY: reads a register that this processor and this system have. JUSTIFICATION: no function does.
        unsafe { asm!("rdpkru", in("ecx") 0, out("eax") rights, out("edx") _, options(nomem, nostack)) };
        Self::set(0);
        Self(Some(rights))
    }

    fn set(rights: u32) {
        // SAFETY: as above; the kernel sets it again when the handler returns. JUSTIFICATION: as above.
        unsafe { asm!("wrpkru", in("eax") rights, in("ecx") 0, in("edx") 0, options(nostack)) };
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(rights) = self.0 {
            Self::set(rights);
        }
    }
}

/// Known instructions, by their address.
pub(crate) struct Cache {
    writable: *mut u8,
    executable: *const u8,
    entries: *mut Entry,
    pub(crate) areas: Areas,
    has_keys: bool,
}

#[derive(Clone, Copy)]
struct Entry {
    at: u64,
    bytes: [u8; LONGEST],
    store: Store,
}

/// A power of two.
const ENTRIES: usize = 1024;
const ROOM: usize = 32;

const MEMBARRIER: i64 = 324;
const SYNC_CORE: c_int = 1 << 5;
const REGISTER_SYNC_CORE: c_int = 1 << 6;

impl Cache {
    /// `None` where the system lets nobody make code.
    pub(crate) fn new() -> Option<Self> {
        // SAFETY: a name and flags. JUSTIFICATION: the standard library has no memfd.
        let file = unsafe { raw::memfd_create(c"tickfs-code".as_ptr(), raw::MFD_CLOEXEC) };
        if file < 0 {
            return None;
        }
        let len = ENTRIES * ROOM;
        let size = i64::try_from(len).ok()?;
        // SAFETY: the file is ours. JUSTIFICATION: as above.
        let sized = unsafe { raw::ftruncate(file, size) } == 0;
        let writable = map(raw::PROT_READ_WRITE, raw::MAP_SHARED, file, len);
        let executable = map(raw::PROT_READ_EXEC, raw::MAP_SHARED, file, len);
        let entries = map(raw::PROT_READ_WRITE, raw::MAP_PRIVATE_ANONYMOUS, -1, ENTRIES * size_of::<Entry>());
        // SAFETY: the mappings keep what they need. JUSTIFICATION: as above.
        unsafe { raw::close(file) };
        // SAFETY: a command and no memory. JUSTIFICATION: as above.
        let synced = unsafe { raw::syscall(MEMBARRIER, REGISTER_SYNC_CORE, 0, 0) } == 0;
        let whole = sized && synced;
        let areas = Areas::ask();
        // Bit 4: the system has switched memory keys on.
        let has_keys = __cpuid_count(0, 0).eax >= 7 && __cpuid_count(7, 0).ecx & 1 << 4 != 0;
        Some(Self { writable: writable?, executable: executable?, entries: entries?.cast(), areas, has_keys })
            .filter(|_| whole)
    }

    /// Only to see that it can be made.
    pub(crate) fn unmap(self) {
        let entries = ENTRIES * size_of::<Entry>();
        let parts = [(self.writable, ENTRIES * ROOM), (self.executable.cast_mut(), ENTRIES * ROOM)];
        for (at, len) in parts.into_iter().chain([(self.entries.cast(), entries)]) {
            // SAFETY: they were mapped in `new`. JUSTIFICATION: the standard library maps nothing.
            unsafe { raw::munmap(at.cast(), len) };
        }
    }

    /// What stands at `at`; the lock of the arena is held, so one thread at a time is here.
    pub(crate) fn look(&self, at: u64) -> Option<(Store, *const u8)> {
        let place = usize::try_from((at ^ at >> 10) & (ENTRIES as u64 - 1)).ok()?;
        // SAFETY: below the number of entries; zeros are a valid entry. JUSTIFICATION: memory that is mapped by hand.
        let entry = unsafe { &mut *self.entries.wrapping_add(place) };
        let code = self.executable.wrapping_add(place * ROOM);
        if entry.at == at
            && entry.store.len > 0
            && (0..entry.store.len).all(|n| byte(at, n) == entry.bytes[n])
        {
            return Some((entry.store, code));
        }
        let mut bytes = [0; LONGEST];
        let store = super::decode::decode(|n| {
            bytes[n] = byte(at, n);
            bytes[n]
        })?;
        let to = self.writable.wrapping_add(place * ROOM);
        // SAFETY: each entry has its room, and nobody executes while the lock is held. JUSTIFICATION: as above.
        unsafe { ptr::copy_nonoverlapping(store.code.as_ptr(), to, store.code.len()) };
        // SAFETY: a command and no memory. JUSTIFICATION: other processors may have read what stood there before.
        unsafe { raw::syscall(MEMBARRIER, SYNC_CORE, 0, 0) };
        *entry = Entry { at, bytes, store };
        Some((store, code))
    }
}

/// The n-th byte of what the thread executes; it has been fetched from there, so it can be read.
fn byte(at: u64, n: usize) -> u8 {
    let at = (at as *const u8).wrapping_add(n);
    // SAFETY: the processor has just decoded it. JUSTIFICATION: code of the program is no slice of ours.
    unsafe { at.read_volatile() }
}

fn map(protection: c_int, flags: c_int, file: c_int, len: usize) -> Option<*mut u8> {
    // SAFETY: a new mapping where the kernel likes. JUSTIFICATION: the standard library maps nothing.
    let at = unsafe { raw::mmap(ptr::null_mut(), len, protection, flags, file, 0) };
    (at.addr() != usize::MAX).then(|| at.cast())
}

/// Runs `code` with the registers of a frame; its scratch register is `to`. `false`: the frame lacks what it needs.
///
/// # Safety
/// `registers` and `vectors` are those of a signal's frame; `code` is what `Cache::look` gave for `store`; `to` is writable
/// where `store` writes.
pub(crate) unsafe fn execute(
    store: &Store,
    code: *const u8,
    registers: *mut u64,
    vectors: *mut u8,
    to: *mut c_void,
) -> bool {
    use super::opcodes::Kind;
    let (load, save) = match store.kind {
        Kind::General => (0, 0),
        Kind::Vector => (VECTORS, 0),
        _ => (VECTORS, FLOAT),
    };
    let (mut area, mut mask) = (ptr::null_mut(), 0);
    if load != 0 {
        if vectors.is_null() {
            return false;
        }
        // SAFETY: the caller's frame; the kernel says here how it is made. JUSTIFICATION: the frame is the kernel's.
        let magic = unsafe { vectors.wrapping_add(464).cast::<u32>().read_unaligned() };
        // SAFETY: as above. JUSTIFICATION: as above.
        let there = unsafe { vectors.wrapping_add(472).cast::<u64>().read_unaligned() };
        if magic != MORE_MAGIC {
            return false;
        }
        (area, mask) = (vectors, there & load);
    }
    let scratch = PLACES[usize::from(store.scratch)];
    // SAFETY: places of the frame. JUSTIFICATION: as above.
    let frame = unsafe { std::slice::from_raw_parts_mut(registers, FLAGS + 1) };
    let (kept, flags) = (frame[scratch], frame[FLAGS]);
    frame[scratch] = to.addr() as u64;
    // 0x202: what is always set, and interrupts.
    frame[FLAGS] = flags & ARITHMETIC | 0x202;
    // SAFETY: as the caller promises; the code ends with a return and leaves the stack alone. JUSTIFICATION: there is no
    // other way to do exactly what the program was about to do.
    unsafe { tickfs_execute(registers, code, area, mask, save) };
    // SAFETY: as above. JUSTIFICATION: as above.
    let frame = unsafe { std::slice::from_raw_parts_mut(registers, FLAGS + 1) };
    frame[scratch] = kept;
    frame[FLAGS] = flags & !ARITHMETIC | frame[FLAGS] & ARITHMETIC;
    true
}
