//! The instructions of x86-64 that write memory, as far as compilers make them.
//!
//! Left out on purpose: what writes at another place than its operand says (`bts` with a register), the stack, and what saves
//! a processor's state.

/// Where an opcode is looked up: by itself, or behind `0F`, `0F 38`, `0F 3A`; or in the map of half precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Map {
    One,
    Two,
    Three,
    Four,
    Half,
}

impl Map {
    /// As newer prefixes number them.
    pub(super) fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Two),
            2 => Some(Self::Three),
            3 => Some(Self::Four),
            5 => Some(Self::Half),
            _ => None,
        }
    }
}

/// How an instruction is spelled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spelling {
    pub(super) vex: bool,
    pub(super) evex: bool,
    pub(super) map: Map,
    pub(super) opcode: u8,
    /// 0: none, 1: `66`, 2: `F3`, 3: `F2`.
    pub(super) prefix: u8,
    pub(super) wide: bool,
    /// 0: 16 bytes, 1: 32 bytes, 2: 64 bytes.
    pub(super) length: u8,
}

impl Spelling {
    /// Several elements, of an instruction that writes a vector register.
    pub(super) fn is_wide(self) -> bool {
        match (self.map, self.opcode) {
            (Map::Two, 0x11) => self.prefix < 2,
            (Map::Two, 0x29 | 0x2B | 0x7F | 0xE7) | (Map::Three, _) => true,
            (Map::Four, opcode) => !(0x14..=0x17).contains(&opcode),
            _ => false,
        }
    }
}

/// Which parts of a thread's state an instruction needs and changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// General registers and flags.
    #[default]
    General,
    /// It reads vector registers too.
    Vector,
    /// It changes the state of floating point too.
    Float,
    /// `stos`.
    Fill,
    /// `movs`.
    Copy,
    /// Each element has its own address.
    Scatter,
}

/// What the register of an instruction with a memory operand is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Register {
    None,
    General,
    Vector,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) kind: Kind,
    pub(super) register: Register,
    /// Its register is a byte, so that four numbers mean other registers.
    pub(super) byte: bool,
    pub(super) immediate: usize,
    /// What a displacement of one byte counts, where it does not count bytes.
    pub(super) unit: i64,
}

const fn general(byte: bool) -> Known {
    Known { kind: Kind::General, register: Register::General, byte, immediate: 0, unit: 1 }
}

const fn alone(immediate: usize) -> Known {
    Known { kind: Kind::General, register: Register::None, byte: false, immediate, unit: 1 }
}

const fn vector(immediate: usize, unit: i64) -> Known {
    Known { kind: Kind::Vector, register: Register::Vector, byte: false, immediate, unit }
}

const fn float() -> Known {
    Known { kind: Kind::Float, register: Register::None, byte: false, immediate: 0, unit: 1 }
}

/// `field` is the middle of the ModRM byte, which tells some apart.
pub(super) fn known(spelling: Spelling, field: u8) -> Option<Known> {
    match (spelling.vex, spelling.evex) {
        (false, _) => plain(spelling, field),
        (true, false) => vex(spelling, field),
        (true, true) => evex(spelling),
    }
}

fn plain(spelling: Spelling, field: u8) -> Option<Known> {
    let Spelling { map, opcode, prefix, wide, .. } = spelling;
    let word = if prefix == 1 && !wide { 2 } else { 4 };
    match (map, opcode) {
        // Arithmetic; 38 compares.
        (Map::One, 0x00..=0x37) if opcode & 7 < 2 => Some(general(opcode & 1 == 0)),
        (Map::One, 0x80 | 0x83) if field != 7 => Some(alone(1)),
        (Map::One, 0x81) if field != 7 => Some(alone(word)),
        (Map::One, 0x86 | 0x88) => Some(general(true)),
        (Map::One, 0x87 | 0x89) => Some(general(false)),
        (Map::One, 0xC0 | 0xC1) => Some(alone(1)),
        (Map::One, 0xD0..=0xD3) => Some(alone(0)),
        (Map::One, 0xC6) if field == 0 => Some(alone(1)),
        (Map::One, 0xC7) if field == 0 => Some(alone(word)),
        (Map::One, 0xF6 | 0xF7) if field == 2 || field == 3 => Some(alone(0)),
        (Map::One, 0xFE | 0xFF) if field < 2 => Some(alone(0)),
        (Map::One, 0xD9) if matches!(field, 2 | 3 | 7) => Some(float()),
        (Map::One, 0xDB) if matches!(field, 1 | 2 | 3 | 7) => Some(float()),
        (Map::One, 0xDD) if matches!(field, 1 | 2 | 3 | 7) => Some(float()),
        (Map::One, 0xDF) if matches!(field, 1 | 2 | 3 | 6 | 7) => Some(float()),
        (Map::Two, 0x11) => Some(vector(0, 1)),
        (Map::Two, 0x13 | 0x17 | 0x29 | 0x2B | 0xE7) if prefix < 2 => Some(vector(0, 1)),
        (Map::Two, 0x7E) if prefix < 2 => Some(vector(0, 1)),
        (Map::Two, 0x7F) if prefix < 3 => Some(vector(0, 1)),
        (Map::Two, 0xD6) if prefix == 1 => Some(vector(0, 1)),
        (Map::Two, 0x90..=0x9F) => Some(alone(0)),
        (Map::Two, 0xA4 | 0xAC) => Some(Known { immediate: 1, ..general(false) }),
        (Map::Two, 0xA5 | 0xAD) => Some(general(false)),
        (Map::Two, 0xAE) if field == 3 && prefix == 0 => Some(vector(0, 1)),
        (Map::Two, 0xB0 | 0xC0) => Some(general(true)),
        (Map::Two, 0xB1 | 0xC1) => Some(general(false)),
        (Map::Two, 0xBA) if field > 4 => Some(alone(1)),
        (Map::Two, 0xC3) if prefix == 0 => Some(general(false)),
        (Map::Two, 0xC7) if field == 1 => Some(alone(0)),
        (Map::Three, 0xF1) if prefix < 2 => Some(general(false)),
        (Map::Four, 0x14..=0x17) if prefix == 1 => Some(vector(1, 1)),
        _ => None,
    }
}

