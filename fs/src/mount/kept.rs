//! Takes over a connection that a process before this one served and somebody kept.
//!
//! The kernel says its INIT once in a connection's life, and fuser serves none without it. So it is told one over a socket, and
//! then the connection is put in the socket's place. What the process before had taken and not answered, the kernel sends again:
//! every answer depends on nothing but the request, so that it does not matter whether it was answered once before.
//!
//! What the kernel remembers stays true: numbers that say what they stand for are read back, and what they stand for never
//! changes. A number that was made by a hash is unknown here until its name is looked up again. Until then it is ESTALE, at which
//! the kernel looks every name of a path up again by itself; only a descriptor that is held open on a generated text, or on a
//! directory that is named by a word, hears of it, if it asks for what the kernel has not kept. It gets that error and never another
//! text's bytes, because a text is part of its number. To remember those numbers elsewhere would be a table on disk.

use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};

use crate::view::Told;

/// A connection that was kept.
#[derive(Debug)]
pub struct Kept {
    pub device: OwnedFd,
    /// What the kernel was told last of what lasts until it is told otherwise; `None`: nobody knows.
    pub told: Option<Told>,
    /// Makes a descriptor refer to what another one refers to.
    pub replace: fn(BorrowedFd<'_>, BorrowedFd<'_>) -> io::Result<()>,
}

/// A socket on which an INIT waits, and its other end, which has to stay until that is answered.
pub(crate) fn greeted() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::send(&ours, &init(), SendFlags::empty())?;
    Ok((theirs, ours))
}

/// What the kernel says first: everything that this side may wish for. What was agreed on with the first process holds.
fn init() -> Vec<u8> {
    const LENGTH: u32 = 104;
    const INIT: u32 = 26;
    const MAJOR: u32 = 7;
    const MINOR: u32 = 40;
    const READAHEAD: u32 = 128 * 1024;
    /// Without the bit that says that there are more flags.
    const FLAGS: u32 = !(1 << 30);
    // Length, operation, number (8 bytes), node (8), user, group, process, extensions; then the version and the wishes.
    let header = [LENGTH, INIT, 1, 0, 0, 0, 0, 0, 0, 0];
    let wishes = [MAJOR, MINOR, READAHEAD, FLAGS];
    let mut said = words(header.into_iter().chain(wishes));
    said.resize(LENGTH as usize, 0);
    said
}

/// The kernel speaks in the machine's own order.
fn words(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// Lets the kernel send again whatever was taken and not answered.
pub(crate) fn resend(device: &OwnedFd) -> io::Result<()> {
    const LENGTH: u32 = 16;
    const RESEND: u32 = 7;
    let notice = words([LENGTH, RESEND, 0, 0]);
    let written = rustix::io::writev(device, &[IoSlice::new(&notice)])?;
    debug_assert_eq!(written, notice.len(), "the kernel takes a notice whole");
    Ok(())
}
