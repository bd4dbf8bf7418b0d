//! One pretty JSON an entity: `branch.json`, `tick.json`, `now.json`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{pretty, spell_file_path};
use crate::error::{Error, Result};
use crate::history::{Branch, Point, View};
use crate::ids::{BranchNo, Tick};
use crate::index::Version;
use crate::journal::entry::{Action, NodeType};

#[derive(Serialize)]
pub(super) struct BranchJson<'a> {
    pub(super) id: &'a str,
    pub(super) label: &'a str,
    pub(super) parent: Option<&'a str>,
    pub(super) forked_at_tick: Option<Tick>,
    pub(super) diff_chain: Vec<Tick>,
    pub(super) created_at: &'a str,
    pub(super) description: Option<&'a str>,
}

impl<'a> BranchJson<'a> {
    pub(super) fn new(view: &'a View, branch: &'a Branch, diff_chain: Vec<Tick>) -> Self {
        let parent = branch.parent.and_then(|no| view.branches().get(no));
        Self {
            id: &branch.id,
            label: &branch.label,
            parent: parent.map(|p| p.label.as_str()),
            forked_at_tick: branch.forked_at_tick,
            diff_chain,
            created_at: &branch.created_at,
            description: branch.description.as_deref(),
        }
    }
}

/// `branches/<b>/branch.json`, with every tick of its chain, whatever path it is of.
pub fn branch_json(view: &View, branch: BranchNo) -> Result<Vec<u8>> {
    let branch = listed(view, branch)?;
    let chain = view.branches().chain(branch.no, Tick(u64::MAX));
    let ticks = chain.iter().flat_map(|span| (span.first.0..=span.last.0).map(Tick)).collect();
    Ok(pretty(&BranchJson::new(view, branch, ticks)))
}

pub(super) fn listed(view: &View, branch: BranchNo) -> Result<&Branch> {
    let found = view.branches().get(branch).filter(|b| b.import.is_none());
    found.ok_or_else(|| Error::not_found(format!("there is no branch number {branch}")))
}

#[derive(Serialize)]
struct TickJson<'a> {
    tick: Tick,
    branch: &'a str,
    time: String,
    kind: Action,
    path: String,
    /// Where a renamed path was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    /// The first tick of the burst.
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<Tick>,
    seq: u64,
    before: Option<VersionJson>,
    after: Option<VersionJson>,
}

#[derive(Serialize)]
struct VersionJson {
    tick: Tick,
    #[serde(rename = "type")]
    kind: NodeType,
    /// Octal, as `stat` and `chmod` spell it.
    mode: String,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: String,
    /// Whether the content was kept.
    kept: bool,
}

impl From<Version> for VersionJson {
    fn from(version: Version) -> Self {
        Self {
            tick: version.tick,
            kind: version.kind,
            mode: format!("{:06o}", version.mode),
            uid: version.uid,
            gid: version.gid,
            size: version.size,
            mtime: version.mtime.to_string(),
            kept: version.content.is_some() || version.kind == NodeType::Dir,
        }
    }
}

/// `ticks/<n>/tick.json`.
pub fn tick_json(view: &View, tick: Tick) -> Result<Vec<u8>> {
    let row = view.tick(tick)?;
    let home = view.branches().of_tick(tick).ok_or_else(|| Error::not_found(format!("no tick {tick}")))?;
    let branch = listed(view, home)?;
    let at = |tick| view.tree(Point { branch: home, tick });
    let (before, after) = (at(before(view, home, tick))?, at(tick)?);
    let (was, is) = (before.path_of(row.node)?, after.path_of(row.node)?);
    let existed = was.as_ref().map(|_| before.version(row.node)).transpose()?.flatten();
    let exists = is.as_ref().map(|_| after.version(row.node)).transpose()?.flatten();
    let path = is.as_ref().or(was.as_ref()).map(spell_file_path).unwrap_or_default();
    let from = was.as_ref().filter(|_| row.action == Action::Rename).map(spell_file_path);
    Ok(pretty(&TickJson {
        tick,
        branch: &branch.label,
        time: row.at.to_iso(),
        kind: row.action,
        path,
        from,
        burst: row.burst,
        seq: row.seq.0,
        before: existed.map(VersionJson::from),
        after: exists.map(VersionJson::from),
    }))
}

/// The tick before a tick of a branch, on that branch's chain.
pub(super) fn before(view: &View, branch: BranchNo, tick: Tick) -> Tick {
    view.branches().at_or_before(branch, Tick(tick.0.saturating_sub(1)))
}

#[derive(Serialize)]
struct NowJson<'a> {
    branch: &'a str,
    tick: Tick,
    attached: bool,
    /// Paths that stand at other ticks: `branch@tick`.
    partial: BTreeMap<String, String>,
    /// What moved the root here.
    moved: &'a str,
}

/// `now.json`: where the root stands.
pub fn now_json(view: &View) -> Result<Vec<u8>> {
    let point = view.cursor_point()?;
    let cursor = view.cursor().ok_or_else(|| Error::not_found("nothing is recorded here yet"))?;
    let label = |no| listed(view, no).map(|b| b.label.as_str());
    let mut partial = BTreeMap::new();
    for path in &cursor.partial {
        let at = format!("{}@{}", label(path.at.branch)?, path.at.tick);
        partial.insert(spell_file_path(&path.path), at);
    }
    Ok(pretty(&NowJson {
        branch: label(point.branch)?,
        tick: point.tick,
        attached: cursor.is_attached(),
        partial,
        moved: &cursor.moved,
    }))
}
