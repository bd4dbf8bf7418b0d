//! Which store a command is about, and where a new one goes.
//!
//! Going up from a path, the store beside each directory comes first, then the one inside it. A store answers only for its
//! own paths, and the nearest one that does is taken: a nested root is a boundary.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tickfs_store::disk::{Disk, RealDisk};
use tickfs_store::{Layout, Store};

use crate::cli::Where;
use crate::error::Failure;
use crate::serve::mounted;

pub(crate) fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

impl Where {
    pub(crate) fn open(&self) -> anyhow::Result<Store> {
        Ok(Store::open(disk(), &self.dir()?)?)
    }

    /// Opens it so that nothing of it changes.
    pub(crate) fn open_untouched(&self) -> anyhow::Result<Store> {
        Ok(Store::open_untouched(disk(), &self.dir()?)?)
    }

    pub(crate) fn dir(&self) -> anyhow::Result<PathBuf> {
        if let Some(store) = self.find()? {
            return Ok(store);
        }
        Err(Failure::new("no store records this")
            .at(self.path()?)
            .next("`tickfs init DIR` makes one, --store DIR names one that lies elsewhere")
            .into())
    }

    /// The store's directory; `None` where there is none.
    pub(crate) fn find(&self) -> anyhow::Result<Option<PathBuf>> {
        match &self.store {
            Some(store) => settled(store).map(Some),
            None => {
                let path = self.path()?;
                Ok(nearest(&path)?.or_else(|| meant_in(&path)))
            }
        }
    }

    fn path(&self) -> anyhow::Result<PathBuf> {
        match self.file.as_ref().or(self.root.as_ref()) {
            Some(path) => settled(path),
            None => here(),
        }
    }
}

/// The directory of the nearest store that answers for a path.
pub(crate) fn nearest(path: &Path) -> anyhow::Result<Option<PathBuf>> {
    for dir in path.ancestors() {
        for store in places(dir) {
            if is_store(&store) && answers_for(&store, path)? {
                return Ok(Some(store));
            }
        }
    }
    Ok(None)
}

/// Where the store of a root may lie: beside it, then inside it.
pub(crate) fn places(root: &Path) -> Vec<PathBuf> {
    let beside = root.parent().zip(root.file_name()).map(|(parent, name)| {
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".tickfs");
        parent.join(hidden)
    });
    beside.into_iter().chain([root.join(".tickfs")]).collect()
}

/// What may not be looked at counts: opening it then says why.
pub(crate) fn is_store(dir: &Path) -> bool {
    match Layout::new(dir).format().try_exists() {
        Ok(exists) => exists,
        Err(error) => error.kind() != std::io::ErrorKind::NotADirectory,
    }
}

/// A store that records single files does not answer for their directory, but it is the one that is meant there.
pub(crate) fn meant_in(dir: &Path) -> Option<PathBuf> {
    places(dir).into_iter().find(|place| is_store(place))
}

fn answers_for(dir: &Path, path: &Path) -> anyhow::Result<bool> {
    let store = Store::open(disk(), dir)?;
    Ok(store.scope()?.is_some_and(|scope| scope.covers(path)))
}

/// An absolute path without symlinks on the way to it; what does not exist any more keeps its name.
pub(crate) fn settled(path: &Path) -> anyhow::Result<PathBuf> {
    let absolute = if path.is_absolute() { path.to_path_buf() } else { working_directory()?.join(path) };
    let mut settled = PathBuf::new();
    let components: Vec<Component<'_>> = absolute.components().collect();
    for (place, component) in components.iter().enumerate() {
        match component {
            Component::ParentDir => {
                settled.pop();
            }
            other => settled.push(other),
        }
        // The last name may be a symlink that is recorded itself.
        let is_last = place + 1 == components.len();
        if !is_last && let Ok(real) = settled.canonicalize() {
            settled = real;
        }
    }
    Ok(settled)
}

/// What is meant where nothing is named: the working directory, and in a mount the root that it shows.
pub(crate) fn here() -> anyhow::Result<PathBuf> {
    let here = working_directory()?;
    let mounts = mounted::all().context("could not see what is mounted")?;
    let shown = mounts.into_iter().rfind(|mounted| mounted.is_ours() && here.starts_with(&mounted.at));
    Ok(shown.map_or(here, |mounted| PathBuf::from(mounted.source)))
}

pub(crate) fn working_directory() -> anyhow::Result<PathBuf> {
    std::env::current_dir().context("the working directory is gone")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_lies_beside_its_root_or_in_it() {
        let places = |root: &str| super::places(Path::new(root));
        assert_eq!(places("/p/app"), [Path::new("/p/.app.tickfs"), Path::new("/p/app/.tickfs")]);
        assert_eq!(places("/"), [Path::new("/.tickfs")]);
    }

    #[test]
    fn a_path_is_settled_through_symlinks_but_not_the_last() {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().canonicalize().unwrap();
        std::fs::create_dir(base.join("real")).unwrap();
        std::os::unix::fs::symlink("real", base.join("link")).unwrap();
        assert_eq!(settled(&base.join("link/gone/../f")).unwrap(), base.join("real/f"));
        assert_eq!(settled(&base.join("link")).unwrap(), base.join("link"));
        assert_eq!(settled(&base.join("link/..")).unwrap(), base);
    }
}
