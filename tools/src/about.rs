//! What a command is about: the store, and the path in it that was named.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use tickfs_store::history::View;
use tickfs_store::path::RelPath;
use tickfs_store::{Scope, Store};

use crate::cli::Where;
use crate::error::Failure;
use crate::find;
use crate::fresh::fresh;

pub(crate) struct About {
    pub(crate) store: Store,
    pub(crate) scope: Scope,
}

impl Where {
    /// The store that is named, or the one that records `path`, or the one of the working directory.
    pub(crate) fn about(&self, path: Option<&Path>) -> anyhow::Result<About> {
        let named = self.root.is_some() || self.file.is_some() || self.store.is_some();
        let store = match path.filter(|_| !named) {
            Some(path) => {
                let place = Self { root: None, file: Some(path.to_path_buf()), store: None };
                // A path that no store answers for may still be one of the working directory's root.
                place.open().or_else(|_| self.open())?
            }
            None => self.open()?,
        };
        let scope = store.scope()?.ok_or_else(|| {
            Failure::new("the store does not say which directory it records")
                .at(store.layout().dir())
                .next("`tickfs init DIR --store STORE` says it")
        })?;
        Ok(About { store, scope })
    }
}

impl Where {
    /// History as it is; `None` where no store is found. Where a store was named, that it is none is an error.
    pub(crate) fn view_if_any(&self) -> anyhow::Result<Option<View>> {
        match self.find()? {
            None => Ok(None),
            Some(dir) => Ok(Some(fresh(&Store::open(find::disk(), &dir)?)?.view)),
        }
    }
}

impl About {
    /// History as it is; an error before anything is recorded.
    pub(crate) fn view(&self) -> anyhow::Result<View> {
        let view = fresh(&self.store)?.view;
        match view.cursor() {
            Some(_) => Ok(view),
            None => Err(Failure::new("nothing is recorded here yet")
                .at(&self.scope.root)
                .next("`tickfs daemon start` records from now on")
                .into()),
        }
    }

    /// A path below the root. What is not absolute counts from the working directory, or, from outside, from the root.
    pub(crate) fn path(&self, path: &Path) -> anyhow::Result<RelPath> {
        let settled = find::settled(path)?;
        let root = &self.scope.root;
        let below = match settled.strip_prefix(root) {
            Ok(below) => below.to_path_buf(),
            Err(_outside) if path.is_relative() && !find::working_directory()?.starts_with(root) => {
                path.to_path_buf()
            }
            Err(_outside) => return Err(outside(root, settled)),
        };
        RelPath::new(below.as_os_str().as_bytes()).map_err(|_not_below| outside(root, settled))
    }
}

fn outside(root: &Path, path: PathBuf) -> anyhow::Error {
    Failure::new(format!("the store records {}, and this lies outside", root.display()))
        .at(path)
        .next("name a path inside it, or another store with --root or --store")
        .into()
}
