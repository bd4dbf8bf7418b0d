//! A `.codevovle/` directory, read whole and understood, before anything of it is written anywhere.
//!
//! Invariants:
//!   * Every diff was applied once when a plan exists: what it says can be done.
//!   * Changes stand in the order of their original numbers. Ours are dense: a number that was skipped, or whose change
//!     changed nothing, makes the later ones smaller, and the plan knows both.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::apply::apply_diff;
use crate::disk::{self, Disk};
use crate::error::{Error, Result};
use crate::history::check_name;
use crate::path::RelPath;
use crate::render::{layout_directory, parse_file_path};

/// What a `.codevovle/` directory says.
#[derive(Debug)]
pub struct Plan {
    /// Each after its parent; the first is the one without a parent.
    pub(super) branches: Vec<PlannedBranch>,
    pub(super) files: Vec<PlannedFile>,
    pub(super) changes: Vec<Change>,
    pub(super) stand: PlannedStand,
    pub(super) threads: Option<u8>,
    /// Diffs that are on no branch: left where they are.
    pub orphans: Vec<PathBuf>,
    /// Tells two sources apart.
    pub(super) fingerprint: String,
}

#[derive(Debug, Clone)]
pub(super) struct PlannedBranch {
    pub(super) id: String,
    pub(super) label: String,
    /// Its place in the plan, and the number of the last tick they share.
    pub(super) parent: Option<(usize, u64)>,
    pub(super) created_at: String,
    pub(super) description: Option<String>,
    /// The branch exists before the first change that is numbered higher.
    opens_at: u64,
}

#[derive(Debug)]
pub(super) struct PlannedFile {
    pub(super) path: RelPath,
    pub(super) interval: Option<f64>,
    /// `None`: it joins with its first change.
    pub(super) base: Option<Arc<[u8]>>,
    dir: PathBuf,
}

#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) number: u64,
    file: usize,
    branch: usize,
    /// Our number; `None` if nothing differed.
    pub(super) ours: Option<u64>,
}

/// Where the source's cursors stand, in its own numbers.
#[derive(Debug, Default)]
pub(super) struct PlannedStand {
    pub(super) branch: usize,
    pub(super) tick: u64,
    /// Files that stand elsewhere.
    pub(super) partial: Vec<(usize, u64)>,
}

/// What is to be done next.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Branch(usize),
    Save { file: usize, branch: usize, ours: u64, text: Arc<[u8]> },
}

#[derive(Deserialize)]
struct ConfigEntry {
    file_path: Option<String>,
    interval: Option<f64>,
}

#[derive(Deserialize)]
struct StateFile {
    #[serde(default)]
    cursor: BTreeMap<String, CursorEntry>,
    #[serde(default)]
    thread_config: ThreadEntry,
}

#[derive(Deserialize)]
struct CursorEntry {
    active_branch: String,
    current_tick: Option<u64>,
}

#[derive(Default, Deserialize)]
struct ThreadEntry {
    daemon_threads: Option<u8>,
}

#[derive(Deserialize)]
struct BranchFile {
    id: String,
    label: String,
    parent: Option<String>,
    forked_at_tick: Option<u64>,
    diff_chain: Vec<u64>,
    created_at: String,
    #[serde(default)]
    description: Option<String>,
}

/// Takes the place of a change and its text, `None` if nothing differed.
type Save<'s> = dyn FnMut(usize, Option<&[u8]>) -> Result<()> + 's;

impl Plan {
    /// Reads and checks everything. `root` is the directory that absolute paths in it are below.
    pub fn read(disk: &dyn Disk, dir: &Path, root: &Path) -> Result<Self> {
        let config: BTreeMap<String, ConfigEntry> = read_json(disk, &dir.join("config.json"))?;
        let flat = exists(disk, &dir.join("snapshots"))?;
        if config.is_empty() || (flat && config.len() > 1) {
            return Err(refused(dir, &format!("config.json names {} files for one layout", config.len())));
        }
        let mut paths = BTreeMap::new();
        for (key, entry) in &config {
            let spelled = entry.file_path.as_ref().unwrap_or(key);
            paths.insert(file_path(dir, spelled, root)?, (key, entry.interval));
        }
        let all: BTreeSet<RelPath> = paths.keys().cloned().collect();
        let mut reading = Reading { disk, layers: Vec::new(), files: Vec::new() };
        for (path, (_, interval)) in &paths {
            let place = if flat { RelPath::root() } else { layout_directory(&all, path) };
            reading.layer(path, *interval, &dir.join(place.as_path()))?;
        }
        let Reading { layers, files, .. } = reading;
        let branches = join_branches(dir, &layers)?;
        let (changes, orphans) = gather_changes(disk, &branches, &layers, &files)?;
        let state: StateFile = read_json(disk, &dir.join("state.json"))?;
        let mut plan = Self {
            branches,
            files,
            changes,
            stand: PlannedStand::default(),
            threads: state.thread_config.daemon_threads,
            orphans,
            fingerprint: String::new(),
        };
        let keys: Vec<&String> = paths.values().map(|(key, _)| *key).collect();
        plan.stand = plan.find_stand(dir, &state, &keys)?;
        plan.number(disk)?;
        Ok(plan)
    }

