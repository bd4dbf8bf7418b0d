//! What the serving process and the keeper say to each other: datagrams of JSON over `KEEPER` in the store, some of which carry a
//! descriptor. The keeper begins with all that it keeps; the serving process says what changes.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::{Deserialize, Serialize};
use tickfs_fs::Told;
use tickfs_store::path::RelPath;

use super::super::mountpoint::MountPoint;
use super::super::status::Recording;

/// The version of what is said here.
pub(crate) const VERSION: u32 = 1;
/// A longer message is not sent.
const LONGEST: usize = 128 * 1024;

/// A mount, with all that is needed to go on with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeptMount {
    pub(crate) mount_point: MountPoint,
    /// The history of this file alone.
    pub(crate) file: Option<RelPath>,
    pub(crate) allow_other: bool,
    pub(crate) list_ticks: Option<u64>,
    /// What the kernel was told last; `None` where that is too long to be said.
    pub(crate) told: Option<Told>,
}

/// What the process was asked for beside its mounts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) recordings: Vec<Recording>,
    pub(crate) paused: bool,
    pub(crate) threads: u8,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(crate) enum Message {
    /// The keeper's first.
    Hello { version: u32 },
    /// Keep this connection, which comes along, or know better what of one that you keep.
    Keep { mount: Box<KeptMount> },
    /// Let go of the connection of this place.
    Release { mount_point: MountPoint },
    /// What was asked for. Said by the keeper, it is the last of what it knows; `None`: it was not told yet.
    Standing { standing: Option<Standing> },
    /// The serving process ends in order.
    End,
}

/// `WouldBlock`: the other end is too busy to take it.
pub(crate) fn say(
    socket: impl AsFd,
    message: &Message,
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut text = serde_json::to_vec(message)?;
    if let Message::Keep { mount } = message
        && text.len() > LONGEST
    {
        let mount = Box::new(KeptMount { told: None, ..(**mount).clone() });
        text = serde_json::to_vec(&Message::Keep { mount })?;
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("a message has no room for a descriptor"));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(socket, &[IoSlice::new(&text)], &mut control, flags)?;
    Ok(())
}

/// `None`: the other end is gone.
pub(crate) fn hear(socket: impl AsFd) -> io::Result<Option<(Message, Option<OwnedFd>)>> {
    let mut text = vec![0; LONGEST + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [IoSliceMut::new(&mut text)];
    let heard = match rustix::net::recvmsg(socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC) {
        Err(rustix::io::Errno::CONNRESET) => return Ok(None),
        heard => heard?,
    };
    let mut descriptor = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut received) = message {
            descriptor = received.next();
        }
    }
    if heard.bytes == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&text[..heard.bytes])?, descriptor)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::message::Absolute;
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    use std::io::Read as _;

    fn mount() -> Box<KeptMount> {
        let mount_point = MountPoint { at: Absolute("/p/app.history".into()), made: true };
        Box::new(KeptMount { mount_point, file: None, allow_other: false, list_ticks: Some(32), told: None })
    }

    #[test]
    fn a_message_comes_whole_and_with_its_descriptor_and_the_end_is_told() {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        let file = tempfile::tempfile().unwrap();
        rustix::io::pwrite(&file, b"kept", 0).unwrap();
        say(&ours, &Message::Keep { mount: mount() }, Some(file.as_fd())).unwrap();
        say(&ours, &Message::End, None).unwrap();
        drop((ours, file));
        let Some((Message::Keep { mount: heard }, Some(descriptor))) = hear(&theirs).unwrap() else {
            panic!()
        };
        assert_eq!(heard, mount());
        let mut text = String::new();
        std::fs::File::from(descriptor).read_to_string(&mut text).unwrap();
        assert_eq!(text, "kept");
        assert!(matches!(hear(&theirs).unwrap(), Some((Message::End, None))));
        assert!(hear(&theirs).unwrap().is_none());
    }
}
