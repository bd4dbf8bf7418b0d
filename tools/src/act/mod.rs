//! Requests that change something, as values: the same code answers them in the serving process and in the command.
//!
//! The order is always the same: an interrupted move is finished or undone, the arguments are resolved, what is unsaved is
//! recorded, and only then something moves.

mod here;
mod import;
mod moves;
mod names;
mod report;
mod run;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tickfs_store::history::{Moment, Point, PointName, View};
use tickfs_store::path::RelPath;
use tickfs_store::{Scope, StoreWriter};
use tickfs_tracer::files::restore::{self, Step};
use tickfs_tracer::files::{Flushed, Held, Recorder, record_now};

pub(crate) use here::here;
pub(crate) use report::{Planned, Report};
pub(crate) use run::keep_run;

use crate::now;

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub(crate) enum Act {
    /// The whole root, or one path of it.
    Revert {
        at: String,
        path: Option<RelPath>,
        how: How,
    },
    Restore {
        path: RelPath,
        at: String,
        how: How,
    },
    Undo {
        how: How,
    },
    Jump {
        branch: String,
        path: Option<RelPath>,
        how: How,
    },
    CreateBranch {
        name: String,
        at: Option<String>,
        description: Option<String>,
    },
    RenameBranch {
        old: String,
        new: String,
    },
    CreateSnapshot {
        name: String,
        at: Option<String>,
    },
    RenameSnapshot {
        old: String,
        new: String,
    },
    RemoveSnapshot {
        name: String,
    },
    ImportSnapshot {
        name: String,
        dir: PathBuf,
    },
}

/// How the root is written to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct How {
    /// Put back the old times of files too.
    pub(crate) mtimes: bool,
    /// Only say what would be done.
    pub(crate) dry_run: bool,
}

/// Where it happens.
pub(crate) struct Place<'a> {
    pub(crate) writer: &'a StoreWriter,
    pub(crate) scope: &'a Scope,
    /// `None`: nobody records here.
    pub(crate) recorder: Option<&'a Recorder>,
    /// How many steps are done, of how many.
    pub(crate) progress: &'a dyn Fn(usize, usize),
}

/// What was unsaved is recorded, and nothing more is until this is dropped.
#[derive(Default)]
struct Hold {
    flushed: Flushed,
    held: Option<Held>,
}

pub(crate) fn perform(act: &Act, place: &Place<'_>) -> anyhow::Result<Report> {
    let interrupted = recover(place)?;
    let mut report = match act {
        Act::Revert { at, path, how } => moves::revert(place, at, path.as_ref(), *how),
        Act::Restore { path, at, how } => moves::restore(place, path, at, *how),
        Act::Undo { how } => moves::undo(place, *how),
        Act::Jump { branch, path, how } => moves::jump(place, branch, path.as_ref(), *how),
        Act::CreateBranch { name, at, description } => {
            names::create_branch(place, name, at.as_deref(), description.clone())
        }
        Act::RenameBranch { old, new } => names::rename_branch(place, old, new),
        Act::CreateSnapshot { name, at } => names::create_snapshot(place, name, at.as_deref()),
        Act::RenameSnapshot { old, new } => names::rename_snapshot(place, old, new),
        Act::RemoveSnapshot { name } => names::remove_snapshot(place, name),
        Act::ImportSnapshot { name, dir } => import::import(place, name, dir),
    }?;
    report.notes.splice(0..0, interrupted);
    Ok(report)
}

/// Finishes or undoes what a kill interrupted; says what was done.
fn recover(place: &Place<'_>) -> anyhow::Result<Option<String>> {
    let recovered = restore::recover(ground(place, Step(place.progress)))?;
    Ok(recovered.map(|recovered| recovered.to_string()))
}

/// Records what is unsaved.
fn hold(place: &Place<'_>) -> anyhow::Result<Hold> {
    match place.recorder {
        Some(recorder) => {
            let held = recorder.hold()?;
            let mut flushed = held.flushed().clone();
            if place.scope.files.is_some() {
                // It may record some of the store's files alone.
                let others = record_now(place.writer, place.scope, &now::now)?;
                flushed.ticks.extend(others.ticks);
                flushed.forks.extend(others.forks);
                flushed.unread.extend(others.unread);
            }
            Ok(Hold { flushed, held: Some(held) })
        }
        None => Ok(Hold { flushed: record_now(place.writer, place.scope, &now::now)?, held: None }),
    }
}

fn ground<'a>(place: &Place<'a>, step: Step<'a>) -> restore::Place<'a> {
    restore::Place { writer: place.writer, root: &place.scope.root, now: now::now(), step }
}

fn point(view: &View, text: &str) -> anyhow::Result<Point> {
    Ok(view.point(&PointName::parse(text)?, &Moment::here(now::now()))?)
}

fn label(view: &View, at: Point) -> String {
    view.branches().get(at.branch).map_or_else(|| at.branch.to_string(), |branch| branch.label.clone())
}
