//! Puts paths of the root from one version to another: removals from below, then what comes from above.
//!
//! Invariants:
//!   * A file is replaced in one step: there is the old one or the new one, never none and never half of one.
//!   * What stands there and is neither version is not touched, also where it comes at the last moment: the old file is
//!     exchanged for the new one, looked at, and put back if it is not the one that was expected.
//!   * What goes is moved aside, and deleted when all is done.

use std::collections::BTreeSet;

use rustix::fs::{Access, AtFlags, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use tickfs_store::history::Change;
use tickfs_store::journal::entry::NodeType;
use tickfs_store::path::RelPath;
use tickfs_store::{Store, Version};

use super::error::{Error, Result, io_at};
use super::ground::{Ground, Spot};
use super::likeness::{is_like, kind_of};
use super::plan::is_dir;
use super::stage;

/// From so many files on, one sync of the whole filesystem is cheaper than one of each.
const SYNC_EACH: usize = 16;

/// What to do about a path that is as neither side of the move has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strangers {
    /// It was recorded a moment ago, so that somebody writes right now: an error.
    Refuse,
    /// It was written after a kill: it is the user's, and stays.
    Leave,
}

#[derive(Debug)]
pub(super) struct Mover<'a> {
    pub(super) store: &'a Store,
    pub(super) ground: &'a Ground,
    pub(super) staging: RelPath,
    pub(super) mtimes: bool,
    pub(super) strangers: Strangers,
    pub(super) step: Step<'a>,
}

/// Called before each change of the disk: with how many are done, of how many.
#[derive(Clone, Copy)]
pub struct Step<'a>(pub &'a dyn Fn(usize, usize));

impl std::fmt::Debug for Step<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Step")
    }
}

/// What was changed on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Applied {
    /// Directories that could not go, because something that is not recorded lies in them.
    pub(super) kept: Vec<RelPath>,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// A change that is still to be made. Its number names its place in the staging directory.
#[derive(Clone, Copy)]
struct Task<'c> {
    number: usize,
    change: &'c Change,
    /// What was found there.
    stat: Option<Stat>,
}

