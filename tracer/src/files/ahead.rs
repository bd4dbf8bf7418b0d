//! Reads ahead with several threads, and hands out in order.
//!
//! Invariants:
//!   * What comes out comes in the order in which it went in, whatever the threads do.
//!   * What was read and not handed out yet weighs no more than a bound, one item aside.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use parking_lot::{Condvar, Mutex};

/// So many bytes may wait to be handed out.
const WAITING_MAX: usize = 16 << 20;

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// The next item that a thread takes.
    next: usize,
    /// The next item that is handed out.
    wanted: usize,
    waiting: BTreeMap<usize, T>,
    weight: usize,
    ended: bool,
}

/// Runs `use_all` with an iterator over `read` of each item, where the reading is done by so many threads.
pub(crate) fn in_order<I: Sync, T: Send, R>(
    threads: NonZeroUsize,
    items: &[I],
    read: impl Fn(&I) -> T + Sync,
    weight: impl Fn(&T) -> usize + Sync,
    use_all: impl FnOnce(&mut (dyn Iterator<Item = T> + Send)) -> R,
) -> R {
    // Handing one item from thread to thread takes longer than reading it.
    if threads.get() == 1 || items.len() < 8 {
        return use_all(&mut items.iter().map(&read));
    }
    let state = State { next: 0, wanted: 0, waiting: BTreeMap::new(), weight: 0, ended: false };
    let shared = Shared { state: Mutex::new(state), changed: Condvar::new() };
    std::thread::scope(|scope| {
        for _ in 0..threads.get().min(items.len()) {
            scope.spawn(|| shared.fill(items, &read, &weight));
        }
        let _end = End(&shared);
        use_all(&mut std::iter::from_fn(|| shared.take(items.len(), &weight)))
    })
}

/// Lets the threads go, also when whoever takes stops early.
struct End<'s, T>(&'s Shared<T>);

impl<T> Drop for End<'_, T> {
    fn drop(&mut self) {
        self.0.state.lock().ended = true;
        self.0.changed.notify_all();
    }
}

impl<T> Shared<T> {
    fn fill<I>(&self, items: &[I], read: &impl Fn(&I) -> T, weight: &impl Fn(&T) -> usize) {
        loop {
            let mut state = self.state.lock();
            // Whoever reads the item that is waited for must never wait itself.
            while state.weight > WAITING_MAX && state.next != state.wanted && !state.ended {
                self.changed.wait(&mut state);
            }
            if state.ended || state.next == items.len() {
                return;
            }
            let taken = state.next;
            state.next += 1;
            drop(state);
            let got = read(&items[taken]);
            let mut state = self.state.lock();
            state.weight += weight(&got);
            state.waiting.insert(taken, got);
            if taken == state.wanted {
                self.changed.notify_all();
            }
        }
    }

    fn take(&self, len: usize, weight: &impl Fn(&T) -> usize) -> Option<T> {
        let mut state = self.state.lock();
        if state.wanted == len {
            return None;
        }
        let wanted = state.wanted;
        let got = loop {
            match state.waiting.remove(&wanted) {
                Some(got) => break got,
                None => self.changed.wait(&mut state),
            }
        };
        state.weight -= weight(&got);
        state.wanted += 1;
        self.changed.notify_all();
        Some(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_threads_gives_the_same_order() {
        let items: Vec<usize> = (0..1000).collect();
        for threads in [1, 2, 7, 32] {
            let threads = NonZeroUsize::new(threads).unwrap();
            // Each weighs a fifth of the bound, so that the threads have to wait for each other.
            let got: Vec<usize> =
                in_order(threads, &items, |i| i * 3, |_| WAITING_MAX / 5, |all| all.collect());
            assert_eq!(got, items.iter().map(|i| i * 3).collect::<Vec<_>>());
        }
    }

    #[test]
    fn whoever_stops_early_leaves_no_thread_waiting() {
        let items: Vec<usize> = (0..1000).collect();
        let threads = NonZeroUsize::new(4).unwrap();
        let got: Vec<usize> = in_order(threads, &items, |&i| i, |_| WAITING_MAX, |all| all.take(3).collect());
        assert_eq!(got, [0, 1, 2]);
    }
}
