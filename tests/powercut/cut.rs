//! Where the power fails, and what of the writes that no flush covered had reached the medium by then.
//!
//! Invariant: a recording, a seed and a number give the same cut each time.

use std::fmt;

use fastrand::Rng;

use crate::image::Image;
use crate::recording::{Operation, Position, Recording};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// What most of today's disks write whole or not at all.
const PAGE: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Its number in the plan.
    pub(crate) number: usize,
    pub(crate) at: Position,
    /// What was told before this is on the medium.
    pub(crate) flushed: Position,
    survivors: Survivors,
    seed: u64,
}

/// Which of the writes since the last flush reached the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Survivors {
    None,
    All,
    SomeWrites,
    /// Some pieces of this many bytes, so that single writes are torn.
    SomePieces(usize),
}

/// Whether the disk does what a flush asks of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Honesty {
    Honest,
    /// It answers a flush and does nothing: what the check must notice.
    IgnoresFlushes,
}

/// Half of the cuts stand after a flush each; the others at random, many of them where most is at stake, right
/// before a flush. In the order of what is flushed, so that [`Replay`] only goes forward.
pub(crate) fn plan(recording: &Recording, seed: u64, images: usize, honesty: Honesty) -> Vec<Cut> {
    let mut rng = Rng::with_seed(seed);
    let flushes = recording.flushes();
    let mut places = spread(&flushes, images / 2);
    while places.len() < images {
        places.push(random_place(recording, &flushes, &mut rng));
    }
    let mut cuts: Vec<Cut> = places
        .into_iter()
        .map(|at| {
            let honest = recording.flushed_at(at);
            let flushed = match honesty {
                Honesty::Honest => honest,
                Honesty::IgnoresFlushes => Position(rng.usize(recording.started.0.min(honest.0)..=honest.0)),
            };
            let survivors = match (honesty, rng.u8(..8)) {
                (Honesty::IgnoresFlushes, _) | (_, 0) => Survivors::None,
                (_, 1) => Survivors::All,
                (_, 2..5) => Survivors::SomeWrites,
                (_, 5..7) => Survivors::SomePieces(PAGE),
                _ => Survivors::SomePieces(SECTOR),
            };
            Cut { number: 0, at, flushed, survivors, seed: rng.u64(..) }
        })
        .collect();
    cuts.sort_by_key(|cut| (cut.flushed, cut.at));
    for (number, cut) in cuts.iter_mut().enumerate() {
        cut.number = number;
    }
    cuts
}

/// At most `count` of them, evenly spread, the last one included.
fn spread(flushes: &[Position], count: usize) -> Vec<Position> {
    if flushes.len() <= count {
        return flushes.to_vec();
    }
    (1..=count).map(|step| flushes[step * flushes.len() / count - 1]).collect()
}

fn random_place(recording: &Recording, flushes: &[Position], rng: &mut Rng) -> Position {
    match rng.choice(flushes) {
        Some(after) if rng.bool() => Position(after.0 - 1),
        _ => Position(rng.usize(recording.started.0..=recording.end().0)),
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, at, flushed, survivors, .. } = self;
        write!(f, "image {number} (cut at operation {}, flushed up to {}, and after that ", at.0, flushed.0)?;
        match survivors {
            Survivors::None => write!(f, "nothing)"),
            Survivors::All => write!(f, "everything)"),
            Survivors::SomeWrites => write!(f, "some writes)"),
            Survivors::SomePieces(bytes) => write!(f, "some pieces of {bytes} bytes)"),
        }
    }
}

