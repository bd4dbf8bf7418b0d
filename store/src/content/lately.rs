//! What was unpacked lately, so that versions which rest on the same keyframe unpack it once.
//!
//! Invariants:
//!   * Only what was proved is kept. It stays true: no byte of a pack changes, and an address means the same for ever.
//!   * Memory is bounded by the limits below, however much is read.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::cold::Block;
use crate::ids::Address;

const TEXTS_LIMIT: usize = 8 * 1024 * 1024;
const BLOCKS_LIMIT: usize = 4 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Lately {
    /// By the address of the keyframe's record in a hot pack.
    pub(super) hot_texts: Recent<Arc<Vec<u8>>>,
    /// By the place of the group in a cold pack.
    pub(super) cold_texts: Recent<Arc<Vec<u8>>>,
    pub(super) blocks: Recent<Arc<Block>>,
}

impl Lately {
    pub(super) fn new() -> Self {
        Self {
            hot_texts: Recent::new(TEXTS_LIMIT),
            cold_texts: Recent::new(TEXTS_LIMIT),
            blocks: Recent::new(BLOCKS_LIMIT),
        }
    }
}

/// A bounded memory of two generations: what is not asked for while one fills goes when the next is full.
#[derive(Debug)]
pub(super) struct Recent<V> {
    limit: usize,
    kept: Mutex<Kept<V>>,
}

#[derive(Debug)]
struct Kept<V> {
    young: HashMap<Address, (V, usize)>,
    young_bytes: usize,
    old: HashMap<Address, (V, usize)>,
}

impl<V: Clone> Recent<V> {
    fn new(limit: usize) -> Self {
        let kept = Kept { young: HashMap::new(), young_bytes: 0, old: HashMap::new() };
        Self { limit, kept: Mutex::new(kept) }
    }

    pub(super) fn get(&self, at: Address) -> Option<V> {
        let mut kept = self.kept.lock();
        if let Some((value, _)) = kept.young.get(&at) {
            return Some(value.clone());
        }
        let (value, bytes) = kept.old.remove(&at)?;
        kept.put(at, value.clone(), bytes, self.limit);
        Some(value)
    }

    /// What would be most of it alone is not kept.
    pub(super) fn put(&self, at: Address, value: &V, bytes: usize) {
        if bytes <= self.limit / 8 {
            self.kept.lock().put(at, value.clone(), bytes, self.limit);
        }
    }
}

impl<V> Kept<V> {
    fn put(&mut self, at: Address, value: V, bytes: usize, limit: usize) {
        // The entry itself takes room too, however short what it holds is.
        const ENTRY: usize = 128;
        if self.young_bytes + bytes + ENTRY > limit / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes + ENTRY;
        self.young.insert(at, (value, bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PackId;

    #[test]
    fn what_is_asked_for_again_stays_and_the_rest_goes() {
        let recent = Recent::new(64 * 1024);
        let at = |offset| Address { pack: PackId(1), offset };
        recent.put(at(0), &0, 4096);
        for n in 1..1_000 {
            recent.put(at(n), &n, 4096);
            assert_eq!(recent.get(at(0)), Some(0), "after {n} others");
        }
        let kept = (0..1_000).filter(|&n| recent.get(at(n)).is_some()).count();
        assert!((2..=16).contains(&kept), "{kept} are kept");
        recent.put(at(5_000), &1, 32 * 1024);
        assert_eq!(recent.get(at(5_000)), None, "it would be half of all that is kept");
    }
}
