//! The disk of this machine.
//!
//! Invariants:
//!   * An append is exactly one write(2) on an `O_APPEND` descriptor: a short one is an error, never continued, because
//!     what a second write adds could stand after another's bytes.
//!   * A file is created with mode 0600 and a directory with 0700; every descriptor is `O_CLOEXEC` (std sees to that).
//!   * Only regular files are opened: a fifo or a device that lies in the store cannot make a reader hang.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;

use super::network::{self, PretendedNetwork, network_name};
use super::{Disk, DiskFile, DiskLock, Space, Stat};

const LOCK_POLL_MIN: Duration = Duration::from_millis(1);
const LOCK_POLL_MAX: Duration = Duration::from_millis(20);

/// The disk of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl RealDisk {
    /// The same disk, which says that it is a network filesystem of this name.
    #[must_use]
    pub fn pretending_network(name: &'static str) -> PretendedNetwork {
        PretendedNetwork { name }
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        open_regular(OpenOptions::new().read(true), path)
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        open_regular(OpenOptions::new().read(true).append(true), path)
    }

    fn create_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(path)?;
        Ok(Arc::new(RealFile { file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            created => created,
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut names =
            fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        match fs::symlink_metadata(path) {
            Ok(metadata) => Ok(Some(Stat { len: metadata.len(), is_dir: metadata.is_dir() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let must_be_dir = OFlags::DIRECTORY.bits().cast_signed();
        OpenOptions::new().read(true).custom_flags(must_be_dir).open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path, wait: Duration) -> io::Result<Option<Box<dyn DiskLock>>> {
        // flock has no timeout. The sleeps are added up, so that nobody has to ask the clock.
        let mut waited = Duration::ZERO;
        let mut pause = LOCK_POLL_MIN;
        loop {
            if let Some(lock) = try_lock(path)? {
                return Ok(Some(Box::new(lock)));
            }
            if waited >= wait {
                return Ok(None);
            }
            pause = pause.min(wait - waited);
            thread::sleep(pause);
            waited += pause;
            pause = (pause * 2).min(LOCK_POLL_MAX);
        }
    }

    fn database(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let volume = rustix::fs::statvfs(path)?;
        let free = volume.f_bavail.saturating_mul(volume.f_frsize);
        let magic = u32::try_from(rustix::fs::statfs(path)?.f_type & 0xFFFF_FFFF)
            .expect("the low 32 bits fit because all others are masked");
        let network = match magic {
            network::FUSE => network_name(magic, fuse_type(path)?.as_deref()),
            _ => network_name(magic, None),
        };
        Ok(Space { free, network: network.map(str::to_owned) })
    }
}

fn open_regular(options: &mut OpenOptions, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
    // O_NONBLOCK means nothing to a regular file, and lets the open of a fifo return, to be refused below.
    let file = options.custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(rustix::io::Errno::ISDIR.into());
    }
    if !kind.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(Arc::new(RealFile { file }))
}

fn try_lock(path: &Path) -> io::Result<Option<RealLock>> {
    loop {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // A lock on a file that was meanwhile removed or replaced keeps nobody out: take the one that has the name.
        if has_name(&file, path)? {
            return Ok(Some(RealLock { file }));
        }
    }
}

fn has_name(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((held.dev(), held.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn fuse_type(path: &Path) -> io::Result<Option<String>> {
    let device = fs::metadata(path)?.dev();
    let mountinfo = fs::read("/proc/self/mountinfo")?;
    let mountinfo = String::from_utf8_lossy(&mountinfo);
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    Ok(network::mount_type(&mountinfo, major, minor).map(str::to_owned))
}

#[derive(Debug)]
struct RealFile {
    file: File,
}

impl DiskFile for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.file.read_at(&mut buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        match (&self.file).write(bytes)? {
            written if written == bytes.len() => Ok(()),
            written => Err(io::Error::new(
                io::ErrorKind::WriteZero,
                format!("only {written} of {} bytes were written", bytes.len()),
            )),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn forget_cached(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed)?)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// The kernel frees the lock with its last descriptor.
#[derive(Debug)]
struct RealLock {
    file: File,
}

impl Drop for RealLock {
    fn drop(&mut self) {
        // Another thread's child holds a copy of the descriptor between its fork and its exec: closing ours would leave the
        // lock taken for that long.
        let freed = self.file.unlock();
        debug_assert!(freed.is_ok(), "a lock that is held can be freed: {freed:?}");
    }
}

impl DiskLock for RealLock {
    fn describe(&self, holder: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_all_at(holder.as_bytes(), 0)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::mpsc;

    use super::*;
    use crate::disk::read_all;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_lock_that_was_dropped_is_free_though_a_child_still_has_its_descriptor() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("LOCK");
        let lock = try_lock(&path).unwrap().unwrap();
        let of_a_child = lock.file.try_clone().unwrap();
        drop(lock);
        assert!(try_lock(&path).unwrap().is_some());
        drop(of_a_child);
    }

    #[test]
    fn what_is_created_is_for_its_owner_alone() {
        let temp = tempfile::tempdir().unwrap();
        let (dir, file, lock) = (temp.path().join("d"), temp.path().join("d/f"), temp.path().join("d/LOCK"));
        RealDisk.create_dir(&dir).unwrap();
        RealDisk.create_append(&file).unwrap();
        let held = RealDisk.lock(&lock, Duration::ZERO).unwrap();
        assert!(held.is_some());
        assert_eq!((mode(&dir), mode(&file), mode(&lock)), (0o700, 0o600, 0o600));
    }

    #[test]
    fn appends_of_two_handles_never_overwrite_each_other() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("f");
        let first = RealDisk.create_append(&path).unwrap();
        let second = RealDisk.open_append(&path).unwrap();
        first.append(b"a").unwrap();
        second.append(b"b").unwrap();
        first.append(b"c").unwrap();
        assert_eq!(read_all(&RealDisk, &path).unwrap(), b"abc");
    }

    #[test]
    fn a_full_device_fails_the_append() {
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let error = RealFile { file: full }.append(b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_short_write_is_an_error_that_says_how_much_was_written() {
        // A pipe takes 64 KiB of a bigger write when it must not block.
        let (reader, writer) = io::pipe().unwrap();
        rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
        let file = RealFile { file: File::from(std::os::fd::OwnedFd::from(writer)) };
        let error = file.append(&vec![0; 1 << 20]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
        assert_eq!(error.to_string(), "only 65536 of 1048576 bytes were written");
        drop(reader);
    }

    #[test]
    fn a_lock_is_held_until_it_is_dropped() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("LOCK");
        let held = RealDisk.lock(&path, Duration::ZERO).unwrap().expect("free");
        assert!(RealDisk.lock(&path, Duration::from_millis(5)).unwrap().is_none());
        held.describe("a long description of the holder").unwrap();
        held.describe("pid 7").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"pid 7");
        drop(held);
        assert!(RealDisk.lock(&path, Duration::ZERO).unwrap().is_some());
        assert_eq!(fs::read(&path).unwrap(), b"pid 7", "taking a lock leaves the text of the last holder");
    }

    #[test]
    fn a_waiter_gets_the_lock_when_it_becomes_free() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("LOCK");
        let held = RealDisk.lock(&path, Duration::ZERO).unwrap().expect("free");
        let (started, start) = mpsc::channel();
        let waiter = thread::spawn(move || {
            started.send(()).unwrap();
            RealDisk.lock(&path, Duration::from_secs(20)).unwrap().is_some()
        });
        start.recv().unwrap();
        drop(held);
        assert!(waiter.join().unwrap());
    }

    /// The race itself, a removal between open and flock, is too narrow to be met on purpose.
    #[test]
    fn a_lock_file_that_was_removed_or_replaced_is_told_from_the_one_that_has_the_name() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("LOCK");
        let first = File::create(&path).unwrap();
        assert!(has_name(&first, &path).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!has_name(&first, &path).unwrap());
        let second = File::create(&path).unwrap();
        assert!(!has_name(&first, &path).unwrap());
        assert!(has_name(&second, &path).unwrap());
    }

    #[test]
    fn a_fifo_is_refused_and_does_not_hang() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        assert_eq!(RealDisk.open(&path).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_local_disk_is_no_network_and_a_pretended_one_is() {
        let temp = tempfile::tempdir().unwrap();
        let space = RealDisk.space(temp.path()).unwrap();
        assert!(space.free > 0);
        assert_eq!(space.network, None);
        let pretended = RealDisk::pretending_network("nfs").space(temp.path()).unwrap();
        assert_eq!(pretended.network.as_deref(), Some("nfs"));
    }
}
