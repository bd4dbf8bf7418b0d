//! A cache with a limit in bytes; what was used longest ago goes first.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

pub(crate) struct ByteCache<K> {
    limit: usize,
    inner: Mutex<Inner<K>>,
}

struct Inner<K> {
    held: HashMap<K, (u64, Arc<[u8]>)>,
    by_use: BTreeMap<u64, K>,
    bytes: usize,
    clock: u64,
}

impl<K> std::fmt::Debug for ByteCache<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ByteCache").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// What an entry takes beside its bytes, so that many small ones are bounded too.
const OVERHEAD: usize = 128;

impl<K: Copy + Eq + Hash> ByteCache<K> {
    pub(crate) fn new(limit: usize) -> Self {
        let inner = Inner { held: HashMap::new(), by_use: BTreeMap::new(), bytes: 0, clock: 0 };
        Self { limit, inner: Mutex::new(inner) }
    }

    pub(crate) fn get(&self, key: K) -> Option<Arc<[u8]>> {
        let mut inner = self.inner.lock();
        inner.clock += 1;
        let now = inner.clock;
        let (used, bytes) = inner.held.get_mut(&key)?;
        let before = std::mem::replace(used, now);
        let bytes = Arc::clone(bytes);
        inner.by_use.remove(&before);
        inner.by_use.insert(now, key);
        Some(bytes)
    }

    /// Something longer than an eighth of the limit is not kept: it would drive out all the rest.
    pub(crate) fn put(&self, key: K, bytes: &Arc<[u8]>) {
        if bytes.len() > self.limit / 8 {
            return;
        }
        let mut inner = self.inner.lock();
        inner.remove(key);
        inner.clock += 1;
        let now = inner.clock;
        inner.bytes += bytes.len() + OVERHEAD;
        inner.held.insert(key, (now, Arc::clone(bytes)));
        inner.by_use.insert(now, key);
        while inner.bytes > self.limit {
            let Some((_, oldest)) = inner.by_use.first_key_value() else { break };
            let oldest = *oldest;
            inner.remove(oldest);
        }
    }

    pub(crate) fn remove(&self, key: K) {
        self.inner.lock().remove(key);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }
}

impl<K: Copy + Eq + Hash> Inner<K> {
    fn remove(&mut self, key: K) {
        if let Some((used, bytes)) = self.held.remove(&key) {
            self.by_use.remove(&used);
            self.bytes -= bytes.len() + OVERHEAD;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_and_the_limit_holds() {
        let cache = ByteCache::new(10 * (100 + OVERHEAD));
        let bytes: Arc<[u8]> = vec![0; 100].into();
        for key in 0..10 {
            cache.put(key, &bytes);
        }
        assert!(cache.get(0).is_some());
        cache.put(10, &bytes);
        assert!(cache.get(0).is_some() && cache.get(1).is_none() && cache.get(10).is_some());
        assert!(cache.bytes() <= 10 * (100 + OVERHEAD));
        cache.put(11, &vec![0; 2000].into());
        assert!(cache.get(11).is_none() && cache.get(0).is_some());
        cache.remove(0);
        assert!(cache.get(0).is_none());
        cache.put(10, &bytes);
        assert_eq!(cache.bytes(), 9 * (100 + OVERHEAD));
    }
}
