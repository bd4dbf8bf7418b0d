//! Reads ahead among small files: whoever reads two files of a directory that was just listed will read the others too, and
//! then it costs less to give the kernel their bytes than to be asked for each. Whoever does so walks through a tree: for a while the
//! files of what is listed next are given at once. Whether they were read cannot be seen, so that now and then one listing is
//! left alone to see whether two of its files are asked for.
//!
//! Only versions, which never change, are pushed. A thread of its own reads them, and another one gives them to the kernel: that one
//! waits where the kernel is about to read the same page, and answers must not wait behind it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender, channel};

use parking_lot::Mutex;

use crate::attr::Attr;
use crate::attr::Kind;
use crate::inode::{Ino, Object};
use crate::notify::Contents;
use crate::view::View;

/// So many listings are remembered.
const LISTINGS: usize = 16;
/// A longer file is worth being asked for.
const LONGEST: u64 = 64 * 1024;
/// So many bytes of one listing are pushed at most.
const AT_ONCE: u64 = 2 * 1024 * 1024;
/// So many files of it must have been read before the others are.
const ENOUGH: u32 = 2;
/// And then the files of so many listings after it are given at once.
const WALK: u32 = 32;

/// Files of one answer to READDIRPLUS, and what was read of them.
#[derive(Debug, Default)]
struct Listed {
    files: Vec<(Ino, u64)>,
    /// Whether each was read by now.
    read: HashMap<Ino, bool>,
    reads: u32,
}

#[derive(Debug, Default)]
struct Seen {
    listed: VecDeque<Listed>,
    /// Listings that are not waited for any more.
    walk: u32,
}

#[derive(Debug)]
pub(crate) struct Ahead {
    seen: Mutex<Seen>,
    queue: Sender<Vec<(Ino, u64)>>,
}

impl Ahead {
    /// `contents` are given to the kernel.
    pub(crate) fn new(view: Arc<View>, contents: SyncSender<Contents>) -> std::io::Result<Self> {
        let (queue, wanted) = channel::<Vec<(Ino, u64)>>();
        std::thread::Builder::new().name("tickfs-ahead".to_owned()).spawn(move || {
            for (ino, size) in wanted.into_iter().flatten() {
                let Ok(bytes) = view.read(ino, 0, usize::try_from(size).unwrap_or(usize::MAX)) else {
                    continue;
                };
                if bytes.len() as u64 == size && contents.send(Contents { ino, bytes }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { seen: Mutex::default(), queue })
    }

    /// The kernel knows these now.
    pub(crate) fn listed(&self, attrs: &[Attr]) {
        let small = |attr: &&Attr| {
            attr.kind == Kind::File
                && (1..=LONGEST).contains(&attr.size)
                && matches!(attr.ino.object(), Some(Object::Version { .. } | Object::Saved { .. }))
        };
        let files: Vec<(Ino, u64)> = attrs.iter().filter(small).map(|attr| (attr.ino, attr.size)).collect();
        let mut seen = self.seen.lock();
        if seen.walk > 0 && !files.is_empty() {
            seen.walk -= 1;
            drop(seen);
            return self.give(files.into_iter());
        }
        if files.len() <= ENOUGH as usize {
            return;
        }
        let read = files.iter().map(|&(ino, _)| (ino, false)).collect();
        if seen.listed.len() == LISTINGS {
            seen.listed.pop_front();
        }
        seen.listed.push_back(Listed { files, read, reads: 0 });
    }

    /// The kernel asks for the first bytes of this one.
    pub(crate) fn reads(&self, ino: Ino) {
        let mut seen = self.seen.lock();
        let Some(place) = seen.listed.iter().rposition(|batch| batch.read.contains_key(&ino)) else { return };
        let batch = &mut seen.listed[place];
        if batch.read.insert(ino, true) == Some(false) {
            batch.reads += 1;
        }
        if batch.reads < ENOUGH {
            return;
        }
        seen.walk = WALK;
        let Some(Listed { files, read, .. }) = seen.listed.remove(place) else { return };
        drop(seen);
        self.give(files.into_iter().filter(|(ino, _)| !read[ino]));
    }

    fn give(&self, files: impl Iterator<Item = (Ino, u64)>) {
        let mut room = AT_ONCE;
        let fitting = files.take_while(|&(_, size)| {
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        });
        // It fails only where the thread is gone; then nothing is read ahead.
        if let Err(refused) = self.queue.send(fitting.collect()) {
            drop(refused);
        }
    }
}
