//! Going back and forth: revert, restore, undo, jump.

use tickfs_store::history::{Point, Stand, View};
use tickfs_store::ids::Tick;
use tickfs_store::path::RelPath;
use tickfs_tracer::files::restore::{Commit, Plan, Step, destination, move_root};

use super::{Hold, How, Place, Planned, Report, ground, hold, label, point};
use crate::error::Failure;
use crate::output::{bytes, counted};

pub(super) fn revert(
    place: &Place<'_>,
    at: &str,
    path: Option<&RelPath>,
    how: How,
) -> anyhow::Result<Report> {
    let at = point(&place.writer.store().view()?, at)?;
    let path_alone = path.filter(|path| !is_all(place, path));
    let whole = path_alone.is_none();
    let moving = Moving { place, how, commit: Commit::Move("revert".to_owned()), whole };
    moving.run(at, |view, from| match path_alone {
        Some(path) => {
            let what = format!("{path} was put back to {}@{}", label(view, at), at.tick);
            Ok((destination::one_path(view, from, path, at)?, what))
        }
        None => {
            require_known(view, path)?;
            Ok((destination::whole(at), format!("reverted to {}@{}", label(view, at), at.tick)))
        }
    })
}

pub(super) fn restore(place: &Place<'_>, path: &RelPath, at: &str, how: How) -> anyhow::Result<Report> {
    let at = point(&place.writer.store().view()?, at)?;
    let moving = Moving { place, how, commit: Commit::Forward, whole: false };
    moving.run(at, |view, from| {
        if view.tree(at)?.resolve(path)?.is_none() {
            let what = format!("{path} did not exist at {}@{}", label(view, at), at.tick);
            return Err(Failure::new(what).next("`tickfs log PATH` names the ticks of a path").into());
        }
        let what = format!("{path} was restored from {}@{}", label(view, at), at.tick);
        Ok((destination::one_path(view, from, path, at)?, what))
    })
}

pub(super) fn undo(place: &Place<'_>, how: How) -> anyhow::Result<Report> {
    let view = place.writer.store().view()?;
    let (to, moved) = destination::before_the_last(&view)?;
    let at = Point { branch: to.branch, tick: to.tick };
    let moving = Moving { place, how, commit: Commit::Move("undo".to_owned()), whole: true };
    moving.run(at, |view, _| {
        let to = to.clone();
        let what = match moved.as_str() {
            "undo" => format!("the undo was undone: back at {}@{}", label(view, at), at.tick),
            "fork" => format!("back before the last move: at {}@{}", label(view, at), at.tick),
            moved => format!("the {moved} was undone: back at {}@{}", label(view, at), at.tick),
        };
        Ok((to, what))
    })
}

pub(super) fn jump(
    place: &Place<'_>,
    branch: &str,
    path: Option<&RelPath>,
    how: How,
) -> anyhow::Result<Report> {
    let view = place.writer.store().view()?;
    let at = view.head(view.branches().by_label(branch)?.no);
    if let Some(path) = path.filter(|path| !is_all(place, path)) {
        return Err(Failure::new(format!("a jump moves all that is recorded, and {path} is not all of it"))
            .next(format!(
                "`tickfs restore {path} --at {branch}@HEAD` puts that file alone to the branch's head"
            ))
            .into());
    }
    let moving = Moving { place, how, commit: Commit::Move("jump".to_owned()), whole: true };
    moving.run(at, |view, _| {
        let what = format!("jumped to {}@{}", label(view, at), at.tick);
        Ok((destination::whole(at), what))
    })
}

/// Whether a file is all that the store records.
fn is_all(place: &Place<'_>, path: &RelPath) -> bool {
    place.scope.files.as_deref().is_some_and(|files| files == [path.clone()])
}

