//! Where history is shown: which directory may be a mount point, and what is made for it and taken away again.
//!
//! Invariants:
//!   * Nothing that is there is hidden: a mount point is an empty directory, or one that is made for it.
//!   * A mount that nobody serves is replaced if it is of the same root, and left alone otherwise.
//!   * The process that serves a mount never looks at it: killed meanwhile, it would wait for its own answer, and not end.
//!   * What was made is written down in the store before, so that the next process can take it away.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tickfs_store::disk::{self, Durability};
use tickfs_store::ids::ContentHash;
use tickfs_store::{Error, Store};

use super::message::Absolute;
use super::mounted::{self, Mounted};
use crate::error::{Failure, plain};

/// A mount point in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountPoint {
    pub(crate) at: Absolute,
    /// It was made for this, and goes when the mount does.
    pub(crate) made: bool,
}

/// Where history may be shown if nobody says where: beside the root, named after it or after the one file that is shown,
/// else in the user's own runtime directory. Never in the root, where git would find it.
pub(crate) fn candidates(root: &Path, shown: &Path) -> Vec<Absolute> {
    let mut name = shown.file_name().unwrap_or(std::ffi::OsStr::new("root")).to_owned();
    name.push(".history");
    let beside = root.parent().map(|parent| parent.join(&name));
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let runtime = runtime.or_else(|| {
        let dir = PathBuf::from(format!("/run/user/{}", rustix::process::getuid().as_raw()));
        dir.is_dir().then_some(dir)
    });
    beside.into_iter().chain(runtime.map(|dir| dir.join(&name))).map(Absolute).collect()
}

/// Makes the first candidate that can be used ready to be mounted on. What this process serves stays as it is.
pub(crate) fn prepare(
    store: &Store,
    root: &Path,
    candidates: &[Absolute],
    served: &[Absolute],
) -> anyhow::Result<MountPoint> {
    let mut why = Vec::new();
    for candidate in candidates {
        match prepare_one(store, root, candidate, served) {
            Err(error) if error.downcast_ref::<NotThere>().is_some() => why.push(error.to_string()),
            prepared => return prepared,
        }
    }
    Err(Failure::new(format!("history cannot be shown: {}", why.join("; ")))
        .next("name a mount point")
        .into())
}

/// A directory that cannot be made here: another may do.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be made: {}", .path.display(), plain(.source))]
struct NotThere {
    path: PathBuf,
    source: io::Error,
}

fn prepare_one(
    store: &Store,
    root: &Path,
    candidate: &Absolute,
    served: &[Absolute],
) -> anyhow::Result<MountPoint> {
    let at = candidate.0.as_path();
    let refuse = |why: String, next: &str| Err(Failure::new(why).at(at).next(next).into());
    let dir = store.layout().dir();
    if at.starts_with(dir) || dir.starts_with(at) {
        return refuse("a mount point must not lie in the store, or hold it".to_owned(), "name another");
    }
    if root.starts_with(at) {
        return refuse("a mount there would hide the root".to_owned(), "name another mount point");
    }
    if served.contains(candidate) {
        return Err(shown_already(at).into());
    }
    if served.iter().any(|served| at.starts_with(&served.0)) {
        return refuse("a mount point must not lie in a mount of tickfs".to_owned(), "name another");
    }
    if let Some(there) = mounted::at(at)? {
        replace_if_dead(store, root, &there)?;
    }
    let mut mount_point = MountPoint { at: candidate.clone(), made: made_before(store, candidate)? };
    match std::fs::symlink_metadata(at) {
        Ok(there) if there.is_dir() => {
            let mut entries = std::fs::read_dir(at).map_err(|source| {
                Failure::new(format!("could not look into it: {}", plain(&source))).at(at)
            })?;
            if entries.next().is_some() {
                return refuse(
                    "the directory is not empty, and a mount would hide what is in it".to_owned(),
                    "name another",
                );
            }
        }
        Ok(_) => return refuse("this is no directory".to_owned(), "name another mount point"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            mount_point.made = true;
            write_down(store, &mount_point)?;
            if let Err(source) = std::fs::create_dir(at) {
                forget(store, candidate)?;
                return Err(NotThere { path: at.to_path_buf(), source }.into());
            }
        }
        Err(source) => return Err(NotThere { path: at.to_path_buf(), source }.into()),
    }
    Ok(mount_point)
}

