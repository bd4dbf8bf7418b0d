//! Instructions that write each element of a vector to an address of its own. They are done here, element by element, from
//! the vector registers as the kernel has put them on the signal's frame.

use std::arch::x86_64::__cpuid_count;
use std::ptr;

use super::arena::Arena;
use super::decode::Store;
use super::execute::PLACES;
use super::{Place, raw};

/// What an instruction names besides its address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Scatter {
    pub(crate) data: u8,
    pub(crate) indices: u8,
    pub(crate) mask: u8,
    /// Bytes of an index.
    pub(crate) index_size: usize,
    pub(crate) elements: usize,
}

/// Where a frame keeps what newer processors have, and the bits that say that it is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Areas {
    masks: usize,
    upper: usize,
    more: usize,
}

const SSE: u64 = 1 << 1;
const AVX: u64 = 1 << 2;
const MASKS: u64 = 1 << 5;
const UPPER: u64 = 1 << 6;
const MORE: u64 = 1 << 7;

impl Areas {
    /// Asks the processor; 0 is where something is not.
    pub(crate) fn ask() -> Self {
        let place = |number| __cpuid_count(0xD, number).ebx as usize;
        if __cpuid_count(0, 0).eax < 0xD {
            return Self { masks: 0, upper: 0, more: 0 };
        }
        Self { masks: place(5), upper: place(6), more: place(7) }
    }
}

/// The frame's vector registers.
struct Frame {
    at: *mut u8,
    areas: Areas,
    there: u64,
}

impl Frame {
    fn bytes<const N: usize>(&self, offset: usize, part: u64) -> [u8; N] {
        // A part that is not there is all zeros.
        if self.there & part == 0 {
            return [0; N];
        }
        let at = self.at.wrapping_add(offset).cast::<[u8; N]>();
        // SAFETY: the kernel says that this part is there. JUSTIFICATION: the frame is the kernel's.
        unsafe { at.read_unaligned() }
    }

    /// The 64 bytes of a vector register.
    fn vector(&self, number: u8) -> [u8; 64] {
        let number = usize::from(number);
        if number > 15 {
            return self.bytes::<64>(self.areas.more + 64 * (number - 16), MORE);
        }
        let mut vector = [0; 64];
        vector[..16].copy_from_slice(&self.bytes::<16>(160 + 16 * number, SSE));
        vector[16..32].copy_from_slice(&self.bytes::<16>(576 + 16 * number, AVX));
        vector[32..].copy_from_slice(&self.bytes::<32>(self.areas.upper + 32 * number, UPPER));
        vector
    }
}

/// Does it; `size` is that of an element. `false`: the frame lacks what it needs.
pub(crate) fn scatter(
    arena: &Arena,
    store: &Store,
    registers: &[u64; 23],
    vectors: *mut u8,
    place: Place,
) -> bool {
    let Some(areas) = arena.cache.as_ref().map(|cache| cache.areas) else { return false };
    if vectors.is_null() || areas.masks == 0 || areas.more == 0 {
        return false;
    }
    // SAFETY: the header of the frame's vectors; it says which parts are there. JUSTIFICATION: the frame is the kernel's.
    let there = unsafe { vectors.wrapping_add(512).cast::<u64>().read_unaligned() };
    let frame = Frame { at: vectors, areas, there };
    let (scatter, size) = (store.scatter, store.size);
    let mask_at = areas.masks + 8 * usize::from(scatter.mask);
    let mask = u64::from_le_bytes(frame.bytes::<8>(mask_at, MASKS));
    let (data, indices) = (frame.vector(scatter.data), frame.vector(scatter.indices));
    let base = store.address.base.map_or(0, |number| registers[PLACES[usize::from(number)]]);
    for element in (0..scatter.elements).filter(|element| mask >> element & 1 != 0) {
        let mut index = [0; 8];
        let from = element * scatter.index_size;
        index[..scatter.index_size].copy_from_slice(&indices[from..from + scatter.index_size]);
        let mut index = i64::from_le_bytes(index);
        if scatter.index_size == 4 {
            index = index << 32 >> 32;
        }
        let to = base
            .wrapping_add((index << store.address.scale).cast_unsigned())
            .wrapping_add(store.address.displacement.cast_unsigned());
        let to = usize::try_from(to).unwrap_or(0);
        let offset = to.wrapping_sub(arena.base());
        let inside = offset < arena.len();
        let to = if inside { arena.open_at(offset) } else { ptr::with_exposed_provenance_mut(to) };
        let bytes = &data[element * size..(element + 1) * size];
        // SAFETY: open memory, or the program's own that it was about to write. JUSTIFICATION: its own pointers.
        unsafe { raw::memcpy(to.cast(), bytes.as_ptr().cast(), size) };
        if inside {
            arena.record(offset, size, place, true);
        }
    }
    if there & MASKS != 0 {
        let at = vectors.wrapping_add(mask_at).cast::<u64>();
        // SAFETY: as for reading it: what has been written is no longer asked for. JUSTIFICATION: as above.
        unsafe { at.write_unaligned(0) };
    }
    true
}
