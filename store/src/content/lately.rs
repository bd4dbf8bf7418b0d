//! What was unpacked lately, so that versions which rest on the same keyframe unpack it once.
//!
//! Invariants:
//!   * Only what was proved is kept. It stays true: no byte of a pack changes, and an address means the same for ever.
//!   * Memory is bounded by the limits below, however much is read.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::cold::Block;
use super::record::Kind;
use crate::ids::{Address, PackForm};

const FIRSTS_LIMIT: usize = 8 * 1024 * 1024;
const PREFIXED_LIMIT: usize = 4 * 1024 * 1024;
const BLOCKS_LIMIT: usize = 4 * 1024 * 1024;

/// A record in a hot pack, or a group in a cold one: an offset means another thing in each.
pub(super) type Place = (PackForm, Address);

#[derive(Debug)]
pub(super) struct Lately {
    /// The first keyframes of groups: to unpack one takes four times longer than one that has it as prefix, and the
    /// versions of a whole group need it. So those that rest on it, which are many more, do not drive it out.
    firsts: Recent<Arc<Vec<u8>>>,
    prefixed: Recent<Arc<Vec<u8>>>,
    pub(super) blocks: Recent<Arc<Block>>,
}

impl Lately {
    pub(super) fn new() -> Self {
        Self {
            firsts: Recent::new(FIRSTS_LIMIT),
            prefixed: Recent::new(PREFIXED_LIMIT),
            blocks: Recent::new(BLOCKS_LIMIT),
        }
    }

    /// Where the text of a keyframe of that kind is.
    pub(super) fn texts(&self, keyframe: Kind) -> &Recent<Arc<Vec<u8>>> {
        if keyframe == Kind::Prefixed { &self.prefixed } else { &self.firsts }
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
    young: HashMap<Place, (V, usize)>,
    young_bytes: usize,
    old: HashMap<Place, (V, usize)>,
}

impl<V: Clone> Recent<V> {
    fn new(limit: usize) -> Self {
        let kept = Kept { young: HashMap::new(), young_bytes: 0, old: HashMap::new() };
        Self { limit, kept: Mutex::new(kept) }
    }

    pub(super) fn get(&self, at: Place) -> Option<V> {
        let mut kept = self.kept.lock();
        if let Some((value, _)) = kept.young.get(&at) {
            return Some(value.clone());
        }
        let (value, bytes) = kept.old.remove(&at)?;
        kept.put(at, value.clone(), bytes, self.limit);
        Some(value)
    }

    /// What would be most of it alone is not kept.
    pub(super) fn put(&self, at: Place, value: &V, bytes: usize) {
        if bytes <= self.limit / 4 {
            self.kept.lock().put(at, value.clone(), bytes, self.limit);
        }
    }
}

impl<V> Kept<V> {
    fn put(&mut self, at: Place, value: V, bytes: usize, limit: usize) {
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
        let at = |offset| (PackForm::Hot, Address { pack: PackId(1), offset });
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
    #[test]
    fn keyframes_that_rest_on_a_first_one_do_not_drive_it_out() {
        let lately = Lately::new();
        let at = |offset| (PackForm::Hot, Address { pack: PackId(1), offset });
        let text = Arc::new(Vec::new());
        lately.texts(Kind::Keyframe).put(at(0), &text, 100 * 1024);
        for n in 1..1_000 {
            lately.texts(Kind::Prefixed).put(at(n), &text, 100 * 1024);
        }
        assert!(lately.texts(Kind::Raw).get(at(0)).is_some(), "the first one");
        assert!(lately.texts(Kind::Prefixed).get(at(1)).is_none(), "one of those that rest on it");
    }
}
