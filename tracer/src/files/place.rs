//! The root on disk: paths are looked up below its descriptor, and no symlink leads out of it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use tickfs_store::path::RelPath;

/// The root, held open: it stays the same directory whatever becomes of its name.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    fd: OwnedFd,
    dev: u64,
    ino: u64,
}

impl Place {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        Ok(Self { path: path.to_path_buf(), fd, dev: stat.st_dev, ino: stat.st_ino })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn dev(&self) -> u64 {
        self.dev
    }

    /// Whether the root's name still leads to this directory.
    pub(crate) fn is_in_place(&self) -> bool {
        rustix::fs::stat(&self.path).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (self.dev, self.ino))
    }

    /// Where the directory is called now, if the kernel still knows a name for it.
    pub(crate) fn moved_to(&self) -> Option<PathBuf> {
        let link = format!("/proc/self/fd/{}", self.fd.as_fd().as_raw_fd());
        let now = std::fs::read_link(link).ok()?;
        let there = rustix::fs::stat(&now).ok()?;
        ((there.st_dev, there.st_ino) == (self.dev, self.ino) && now != self.path).then_some(now)
    }

    pub(crate) fn is_empty(&self) -> io::Result<bool> {
        Ok(std::fs::read_dir(&self.path)?.next().is_none())
    }

    /// What stands under a path; `None` if nothing does, or not below this root any more.
    pub(crate) fn stat(&self, path: &RelPath) -> io::Result<Option<Stat>> {
        match self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW).and_then(|fd| rustix::fs::fstat(&fd)) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn open_file(&self, path: &RelPath) -> rustix::io::Result<OwnedFd> {
        self.open_at(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY)
    }

    pub(crate) fn open_dir(&self, path: &RelPath) -> rustix::io::Result<OwnedFd> {
        self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)
    }

    pub(crate) fn read_link(&self, path: &RelPath) -> rustix::io::Result<Vec<u8>> {
        let fd = self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW)?;
        let target = rustix::fs::readlinkat(&fd, "", Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()).into_vec())
    }

    fn open_at(&self, path: &RelPath, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let name = if path.is_root() { Path::new(".") } else { path.as_path() };
        let flags = flags | OFlags::CLOEXEC;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        loop {
            // A symlink at the end is opened as itself; NO_SYMLINKS alone would refuse it.
            match rustix::fs::openat2(&self.fd, name, flags, Mode::empty(), inside) {
                Err(Errno::AGAIN | Errno::INTR) => continue,
                Err(Errno::NOSYS | Errno::PERM) => {
                    return rustix::fs::openat(&self.fd, name, flags, Mode::empty());
                }
                opened => return opened,
            }
        }
    }
}

/// What a stat says a path is; `None` for what is never recorded (sockets, pipes, devices).
pub(crate) fn kind_of(stat: &Stat) -> Option<tickfs_store::journal::entry::NodeType> {
    use tickfs_store::journal::entry::NodeType;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Some(NodeType::File),
        FileType::Directory => Some(NodeType::Dir),
        FileType::Symlink => Some(NodeType::Symlink),
        _ => None,
    }
}
