//! Reads a path as it is to be recorded, and holds that it did not change meanwhile.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd as _;

use rustix::fs::{SeekFrom, Stat};
use rustix::io::Errno;
use tickfs_store::Meta;
use tickfs_store::content::CHUNK_LEN;
use tickfs_store::ids::UnixNanos;
use tickfs_store::journal::entry::NodeType;
use tickfs_store::path::RelPath;

use super::place::{Place, kind_of};
use super::stamps::Stamp;

/// A path as it stands.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) stamp: Stamp,
    pub(crate) meta: Meta,
    pub(crate) body: Body,
    /// Its names on this filesystem.
    pub(crate) links: u64,
}

#[derive(Debug)]
pub(crate) enum Body {
    Dir,
    /// A file that was read whole, or a symlink's target.
    Bytes(Vec<u8>),
    /// A file that is too long to hold; it is read when it is written down.
    Long {
        file: File,
        size: u64,
    },
    Skipped {
        size: u64,
    },
}

#[derive(Debug)]
pub(crate) enum Reading {
    Loaded(Loaded),
    Gone,
    /// It is written to right now.
    Unstable,
    /// It is what is never recorded.
    Special,
    Failed(io::Error),
}

/// How a path is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) max_size: u64,
    /// Take what is there although it is being written: it has been written for so long that waiting is no use.
    pub(crate) sampled: bool,
}

/// A file that changes while it is read is read so often before it is left for later.
const TRIES: u32 = 3;

pub(crate) fn read(place: &Place, path: &RelPath, manner: Manner) -> Reading {
    for _ in 0..TRIES {
        match read_once(place, path, manner) {
            Reading::Unstable => continue,
            reading => return reading,
        }
    }
    Reading::Unstable
}

pub(crate) fn read_once(place: &Place, path: &RelPath, manner: Manner) -> Reading {
    match try_read(place, path, manner) {
        Ok(reading) => reading,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Reading::Gone,
        Err(error) => Reading::Failed(error.into()),
    }
}

fn try_read(place: &Place, path: &RelPath, manner: Manner) -> rustix::io::Result<Reading> {
    let Some(stat) = place.stat(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?
    else {
        return Ok(Reading::Gone);
    };
    let loaded = |stat: &Stat, kind, holes, body| {
        let links = stat.st_nlink;
        Reading::Loaded(Loaded { stamp: Stamp::of(stat), meta: meta_of(stat, kind, holes), body, links })
    };
    match kind_of(&stat) {
        None => Ok(Reading::Special),
        Some(kind @ NodeType::Dir) => Ok(loaded(&stat, kind, Vec::new(), Body::Dir)),
        Some(kind @ NodeType::Symlink) => {
            let target = place.read_link(path)?;
            Ok(loaded(&stat, kind, Vec::new(), Body::Bytes(target)))
        }
        Some(kind @ NodeType::File) => {
            let size = Stamp::of(&stat).size;
            if size > manner.max_size {
                return Ok(loaded(&stat, kind, Vec::new(), Body::Skipped { size }));
            }
            let file = File::from(place.open_file(path)?);
            let before = rustix::fs::fstat(&file)?;
            if kind_of(&before) != Some(NodeType::File) {
                return Ok(Reading::Unstable);
            }
            let holes = holes(&file, &before)?;
            let size = Stamp::of(&before).size;
            if size > CHUNK_LEN as u64 {
                return Ok(loaded(&before, kind, holes, Body::Long { file, size }));
            }
            let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
            let read = (&file).take(manner.max_size.saturating_add(1)).read_to_end(&mut bytes);
            read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            let after = rustix::fs::fstat(&file)?;
            let quiet = Stamp::of(&before) == Stamp::of(&after) && bytes.len() as u64 == size;
            // A file that another replaced meanwhile is no longer what the path means.
            let there = place.stat(path).ok().flatten().is_some_and(|now| now.st_ino == before.st_ino);
            match quiet && there || manner.sampled {
                true => Ok(loaded(&before, kind, holes, Body::Bytes(bytes))),
                false => Ok(Reading::Unstable),
            }
        }
    }
}

pub(crate) fn meta_of(stat: &Stat, kind: NodeType, holes: Vec<(u64, u64)>) -> Meta {
    let mtime = UnixNanos(Stamp::of(stat).mtime);
    Meta { kind, mode: stat.st_mode, uid: stat.st_uid, gid: stat.st_gid, mtime, holes }
}

/// The ranges of a file for which the filesystem holds no bytes.
fn holes(file: &File, stat: &Stat) -> rustix::io::Result<Vec<(u64, u64)>> {
    let size = Stamp::of(stat).size;
    let held = u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(512);
    let mut holes = Vec::new();
    if held >= size {
        return Ok(holes);
    }
    let mut at = 0;
    while at < size {
        let hole = match rustix::fs::seek(file, SeekFrom::Hole(at)) {
            Ok(hole) if hole < size => hole,
            // A filesystem that cannot tell, or nothing but bytes up to the end.
            Ok(_) | Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP) => break,
            Err(error) => return Err(error),
        };
        let data = match rustix::fs::seek(file, SeekFrom::Data(hole)) {
            Ok(data) => data.min(size),
            Err(Errno::NXIO) => size,
            Err(error) => return Err(error),
        };
        holes.push((hole, data - hole));
        at = data;
    }
    rustix::fs::seek(file, SeekFrom::Start(0))?;
    Ok(holes)
}

impl Loaded {
    /// Whether a long file is still what it was when it was opened.
    pub(crate) fn is_quiet(&self) -> bool {
        match &self.body {
            Body::Long { file, .. } => {
                rustix::fs::fstat(file.as_fd()).is_ok_and(|now| Stamp::of(&now) == self.stamp)
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn holes_are_found_and_the_bytes_are_whole() {
        let temp = tempfile::tempdir().unwrap();
        let file = File::create(temp.path().join("sparse")).unwrap();
        file.set_len(3 << 20).unwrap();
        file.write_all_at(b"middle", 1 << 20).unwrap();
        let place = Place::open(temp.path()).unwrap();
        let manner = Manner { max_size: 4 << 20, sampled: false };
        let Reading::Loaded(loaded) = read(&place, &RelPath::new("sparse").unwrap(), manner) else {
            panic!()
        };
        let Body::Bytes(bytes) = &loaded.body else { panic!("{loaded:?}") };
        assert_eq!((bytes.len(), &bytes[1 << 20..(1 << 20) + 6]), (3 << 20, &b"middle"[..]));
        let holes = &loaded.meta.holes;
        assert_eq!(holes.first().copied(), Some((0, 1 << 20)), "{holes:?}");
        assert!(holes.iter().map(|hole| hole.1).sum::<u64>() > 2_900_000, "{holes:?}");
    }

    #[test]
    fn what_is_too_large_is_told_by_its_size_alone() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("large"), [1; 100]).unwrap();
        let place = Place::open(temp.path()).unwrap();
        let manner = Manner { max_size: 99, sampled: false };
        let reading = read(&place, &RelPath::new("large").unwrap(), manner);
        let Reading::Loaded(Loaded { body: Body::Skipped { size: 100 }, .. }) = reading else {
            panic!("{reading:?}")
        };
    }
}
