//! Makes a descriptor's number refer to something else, while whoever owns the number goes on using it.
//!
//! JUSTIFICATION: safe Rust replaces only a descriptor that one owns. The library that speaks FUSE owns its own, lends it, and
//! takes no connection that was begun by another process; so its descriptor is replaced from under it, once, before it reads.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::io::DupFlags;

/// From here on `old` refers to what `by` refers to. Whoever owns `old` must be ready for that.
pub fn replace_descriptor(old: BorrowedFd<'_>, by: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the number is open as long as it is borrowed, and is not closed here, because what looks like its owner is never
    // dropped; the kernel replaces what it refers to in one step, so that at no time another thread can be given the number.
    let mut number = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(old.as_raw_fd()) });
    Ok(rustix::io::dup3(by, &mut number, DupFlags::CLOEXEC)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn an_owner_reads_from_what_replaced_its_own() {
        let (mut owner, first) = UnixStream::pair().unwrap();
        let (by, mut second) = UnixStream::pair().unwrap();
        let number = owner.as_raw_fd();
        replace_descriptor(owner.as_fd(), by.as_fd()).unwrap();
        drop((first, by));
        second.write_all(b"x").unwrap();
        let mut byte = [0];
        owner.read_exact(&mut byte).unwrap();
        assert_eq!((byte, owner.as_raw_fd()), (*b"x", number));
    }
}
