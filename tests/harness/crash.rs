//! Crashes a script in a step of its disk, cuts the power, and looks at what the next process finds.
//!
//! Invariants, which every check here holds a store to:
//!   * What was confirmed is there; what was under way is there wholly or not at all.
//!   * What was visible once stays, through whatever comes after.
//!   * The store goes on working, and no seq is used twice.

use std::sync::Arc;

use tickfs_store::disk::{Cut, SimDisk};
use tickfs_store::{Error, Store};

use crate::compare::{Verdict, compare, compare_briefly, seqs_never_repeat};
use crate::model::{Change, Model};
use crate::session::{Script, Session, Step, base, file, index_files, lose_index, path, store_dir, who};

/// What becomes of the projection's files in a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexFate {
    /// As the process left them.
    Kept,
    /// As they were some steps ago: SQLite may lose its last commits in a power cut.
    Older,
    Dropped,
}

impl IndexFate {
    pub const ALL: [Self; 3] = [Self::Kept, Self::Older, Self::Dropped];
}

/// A session that died.
#[derive(Debug)]
pub struct Crashed {
    disk: SimDisk,
    /// So many steps of the script were confirmed.
    confirmed: usize,
    /// What the store may say: what was confirmed, and that with what was under way.
    candidates: Vec<Model>,
    /// The first two of the projection's files as they were some steps before.
    older_index: Option<[Option<Vec<u8>>; 2]>,
}

/// Runs a script to its end, and says how many steps its disk made. A step that fails is the script's fault.
pub fn steps_of(script: &Script, disk: &SimDisk) -> u64 {
    let mut session = Session::new(disk);
    for (n, step) in script.steps.iter().enumerate() {
        let done = session.step(step);
        assert_eq!(done.is_err(), script.is_refused(n), "step {n} {step:?} gave {done:?}");
    }
    disk.steps()
}

/// Runs a script until the disk dies in its step `at`.
#[must_use]
pub fn run_until(script: &Script, disk: &SimDisk, at: u64) -> Crashed {
    disk.crash_at(at);
    let mut session = Session::new(disk);
    let copied_after = usize::try_from(at).map_or(0, |at| at % script.steps.len());
    let mut older_index = None;
    let mut confirmed = 0;
    for (n, step) in script.steps.iter().enumerate() {
        let done = session.step(step);
        if done.is_err() && disk.steps() > at {
            break;
        }
        confirmed = n + 1;
        if n == copied_after {
            let [database, log, _] = index_files(disk);
            older_index = Some([std::fs::read(database).ok(), std::fs::read(log).ok()]);
        }
    }
    let candidates = script.models[confirmed..].iter().take(2).cloned().collect();
    Crashed { disk: disk.clone(), confirmed, candidates, older_index }
}

impl Crashed {
    /// The disk as the next process finds it.
    #[must_use]
    pub fn cut(&self, cut: Cut, fate: IndexFate) -> SimDisk {
        let disk = self.disk.crash(cut);
        lose_index(&disk);
        let [database, log, _] = index_files(&disk);
        let files = match fate {
            IndexFate::Dropped => [None, None],
            IndexFate::Older => self.older_index.clone().unwrap_or_default(),
            IndexFate::Kept => {
                let [database, log, _] = index_files(&self.disk);
                [std::fs::read(database).ok(), std::fs::read(log).ok()]
            }
        };
        for (file, bytes) in [database, log].iter().zip(files) {
            if let Some(bytes) = bytes {
                std::fs::write(file, bytes)
                    .expect("it can be written, because the directory is a scratch one");
            }
        }
        disk
    }

    /// The whole check of one cut. With `again` the power fails once more as soon as the store was read.
    pub fn check(&self, cut: Cut, fate: IndexFate, again: bool) -> Verdict {
        let disk = self.cut(cut, fate);
        if fate == IndexFate::Kept {
            self.projection_is_of_the_past(&disk)?;
        }
        let mut recovery = Recovery::new(self);
        recovery.read(&disk)?;
        let disk = if again { disk.crash(Cut::LoseUnsynced) } else { disk };
        let session = recovery.go_on(&disk)?;
        if fate != IndexFate::Dropped {
            recovery.examine(&session)?;
        }
        drop(session);
        seqs_never_repeat(&disk)?;
        recovery.look_again(&disk.crash(Cut::LoseUnsynced))
    }

