//! Reads one machine instruction of x86-64 that writes memory, and spells it anew with `[rsi]` or `[rdi]` as its address.
//!
//! It knows the instructions that compilers make to write memory, and no others: what it does not know is `None`, and the
//! memory is then left alone. It allocates nothing.

use super::opcodes::{Kind, Map, Register, Spelling, known};
use super::scatter::Scatter;

/// Numbers of registers, as instructions have them.
pub(crate) const RAX: u8 = 0;
pub(crate) const RCX: u8 = 1;
pub(crate) const RSP: u8 = 4;
pub(crate) const RBP: u8 = 5;
pub(crate) const RSI: u8 = 6;
pub(crate) const RDI: u8 = 7;
/// No instruction is longer.
pub(crate) const LONGEST: usize = 15;

const RETURN: u8 = 0xC3;

/// Where an instruction writes: a sum of what it names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) base: Option<u8>,
    pub(crate) index: Option<u8>,
    /// The index is shifted left by so much.
    pub(crate) scale: u8,
    pub(crate) displacement: i64,
    /// It counts from the next instruction.
    pub(crate) from_next: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Store {
    /// So many bytes does it take itself.
    pub(crate) len: usize,
    pub(crate) kind: Kind,
    pub(crate) address: Address,
    /// The register that stands for the address in `code`.
    pub(crate) scratch: u8,
    /// The same with another address, then a return.
    pub(crate) code: [u8; LONGEST + 1],
    /// Bytes of one element, of a string instruction and a scatter.
    pub(crate) size: usize,
    pub(crate) scatter: Scatter,
    /// A string instruction is repeated.
    pub(crate) repeated: bool,
    /// It writes several elements at once.
    pub(crate) wide: bool,
}

/// What stands before an opcode.
#[derive(Debug, Clone, Copy, Default)]
struct Prefixes {
    /// In `code`, before all else.
    count: usize,
    operand_size: bool,
    repeat: Option<u8>,
    rex: u8,
}

/// Reads byte by byte, so that nothing behind the instruction is touched.
struct Reader<F> {
    byte: F,
    bytes: [u8; LONGEST],
    len: usize,
}

impl<F: FnMut(usize) -> u8> Reader<F> {
    fn next(&mut self) -> Option<u8> {
        let place = self.bytes.get_mut(self.len)?;
        *place = (self.byte)(self.len);
        self.len += 1;
        Some(*place)
    }

    fn signed(&mut self, size: usize) -> Option<i64> {
        let mut bytes = [0; 4];
        for place in bytes.iter_mut().take(size) {
            *place = self.next()?;
        }
        let number = i32::from_le_bytes(bytes);
        Some(i64::from(if size == 1 { i32::from(i8::from_le_bytes([bytes[0]])) } else { number }))
    }
}

/// `byte(n)` is the instruction's n-th byte; it is asked in order, and no further than the instruction goes.
pub(crate) fn decode(byte: impl FnMut(usize) -> u8) -> Option<Store> {
    let mut reader = Reader { byte, bytes: [0; LONGEST], len: 0 };
    let mut prefixes = Prefixes::default();
    let mut first = reader.next()?;
    loop {
        match first {
            0x66 => prefixes.operand_size = true,
            0xF2 | 0xF3 => prefixes.repeat = Some(first),
            // A lock, and segments that begin at 0.
            0xF0 | 0x26 | 0x2E | 0x36 | 0x3E => {}
            _ => break,
        }
        prefixes.count += 1;
        first = reader.next()?;
    }
    match first {
        0xC4 | 0xC5 | 0x62 if prefixes.count > 0 => None,
        0xC5 => short_vex(reader),
        0xC4 => long_vex(reader),
        0x62 => evex(reader),
        0x40..=0x4F => {
            prefixes.rex = first;
            let opcode = reader.next()?;
            legacy(reader, prefixes, opcode)
        }
        _ => legacy(reader, prefixes, first),
    }
}

