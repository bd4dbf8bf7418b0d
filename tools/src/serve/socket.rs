//! `SOCKET`: where the serving process of a store listens, for its own user alone.
//!
//! Invariants:
//!   * Only the holder of the store's lock binds, so that what is found there before is a leftover.
//!   * Whether somebody listens, and which process that is, says the kernel: a socket whose process is gone refuses.
//!   * A path of a socket has 107 bytes, and a store's has more: it is named through a descriptor of its directory.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::message::socket_of;

const NAME: &str = "SOCKET";

/// Listens. For the holder of the lock.
pub(crate) fn listen(store: &Path) -> io::Result<UnixListener> {
    remove(store)?;
    let (dir, path) = short(store, NAME)?;
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    drop(dir);
    Ok(listener)
}

/// Takes the name away. For the holder of the lock.
pub(crate) fn remove(store: &Path) -> io::Result<()> {
    match std::fs::remove_file(socket_of(store)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Speaks to whoever listens; `None` where nobody does. It does not wait: one who listens and is too busy even to be
/// connected to is `WouldBlock`.
pub(crate) fn connect(store: &Path) -> io::Result<Option<UnixStream>> {
    let (_dir, path) = match short(store, NAME) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) => {}
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::CONNREFUSED) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(Some(stream))
}

/// The process at the other end: who listens, as seen by who connected, and the other way round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) pid: rustix::process::Pid,
    pub(crate) uid: u32,
}

pub(crate) fn peer(stream: impl AsFd) -> io::Result<Peer> {
    let credentials = sockopt::socket_peercred(stream)?;
    Ok(Peer { pid: credentials.pid, uid: credentials.uid.as_raw() })
}

/// A socket's path through a descriptor, which has to stay open until the path was used.
pub(super) fn short(store: &Path, name: &str) -> io::Result<(File, PathBuf)> {
    let flags = (OFlags::PATH | OFlags::DIRECTORY).bits().cast_signed();
    let dir = OpenOptions::new().read(true).custom_flags(flags).open(store)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
    Ok((dir, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_listens_is_found_and_known_and_a_leftover_is_nobody() {
        let temp = tempfile::tempdir().unwrap();
        let store = temp.path().join("x".repeat(200));
        std::fs::create_dir(&store).unwrap();
        assert!(connect(&store).unwrap().is_none() && connect(&store.join("gone")).unwrap().is_none());
        let listener = listen(&store).unwrap();
        let mode = socket_of(&store).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let stream = connect(&store).unwrap().unwrap();
        let peer = peer(&stream).unwrap();
        assert_eq!(peer.pid, rustix::process::getpid());
        drop(listener);
        assert!(connect(&store).unwrap().is_none(), "the name alone is nobody");
        drop(listen(&store).unwrap());
        remove(&store).unwrap();
        remove(&store).unwrap();
    }
}
