//! Inode numbers: packed from what they stand for, and read back.
//!
//! The highest bit is 0, so that no tool reads a negative number; three bits say the kind, sixty the object:
//!
//! ```text
//!   0  a fixed place of the layout, 1 is the root
//!   1  a directory of a tree             tick (30) | node (30)
//!   2  a version as it was in a tree     tick (30) | node (30)   the tick at which the version came to be
//!   3  a path of files/                  tick (30) | node (30)   where the path first stood, and what stood there
//!   4  a version of files/               tick (30) | node (30)   the tick at which it came to stand under its path
//!   5  a numbered thing                  which (8) | number (52)
//!   7  whatever has no number            60 bits of a hash of what it stands for (intern.rs)
//! ```
//!
//! Invariants:
//!   * The same thing has the same number in every process, and nothing else ever has it.
//!   * Of the kinds 0 to 5 a number says everything; no table is needed.

use std::fmt;

use tickfs_store::ids::{BranchNo, NodeId, Tick};

use crate::error::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

impl fmt::Display for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Places that every mount has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fixed {
    Root = 1,
    Branches,
    Ticks,
    Deleted,
    Snapshots,
    Diff,
    Events,
    Journal,
    Archive,
    EventsJsonl,
    Watch,
    Handoff,
    States,
    Codevovle,
}

impl Fixed {
    pub(crate) const ALL: [Self; 14] = [
        Self::Root,
        Self::Branches,
        Self::Ticks,
        Self::Deleted,
        Self::Snapshots,
        Self::Diff,
        Self::Events,
        Self::Journal,
        Self::Archive,
        Self::EventsJsonl,
        Self::Watch,
        Self::Handoff,
        Self::States,
        Self::Codevovle,
    ];
}

/// What an inode number can say by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Object {
    Fixed(Fixed),
    TreeDir {
        tick: Tick,
        node: NodeId,
    },
    Version {
        tick: Tick,
        node: NodeId,
    },
    /// A path of `files/`, by the tick at which it first stood and the node that stood there.
    Past {
        at: Tick,
        node: NodeId,
    },
    /// A version of `files/`, by the tick at which it came to stand under its path.
    Saved {
        at: Tick,
        node: NodeId,
    },
    Branch(BranchNo),
    Tick(Tick),
    /// `branches/<b>/log`
    Log(BranchNo),
    /// A segment of the journal by its first seq, as lines or sealed.
    Segment {
        first: u64,
        sealed: bool,
    },
}

const KIND_SHIFT: u32 = 60;
const PAYLOAD: u64 = (1 << KIND_SHIFT) - 1;
const HALF: u32 = 30;
const HALF_MASK: u64 = (1 << HALF) - 1;
const NUMBER: u32 = 52;
const NUMBER_MASK: u64 = (1 << NUMBER) - 1;
const INTERNED: u64 = 7;

impl Ino {
    pub const ROOT: Self = Self(1);

    pub(crate) fn of(object: Object) -> Result<Self> {
        match object {
            Object::Fixed(fixed) => Ok(Self(fixed as u64)),
            Object::TreeDir { tick, node } => halves(1, tick.0, node.0),
            Object::Version { tick, node } => halves(2, tick.0, node.0),
            Object::Past { at, node } => halves(3, at.0, node.0),
            Object::Saved { at, node } => halves(4, at.0, node.0),
            Object::Branch(no) => numbered(0, no.0.into()),
            Object::Tick(tick) => numbered(1, tick.0),
            Object::Log(no) => numbered(2, no.0.into()),
            Object::Segment { first, sealed: false } => numbered(3, first),
            Object::Segment { first, sealed: true } => numbered(4, first),
        }
    }

