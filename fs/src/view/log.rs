//! The lines of logs: one a tick, written once and kept, because a tick never changes.
//!
//! A line is tick, time, kind, path, size before and size after, with tabs between; a size that does not exist is `-`.
//! They are held compressed, because a history of a million ticks has 70 MB of them.
//! Of a rename the path is `from -> to`. A newline, a tab or a backslash in a name is escaped by a backslash.

use std::collections::HashMap;
use std::ops::Range;

use parking_lot::Mutex;
use tickfs_store::TickRow;
use tickfs_store::history::{Point, View as History};
use tickfs_store::ids::{BranchNo, NodeId, Tick};
use tickfs_store::journal::entry::Action;
use tickfs_store::path::RelPath;

use super::Now;
use super::lines::Lines;
use crate::error::{Error, Result};

/// So many ticks are read from the index at once.
const PORTION: usize = 4096;
/// So many paths are remembered.
const PATHS: usize = 20_000;

#[derive(Debug, Default)]
pub(super) struct Log {
    lines: Mutex<Known>,
}

/// The lines of all ticks, on whatever branch.
#[derive(Debug, Default)]
struct Known {
    text: Lines,
    /// Where the line of each tick ends, from tick 1 on.
    ends: Vec<usize>,
    /// Where nodes hang, of some and as long as nothing was renamed.
    paths: HashMap<(BranchNo, NodeId), RelPath>,
}

impl Log {
    pub(super) fn is_begun(&self) -> bool {
        !self.lines.lock().ends.is_empty()
    }

    /// The size of a branch's log.
    pub(super) fn len(&self, now: &Now, branch: BranchNo) -> Result<u64> {
        let mut lines = self.lines.lock();
        lines.extend(now)?;
        let runs = now.history().branches().chain(branch, Tick(u64::MAX));
        Ok(runs.iter().map(|run| lines.place(run.first, run.last).len() as u64).sum())
    }

    pub(super) fn read(&self, now: &Now, branch: BranchNo, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut lines = self.lines.lock();
        lines.extend(now)?;
        let mut skip = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut out = Vec::new();
        for run in now.history().branches().chain(branch, Tick(u64::MAX)) {
            let place = lines.place(run.first, run.last);
            let from = skip.min(place.len());
            skip -= from;
            let to = place.len().min(from + (len - out.len()));
            lines.text.add_to(&mut out, place.start + from..place.start + to).map_err(unpacked)?;
            if out.len() == len {
                break;
            }
        }
        Ok(out)
    }

    /// The lines of single ticks.
    pub(super) fn of_ticks(&self, now: &Now, ticks: impl Iterator<Item = Tick>) -> Result<Vec<u8>> {
        let mut lines = self.lines.lock();
        lines.extend(now)?;
        let mut out = Vec::new();
        for tick in ticks {
            let place = lines.place(tick, tick);
            lines.text.add_to(&mut out, place).map_err(unpacked)?;
        }
        Ok(out)
    }
}

/// It was packed here and has not left memory.
fn unpacked(source: std::io::Error) -> Error {
    Error::Refused(format!("lines of a log could not be unpacked: {source}"))
}

impl Known {
    fn place(&self, first: Tick, last: Tick) -> Range<usize> {
        let end = |tick: Tick| {
            let place = usize::try_from(tick.0).unwrap_or(usize::MAX).min(self.ends.len());
            place.checked_sub(1).map_or(0, |place| self.ends[place])
        };
        end(Tick(first.0 - 1))..end(last)
    }

    fn extend(&mut self, now: &Now) -> Result<()> {
        let last = now.history().last_tick();
        while (self.ends.len() as u64) < last.0 {
            let next = Tick(self.ends.len() as u64 + 1);
            for tick in now.history().ticks(next, last, PORTION)? {
                let line = self.line(now.history(), &tick)?;
                self.text.push(&line).map_err(unpacked)?;
                self.ends.push(self.text.len());
            }
        }
        Ok(())
    }

    fn line(&mut self, history: &History, tick: &TickRow) -> Result<Vec<u8>> {
        let branch = history.branches().of_tick(tick.n).unwrap_or(BranchNo::MAIN);
        let earlier = history.branches().at_or_before(branch, Tick(tick.n.0 - 1));
        let (before, after) =
            (history.tree(Point { branch, tick: earlier })?, history.tree(Point { branch, tick: tick.n })?);
        let stays = matches!(tick.action, Action::Modify | Action::Mode);
        let mut names = Vec::new();
        let (is, was) = match self.paths.get(&(branch, tick.node)).filter(|_| stays) {
            Some(path) => (Some(path.clone()), true),
            None => {
                let (is, was) = (after.path_of(tick.node)?, before.path_of(tick.node)?);
                names.extend(was.clone().filter(|_| tick.action == Action::Rename || is.is_none()));
                (is, was.is_some())
            }
        };
        if tick.action == Action::Rename || self.paths.len() == PATHS {
            self.paths.clear();
        }
        if let Some(path) = is.clone() {
            self.paths.insert((branch, tick.node), path);
        }
        let size = |there: bool, tree: &tickfs_store::history::Tree| -> Result<String> {
            let version = if there { tree.version(tick.node)? } else { None };
            Ok(version.map_or_else(|| "-".to_owned(), |version| version.size.to_string()))
        };
        let (old, new) = (size(was, &before)?, size(is.is_some(), &after)?);
        names.extend(is);
        let path = names.iter().map(escaped).collect::<Vec<_>>().join(&b" -> "[..]);
        let start = format!("{}\t{}\t{}\t", tick.n, tick.at.to_iso(), tick.action.as_str());
        Ok([start.as_bytes(), &path, format!("\t{old}\t{new}\n").as_bytes()].concat())
    }
}

fn escaped(path: &RelPath) -> Vec<u8> {
    let mut out = Vec::new();
    for &byte in path.as_bytes() {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            byte => out.push(byte),
        }
    }
    out
}
