//! What goes wrong, and how it is told: gaps, a root that is gone, warnings, and the status.

use std::time::Duration;

use tickfs_store::ids::UnixMillis;
use tickfs_store::journal::entry::{Action, ItemType, NodeType};
use tickfs_store::path::RelPath;

use super::{Engine, WARNINGS_KEPT};
use crate::files::commit::Ledger;
use crate::files::error::{Error, Result};
use crate::files::place::kind_of;
use crate::files::report::{Announcement, Gap, State, Warning};
use crate::files::settle::{Moment, SAMPLE, Settle};

impl Engine {
    /// A save that was overwritten before anybody looked at it is a gap, and none that is passed over.
    pub(super) fn tell_of_merged(&mut self, now: Moment, after: Duration) -> Result<()> {
        let merged = self.settle.merged();
        if merged > 0 {
            self.shared.status.lock().merged += merged;
            let (before, from, since) = self.merged.take().unwrap_or((0, self.clock(), now));
            self.merged = Some((before + merged, from, since));
        }
        match self.merged {
            Some((count, from, since)) if since + after <= now => {
                self.merged = None;
                let why = match count {
                    1 => "1 save was overwritten before it could be looked at".to_owned(),
                    count => format!("{count} saves were overwritten before they could be looked at"),
                };
                self.gap(why, from)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn overflowed(&mut self) -> Result<()> {
        self.lost = false;
        let why = "the kernel's queue of events overflowed: saves in quick succession may have become one";
        let to = self.clock();
        self.gap(why.to_owned(), to)?;
        self.settle.forget_origins();
        self.compare_all().map(drop)
    }

    fn gap(&mut self, why: String, from: UnixMillis) -> Result<()> {
        let gap = Gap { from, to: self.clock(), why };
        {
            let mut status = self.shared.status.lock();
            status.gaps += 1;
            status.last_gap = Some(gap.clone());
        }
        let told = self.writer.mutate_alone(gap.to, |mutation| {
            mutation.observe(Action::Gap, &ItemType::RECORDER, None, &gap)?;
            mutation.summarise(&gap.why);
            Ok(())
        });
        (self.options.announce)(&Announcement::Gap(gap));
        Ok(told?)
    }

    pub(super) fn why_gone(&self) -> String {
        match self.ledger.place.moved_to() {
            Some(to) => format!("it was moved to {0}: `tickfs init --adopt {0}` goes on there", to.display()),
            None => "it was removed, or another directory has its name".to_owned(),
        }
    }

    pub(super) fn root_is_gone(&mut self, why: String) -> Result<()> {
        if self.gone {
            return Ok(());
        }
        self.gone = true;
        self.settle = Settle::default();
        self.watch.clear();
        let now = self.clock();
        self.shared.status.lock().state = State::RootGone { why: why.clone() };
        self.gap(format!("recording stopped, because the root is gone: {why}"), now)
    }

    pub(super) fn look_for_the_root(&mut self) -> Result<()> {
        let mut ledger = match Ledger::open(&self.writer, &self.scope) {
            Ok(ledger) => ledger,
            Err(Error::RootGone { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        ledger.threads = self.ledger.threads;
        std::mem::swap(&mut ledger.stamps, &mut self.ledger.stamps);
        if ledger.refuse_an_empty_root().is_err() {
            std::mem::swap(&mut ledger.stamps, &mut self.ledger.stamps);
            return Ok(());
        }
        ledger.writers = self.ledger.writers.take();
        self.ledger = ledger;
        self.watch.look_in(&self.ledger.place);
        self.gone = false;
        self.shared.status.lock().state = State::Recording;
        self.compare_all()?;
        (self.options.announce)(&Announcement::Back);
        Ok(())
    }

    pub(super) fn note_unread(&mut self, unread: Vec<(RelPath, String)>) {
        let again = self.now() + SAMPLE;
        for (path, why) in unread {
            self.settle.again(again, path.clone());
            if self.unread.insert(path.clone(), why.clone()).as_ref() != Some(&why) {
                self.warn(Some(path), format!("could not be read, and is tried again: {why}"));
            }
        }
    }

    /// A path was looked at, whatever came of it: what could not be read before is forgotten, or, where it is a directory,
    /// looked into.
    pub(super) fn looked_at(&mut self, path: &RelPath) {
        if !self.unread.contains_key(path) {
            return;
        }
        let place = &self.ledger.place;
        let is_dir =
            place.stat(path).ok().flatten().is_some_and(|stat| kind_of(&stat) == Some(NodeType::Dir));
        match is_dir && place.open_dir(path).is_err() {
            true => self.settle.again(self.began.elapsed() + SAMPLE, path.clone()),
            false => {
                self.unread.remove(path);
                self.reload.extend(is_dir.then(|| path.clone()));
            }
        }
    }

    pub(super) fn warn(&mut self, path: Option<RelPath>, what: String) {
        let warning = Warning { path, what };
        {
            let mut status = self.shared.status.lock();
            status.warned += 1;
            if status.warnings.len() == WARNINGS_KEPT {
                status.warnings.remove(0);
            }
            status.warnings.push(warning.clone());
        }
        (self.options.announce)(&Announcement::Warning(warning));
    }

    pub(super) fn failed(&mut self, error: Error) {
        if matches!(error, Error::RootGone { .. }) {
            return;
        }
        let why = error.to_string();
        {
            let mut status = self.shared.status.lock();
            status.failures += 1;
            status.state = State::Failing { why: why.clone() };
        }
        self.warn(None, format!("what changed could not be recorded, and is tried again: {why}"));
    }

    /// Puts into the status what changes all the time.
    pub(super) fn show(&mut self) {
        let pending = self.settle.len() as u64;
        if pending == 0 {
            *self.shared.waiting_since.lock() = None;
        }
        let mut status = self.shared.status.lock();
        status.pending = pending;
        status.paths = self.ledger.stamps.len() as u64;
        status.watches = self.watch.len() as u64;
        status.unwatched = self.watch.unwatched() as u64;
        status.threads = self.ledger.threads.get();
        status.unread = self.unread.iter().map(|(path, why)| (path.clone(), why.clone())).collect();
        status.written_all_the_time = self.settle.written_all_the_time().cloned().collect();
        status.files = match &self.scope.files {
            None => Vec::new(),
            Some(files) => {
                let interval = |path: &RelPath| self.sampled.get(path).map(|(interval, _)| *interval);
                files.iter().map(|path| (path.clone(), interval(path))).collect()
            }
        };
        let settled = matches!(status.state, State::Recording | State::Paused | State::Held);
        if settled {
            status.state = match () {
                () if self.held > 0 => State::Held,
                () if self.paused => State::Paused,
                () => State::Recording,
            };
        }
    }
}
