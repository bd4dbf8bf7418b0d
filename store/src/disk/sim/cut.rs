//! What a crash leaves of a medium.
//!
//! Invariants:
//!   * What was synced is whole, whatever the cut.
//!   * The same medium and the same cut leave the same bytes.

use std::ops::Range;

use super::medium::{Content, Ino, Medium};

/// The unit in which a medium writes: a torn append may miss any of its sectors.
const SECTOR: usize = 512;

/// How a simulated disk is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// A power cut that takes everything that was not synced.
    LoseUnsynced,
    /// Only the process died (`kill -9`): all that it wrote is there, though still not durable, and the first
    /// `torn` bytes of the append under way. Another step under way has not happened.
    Killed { torn: usize },
    /// A power cut that takes, tears and reorders what was not synced as the seed chooses; the step under way may
    /// have happened.
    Seeded(u64),
}

impl Cut {
    /// The cuts a crash test tries at each step: the two extremes, a torn append, and so many seeds.
    pub fn samples(seeds: u64) -> impl Iterator<Item = Self> {
        let fixed = [Self::LoseUnsynced, Self::Killed { torn: 0 }, Self::Killed { torn: 1 }];
        fixed.into_iter().chain((0..seeds).map(Self::Seeded))
    }

    /// Whether SQLite's files are still there afterwards.
    pub(super) fn keeps_databases(self) -> bool {
        match self {
            Self::LoseUnsynced => false,
            Self::Killed { .. } => true,
            Self::Seeded(seed) => Dice::new(!seed).one_in(2),
        }
    }
}

/// The step that the process died in. The medium has it as if it had happened.
#[derive(Debug, Clone, Copy)]
pub(super) enum UnderWay {
    Append { ino: Ino, start: usize },
    Names { before: usize },
}

pub(super) fn cut(medium: &mut Medium, under_way: Option<UnderWay>, cut: Cut) {
    match cut {
        Cut::LoseUnsynced => medium.settle(|_| false, |content| Remains::of(content).bytes(false)),
        Cut::Killed { torn } => match under_way {
            Some(UnderWay::Append { ino, start }) => medium.truncate_node(ino, start.saturating_add(torn)),
            Some(UnderWay::Names { before }) => medium.forget_names_after(before),
            None => {}
        },
        Cut::Seeded(seed) => {
            let mut dice = Dice::new(seed);
            let names = dice.survivors(medium.pending_names());
            medium.settle(|index| names[index], |content| chosen_remains(content, &mut dice));
        }
    }
}

fn chosen_remains(content: &Content, dice: &mut Dice) -> Vec<u8> {
    let mut remains = Remains::of(content);
    let survivors = dice.survivors(content.units.len());
    for (unit, survives) in content.units.iter().zip(survivors).filter(|(unit, _)| !unit.lost) {
        let Range { start, end } = unit.range;
        match if survives { 0 } else { 1 + dice.below(3) } {
            0 => remains.keep(start..end),
            1 => remains.keep(start..start + dice.below(end - start + 1)),
            2 => keep_sectors(&mut remains, start..end, dice),
            _ => {}
        }
    }
    // The new length may be durable before the bytes are: they read as zeros.
    remains.bytes(dice.one_in(4))
}

fn keep_sectors(remains: &mut Remains<'_>, unit: Range<usize>, dice: &mut Dice) {
    let mut start = unit.start;
    while start < unit.end {
        let end = unit.end.min((start / SECTOR + 1) * SECTOR);
        match dice.below(8) {
            0..3 => remains.keep(start..end),
            3 => remains.garble(start..end, dice),
            _ => {}
        }
        start = end;
    }
}

/// What is left of one file; begins with what is durable.
struct Remains<'a> {
    live: &'a [u8],
    left: Vec<u8>,
    len: usize,
}

impl<'a> Remains<'a> {
    fn of(content: &'a Content) -> Self {
        let mut left = content.live.clone();
        content.units.iter().for_each(|unit| left[unit.range.clone()].fill(0));
        Self { live: &content.live, left, len: content.durable_len() }
    }

    fn keep(&mut self, range: Range<usize>) {
        if !range.is_empty() {
            self.len = self.len.max(range.end);
            self.left[range.clone()].copy_from_slice(&self.live[range]);
        }
    }

    fn garble(&mut self, range: Range<usize>, dice: &mut Dice) {
        self.len = self.len.max(range.end);
        self.left[range].fill_with(|| dice.byte());
    }

    fn bytes(mut self, whole_length: bool) -> Vec<u8> {
        if !whole_length {
            self.left.truncate(self.len);
        }
        self.left
    }
}

/// Chooses by its seed alone (xorshift64).
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        // Neighbouring seeds must differ in many bits, and zero would stay zero.
        let mut dice = Self(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..4 {
            dice.roll();
        }
        dice
    }

    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end as u64).expect("it fits because it is below a usize")
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn byte(&mut self) -> u8 {
        self.roll().to_le_bytes()[0]
    }

    /// Which of so many things survive: none, all, those before a point, or each as it falls.
    fn survivors(&mut self, count: usize) -> Vec<bool> {
        match self.below(4) {
            0 => vec![false; count],
            1 => vec![true; count],
            2 => {
                let end = self.below(count + 1);
                (0..count).map(|index| index < end).collect()
            }
            _ => (0..count).map(|_| self.one_in(2)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_choose_differently_and_each_always_the_same() {
        let choices = |seed| Dice::new(seed).survivors(64);
        assert_eq!(choices(7), choices(7));
        let distinct: std::collections::BTreeSet<Vec<bool>> = (0..64).map(choices).collect();
        assert!(distinct.len() > 16, "{}", distinct.len());
    }
}
