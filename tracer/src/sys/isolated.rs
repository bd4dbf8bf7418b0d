//! Gives a thread a table of descriptors of its own, with one descriptor in it.
//!
//! JUSTIFICATION: a killed process lets go of its descriptors with the last thread that shares their table. A thread that tells the
//! kernel's FUSE something may wait for an answer of this same process, and then it cannot even be killed before somebody else gives
//! that answer; who could give it waits for the lock and the sockets that the process still holds. With a table of its own such a
//! thread holds up nobody. Safe Rust has no such call, because descriptors that other threads own do not exist in that table.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use rustix::thread::UnshareFlags;

/// The calling thread keeps a duplicate of `keep` alone. It must own no other descriptor: whatever it has is closed for it, and
/// stays open for all other threads.
pub fn isolate_thread(keep: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: descriptors that this thread borrows from others are not used by it from here on but `keep`, which is in the copy of the
    // table too; and those that it opens are not given to others, because the one it gets is its own.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FILES) }?;
    let kept = keep.try_clone_to_owned()?;
    for other in numbers()?.into_iter().filter(|&number| number != kept.as_raw_fd()) {
        // SAFETY: the number is open in this thread's own table, where nobody else looks; its owner goes on with another table.
        unsafe { rustix::io::close(other) };
    }
    Ok(kept)
}

/// What is open; the directory that is read for it is not any more.
fn numbers() -> io::Result<Vec<RawFd>> {
    let listed = std::fs::read_dir("/proc/thread-self/fd")?.collect::<io::Result<Vec<_>>>()?;
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let numbers: Vec<RawFd> = listed.into_iter().filter_map(number).collect();
    // The one that was open for the reading is closed now, and may be listed.
    Ok(numbers
        .into_iter()
        .filter(|number| std::fs::read_link(format!("/proc/thread-self/fd/{number}")).is_ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn an_isolated_thread_has_its_one_descriptor_and_the_others_keep_theirs() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        let (numbers, said) = std::thread::scope(|scope| {
            let isolated = scope.spawn(|| {
                let kept = isolate_thread(ours.as_fd()).unwrap();
                let numbers = numbers().unwrap();
                let said = rustix::io::write(&kept, b"x").unwrap();
                (numbers.len(), said)
            });
            isolated.join().unwrap()
        });
        assert_eq!((numbers, said), (1, 1));
        let mut byte = [0];
        theirs.read_exact(&mut byte).unwrap();
        (&file).write_all(b"still open").unwrap();
        drop(ours);
        assert_eq!(theirs.read(&mut byte).unwrap(), 0, "the thread's own went with it");
    }
}
