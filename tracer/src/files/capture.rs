//! What stood under a path when its writer was done, read as soon as the kernel tells: the next save may overwrite it
//! while the one before is still made durable.
//!
//! Invariants:
//!   * What is handed on was read before any event said that the path, or a directory's name, changed again: it is what
//!     its writer left, and no half of the next save.
//!   * What is in doubt is not handed on; then the path is looked at when its turn comes.
//!   * What is held weighs no more than a bound. Beyond it nothing is read ahead, since no writer can be made to wait.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::inotify::ReadFlags;
use tickfs_store::Meta;
use tickfs_store::path::RelPath;

use super::place::{Place, kind_of};
use super::read::{self, Body, Loaded, Manner, Reading};
use super::stamps::Stamp;
use super::watch::Raw;

/// What is longer is read when its turn comes.
const EACH_MAX: u64 = 1 << 20;
/// So many bytes may be held.
const ALL_MAX: usize = 32 << 20;
/// Of one portion of events so many are looked at, and then no more than can be in so long: the kernel's queue must stay
/// short.
const FEW: usize = 8;
const AT_ONCE: Duration = Duration::from_millis(5);
/// In a portion so long a name that came to be is one of many, and nobody overwrites it.
const MANY: usize = 64;

/// An event, and what stood under its path when it was heard.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) raw: Raw,
    pub(crate) captured: Option<Captured>,
}

/// A version that waits to be written down.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) path: RelPath,
    /// When reading it began.
    pub(crate) at: Instant,
    pub(crate) stamp: Stamp,
    meta: Meta,
    bytes: Vec<u8>,
    held: Arc<Holding>,
}

/// How much is held, and how much ever was.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    bytes: AtomicUsize,
    pub(crate) ever: AtomicU64,
}

impl Captured {
    pub(crate) fn loaded(&self) -> Loaded {
        let body = Body::Bytes(self.bytes.clone());
        Loaded { stamp: self.stamp, meta: self.meta.clone(), body, links: 1 }
    }

    /// The same with the mode that the path has by now, where only that was changed behind the writer's back: some
    /// programs write, close, and then put the mode right.
    pub(crate) fn loaded_with_mode_of(&self, place: &Place) -> Loaded {
        let mut loaded = self.loaded();
        if let Ok(Some(stat)) = place.stat(&self.path)
            && self.still_stands(Stamp::of(&stat))
            && kind_of(&stat) == Some(self.meta.kind)
        {
            loaded.stamp = Stamp::of(&stat);
            loaded.meta =
                Meta { holes: loaded.meta.holes, ..read::meta_of(&stat, self.meta.kind, Vec::new()) };
        }
        loaded
    }

