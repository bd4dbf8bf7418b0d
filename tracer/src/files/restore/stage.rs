//! Versions made ready: whole, durable files in a directory of their own, that only want a rename.
//!
//! Invariant: everything that can fail for want of content, of room or of rights fails here, before the root is touched.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use tickfs_store::Version;
use tickfs_store::journal::entry::NodeType;
use tickfs_store::path::RelPath;
use tickfs_store::{Error as StoreError, Store};

use super::error::{Error, Result, io_at};
use super::ground::Spot;

/// Makes a version under a name of the staging directory, which is free. `replaced` is what it will stand for: its extended
/// attributes and ACLs are carried over.
pub(super) fn stage(
    store: &Store,
    path: &RelPath,
    version: &Version,
    replaced: Option<&Spot>,
    at: &Spot,
    mtimes: bool,
) -> Result<()> {
    match version.kind {
        NodeType::Symlink => {
            let target = read_all(store, path, version)?;
            rustix::fs::symlinkat(&target[..], &at.dir, &at.name[..]).map_err(io_at("make", &at.full))?;
            let (owner, group) = (Uid::from_raw(version.uid), Gid::from_raw(version.gid));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            permitted(rustix::fs::chownat(&at.dir, &at.name[..], Some(owner), Some(group), flags))
                .map_err(io_at("set the owner of", &at.full))?;
            match mtimes {
                true => rustix::fs::utimensat(&at.dir, &at.name[..], &times(version), flags)
                    .map_err(io_at("date", &at.full)),
                false => Ok(()),
            }
        }
        NodeType::File => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let made = rustix::fs::openat(&at.dir, &at.name[..], flags, Mode::RUSR | Mode::WUSR);
            let file = File::from(made.map_err(io_at("make", &at.full))?);
            write(store, path, version, &file, at)?;
            if let Some(replaced) = replaced {
                carry_attributes(replaced, &file, at)?;
            }
            set_owner_and_mode(&file, version, at)?;
            match mtimes {
                true => rustix::fs::futimens(&file, &times(version)).map_err(io_at("date", &at.full)),
                false => Ok(()),
            }
        }
        NodeType::Dir => Ok(()),
    }
}

pub(super) fn set_owner_and_mode(file: impl std::os::fd::AsFd, version: &Version, at: &Spot) -> Result<()> {
    let (owner, group) = (Uid::from_raw(version.uid), Gid::from_raw(version.gid));
    permitted(rustix::fs::fchown(file.as_fd(), Some(owner), Some(group)))
        .map_err(io_at("set the owner of", &at.full))?;
    // Last, because a change of owner takes the set-user-ID bit away.
    rustix::fs::fchmod(file.as_fd(), Mode::from_raw_mode(version.mode & 0o7777))
        .map_err(io_at("set the mode of", &at.full))
}

/// Holes stay holes. Each byte has been verified by the store before it comes here.
fn write(store: &Store, path: &RelPath, version: &Version, file: &File, at: &Spot) -> Result<()> {
    let damaged = |source| Error::Damaged { path: path.clone(), tick: version.tick, source };
    let cannot = |source| Error::Io { action: "write", path: at.full.clone(), source };
    let Some(address) = version.content else {
        return Err(damaged(StoreError::not_found("it was not kept")));
    };
    let mut content = store.content().stream(address).map_err(damaged)?;
    let mut buffer = vec![0; 1 << 16];
    let mut offset = 0_u64;
    loop {
        let hole =
            version.holes.iter().find(|&&(begin, len)| begin <= offset && offset < begin.saturating_add(len));
        let next = version.holes.iter().map(|&(begin, _)| begin).filter(|&begin| begin > offset).min();
        let end = hole.map(|&(begin, len)| begin.saturating_add(len)).or(next);
        let room = end.map_or(u64::MAX, |end| end - offset).min(buffer.len() as u64);
        let room = usize::try_from(room).unwrap_or(buffer.len());
        let read = match content.read(&mut buffer[..room]) {
            Ok(0) => break,
            Ok(read) => read,
            Err(source) => return Err(damaged(of_stream(source))),
        };
        if hole.is_none() {
            file.write_all_at(&buffer[..read], offset).map_err(cannot)?;
        }
        offset += read as u64;
    }
    if offset != version.size {
        return Err(damaged(StoreError::refused(format!(
            "it has {offset} bytes instead of {}",
            version.size
        ))));
    }
    file.set_len(offset).map_err(cannot)
}

fn read_all(store: &Store, path: &RelPath, version: &Version) -> Result<Vec<u8>> {
    let damaged = |source| Error::Damaged { path: path.clone(), tick: version.tick, source };
    match version.content {
        Some(address) => store.content().read(address).map_err(damaged),
        None => Err(damaged(StoreError::not_found("it was not kept"))),
    }
}

/// The store's own error, out of the one of the stream that carries it.
fn of_stream(error: std::io::Error) -> StoreError {
    match error.downcast::<StoreError>() {
        Ok(inner) => inner,
        Err(source) => StoreError::Io { action: "read", path: "a stored version".into(), source },
    }
}

/// Only root may give files away; for others the file stays theirs.
fn permitted(done: Result<(), Errno>) -> Result<(), Errno> {
    match done {
        Err(Errno::PERM) => Ok(()),
        other => other,
    }
}

fn times(version: &Version) -> Timestamps {
    let mtime = Timespec {
        tv_sec: version.mtime.0.div_euclid(1_000_000_000),
        tv_nsec: version.mtime.0.rem_euclid(1_000_000_000),
    };
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: mtime,
    }
}

/// Attributes that the system reserves for itself, or that the filesystem does not know, stay behind.
fn carry_attributes(from: &Spot, to: &File, at: &Spot) -> Result<()> {
    let from: OwnedFd = match from.open(OFlags::RDONLY | OFlags::NONBLOCK) {
        Ok(fd) => fd,
        // There is nothing to carry, or it is a symlink, which has none.
        Err(Errno::NOENT | Errno::LOOP | Errno::ACCESS | Errno::NXIO) => return Ok(()),
        Err(errno) => return Err(io_at("open", &from.full)(errno)),
    };
    let cannot = || io_at("carry over the attributes of", &at.full);
    let names = match sized(|buffer| rustix::fs::flistxattr(from.as_fd(), buffer)) {
        Err(Errno::NOTSUP) => return Ok(()),
        names => names.map_err(cannot())?,
    };
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let value = match sized(|buffer| rustix::fs::fgetxattr(from.as_fd(), name, buffer)) {
            Err(Errno::NODATA | Errno::NOTSUP) => continue,
            value => value.map_err(cannot())?,
        };
        let reserved = name.starts_with(b"security.") || name.starts_with(b"trusted.");
        match rustix::fs::fsetxattr(to, name, &value, XattrFlags::empty()) {
            Err(Errno::PERM | Errno::ACCESS) if reserved => {}
            Err(Errno::NOTSUP) => {}
            set => set.map_err(cannot())?,
        }
    }
    Ok(())
}

/// Asks again with more room for as long as the answer does not fit.
fn sized(mut ask: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 256];
    loop {
        match ask(&mut buffer) {
            Ok(len) => {
                buffer.truncate(len);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 4, 0),
            Err(errno) => return Err(errno),
        }
    }
}
