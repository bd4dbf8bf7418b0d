//! The recorder's thread: takes in events (`events`) and requests (`requests`), and commits what is due.
//!
//! Invariants:
//!   * Only this thread touches the ledger, the table of watches and what waits to be recorded.
//!   * While it is held or paused it takes in events as ever, and commits nothing but what it is asked for.

mod events;
mod requests;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use rustix::fs::Stat;
use tickfs_store::ids::UnixMillis;
use tickfs_store::journal::entry::{Action, ItemType, NodeType};
use tickfs_store::path::RelPath;
use tickfs_store::{Scope, StoreWriter};

use super::base;
use super::capture::{Captured, Heard};
use super::commit::{Candidate, Ledger, Outcome};
use super::compare::now_nanos;
use super::error::{Error, Result};
use super::place::kind_of;
use super::recorder::{Options, Request, Shared};
use super::report::{Announcement, Flushed, State, Warning};
use super::settle::{Moment, Portion, SAMPLE, SETTLE, Settle, Taken};
use super::stamps::Stamp;
use super::watch::{Added, Wake, Watch};
use super::who::Writers;

/// What reaches the thread.
#[derive(Debug)]
pub(crate) enum Message {
    Events(Vec<Heard>),
    Request(Request),
    /// The kernel's queue cannot be read any more.
    Deaf(String),
}

/// The whole root is compared this often, for what no event tells.
const SWEEP: Duration = Duration::from_secs(600);
/// What lies beyond the limit of watches is compared this often, and so is a root that is waited for.
const LOOK: Duration = Duration::from_secs(5);
const RETURN: Duration = Duration::from_secs(1);
/// The stamps are kept this often, where they changed.
const KEEP: Duration = Duration::from_secs(120);
/// So often a path that is gone before it is looked at is waited for under another name.
const MOVES_ON: u8 = 20;
/// Saves that were lost are told together, this often at most.
const MERGED: Duration = Duration::from_secs(1);
/// Of the warnings so many are kept to be shown.
const WARNINGS_KEPT: usize = 32;

pub(crate) struct Engine {
    pub(super) writer: Arc<StoreWriter>,
    scope: Scope,
    pub(super) options: Options,
    pub(super) shared: Arc<Shared>,
    pub(super) ledger: Ledger,
    pub(super) settle: Settle,
    pub(super) watch: Watch,
    wake: Arc<Wake>,
    messages: Receiver<Message>,
    began: Instant,
    /// When something was looked at last that had not been read before.
    looked: Option<Instant>,
    pub(super) paused: bool,
    held: usize,
    /// Asked for while held: answered afterwards.
    deferred: Vec<Request>,
    gone: bool,
    /// Events were lost: compare everything.
    lost: bool,
    /// Directories whose ignore files changed.
    reload: BTreeSet<RelPath>,
    /// Files that are sampled, and when each is due.
    sampled: BTreeMap<RelPath, (Duration, Moment)>,
    next_sweep: Moment,
    next_keep: Moment,
    /// Saves that were lost and not told yet, and since when.
    merged: Option<(u64, UnixMillis, Moment)>,
    unread: BTreeMap<RelPath, String>,
    limit_told: bool,
    deaf: bool,
}

impl Engine {
    pub(crate) fn open(
        writer: Arc<StoreWriter>,
        scope: Scope,
        options: Options,
        shared: Arc<Shared>,
    ) -> Result<(Self, Arc<Wake>)> {
        if let Some(recovered) = super::compare::recover(&writer, &scope, (options.clock)())? {
            let what = recovered.to_string();
            (options.announce)(&Announcement::Warning(Warning { path: None, what }));
        }
        let mut ledger = Ledger::open(&writer, &scope)?;
        if let Some(threads) = options.threads {
            ledger.threads = threads;
        }
        if options.interval.is_none() {
            ledger.writers = Writers::listen();
        }
        let root = scope.root.clone();
        let wake = Arc::new(Wake::new().map_err(Error::io("listen to", &root))?);
        let watch = Watch::new().map_err(|source| Error::Io {
            action: "listen to the kernel (sysctl fs.inotify.max_user_instances says how many may) about",
            path: root.clone(),
            source,
        })?;
        let (to, messages) = mpsc::channel();
        watch.look_in(&ledger.place);
        let held = Arc::clone(&shared.held);
        watch.listen(Arc::clone(&wake), held, to).map_err(Error::io("start a thread for", &root))?;
        let engine = Self {
            writer,
            options,
            shared,
            ledger,
            settle: Settle::default(),
            watch,
            wake: Arc::clone(&wake),
            messages,
            began: Instant::now(),
            looked: None,
            paused: false,
            held: 0,
            deferred: Vec::new(),
            gone: false,
            lost: false,
            reload: BTreeSet::new(),
            sampled: BTreeMap::new(),
            next_sweep: SWEEP,
            next_keep: KEEP,
            merged: None,
            unread: BTreeMap::new(),
            limit_told: false,
            deaf: false,
            scope,
        };
        Ok((engine, wake))
    }

