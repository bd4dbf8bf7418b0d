//! What the kernel is told without having asked. Of what it does not know it takes no notice.
//!
//! Event-order hazard: the kernel takes in such a notice the lock of the directory, or of the page, that it is about; whoever holds
//! that may be waiting for our answer. So a thread tells it that gives no answers, and nobody who answers waits for that thread.
//! While it waits in the kernel it cannot be killed: it has descriptors of its own, so that the rest of a killed process goes at once,
//! and the next one gives the answer (`Options::isolate`). Contents have another thread than changes, which somebody waits for.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use crate::counters::{Counters, Operation};
use crate::inode::Ino;
use crate::view::Isolate;

/// What is not what it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Attributes and names, or bytes, are others now.
    pub(crate) inodes: Vec<Ino>,
    /// The name does not stand for what it stood for.
    pub(crate) names: Vec<(Ino, String)>,
    /// Bytes that came to stand in a file, from an offset on.
    pub(crate) grown: Vec<(Ino, u64, Vec<u8>)>,
}

/// Contents of a file that never changes.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) ino: Ino,
    pub(crate) bytes: crate::view::Bytes,
}

/// So many contents may wait to be told.
const WAITING: usize = 32;
/// So long it is waited until the kernel knows a file, and then twice as long, until it is too long.
const FIRST_PAUSE: Duration = Duration::from_micros(100);
const LAST_PAUSE: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(crate) struct Notices {
    changes: Sender<(Changes, Sender<io::Result<()>>)>,
}

impl Notices {
    /// Starts the two threads. The one for contents tells whatever comes, and counts it.
    pub(crate) fn begin(
        device: &Arc<OwnedFd>,
        isolate: Option<Isolate>,
        counters: Arc<Counters>,
    ) -> io::Result<(Self, SyncSender<Contents>)> {
        let (changes, changed) = channel::<(Changes, Sender<io::Result<()>>)>();
        start("tickfs-changes", device, isolate, changed, |kernel, (changes, answer)| {
            // Whoever asked may be gone.
            drop(answer.send(kernel.tell(&changes)));
        })?;
        let mut is_patient = true;
        let (contents, pushed) = sync_channel::<Contents>(WAITING);
        start("tickfs-contents", device, isolate, pushed, move |kernel, contents| {
            // Where one was not known at last, the others may be those of a reader who is gone.
            is_patient = kernel.give(&contents, is_patient);
            if is_patient {
                counters.count(Operation::Pushed);
            }
        })?;
        Ok((Self { changes }, contents))
    }

    /// Returns when the kernel knows.
    pub(crate) fn tell(&self, changes: Changes) -> io::Result<()> {
        if changes == Changes::default() {
            return Ok(());
        }
        let gone = || io::Error::other("the thread that tells the kernel is gone");
        let (answer, answered) = channel();
        if self.changes.send((changes, answer)).is_err() {
            return Err(gone());
        }
        answered.recv().unwrap_or_else(|_thread_is_gone| Err(gone()))
    }
}

fn start<T: Send + 'static>(
    name: &str,
    device: &Arc<OwnedFd>,
    isolate: Option<Isolate>,
    received: Receiver<T>,
    mut tell: impl FnMut(&Kernel, T) + Send + 'static,
) -> io::Result<()> {
    let device = Arc::clone(device);
    let (ready, is_ready) = channel();
    let work = move || {
        let shared = || device.as_fd().try_clone_to_owned();
        // Where the system does not allow it, a killed process may hold up the next one; all else is the same.
        let own = isolate.map_or_else(shared, |isolate| isolate(device.as_fd()).or_else(|_denied| shared()));
        // It is not the last who holds it: whoever started this waits.
        drop(device);
        let (own, begun) = match own {
            Ok(own) => (Some(own), Ok(())),
            Err(error) => (None, Err(error)),
        };
        drop(ready.send(begun));
        let Some(kernel) = own.map(Kernel) else { return };
        received.into_iter().for_each(|what| tell(&kernel, what));
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
    is_ready.recv().map_err(io::Error::other)?
}

/// The connection. The kernel's own numbers and layouts.
struct Kernel(OwnedFd);

const INVALIDATE_INODE: u32 = 2;
const INVALIDATE_ENTRY: u32 = 3;
const STORE: u32 = 4;

impl Kernel {
    fn tell(&self, changes: &Changes) -> io::Result<()> {
        for (ino, offset, bytes) in &changes.grown {
            self.store(*ino, *offset, bytes)?;
        }
        for ino in &changes.inodes {
            // From the first byte to the last.
            self.send(INVALIDATE_INODE, &[&native(ino.0), &native(0), &native(0)])?;
        }
        for (parent, name) in &changes.names {
            let len = u32::try_from(name.len()).map_err(io::Error::other)?;
            self.send(INVALIDATE_ENTRY, &[&native(parent.0), &half(len), &half(0), name.as_bytes(), b"\0"])?;
        }
        Ok(())
    }

    /// Whoever listed a directory may not have looked at the answer yet, and then the kernel does not know its files: that takes a
    /// moment. It may also have let go of them by now; then there is nothing to be done.
    fn give(&self, contents: &Contents, is_patient: bool) -> bool {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.store(contents.ino, 0, &contents.bytes) {
                Ok(false) if is_patient && pause < LAST_PAUSE => std::thread::sleep(pause),
                stored => return stored.unwrap_or(false),
            }
            pause *= 2;
        }
    }

    /// `false`: the kernel does not know the file.
    fn store(&self, ino: Ino, offset: u64, bytes: &[u8]) -> io::Result<bool> {
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.send(STORE, &[&native(ino.0), &native(offset), &half(len), &half(0), bytes])
    }

    fn send(&self, what: u32, parts: &[&[u8]]) -> io::Result<bool> {
        const HEADER: usize = 16;
        let len = HEADER + parts.iter().map(|part| part.len()).sum::<usize>();
        let len = u32::try_from(len).map_err(io::Error::other)?;
        // The length, what it is, and that it answers nothing.
        let header = [half(len), half(what), half(0), half(0)].concat();
        let mut all = vec![IoSlice::new(&header)];
        all.extend(parts.iter().map(|part| IoSlice::new(part)));
        match rustix::io::writev(&self.0, &all) {
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[expect(clippy::host_endian_bytes, reason = "the kernel speaks in the machine's own order")]
fn native(number: u64) -> [u8; 8] {
    number.to_ne_bytes()
}

#[expect(clippy::host_endian_bytes, reason = "the kernel speaks in the machine's own order")]
fn half(number: u32) -> [u8; 4] {
    number.to_ne_bytes()
}
