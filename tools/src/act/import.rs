//! `snapshot import`: a directory from elsewhere becomes a read-only tree of the store, all or nothing.

use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use tickfs_store::ids::{BranchNo, UnixNanos};
use tickfs_store::journal::entry::NodeType;
use tickfs_store::path::RelPath;
use tickfs_store::{Content, Error, Meta, Mutation};

use super::{Hold, Place, Report, names};
use crate::error::{Failure, plain};
use crate::now;
use crate::output::counted;

pub(super) fn import(place: &Place<'_>, name: &str, dir: &Path) -> anyhow::Result<Report> {
    if !dir.is_dir() {
        return Err(Failure::new("this is no directory").at(dir).next("name a directory to take in").into());
    }
    tickfs_store::history::check_name(name)?;
    let (id, mut taken) = (names::uuid()?, Taken::default());
    place.writer.mutate_alone(now::now(), |m| {
        let tree = m.begin_import(name, &id)?;
        taken = take(m, tree, dir)?;
        m.finish_import(name, tree, &dir.display().to_string())
    })?;
    let what = format!("took in {} of {} as snapshot {name}", counted(taken.paths, "path"), dir.display());
    let mut report = names::done(place, Hold::default(), what)?;
    if taken.passed_over > 0 {
        report.notes.push(format!(
            "{} passed over: neither file, directory nor symlink",
            counted(taken.passed_over, "path")
        ));
    }
    report.bytes = taken.bytes;
    Ok(report)
}

#[derive(Debug, Default)]
struct Taken {
    paths: u64,
    bytes: u64,
    /// Sockets, pipes and devices.
    passed_over: u64,
}

/// Parents first, names in the order of their bytes, so that equal directories make equal trees.
fn take(m: &mut Mutation<'_>, tree: BranchNo, dir: &Path) -> tickfs_store::Result<Taken> {
    let mut taken = Taken::default();
    let mut ahead = vec![RelPath::root()];
    while let Some(path) = ahead.pop() {
        let full = dir.join(path.as_path());
        let cannot = |action| move |source: io::Error| could_not(action, &full, &source);
        let stat = full_stat(dir, &path).map_err(cannot("look at"))?;
        let meta = |kind| Meta {
            kind,
            mode: stat.mode(),
            uid: stat.uid(),
            gid: stat.gid(),
            mtime: UnixNanos(stat.mtime().saturating_mul(1_000_000_000).saturating_add(stat.mtime_nsec())),
            holes: Vec::new(),
        };
        let full = dir.join(path.as_path());
        if stat.is_dir() {
            m.import_entry(tree, &path, &meta(NodeType::Dir), Content::None)?;
            ahead.extend(below(&path, &full)?);
        } else if stat.is_symlink() {
            let target = std::fs::read_link(&full).map_err(|source| could_not("read", &full, &source))?;
            let target = target.into_os_string().into_vec();
            m.import_entry(tree, &path, &meta(NodeType::Symlink), Content::Bytes(target))?;
        } else if stat.is_file() {
            let mut file = open(&full).map_err(|source| could_not("read", &full, &source))?;
            taken.bytes += stat.size();
            let content = Content::Stream { reader: &mut file, size: stat.size() };
            m.import_entry(tree, &path, &meta(NodeType::File), content)?;
        } else {
            taken.passed_over += 1;
            continue;
        }
        taken.paths += 1;
    }
    Ok(taken)
}

/// The directory itself may be named by a symlink; nothing below is followed.
fn full_stat(dir: &Path, path: &RelPath) -> io::Result<std::fs::Metadata> {
    match path.is_root() {
        true => dir.metadata(),
        false => dir.join(path.as_path()).symlink_metadata(),
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

fn below(path: &RelPath, full: &Path) -> tickfs_store::Result<Vec<RelPath>> {
    let cannot = |source: io::Error| could_not("list", full, &source);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(full).map_err(cannot)? {
        let name = entry.map_err(cannot)?.file_name();
        names.push(path.join(name.as_bytes()).map_err(|e| Error::refused(e.to_string()))?);
    }
    names.sort_by(|a, b| b.cmp(a));
    Ok(names)
}

fn could_not(action: &str, path: &Path, source: &io::Error) -> Error {
    Error::refused(format!("could not {action} {}: {}; nothing was taken in", path.display(), plain(source)))
}