fn replace_if_dead(store: &Store, root: &Path, there: &Mounted) -> anyhow::Result<()> {
    let at = &there.at;
    let is_of_root = there.source.to_string_lossy() == mounted::source_of(root);
    match (there.is_ours() && is_of_root, mounted::is_dead(at)) {
        (true, true) => {
            tickfs_fs::detach(at)?;
            tidy(
                store,
                &MountPoint { at: Absolute(at.clone()), made: made_before(store, &Absolute(at.clone()))? },
            )
        }
        (true, false) => Err(shown_already(at).into()),
        (false, _) => Err(Failure::new(format!("{} is mounted there", there.kind))
            .at(at)
            .next("name another mount point")
            .into()),
    }
}

fn shown_already(at: &Path) -> Failure {
    Failure::new("the history of this root is shown there already")
        .at(at)
        .next("`tickfs unmount` takes it away")
}

/// Takes away what was made for a mount that is gone.
pub(crate) fn tidy(store: &Store, mount_point: &MountPoint) -> anyhow::Result<()> {
    let at = &mount_point.at;
    if mount_point.made
        && let Err(source) = std::fs::remove_dir(&at.0)
        && source.kind() != io::ErrorKind::NotFound
    {
        return Err(Failure::new(format!("could not remove the mount point: {}", plain(&source)))
            .at(&at.0)
            .into());
    }
    forget(store, at)
}

/// Clears away what processes left that were killed: dead mounts, and the directories made for them. What this process serves
/// stays.
pub(crate) fn clear_leftovers(
    store: &Store,
    root: &Path,
    served: &[Absolute],
) -> anyhow::Result<Vec<String>> {
    let mut notes = Vec::new();
    for mount_point in written_down(store)?.into_iter().filter(|noted| !served.contains(&noted.at)) {
        let at = &mount_point.at.0;
        match mounted::at(at)? {
            Some(there) if mounted::is_dead(at) => {
                replace_if_dead(store, root, &there)?;
                notes.push(format!("{} was left mounted, and nobody served it", at.display()));
            }
            // Somebody else's, or served by nobody knows whom.
            Some(_) => {}
            None => tidy(store, &mount_point)?,
        }
    }
    Ok(notes)
}

fn note_of(store: &Store, at: &Absolute) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    let hash = ContentHash::of(at.0.as_os_str().as_bytes());
    store.layout().daemons().join(format!("{hash}.mount"))
}

fn write_down(store: &Store, mount_point: &MountPoint) -> anyhow::Result<()> {
    let path = note_of(store, &mount_point.at);
    let dir = store.layout().daemons();
    let text = serde_json::to_vec(mount_point)?;
    let disk = store.disk();
    disk.create_dir(&dir).map_err(|source| Error::Io { action: "create", path: dir, source })?;
    disk::write_atomically(&**disk, &path, &text, Durability::Cache).map_err(|source| Error::Io {
        action: "write",
        path,
        source,
    })?;
    Ok(())
}

fn forget(store: &Store, at: &Absolute) -> anyhow::Result<()> {
    let path = note_of(store, at);
    match store.disk().remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::Io { action: "remove", path, source }.into())
        }
        _ => Ok(()),
    }
}

fn made_before(store: &Store, at: &Absolute) -> anyhow::Result<bool> {
    Ok(written_down(store)?.iter().any(|noted| noted.at == *at && noted.made))
}

fn written_down(store: &Store) -> anyhow::Result<Vec<MountPoint>> {
    let dir = store.layout().daemons();
    let names = match store.disk().list(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names.map_err(|source| Error::Io { action: "list", path: dir.clone(), source })?,
    };
    let mut noted = Vec::new();
    for name in names.iter().filter(|name| name.as_encoded_bytes().ends_with(b".mount")) {
        let path = dir.join(name);
        let text = disk::read_all(&**store.disk(), &path).map_err(|source| Error::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        match serde_json::from_slice(&text) {
            Ok(mount_point) => noted.push(mount_point),
            Err(_garbage) => drop(tickfs_store::doctor::park(store, &path)?),
        }
    }
    Ok(noted)
}
