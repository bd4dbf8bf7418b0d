//! `SCOPE`: which directory a store records, and, where it records single files alone, which of them.
//!
//! Invariant: the directory is written relative to the store where the store lies beside it or in it, so that both can
//! move together.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Layout;
use crate::disk::{self, Disk, Durability};
use crate::error::{Error, Result};
use crate::path::{NameBytes, OwnedNameBytes, RelPath};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Absolute.
    pub root: PathBuf,
    /// `None`: everything below the root that is not ignored.
    pub files: Option<Vec<RelPath>>,
}

impl Scope {
    #[must_use]
    pub fn whole(root: &Path) -> Self {
        Self { root: root.to_path_buf(), files: None }
    }

    /// Whether the store answers for this path, which is absolute.
    #[must_use]
    pub fn covers(&self, path: &Path) -> bool {
        let Ok(below) = path.strip_prefix(&self.root) else { return false };
        match &self.files {
            None => true,
            Some(files) => files.iter().any(|file| file.as_path() == below),
        }
    }

    pub(super) fn read(disk: &dyn Disk, layout: &Layout) -> Result<Option<Self>> {
        let path = layout.scope();
        if disk.stat(&path).map_err(Error::io("look for", &path))?.is_none() {
            return Ok(None);
        }
        let text = disk::read_all(disk, &path).map_err(Error::io("read", &path))?;
        let spelled: OwnedSpelling =
            serde_json::from_slice(&text).map_err(|e| Error::corrupt(&path, 0, e.to_string()))?;
        let said = PathBuf::from(OsStr::from_bytes(&spelled.root.0));
        Ok(Some(Self { root: resolved(layout.dir(), &said), files: spelled.files }))
    }

    pub(super) fn write(&self, disk: &dyn Disk, layout: &Layout) -> Result<()> {
        let path = layout.scope();
        let root = relative(layout.dir(), &self.root);
        let spelling =
            Spelling { root: NameBytes(root.as_os_str().as_bytes()), files: self.files.as_deref() };
        let mut text =
            serde_json::to_vec(&spelling).expect("it holds only strings, because it is built here");
        text.push(b'\n');
        disk::write_atomically(disk, &path, &text, Durability::Synced).map_err(Error::io("write", &path))
    }
}

#[derive(Serialize)]
struct Spelling<'a> {
    root: NameBytes<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<&'a [RelPath]>,
}

#[derive(Deserialize)]
struct OwnedSpelling {
    root: OwnedNameBytes,
    #[serde(default)]
    files: Option<Vec<RelPath>>,
}

/// The root as it is written: `../app` beside it, `..` inside it, else absolute.
fn relative(store: &Path, root: &Path) -> PathBuf {
    match (store.parent(), root.file_name()) {
        (Some(parent), _) if parent == root => PathBuf::from(".."),
        (Some(parent), Some(name)) if root.parent() == Some(parent) => Path::new("..").join(name),
        _ => root.to_path_buf(),
    }
}

/// Undoes [`relative`]; without asking the disk, because nothing in it is a symlink.
fn resolved(store: &Path, said: &Path) -> PathBuf {
    let mut root = PathBuf::new();
    for component in store.join(said).components() {
        match component {
            Component::ParentDir => {
                root.pop();
            }
            other => root.push(other),
        }
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_beside_its_store_or_around_it_moves_along() {
        for (store, root, said) in [
            ("/p/.app.tickfs", "/p/app", "../app"),
            ("/p/app/.tickfs", "/p/app", ".."),
            ("/.tickfs", "/", ".."),
            ("/elsewhere/s", "/p/app", "/p/app"),
        ] {
            let (store, root) = (Path::new(store), Path::new(root));
            assert_eq!(relative(store, root), Path::new(said));
            assert_eq!(resolved(store, Path::new(said)), root);
        }
        assert_eq!(resolved(Path::new("/q/.app.tickfs"), Path::new("../app")), Path::new("/q/app"));
    }

    #[test]
    fn a_store_answers_for_its_own_paths_alone() {
        let whole = Scope::whole(Path::new("/p/app"));
        assert!(whole.covers(Path::new("/p/app")) && whole.covers(Path::new("/p/app/a/b")));
        assert!(!whole.covers(Path::new("/p/apple")) && !whole.covers(Path::new("/p")));
        let one = Scope { files: Some(vec![RelPath::new("a/b").unwrap()]), ..whole };
        assert!(one.covers(Path::new("/p/app/a/b")));
        assert!(!one.covers(Path::new("/p/app/a")) && !one.covers(Path::new("/p/app/a/c")));
    }
}