    pub(crate) fn run(mut self, ready: &Sender<Result<()>>) {
        let started = self.start();
        let failed = started.is_err();
        if ready.send(started).is_err() || failed {
            return self.end();
        }
        while self.step() {}
        self.end();
    }

    fn now(&self) -> Moment {
        self.began.elapsed()
    }

    fn clock(&self) -> UnixMillis {
        (self.options.clock)()
    }

    /// Brings the record up to the root.
    fn start(&mut self) -> Result<()> {
        let now = self.clock();
        {
            let mut status = self.shared.status.lock();
            status.since = now;
            status.interval = self.options.interval.filter(|_| self.scope.files.is_none());
        }
        for file in self.scope.files.iter().flatten() {
            if let Some(interval) = self.options.interval {
                self.sampled.insert(file.clone(), (interval, interval));
            }
        }
        let payload = serde_json::json!({ "recorder": "files", "threads": self.ledger.threads });
        self.writer.observe(now, Action::SessionStart, &ItemType::RECORDER, &payload);
        let mut compare = true;
        if !base::is_there(self.writer.store())? {
            compare = self.base()?;
        }
        if compare {
            match self.ledger.refuse_an_empty_root() {
                Err(Error::RootGone { why, .. }) => self.root_is_gone(why)?,
                other => {
                    other?;
                    self.compare_all()?;
                }
            }
        }
        self.next_sweep = self.sweep_after(self.now());
        self.show();
        Ok(())
    }

    fn base(&mut self) -> Result<bool> {
        let mut dirs = Vec::new();
        let (clock, announce) = (Arc::clone(&self.options.clock), Arc::clone(&self.options.announce));
        let watching = self.listens();
        let (watch, root) = (&mut self.watch, &self.scope.root);
        let mut enter = |dir: &RelPath| {
            if watching {
                dirs.push((dir.clone(), watch.add(root, dir)));
            }
        };
        let mut progress = |based: &base::Based| {
            announce(&Announcement::Base { paths: based.paths, bytes: based.bytes });
        };
        let based = self.ledger.base(&self.writer, &*clock, &mut enter, &mut progress)?;
        self.added(dirs);
        (self.options.announce)(&Announcement::BaseDone { paths: based.paths, bytes: based.bytes });
        self.note_unread(based.unread);
        Ok(based.resumed)
    }

    /// Whether events are listened to at all.
    fn listens(&self) -> bool {
        !self.deaf && (self.options.interval.is_none() || self.scope.files.is_some())
    }

    /// Tells of watches that could not be had.
    fn added(&mut self, dirs: Vec<(RelPath, Added)>) {
        for (dir, added) in dirs {
            match added {
                Added::Watched => {
                    if let Some(writers) = &self.ledger.writers {
                        writers.mark(&self.scope.root.join(dir.as_path()));
                    }
                }
                Added::Gone => {}
                Added::Limit if self.limit_told => {}
                Added::Limit => {
                    self.limit_told = true;
                    let wanted = (self.watch.len() * 2).max(65_536).next_power_of_two();
                    let what = format!(
                        "the limit of watches is reached; what lies beyond it is sampled every {} s: \
                         sudo sysctl fs.inotify.max_user_watches={wanted}",
                        LOOK.as_secs()
                    );
                    self.warn(None, what);
                }
                Added::Failed(error) => self.warn(Some(dir), format!("cannot be watched: {error}")),
            }
        }
    }

