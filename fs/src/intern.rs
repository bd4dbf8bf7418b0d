//! Things that have no number of their own: texts, symlinks, directories that are named by a word.
//!
//! Their inode number is a hash of all that makes them what they are, so that the same thing has the same number in every
//! process and another text has another one. What the number stands for is kept as long as the kernel knows it.
//!
//! Invariant: an entry is there while the kernel holds a reference to it, and goes with the last one.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use parking_lot::Mutex;
use tickfs_store::ids::UnixNanos;
use tickfs_store::runs::RunId;

use crate::inode::Ino;
use crate::view::{NamedDir, Recipe};

#[derive(Debug, Clone)]
pub(crate) enum Interned {
    Link {
        target: Arc<[u8]>,
        mtime: UnixNanos,
    },
    Text(Text),
    Dir(NamedDir),
    /// The events of a run.
    Stream(RunId),
    /// Listed, and not rendered: the kernel must look it up before it can use it.
    Pending,
}

/// A generated text.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub(crate) recipe: Recipe,
    pub(crate) len: u64,
    pub(crate) mtime: UnixNanos,
    /// Of a text that cannot be made again once the store has changed. Others are in a cache, or made again.
    pub(crate) bytes: Option<Arc<[u8]>>,
}

#[derive(Debug, Default)]
pub(crate) struct InternTable {
    known: Mutex<HashMap<Ino, (Interned, u64)>>,
}

impl InternTable {
    pub(crate) fn get(&self, ino: Ino) -> Option<Interned> {
        self.known.lock().get(&ino).map(|(what, _)| what.clone())
    }

    /// The kernel is given one more reference.
    pub(crate) fn hand_out(&self, ino: Ino, what: impl FnOnce() -> Interned) {
        match self.known.lock().entry(ino) {
            Slot::Occupied(mut slot) => {
                let (known, references) = slot.get_mut();
                *references += 1;
                if matches!(known, Interned::Pending) {
                    *known = what();
                }
            }
            Slot::Vacant(slot) => drop(slot.insert((what(), 1))),
        }
    }

    /// Whether the last reference went.
    pub(crate) fn forget(&self, ino: Ino, references: u64) -> bool {
        let mut known = self.known.lock();
        let Slot::Occupied(mut slot) = known.entry(ino) else { return false };
        slot.get_mut().1 = slot.get().1.saturating_sub(references);
        let gone = slot.get().1 == 0;
        if gone {
            slot.remove();
        }
        gone
    }

    pub(crate) fn len(&self) -> usize {
        self.known.lock().len()
    }

    /// What is held of texts that cannot be made again.
    pub(crate) fn bytes(&self) -> usize {
        let held = |what: &Interned| match what {
            Interned::Text(text) => text.bytes.as_ref().map_or(0, |bytes| bytes.len()),
            Interned::Link { .. } | Interned::Dir(_) | Interned::Stream(_) | Interned::Pending => 0,
        };
        self.known.lock().values().map(|(what, _)| held(what)).sum()
    }
}

pub(crate) fn link_ino(target: &[u8], mtime: UnixNanos) -> Ino {
    Ino::interned(hash("link", &[target, &mtime.0.to_le_bytes()]))
}

pub(crate) fn text_ino(recipe: &Recipe, text: &[u8], mtime: UnixNanos) -> Ino {
    let spelled = format!("{recipe:?}");
    Ino::interned(hash("text", &[spelled.as_bytes(), &mtime.0.to_le_bytes(), text]))
}

pub(crate) fn pending_ino(recipe: &Recipe) -> Ino {
    Ino::interned(hash("pending", &[format!("{recipe:?}").as_bytes()]))
}

pub(crate) fn stream_ino(run: &RunId) -> Ino {
    Ino::interned(hash("stream", &[run.as_str().as_bytes()]))
}

pub(crate) fn dir_ino(dir: &NamedDir) -> Ino {
    Ino::interned(hash("dir", &[format!("{dir:?}").as_bytes()]))
}

/// Each part with its length, so that no two lists of parts are one.
fn hash(kind: &str, parts: &[&[u8]]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind.as_bytes());
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_stays_as_long_as_the_kernel_refers_to_it() {
        let table = InternTable::default();
        let link = || Interned::Link { target: Arc::from(&b"@42"[..]), mtime: UnixNanos(1) };
        let ino = link_ino(b"@42", UnixNanos(1));
        table.hand_out(ino, || Interned::Pending);
        table.hand_out(ino, link);
        assert!(!table.forget(ino, 1));
        assert!(matches!(table.get(ino), Some(Interned::Link { .. })));
        assert!(table.forget(ino, 1));
        assert!(table.get(ino).is_none() && table.len() == 0);
        assert!(!table.forget(ino, 1), "what is not there cannot go");
    }
}
