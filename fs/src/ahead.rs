//! Reads ahead among small files: whoever reads two files of a directory that was just listed will read the others too, and
//! then it costs less to give the kernel their bytes than to be asked for each.
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

/// Files of one answer to READDIRPLUS, and what was read of them.
#[derive(Debug, Default)]
struct Listed {
    files: Vec<(Ino, u64)>,
    /// Whether each was read by now.
    read: HashMap<Ino, bool>,
    reads: u32,
}

#[derive(Debug)]
pub(crate) struct Ahead {
    listed: Mutex<VecDeque<Listed>>,
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
        Ok(Self { listed: Mutex::default(), queue })
    }

    /// The kernel knows these now.
    pub(crate) fn listed(&self, attrs: &[Attr]) {
        let small = |attr: &&Attr| {
            attr.kind == Kind::File
                && (1..=LONGEST).contains(&attr.size)
                && matches!(attr.ino.object(), Some(Object::Version { .. } | Object::Saved { .. }))
        };
        let files: Vec<(Ino, u64)> = attrs.iter().filter(small).map(|attr| (attr.ino, attr.size)).collect();
        if files.len() <= ENOUGH as usize {
            return;
        }
        let read = files.iter().map(|&(ino, _)| (ino, false)).collect();
        let mut listed = self.listed.lock();
        if listed.len() == LISTINGS {
            listed.pop_front();
        }
        listed.push_back(Listed { files, read, reads: 0 });
    }

    /// The kernel asks for the first bytes of this one.
    pub(crate) fn reads(&self, ino: Ino) {
        let mut listed = self.listed.lock();
        let Some(place) = listed.iter().rposition(|batch| batch.read.contains_key(&ino)) else { return };
        let batch = &mut listed[place];
        if batch.read.insert(ino, true) == Some(false) {
            batch.reads += 1;
        }
        if batch.reads < ENOUGH {
            return;
        }
        let Some(Listed { files, read, .. }) = listed.remove(place) else { return };
        drop(listed);
        let mut room = AT_ONCE;
        let unread = files.into_iter().filter(|(ino, _)| !read[ino]).take_while(|&(_, size)| {
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        });
        // It fails only where the thread is gone; then nothing is read ahead.
        if let Err(refused) = self.queue.send(unread.collect()) {
            drop(refused);
        }
    }
}