    /// One turn: waits until something comes or is due. `false`: the end.
    fn step(&mut self) -> bool {
        let first = match self.next_due() {
            Some(due) => match self.messages.recv_timeout(due.saturating_sub(self.now())) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return false,
            },
            None => match self.messages.recv() {
                Ok(message) => Some(message),
                Err(_disconnected) => return false,
            },
        };
        let mut next = first;
        while let Some(message) = next {
            match message {
                Message::Events(events) => {
                    self.wake.queued.fetch_sub(events.len(), Ordering::Relaxed);
                    events.into_iter().for_each(|Heard { raw, captured }| self.event(&raw, captured));
                }
                Message::Request(Request::Stop) => {
                    self.last_commit();
                    return false;
                }
                Message::Request(request) => self.request(request),
                Message::Deaf(why) => {
                    self.deaf = true;
                    self.lost = true;
                    self.warn(
                        None,
                        format!("the kernel's events cannot be read; the root is sampled: {why}"),
                    );
                }
            }
            next = self.messages.try_recv().ok();
        }
        if let Err(error) = self.do_what_is_due() {
            self.failed(error);
        }
        self.show();
        true
    }

    fn next_due(&self) -> Option<Moment> {
        let now = self.now();
        if self.gone {
            return Some(now + RETURN);
        }
        if self.paused || self.held > 0 {
            return None;
        }
        let merged = self.merged.map(|(_, _, since)| since + MERGED);
        let soon = (self.lost || !self.reload.is_empty()).then_some(now);
        let sampled = self.sampled.values().map(|(_, due)| *due).min();
        [
            soon,
            merged,
            self.settle.due(),
            sampled,
            Some(self.next_sweep),
            self.ledger.stamps.changed.then_some(self.next_keep),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn do_what_is_due(&mut self) -> Result<()> {
        if self.gone {
            return self.look_for_the_root();
        }
        if self.paused || self.held > 0 {
            return Ok(());
        }
        let now = self.now();
        for away in self.settle.moved_away(now) {
            let again = self.ledger.place.stat(&away).is_ok_and(|found| found.is_some());
            self.watch.remove(&away, again);
        }
        if self.lost {
            self.overflowed()?;
        }
        self.reload_rules()?;
        self.tell_of_merged(now, MERGED)?;
        let portion = self.settle.take(now);
        if !portion.is_empty() {
            self.commit_portion(portion, false)?;
        }
        self.sample(now)?;
        if self.next_sweep <= now {
            self.next_sweep = self.sweep_after(now);
            self.compare_all()?;
        }
        if self.next_keep <= now {
            self.next_keep = now + KEEP;
            self.ledger.keep_stamps(&self.writer, now_nanos())?;
        }
        Ok(())
    }

    fn sweep_after(&self, now: Moment) -> Moment {
        let whole = self.options.interval.filter(|_| self.scope.files.is_none());
        let beyond = (self.watch.unwatched() > 0 || self.deaf).then_some(LOOK);
        now + whole.or(beyond).unwrap_or(SWEEP)
    }

    fn sample(&mut self, now: Moment) -> Result<()> {
        let mut due = Vec::new();
        for (path, (interval, next)) in &mut self.sampled {
            if *next <= now {
                *next = now + *interval;
                due.push(path.clone());
            }
        }
        if due.is_empty() {
            return Ok(());
        }
        self.shared.status.lock().samples += due.len() as u64;
        let candidates =
            due.into_iter().map(|path| Candidate { force: true, ..Candidate::new(path) }).collect();
        let began = Instant::now();
        let sampled = self.commit(candidates);
        self.shared.status.lock().sampling += began.elapsed();
        sampled.map(drop)
    }

    fn commit_portion(&mut self, portion: Portion, all: bool) -> Result<Flushed> {
        let Portion { versions, mut taken } = portion;
        let now = self.now();
        if !all {
            self.wait_for_what_moves_on(now, &mut taken);
        }
        let mut candidates = Vec::with_capacity(taken.len());
        for Taken { candidate, unclosed, .. } in taken {
            let path = &candidate.path;
            let asks = !all && candidate.captured.is_none() && (unclosed || candidate.modified);
            let stat = if asks { self.ledger.place.stat(path).ok().flatten() } else { None };
            let is_file = |stat: &Stat| kind_of(stat) == Some(NodeType::File);
            let stamp = stat.filter(is_file).filter(|stat| stat.st_nlink == 1).map(|stat| Stamp::of(&stat));
            match stamp.filter(|stamp| stamp.size == 0) {
                // What was made and is empty, and nobody said that it is done, is about to be written.
                Some(_) if unclosed => self.settle.again(now + SAMPLE, candidate.path),
                // So is what held something and was emptied this very moment.
                Some(empty) if self.ledger.was_just_emptied(path, empty) => {
                    self.settle.defer(now + SETTLE, candidate.path);
                }
                _ => candidates.push(Candidate { patient: asks, ..candidate }),
            }
        }
        self.commit_behind(versions, candidates)
    }

    /// A path that came from a recorded one, where neither is there: the event that tells of the next name is on its way.
    fn wait_for_what_moves_on(&mut self, now: Moment, taken: &mut Vec<Taken>) {
        let place = &self.ledger.place;
        let is_gone = |path: &RelPath| place.stat(path).is_ok_and(|found| found.is_none());
        let mut moving: Vec<(RelPath, RelPath, u8)> = Vec::new();
        for Taken { candidate, moved_on, .. } in &*taken {
            if let Some(from) = &candidate.from
                && *moved_on < MOVES_ON
                && is_gone(&candidate.path)
                && is_gone(from)
            {
                moving.push((candidate.path.clone(), from.clone(), moved_on + 1));
            }
        }
        if moving.is_empty() {
            return;
        }
        taken.retain(|one| {
            let path = &one.candidate.path;
            !moving.iter().any(|(to, from, _)| path == to || path == from)
        });
        for (path, from, moved_on) in moving {
            self.settle.wait_again(now, path, from, moved_on);
        }
    }

    fn commit(&mut self, candidates: Vec<Candidate>) -> Result<Flushed> {
        self.commit_behind(Vec::new(), candidates)
    }

    /// Commits, tells what came of it, and sees to what could not be read yet.
    fn commit_behind(
        &mut self,
        mut versions: Vec<Arc<Captured>>,
        candidates: Vec<Candidate>,
    ) -> Result<Flushed> {
        // Nothing is looked at before what was read earlier is written down.
        versions.extend(self.settle.take_versions());
        if candidates.is_empty() && versions.is_empty() {
            return Ok(Flushed::default());
        }
        if !self.ledger.place.is_in_place() {
            let why = self.why_gone();
            self.root_is_gone(why.clone())?;
            return Err(Error::RootGone { root: self.scope.root.clone(), why });
        }
        let paths: Vec<RelPath> = candidates.iter().map(|candidate| candidate.path.clone()).collect();
        let is_save = |candidate: &&Candidate| candidate.force && !candidate.sampled;
        let saved: BTreeSet<RelPath> =
            candidates.iter().filter(is_save).map(|save| save.path.clone()).collect();
        let captured = candidates.iter().filter_map(|candidate| candidate.captured.clone());
        let all_versions: Vec<Arc<Captured>> = versions.iter().cloned().chain(captured).collect();
        let now = self.clock();
        match self.ledger.commit_behind(&self.writer, now, versions, candidates) {
            Ok(outcome) => {
                if outcome.live {
                    self.looked = Some(Instant::now());
                }
                let overwritten = outcome.unstable.iter().filter(|path| saved.contains(*path)).count();
                (0..overwritten + outcome.overtaken).for_each(|_| self.settle.was_overwritten());
                self.committed(now, &paths, outcome)
            }
            Err(Error::RootGone { why, root }) => {
                self.root_is_gone(why.clone())?;
                Err(Error::RootGone { why, root })
            }
            Err(error) => {
                // They are tried again; the root still has what the store could not take.
                let again = self.now() + SAMPLE;
                paths.into_iter().for_each(|path| self.settle.again(again, path));
                self.settle.hold_again(again, all_versions);
                Err(error)
            }
        }
    }

    fn committed(&mut self, now: UnixMillis, paths: &[RelPath], outcome: Outcome) -> Result<Flushed> {
        let Outcome { flushed, unstable, rescan, earlier, .. } = outcome;
        {
            let mut status = self.shared.status.lock();
            status.ticks += flushed.ticks.len() as u64;
            status.bursts += earlier as u64 + u64::from(flushed.ticks.len() > earlier);
            if matches!(status.state, State::Failing { .. }) {
                status.state = State::Recording;
            }
        }
        for branch in &flushed.forks {
            (self.options.announce)(&Announcement::Forked { branch: branch.clone() });
        }
        if !flushed.ticks.is_empty() {
            (self.options.announce)(&Announcement::Ticks { at: now, ticks: flushed.ticks.clone() });
        }
        paths.iter().for_each(|path| self.looked_at(path));
        self.note_unread(flushed.unread.clone());
        let again = self.now() + SAMPLE;
        for path in unstable {
            let gone = self.ledger.place.stat(&path).is_ok_and(|stat| stat.is_none());
            let again = if gone { self.now() } else { again };
            self.settle.again(again, path);
        }
        let mut flushed = flushed;
        for dir in rescan {
            flushed.append(self.compare(&dir)?);
        }
        Ok(flushed)
    }

    fn compare_all(&mut self) -> Result<Flushed> {
        self.shared.status.lock().samples += u64::from(!self.listens());
        self.compare(&RelPath::root())
    }

    /// Compares everything below a directory with what is recorded, and sees that it is watched.
    fn compare(&mut self, dir: &RelPath) -> Result<Flushed> {
        let mut dirs = Vec::new();
        let watching = self.listens();
        let (watch, root) = (&mut self.watch, &self.scope.root);
        let compared = self.ledger.compare(dir, &mut |dir| {
            if watching {
                dirs.push((dir.clone(), watch.add(root, dir)));
            }
        });
        self.added(dirs);
        self.next_sweep = self.sweep_after(self.now());
        self.note_unread(compared.unread);
        let warnings = std::mem::take(&mut self.ledger.rules.warnings);
        warnings.into_iter().for_each(|warning| self.warn(warning.path, warning.what));
        self.commit(compared.candidates)
    }

    fn reload_rules(&mut self) -> Result<()> {
        for dir in std::mem::take(&mut self.reload) {
            self.ledger.rules.load(&self.ledger.place, &dir);
            self.compare(&dir)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
