//! When something that was seen is to be recorded: pure logic over events and a clock that is handed in.
//!
//! A save of a recorded path is ready when its writer closes or a file is renamed onto it. A removal, a new name and a
//! change of metadata wait for their other half. So each way in which editors save – in place; temp file and rename;
//! backup, write, delete the backup; truncate and write; link – comes to one look at the real path, and the temp file
//! is gone before anybody looks at it.
//!
//! Invariants:
//!   * What is handed out says where to look, never what is there.
//!   * A lone save is not held up by what else is waiting.
//!   * A version that was read is handed out before, or together with, whatever came after it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tickfs_store::path::RelPath;

use super::capture::Captured;
use super::commit::Candidate;
use super::stamps::{below, renamed};

/// A moment, counted from when the recorder began.
pub(crate) type Moment = Duration;

/// A removal or a new name waits so long for its other half.
pub(crate) const SETTLE: Duration = Duration::from_millis(100);
/// So long after a lone save the next one may still belong to it.
pub(crate) const GATHER: Duration = Duration::from_micros(300);
/// A burst is over when so long nothing more came.
pub(crate) const QUIET: Duration = Duration::from_millis(5);
/// A burst that does not end is committed in parts of this length.
pub(crate) const LONGEST: Duration = Duration::from_secs(1);
/// A file that is modified and not closed is sampled this often.
pub(crate) const SAMPLE: Duration = Duration::from_secs(2);

/// What was seen of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Its writer closed it.
    Written,
    /// Something was written to it, and it is open.
    Modified,
    /// The name came to be. What it names may still be written.
    Made,
    Removed,
    MovedFrom {
        cookie: u32,
    },
    MovedTo {
        cookie: u32,
    },
    /// Its metadata changed.
    Touched,
}

#[derive(Debug, Clone)]
struct Waiting {
    first: Moment,
    last: Moment,
    /// The recorded path it was moved from.
    from: Option<RelPath>,
    /// No writer has closed it since it was made.
    unclosed: bool,
    /// More than its metadata may have changed.
    force: bool,
    /// A recorded path that was removed.
    gone: bool,
    /// How often it was moved on before it could be looked at.
    moved_on: u8,
}

#[derive(Debug, Clone)]
struct Open {
    due: Moment,
    from: Option<RelPath>,
    /// A save was closed before, and has not been looked at.
    saved: bool,
}

#[derive(Debug, Clone)]
struct Ready {
    from: Option<RelPath>,
    /// Something was written to it since it was looked at last.
    modified: bool,
    /// Its last save was read, and is one of the versions.
    captured: bool,
}

#[derive(Debug)]
struct Move {
    at: Moment,
    path: RelPath,
    from: Option<RelPath>,
}

#[derive(Debug, Default)]
pub(crate) struct Settle {
    ready: BTreeMap<RelPath, Ready>,
    ready_first: Moment,
    ready_last: Moment,
    /// What was read at once, in the order in which it came.
    versions: Vec<Arc<Captured>>,
    versions_first: Moment,
    /// A path that is ready is being saved once more: what is ready must not wait.
    urgent: bool,
    waiting: BTreeMap<RelPath, Waiting>,
    /// Bounds of `first` and `last` of those that wait.
    waiting_first: Moment,
    waiting_oldest: Moment,
    waiting_last: Moment,
    /// How many of them were removed.
    gone: usize,
    open: BTreeMap<RelPath, Open>,
    /// How often an open file was sampled since its writer closed it.
    sampled: BTreeMap<RelPath, u32>,
    moves: HashMap<u32, Move>,
    /// Saves that came before the one before was looked at, so that it is lost.
    merged: u64,
}

/// A name that came to be.
fn new(from: Option<RelPath>, unclosed: bool) -> Waiting {
    Waiting { first: Moment::ZERO, last: Moment::ZERO, from, unclosed, force: true, gone: false, moved_on: 0 }
}

