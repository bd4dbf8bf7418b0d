//! `/`: the rooms, and where the root stands now.

use tickfs_store::ids::{NodeId, Tick};

use super::readme;
use super::{Found, Listing, Now, Recipe, View, branches};
use crate::error::Result;
use crate::inode::{Fixed, Object};

/// The rooms by their names, in the order in which they are listed.
const ROOMS: [(&[u8], Object); 11] = [
    (b"branches", Object::Fixed(Fixed::Branches)),
    (b"ticks", Object::Fixed(Fixed::Ticks)),
    (b"files", FILES),
    (b"deleted", Object::Fixed(Fixed::Deleted)),
    (b"snapshots", Object::Fixed(Fixed::Snapshots)),
    (b"diff", Object::Fixed(Fixed::Diff)),
    (b"events", Object::Fixed(Fixed::Events)),
    (b"watch", Object::Fixed(Fixed::Watch)),
    (b"handoff", Object::Fixed(Fixed::Handoff)),
    (b"state", Object::Fixed(Fixed::States)),
    (b"codevovle", Object::Fixed(Fixed::Codevovle)),
];

/// `files/` is the root directory's own path.
const FILES: Object = Object::Past { at: Tick::BASE, node: NodeId::ROOT };

pub(super) fn find(view: &View, now: &Now, name: &[u8]) -> Result<Option<Found>> {
    if let Some(&(_, object)) = ROOMS.iter().find(|(room, _)| *room == name) {
        return Ok(Some(Found::Object { object, name_lasts: true }));
    }
    match name {
        b"README" => Ok(Some(readme::Of::Mount.found())),
        b"stats.json" => Ok(Some(STATS)),
        b"now" => link_to_now(view, now),
        b"now.json" => Ok(now.history().cursor().map(|_| NOW_JSON)),
        _ => Ok(None),
    }
}

const NOW_JSON: Found = Found::Text { recipe: Recipe::NowJson, lasts: false };

const STATS: Found = Found::Text { recipe: Recipe::StatsJson, lasts: false };

pub(super) fn list(view: &View, now: &Now, after: u64, out: &mut Listing<'_>) -> Result<()> {
    let mut names: Vec<(&[u8], Found)> = vec![(b"README", readme::Of::Mount.found())];
    names.extend(ROOMS.map(|(name, object)| (name, Found::Object { object, name_lasts: true })));
    names.push((b"stats.json", STATS));
    if let Some(link) = link_to_now(view, now)? {
        names.extend([(&b"now.json"[..], NOW_JSON), (&b"now"[..], link)]);
    }
    out.fixed(after, names).map(drop)
}

/// `now -> branches/main/@42`; nothing before the base is complete.
fn link_to_now(view: &View, now: &Now) -> Result<Option<Found>> {
    if now.history().cursor().is_none() {
        return Ok(None);
    }
    let point = now.history().cursor_point()?;
    let Some(place) = branches::place_of(view, now, point)? else { return Ok(None) };
    let target = [b"branches/", &place[..]].concat();
    Ok(Some(Found::Link { target, mtime: now.time_of(point.tick)?, name_lasts: false }))
}
