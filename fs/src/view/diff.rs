//! `diff/`: the difference of any two points, found by its name: `17..42.patch`, `main@17..try@50.patch`,
//! `17..42/src/app.py.patch`. Nothing of it is listed.

use tickfs_store::diff::{Diff, Labels};
use tickfs_store::history::{Change, Point, PointName};
use tickfs_store::journal::entry::NodeType;
use tickfs_store::path::RelPath;
use tickfs_store::{Error as StoreError, Version};

use super::{Found, NamedDir, Now, Recipe, View, readme};
use crate::error::{Error, Result};

/// A longer difference is a notice that names the command.
const LONGEST: usize = 8 * 1024 * 1024;
/// Longer contents are not compared here.
const LONGEST_SIDE: u64 = 64 * 1024 * 1024;

/// One side of a difference: the path as it is called there, and what stood there.
pub(super) type Side<'a> = Option<(&'a RelPath, &'a Version)>;

pub(super) fn find(view: &View, now: &Now, name: &[u8]) -> Result<Option<Found>> {
    if name == b"README" {
        return Ok(Some(readme::Of::Diff.found()));
    }
    let Ok(name) = std::str::from_utf8(name) else { return Ok(None) };
    if let Some((from, to)) =
        name.strip_suffix(".patch").and_then(|range| points(view, now, range).transpose()).transpose()?
    {
        return Ok(Some(Found::Text {
            recipe: Recipe::Patch { from, to, path: RelPath::root() },
            lasts: false,
        }));
    }
    let points = points(view, now, name)?;
    Ok(points.map(|(from, to)| Found::Dir(NamedDir::Diff { from, to, path: RelPath::root() })))
}

/// Below `17..42/`: directories in which something differs, and patches of what does.
pub(super) fn find_below(
    view: &View,
    now: &Now,
    (from, to): (Point, Point),
    dir: &RelPath,
    name: &[u8],
) -> Result<Option<Found>> {
    let mut changes = now.history().changed(from, to)?;
    changes.retain(|change| view.shows(&change.path));
    if let Some(path) = name.strip_suffix(b".patch").and_then(|stem| dir.join(stem).ok())
        && changes.iter().any(|change| change.path == path)
    {
        return Ok(Some(Found::Text { recipe: Recipe::Patch { from, to, path }, lasts: false }));
    }
    let Ok(path) = dir.join(name) else { return Ok(None) };
    let below = changes.iter().any(|change| change.path != path && change.path.starts_with(&path));
    Ok(below.then_some(Found::Dir(NamedDir::Diff { from, to, path })))
}

/// `17..42`, `main@17..try@HEAD`: both points, or nothing if there are none like that.
fn points(view: &View, now: &Now, range: &str) -> Result<Option<(Point, Point)>> {
    let Some((from, to)) = range.split_once("..") else { return Ok(None) };
    let moment = view.moment();
    let read = |name: &str| match PointName::parse(name).and_then(|name| now.history().point(&name, &moment))
    {
        Ok(point) => Ok(Some(point)),
        Err(error) => absent(error),
    };
    Ok(read(from)?.zip(read(to)?))
}

/// What a person may type and does not exist is no failure here.
pub(super) fn absent<T>(error: StoreError) -> Result<Option<T>> {
    match error {
        StoreError::NotFound { .. } | StoreError::NotAPoint { .. } => Ok(None),
        other => Err(Error::Store(other)),
    }
}

/// Every difference between two points, or that of one path alone.
pub(super) fn between(view: &View, now: &Now, from: Point, to: Point, path: &RelPath) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    let wanted = |change: &Change| view.shows(&change.path) && (path.is_root() || change.path == *path);
    for change in now.history().changed(from, to)?.iter().filter(|change| wanted(change)) {
        let side = |version: &Option<Version>| version.clone().filter(|v| v.kind != NodeType::Dir);
        let (before, after) = (side(&change.before), side(&change.after));
        let old = before.as_ref().map(|version| (&change.path, version));
        let new = after.as_ref().map(|version| (&change.path, version));
        all.extend(of_path(now, old, new)?);
        if all.len() > LONGEST {
            return Ok(too_long(&format!("tickfs diff {} {}", from.tick, to.tick)));
        }
    }
    Ok(all)
}

/// What `patch -p1` takes to make one version of a path from the other.
pub(super) fn of_path(now: &Now, old: Side<'_>, new: Side<'_>) -> Result<Vec<u8>> {
    let name = |letter: &[u8], side: Side<'_>| side.map(|(path, _)| [letter, path.as_bytes()].concat());
    let (old_name, new_name) = (name(b"a/", old), name(b"b/", new));
    let absent = b"/dev/null".to_vec();
    let labels =
        Labels { old: old_name.as_ref().unwrap_or(&absent), new: new_name.as_ref().unwrap_or(&absent) };
    for (_, version) in [old, new].into_iter().flatten().filter(|(_, version)| version.kind != NodeType::Dir)
    {
        let why = match version.content {
            None => format!("the content of tick {} was not kept", version.tick),
            Some(_) if version.size > LONGEST_SIDE => {
                format!("tick {} has {} bytes", version.tick, version.size)
            }
            Some(_) => continue,
        };
        let text = [b"Files ", labels.old, b" and ", labels.new, b" differ: ", why.as_bytes(), b"\n"];
        return Ok(text.concat());
    }
    let (old, new) = (old.map(|(_, version)| version), new.map(|(_, version)| version));
    let diff: Diff = now.history().diff(&labels, old, new)?;
    Ok(diff.into_bytes())
}

pub(super) fn too_long(command: &str) -> Vec<u8> {
    format!("# The difference is longer than {LONGEST} bytes and not shown here: {command}\n").into_bytes()
}

/// A text, or the notice that it is too long.
pub(super) fn bounded(text: Vec<u8>, command: &str) -> Vec<u8> {
    if text.len() > LONGEST { too_long(command) } else { text }
}
