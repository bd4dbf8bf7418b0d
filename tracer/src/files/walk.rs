//! Walks the root: every path that is to be recorded, and how it looks.
//!
//! Invariants:
//!   * A directory is announced before it is listed, so that a watch can stand before anything in it is read.
//!   * What could not be listed is told: what lay in it must not be taken for removed.

use std::io;
use std::os::fd::AsFd as _;

use rustix::fs::{AtFlags, Dir, Stat};
use rustix::io::Errno;
use tickfs_store::path::RelPath;

use super::error::{Error, Result};
use super::place::{Place, kind_of};
use super::rules::{Ignored, Reason, Rules};
use tickfs_store::journal::entry::NodeType;

/// What a walk tells whoever walks.
pub(crate) trait Visitor {
    /// A directory is about to be listed.
    fn enter(&mut self, _dir: &RelPath) {}

    /// A path that is not excluded. Directories come before what is in them.
    fn path(&mut self, path: &RelPath, stat: &Stat);

    /// Whether a path that the rules exclude is recorded already, and so is not excluded.
    fn is_recorded(&self, _path: &RelPath) -> bool {
        false
    }

    fn excluded(&mut self, _ignored: Ignored) {}

    /// A directory that could not be listed, or a path that could not be looked at.
    fn unreadable(&mut self, path: &RelPath, error: io::Error);
}

/// Walks everything below a directory, and it itself.
pub(crate) fn walk(place: &Place, rules: &mut Rules, from: &RelPath, visitor: &mut dyn Visitor) {
    match place.stat(from) {
        Ok(Some(stat)) => {
            if !from.is_root() && rules.excludes(from, &stat).is_some() && !visitor.is_recorded(from) {
                return;
            }
            visitor.path(from, &stat);
            if kind_of(&stat) == Some(NodeType::Dir) {
                walk_dir(place, rules, from, false, visitor);
            }
        }
        Ok(None) => {}
        Err(error) => visitor.unreadable(from, error),
    }
}

/// `passed`: the directory is excluded, and only what was recorded before counts in it.
fn walk_dir(place: &Place, rules: &mut Rules, dir: &RelPath, passed: bool, visitor: &mut dyn Visitor) {
    visitor.enter(dir);
    rules.load(place, dir);
    let listed = match list(place, dir) {
        Ok(listed) => listed,
        // It went away meanwhile: whoever records looks at it again.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return visitor.unreadable(dir, error),
    };
    note_other_roots(place, rules, dir, &listed);
    for (name, stat) in listed {
        let Ok(path) = dir.join(&name) else { continue };
        let stat = match stat {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(error) => {
                visitor.unreadable(&path, error.into());
                continue;
            }
        };
        let is_dir = kind_of(&stat) == Some(NodeType::Dir);
        let mut passed = passed;
        let why = rules.excludes(&path, &stat);
        if passed || why.is_some() {
            if why == Some(Reason::OtherFilesystem) && visitor.is_recorded(&path) {
                visitor.unreadable(&path, io::Error::other("another filesystem is mounted over it"));
                continue;
            }
            if !visitor.is_recorded(&path) {
                if let Some(why) = why {
                    visitor.excluded(Ignored { path, is_dir, why });
                }
                continue;
            }
            passed = true;
        }
        visitor.path(&path, &stat);
        if is_dir {
            walk_dir(place, rules, &path, passed, visitor);
        }
    }
}

/// A directory that has a store of its own, beside it or in it, is that store's to record.
fn note_other_roots(place: &Place, rules: &mut Rules, dir: &RelPath, listed: &Listed) {
    for (name, stat) in listed {
        let is_dir = stat.as_ref().is_ok_and(|stat| kind_of(stat) == Some(NodeType::Dir));
        let beside = name.strip_prefix(b".").and_then(|name| name.strip_suffix(b".tickfs"));
        let (root, store) = match beside {
            _ if !is_dir => continue,
            Some(root) if !root.is_empty() => (dir.join(root), dir.join(name)),
            _ => (dir.join(name), dir.join(name).and_then(|root| root.join(b".tickfs"))),
        };
        let format = store.and_then(|store| store.join(b"FORMAT"));
        if let (Ok(root), Ok(format)) = (root, format)
            && place.stat(&format).is_ok_and(|found| found.is_some())
        {
            rules.other_roots.insert(root);
        }
    }
}

type Listed = Vec<(Vec<u8>, rustix::io::Result<Stat>)>;

/// The names in a directory and how each looks, in the order of their bytes.
pub(crate) fn list(place: &Place, dir: &RelPath) -> io::Result<Listed> {
    let mut open = Dir::new(place.open_dir(dir)?)?;
    let mut names = Vec::new();
    while let Some(entry) = open.read() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    let fd = open.fd()?;
    let stat = |name: Vec<u8>| {
        let stat = rustix::fs::statat(fd.as_fd(), name.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
        (name, stat)
    };
    Ok(names.into_iter().map(stat).collect())
}

/// What the rules exclude; see [`super::rules::ignored`].
pub(crate) fn ignored(place: &Place, rules: &mut Rules, limit: usize) -> Result<Vec<Ignored>> {
    struct Excluded {
        found: Vec<Ignored>,
        limit: usize,
        root: Option<Error>,
    }
    impl Visitor for Excluded {
        fn path(&mut self, _path: &RelPath, _stat: &Stat) {}

        fn excluded(&mut self, ignored: Ignored) {
            if self.found.len() < self.limit {
                self.found.push(ignored);
            }
        }

        fn unreadable(&mut self, path: &RelPath, error: io::Error) {
            match path.is_root() {
                true => self.root = Some(Error::io("look into", path.as_path())(error)),
                false => {
                    let why = Reason::Unreadable { why: error.kind().to_string() };
                    self.excluded(Ignored { path: path.clone(), is_dir: false, why });
                }
            }
        }
    }
    let mut excluded = Excluded { found: Vec::new(), limit, root: None };
    walk(place, rules, &RelPath::root(), &mut excluded);
    excluded.root.map_or(Ok(excluded.found), Err)
}
