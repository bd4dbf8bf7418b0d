//! `daemons/`: a file for each recording that goes on in the background, for whoever wants to know without asking.
//!
//! Invariants:
//!   * The name can be read back: each byte of the path that is no letter, digit, `.`, `-` or `_` is `%XX`; `@root` is the
//!     root. Where that is too long for a name, it is cut, and the file alone says which path it is about.
//!   * It tells, and decides nothing: whether a process lives and is this store's, says the socket.
//!   * What cannot be read as metadata is moved to `quarantine/`.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tickfs_store::disk::{self, Durability};
use tickfs_store::ids::ContentHash;
use tickfs_store::path::RelPath;
use tickfs_store::{Store, doctor};

use crate::error::Failure;

/// One recording, as its file tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Metadata {
    /// `None`: the whole root.
    pub(crate) file: Option<RelPath>,
    pub(crate) pid: u32,
    /// When the process began, in the kernel's count: tells it from another that was given its number.
    pub(crate) process_began: Option<u64>,
    /// Seconds between samples; `None`: what happens is told by the kernel.
    pub(crate) interval: Option<f64>,
    pub(crate) start_time: String,
    pub(crate) threads: u8,
}

const ENDING: &str = ".daemon";
/// A name has 255 bytes; the quarantine may add a number.
const NAME_MAX: usize = 240;

/// What lies in `daemons/`.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) recordings: Vec<(PathBuf, Metadata)>,
    /// What was no metadata, and where it was moved.
    pub(crate) parked: Vec<(PathBuf, PathBuf)>,
}

pub(crate) fn write(store: &Store, metadata: &Metadata) -> anyhow::Result<()> {
    let dir = store.layout().daemons();
    let path = path_of(store, metadata.file.as_ref());
    let mut text = serde_json::to_vec(metadata)?;
    text.push(b'\n');
    let written = store
        .disk()
        .create_dir(&dir)
        .and_then(|()| disk::write_atomically(&**store.disk(), &path, &text, Durability::Cache));
    written.map_err(|source| failed("write", &path, source))
}

/// `false`: there was none.
pub(crate) fn remove(store: &Store, file: Option<&RelPath>) -> anyhow::Result<bool> {
    let path = path_of(store, file);
    match store.disk().remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("remove", &path, error)),
    }
}

/// Reads the file of one recording.
pub(crate) fn read(store: &Store, file: Option<&RelPath>) -> anyhow::Result<Found> {
    let mut found = Found::default();
    read_into(store, &path_of(store, file), &mut found)?;
    Ok(found)
}

/// Reads them all, by name.
pub(crate) fn read_all(store: &Store) -> anyhow::Result<Found> {
    let dir = store.layout().daemons();
    let names = match store.disk().list(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::default()),
        Err(error) => return Err(failed("list", &dir, error)),
        Ok(names) => names,
    };
    let mut found = Found::default();
    for name in names.iter().filter(|name| name.as_encoded_bytes().ends_with(ENDING.as_bytes())) {
        read_into(store, &dir.join(name), &mut found)?;
    }
    Ok(found)
}

fn read_into(store: &Store, path: &Path, found: &mut Found) -> anyhow::Result<()> {
    let text = match disk::read_all(&**store.disk(), path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("read", path, error)),
        Ok(text) => text,
    };
    match serde_json::from_slice(&text) {
        Ok(metadata) => found.recordings.push((path.to_path_buf(), metadata)),
        Err(_not_metadata) => found.parked.extend(doctor::park(store, path)?),
    }
    Ok(())
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> anyhow::Error {
    tickfs_store::Error::Io { action, path: path.to_path_buf(), source }.into()
}

/// What is said of a file that was no metadata.
pub(crate) fn told_of_parked((from, to): &(PathBuf, PathBuf)) -> String {
    format!("{} was no metadata, and is {} now", from.display(), to.display())
}

fn path_of(store: &Store, file: Option<&RelPath>) -> PathBuf {
    store.layout().daemons().join(file.map_or_else(|| format!("@root{ENDING}"), name_of))
}

fn name_of(file: &RelPath) -> String {
    let mut name = String::new();
    for &byte in file.as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => name.push(char::from(byte)),
            other => name.push_str(&format!("%{other:02X}")),
        }
    }
    if name.len() + ENDING.len() > NAME_MAX {
        let hash = ContentHash::of(file.as_bytes());
        name.truncate(NAME_MAX - ENDING.len() - 40);
        name.push_str(&format!("@{hash}"));
    }
    name + ENDING
}

/// What is said where something that is not recorded is asked after.
pub(crate) fn not_recorded(file: Option<&RelPath>) -> Failure {
    match file {
        Some(file) => Failure::new(format!("no daemon is running for {file}")),
        None => Failure::new("no daemon is running for the root"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rel(bytes: &[u8]) -> RelPath {
        RelPath::new(bytes.to_vec()).unwrap()
    }

    #[test]
    fn names_do_not_collide_and_fit() {
        assert_eq!(name_of(&rel(b"a/b.txt")), "a%2Fb.txt.daemon");
        assert_eq!(name_of(&rel(b"a_b.txt")), "a_b.txt.daemon");
        assert_eq!(name_of(&rel(b"a%2Fb.txt")), "a%252Fb.txt.daemon");
        assert_eq!(name_of(&rel(b"@root")), "%40root.daemon");
        assert_eq!(name_of(&rel(b"\xff\n")), "%FF%0A.daemon");
        let (long, longer) = (rel("ü".repeat(120).as_bytes()), rel("ü".repeat(121).as_bytes()));
        assert!(name_of(&long).len() <= NAME_MAX && name_of(&long) != name_of(&longer));
    }
}
