//! The root through descriptors: no name is followed out of it, whoever swaps a directory for a symlink meanwhile.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use tickfs_store::path::RelPath;

use super::error::{Result, io_at};

#[cfg(test)]
std::thread_local! {
    /// The filesystem knows nothing but the plain rename.
    pub(super) static PLAIN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

#[derive(Debug)]
pub(super) struct Ground {
    fd: OwnedFd,
    path: PathBuf,
}

/// A name in a directory that is held open.
#[derive(Debug)]
pub(super) struct Spot {
    pub(super) dir: OwnedFd,
    pub(super) name: Vec<u8>,
    pub(super) full: PathBuf,
}

const HELD: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Ground {
    pub(super) fn open(root: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(root, flags, Mode::empty()).map_err(io_at("open", root))?;
        Ok(Self { fd, path: root.to_path_buf() })
    }

    pub(super) fn full(&self, path: &RelPath) -> PathBuf {
        self.path.join(path.as_path())
    }

    /// Where a path hangs; `None` if its directory is not there, or is something else.
    pub(super) fn spot(&self, path: &RelPath) -> Result<Option<Spot>> {
        let full = self.full(path);
        let mut dir =
            rustix::fs::openat(&self.fd, c".", HELD, Mode::empty()).map_err(io_at("open", &full))?;
        let Some(parent) = path.parent() else {
            return Ok(Some(Spot { dir, name: b".".to_vec(), full }));
        };
        for name in parent.components() {
            dir = match rustix::fs::openat(&dir, name, HELD, Mode::empty()) {
                Ok(below) => below,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(errno) => return Err(io_at("open", &self.full(&parent))(errno)),
            };
        }
        Ok(Some(Spot { dir, name: path.name().to_vec(), full }))
    }

    /// Everything that was written below is durable when it returns.
    pub(super) fn sync_all(&self) -> Result<()> {
        rustix::fs::syncfs(&self.fd).map_err(io_at("make durable", &self.path))
    }
}

impl Spot {
    pub(super) fn stat(&self) -> Result<Option<Stat>> {
        match rustix::fs::statat(&self.dir, &self.name[..], AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(io_at("look at", &self.full)(errno)),
        }
    }

    pub(super) fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(
            &self.dir,
            &self.name[..],
            flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
    }

    pub(super) fn read_link(&self) -> Result<Vec<u8>> {
        let target = rustix::fs::readlinkat(&self.dir, &self.name[..], Vec::new());
        Ok(target.map_err(io_at("read", &self.full))?.into_bytes())
    }

    pub(super) fn rename(&self, to: &Self, flags: RenameFlags) -> Result<(), Errno> {
        #[cfg(test)]
        if PLAIN.get() && !flags.is_empty() {
            return Err(Errno::INVAL);
        }
        rustix::fs::renameat_with(&self.dir, &self.name[..], &to.dir, &to.name[..], flags)
    }

    /// Never onto something else, also where the filesystem cannot promise that by itself: then it is looked at before.
    pub(super) fn rename_if_free(&self, to: &Self) -> Result<(), Errno> {
        match self.rename(to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS) => {
                match rustix::fs::statat(&to.dir, &to.name[..], AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => self.rename(to, RenameFlags::empty()),
                    Ok(_) => Err(Errno::EXIST),
                    Err(errno) => Err(errno),
                }
            }
            renamed => renamed,
        }
    }

    pub(super) fn unlink(&self) -> Result<(), Errno> {
        rustix::fs::unlinkat(&self.dir, &self.name[..], AtFlags::empty())
    }

    pub(super) fn remove_dir(&self) -> Result<(), Errno> {
        rustix::fs::unlinkat(&self.dir, &self.name[..], AtFlags::REMOVEDIR)
    }

    pub(super) fn make_dir(&self, mode: u32) -> Result<(), Errno> {
        rustix::fs::mkdirat(&self.dir, &self.name[..], Mode::from_raw_mode(mode & 0o7777))
    }

    /// The names in the directory that this is.
    pub(super) fn list(&self) -> Result<Vec<Vec<u8>>> {
        let read = io_at("list", &self.full);
        let listed =
            self.open(OFlags::RDONLY | OFlags::DIRECTORY).and_then(rustix::fs::Dir::new).and_then(|dir| {
                dir.map(|entry| entry.map(|entry| entry.file_name().to_bytes().to_vec()))
                    .collect::<Result<Vec<_>, _>>()
            });
        let mut names = listed.map_err(read)?;
        names.retain(|name| !matches!(&name[..], b"." | b".."));
        Ok(names)
    }

    /// Makes the names in the directory that holds this durable.
    pub(super) fn sync_dir(&self) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let synced = rustix::fs::openat(&self.dir, c".", flags, Mode::empty()).and_then(rustix::fs::fsync);
        synced.map_err(io_at("make durable the names beside", &self.full))
    }
}