/// Builds the images of cuts that come in the order of [`plan`].
#[derive(Debug)]
pub(crate) struct Replay<'a> {
    recording: &'a Recording,
    flushed: Image,
    at: Position,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(recording: &'a Recording) -> Self {
        Self { recording, flushed: recording.base.clone(), at: Position(0) }
    }

    /// What the disk holds when the power is back.
    pub(crate) fn image(&mut self, cut: &Cut) -> Image {
        assert!(self.at <= cut.flushed, "cuts come in the order of the plan");
        for (offset, bytes) in writes(&self.recording.operations[self.at.0..cut.flushed.0]) {
            self.flushed.write(offset, bytes);
        }
        self.at = cut.flushed;
        let mut image = self.flushed.clone();
        if cut.survivors == Survivors::None {
            return image;
        }
        let mut rng = Rng::with_seed(cut.seed);
        // Sometimes nearly all is lost, sometimes nearly nothing.
        let odds = rng.u8(1..10);
        for (offset, bytes) in writes(&self.recording.operations[cut.flushed.0..cut.at.0]) {
            let piece = match cut.survivors {
                Survivors::SomePieces(len) => len,
                _ => bytes.len().max(1),
            };
            for (place, chunk) in (offset..).step_by(piece).zip(bytes.chunks(piece)) {
                if cut.survivors == Survivors::All || rng.u8(..10) < odds {
                    image.write(place, chunk);
                }
            }
        }
        image
    }
}

fn writes(operations: &[Operation]) -> impl Iterator<Item = (u64, &[u8])> {
    operations.iter().filter_map(|operation| match operation {
        Operation::Write { offset, bytes } => Some((*offset, bytes.as_slice())),
        Operation::Flush => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Write `n` (from 1) fills page `n` with `n`; after each third comes a flush.
    fn recording() -> Recording {
        let mut operations = Vec::new();
        for number in 1..=30_u8 {
            let bytes = vec![number; 2 * SECTOR];
            operations.push(Operation::Write { offset: u64::from(number) * 4096, bytes });
            if number % 3 == 0 {
                operations.push(Operation::Flush);
            }
        }
        let base = Image::empty(1 << 20);
        Recording { base, operations, started: Position(4), confirmations: Vec::new() }
    }

    fn is_whole(image: &Image, number: u64) -> bool {
        image.read(number * 4096, 2 * SECTOR as u64).iter().all(|&byte| u64::from(byte) == number)
    }

    #[test]
    fn what_was_flushed_is_in_every_image_and_what_was_not_written_in_none() {
        let recording = recording();
        let mut replay = Replay::new(&recording);
        let mut torn = 0;
        for cut in plan(&recording, 1, 200, Honesty::Honest) {
            let image = replay.image(&cut);
            let told = recording.operations[..cut.at.0].iter().filter(|o| **o != Operation::Flush).count();
            let flushed = cut.flushed.0 / 4 * 3;
            assert!((1..=flushed as u64).all(|number| is_whole(&image, number)), "{cut}");
            let later = image.read((told as u64 + 1) * 4096, 40 * 4096);
            assert!(later.iter().all(|&byte| byte == 0), "{cut}");
            let first = |number: usize| image.read(number as u64 * 4096, 1) != [0];
            torn += (flushed + 1..=told).filter(|&n| first(n) && !is_whole(&image, n as u64)).count();
        }
        assert!(torn > 0, "no write was torn");
    }

    #[test]
    fn a_plan_is_the_same_for_the_same_seed() {
        let recording = recording();
        let cuts = plan(&recording, 7, 100, Honesty::Honest);
        assert_eq!(cuts, plan(&recording, 7, 100, Honesty::Honest));
        assert_ne!(cuts, plan(&recording, 8, 100, Honesty::Honest));
        let flushes = recording.flushes();
        assert_eq!(flushes.len(), 9, "the flush before the workload is none of its own");
        assert!(flushes.iter().all(|flush| cuts.iter().any(|cut| cut.at == *flush)));
    }

    #[test]
    fn a_disk_that_ignores_flushes_loses_what_was_flushed() {
        let recording = recording();
        let cuts = plan(&recording, 1, 100, Honesty::IgnoresFlushes);
        assert!(cuts.iter().any(|cut| cut.flushed < recording.flushed_at(cut.at)));
    }
}