    /// `None`: it is an interned one, or no number that [`Self::of`] makes.
    pub(crate) fn object(self) -> Option<Object> {
        let payload = self.0 & PAYLOAD;
        let (high, low) = (payload >> HALF, payload & HALF_MASK);
        let (tick, node) = (Tick(high), NodeId(low));
        Some(match self.0 >> KIND_SHIFT {
            0 => Object::Fixed(Fixed::ALL.into_iter().find(|&fixed| fixed as u64 == payload)?),
            1 => Object::TreeDir { tick, node },
            2 => Object::Version { tick, node },
            3 => Object::Past { at: tick, node },
            4 => Object::Saved { at: tick, node },
            5 => {
                let number = payload & NUMBER_MASK;
                let branch = u32::try_from(number).map(BranchNo);
                match payload >> NUMBER {
                    0 => Object::Branch(branch.ok()?),
                    1 => Object::Tick(Tick(number)),
                    2 => Object::Log(branch.ok()?),
                    3 => Object::Segment { first: number, sealed: false },
                    4 => Object::Segment { first: number, sealed: true },
                    _ => return None,
                }
            }
            _ => return None,
        })
    }

    /// Of a thing that has no number of its own: from a hash of all that makes it what it is.
    pub(crate) fn interned(hash: blake3::Hash) -> Self {
        Self(INTERNED << KIND_SHIFT | short(hash))
    }

    pub(crate) fn is_interned(self) -> bool {
        self.0 >> KIND_SHIFT == INTERNED
    }

    /// The sixty bits below the kind: what a directory's cookies are made of.
    pub(crate) fn payload(self) -> u64 {
        self.0 & PAYLOAD
    }
}

/// Sixty bits of a hash.
pub(crate) fn short(hash: blake3::Hash) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(bytes) & PAYLOAD
}

fn halves(kind: u64, high: u64, low: u64) -> Result<Ino> {
    match high.max(low) > HALF_MASK {
        true => Err(Error::TooMany(high.max(low))),
        false => Ok(Ino(kind << KIND_SHIFT | high << HALF | low)),
    }
}

fn numbered(which: u64, number: u64) -> Result<Ino> {
    match number > NUMBER_MASK {
        true => Err(Error::TooMany(number)),
        false => Ok(Ino(5 << KIND_SHIFT | which << NUMBER | number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn numbers_are_read_back_and_no_two_things_share_one() {
        let mut objects: Vec<Object> = Fixed::ALL.into_iter().map(Object::Fixed).collect();
        for high in [0, 1, 42, HALF_MASK] {
            for low in [1, 7, 42, HALF_MASK] {
                let (tick, node) = (Tick(high), NodeId(low));
                objects.extend([
                    Object::TreeDir { tick, node },
                    Object::Version { tick, node },
                    Object::Past { at: tick, node },
                    Object::Saved { at: tick, node },
                ]);
            }
            let no = BranchNo(u32::try_from(high).unwrap());
            objects.extend([Object::Branch(no), Object::Log(no), Object::Tick(Tick(high))]);
            objects.extend([true, false].map(|sealed| Object::Segment { first: high, sealed }));
        }
        let mut seen = HashSet::new();
        for object in objects {
            let ino = Ino::of(object).unwrap();
            assert_eq!(ino.object(), Some(object), "{ino}");
            assert!(!ino.is_interned() && ino.0 >> 63 == 0);
            assert!(seen.insert(ino), "{object:?} shares {ino}");
        }
        assert_eq!(Ino::of(Object::Fixed(Fixed::Root)).unwrap(), Ino::ROOT);
        let hashed = Ino::interned(blake3::hash(b"x"));
        assert!(hashed.is_interned() && hashed.object().is_none() && hashed.0 >> 63 == 0);
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_no_other_things_number() {
        let tick = Tick(HALF_MASK + 1);
        assert!(matches!(Ino::of(Object::TreeDir { tick, node: NodeId(1) }), Err(Error::TooMany(_))));
        assert!(matches!(Ino::of(Object::Tick(Tick(NUMBER_MASK + 1))), Err(Error::TooMany(_))));
    }
}