fn legacy<F: FnMut(usize) -> u8>(mut reader: Reader<F>, prefixes: Prefixes, first: u8) -> Option<Store> {
    if let Some(store) = string(&reader, prefixes, first) {
        return Some(store);
    }
    let mut opcode = first;
    let mut map = Map::One;
    if first == 0x0F {
        opcode = reader.next()?;
        map = Map::Two;
        if opcode == 0x38 || opcode == 0x3A {
            map = if opcode == 0x38 { Map::Three } else { Map::Four };
            opcode = reader.next()?;
        }
    }
    let prefix = match prefixes.repeat {
        Some(0xF3) => 2,
        Some(_) => 3,
        None => u8::from(prefixes.operand_size),
    };
    let wide = prefixes.rex & 8 != 0;
    let high = (prefixes.rex & 4) << 1;
    let spelling = Spelling { vex: false, evex: false, map, opcode, prefix, wide, length: 0 };
    let rest = operand(&mut reader, spelling, high, (prefixes.rex & 1) << 3, (prefixes.rex & 2) << 2)?;
    if rest.register == Register::General && rest.number == RSP && (prefixes.rex != 0 || !rest.byte) {
        return None;
    }
    finish(reader, rest, |code| {
        if prefixes.rex != 0 {
            code[prefixes.count] &= 0xFC;
        }
        Some(())
    })
}

/// `stos` and `movs`.
fn string<F>(reader: &Reader<F>, prefixes: Prefixes, opcode: u8) -> Option<Store> {
    let kind = match opcode {
        0xAA | 0xAB => Kind::Fill,
        0xA4 | 0xA5 => Kind::Copy,
        _ => return None,
    };
    let size = match (opcode & 1, prefixes.rex & 8 != 0, prefixes.operand_size) {
        (0, ..) => 1,
        (_, true, _) => 8,
        (_, _, true) => 2,
        _ => 4,
    };
    let address = Address { base: Some(RDI), ..Address::default() };
    let repeated = prefixes.repeat.is_some();
    Some(Store { len: reader.len, kind, address, size, repeated, ..Store::default() })
}

fn short_vex<F: FnMut(usize) -> u8>(mut reader: Reader<F>) -> Option<Store> {
    let second = reader.next()?;
    let opcode = reader.next()?;
    let length = (second >> 2) & 1;
    let (map, prefix) = (Map::Two, second & 3);
    let spelling = Spelling { vex: true, evex: false, map, opcode, prefix, wide: false, length };
    let rest = operand(&mut reader, spelling, (!second >> 4) & 8, 0, 0)?;
    finish(reader, rest, |_code| Some(()))
}

fn long_vex<F: FnMut(usize) -> u8>(mut reader: Reader<F>) -> Option<Store> {
    let (second, third) = (reader.next()?, reader.next()?);
    let opcode = reader.next()?;
    let map = Map::of(second & 0x1F)?;
    let (wide, length) = (third & 0x80 != 0, (third >> 2) & 1);
    let spelling = Spelling { vex: true, evex: false, map, opcode, prefix: third & 3, wide, length };
    let (base, index) = ((!second >> 2) & 8, (!second >> 3) & 8);
    let rest = operand(&mut reader, spelling, (!second >> 4) & 8, base, index)?;
    finish(reader, rest, |code| {
        // No extension of base and index; these bits are inverted.
        code[1] |= 0x60;
        Some(())
    })
}

