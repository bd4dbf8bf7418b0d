//! What a person wants recorded or shown: a root, or one file, and the store that is to hold its history.
//!
//! Invariants:
//!   * The nearest store that records it is taken; where there is none, one is made. Where that is refused or fails, nothing
//!     was created.
//!   * A file is what its name leads to, so that a symlink cannot lead out of the root unseen.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use tickfs_store::path::RelPath;
use tickfs_store::{Scope, Store};

use crate::commands::init;
use crate::error::{Failure, plain};
use crate::find;

/// A root or a file, as it is typed.
#[derive(Debug, Args)]
pub(crate) struct Chosen {
    /// The directory to record [default: the working directory]
    #[arg(conflicts_with = "file")]
    pub(crate) root: Option<PathBuf>,
    /// Record this file alone
    #[arg(long, value_name = "FILE", requires = "interval")]
    pub(crate) file: Option<PathBuf>,
    /// Look at the file every so many seconds, for instance 0.5
    #[arg(long, value_name = "SECONDS", requires = "file", value_parser = interval, allow_negative_numbers = true)]
    pub(crate) interval: Option<f64>,
    /// The store to use, or to make
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// Do it although the directory is / or your home
    #[arg(long)]
    pub(crate) yes: bool,
}

const INTERVAL_MAX: f64 = 86_400.0;

fn interval(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..=INTERVAL_MAX).contains(&seconds) => Ok(seconds),
        _ => Err(format!("an interval is a number of seconds from 0.001 to {INTERVAL_MAX}")),
    }
}

/// What is meant, and the store that holds its history.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) store: Store,
    pub(crate) root: PathBuf,
    /// `None`: the whole root.
    pub(crate) file: Option<RelPath>,
}

impl Chosen {
    /// Finds the store, or makes it.
    pub(crate) fn target(&self) -> anyhow::Result<Target> {
        match &self.file {
            Some(file) => file_target(file, self.store.as_deref()),
            None => root_target(self.root.as_deref(), self.store.as_deref(), self.yes),
        }
    }
}

/// How a path becomes a target where a directory and a file are typed alike.
pub(crate) struct Wanted<'a> {
    pub(crate) store: Option<&'a Path>,
    pub(crate) yes: bool,
}

impl Wanted<'_> {
    pub(crate) fn path(&self, path: Option<&Path>) -> anyhow::Result<Target> {
        match path {
            Some(file) if file.is_file() => file_target(file, self.store),
            // A file that is gone has a history too.
            Some(gone) if !gone.exists() => match existing(None, Some(gone), self.store)? {
                Some(found) if found.has_history()? => Ok(found),
                _ => root_target(path, self.store, self.yes),
            },
            _ => root_target(path, self.store, self.yes),
        }
    }
}

impl Target {
    fn has_history(&self) -> anyhow::Result<bool> {
        let Some(file) = &self.file else { return Ok(true) };
        Ok(!file.is_root() && !self.store.view()?.versions_of(file)?.is_empty())
    }

    /// The root, or the file, as a path.
    pub(crate) fn path(&self) -> PathBuf {
        self.file.as_ref().map_or_else(|| self.root.clone(), |file| self.root.join(file.as_path()))
    }
}

/// The store of a root or of a file, which need not be there any more.
pub(crate) fn existing(
    root: Option<&Path>,
    file: Option<&Path>,
    store: Option<&Path>,
) -> anyhow::Result<Option<Target>> {
    let path = match file.or(root) {
        Some(path) => match path.canonicalize() {
            Ok(path) => path,
            Err(_gone) => find::settled(path)?,
        },
        None => find::here()?,
    };
    let store = match store {
        Some(store) => Some(find::settled(store)?).filter(|store| find::is_store(store)),
        None => {
            let dir = if file.is_some() { path.parent() } else { Some(path.as_path()) };
            find::nearest(&path)?.or_else(|| find::meant_in(dir?))
        }
    };
    let Some(store) = store else { return Ok(None) };
    let store = Store::open(find::disk(), &store)?;
    let Some(scope) = store.scope()? else { return Ok(None) };
    let file = file.map(|_| below(&scope.root, &path)).transpose()?;
    Ok(Some(Target { store, root: scope.root, file }))
}

fn root_target(root: Option<&Path>, store: Option<&Path>, yes: bool) -> anyhow::Result<Target> {
    let root = init::root_of(root)?;
    loop {
        if let Some(found) = existing(Some(&root), None, store)? {
            return Ok(found);
        }
        if !yes {
            init::refuse_everything(&root)?;
        }
        let scope = Scope::whole(&root);
        if let Some(made) = make(&scope, store)? {
            return Ok(Target { store: made, root, file: None });
        }
    }
}

fn file_target(file: &Path, store: Option<&Path>) -> anyhow::Result<Target> {
    let path = file.canonicalize().map_err(|source| {
        let what = match source.kind() {
            io::ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => format!("could not look at the file: {}", plain(&source)),
        };
        Failure::new(what).at(file).next("name one that exists")
    })?;
    if path.is_dir() {
        return Err(Failure::new("this is a directory").at(path).next("name it without --file").into());
    }
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Failure::new("this is no file").at(path).into());
    };
    loop {
        if let Some(found) = existing(None, Some(&path), store)? {
            return Ok(found);
        }
        let name = below(dir, &dir.join(name))?;
        let scope = Scope { root: dir.to_path_buf(), files: Some(vec![name.clone()]) };
        if let Some(made) = make(&scope, store)? {
            return Ok(Target { store: made, root: scope.root, file: Some(name) });
        }
    }
}

/// `None`: somebody else made it meanwhile.
fn make(scope: &Scope, store: Option<&Path>) -> anyhow::Result<Option<Store>> {
    let (made, place) = match store {
        Some(store) => {
            let place = find::settled(store)?;
            (init::make_there(&place, scope), vec![place])
        }
        None => (init::make_for(scope), find::places(&scope.root)),
    };
    match made {
        Err(_) if place.iter().any(|place| find::is_store(place)) => Ok(None),
        made => made.map(Some),
    }
}

/// The path below a root, or that it lies elsewhere.
pub(crate) fn below(root: &Path, path: &Path) -> anyhow::Result<RelPath> {
    let outside = || {
        Failure::new(format!("the store records {}, and this lies outside", root.display()))
            .at(path)
            .next("name a file inside, or another store")
    };
    let below = path.strip_prefix(root).map_err(|_not_below| outside())?;
    Ok(RelPath::new(below.as_os_str().as_bytes())?)
}
