//! The specification's own layout, `.codevovle/`, of one file or of several.
//!
//! For one file: `config.json`, `state.json`, `snapshots/base.txt`, `branches/<label>.json`, `diffs/<tick>.diff`.
//! For several: `config.json` and `state.json` about all of them, and the whole layout again below each file's path.
//!
//! Where the format is narrower than history: it knows no deletion (a deleted file is one without lines), no modes
//! (such a tick's diff is empty, which `patch` accepts), and no rename (one file loses its lines, the other gains them,
//! both at the same tick).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::entity::{BranchJson, before, listed};
use super::{pretty, spell_file_path};
use crate::diff::{self, Labels};
use crate::error::{Error, Result};
use crate::history::{CONTEXT, PathVersion, Point, View};
use crate::ids::{BranchNo, Tick};
use crate::index::Version;
use crate::journal::entry::{ItemType, NodeType};
use crate::path::RelPath;

/// The entity kind that holds how a file is recorded; its id is the file's path as [`spell_file_path`] spells it, or
/// `.` for the whole root. Its payload is a [`RecordingConfig`].
pub const RECORDING: &str = "recording";
/// The entity kind that holds the number of threads; its id is `root`, its payload a [`ThreadConfig`].
pub const THREADS: &str = "threads";

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RecordingConfig {
    /// Seconds between samples.
    pub interval: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadConfig {
    pub daemon_threads: Option<u8>,
}

/// Names that the layout itself uses in a directory.
const RESERVED: [&[u8]; 5] = [b"config.json", b"state.json", b"branches", b"diffs", b"snapshots"];

/// The layout of some files, at one moment.
#[derive(Debug, Clone)]
pub struct CodeVovle<'v> {
    view: &'v View,
    files: BTreeSet<RelPath>,
    /// Whether the one file's layout lies at the top.
    flat: bool,
}

/// The layout of one file: all versions that ever stood under its path.
#[derive(Debug, Clone)]
pub struct Layer<'v> {
    view: &'v View,
    path: RelPath,
    /// Oldest first.
    versions: Arc<[PathVersion]>,
}

/// Every path that ever was a file or a symlink, on whatever branch. Costs the number of ticks.
pub fn ever_files(view: &View) -> Result<BTreeSet<RelPath>> {
    let mut files = BTreeSet::new();
    add_ever_files(view, None, &mut files)?;
    Ok(files)
}

/// Adds what came with the ticks after one that was seen already; with `None` all of history.
pub fn add_ever_files(view: &View, seen: Option<Tick>, files: &mut BTreeSet<RelPath>) -> Result<()> {
    let mut add = |tree: &crate::history::Tree, from: &RelPath| {
        tree.walk(from, &mut |path, entry| {
            if entry.version.kind != NodeType::Dir {
                files.insert(path.clone());
            }
            Ok(())
        })
    };
    if seen.is_none() {
        add(&view.tree(Point { branch: BranchNo::MAIN, tick: Tick::BASE })?, &RelPath::root())?;
    }
    let mut next = seen.unwrap_or(Tick::BASE).next();
    loop {
        let portion = view.ticks(next, view.last_tick(), 4096)?;
        let Some(last) = portion.last() else { return Ok(()) };
        next = last.n.next();
        for tick in portion {
            let Some(branch) = view.branches().of_tick(tick.n) else { continue };
            let tree = view.tree(Point { branch, tick: tick.n })?;
            if let Some(path) = tree.path_of(tick.node)? {
                add(&tree, &path)?;
            }
        }
    }
}

/// Where a file's layout lies among those of several.
pub(crate) fn layout_directory(files: &BTreeSet<RelPath>, path: &RelPath) -> RelPath {
    let (mut above, mut place) = (RelPath::root(), Vec::new());
    for name in path.components() {
        let taken = RESERVED.contains(&name) && (above.is_root() || files.contains(&above));
        if !place.is_empty() {
            place.push(b'/');
        }
        match name.split_first() {
            Some((first, rest)) if taken => {
                place.extend_from_slice(format!("%{first:02x}").as_bytes());
                place.extend_from_slice(rest);
            }
            _ => place.extend_from_slice(name),
        }
        above = above.join(name).unwrap_or_default();
    }
    RelPath::new(place).unwrap_or_else(|_| path.clone())
}

impl<'v> CodeVovle<'v> {
    /// All files of the store; a store with a single one has the layout of that file.
    pub fn of_store(view: &'v View) -> Result<Self> {
        Ok(Self::of_files(view, ever_files(view)?))
    }