impl Mover<'_> {
    pub(super) fn run(&self, changes: &[Change]) -> Result<Applied> {
        let tasks = self.tasks(changes)?;
        if self.strangers == Strangers::Refuse {
            self.refuse_obstacles(changes, &tasks)?;
        }
        self.check_rights(&tasks)?;
        let mut applied = Applied::default();
        if tasks.is_empty() {
            return Ok(applied);
        }
        let total = 3 * tasks.len();
        self.make_staging_directory()?;
        for (done, task) in tasks.iter().enumerate() {
            (self.step.0)(done, total);
            self.stage(task, tasks.len() <= SYNC_EACH)?;
        }
        if tasks.len() > SYNC_EACH {
            self.ground.sync_all()?;
        }
        self.open_directories(&tasks)?;
        for (done, task) in tasks.iter().rev().enumerate() {
            (self.step.0)(tasks.len() + done, total);
            self.remove(task, &mut applied)?;
        }
        for (done, task) in tasks.iter().enumerate() {
            (self.step.0)(2 * tasks.len() + done, total);
            self.bring(task, &mut applied)?;
        }
        self.finish_directories(&tasks)?;
        self.make_names_durable(&tasks)?;
        Ok(applied)
    }

    /// What is not yet as it shall be.
    fn tasks<'c>(&self, changes: &'c [Change]) -> Result<Vec<Task<'c>>> {
        let mut tasks = Vec::new();
        for (number, change) in changes.iter().enumerate() {
            let spot = self.ground.spot(&change.path)?;
            let like = |wanted: &Option<Version>| is_like(self.store, spot.as_ref(), wanted.as_ref());
            let stat = spot.as_ref().map(Spot::stat).transpose()?.flatten();
            if like(&change.after)? {
                continue;
            }
            match like(&change.before)? || self.is_on_the_way(change, stat.as_ref()) {
                true => tasks.push(Task { number, change, stat }),
                false if self.strangers == Strangers::Leave => {}
                false if change.before.is_none() => {
                    return Err(Error::InTheWay { path: change.path.clone() });
                }
                false => return Err(Error::ChangedMeanwhile { path: change.path.clone() }),
            }
        }
        Ok(tasks)
    }

    /// Whether what lies there can be what an interrupted move left: a directory whose mode is not settled, or nothing at
    /// all where a file and a directory trade places. Neither costs anybody anything: no content is touched.
    fn is_on_the_way(&self, change: &Change, stat: Option<&Stat>) -> bool {
        let dir_was = change.before.as_ref().is_some_and(is_dir);
        let dir_shall_be = change.after.as_ref().is_some_and(is_dir);
        match stat.map(kind_of) {
            Some(Some(NodeType::Dir)) => dir_shall_be || (dir_was && self.strangers == Strangers::Leave),
            Some(_) => false,
            None => self.strangers == Strangers::Leave && trades_places(change),
        }
    }

    /// A directory can become a file only if all that is in it goes.
    fn refuse_obstacles(&self, changes: &[Change], tasks: &[Task<'_>]) -> Result<()> {
        let known: BTreeSet<&RelPath> = changes.iter().map(|change| &change.path).collect();
        for Task { change, .. } in tasks {
            let becomes_a_file = change.before.as_ref().is_some_and(is_dir)
                && change.after.as_ref().is_some_and(|after| !is_dir(after));
            let mut below = if becomes_a_file { vec![change.path.clone()] } else { Vec::new() };
            while let Some(dir) = below.pop() {
                if !known.contains(&dir) {
                    return Err(Error::InTheWay { path: dir });
                }
                let Some(spot) = self.ground.spot(&dir)? else { continue };
                if spot.stat()?.as_ref().and_then(kind_of) != Some(NodeType::Dir) {
                    continue;
                }
                for name in spot.list()? {
                    below.push(dir.join(&name).map_err(|e| tickfs_store::Error::refused(e.to_string()))?);
                }
            }
        }
        Ok(())
    }

    fn check_rights(&self, tasks: &[Task<'_>]) -> Result<()> {
        let mut asked = BTreeSet::new();
        for Task { change, .. } in tasks {
            if !asked.insert(change.path.parent()) {
                continue;
            }
            if let Some(spot) = self.ground.spot(&change.path)? {
                let may = Access::WRITE_OK | Access::EXEC_OK;
                rustix::fs::accessat(&spot.dir, c".", may, AtFlags::EACCESS)
                    .map_err(io_at("write beside", &spot.full))?;
            }
        }
        Ok(())
    }

    fn make_staging_directory(&self) -> Result<()> {
        let Some(spot) = self.ground.spot(&self.staging)? else { return Ok(()) };
        match spot.make_dir(0o700) {
            Err(Errno::EXIST) => Ok(()),
            made => made.map_err(io_at("make", &spot.full)),
        }
    }

    fn staged(&self, number: usize) -> Result<Spot> {
        let name = number.to_string();
        let path =
            self.staging.join(name.as_bytes()).map_err(|e| tickfs_store::Error::refused(e.to_string()))?;
        let gone = || io_at("find", &self.ground.full(&self.staging))(Errno::NOENT);
        self.ground.spot(&path)?.ok_or_else(gone)
    }

    fn stage(&self, task: &Task<'_>, sync: bool) -> Result<()> {
        let Some(after) = task.change.after.as_ref().filter(|after| !is_dir(after)) else { return Ok(()) };
        let at = self.staged(task.number)?;
        if at.stat()?.is_some() && !is_like(self.store, Some(&at), Some(after))? {
            at.unlink().map_err(io_at("remove", &at.full))?;
        }
        if at.stat()?.is_none() {
            let replaced = self.ground.spot(&task.change.path)?;
            stage::stage(self.store, &task.change.path, after, replaced.as_ref(), &at, self.mtimes)?;
        }
        match sync && after.kind == NodeType::File {
            true => {
                at.open(OFlags::RDONLY).and_then(rustix::fs::fsync).map_err(io_at("make durable", &at.full))
            }
            false => Ok(()),
        }
    }

    /// A directory that is about to become writable is so before what is in it changes.
    fn open_directories(&self, tasks: &[Task<'_>]) -> Result<()> {
        for Task { change, stat, .. } in tasks {
            let (Some(after), Some(stat)) = (&change.after, stat) else { continue };
            if is_dir(after) && kind_of(stat) == Some(after.kind) {
                self.set_mode(
                    &change.path,
                    &Version { mode: stat.st_mode | after.mode & 0o700, ..after.clone() },
                )?;
            }
        }
        Ok(())
    }

    fn set_mode(&self, path: &RelPath, dir: &Version) -> Result<()> {
        let Some(spot) = self.ground.spot(path)? else { return Ok(()) };
        let fd = spot.open(OFlags::RDONLY | OFlags::DIRECTORY).map_err(io_at("open", &spot.full))?;
        stage::set_owner_and_mode(&fd, dir, &spot)
    }

    /// Takes away what is no more, and what becomes something else.
    fn remove(&self, task: &Task<'_>, applied: &mut Applied) -> Result<()> {
        let Change { path, before: Some(before), after } = task.change else { return Ok(()) };
        let stays = |after: &Version| is_dir(after) == is_dir(before);
        if after.as_ref().is_some_and(stays) {
            return Ok(());
        }
        let Some(spot) = self.ground.spot(path)? else { return Ok(()) };
        if is_dir(before) {
            return match spot.remove_dir() {
                Err(Errno::NOENT) => Ok(()),
                Err(Errno::NOTEMPTY | Errno::EXIST) if after.is_none() => {
                    applied.kept.push(path.clone());
                    Ok(())
                }
                removed => removed.map_err(io_at("remove", &spot.full)),
            };
        }
        let aside = self.staged(task.number)?;
        if aside.stat()?.is_some() {
            aside.unlink().map_err(io_at("remove", &aside.full))?;
        }
        match spot.rename(&aside, RenameFlags::empty()) {
            Err(Errno::NOENT) => {}
            moved => moved.map_err(io_at("remove", &spot.full))?,
        }
        if !is_same_file(task.stat.as_ref(), aside.stat()?.as_ref()) {
            aside.rename_if_free(&spot).map_err(io_at("put back", &spot.full))?;
            return self.stranger(path);
        }
        applied.files += 1;
        applied.bytes += before.size;
        Ok(())
    }

    /// Makes what is new, and replaces what changes.
    fn bring(&self, task: &Task<'_>, applied: &mut Applied) -> Result<()> {
        let Change { path, before, after: Some(after) } = task.change else { return Ok(()) };
        let Some(spot) = self.ground.spot(path)? else {
            return match self.strangers {
                Strangers::Leave => Ok(()),
                Strangers::Refuse => Err(Error::ChangedMeanwhile { path: path.clone() }),
            };
        };
        if is_dir(after) {
            return match spot.make_dir(after.mode | 0o700) {
                Err(Errno::EXIST) => Ok(()),
                made => made.map_err(io_at("make", &spot.full)),
            };
        }
        let staged = self.staged(task.number)?;
        let replaces = before.as_ref().is_some_and(|before| !is_dir(before));
        let brought = match replaces {
            true => self.exchange(&staged, &spot, task)?,
            false => match staged.rename_if_free(&spot) {
                Err(Errno::EXIST) => false,
                moved => moved.map(|()| true).map_err(io_at("make", &spot.full))?,
            },
        };
        if !brought {
            return self.stranger(path);
        }
        applied.files += 1;
        applied.bytes += after.size;
        Ok(())
    }

    /// `false`: what stood there was not what had been looked at, and stands there again.
    fn exchange(&self, staged: &Spot, spot: &Spot, task: &Task<'_>) -> Result<bool> {
        let exchange = || staged.rename(spot, RenameFlags::EXCHANGE);
        match exchange() {
            Ok(()) if is_same_file(task.stat.as_ref(), staged.stat()?.as_ref()) => Ok(true),
            Ok(()) => exchange().map(|()| false).map_err(io_at("put back", &spot.full)),
            Err(Errno::NOENT) => Ok(false),
            // The filesystem cannot exchange: the old file goes in the same step in which the new one comes.
            Err(Errno::INVAL | Errno::NOSYS) if is_same_file(task.stat.as_ref(), spot.stat()?.as_ref()) => {
                staged.rename(spot, RenameFlags::empty()).map(|()| true).map_err(io_at("replace", &spot.full))
            }
            Err(Errno::INVAL | Errno::NOSYS) => Ok(false),
            Err(errno) => Err(io_at("replace", &spot.full)(errno)),
        }
    }

    fn stranger(&self, path: &RelPath) -> Result<()> {
        match self.strangers {
            Strangers::Leave => Ok(()),
            Strangers::Refuse => Err(Error::ChangedMeanwhile { path: path.clone() }),
        }
    }

    /// The modes that directories shall have, once nothing is written in them any more.
    fn finish_directories(&self, tasks: &[Task<'_>]) -> Result<()> {
        for Task { change, .. } in tasks.iter().rev() {
            if let Some(after) = change.after.as_ref().filter(|after| is_dir(after)) {
                self.set_mode(&change.path, after)?;
            }
        }
        Ok(())
    }

    fn make_names_durable(&self, tasks: &[Task<'_>]) -> Result<()> {
        if tasks.len() > SYNC_EACH {
            return self.ground.sync_all();
        }
        let mut synced = BTreeSet::new();
        for Task { change, .. } in tasks {
            if synced.insert(change.path.parent())
                && let Some(spot) = self.ground.spot(&change.path)?
            {
                spot.sync_dir()?;
            }
        }
        Ok(())
    }

    /// Deletes the staging directory with the files that went.
    pub(super) fn clear(&self) -> Result<()> {
        let Some(dir) = self.ground.spot(&self.staging)? else { return Ok(()) };
        if dir.stat()?.is_none() {
            return Ok(());
        }
        for name in dir.list()? {
            let path = self.staging.join(&name).map_err(|e| tickfs_store::Error::refused(e.to_string()))?;
            if let Some(spot) = self.ground.spot(&path)? {
                spot.unlink().map_err(io_at("remove", &spot.full))?;
            }
        }
        dir.remove_dir().map_err(io_at("remove", &dir.full))
    }
}

/// A file becomes a directory, or the other way round: in between there is nothing.
pub(super) fn trades_places(change: &Change) -> bool {
    change
        .before
        .as_ref()
        .zip(change.after.as_ref())
        .is_some_and(|(before, after)| is_dir(before) != is_dir(after))
}

/// A rename changes neither.
fn is_same_file(expected: Option<&Stat>, found: Option<&Stat>) -> bool {
    let marks = |stat: &Stat| (stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    expected.map(marks) == found.map(marks)
}