fn require_known(view: &View, path: Option<&RelPath>) -> anyhow::Result<()> {
    match path {
        Some(path) if view.versions_of(path)?.is_empty() => {
            Err(Failure::new(format!("{path} is not recorded here, and never was")).into())
        }
        _ => Ok(()),
    }
}

struct Moving<'a, 'p> {
    place: &'a Place<'p>,
    how: How,
    commit: Commit,
    /// All of the root moves.
    whole: bool,
}

impl Moving<'_, '_> {
    /// `whither` is asked once what is unsaved is recorded, and says where to and how to call it.
    fn run(
        self,
        at: Point,
        whither: impl Fn(&View, &Stand) -> anyhow::Result<(Stand, String)>,
    ) -> anyhow::Result<Report> {
        let Self { place, how, commit, whole } = self;
        // Also where nothing is to be done: what is said then is true of what is on disk, and not of what was recorded last.
        let mut held = hold(place)?;
        let store = place.writer.store();
        let mut view = store.view()?;
        let mut from = view.stand()?;
        let (mut to, mut what) = whither(&view, &from)?;
        if look_again(&view, &from, &to, &mut held)? {
            view = store.view()?;
            from = view.stand()?;
            (to, what) = whither(&view, &from)?;
        }
        let mut notes = Vec::from_iter(if whole { middle_of_a_burst(&view, at)? } else { None });
        if how.dry_run {
            let plan = Plan::new(&view, &from, &to)?;
            let planned: Vec<Planned> = plan.changes.iter().map(Planned::of).collect();
            let said = format!("would change {}; nothing was done", counted(planned.len() as u64, "path"));
            let report = Report::of(&view, &held, said)?;
            return Ok(Report { planned: Some(planned), left: plan.left, notes, ..report });
        }
        let forward = commit == Commit::Forward;
        let moved = move_root(ground(place, Step(place.progress)), &to, commit, how.mtimes)?;
        let view = store.view()?;
        let said = match moved.files {
            0 => format!("{what}; no file had to change (0 bytes)"),
            files => format!("{what}; {} changed, {}", counted(files, "file"), bytes(moved.bytes)),
        };
        let report = Report::of(&view, &held, said)?;
        notes.extend(report.notes.iter().cloned());
        if report.branch != label(&view, Point { branch: from.branch, tick: from.tick }) && forward {
            notes
                .push(format!("that began the branch {}, because the root stood in the past", report.branch));
        }
        if !report.attached {
            notes.push("the next change begins a branch; `tickfs undo` goes back".to_owned());
        }
        Ok(Report { files: moved.files, bytes: moved.bytes, left: moved.left, notes, ..report })
    }
}

/// What no event told of the paths that are about to be overwritten is recorded too. `true`: there was something.
fn look_again(view: &View, from: &Stand, to: &Stand, held: &mut Hold) -> anyhow::Result<bool> {
    let Some(recorder) = &held.held else { return Ok(false) };
    let paths: Vec<RelPath> =
        Plan::new(view, from, to)?.changes.into_iter().map(|change| change.path).collect();
    let looked = recorder.look_at(&paths)?;
    let found = !looked.ticks.is_empty();
    held.flushed.ticks.extend(looked.ticks);
    held.flushed.forks.extend(looked.forks);
    Ok(found)
}

/// A checkout that is half done is seldom what somebody wants.
fn middle_of_a_burst(view: &View, at: Point) -> anyhow::Result<Option<String>> {
    if at.tick == Tick::BASE {
        return Ok(None);
    }
    let (first, last) = view.burst_of(at.tick)?;
    let of = |tick| view.branches().at_or_before(at.branch, tick);
    let (before, end) = (of(Tick(first.0.saturating_sub(1))), of(last));
    let branch = label(view, at);
    Ok((end > at.tick).then(|| {
        format!(
            "tick {} is in the middle of changes that were made at once ({first} to {last}): --at {branch}@{end} is their end, \
             --at {branch}@{before} what was before them",
            at.tick
        )
    }))
}
