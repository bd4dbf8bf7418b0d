//! `ticks/<n>/`: what one tick changed.

use tickfs_store::history::{Point, Tree};
use tickfs_store::ids::Tick;
use tickfs_store::journal::entry::NodeType;
use tickfs_store::path::RelPath;
use tickfs_store::{TickRow, Version};

use super::{
    Found, ListTicks, Listing, Now, Recipe, View, branches, diff, first_cookie, names, readme, single, tree,
    unknown,
};
use crate::error::Result;
use crate::inode::Object;

pub(super) fn find(view: &View, now: &Now, name: &[u8]) -> Result<Option<Found>> {
    if name == b"README" {
        return Ok(Some(readme::Of::Ticks.found()));
    }
    let tick = std::str::from_utf8(name).ok().and_then(names::tick);
    let mut tick = tick.filter(|&tick| tick != Tick::BASE && !unknown(now, tick));
    if let Some(file) = &view.options.single {
        let of_file = single::ticks(now, file)?;
        tick = tick.filter(|tick| of_file.contains(tick));
    }
    Ok(tick.map(|tick| Found::Object { object: Object::Tick(tick), name_lasts: true }))
}

pub(super) fn list(view: &View, now: &Now, after: u64, out: &mut Listing<'_>) -> Result<()> {
    if !out.fixed(after, vec![(b"README", readme::Of::Ticks.found())])? {
        return Ok(());
    }
    if let Some(file) = &view.options.single {
        for tick in single::ticks(now, file)? {
            let (cookie, found) =
                (first_cookie() + tick.0, Found::Object { object: Object::Tick(tick), name_lasts: true });
            if after < cookie && !out.push(tick.to_string().as_bytes(), cookie, found)? {
                return Ok(());
            }
        }
        return Ok(());
    }
    let last = now.history().last_tick().0;
    let first = match view.options.list_ticks {
        ListTicks::All => 1,
        ListTicks::Newest(limit) => (last + 1).saturating_sub(limit).max(1),
    };
    for tick in first.max((after + 1).saturating_sub(first_cookie()))..=last {
        let found = Found::Object { object: Object::Tick(Tick(tick)), name_lasts: true };
        if !out.push(tick.to_string().as_bytes(), first_cookie() + tick, found)? {
            return Ok(());
        }
    }
    Ok(())
}

/// A tick with what its path was before and after.
struct Change {
    row: TickRow,
    before: Option<(RelPath, Version)>,
    after: Option<(RelPath, Version)>,
}

impl Change {
    fn of(now: &Now, tick: Tick) -> Result<Self> {
        let history = now.history();
        let row = history.tick(tick)?;
        let branch = now.home(tick);
        let earlier = history.branches().at_or_before(branch, Tick(tick.0.saturating_sub(1)));
        let side = |tick| {
            let tree = history.tree(Point { branch, tick })?;
            standing(&tree, &row)
        };
        let (before, after) = (side(earlier)?, side(tick)?);
        Ok(Self { row, before, after })
    }

    fn parts(&self, view: &View, now: &Now) -> Result<Vec<(&'static [u8], Found)>> {
        let tick = self.row.n;
        let mut parts: Vec<(&[u8], Found)> = vec![
            (b"diff", Found::Text { recipe: Recipe::TickDiff(tick), lasts: true }),
            (b"tick.json", Found::Text { recipe: Recipe::TickJson(tick), lasts: false }),
        ];
        if let Some(place) = branches::place_of(view, now, Point { branch: now.home(tick), tick })? {
            let target = [b"../../branches/", &place[..]].concat();
            parts.push((b"tree", Found::Link { target, mtime: now.time_of(tick)?, name_lasts: false }));
        }
        for (name, side) in [(&b"before"[..], &self.before), (b"after", &self.after)] {
            if let Some((_, version)) = side.as_ref().filter(|(_, version)| version.kind != NodeType::Dir) {
                parts.push((name, tree::version(tick, version.clone())));
            }
        }
        Ok(parts)
    }
}

fn standing(tree: &Tree, row: &TickRow) -> Result<Option<(RelPath, Version)>> {
    let Some(path) = tree.path_of(row.node)? else { return Ok(None) };
    Ok(tree.version(row.node)?.map(|version| (path, version)))
}

pub(super) fn find_part(view: &View, now: &Now, tick: Tick, name: &[u8]) -> Result<Option<Found>> {
    let parts = Change::of(now, tick)?.parts(view, now)?;
    Ok(parts.into_iter().find(|(part, _)| *part == name).map(|(_, found)| found))
}

pub(super) fn list_parts(
    view: &View,
    now: &Now,
    tick: Tick,
    after: u64,
    out: &mut Listing<'_>,
) -> Result<()> {
    out.fixed(after, Change::of(now, tick)?.parts(view, now)?).map(drop)
}

/// What the tick changed, as `patch -p1` takes it.
pub(super) fn diff(now: &Now, tick: Tick) -> Result<Vec<u8>> {
    let change = Change::of(now, tick)?;
    let side = |side: &'_ Option<(RelPath, Version)>| -> Option<(RelPath, Version)> {
        side.clone().filter(|(_, version)| version.kind != NodeType::Dir)
    };
    let (before, after) = (side(&change.before), side(&change.after));
    let pair = |(path, version): &'_ (RelPath, Version)| (path.clone(), version.clone());
    let (old, new) = (before.as_ref().map(pair), after.as_ref().map(pair));
    let text = diff::of_path(
        now,
        old.as_ref().map(|(path, version)| (path, version)),
        new.as_ref().map(|(path, version)| (path, version)),
    )?;
    Ok(diff::bounded(text, &format!("tickfs show {tick}")))
}