    /// Whether a path that looks like this holds these bytes, whatever became of its mode.
    pub(crate) fn still_stands(&self, now: Stamp) -> bool {
        (self.stamp.ino, self.stamp.size, self.stamp.mtime) == (now.ino, now.size, now.mtime)
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        self.held.bytes.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// Reads what events are about.
#[derive(Debug)]
pub(crate) struct Eyes {
    /// The root as it is open now.
    pub(crate) place: Arc<Mutex<Option<Arc<Place>>>>,
    /// What each watch was called when the recorder last looked: whoever uses what is read here asks again.
    pub(crate) names: Arc<Mutex<HashMap<i32, RelPath>>>,
    pub(crate) held: Arc<Holding>,
}

impl Eyes {
    /// Reads what writers left. Whether there was something.
    pub(crate) fn look(&self, portion: &mut [Heard]) -> bool {
        let Some(place) = self.place.lock().clone() else { return false };
        let until = Instant::now() + AT_ONCE;
        let mut looked = false;
        for (count, n) in wanted(portion).into_iter().enumerate() {
            if count >= FEW && Instant::now() > until {
                break;
            }
            let raw = &portion[n].raw;
            let above = self.names.lock().get(&raw.watch).cloned();
            let path = above.and_then(|dir| dir.join(&raw.name).ok());
            let captured = path.and_then(|path| self.capture(&place, path));
            looked |= captured.is_some();
            portion[n].captured = captured;
        }
        looked
    }

    fn capture(&self, place: &Place, path: RelPath) -> Option<Captured> {
        if self.held.bytes.load(Ordering::Relaxed) > ALL_MAX {
            return None;
        }
        let at = Instant::now();
        let manner = Manner { max_size: EACH_MAX, sampled: false };
        match read::read_once(place, &path, manner) {
            // What has more names is looked at together with those.
            Reading::Loaded(Loaded { stamp, meta, body: Body::Bytes(bytes), links: 1 }) => {
                self.held.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
                Some(Captured { path, at, stamp, meta, bytes, held: Arc::clone(&self.held) })
            }
            _ => None,
        }
    }

    /// Lets go of what may not be what its writer left: these events came while it was read.
    pub(crate) fn doubt(&self, portion: &mut [Heard], later: &[Heard]) {
        let moved = later.iter().any(|heard| moves_a_directory(&heard.raw));
        let again: HashSet<(i32, &[u8])> =
            later.iter().filter(|heard| changes(&heard.raw)).map(|heard| key(&heard.raw)).collect();
        for Heard { raw, captured } in portion {
            if moved || again.contains(&key(raw)) {
                *captured = None;
            }
            self.held.ever.fetch_add(u64::from(captured.is_some()), Ordering::Relaxed);
        }
    }
}

fn key(raw: &Raw) -> (i32, &[u8]) {
    (raw.watch, &raw.name)
}

/// The events that end a save, and behind which nothing more is told of their paths.
fn wanted(portion: &[Heard]) -> Vec<usize> {
    if portion.iter().any(|heard| moves_a_directory(&heard.raw)) {
        return Vec::new();
    }
    let mut last: HashMap<(i32, &[u8]), Option<usize>> = HashMap::new();
    for (n, Heard { raw, .. }) in portion.iter().enumerate().rev().filter(|(_, heard)| changes(&heard.raw)) {
        if raw.flags.contains(ReadFlags::CREATE) && portion.len() > MANY {
            last.insert(key(raw), None);
        }
        let ends = raw.flags.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO);
        let is_file = !raw.flags.contains(ReadFlags::ISDIR) && !raw.name.is_empty();
        last.entry(key(raw)).or_insert((ends && is_file).then_some(n));
    }
    let mut wanted: Vec<usize> = last.into_values().flatten().collect();
    wanted.sort_unstable();
    wanted
}

/// Whether more than metadata may have changed.
fn changes(raw: &Raw) -> bool {
    !raw.flags.contains(ReadFlags::ATTRIB)
}

fn moves_a_directory(raw: &Raw) -> bool {
    raw.flags.contains(ReadFlags::ISDIR)
        && raw.flags.intersects(ReadFlags::MOVED_FROM | ReadFlags::MOVED_TO | ReadFlags::MOVE_SELF)
        || raw.flags.intersects(ReadFlags::QUEUE_OVERFLOW | ReadFlags::MOVE_SELF)
}

#[cfg(test)]
impl Captured {
    /// A version of a path, as the tests of what waits need it.
    pub(crate) fn of(path: RelPath, bytes: &[u8]) -> Self {
        let stamp = Stamp { ino: 1, size: 1, mtime: 1, ctime: 1, mode: 0o100_644 };
        let (kind, mtime) = (tickfs_store::journal::entry::NodeType::File, tickfs_store::ids::UnixNanos(1));
        let meta = Meta { kind, mode: stamp.mode, uid: 0, gid: 0, mtime, holes: Vec::new() };
        let held = Holding { bytes: AtomicUsize::new(bytes.len()), ever: AtomicU64::new(1) };
        Self { path, at: Instant::now(), stamp, meta, bytes: bytes.to_vec(), held: Arc::new(held) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(flags: ReadFlags, name: &str) -> Heard {
        let name = name.as_bytes().into();
        Heard { raw: Raw { watch: 1, flags, cookie: 0, name }, captured: None }
    }

    fn stage() -> (tempfile::TempDir, Eyes) {
        let temp = tempfile::tempdir().unwrap();
        let place = Place::open(temp.path()).unwrap();
        let eyes = Eyes {
            place: Arc::new(Mutex::new(Some(Arc::new(place)))),
            names: Arc::new(Mutex::new(HashMap::from([(1, RelPath::root())]))),
            held: Arc::default(),
        };
        (temp, eyes)
    }

    fn captured(portion: &[Heard]) -> Vec<Option<&[u8]>> {
        portion.iter().map(|heard| heard.captured.as_ref().map(|captured| &*captured.bytes)).collect()
    }

    #[test]
    fn only_the_last_word_on_a_path_is_looked_at() {
        use ReadFlags as F;
        let (temp, eyes) = stage();
        for name in ["a", "b", "c"] {
            std::fs::write(temp.path().join(name), name).unwrap();
        }
        let mut portion = [
            heard(F::CLOSE_WRITE, "a"),
            heard(F::CLOSE_WRITE, "b"),
            heard(F::MODIFY, "a"),
            heard(F::CLOSE_WRITE, "a"),
            heard(F::ATTRIB, "a"),
            heard(F::MODIFY, "b"),
            heard(F::MOVED_TO, "c"),
        ];
        assert!(eyes.look(&mut portion));
        assert_eq!(
            captured(&portion),
            [None, None, None, Some(&b"a"[..]), None, None, Some(&b"c"[..])],
            "the second save of b has begun"
        );
        eyes.doubt(&mut portion, &[heard(F::MODIFY, "c")]);
        assert_eq!((captured(&portion)[3], captured(&portion)[6]), (Some(&b"a"[..]), None));
        assert_eq!(eyes.held.ever.load(Ordering::Relaxed), 1);
        eyes.doubt(&mut portion, &[heard(F::MOVED_FROM | F::ISDIR, "d")]);
        assert_eq!(captured(&portion), [None; 7], "a path may be another one's by now");
        assert_eq!(eyes.held.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn beyond_the_bound_nothing_is_read_ahead() {
        let (temp, eyes) = stage();
        std::fs::write(temp.path().join("a"), "a").unwrap();
        eyes.held.bytes.store(ALL_MAX + 1, Ordering::Relaxed);
        assert!(!eyes.look(&mut [heard(ReadFlags::CLOSE_WRITE, "a")]));
    }
}
