//! From paths that may have changed to ticks: looks at each, and commits what differs as one group.
//!
//! Invariants:
//!   * The order of a group is that of the paths, renames first, removals before what is saved: never that of threads.
//!     Versions that others have overwritten come before all of it, in the order in which they were saved.
//!   * The stamps say what the store says: they change only when the store has changed.
//!   * Nothing is taken for removed while the root is not in its place.

mod group;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use tickfs_store::StoreWriter;
use tickfs_store::ids::UnixMillis;
use tickfs_store::journal::entry::NodeType;
use tickfs_store::path::RelPath;

use self::group::{Done, Group};
use super::ahead;
use super::capture::Captured;
use super::compare::now_nanos;
use super::error::{Error, Result};
use super::place::{Place, kind_of};
use super::read::{self, Body, Loaded, Manner, Reading};
use super::report::Flushed;
use super::rules::Rules;
use super::stamps::{Stamp, Stamps};
use super::who::Writers;

/// So many changes at most are one group, so that its records fit in memory.
const GROUP_MAX: usize = 8192;
/// A file that was emptied so lately may be about to be written.
const EMPTIED_NANOS: i64 = 50_000_000;

/// A path that may have changed.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) path: RelPath,
    /// The path from which it may have been moved here.
    pub(crate) from: Option<RelPath>,
    /// Read it although it looks as it did.
    pub(crate) force: bool,
    /// It has been written for so long that it is taken as it is.
    pub(crate) sampled: bool,
    /// A writer wrote to it and closed it, since it was looked at last.
    pub(crate) modified: bool,
    /// What held something and was emptied this very moment is about to be written, and not taken.
    pub(crate) patient: bool,
    /// What its writer left was read already. With `force` it is held against what stands there now.
    pub(crate) captured: Option<Arc<Captured>>,
}

impl Candidate {
    pub(crate) fn new(path: RelPath) -> Self {
        Self {
            path,
            from: None,
            force: false,
            sampled: false,
            modified: false,
            patient: false,
            captured: None,
        }
    }
}

/// What committing candidates came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) flushed: Flushed,
    /// Written to while they were read: to be looked at again.
    pub(crate) unstable: Vec<RelPath>,
    /// Directories to be compared whole: they were taken for renamed ones, and are not.
    pub(crate) rescan: Vec<RelPath>,
    /// Saves of which the one before was looked at so late that it was this one already: that one is lost.
    pub(crate) overtaken: usize,
    /// Something was read now, so that what was read before it is older.
    pub(crate) live: bool,
    /// Versions that were overwritten, each a burst of its own.
    pub(crate) earlier: usize,
}

/// One root and what is known of it.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) place: Arc<Place>,
    pub(crate) rules: Rules,
    pub(crate) stamps: Stamps,
    pub(crate) max_size: u64,
    pub(crate) threads: NonZeroUsize,
    /// Tells who wrote what is recorded, while a recorder listens.
    pub(crate) writers: Option<Writers>,
}

#[derive(Debug, Clone)]
struct Step {
    path: RelPath,
    what: What,
    how: How,
}

/// How what is saved is read.
#[derive(Debug, Clone, Default)]
struct How {
    sampled: bool,
    patient: bool,
    captured: Option<Arc<Captured>>,
}

#[derive(Debug, Clone)]
enum What {
    Rename { from: RelPath },
    Remove,
    Save,
}

impl Ledger {
    /// Commits what differs of the candidates.
    pub(crate) fn commit(
        &mut self,
        writer: &StoreWriter,
        now: UnixMillis,
        candidates: Vec<Candidate>,
    ) -> Result<Outcome> {
        self.commit_behind(writer, now, Vec::new(), candidates)
    }