    /// The files whose history it is, below the root.
    pub fn files(&self) -> impl Iterator<Item = &RelPath> {
        self.files.iter().map(|file| &file.path)
    }

    #[must_use]
    pub fn changes(&self) -> usize {
        self.changes.len()
    }

    /// Tries everything once: gives each change our number, and the source its fingerprint.
    fn number(&mut self, disk: &dyn Disk) -> Result<()> {
        let (mut next, mut ours) = (1, vec![None; self.changes.len()]);
        let mut hasher = blake3::Hasher::new();
        for branch in &self.branches {
            hasher.update(format!("{branch:?}").as_bytes());
        }
        for file in &self.files {
            hasher.update(file.path.as_bytes()).update(file.base.as_deref().unwrap_or_default());
        }
        self.replay(
            disk,
            &mut |place, text| {
                hasher.update(text.unwrap_or_default());
                if text.is_some() {
                    ours[place] = Some(next);
                    next += 1;
                }
                Ok(())
            },
            &mut |_| Ok(()),
        )?;
        for (change, ours) in self.changes.iter_mut().zip(ours) {
            change.ours = ours;
        }
        self.fingerprint = hasher.finalize().to_hex()[..32].to_owned();
        Ok(())
    }

    /// All that is to be done, in order.
    pub(super) fn steps(&self, disk: &dyn Disk, each: &mut dyn FnMut(Step) -> Result<()>) -> Result<()> {
        let each = std::cell::RefCell::new(each);
        self.replay(
            disk,
            &mut |place, text| {
                let Change { file, branch, ours, .. } = self.changes[place];
                match (ours, text) {
                    (Some(ours), Some(text)) => {
                        (each.borrow_mut())(Step::Save { file, branch, ours, text: text.into() })
                    }
                    _ => Ok(()),
                }
            },
            &mut |branch| (each.borrow_mut())(Step::Branch(branch)),
        )
    }

    /// Rebuilds every version: `save` gets the place of each change and its text, `None` if nothing differed.
    fn replay(
        &self,
        disk: &dyn Disk,
        save: &mut Save<'_>,
        open: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        let base: Vec<Option<Arc<[u8]>>> = self.files.iter().map(|f| f.base.clone()).collect();
        let mut heads = vec![Vec::new(); self.branches.len()];
        heads[0] = base;
        let (mut forked, mut opened) = (vec![false; heads.len()], vec![false; heads.len()]);
        let mut prepare = |before: u64, heads: &mut Vec<Vec<Option<Arc<[u8]>>>>| -> Result<()> {
            for (no, branch) in self.branches.iter().enumerate().skip(1) {
                if let Some((parent, fork)) = branch.parent.filter(|&(_, f)| f < before && !forked[no]) {
                    forked[no] = true;
                    heads[no] = heads[self.home(parent, fork)].clone();
                }
                if branch.opens_at < before && !opened[no] {
                    opened[no] = true;
                    open(no)?;
                }
            }
            Ok(())
        };
        for (place, change) in self.changes.iter().enumerate() {
            prepare(change.number, &mut heads)?;
            let head = &mut heads[change.branch][change.file];
            let file = &self.files[change.file];
            let path = file.dir.join("diffs").join(format!("{}.diff", change.number));
            let diff = disk::read_all(disk, &path).map_err(Error::io("read", &path))?;
            let new = apply_diff(head.as_deref().unwrap_or_default(), &diff).map_err(|why| {
                let (tick, path) = (change.number, &file.path);
                Error::refused(format!("tick {tick} of {path} cannot be rebuilt from its diff: {why}"))
            })?;
            if head.as_deref() == Some(&new[..]) {
                save(place, None)?;
            } else {
                save(place, Some(&new))?;
                *head = Some(new.into());
            }
        }
        prepare(u64::MAX, &mut heads)
    }