fn vex(spelling: Spelling, field: u8) -> Option<Known> {
    let Spelling { map, opcode, prefix, .. } = spelling;
    match (map, opcode) {
        (Map::Two, 0x11) => Some(vector(0, 1)),
        (Map::Two, 0x13 | 0x17 | 0x29 | 0x2B) if prefix < 2 => Some(vector(0, 1)),
        (Map::Two, 0x7E | 0xD6 | 0xE7) if prefix == 1 => Some(vector(0, 1)),
        (Map::Two, 0x7F) if prefix == 1 || prefix == 2 => Some(vector(0, 1)),
        // A mask.
        (Map::Two, 0x91) if prefix < 2 => Some(vector(0, 1)),
        (Map::Two, 0xAE) if field == 3 && prefix == 0 => Some(vector(0, 1)),
        (Map::Three, 0x2E | 0x2F | 0x8E) if prefix == 1 => Some(vector(0, 1)),
        (Map::Four, 0x14..=0x17 | 0x19 | 0x39) if prefix == 1 => Some(vector(1, 1)),
        // To half precision; it may tell of inexact results.
        (Map::Four, 0x1D) if prefix == 1 => Some(Known { kind: Kind::Float, ..vector(1, 1) }),
        _ => None,
    }
}

fn evex(spelling: Spelling) -> Option<Known> {
    let Spelling { map, opcode, prefix, wide, length, .. } = spelling;
    let whole = match length {
        0 => 16,
        1 => 32,
        2 => 64,
        _ => return None,
    };
    let element = |narrow: i64| if wide { narrow * 2 } else { narrow };
    match (map, opcode, prefix) {
        (Map::Two, 0x11, 0 | 1) | (Map::Two, 0x29 | 0x2B, 0 | 1) => Some(vector(0, whole)),
        (Map::Two, 0x11, _) => Some(vector(0, if prefix == 2 { 4 } else { 8 })),
        (Map::Two, 0x13 | 0x17, 0 | 1) => Some(vector(0, 8)),
        (Map::Two, 0x7E, 1) => Some(vector(0, element(4))),
        (Map::Two, 0x7F, 1..=3) | (Map::Two, 0xE7, 1) => Some(vector(0, whole)),
        (Map::Two, 0xD6, 1) => Some(vector(0, 8)),
        // Each element made narrower, in three manners.
        (Map::Three, 0x10..=0x15 | 0x20..=0x25 | 0x30..=0x35, 2) => {
            let share = [2, 4, 8, 2, 4, 2][usize::from(opcode & 7)];
            Some(vector(0, whole / share))
        }
        // Elements that a mask chooses, side by side.
        (Map::Three, 0x8A | 0x8B, 1) => Some(vector(0, element(4))),
        (Map::Three, 0x63, 1) => Some(vector(0, element(1))),
        (Map::Three, 0xA0..=0xA3, 1) => Some(Known { kind: Kind::Scatter, ..vector(0, element(4)) }),
        (Map::Four, 0x14, 1) => Some(vector(1, 1)),
        (Map::Four, 0x15, 1) => Some(vector(1, 2)),
        (Map::Four, 0x16, 1) => Some(vector(1, element(4))),
        (Map::Four, 0x17, 1) => Some(vector(1, 4)),
        (Map::Four, 0x19 | 0x39, 1) => Some(vector(1, 16)),
        (Map::Four, 0x1B | 0x3B, 1) => Some(vector(1, 32)),
        (Map::Four, 0x1D, 1) => Some(Known { kind: Kind::Float, ..vector(1, whole / 2) }),
        (Map::Half, 0x11, 2) | (Map::Half, 0x7E, 1) => Some(vector(0, 2)),
        _ => None,
    }
}