    /// The same, with versions before it that stand nowhere any more.
    pub(crate) fn commit_behind(
        &mut self,
        writer: &StoreWriter,
        now: UnixMillis,
        mut earlier: Vec<Arc<Captured>>,
        candidates: Vec<Candidate>,
    ) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let renames = self.renames(&candidates)?;
        let applied: Vec<(RelPath, RelPath)> =
            renames.iter().map(|(to, from)| (from.clone(), to.path.clone())).collect();
        for (from, to) in &applied {
            self.stamps.rename(from, to);
        }
        let steps = self.plan(candidates, renames, &mut earlier, &mut outcome);
        if steps.iter().any(|step| matches!(step.what, What::Remove)) && !self.place.is_in_place() {
            self.undo(&applied);
            let why = "another directory has its name, or none".to_owned();
            return Err(Error::RootGone { root: self.place.path().to_path_buf(), why });
        }
        let is_live = |step: &Step| step.how.captured.is_none() && !matches!(step.what, What::Remove);
        outcome.live = steps.iter().any(is_live);
        let alone = [&steps[..0]];
        let mut groups: Vec<&[Step]> = steps.chunks(GROUP_MAX).collect();
        if groups.is_empty() && !earlier.is_empty() {
            groups.extend(alone);
        }
        for (n, group) in groups.into_iter().enumerate() {
            match self.group(writer, now, &std::mem::take(&mut earlier), group.to_vec()) {
                Ok(done) => {
                    outcome.flushed.append(done.flushed);
                    outcome.unstable.extend(done.unstable);
                    outcome.rescan.extend(done.rescan);
                    outcome.overtaken += done.overtaken;
                    outcome.earlier += done.earlier;
                }
                Err(error) => {
                    if n == 0 {
                        self.undo(&applied);
                    }
                    return Err(error);
                }
            }
        }
        Ok(outcome)
    }

    fn undo(&mut self, applied: &[(RelPath, RelPath)]) {
        for (from, to) in applied.iter().rev() {
            self.stamps.rename(to, from);
        }
    }

    /// The candidates that are what was recorded under another name, which is free now.
    fn renames(&self, candidates: &[Candidate]) -> Result<Vec<(Candidate, RelPath)>> {
        let mut renames = Vec::new();
        let mut taken = BTreeSet::new();
        for candidate in candidates {
            let Some(from) = &candidate.from else { continue };
            let Some(was) = self.stamps.get(from) else { continue };
            let (to, nested) =
                (&candidate.path, |a: &RelPath, b: &RelPath| a.starts_with(b) || b.starts_with(a));
            if self.stamps.has(to) || nested(from, to) || self.rules.names_files() {
                continue;
            }
            let look = |path| self.place.stat(path).map_err(Error::io("look at", path.as_path()));
            let (Some(is), None) = (look(to)?, look(from)?) else { continue };
            let excluded = self.excludes(to, &is);
            if Stamp::of(&is).ino == was.ino && Stamp::of(&is).is_dir() == was.is_dir() && !excluded {
                // A rename inside another one, or out of it, is told by the paths alone.
                if !taken.iter().any(|other: &RelPath| nested(other, from) || nested(other, to)) {
                    taken.extend([from.clone(), to.clone()]);
                    renames.push((candidate.clone(), from.clone()));
                }
            }
        }
        Ok(renames)
    }

    /// Whether the rules keep out a path that is not recorded, or a directory above it.
    fn excludes(&self, path: &RelPath, stat: &rustix::fs::Stat) -> bool {
        if self.stamps.has(path) {
            return false;
        }
        let mut above = path.parent();
        while let Some(dir) = above {
            if !self.stamps.has(&dir) && self.rules.excludes_name(&dir, true).is_some() {
                return true;
            }
            above = dir.parent();
        }
        self.rules.excludes(path, stat).is_some()
    }

    fn plan(
        &mut self,
        candidates: Vec<Candidate>,
        renames: Vec<(Candidate, RelPath)>,
        earlier: &mut Vec<Arc<Captured>>,
        outcome: &mut Outcome,
    ) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::with_capacity(candidates.len());
        for (to, from) in renames {
            let what = What::Rename { from };
            steps.push(Step { path: to.path, what, how: How::default() });
        }
        let (mut removals, mut saves) = (BTreeSet::new(), BTreeMap::new());
        for candidate in candidates {
            let Candidate { path, force, sampled, modified, patient, mut captured, .. } = candidate;
            let stat = match self.place.stat(&path) {
                Ok(stat) => stat,
                Err(error) => {
                    outcome.flushed.unread.push((path, error.to_string()));
                    continue;
                }
            };
            let Some(stat) = stat.filter(|stat| kind_of(stat).is_some()) else {
                earlier.extend(captured);
                if self.stamps.has(&path) && !path.is_root() {
                    let below = self.stamps.below(&path).map(|(path, _)| path.clone());
                    for gone in below.chain([path.clone()]) {
                        removals.insert(gone);
                    }
                }
                continue;
            };
            let is_dir = kind_of(&stat) == Some(NodeType::Dir);
            if is_dir && self.rules.names_files() || self.excludes(&path, &stat) {
                continue;
            }
            let stamp = Stamp::of(&stat);
            if stat.st_nlink > 1 && !is_dir && self.stamps.get(&path) != Some(stamp) {
                let alias = |(other, known): &(&RelPath, Option<Stamp>)| {
                    **other != path && known.is_some_and(|known| known.ino == stamp.ino && known != stamp)
                };
                for (other, _) in self.stamps.iter().filter(alias) {
                    saves.entry(other.clone()).or_insert_with(How::default);
                }
            }
            if force && captured.as_ref().is_some_and(|captured| !captured.still_stands(stamp)) {
                earlier.extend(captured.take());
            }
            let known = self.stamps.get(&path) == Some(stamp) && captured.is_none();
            outcome.overtaken += usize::from(known && modified);
            if force || !known {
                saves.insert(path, How { sampled, patient, captured });
            }
        }
        self.add_parents(&steps, &mut saves);
        let removal = |path| Step { path, what: What::Remove, how: How::default() };
        steps.extend(removals.into_iter().rev().map(removal));
        let save = |(path, how)| Step { path, what: What::Save, how };
        // A rename needs its new directory before it.
        let (mut first, rest): (Vec<Step>, Vec<Step>) = saves.into_iter().map(save).partition(|save| {
            steps
                .iter()
                .take_while(|s| matches!(s.what, What::Rename { .. }))
                .any(|s| is_above(&save.path, &s.path))
        });
        first.extend(steps);
        first.extend(rest);
        first
    }

    /// Nothing is recorded before the directories it lies in.
    fn add_parents(&self, renames: &[Step], saves: &mut BTreeMap<RelPath, How>) {
        let mut missing = BTreeSet::new();
        for path in saves.keys().chain(renames.iter().map(|step| &step.path)) {
            let mut above = path.parent();
            while let Some(dir) = above {
                if self.stamps.has(&dir) || saves.contains_key(&dir) || !missing.insert(dir.clone()) {
                    break;
                }
                above = dir.parent();
            }
        }
        saves.extend(missing.into_iter().map(|dir| (dir, How::default())));
    }

    /// Commits steps together; a long file that changes while it is written down is left out, and they are tried again.
    fn group(
        &mut self,
        writer: &StoreWriter,
        now: UnixMillis,
        earlier: &[Arc<Captured>],
        mut steps: Vec<Step>,
    ) -> Result<Outcome> {
        let mut left_out = Outcome::default();
        loop {
            if steps.is_empty() && earlier.is_empty() {
                return Ok(left_out);
            }
            let mut culprit = None;
            match self.try_group(writer, now, earlier, &steps, &mut culprit) {
                Ok(done) => {
                    self.follow(done.stamps);
                    done.doubted.iter().for_each(|dir| self.stamps.remove(dir));
                    let mut outcome = done.outcome;
                    self.undo(&done.not_renamed);
                    outcome.rescan.extend(done.not_renamed.into_iter().flat_map(|(from, to)| [from, to]));
                    outcome.flushed.append(left_out.flushed);
                    outcome.unstable.append(&mut left_out.unstable);
                    return Ok(outcome);
                }
                Err(error) => match culprit {
                    Some((path, None)) => {
                        steps.retain(|step| step.path != path);
                        left_out.unstable.push(path);
                    }
                    Some((path, Some(why))) => {
                        steps.retain(|step| step.path != path);
                        left_out.flushed.unread.push((path, why));
                    }
                    None => return Err(error.into()),
                },
            }
        }
    }

    /// Whether a path held something and was emptied so lately that it may be about to be written.
    pub(crate) fn was_just_emptied(&self, path: &RelPath, now: Stamp) -> bool {
        let held_something = self.stamps.get(path).is_some_and(|known| known.size > 0);
        now.size == 0 && held_something && now_nanos() - now.mtime < EMPTIED_NANOS
    }

    fn follow(&mut self, stamps: Vec<(RelPath, Option<Stamp>)>) {
        for (path, stamp) in stamps {
            match stamp {
                None => self.stamps.remove(&path),
                Some(stamp) => {
                    if !stamp.is_dir() {
                        let gone: Vec<RelPath> =
                            self.stamps.below(&path).map(|(path, _)| path.clone()).collect();
                        gone.iter().for_each(|path| self.stamps.remove(path));
                    }
                    self.stamps.put(path, Some(stamp));
                }
            }
        }
    }

    fn try_group(
        &self,
        writer: &StoreWriter,
        now: UnixMillis,
        earlier: &[Arc<Captured>],
        steps: &[Step],
        culprit: &mut Option<(RelPath, Option<String>)>,
    ) -> tickfs_store::Result<Done> {
        let saves: Vec<&Step> = steps.iter().filter(|step| !matches!(step.what, What::Remove)).collect();
        let manner = |step: &Step| Manner { max_size: self.max_size, sampled: step.how.sampled };
        let read = |step: &&Step| match (&step.what, &step.how.captured) {
            (_, Some(captured)) => Reading::Loaded(captured.loaded_with_mode_of(&self.place)),
            // Only how it looks now is asked; its content is what it was.
            (What::Rename { .. }, None) => {
                read::read(&self.place, &step.path, Manner { max_size: 0, sampled: true })
            }
            _ => read::read(&self.place, &step.path, manner(step)),
        };
        let weight = |reading: &Reading| match reading {
            Reading::Loaded(Loaded { body: Body::Bytes(bytes), .. }) => bytes.capacity() + 256,
            _ => 256,
        };
        ahead::in_order(self.threads, &saves, read, weight, |readings| {
            writer.mutate_alone(now, |mutation| {
                if !rustix::process::geteuid().is_root() {
                    mutation.disregard_owners();
                }
                let before = mutation.cursor().map(|cursor| cursor.branch);
                let mut group = Group { ledger: self, done: Done::new(), mutation };
                for version in earlier {
                    group.mutation.begin_burst();
                    group.earlier(version)?;
                }
                group.mutation.begin_burst();
                for step in steps {
                    group.mutation.set_who(None);
                    match &step.what {
                        What::Remove => group.remove(&step.path)?,
                        What::Rename { from } => {
                            let reading = readings.next().expect("each step but removals is read once");
                            group.rename(from, &step.path, reading)?;
                        }
                        What::Save => {
                            let reading = readings.next().expect("each step but removals is read once");
                            group.save(step, reading, culprit)?;
                        }
                    }
                }
                let Group { mut done, mutation, .. } = group;
                let after = mutation.cursor().map(|cursor| cursor.branch);
                if before != after {
                    let forked = after.and_then(|no| mutation.branches().get(no));
                    done.outcome.flushed.forks.extend(forked.map(|branch| branch.label.clone()));
                }
                Ok(done)
            })
        })
    }
}

fn is_above(dir: &RelPath, path: &RelPath) -> bool {
    dir != path && path.starts_with(dir)
}
