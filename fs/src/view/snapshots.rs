//! `snapshots/`: a name for a tick is a symlink to it; an imported tree is a directory.

use tickfs_store::history::Snapshot;
use tickfs_store::ids::Tick;

use super::listing::named_cookie;
use super::{Found, Listing, Now, View, branches, diff, readme};
use crate::error::Result;
use crate::inode::Object;

pub(super) fn find(view: &View, now: &Now, name: &[u8]) -> Result<Option<Found>> {
    if name == b"README" {
        return Ok(Some(readme::Of::Snapshots.found()));
    }
    let Ok(name) = std::str::from_utf8(name) else { return Ok(None) };
    match now.history().snapshot(name) {
        Ok(snapshot) => found(view, now, &snapshot),
        Err(error) => diff::absent(error),
    }
}

pub(super) fn list(view: &View, now: &Now, after: u64, out: &mut Listing<'_>) -> Result<()> {
    if !out.fixed(after, vec![(b"README", readme::Of::Snapshots.found())])? {
        return Ok(());
    }
    let mut snapshots = now.history().snapshots()?;
    snapshots.sort_by_key(|snapshot| named_cookie(snapshot.name.as_bytes()));
    for snapshot in snapshots {
        let cookie = named_cookie(snapshot.name.as_bytes());
        let Some(found) = found(view, now, &snapshot)? else { continue };
        if after < cookie && !out.push(snapshot.name.as_bytes(), cookie, found)? {
            return Ok(());
        }
    }
    Ok(())
}

/// `None` where only one file is shown, and the snapshot does not hold it.
fn found(view: &View, now: &Now, snapshot: &Snapshot) -> Result<Option<Found>> {
    let branch = now.branch(snapshot.branch)?;
    if let Some(node) = branch.import {
        let object = Object::TreeDir { tick: Tick::BASE, node };
        let shown = view.options.single.is_none();
        return Ok(shown.then_some(Found::Object { object, name_lasts: false }));
    }
    let point = snapshot.point();
    let Some(place) = branches::place_of(view, now, point)? else { return Ok(None) };
    let target = [b"../branches/", &place[..]].concat();
    Ok(Some(Found::Link { target, mtime: now.time_of(point.tick)?, name_lasts: false }))
}