fn evex<F: FnMut(usize) -> u8>(mut reader: Reader<F>) -> Option<Store> {
    let (second, third, fourth) = (reader.next()?, reader.next()?, reader.next()?);
    let opcode = reader.next()?;
    // Bits that newer spellings use for more registers.
    if second & 0x08 != 0 || third & 0x04 == 0 {
        return None;
    }
    let map = Map::of(second & 0x07)?;
    // A broadcast has no meaning for what is written.
    if fourth & 0x10 != 0 {
        return None;
    }
    let (wide, length) = (third & 0x80 != 0, (fourth >> 5) & 3);
    let spelling = Spelling { vex: true, evex: true, map, opcode, prefix: third & 3, wide, length };
    let (base, index) = ((!second >> 2) & 8, (!second >> 3) & 8);
    let rest = operand(&mut reader, spelling, (!second >> 4) & 8, base, index)?;
    let (kind, number, indices) = (rest.kind, rest.number, rest.indices);
    let mut store = finish(reader, rest, |code| {
        code[1] |= 0x60;
        Some(())
    })?;
    if kind == Kind::Scatter {
        // Each of the two registers has one more bit, inverted.
        let data = number | (!second & 0x10);
        let indices = indices? | (!fourth & 0x08) << 1;
        let index_size = if opcode & 1 == 0 { 4 } else { 8 };
        store.size = if wide { 8 } else { 4 };
        let elements = (16 << length) / index_size.max(store.size);
        store.scatter = Scatter { data, indices, mask: fourth & 7, index_size, elements };
        store.address.index = None;
    }
    Some(store)
}

/// What follows an opcode.
struct Rest {
    kind: Kind,
    wide: bool,
    address: Address,
    register: Register,
    /// Of its register operand.
    number: u8,
    /// The index, also where it is number 4, which as a vector is one like any other.
    indices: Option<u8>,
    byte: bool,
    /// Where its ModRM byte stands, and what stands behind its address.
    modrm_at: usize,
    immediate_at: usize,
}

/// `high`, `base_high` and `index_high` are 8 where a prefix says so.
fn operand<F: FnMut(usize) -> u8>(
    reader: &mut Reader<F>,
    spelling: Spelling,
    high: u8,
    base_high: u8,
    index_high: u8,
) -> Option<Rest> {
    let modrm_at = reader.len;
    let modrm = reader.next()?;
    let (mode, field, base) = (modrm >> 6, (modrm >> 3) & 7, modrm & 7);
    if mode == 3 {
        return None;
    }
    let known = known(spelling, field)?;
    let mut address = Address::default();
    let mut indices = None;
    let mut size = match mode {
        0 => 0,
        1 => 1,
        _ => 4,
    };
    if base == RSP {
        let sib = reader.next()?;
        let (scale, index, base) = (sib >> 6, ((sib >> 3) & 7) | index_high, sib & 7);
        address.scale = scale;
        address.index = (index != RSP).then_some(index);
        indices = Some(index);
        if base == RBP && mode == 0 {
            size = 4;
        } else {
            address.base = Some(base | base_high);
        }
    } else if base == RBP && mode == 0 {
        (size, address.from_next) = (4, true);
    } else {
        address.base = Some(base | base_high);
    }
    address.displacement = reader.signed(size)?;
    if size == 1 && spelling.evex {
        address.displacement *= known.unit;
    }
    let immediate_at = reader.len;
    for _ in 0..known.immediate {
        reader.next()?;
    }
    let (kind, register, byte) = (known.kind, known.register, known.byte);
    let wide = register == Register::Vector && spelling.is_wide();
    Some(Rest { kind, wide, address, register, number: field | high, indices, byte, modrm_at, immediate_at })
}

/// Spells it anew; `without_extensions` takes what says more of the old address out of its prefixes.
fn finish<F>(
    reader: Reader<F>,
    rest: Rest,
    without_extensions: impl FnOnce(&mut [u8; LONGEST + 1]) -> Option<()>,
) -> Option<Store> {
    let scratch = if rest.number & 7 == RSI { RDI } else { RSI };
    let mut code = [RETURN; LONGEST + 1];
    let until = rest.modrm_at;
    code[..until].copy_from_slice(&reader.bytes[..until]);
    without_extensions(&mut code)?;
    code[until] = (reader.bytes[until] & 0x38) | scratch;
    let behind = &reader.bytes[rest.immediate_at..reader.len];
    code[until + 1..until + 1 + behind.len()].copy_from_slice(behind);
    let (kind, address, wide) = (rest.kind, rest.address, rest.wide);
    Some(Store { len: reader.len, kind, address, scratch, code, wide, ..Store::default() })
}

#[cfg(test)]
mod tests;