/// What is handed out together.
#[derive(Debug, Default)]
pub(crate) struct Portion {
    /// Versions that others have overwritten since, in the order in which they came.
    pub(crate) versions: Vec<Arc<Captured>>,
    pub(crate) taken: Vec<Taken>,
}

impl Portion {
    pub(crate) fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.taken.is_empty()
    }
}

/// A path to look at.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) candidate: Candidate,
    /// It was made, and nothing says that its writer is done.
    pub(crate) unclosed: bool,
    pub(crate) moved_on: u8,
}

impl Settle {
    /// Notes what was seen, and what stood there then. `recorded` tells whether a path is recorded now.
    pub(crate) fn see(
        &mut self,
        now: Moment,
        path: RelPath,
        seen: Seen,
        captured: Option<Captured>,
        recorded: &dyn Fn(&RelPath) -> bool,
    ) {
        match seen {
            Seen::Written => {
                let sampled = self.sampled.remove(&path).is_some();
                let modified = self.open.contains_key(&path) && !sampled;
                self.merged += u64::from(self.open.get(&path).is_some_and(|open| open.saved));
                let from = self.origin(&path);
                match recorded(&path) {
                    true => self.make_ready(now, path, Ready { from, modified, captured: false }, captured),
                    false => self.wait(now, path, new(from, false)),
                }
            }
            Seen::Modified => {
                self.urgent |= self.ready.contains_key(&path);
                if !self.open.contains_key(&path) {
                    let from = self.unwait(&path);
                    self.open.insert(path, Open { due: now + SAMPLE, from, saved: false });
                }
            }
            Seen::Made => {
                let from = self.origin(&path);
                self.wait(now, path, new(from, true));
            }
            Seen::Touched => {
                let known = self.ready.contains_key(&path) || self.open.contains_key(&path);
                if !known {
                    let before = self.waiting.get(&path).cloned();
                    let touched = Waiting { force: false, ..new(None, false) };
                    self.wait(now, path, before.unwrap_or(touched));
                }
            }
            Seen::Removed => {
                self.count_what_was_overwritten(&path);
                self.drop_path(&path);
                if recorded(&path) {
                    self.wait(now, path, Waiting { gone: true, ..new(None, false) });
                }
            }
            Seen::MovedFrom { cookie } => {
                let from = self.drop_path(&path).or_else(|| recorded(&path).then(|| path.clone()));
                if recorded(&path) {
                    self.wait(now, path.clone(), Waiting { gone: true, ..new(None, false) });
                }
                self.moves.insert(cookie, Move { at: now, path, from });
            }
            Seen::MovedTo { cookie } => {
                let came = self.moves.remove(&cookie);
                if let Some(came) = &came {
                    self.rename_below(&came.path, &path);
                }
                self.count_what_was_overwritten(&path);
                self.drop_path(&path);
                let from = came.and_then(|came| came.from).filter(|from| *from != path);
                match recorded(&path) {
                    true => {
                        let ready = Ready { from: None, modified: false, captured: false };
                        self.make_ready(now, path, ready, captured);
                    }
                    false => self.wait(now, path, new(from, false)),
                }
            }
        }
    }

    /// The recorded path from which this one was moved, if it has not been looked at since.
    fn origin(&mut self, path: &RelPath) -> Option<RelPath> {
        let waiting = self.waiting.get(path).and_then(|waiting| waiting.from.clone());
        waiting.or_else(|| self.open.remove(path).and_then(|open| open.from))
    }

    /// Forgets a path, and gives back where it came from.
    fn drop_path(&mut self, path: &RelPath) -> Option<RelPath> {
        self.sampled.remove(path);
        let ready = self.ready.remove(path).and_then(|ready| ready.from);
        let waiting = self.unwait(path);
        let open = self.open.remove(path).and_then(|open| open.from);
        ready.or(waiting).or(open)
    }

