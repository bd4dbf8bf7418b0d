//! `tickfs init`: makes the store of a directory.
//!
//! Invariant: where it is refused or fails, nothing was created.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use tickfs_store::ids::StoreId;
use tickfs_store::path::NameBytes;
use tickfs_store::{Error, Scope, Store};

use super::adopt::adopt;
use crate::error::{Failure, plain};
use crate::output::path_in_json;
use crate::{find, now, output};

/// Make the store of a directory
///
/// The store of /p/app is /p/.app.tickfs, beside it, so that `rm -rf app` does not take the history along; where /p
/// cannot be written, it is /p/app/.tickfs. A store that lies elsewhere (--store) is not found by going up from the
/// directory: name it with --store to every command.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The directory whose history is to be kept [default: the working directory]
    root: Option<PathBuf>,
    /// Make the store here instead; it must be on a local disk, and empty if it exists
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// The directory was moved here from elsewhere: bring its store, or the one that --store names
    #[arg(long)]
    adopt: bool,
    /// Do it although the directory is / or your home
    #[arg(long)]
    yes: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Made<'a> {
    root: NameBytes<'a>,
    store: NameBytes<'a>,
    store_id: &'a StoreId,
    /// The store was there, and recorded some files of the directory alone.
    widened: bool,
}

/// How a directory came to have its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Made,
    /// It was there, and recorded some files alone.
    Widened,
    /// It was there, and the directory elsewhere.
    Adopted,
}

pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(10);

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let root = root_of(arguments.root.as_deref())?;
    if !arguments.yes {
        refuse_everything(&root)?;
    }
    let (store, how) = match &arguments.store {
        named if arguments.adopt => (adopt(&root, named.as_deref())?, How::Adopted),
        Some(store) => {
            let place = find::settled(store)?;
            match find::is_store(&place) {
                true => (widen(&place, &root)?, How::Widened),
                false => (make_there(&place, &Scope::whole(&root))?, How::Made),
            }
        }
        None => make(&root)?,
    };
    // The writer makes what reading needs: after this, a command that only reads has nothing to heal.
    store.writer(now::writer(), LOCK_WAIT)?.close()?;
    let dir = store.layout().dir();
    if arguments.json {
        let (root, dir) = (path_in_json(&root), path_in_json(dir));
        let widened = how == How::Widened;
        return output::json(out, &Made { root, store: dir, store_id: store.id(), widened });
    }
    let (dir, root) = (dir.display(), root.display());
    match how {
        How::Made => writeln!(out, "made the store {dir} for {root}")?,
        How::Widened => writeln!(out, "the store {dir} records all of {root} now")?,
        How::Adopted => writeln!(out, "the store {dir} belongs to {root} now")?,
    }
    Ok(())
}

/// `/` and the home directory hold more than a project.
pub(crate) fn refuse_everything(root: &Path) -> anyhow::Result<()> {
    if root != Path::new("/") && Some(root) != home().as_deref() {
        return Ok(());
    }
    Err(Failure::new("all that is below this would be recorded")
        .at(root)
        .next("say --yes if that is what you want")
        .into())
}

pub(crate) fn root_of(said: Option<&Path>) -> anyhow::Result<PathBuf> {
    let said = said.unwrap_or(Path::new("."));
    let root = said.canonicalize().map_err(|source| {
        let what = match source.kind() {
            io::ErrorKind::NotFound => "there is no such directory".to_owned(),
            _ => format!("could not look at the directory: {}", plain(&source)),
        };
        Failure::new(what).at(said).next("make it first, or name another")
    })?;
    match root.is_dir() {
        true => Ok(root),
        false => {
            Err(Failure::new("this is no directory").at(root).next("name the directory it lies in").into())
        }
    }
}

fn home() -> Option<PathBuf> {
    std::env::home_dir()?.canonicalize().ok()
}

fn make(root: &Path) -> anyhow::Result<(Store, How)> {
    match find::places(root).iter().find(|place| find::is_store(place)) {
        Some(place) => widen(place, root).map(|store| (store, How::Widened)),
        None => make_for(&Scope::whole(root)).map(|store| (store, How::Made)),
    }
}

/// Beside the root, or in it.
pub(crate) fn make_for(scope: &Scope) -> anyhow::Result<Store> {
    let mut why = Vec::new();
    for place in &find::places(&scope.root) {
        match init(place, scope) {
            Ok(store) => return Ok(store),
            Err(Error::Io { source, .. }) if cannot_be_written(&source) => {
                why.push(format!("{} ({})", place.display(), plain(&source)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::new(format!("no store can be made: cannot write {}", why.join(" or ")))
        .next("use --store with a directory on a local disk")
        .into())
}

fn cannot_be_written(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    // Pseudo filesystems, as /proc, say that the new name does not exist.
    matches!(error.kind(), Kind::PermissionDenied | Kind::ReadOnlyFilesystem | Kind::NotFound)
}

pub(crate) fn init(place: &Path, scope: &Scope) -> tickfs_store::Result<Store> {
    let random = now::random().map_err(|error| Error::Refused { what: format!("{error:#}") })?;
    let id = StoreId::new(now::now(), random);
    Store::init_for(find::disk(), place, id, Some(scope))
}

/// A store that records some files of the directory is made to record all of it.
fn widen(place: &Path, root: &Path) -> anyhow::Result<Store> {
    let store = Store::open(find::disk(), place)?;
    let scope = store.scope()?;
    let there = || Failure::new("there is a store already").at(place);
    match scope {
        Some(scope) if scope.root != root => {
            Err(there().next(format!("it records {}: move it away", scope.root.display())).into())
        }
        Some(Scope { files: None, .. }) => Err(there().next("there is nothing left to do").into()),
        Some(_) | None => {
            let writer = store.writer(now::writer(), LOCK_WAIT)?;
            writer.set_scope(&Scope::whole(root))?;
            writer.close()?;
            Ok(store)
        }
    }
}

/// In a directory that was named.
pub(crate) fn make_there(place: &Path, scope: &Scope) -> anyhow::Result<Store> {
    if place.exists() {
        let cannot = || format!("could not look into {}", place.display());
        if place.read_dir().with_context(cannot)?.next().is_some() {
            return Err(Failure::new("the directory is not empty")
                .at(place)
                .next("name an empty one, or one that does not exist")
                .into());
        }
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(place, private)
            .with_context(|| format!("could not make {} private", place.display()))?;
    }
    Ok(init(place, scope)?)
}
