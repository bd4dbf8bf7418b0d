//! Whether what lies on disk is a version of the history.

use std::fs::File;
use std::io::{self, Read};

use rustix::fs::{FileType, OFlags, Stat};
use tickfs_store::Store;
use tickfs_store::Version;
use tickfs_store::journal::entry::NodeType;

use super::error::{Error, Result, io_at};
use super::ground::Spot;

/// `wanted` `None`: that nothing lies there. Owners count only for who can set them.
pub(super) fn is_like(store: &Store, spot: Option<&Spot>, wanted: Option<&Version>) -> Result<bool> {
    let there = spot.map(Spot::stat).transpose()?.flatten();
    let (Some(spot), Some(stat), Some(wanted)) = (spot, there, wanted) else {
        return Ok(there.is_none() && wanted.is_none());
    };
    if !looks_like(&stat, wanted) {
        return Ok(false);
    }
    match wanted.kind {
        NodeType::Dir => Ok(true),
        NodeType::Symlink => has_bytes(store, wanted, &mut &spot.read_link()?[..]),
        NodeType::File => match spot.open(OFlags::RDONLY) {
            Ok(file) => {
                has_bytes(store, wanted, &mut io::BufReader::with_capacity(1 << 16, File::from(file)))
            }
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(errno) => Err(io_at("read", &spot.full)(errno)),
        },
    }
}

pub(super) fn kind_of(stat: &Stat) -> Option<NodeType> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Some(NodeType::File),
        FileType::Directory => Some(NodeType::Dir),
        FileType::Symlink => Some(NodeType::Symlink),
        _ => None,
    }
}

fn looks_like(stat: &Stat, wanted: &Version) -> bool {
    let same_kind = kind_of(stat) == Some(wanted.kind);
    let same_mode = wanted.kind == NodeType::Symlink || (stat.st_mode ^ wanted.mode) & 0o7777 == 0;
    let same_size = wanted.kind == NodeType::Dir || u64::try_from(stat.st_size) == Ok(wanted.size);
    let same_owner =
        !rustix::process::geteuid().is_root() || (stat.st_uid, stat.st_gid) == (wanted.uid, wanted.gid);
    same_kind && same_mode && same_size && same_owner
}

/// What the store cannot read any more is taken for equal where the size is: it is on disk, and is not lost.
fn has_bytes(store: &Store, wanted: &Version, on_disk: &mut dyn Read) -> Result<bool> {
    let Some(address) = wanted.content else { return Ok(true) };
    let Ok(mut kept) = store.content().stream(address) else { return Ok(true) };
    let (mut a, mut b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let Ok(want) = fill(&mut kept, &mut a) else { return Ok(true) };
        let have = fill(on_disk, &mut b).map_err(|source| Error::Io {
            action: "read",
            path: "a file of the root".into(),
            source,
        })?;
        if a[..want] != b[..have] {
            return Ok(false);
        }
        if want < a.len() {
            return Ok(true);
        }
    }
}

fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