    /// Crashes the recovery too, in each of its steps; gives the number of them.
    pub fn check_crashing_again(&self, cut: Cut, fate: IndexFate, next: Cut) -> Result<u64, String> {
        for at in 0.. {
            let disk = self.cut(cut, fate);
            disk.crash_at(at);
            let mut recovery = Recovery::new(self);
            let done = recovery.read(&disk).and_then(|()| recovery.go_on(&disk).map(drop));
            if disk.steps() <= at {
                return done.map(|()| at);
            }
            let disk = disk.crash(next);
            let described =
                |difference| format!("the recovery crashed in its step {at}, {next:?}: {difference}");
            let session = recovery.read(&disk).and_then(|()| recovery.go_on(&disk)).map_err(described)?;
            drop(session);
            seqs_never_repeat(&disk)?;
        }
        Ok(0)
    }

    /// The index holds nothing that was not confirmed, and all that was.
    fn projection_is_of_the_past(&self, disk: &SimDisk) -> Verdict {
        let [database, ..] = index_files(disk);
        if self.confirmed == 0 || !database.exists() {
            return Ok(());
        }
        let store =
            Store::open(Arc::new(disk.clone()), &store_dir()).map_err(|e| format!("opening: {e:?}"))?;
        compare_briefly(&store, &self.candidates[0]).map_err(|e| format!("the index as it was left: {e}"))
    }
}

/// What the next process does, and what is known of the store by then.
struct Recovery<'c> {
    crashed: &'c Crashed,
    candidates: Vec<Model>,
    /// The store was opened once, so it must be there for ever.
    was_there: bool,
}

impl<'c> Recovery<'c> {
    fn new(crashed: &'c Crashed) -> Self {
        Self { crashed, candidates: crashed.candidates.clone(), was_there: crashed.confirmed > 0 }
    }

    /// Opens and reads the store as a command would. What it sees is what it must see from now on.
    fn read(&mut self, disk: &SimDisk) -> Verdict {
        let store = match Store::open(Arc::new(disk.clone()), &store_dir()) {
            Err(Error::NotFound { .. }) if !self.was_there => return Ok(()),
            opened => opened.map_err(|e| format!("opening for reading: {e:?}"))?,
        };
        store.refresh(who()).map_err(|e| format!("refreshing: {e:?}"))?;
        self.settle(&store)
    }

    /// Finds the candidate that the store shows.
    fn settle(&mut self, store: &Store) -> Verdict {
        self.was_there = true;
        let mut differences = Vec::new();
        for candidate in &self.candidates {
            match compare_briefly(store, candidate) {
                Ok(()) => {
                    self.candidates = vec![candidate.clone()];
                    return Ok(());
                }
                Err(difference) => differences.push(difference),
            }
        }
        let confirmed = self.crashed.confirmed;
        Err(format!("{confirmed} steps were confirmed, and the store says something else: {differences:#?}"))
    }

    /// Opens the store for writing, and makes one more change.
    fn go_on(&mut self, disk: &SimDisk) -> std::result::Result<Session, String> {
        let mut session = Session::new(disk);
        match session.open().map(drop) {
            Err(Error::NotFound { .. }) if !self.was_there => {
                session.step(&Step::Init).map_err(|e| format!("making the store after all: {e:?}"))?;
            }
            opened => opened.map_err(|e| format!("opening for writing: {e:?}"))?,
        }
        let store = session.store().ok_or("it is not open")?.clone();
        self.settle(&store)?;
        let settled = self.candidates[0].clone();
        let (step, changed) = one_more(&settled);
        // From here on the change may be there, confirmed or not.
        self.candidates = vec![settled, changed.clone()];
        session.step(&step).map_err(|e| format!("a change afterwards: {e:?}"))?;
        self.candidates = vec![changed.clone()];
        compare_briefly(&store, &changed).map_err(|e| format!("after one more change: {e}"))?;
        Ok(session)
    }

    /// Compares everything.
    fn examine(&self, session: &Session) -> Verdict {
        let store = session.store().ok_or("it is not open")?;
        compare(store, &self.candidates[0])?;
        match store.index_differences() {
            Ok(different) if different.is_empty() => Ok(()),
            other => Err(format!("the index and one made anew: {other:?}")),
        }
    }

    fn look_again(&mut self, disk: &SimDisk) -> Verdict {
        self.read(disk).map_err(|e| format!("after another power cut: {e}"))
    }
}

/// A change that can always be made.
fn one_more(model: &Model) -> (Step, Model) {
    let mut script = Script::from(model.clone());
    let now = 9_000_000;
    script.push(match model.stand {
        None => Step::Base { now, files: base() },
        Some(_) => {
            let text = format!("after {} ticks", model.last_tick());
            let change = Change::Save(path("after"), file(text.as_bytes()));
            Step::Mutate { now, changes: vec![change], refuse: false }
        }
    });
    (script.steps[0].clone(), script.last().clone())
}
