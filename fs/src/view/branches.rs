//! `branches/` and `branches/<b>/`: the tree at each tick, `log` and `branch.json`.

use tickfs_store::history::Point;
use tickfs_store::ids::{BranchNo, Tick};

use super::names::{self, Said};
use super::{Found, ListTicks, Listing, Now, Recipe, View, codevovle, first_cookie, readme, single};
use crate::error::Result;
use crate::inode::Object;

pub(super) fn find_branch(now: &Now, name: &[u8]) -> Result<Option<Found>> {
    if name == b"README" {
        return Ok(Some(readme::Of::Branches.found()));
    }
    let found = now.history().branches().listed().find(|branch| branch.label.as_bytes() == name);
    Ok(found.map(|branch| Found::Object { object: Object::Branch(branch.no), name_lasts: true }))
}

pub(super) fn list_branches(now: &Now, after: u64, out: &mut Listing<'_>) -> Result<()> {
    if !out.fixed(after, vec![(b"README", readme::Of::Branches.found())])? {
        return Ok(());
    }
    for branch in now.history().branches().listed() {
        let cookie = first_cookie() + u64::from(branch.no.0);
        let found = Found::Object { object: Object::Branch(branch.no), name_lasts: true };
        if after < cookie && !out.push(branch.label.as_bytes(), cookie, found)? {
            return Ok(());
        }
    }
    Ok(())
}

pub(super) fn find(view: &View, now: &Now, no: BranchNo, name: &[u8]) -> Result<Option<Found>> {
    match name {
        b"README" => return Ok(Some(readme::Of::Branch.found())),
        b"log" => return Ok(Some(log(view, no))),
        b"branch.json" => return Ok(Some(branch_json(view, no))),
        _ => {}
    }
    if let Some(file) = &view.options.single {
        return single::find(view, now, file, no, name);
    }
    let Some(said) = name.strip_prefix(b"@") else { return Ok(None) };
    match names::read(view, now, no, said)? {
        Some(Said::Tick(tick)) => at_tick(now, no, tick).map(Some),
        Some(Said::Point(point)) => link(now, no, point).map(Some),
        None => Ok(None),
    }
}

fn branch_json(view: &View, no: BranchNo) -> Found {
    let recipe = match &view.options.single {
        Some(file) => Recipe::Codevovle(codevovle::File::Branch(file.clone(), no)),
        None => Recipe::BranchJson(no),
    };
    Found::Text { recipe, lasts: false }
}

fn log(view: &View, no: BranchNo) -> Found {
    match &view.options.single {
        Some(file) => Found::Text { recipe: Recipe::BranchLog { path: file.clone(), no }, lasts: false },
        None => Found::Object { object: Object::Log(no), name_lasts: false },
    }
}

pub(super) fn list(view: &View, now: &Now, no: BranchNo, after: u64, out: &mut Listing<'_>) -> Result<()> {
    let branches = now.history().branches();
    let mut names: Vec<(&[u8], Found)> = vec![
        (b"README", readme::Of::Branch.found()),
        (b"log", log(view, no)),
        (b"branch.json", branch_json(view, no)),
    ];
    if let Some(file) = &view.options.single {
        return match out.fixed(after, names)? {
            true => single::list(now, file, no, after, out),
            false => Ok(()),
        };
    }
    if now.history().cursor().is_some() {
        names.push((b"@HEAD", link(now, no, now.history().head(no))?));
        names.push((b"@0", at_tick(now, no, Tick::BASE)?));
    }
    if !out.fixed(after, names)? {
        return Ok(());
    }
    let limit = match view.options.list_ticks {
        ListTicks::All => u64::MAX,
        ListTicks::Newest(limit) if no == now.active() => limit,
        ListTicks::Newest(_) => 0,
    };
    let chain = branches.chain(no, Tick(u64::MAX));
    let mut left = limit;
    let mut listed = Vec::new();
    for span in chain.iter().rev() {
        let len = (span.last.0 - span.first.0 + 1).min(left);
        listed.push((span.last.0 + 1 - len)..=span.last.0);
        left -= len;
        if left == 0 {
            break;
        }
    }
    for tick in listed.into_iter().rev().flatten() {
        let cookie = first_cookie() + tick;
        if after < cookie
            && !out.push(format!("@{tick}").as_bytes(), cookie, at_tick(now, no, Tick(tick))?)?
        {
            return Ok(());
        }
    }
    Ok(())
}

/// The tree itself, where the tick happened; elsewhere a symlink to that.
fn at_tick(now: &Now, no: BranchNo, tick: Tick) -> Result<Found> {
    if now.home(tick) == no {
        let node = now.history().tree(Point { branch: no, tick })?.root();
        return Ok(Found::Object { object: Object::TreeDir { tick, node }, name_lasts: true });
    }
    link(now, no, Point { branch: no, tick })
}

/// A symlink in a branch's directory to where a point happened.
fn link(now: &Now, no: BranchNo, point: Point) -> Result<Found> {
    let home = now.home(point.tick);
    let target = match home == no {
        true => format!("@{}", point.tick).into_bytes(),
        false => [b"../", &path_of(now, point)?[..]].concat(),
    };
    Ok(Found::Link { target, mtime: now.time_of(point.tick)?, name_lasts: false })
}

/// `main/@42`: where the tree of a point is, below `branches/`; in the view of one file, where its version is.
pub(super) fn place_of(view: &View, now: &Now, point: Point) -> Result<Option<Vec<u8>>> {
    match &view.options.single {
        Some(file) => single::place_of(now, file, point),
        None => path_of(now, point).map(Some),
    }
}

fn path_of(now: &Now, point: Point) -> Result<Vec<u8>> {
    let home = now.branch(now.home(point.tick))?;
    Ok(format!("{}/@{}", home.label, point.tick).into_bytes())
}