    /// The branch on which a tick of a branch's chain happened.
    fn home(&self, mut branch: usize, tick: u64) -> usize {
        while let Some((parent, _)) = self.branches[branch].parent.filter(|&(_, fork)| tick <= fork) {
            branch = parent;
        }
        branch
    }

    /// Our number of the last change at or before an original number.
    pub(super) fn ours_at(&self, number: u64) -> u64 {
        let upto = self.changes.iter().take_while(|c| c.number <= number);
        upto.filter_map(|c| c.ours).last().unwrap_or(0)
    }

    /// The file's last tick on a branch's chain at or before a number; 0 for its base.
    fn last_of(&self, file: usize, branch: usize, upto: u64) -> u64 {
        let on_chain = |c: &&Change| c.file == file && self.is_on(c, branch) && c.number <= upto;
        self.changes.iter().rfind(on_chain).map_or(0, |c| c.number)
    }

    fn is_on(&self, change: &Change, branch: usize) -> bool {
        let (mut at, mut bound) = (branch, u64::MAX);
        loop {
            if change.branch == at {
                return change.number <= bound;
            }
            match self.branches[at].parent {
                Some((parent, fork)) => (at, bound) = (parent, bound.min(fork)),
                None => return false,
            }
        }
    }

    fn find_stand(&self, dir: &Path, state: &StateFile, keys: &[&String]) -> Result<PlannedStand> {
        let mut cursors = Vec::new();
        for (file, key) in keys.iter().enumerate() {
            let Some(cursor) = state.cursor.get(*key) else { continue };
            let branch = self.branches.iter().position(|b| b.label == cursor.active_branch);
            let branch = branch.ok_or_else(|| {
                refused(
                    dir,
                    &format!("state.json names a branch {:?} that there is not", cursor.active_branch),
                )
            })?;
            cursors.push((file, branch, cursor.current_tick.unwrap_or(0)));
        }
        let branch = cursors.first().map_or(0, |c| c.1);
        if cursors.iter().any(|c| c.1 != branch) {
            return Err(refused(dir, "state.json has files on different branches"));
        }
        let tick = cursors.iter().map(|c| c.2).max().unwrap_or(u64::MAX);
        let elsewhere = cursors.iter().filter(|&&(file, _, at)| self.last_of(file, branch, tick) != at);
        Ok(PlannedStand { branch, tick, partial: elsewhere.map(|&(file, _, at)| (file, at)).collect() })
    }
}

/// The layouts of single files, one after the other.
struct Reading<'d> {
    disk: &'d dyn Disk,
    layers: Vec<BTreeMap<String, BranchFile>>,
    files: Vec<PlannedFile>,
}

impl Reading<'_> {
    fn layer(&mut self, path: &RelPath, interval: Option<f64>, dir: &Path) -> Result<()> {
        let mut branches = BTreeMap::new();
        let folder = dir.join("branches");
        for name in self.disk.list(&folder).map_err(Error::io("list", &folder))? {
            let at = folder.join(&name);
            if at.extension().is_none_or(|e| e != "json") {
                continue;
            }
            let branch: BranchFile = read_json(self.disk, &at)?;
            check_name(&branch.label)?;
            if !branch.diff_chain.is_sorted_by(|a, b| a < b) || branch.diff_chain.first() == Some(&0) {
                return Err(refused(&at, "its diff_chain does not rise from 1"));
            }
            branches.insert(branch.label.clone(), branch);
        }
        let at = dir.join("snapshots").join("base.txt");
        let base = disk::read_all(self.disk, &at).map_err(Error::io("read", &at))?;
        // A file that joined later has an empty base: its first change creates it.
        let joins = base.is_empty() && branches.values().any(|b| !b.diff_chain.is_empty());
        let base = (!joins).then(|| base.into());
        self.files.push(PlannedFile { path: path.clone(), interval, base, dir: dir.to_path_buf() });
        self.layers.push(branches);
        Ok(())
    }
}

