//! The history of one file: `branches/main/@42.py` is the file itself at tick 42, and the rest is about it alone.

use std::collections::BTreeSet;

use tickfs_store::history::Point;
use tickfs_store::ids::{BranchNo, Tick};
use tickfs_store::path::RelPath;

use super::files::{self, Path};
use super::names::{self, Said};
use super::{Found, Listing, Now, View, first_cookie};
use crate::error::Result;

/// The ticks at which something came to stand under the path, or went.
pub(super) fn ticks(now: &Now, file: &RelPath) -> Result<BTreeSet<Tick>> {
    let versions = now.history().versions_of(file)?;
    Ok(versions.into_iter().map(|held| held.at).filter(|&at| at != Tick::BASE).collect())
}

/// A name in `branches/<b>/`, with the file's ending or without.
pub(super) fn find(
    view: &View,
    now: &Now,
    file: &RelPath,
    no: BranchNo,
    name: &[u8],
) -> Result<Option<Found>> {
    let Some(said) = name.strip_prefix(b"@") else { return Ok(None) };
    let stem = said.strip_suffix(names::extension(file.name())).unwrap_or(said);
    let path = Path::new(now, file.clone())?;
    match names::read(view, now, no, stem)? {
        Some(Said::Tick(tick)) => at(now, &path, no, Point { branch: no, tick }, true),
        Some(Said::Point(point)) => at(now, &path, no, point, false),
        None => Ok(None),
    }
}

/// The version itself where the point is its tick on this branch; else a symlink to it.
fn at(now: &Now, path: &Path, no: BranchNo, point: Point, itself: bool) -> Result<Option<Found>> {
    let Some(held) = path.held_at(now, point) else { return Ok(None) };
    let home = now.home(held.at);
    if let Some(version) = held.version.as_ref().filter(|_| itself && held.at == point.tick && home == no) {
        return Ok(Some(files::saved(held, version)));
    }
    let mut target = Vec::new();
    if home != no {
        target.extend_from_slice(format!("../{}/", now.branch(home)?.label).as_bytes());
    }
    target.extend(path.name_at(held.at));
    Ok(Some(Found::Link { target, mtime: now.time_of(held.at)?, name_lasts: false }))
}

pub(super) fn list(now: &Now, file: &RelPath, no: BranchNo, after: u64, out: &mut Listing<'_>) -> Result<()> {
    let path = Path::new(now, file.clone())?;
    let on_chain: Vec<Tick> =
        path.saved().map(|(held, _)| held.at).filter(|&at| now.history().branches().is_on(no, at)).collect();
    // Above all ticks there can be, so that the cookie stays.
    let head = first_cookie() + (1 << 40);
    for tick in on_chain {
        let cookie = first_cookie() + tick.0;
        let Some(found) = at(now, &path, no, Point { branch: no, tick }, true)? else { continue };
        if after < cookie && !out.push(&path.name_at(tick), cookie, found)? {
            return Ok(());
        }
    }
    let name = [b"@HEAD", names::extension(file.name())].concat();
    match at(now, &path, no, now.history().head(no), false)? {
        Some(found) if after < head => out.push(&name, head, found).map(drop),
        _ => Ok(()),
    }
}

/// `main/@17.py`: the version that held at a point, below `branches/`.
pub(super) fn place_of(now: &Now, file: &RelPath, point: Point) -> Result<Option<Vec<u8>>> {
    let path = Path::new(now, file.clone())?;
    let Some(held) = path.held_at(now, point) else { return Ok(None) };
    let home = now.branch(now.home(held.at))?;
    Ok(Some([home.label.as_bytes(), b"/", &path.name_at(held.at)].concat()))
}

/// `branches/<b>/log`
pub(super) fn log(view: &View, now: &Now, file: &RelPath, no: BranchNo) -> Result<Vec<u8>> {
    let ticks = ticks(now, file)?;
    view.log.of_ticks(now, ticks.into_iter().filter(|&tick| now.history().branches().is_on(no, tick)))
}
