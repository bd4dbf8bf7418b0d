//! Puts the root, or some paths of it, to a point in history.
//!
//! The root must be as the store says it is: the caller has recorded what was unsaved, and keeps the recorder from
//! recording meanwhile. A move is done whole or not at all:
//!   1. the intent is written to the store, and is durable;
//!   2. all versions are made ready in a staging directory in the root: whatever is damaged, or has no room, shows here;
//!   3. files are put in place, one rename each;
//!   4. the store is told: the cursor moves, or old versions are recorded as changes;
//!   5. the staging directory and the intent go.
//!
//! After a kill [`recover`] finishes the move if a file has been put in place already, else it forgets it; what it cannot
//! finish it takes back. What has been changed on disk since the kill stays as it is.

mod apply;
pub mod destination;
mod error;
mod ground;
mod intent;
mod likeness;
mod plan;
mod stage;

use std::path::Path;

use tickfs_store::history::{Change, PartialPath, Stand, View};
use tickfs_store::ids::{UnixMillis, UnixNanos};
use tickfs_store::journal::entry::ItemType;
use tickfs_store::path::RelPath;
use tickfs_store::{Store, StoreWriter};

use apply::{Applied, Mover, Strangers};
use ground::Ground;
use intent::Intent;

pub use apply::Step;
pub use error::{Error, Result};
pub use intent::Commit;
pub use plan::Plan;

/// Directories in the root whose names begin so are ours, for as long as a move takes: they are not recorded.
pub const STAGING_PREFIX: &str = ".tickfs-restore-";

/// Where a move happens.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub writer: &'a StoreWriter,
    pub root: &'a Path,
    pub now: UnixMillis,
    /// Called before each change of the disk.
    pub step: Step<'a>,
}

/// What a move did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moved {
    pub files: u64,
    pub bytes: u64,
    /// What was left as it is: files whose content was not kept, and directories with unrecorded things in them.
    pub left: Vec<RelPath>,
}

/// What was done about a move that was interrupted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovered {
    /// Nothing had been put in place: it is as if it had not been asked for.
    Forgotten,
    Finished {
        to: Stand,
    },
    /// It could not be finished.
    TakenBack {
        why: String,
    },
}

impl std::fmt::Display for Recovered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Forgotten => {
                f.write_str("a move that was interrupted had changed nothing yet, and was given up")
            }
            Self::Finished { to } => {
                write!(f, "a move to tick {} that was interrupted was finished first", to.tick)
            }
            Self::TakenBack { why } => write!(f, "a move that was interrupted was taken back: {why}"),
        }
    }
}

/// Puts the root from where it stands to `to`, and tells the store.
pub fn move_root(place: Place<'_>, to: &Stand, commit: Commit, mtimes: bool) -> Result<Moved> {
    let store = place.writer.store();
    let view = store.view()?;
    let from = view.stand()?;
    let plan = Plan::new(&view, &from, to)?;
    let intent = Intent { seq: place.writer.next_seq(), from, to: to.clone(), commit, mtimes };
    if plan.is_empty() {
        tell(place, &view, &intent, &plan, &Applied::default())?;
        return Ok(Moved { left: plan.left, ..Moved::default() });
    }
    let ground = Ground::open(place.root)?;
    let mover = mover(place, &ground, &intent, Strangers::Refuse)?;
    (place.step.0)(0, 0);
    intent.write(store)?;
    let done = mover.run(&plan.changes).and_then(|applied| {
        (place.step.0)(0, 0);
        tell(place, &view, &intent, &plan, &applied)?;
        Ok(applied)
    });
    match done {
        Ok(applied) => {
            clean(place, &mover)?;
            let mut left = plan.left;
            left.extend(applied.kept);
            Ok(Moved { files: applied.files, bytes: applied.bytes, left })
        }
        Err(why) => match take_back(place, &ground, &intent, &plan) {
            Ok(()) => Err(why),
            Err(undoing) => Err(Error::HalfWay { why: Box::new(why), undoing: Box::new(undoing) }),
        },
    }
}

/// Finishes or undoes what a kill interrupted. Whoever is about to compare the root with the store calls it first.
pub fn recover(place: Place<'_>) -> Result<Option<Recovered>> {
    let store = place.writer.store();
    let Some(intent) = Intent::read(store)? else { return Ok(None) };
    let view = store.view()?;
    let ground = Ground::open(place.root)?;
    let mover = mover(place, &ground, &intent, Strangers::Leave)?;
    if was_told(&view, &intent)? {
        clean(place, &mover)?;
        return Ok(Some(Recovered::Finished { to: intent.to }));
    }
    let plan = Plan::new(&view, &intent.from, &intent.to)?;
    if !has_begun(store, &ground, &plan.changes)? {
        clean(place, &mover)?;
        return Ok(Some(Recovered::Forgotten));
    }
    let finished = mover.run(&plan.changes).and_then(|applied| tell(place, &view, &intent, &plan, &applied));
    match finished {
        Ok(()) => {
            clean(place, &mover)?;
            Ok(Some(Recovered::Finished { to: intent.to }))
        }
        Err(why) => match take_back(place, &ground, &intent, &plan) {
            Ok(()) => Ok(Some(Recovered::TakenBack { why: why.to_string() })),
            Err(undoing) => Err(Error::HalfWay { why: Box::new(why), undoing: Box::new(undoing) }),
        },
    }
}

