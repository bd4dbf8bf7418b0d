//! Where a move leads to: the stand of the root after it.

use tickfs_store::history::{Entry, PartialPath, Point, Stand, View};
use tickfs_store::path::RelPath;
use tickfs_store::{Error as StoreError, Version};

use super::error::Result;

/// The whole root at one point.
#[must_use]
pub fn whole(at: Point) -> Stand {
    Stand { branch: at.branch, tick: at.tick, partial: Vec::new() }
}

/// The root as it stands, but for one path, with all that is below it, at another point.
pub fn one_path(view: &View, from: &Stand, path: &RelPath, at: Point) -> Result<Stand> {
    if path.is_root() {
        return Ok(whole(at));
    }
    require_known(view, from, path, at)?;
    let then = view.tree(at)?;
    let mut to = from.clone();
    to.partial.retain(|partial| !partial.path.starts_with(path));
    // What the cursor's own tick says anyway needs no word.
    let mut reached = view.standing(&to)?;
    for below in paths_below(view, from, path, at)? {
        let same = |a: Option<Entry>, b: Option<Entry>| a.map(version_of) == b.map(version_of);
        if !same(reached.resolve(&below)?, then.resolve(&below)?) {
            reached.put_back(below.clone(), then.clone());
            to.partial.push(PartialPath { path: below, at });
        }
    }
    Ok(to)
}

/// Where the root stood before the last move; an error if nothing has moved it.
pub fn before_the_last(view: &View) -> Result<(Stand, String)> {
    match view.cursor().map(|cursor| (cursor.before.clone(), cursor.moved.clone())) {
        Some((Some(before), moved)) => Ok((*before, moved)),
        _ => Err(StoreError::refused(
            "there is nothing to undo: no revert, restore or jump has moved the root",
        )
        .into()),
    }
}

fn version_of(entry: Entry) -> Version {
    entry.version
}

fn require_known(view: &View, from: &Stand, path: &RelPath, at: Point) -> Result<()> {
    let known = view.standing(from)?.resolve(path)?.is_some()
        || view.tree(at)?.resolve(path)?.is_some()
        || !view.versions_of(path)?.is_empty();
    match known {
        true => Ok(()),
        false => Err(StoreError::not_found(format!("{path} is not recorded here, and never was")).into()),
    }
}

/// Parents first.
fn paths_below(
    view: &View,
    from: &Stand,
    path: &RelPath,
    at: Point,
) -> Result<std::collections::BTreeSet<RelPath>> {
    let mut paths = std::collections::BTreeSet::from([path.clone()]);
    let standing = view.standing(from)?;
    let mut visit = |below: &RelPath, _: &Entry| -> tickfs_store::Result<()> {
        paths.insert(below.clone());
        Ok(())
    };
    standing.tree().walk(path, &mut visit)?;
    view.tree(at)?.walk(path, &mut visit)?;
    for partial in from.partial.iter().filter(|partial| partial.path.starts_with(path)) {
        view.tree(partial.at)?.walk(&partial.path, &mut visit)?;
    }
    Ok(paths)
}