    /// The same, where all files are known.
    #[must_use]
    pub fn of_files(view: &'v View, files: BTreeSet<RelPath>) -> Self {
        let flat = files.len() <= 1;
        Self { view, files, flat }
    }

    /// One file of the store, as if it were alone.
    #[must_use]
    pub fn of_file(view: &'v View, path: &RelPath) -> Self {
        Self { view, files: BTreeSet::from([path.clone()]), flat: true }
    }

    pub fn files(&self) -> impl Iterator<Item = &RelPath> {
        self.files.iter()
    }

    /// Whether the layout is that of one file, directly at the top.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        self.flat
    }

    pub fn layer(&self, path: &RelPath) -> Result<Layer<'v>> {
        Layer::new(self.view, path)
    }

    /// Where a file's own layout lies, below the top. A name that the layout of a file above uses itself begins with
    /// an escape: `%63onfig.json`.
    #[must_use]
    pub fn directory(&self, path: &RelPath) -> RelPath {
        if self.flat { RelPath::root() } else { layout_directory(&self.files, path) }
    }

    /// `config.json`: each file's path and how it is recorded.
    pub fn config_json(&self) -> Result<Vec<u8>> {
        config_json(self.view, self.files())
    }

    /// `state.json`: the counter, and each file's cursor.
    pub fn state_json(&self) -> Result<Vec<u8>> {
        state_json(self.view, self.files())
    }
}

#[derive(Serialize)]
struct FileConfig<'a> {
    file_path: String,
    interval: Option<f64>,
    active_branch: &'a str,
    last_tick: Option<Tick>,
}

fn config_json<'f>(view: &View, files: impl Iterator<Item = &'f RelPath>) -> Result<Vec<u8>> {
    let kind = kind(RECORDING);
    let of_root = recording(view, &kind, ".")?;
    let mut config = BTreeMap::new();
    for path in files {
        let file_path = spell_file_path(path);
        let own = recording(view, &kind, &file_path)?;
        let interval = own.or_else(|| of_root.clone()).and_then(|r| r.interval);
        let last_tick = Layer::new(view, path)?.ticks().last();
        let entry =
            FileConfig { file_path: file_path.clone(), interval, active_branch: active(view)?, last_tick };
        config.insert(file_path, entry);
    }
    Ok(pretty(&config))
}

#[derive(Serialize)]
struct StateJson<'a> {
    global_tick_counter: Tick,
    cursor: BTreeMap<String, FileCursor<'a>>,
    thread_config: ThreadConfig,
}

#[derive(Serialize)]
struct FileCursor<'a> {
    active_branch: &'a str,
    current_tick: Option<Tick>,
}

fn state_json<'f>(view: &View, files: impl Iterator<Item = &'f RelPath>) -> Result<Vec<u8>> {
    let mut cursor = BTreeMap::new();
    for path in files {
        let current_tick = Layer::new(view, path)?.current_tick()?;
        cursor.insert(spell_file_path(path), FileCursor { active_branch: active(view)?, current_tick });
    }
    let stored = view.entity(&kind(THREADS), "root")?;
    let stored = stored.map(|row| read::<ThreadConfig>(THREADS, &row.body)).transpose()?;
    let configured = ThreadConfig { daemon_threads: view.store().config().record.threads };
    let thread_config = stored.unwrap_or(configured);
    Ok(pretty(&StateJson { global_tick_counter: view.last_tick(), cursor, thread_config }))
}

impl<'v> Layer<'v> {
    pub fn new(view: &'v View, path: &RelPath) -> Result<Self> {
        let mut versions = view.versions_of(path)?;
        let was_dir = |v: &PathVersion| v.version.as_ref().is_some_and(|v| v.kind == NodeType::Dir);
        versions.retain(|v| !was_dir(v));
        Ok(Self::of(view, path, versions.into()))
    }

    /// The same, where [`Self::versions`] of this view are known.
    #[must_use]
    pub fn of(view: &'v View, path: &RelPath, versions: Arc<[PathVersion]>) -> Self {
        Self { view, path: path.clone(), versions }
    }

    #[must_use]
    pub fn versions(&self) -> Arc<[PathVersion]> {
        Arc::clone(&self.versions)
    }

    /// Whether a tick is one of this file.
    #[must_use]
    pub fn has(&self, tick: Tick) -> bool {
        self.change(tick).is_some()
    }

    fn change(&self, tick: Tick) -> Option<&PathVersion> {
        let found = self.versions.binary_search_by_key(&tick, |v| v.at).ok()?;
        self.versions.get(found).filter(|_| tick != Tick::BASE)
    }

    #[must_use]
    pub fn path(&self) -> &RelPath {
        &self.path
    }