/// Whether a move was interrupted here, and waits for [`recover`].
pub fn is_half_way(store: &Store) -> Result<bool> {
    Ok(Intent::read(store)?.is_some())
}

fn mover<'a>(
    place: Place<'a>,
    ground: &'a Ground,
    intent: &Intent,
    strangers: Strangers,
) -> Result<Mover<'a>> {
    let staging = RelPath::new(intent.staging()).map_err(|e| tickfs_store::Error::refused(e.to_string()))?;
    let Place { writer, step, .. } = place;
    Ok(Mover { store: writer.store(), ground, staging, mtimes: intent.mtimes, strangers, step })
}

fn take_back(place: Place<'_>, ground: &Ground, intent: &Intent, plan: &Plan) -> Result<()> {
    let mover = mover(place, ground, intent, Strangers::Leave)?;
    mover.run(&plan.reversed())?;
    clean(place, &mover)
}

fn clean(place: Place<'_>, mover: &Mover<'_>) -> Result<()> {
    (place.step.0)(0, 0);
    mover.clear()?;
    (place.step.0)(0, 0);
    Intent::remove(place.writer.store())
}

/// Whether some path is as it shall be, or half-way there, and not as it was before.
fn has_begun(store: &Store, ground: &Ground, changes: &[Change]) -> Result<bool> {
    for change in changes {
        let spot = ground.spot(&change.path)?;
        let like = |wanted| likeness::is_like(store, spot.as_ref(), wanted);
        let is_between = apply::trades_places(change) && like(None)?;
        if is_between || like(change.after.as_ref())? && !like(change.before.as_ref())? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A cursor, or for changes a tick, that was written after the move began is the move's own: nobody else writes then.
fn was_told(view: &View, intent: &Intent) -> Result<bool> {
    match intent.commit {
        Commit::Move(_) => {
            let cursor = view.entity(&ItemType::CURSOR, "root")?;
            Ok(cursor.is_some_and(|cursor| cursor.seq >= intent.seq))
        }
        Commit::Forward => match view.last_tick() {
            tickfs_store::ids::Tick::BASE => Ok(false),
            last => Ok(view.tick(last)?.seq >= intent.seq),
        },
    }
}

fn tell(place: Place<'_>, view: &View, intent: &Intent, plan: &Plan, applied: &Applied) -> Result<()> {
    match &intent.commit {
        Commit::Move(word) => {
            let to = with_what_was_left(view, intent, plan, applied)?;
            let word = word.clone();
            Ok(place.writer.mutate(place.now, move |m| m.move_cursor(to, &word))?)
        }
        Commit::Forward => forward(place, view, intent, plan),
    }
}

/// What was left as it was stands at the point where it stood. At a branch's head it is the next change instead.
fn with_what_was_left(view: &View, intent: &Intent, plan: &Plan, applied: &Applied) -> Result<Stand> {
    let mut to = intent.to.clone();
    if to.partial.is_empty() && to.tick == view.branches().head(to.branch) {
        return Ok(to);
    }
    let from = view.standing(&intent.from)?;
    for path in plan.left.iter().chain(&applied.kept) {
        to.partial.push(PartialPath { path: path.clone(), at: from.point_of(path)? });
    }
    Ok(to)
}

fn forward(place: Place<'_>, view: &View, intent: &Intent, plan: &Plan) -> Result<()> {
    let to = view.standing(&intent.to)?;
    let ground = Ground::open(place.root)?;
    let mut changes = Vec::new();
    for change in &plan.changes {
        let found = ground.spot(&change.path)?.map(|spot| spot.stat()).transpose()?.flatten();
        let mtime = found.map(|stat| {
            let nanos = i64::try_from(stat.st_mtime_nsec).unwrap_or_default();
            UnixNanos(stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(nanos))
        });
        changes.push((change.path.clone(), change.after.is_some(), to.point_of(&change.path)?, mtime));
    }
    let before = intent.from.clone();
    let told = place.writer.mutate(place.now, move |m| {
        for (path, is_there, at, mtime) in changes {
            match is_there {
                true => m.restore(&path, at, mtime)?.tick(),
                false => m.remove(&path)?,
            };
        }
        m.note_move(before, "restore")
    });
    Ok(told?)
}

#[cfg(test)]
mod tests;