    /// A save that is ready, was not read, and is gone.
    fn count_what_was_overwritten(&mut self, path: &RelPath) {
        self.merged += u64::from(self.ready.get(path).is_some_and(|ready| !ready.captured));
    }

    fn make_ready(&mut self, now: Moment, path: RelPath, ready: Ready, captured: Option<Captured>) {
        self.count_what_was_overwritten(&path);
        let ready = Ready { captured: captured.is_some(), ..ready };
        if let Some(captured) = captured {
            self.hold(now, captured);
        }
        self.unwait(&path);
        self.open.remove(&path);
        if self.ready.is_empty() {
            self.ready_first = now;
        }
        self.ready_last = now;
        self.urgent |= self.ready.insert(path, ready).is_some();
    }

    fn hold(&mut self, now: Moment, version: Captured) {
        if self.versions.is_empty() {
            self.versions_first = now;
        }
        self.versions.push(Arc::new(version));
    }

    /// Takes back versions that could not be written down, until then.
    pub(crate) fn hold_again(&mut self, due: Moment, versions: Vec<Arc<Captured>>) {
        let later = std::mem::replace(&mut self.versions, versions);
        self.versions.extend(later);
        self.versions_first = due;
    }

    /// Hands out the versions alone: what is looked at now is newer. Their paths are looked at themselves when they are due.
    pub(crate) fn take_versions(&mut self) -> Vec<Arc<Captured>> {
        std::mem::take(&mut self.versions)
    }

    /// The last version of a path that waits.
    pub(crate) fn last_version(&self, path: &RelPath) -> Option<&Captured> {
        let captured = self.ready.get(path).is_some_and(|ready| ready.captured);
        captured.then(|| {
            self.versions.iter().rev().find(|version| version.path == *path).map(|version| &**version)
        })?
    }

    /// A save was gone when it was looked at: the next one had begun.
    pub(crate) fn was_overwritten(&mut self) {
        self.merged += 1;
    }

    /// How many saves were lost, because the next one came before they were looked at; told once.
    pub(crate) fn merged(&mut self) -> u64 {
        std::mem::take(&mut self.merged)
    }

    fn wait(&mut self, now: Moment, path: RelPath, waiting: Waiting) {
        let first = self.waiting.get(&path).map_or(now, |before| before.first);
        self.unwait(&path);
        if self.waiting.is_empty() {
            (self.waiting_first, self.waiting_oldest) = (first, now);
        }
        self.waiting_last = now;
        self.gone += usize::from(waiting.gone);
        self.waiting.insert(path, Waiting { first, last: now, ..waiting });
    }

    /// Takes a path from those that wait, and gives back where it came from.
    fn unwait(&mut self, path: &RelPath) -> Option<RelPath> {
        let waiting = self.waiting.remove(path)?;
        self.gone -= usize::from(waiting.gone);
        waiting.from
    }

    /// A directory has another name: what was seen below it happened there.
    fn rename_below(&mut self, from: &RelPath, to: &RelPath) {
        fn shift<V>(map: &mut BTreeMap<RelPath, V>, from: &RelPath, to: &RelPath) {
            let paths: Vec<RelPath> = below(map, from).map(|(path, _)| path.clone()).collect();
            for path in paths {
                if let (Some(value), Some(path)) = (map.remove(&path), renamed(&path, from, to)) {
                    map.insert(path, value);
                }
            }
        }
        shift(&mut self.ready, from, to);
        shift(&mut self.waiting, from, to);
        shift(&mut self.open, from, to);
        shift(&mut self.sampled, from, to);
    }

    /// Looks at a path again after a while: it could not be read, or is being written.
    pub(crate) fn again(&mut self, due: Moment, path: RelPath) {
        self.open.entry(path).or_insert(Open { due, from: None, saved: false });
    }

    /// A save that was closed, and looks as if the next one had begun: it is looked at when that one is closed, or so
    /// late.
    pub(crate) fn defer(&mut self, due: Moment, path: RelPath) {
        self.open.insert(path, Open { due, from: None, saved: true });
    }