    /// The ticks of this file, on whatever branch.
    pub fn ticks(&self) -> impl Iterator<Item = Tick> {
        self.versions.iter().map(|v| v.at).filter(|&at| at != Tick::BASE)
    }

    /// The ticks of this file on a branch's chain.
    #[must_use]
    pub fn chain(&self, branch: BranchNo) -> Vec<Tick> {
        self.ticks().filter(|&tick| self.view.branches().is_on(branch, tick)).collect()
    }

    /// This file's tick at which the root stands; `None` before its first.
    pub fn current_tick(&self) -> Result<Option<Tick>> {
        let stand = self.view.cursor_point()?;
        let cursor = self.view.cursor();
        let at = cursor.and_then(|c| c.partial_point(&self.path)).unwrap_or(stand);
        Ok(self.chain(at.branch).into_iter().rfind(|&tick| tick <= at.tick))
    }

    /// `config.json` with this file alone.
    pub fn config_json(&self) -> Result<Vec<u8>> {
        config_json(self.view, std::iter::once(&self.path))
    }

    /// `state.json` with this file alone.
    pub fn state_json(&self) -> Result<Vec<u8>> {
        state_json(self.view, std::iter::once(&self.path))
    }

    /// `branches/<label>.json`: the branch with this file's ticks. Where it was forked is this file's last tick by
    /// then, so that it is a tick of the parent's chain as shown; 0 is the base.
    pub fn branch_json(&self, branch: BranchNo) -> Result<Vec<u8>> {
        let branch = listed(self.view, branch)?;
        let mut json = BranchJson::new(self.view, branch, self.chain(branch.no));
        json.forked_at_tick = branch.parent.zip(branch.forked_at_tick).map(|(parent, fork)| {
            self.chain(parent).into_iter().rfind(|&tick| tick <= fork).unwrap_or(Tick::BASE)
        });
        Ok(pretty(&json))
    }

    /// `snapshots/base.txt`: the file as it was first seen; empty if it joined later.
    pub fn base(&self) -> Result<Vec<u8>> {
        let base = self.versions.iter().find(|v| v.at == Tick::BASE).and_then(|v| v.version.as_ref());
        base.map_or(Ok(Vec::new()), |version| self.view.content_of(version))
    }

    /// `diffs/<tick>.diff`: what the tick changed, against the version before it.
    pub fn diff(&self, tick: Tick) -> Result<Vec<u8>> {
        let Some(change) = self.change(tick) else {
            return Err(Error::not_found(format!("tick {tick} is no tick of {}", self.path)));
        };
        let tree =
            self.view.tree(Point { branch: change.branch, tick: before(self.view, change.branch, tick) })?;
        let old = tree.resolve(&self.path)?.map(|entry| entry.version);
        let new_name = format!("b/.codevovle/diffs/{tick}.diff");
        let labels = Labels { old: OLD_NAME.as_bytes(), new: new_name.as_bytes() };
        for version in [&old, &change.version].into_iter().flatten() {
            if version.kind != NodeType::Dir && version.content.is_none() {
                let why = format!("the content of tick {} was not kept", version.tick);
                return Ok(format!("Files {OLD_NAME} and {new_name} differ: {why}\n").into_bytes());
            }
        }
        let (old, new) = (self.text(old.as_ref())?, self.text(change.version.as_ref())?);
        Ok(diff::unified(Some(&old), Some(&new), &labels, CONTEXT).into_bytes())
    }

    /// The layout cannot tell nothing from an empty file.
    fn text(&self, version: Option<&Version>) -> Result<Vec<u8>> {
        match version {
            Some(version) if version.kind != NodeType::Dir => self.view.content_of(version),
            _ => Ok(Vec::new()),
        }
    }
}

/// A label, and no more: the diff is against the version before.
const OLD_NAME: &str = "a/.codevovle/snapshots/base.txt";

fn active(view: &View) -> Result<&str> {
    listed(view, view.cursor_point()?.branch).map(|b| b.label.as_str())
}

fn recording(view: &View, kind: &ItemType, id: &str) -> Result<Option<RecordingConfig>> {
    view.entity(kind, id)?.map(|row| read(RECORDING, &row.body)).transpose()
}

fn read<T: serde::de::DeserializeOwned>(kind: &str, body: &str) -> Result<T> {
    serde_json::from_str(body).map_err(|e| Error::corrupt("index.db".as_ref(), 0, format!("{kind}: {e}")))
}

fn kind(name: &'static str) -> ItemType {
    ItemType::parse(name).expect("it is lower-case and short, because it is written here")
}