/// The branches of all layers, each once. Every layer shows a fork at its own last tick by then; the latest is true.
fn join_branches(dir: &Path, layers: &[BTreeMap<String, BranchFile>]) -> Result<Vec<PlannedBranch>> {
    let mut joined: BTreeMap<&str, (&BranchFile, u64)> = BTreeMap::new();
    for file in layers.iter().flat_map(BTreeMap::values) {
        let fork = file.forked_at_tick.unwrap_or(0);
        let (first, latest) = joined.entry(&file.label).or_insert((file, fork));
        if (&first.id, &first.parent) != (&file.id, &file.parent) {
            return Err(refused(dir, &format!("two branches are named {:?}", file.label)));
        }
        *latest = fork.max(*latest);
    }
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut branches: Vec<PlannedBranch> = Vec::new();
    while branches.len() < joined.len() {
        let ready = joined.iter().find(|(label, (file, _))| {
            let parent = file.parent.as_deref();
            !places.contains_key(*label) && parent.is_none_or(|p| places.contains_key(p))
        });
        let Some((label, (file, fork))) = ready else {
            return Err(refused(dir, "a branch's parent does not exist"));
        };
        let parent = file.parent.as_deref().map(|p| (places[p], *fork));
        if parent.is_none() && !branches.is_empty() {
            return Err(refused(dir, "two branches have no parent"));
        }
        let above = parent.map_or(0, |(p, _)| branches[p].opens_at);
        places.insert(label, branches.len());
        branches.push(PlannedBranch {
            id: file.id.clone(),
            label: file.label.clone(),
            parent,
            created_at: file.created_at.clone(),
            description: file.description.clone(),
            opens_at: above.max(parent.map_or(0, |(_, fork)| fork)),
        });
    }
    match branches.is_empty() {
        true => Err(refused(dir, "it has no branch")),
        false => Ok(branches),
    }
}

/// Every change once, on the branch where it happened, by number; and the diffs that no chain names.
fn gather_changes(
    disk: &dyn Disk,
    branches: &[PlannedBranch],
    layers: &[BTreeMap<String, BranchFile>],
    files: &[PlannedFile],
) -> Result<(Vec<Change>, Vec<PathBuf>)> {
    let (mut changes, mut orphans) = (Vec::new(), Vec::new());
    for (file, layer) in layers.iter().enumerate() {
        let mut named = BTreeSet::new();
        for (branch, planned) in branches.iter().enumerate() {
            let Some(chain) = layer.get(&planned.label).map(|b| &b.diff_chain) else { continue };
            named.extend(chain.iter().map(|n| format!("{n}.diff")));
            let mut own = chain.clone();
            if let Some((parent, fork)) = planned.parent {
                let inherited: Vec<u64> = chain.iter().copied().filter(|&n| n <= fork).collect();
                let above = layer.get(&branches[parent].label).map_or(&[][..], |b| &b.diff_chain);
                if !above.iter().copied().filter(|&n| n <= fork).eq(inherited) {
                    let (label, dir) = (&planned.label, &files[file].dir);
                    return Err(refused(dir, &format!("branch {label:?} does not begin as its parent does")));
                }
                own.retain(|&n| n > fork);
            }
            changes.extend(own.into_iter().map(|number| Change { number, file, branch, ours: None }));
        }
        let folder = files[file].dir.join("diffs");
        if exists(disk, &folder)? {
            let lost = disk.list(&folder).map_err(Error::io("list", &folder))?;
            let lost = lost.into_iter().filter(|name| !name.to_str().is_some_and(|n| named.contains(n)));
            orphans.extend(lost.map(|name| folder.join(name)));
        }
    }
    changes.sort_by_key(|c| (c.number, c.file, c.branch));
    let twice = |pair: &&[Change]| (pair[0].number, pair[0].file) == (pair[1].number, pair[1].file);
    match changes.windows(2).find(twice) {
        Some(pair) => {
            let file = &files[pair[0].file];
            Err(refused(&file.dir, &format!("tick {} happened on two branches", pair[0].number)))
        }
        None => Ok((changes, orphans)),
    }
}

fn file_path(dir: &Path, spelled: &str, root: &Path) -> Result<RelPath> {
    let relative = match Path::new(spelled).strip_prefix(root) {
        Ok(below) => below.to_str().unwrap_or(spelled),
        Err(_) => spelled,
    };
    parse_file_path(relative).map_err(|e| refused(dir, &format!("config.json: {e}")))
}

fn exists(disk: &dyn Disk, path: &Path) -> Result<bool> {
    Ok(disk.stat(path).map_err(Error::io("look at", path))?.is_some())
}

fn read_json<T: DeserializeOwned>(disk: &dyn Disk, path: &Path) -> Result<T> {
    let bytes = match disk::read_all(disk, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::not_found(format!("{} is missing", path.display())));
        }
        bytes => bytes.map_err(Error::io("read", path))?,
    };
    serde_json::from_slice(&bytes).map_err(|e| Error::corrupt(path, 0, e.to_string()))
}

fn refused(at: &Path, why: &str) -> Error {
    Error::refused(format!("{} cannot be imported: {why}", at.display()))
}