    /// What was moved while another one wrote is told by the paths alone.
    pub(crate) fn forget_origins(&mut self) {
        self.ready.values_mut().for_each(|ready| ready.from = None);
        self.waiting.values_mut().for_each(|waiting| waiting.from = None);
        self.open.values_mut().for_each(|open| open.from = None);
        self.moves.values_mut().for_each(|moved| moved.from = None);
    }

    /// What was moved, and is no longer there although nothing was told of that yet, may be on its way to a third name: so it
    /// and its origin wait once more.
    pub(crate) fn wait_again(&mut self, now: Moment, path: RelPath, from: RelPath, moved_on: u8) {
        self.wait(now, from.clone(), Waiting { gone: true, moved_on, ..new(None, false) });
        self.wait(now, path, Waiting { moved_on, ..new(Some(from), false) });
    }

    /// Whether a path is going to be looked at anyway.
    pub(crate) fn knows(&self, path: &RelPath) -> bool {
        self.ready.contains_key(path) || self.waiting.contains_key(path) || self.open.contains_key(path)
    }

    /// The first half of a rename that waits for its second.
    pub(crate) fn moved_from(&self, cookie: u32) -> Option<&RelPath> {
        self.moves.get(&cookie).map(|moved| &moved.path)
    }

    /// Paths whose other name never came, so that they left the root: to be told once.
    pub(crate) fn moved_away(&mut self, now: Moment) -> Vec<RelPath> {
        let late: Vec<u32> =
            self.moves.iter().filter(|(_, m)| m.at + SETTLE <= now).map(|(&cookie, _)| cookie).collect();
        late.into_iter().filter_map(|cookie| self.moves.remove(&cookie)).map(|moved| moved.path).collect()
    }

