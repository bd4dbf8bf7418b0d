//! Whether a store is sound, and says what was promised.
//!
//! Opens the store as the next command would: that is what heals it. Nothing is known of what its writer was doing.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tickfs_store::disk::RealDisk;
use tickfs_store::history::{Entry, Point, Tree, View};
use tickfs_store::ids::{ContentHash, Seq, Tick};
use tickfs_store::journal::entry::NodeType;
use tickfs_store::journal::{JournalDir, ReadReport, scan_all};
use tickfs_store::path::RelPath;
use tickfs_store::{Freshness, Store};

use crate::promise::Promise;
use crate::workload::{count_of, entity_kind, store_dir, who};

/// What was looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Checked {
    pub(crate) promises: usize,
    pub(crate) ticks: u64,
    pub(crate) records: u64,
    /// Records that the index had missed.
    pub(crate) healed: u64,
    /// Whether the journal ended in a torn write.
    pub(crate) torn: bool,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { promises, ticks, records, healed, torn } = self;
        write!(f, "{promises} promises hold; {ticks} ticks, {records} records, {healed} healed, torn: {torn}")
    }
}

pub(crate) fn check(dir: &Path, promises: &[Promise]) -> Result<Checked> {
    let dir = store_dir(dir);
    if !dir.join("FORMAT").exists() {
        ensure!(promises.is_empty(), "there is no store, and {} promises", promises.len());
        return Ok(Checked::default());
    }
    let store = Store::open(Arc::new(RealDisk), &dir).context("opening the store")?;
    let healed = match store.refresh(who()).context("bringing the index up to the journal")? {
        Freshness::Current => 0,
        Freshness::Healed { records } => records,
        Freshness::Stale { holder } => bail!("the index is stale, and {holder} holds the lock"),
    };
    let view = store.view().context("asking for a view")?;
    for promise in promises {
        holds(&view, promise).with_context(|| format!("a promise is broken: {promise}"))?;
    }
    keeps_count(&view, promises)?;
    let report = journal_is_sound(&store, &view)?;
    ticks_are_dense(&view)?;
    heads_can_be_read(&view)?;
    let writer = store.writer(who(), Duration::from_secs(5)).context("opening the store for writing")?;
    let differences = writer.store().index_differences().context("making the index anew")?;
    ensure!(differences.is_empty(), "the index is not what the journal says: {}", differences.join("; "));
    Ok(Checked {
        promises: promises.len(),
        ticks: view.last_tick().0,
        records: report.records,
        healed,
        torn: report.torn_tail.is_some(),
    })
}

fn holds(view: &View, promise: &Promise) -> Result<()> {
    match promise {
        Promise::File { at, path, hash } => {
            let (tree, entry) = find(view, *at, path)?;
            let bytes = tree.read(&entry.version)?;
            let found = ContentHash::of(&bytes);
            ensure!(found == *hash, "it has {} bytes with hash {found}", bytes.len());
        }
        Promise::Directory { at, path } => {
            let (_, entry) = find(view, *at, path)?;
            ensure!(entry.version.kind == NodeType::Dir, "it is a {:?}", entry.version.kind);
        }
        Promise::Absent { at, path } => {
            ensure!(view.tree(*at)?.resolve(path)?.is_none(), "it is there");
        }
        Promise::Renamed { at, from, to } => {
            let (tree, after) = find(view, *at, to)?;
            ensure!(tree.resolve(from)?.is_none(), "it is at its old place");
            let tick = view.branches().at_or_before(at.branch, Tick(at.tick.0 - 1));
            // That tick may be one that the branch inherited.
            let before =
                view.tree(Point { branch: at.branch, tick })?.resolve(from)?.context("it was not there")?;
            ensure!(before.node == after.node, "node {} became node {}", before.node, after.node);
        }
        Promise::Branch { no, label } => {
            let branch = view.branches().get(*no).context("there is no such branch")?;
            ensure!(branch.label == *label, "its label is {:?}", branch.label);
        }
        // The last of these speaks for all: see below.
        Promise::Entity { .. } => {}
        Promise::Gone { id } => {
            ensure!(view.entity(&entity_kind(), id)?.is_none(), "it is there");
        }
    }
    Ok(())
}

fn find(view: &View, at: Point, path: &RelPath) -> Result<(Tree, Entry)> {
    ensure!(view.branches().of_tick(at.tick) == Some(at.branch), "tick {} is not of that branch", at.tick);
    let tree = view.tree(at)?;
    let entry = tree.resolve(path)?.with_context(|| format!("{path} is not there"))?;
    Ok((tree, entry))
}

fn keeps_count(view: &View, promises: &[Promise]) -> Result<()> {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for promise in promises {
        if let Promise::Entity { id, count } = promise {
            let known = last.entry(id).or_default();
            *known = (*known).max(*count);
        }
    }
    for (id, confirmed) in last.iter().filter(|(id, _)| !id.starts_with("once-")) {
        let found = count_of(view.entity(&entity_kind(), id)?.map(|row| row.body).as_deref());
        ensure!(found >= *confirmed, "entity {id} has count {found}, and {confirmed} was confirmed");
    }
    Ok(())
}

/// Seqs ascend without repetition, a hole is explained by the torn write that it stood in, and the index is neither
/// behind the journal nor ahead of it.
fn journal_is_sound(store: &Store, view: &View) -> Result<ReadReport> {
    let dir = JournalDir::new(&store.layout().journal());
    let mut last = Seq(0);
    let mut order = Ok(());
    let report = scan_all(store.disk(), &dir, |entry| {
        if entry.line.seq <= last {
            order = Err(anyhow::anyhow!("seq {} follows {last}", entry.line.seq));
            return Ok(ControlFlow::Break(()));
        }
        last = entry.line.seq;
        Ok(ControlFlow::Continue(()))
    })?;
    order?;
    ensure!(report.missing == 0, "seqs are missing: {:?}", report.missing_ranges);
    ensure!(report.duplicates == 0, "{} seqs occur twice", report.duplicates);
    ensure!(report.skipped() == 0, "lines were skipped: {:?}", report.bad);
    ensure!(report.dead.iter().all(|dead| dead.unchanged), "a dead range changed: {:?}", report.dead);
    ensure!(view.applied_seq() == last, "the index is at {}, the journal at {last}", view.applied_seq());
    Ok(report)
}

fn ticks_are_dense(view: &View) -> Result<()> {
    let (mut expected, mut last_seq) = (Tick(1), Seq(0));
    loop {
        let rows = view.ticks(expected, view.last_tick(), 1_000)?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            ensure!(row.n == expected, "tick {} follows where {expected} is missing", row.n);
            ensure!(row.seq > last_seq, "tick {} has seq {}, after {last_seq}", row.n, row.seq);
            (expected, last_seq) = (row.n.next(), row.seq);
        }
    }
    ensure!(expected == view.last_tick().next(), "ticks end before {expected}");
    Ok(())
}

fn heads_can_be_read(view: &View) -> Result<()> {
    let mut read = HashSet::new();
    for branch in view.branches().listed() {
        let tree = view.tree(view.head(branch.no))?;
        let visit = &mut |_: &RelPath, entry: &Entry| {
            let is_new = entry.version.content.is_some_and(|content| read.insert(content));
            if is_new { tree.read(&entry.version).map(drop) } else { Ok(()) }
        };
        tree.walk(&RelPath::root(), visit)
            .with_context(|| format!("reading the head of {}", branch.label))?;
    }
    Ok(())
}
