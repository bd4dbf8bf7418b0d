//! Compares the whole root with what is recorded: after a start, after a gap, and now and then.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use rustix::fs::Stat;
use tickfs_store::ids::UnixMillis;
use tickfs_store::path::RelPath;
use tickfs_store::{Scope, StoreWriter};

use super::base;
use super::commit::{Candidate, Ledger};
use super::error::{Error, Result};
use super::place::Place;
use super::report::Flushed;
use super::restore::{self, Recovered, Step};
use super::rules::Rules;
use super::stamps::{self, Stamp, Stamps};
use super::walk::{Visitor, walk};

/// Compares the root with the cursor's tree once, `partial` applied, and records what differs as one burst; writes the
/// base where there is none yet. This is what a command does when no process records.
pub fn record_now(writer: &StoreWriter, scope: &Scope, clock: &dyn Fn() -> UnixMillis) -> Result<Flushed> {
    recover(writer, scope, clock())?;
    let mut ledger = Ledger::open(writer, scope)?;
    let mut flushed = Flushed::default();
    let mut compare_all = true;
    if !base::is_there(writer.store())? {
        let based = ledger.base(writer, clock, &mut |_| {}, &mut |_| {})?;
        flushed.unread.extend(based.unread);
        compare_all = based.resumed;
    }
    // Whoever writes at this very moment may have to be asked twice.
    for _ in 0..3 {
        if !compare_all {
            break;
        }
        ledger.refuse_an_empty_root()?;
        let compared = ledger.compare(&RelPath::root(), &mut |_| {});
        let outcome = ledger.commit(writer, clock(), compared.candidates)?;
        compare_all = !outcome.unstable.is_empty() || !outcome.rescan.is_empty();
        flushed.append(outcome.flushed);
        flushed.unread.extend(compared.unread);
        flushed.unread.sort();
        flushed.unread.dedup();
    }
    ledger.keep_stamps(writer, now_nanos())?;
    Ok(flushed)
}

/// A move that a kill interrupted is finished or undone before its traces could be taken for changes.
pub(crate) fn recover(writer: &StoreWriter, scope: &Scope, now: UnixMillis) -> Result<Option<Recovered>> {
    let step = Step(&|_, _| {});
    Ok(restore::recover(restore::Place { writer, root: &scope.root, now, step })?)
}

/// The clock that files are stamped with: the stamps of a cache are held against it.
pub(crate) fn now_nanos() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}

/// What a comparison found.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) unread: Vec<(RelPath, String)>,
}

impl Ledger {
    pub(crate) fn open(writer: &StoreWriter, scope: &Scope) -> Result<Self> {
        let store = writer.store();
        let place = Place::open(&scope.root).map(Arc::new).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                Error::RootGone { root: scope.root.clone(), why: "nothing has its name".to_owned() }
            }
            _ => Error::Io { action: "open the root", path: scope.root.clone(), source },
        })?;
        let config = &store.config().record;
        let rules = Rules::of(&place, store.layout().dir(), scope, config)?;
        let stamps = stamps::load(&**store.disk(), store.layout(), &store.view()?)?;
        let threads = config.threads.map_or_else(default_threads, |n| usize::from(n).clamp(1, 32));
        let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
        Ok(Self { place, rules, stamps, max_size: config.max_file_size, threads, writers: None })
    }

    /// A root that is empty although it never was is one that is not there: a disk that is not mounted, a checkout that
    /// is about to be made again.
    pub(crate) fn refuse_an_empty_root(&self) -> Result<()> {
        let path = self.place.path();
        if self.stamps.len() > 1 && self.place.is_empty().map_err(Error::io("look into", path))? {
            let why = "it is empty, and what was recorded is not taken for deleted; recording goes on when \
                       something is in it";
            return Err(Error::RootGone { root: path.to_path_buf(), why: why.to_owned() });
        }
        Ok(())
    }

    /// Looks at everything below a directory, and at what is recorded there. `enter` is told of each directory before
    /// it is listed.
    pub(crate) fn compare(&mut self, from: &RelPath, enter: &mut dyn FnMut(&RelPath)) -> Compared {
        let mut comparison = Comparison {
            stamps: &self.stamps,
            enter,
            seen: BTreeSet::new(),
            unreadable: Vec::new(),
            changed: Vec::new(),
            new: Vec::new(),
        };
        walk(&self.place, &mut self.rules, from, &mut comparison);
        comparison.finish(from)
    }

    pub(crate) fn keep_stamps(&mut self, writer: &StoreWriter, drained: i64) -> Result<()> {
        if !self.stamps.changed {
            return Ok(());
        }
        self.stamps.dev = self.place.dev();
        let store = writer.store();
        Ok(stamps::save(&mut self.stamps, &**store.disk(), store.layout(), &store.view()?, drained)?)
    }
}

