//! Stores on the real disk, filled with what a corpus or a directory holds.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tickfs_store::content::{ContentWriter, PackOptions};
use tickfs_store::disk::RealDisk;
use tickfs_store::ids::{StoreId, UnixMillis, UnixNanos};
use tickfs_store::journal::entry::{Action, Body, Draft, ItemType, NodeType, Writer};
use tickfs_store::journal::{JournalWriter, WriterOptions};
use tickfs_store::path::RelPath;
use tickfs_store::{Content, Meta, Store, StoreWriter};
use tickfs_tests::corpus::Corpus;

use crate::scratch::space;

/// Whether each mutation is made durable before it is confirmed. Off only where sizes are of interest, not times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durable {
    Always,
    Never,
}

pub(crate) fn who() -> Writer {
    Writer { writer: "bench".to_owned(), writer_id: None, pid: std::process::id() }
}

/// A moment that moves on with every save.
pub(crate) fn moment(n: usize) -> UnixMillis {
    UnixMillis(1_780_000_000_000 + i64::try_from(n).unwrap_or(i64::MAX / 2))
}

pub(crate) fn init(dir: &Path, durable: Durable) -> Result<StoreWriter> {
    Store::init(Arc::new(RealDisk), dir, StoreId::new(UnixMillis(1), [7; 10]))?;
    if durable == Durable::Never {
        fs::write(dir.join("config.toml"), "[store.journal]\nfsync = \"never\"\n")?;
    }
    open(dir)
}

pub(crate) fn open(dir: &Path) -> Result<StoreWriter> {
    Ok(Store::open(Arc::new(RealDisk), dir)?.writer(who(), Duration::from_secs(10))?)
}

/// Whatever it was filled with: from here on it is a store like any other.
pub(crate) fn settle(dir: &Path) -> Result<()> {
    match fs::remove_file(dir.join("config.toml")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

pub(crate) fn file_meta(mode: u32) -> Meta {
    let mode = 0o100_000 | mode;
    Meta { kind: NodeType::File, mode, uid: 1000, gid: 1000, mtime: UnixNanos(1), holes: Vec::new() }
}

pub(crate) fn directory_meta() -> Meta {
    Meta { kind: NodeType::Dir, mode: 0o40_755, ..file_meta(0) }
}

/// Files and how to get their bytes, in any order; directories are added where they are needed.
pub(crate) fn base(
    writer: &StoreWriter,
    files: impl Iterator<Item = Result<(RelPath, u32, Vec<u8>)>>,
) -> Result<()> {
    let mut known = BTreeSet::new();
    let mut files = files.peekable();
    let mut first = true;
    while first || files.peek().is_some() {
        let portion = files.by_ref().take(1_000).collect::<Result<Vec<_>>>()?;
        writer.mutate_alone(moment(0), |m| {
            if first {
                m.base(&RelPath::root(), &directory_meta(), Content::None)?;
            }
            for (path, mode, bytes) in portion {
                for dir in missing_above(&path, &mut known) {
                    m.base(&dir, &directory_meta(), Content::None)?;
                }
                m.base(&path, &file_meta(mode), Content::Bytes(bytes))?;
            }
            Ok(())
        })?;
        first = false;
    }
    Ok(writer.mutate(moment(0), |m| m.finish_base("00000000-0000-4000-8000-000000000001"))?)
}

/// The directories above a path that were not named before, outermost first.
pub(crate) fn missing_above(path: &RelPath, known: &mut BTreeSet<RelPath>) -> Vec<RelPath> {
    let mut missing = Vec::new();
    let mut above = path.parent();
    while let Some(dir) = above.filter(|dir| !dir.is_root() && !known.contains(dir)) {
        known.insert(dir.clone());
        above = dir.parent();
        missing.push(dir);
    }
    missing.reverse();
    missing
}

pub(crate) fn base_of(writer: &StoreWriter, corpus: &Corpus) -> Result<()> {
    base(writer, corpus.base().map(|file| file.map(|f| (f.path, f.mode, f.bytes)).map_err(Into::into)))
}

/// The files below a directory, named from there; `.git` aside.
pub(crate) fn files_below(dir: &Path) -> Result<Vec<(RelPath, PathBuf)>> {
    let mut found = Vec::new();
    let mut open = vec![RelPath::root()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(dir.join(at.as_path()))? {
            let entry = entry?;
            let path = at.join(entry.file_name().as_encoded_bytes())?;
            match entry.file_type()?.is_dir() {
                true if entry.file_name() == ".git" => {}
                true => open.push(path),
                false => found.push((path, entry.path())),
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The parts of a store, in bytes of their files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    pub(crate) packs: u64,
    pub(crate) journal: u64,
    pub(crate) index: u64,
}

impl Parts {
    pub(crate) fn of(dir: &Path) -> Result<Self> {
        let part = |name: &str| Ok::<_, anyhow::Error>(space(&dir.join(name))?.len);
        Ok(Self { packs: part("packs")?, journal: part("journal")?, index: part("index.db")? })
    }

    pub(crate) fn sum(self) -> u64 {
        self.packs + self.journal + self.index
    }

    pub(crate) fn beyond(self, base: Self) -> Self {
        let more = |all: u64, part: u64| all.saturating_sub(part);
        Self {
            packs: more(self.packs, base.packs),
            journal: more(self.journal, base.journal),
            index: more(self.index, base.index),
        }
    }
}

/// Ends the pack and the segment that a writer would go on with, as if they were full, and compacts them.
pub(crate) fn roll_and_compact(dir: &Path) -> Result<()> {
    let (layout, id) = {
        let store = Store::open(Arc::new(RealDisk), dir)?;
        (store.layout().clone(), store.id().clone())
    };
    drop(ContentWriter::open(Arc::new(RealDisk), &layout.packs(), PackOptions::rolling_at(1))?);
    let options = WriterOptions { roll_at: 1, ..WriterOptions::default() };
    let mut journal = JournalWriter::open(Arc::new(RealDisk), &layout.journal(), id, who(), options)?;
    let note = Draft {
        action: Action::Note,
        item_type: ItemType::COMMAND,
        item_id: None,
        summary: None,
        tick: None,
        body: Body::None,
    };
    for _ in 0..2 {
        let mut group = journal.begin(moment(0))?;
        group.push_mutation(std::slice::from_ref(&note))?;
        group.append()?;
    }
    journal.sync()?;
    drop(journal);
    let writer = open(dir)?;
    writer.compact(moment(0)).context("compact")?;
    Ok(writer.close()?)
}
