//! `deleted/`: paths that were a file once and are not at the head of the active branch, in their directories; each a
//! symlink to its last version.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use tickfs_store::history::PathVersion;
use tickfs_store::ids::UnixNanos;
use tickfs_store::journal::entry::NodeType;
use tickfs_store::path::RelPath;

use super::below::{is_above, names_below};
use super::listing::named_cookie;
use super::{Found, Listing, NamedDir, Now, View, names};
use crate::error::Result;

/// What lies in `deleted/` at one moment.
fn deleted(view: &View, now: &Now) -> Result<Arc<BTreeSet<RelPath>>> {
    let mut known = now.deleted.lock();
    if let Some(deleted) = &*known {
        return Ok(Arc::clone(deleted));
    }
    let mut gone = view.ever_files(now)?;
    let head = now.history().head(now.active());
    now.history().tree(head)?.walk(&RelPath::root(), &mut |path, entry| {
        if entry.version.kind != NodeType::Dir {
            gone.remove(path);
        }
        Ok(())
    })?;
    gone.retain(|path| view.options.single.as_ref().is_none_or(|file| file == path));
    let gone = Arc::new(gone);
    *known = Some(Arc::clone(&gone));
    Ok(gone)
}

pub(super) fn find(view: &View, now: &Now, dir: &RelPath, name: &[u8]) -> Result<Option<Found>> {
    let Ok(path) = dir.join(name) else { return Ok(None) };
    standing(now, &*deleted(view, now)?, path)
}

/// A directory where something below it is deleted; else the path itself, if it is.
fn standing(now: &Now, deleted: &BTreeSet<RelPath>, path: RelPath) -> Result<Option<Found>> {
    if is_above(&path, |from| deleted.range((from, Bound::Unbounded)).next()) {
        return Ok(Some(Found::Dir(NamedDir::Deleted(path))));
    }
    if deleted.contains(&path) { link(now, &path) } else { Ok(None) }
}

pub(super) fn list(view: &View, now: &Now, dir: &RelPath, after: u64, out: &mut Listing<'_>) -> Result<()> {
    let deleted = deleted(view, now)?;
    let names = names_below(dir, |from| deleted.range((from, Bound::Unbounded)).next());
    let mut ordered: Vec<(u64, &[u8])> = names.into_iter().map(|name| (named_cookie(name), name)).collect();
    ordered.sort_unstable();
    for (cookie, name) in ordered.into_iter().filter(|&(cookie, _)| after < cookie) {
        let Ok(path) = dir.join(name) else { continue };
        let Some(found) = standing(now, &deleted, path)? else { continue };
        if !out.push(name, cookie, found)? {
            return Ok(());
        }
    }
    Ok(())
}

/// `../../files/src/old.py/@29.py`
fn link(now: &Now, path: &RelPath) -> Result<Option<Found>> {
    let versions = now.history().versions_of(path)?;
    let is_file = |held: &&PathVersion| held.version.as_ref().is_some_and(|v| v.kind != NodeType::Dir);
    let on_chain = |held: &&PathVersion| now.history().branches().is_on(now.active(), held.at);
    let last = versions.iter().rev().filter(is_file).find(on_chain);
    let Some(last) = last.or_else(|| versions.iter().rev().find(is_file)) else { return Ok(None) };
    let mut target = b"../".repeat(path.components().count());
    target.extend_from_slice(b"files/");
    target.extend_from_slice(path.as_bytes());
    target.extend_from_slice(format!("/@{}", last.at).as_bytes());
    target.extend_from_slice(names::extension(path.name()));
    let mtime: UnixNanos = now.time_of(last.at)?;
    Ok(Some(Found::Link { target, mtime, name_lasts: false }))
}