    /// How many paths were seen and not handed out.
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.waiting.len() + self.open.len()
    }

    pub(crate) fn written_all_the_time(&self) -> impl Iterator<Item = &RelPath> {
        self.sampled.iter().filter(|(_, times)| **times >= 2).map(|(path, _)| path)
    }

    /// When something is to be taken.
    pub(crate) fn due(&self) -> Option<Moment> {
        let open = self.open.values().map(|open| open.due).min();
        let moves = self.moves.values().map(|moved| moved.at + SETTLE).min();
        [self.ready_due(), self.versions_due(), self.waiting_due(), open, moves].into_iter().flatten().min()
    }

    /// Versions of paths that are not ready any more.
    fn versions_due(&self) -> Option<Moment> {
        (!self.versions.is_empty() && self.ready.is_empty()).then_some(self.versions_first)
    }

    fn ready_due(&self) -> Option<Moment> {
        match self.ready.len() {
            0 => None,
            _ if self.urgent => Some(self.ready_first),
            // Editors remove no other file that is recorded: this is more than a save.
            1 if self.gone == 0 => Some(self.ready_first + GATHER),
            _ => {
                // A checkout also makes and removes: those belong to the same burst.
                let apart = self.waiting.is_empty() || self.waiting_last + SETTLE < self.ready_first;
                let over = if apart { self.ready_last + QUIET } else { self.waiting_last + SETTLE };
                Some(over.max(self.ready_last + QUIET).min(self.ready_first + LONGEST))
            }
        }
    }

    fn waiting_due(&self) -> Option<Moment> {
        let settled = self.waiting_last + SETTLE;
        let longest = (self.waiting_first + LONGEST).max(self.waiting_oldest + SETTLE);
        (!self.waiting.is_empty()).then(|| settled.min(longest))
    }

    /// Hands out what is due.
    pub(crate) fn take(&mut self, now: Moment) -> Portion {
        let is_due = |due: Option<Moment>| due.is_some_and(|due| due <= now);
        let burst = self.ready.len() > 1 || self.gone > 0;
        let (ready, waiting) = (is_due(self.ready_due()), is_due(self.waiting_due()));
        let mut portion = Portion::default();
        if ready || waiting || is_due(self.versions_due()) {
            self.take_ready(&mut portion, false);
        }
        let taken = &mut portion.taken;
        if waiting || ready && burst {
            self.wait_for_origins(now);
            self.take_waiting(taken, |waiting| waiting.last + SETTLE <= now);
        }
        self.take_open(taken, |open| open.due <= now);
        portion
    }

    /// Hands out everything, due or not.
    pub(crate) fn take_all(&mut self) -> Portion {
        let mut portion = Portion::default();
        self.take_ready(&mut portion, true);
        let taken = &mut portion.taken;
        self.take_waiting(taken, |_| true);
        self.take_open(taken, |_| true);
        taken.iter_mut().for_each(|taken| taken.unclosed = false);
        portion
    }

    /// `all`: a path is looked at also if it was read, and looks otherwise by now.
    fn take_ready(&mut self, portion: &mut Portion, all: bool) {
        self.urgent = false;
        portion.versions = std::mem::take(&mut self.versions);
        let mut last: HashMap<RelPath, usize> = HashMap::new();
        for (n, version) in portion.versions.iter().enumerate() {
            last.insert(version.path.clone(), n);
        }
        let mut is_last = vec![false; portion.versions.len()];
        for (path, Ready { from, modified, captured }) in std::mem::take(&mut self.ready) {
            let captured = last.get(&path).copied().filter(|_| captured);
            let captured = captured.map(|n| {
                is_last[n] = true;
                Arc::clone(&portion.versions[n])
            });
            let force = all || captured.is_none();
            let candidate = Candidate { from, force, modified, captured, ..Candidate::new(path) };
            portion.taken.push(Taken { candidate, unclosed: false, moved_on: 0 });
        }
        let mut is_last = is_last.into_iter();
        portion.versions.retain(|_| !is_last.next().unwrap_or_default());
    }

    /// What was moved from a path that is being written anew is its backup, and may be removed when that is done.
    fn wait_for_origins(&mut self, now: Moment) {
        if self.open.is_empty() {
            return;
        }
        for waiting in self.waiting.values_mut() {
            if waiting.from.as_ref().is_some_and(|from| self.open.contains_key(from)) {
                (waiting.last, self.waiting_last) = (now, now);
            }
        }
    }

    fn take_waiting(&mut self, taken: &mut Vec<Taken>, chosen: impl Fn(&Waiting) -> bool) {
        let all = std::mem::take(&mut self.waiting);
        self.gone = 0;
        let (mut first, mut oldest) = (Moment::MAX, Moment::MAX);
        for (path, waiting) in all {
            if chosen(&waiting) {
                let Waiting { from, unclosed, force, moved_on, .. } = waiting;
                let candidate = Candidate { from, force, ..Candidate::new(path) };
                taken.push(Taken { candidate, unclosed, moved_on });
            } else {
                (first, oldest) = (first.min(waiting.first), oldest.min(waiting.last));
                self.gone += usize::from(waiting.gone);
                self.waiting.insert(path, waiting);
            }
        }
        if !self.waiting.is_empty() {
            (self.waiting_first, self.waiting_oldest) = (first, oldest);
        }
    }

    fn take_open(&mut self, taken: &mut Vec<Taken>, chosen: impl Fn(&Open) -> bool) {
        let due: Vec<RelPath> =
            self.open.iter().filter(|(_, open)| chosen(open)).map(|(path, _)| path.clone()).collect();
        for path in due {
            let Some(Open { from, saved, .. }) = self.open.remove(&path) else { continue };
            if !saved {
                *self.sampled.entry(path.clone()).or_default() += 1;
            }
            let candidate = Candidate { from, force: true, sampled: true, ..Candidate::new(path) };
            taken.push(Taken { candidate, unclosed: false, moved_on: 0 });
        }
    }
}

#[cfg(test)]
mod tests;