/// Reading and compressing keep a few cores busy; the rest is for whoever works here.
fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().min(4))
}

struct Comparison<'a> {
    stamps: &'a Stamps,
    enter: &'a mut dyn FnMut(&RelPath),
    seen: BTreeSet<RelPath>,
    unreadable: Vec<(RelPath, String)>,
    changed: Vec<RelPath>,
    new: Vec<(RelPath, Stamp)>,
}

impl Visitor for Comparison<'_> {
    fn enter(&mut self, dir: &RelPath) {
        (self.enter)(dir);
    }

    fn path(&mut self, path: &RelPath, stat: &Stat) {
        let stamp = Stamp::of(stat);
        if !self.stamps.has(path) {
            self.new.push((path.clone(), stamp));
            return;
        }
        self.seen.insert(path.clone());
        if self.stamps.get(path) != Some(stamp) {
            self.changed.push(path.clone());
        }
    }

    fn is_recorded(&self, path: &RelPath) -> bool {
        self.stamps.has(path)
    }

    fn unreadable(&mut self, path: &RelPath, error: io::Error) {
        self.unreadable.push((path.clone(), error.to_string()));
    }
}

impl Comparison<'_> {
    fn finish(self, from: &RelPath) -> Compared {
        let hidden = |path: &RelPath| self.unreadable.iter().any(|(above, _)| path.starts_with(above));
        let here = self.stamps.get(from).map(|stamp| (from, Some(stamp))).into_iter();
        let gone: Vec<(&RelPath, Option<Stamp>)> = here
            .chain(self.stamps.below(from))
            .filter(|(path, _)| !self.seen.contains(*path) && !hidden(path))
            .collect();
        // Something that lies elsewhere now, and looks as it did: it was moved. Parents come first, so that a moved
        // directory takes along what is in it.
        let was: HashMap<u64, (&RelPath, Stamp)> =
            gone.iter().filter_map(|(path, stamp)| stamp.map(|stamp| (stamp.ino, (*path, stamp)))).collect();
        let mut moved: Vec<(RelPath, RelPath)> = Vec::new();
        let mut candidates: Vec<Candidate> =
            gone.iter().map(|(path, _)| Candidate::new((*path).clone())).collect();
        candidates.extend(self.changed.into_iter().map(Candidate::new));
        for (path, stamp) in self.new {
            let within = |(from, to): &(RelPath, RelPath)| {
                stamps::renamed(&path, to, from).filter(|_| path.starts_with(to))
            };
            let along = moved.iter().find_map(within);
            let from = match along {
                Some(_) => None,
                None => was
                    .get(&stamp.ino)
                    .filter(|(_, old)| old.is_moved(&stamp))
                    .map(|(from, _)| (*from).clone()),
            };
            if let Some(from) = &from
                && stamp.is_dir()
            {
                moved.push((from.clone(), path.clone()));
            }
            candidates.push(Candidate { from, ..Candidate::new(path) });
        }
        Compared { candidates, unread: self.unreadable }
    }
}
