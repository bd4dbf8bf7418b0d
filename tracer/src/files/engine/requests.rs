//! What is asked of the recorder, and how each is answered.

use std::time::Duration;

use tickfs_store::Scope;
use tickfs_store::journal::entry::{Action, ItemType};
use tickfs_store::path::RelPath;

use super::Engine;
use crate::files::commit::Candidate;
use crate::files::compare::now_nanos;
use crate::files::error::{Error, Result};
use crate::files::recorder::Request;
use crate::files::report::{Flushed, State};

impl Engine {
    pub(super) fn request(&mut self, request: Request) {
        let waits = self.held > 0 && !matches!(request, Request::Release | Request::Look(..));
        if waits {
            self.deferred.push(request);
            return;
        }
        let (reply, done) = match request {
            Request::Flush(reply) => (reply, self.flush()),
            Request::Hold(reply) => {
                let flushed = self.flush();
                self.held += usize::from(flushed.is_ok());
                (reply, flushed)
            }
            Request::Release => return self.release(),
            Request::Look(paths, reply) => {
                (reply, self.commit(paths.into_iter().map(Candidate::new).collect()))
            }
            Request::Pause(reply) => {
                let flushed = self.flush();
                self.paused = true;
                (reply, flushed)
            }
            Request::Resume(reply) => {
                self.paused = false;
                // One burst is what was asked for.
                self.settle.merged();
                (reply, self.flush())
            }
            Request::SetThreads(count) => {
                self.ledger.threads = count;
                return;
            }
            Request::AddFile { path, interval, reply } => (reply, self.add_file(path, interval)),
            Request::RemoveFile { path, reply } => (reply, self.remove_file(&path)),
            Request::Stop => return,
        };
        self.show();
        // Whoever asked may have given up waiting.
        drop(reply.send(done));
    }

    fn release(&mut self) {
        self.held = self.held.saturating_sub(1);
        if self.held > 0 {
            return;
        }
        self.settle.forget_origins();
        self.settle.merged();
        let portion = self.settle.take_all();
        if let Err(error) = self.commit_portion(portion, true) {
            self.failed(error);
        }
        for request in std::mem::take(&mut self.deferred) {
            self.request(request);
        }
    }

    fn add_file(&mut self, path: RelPath, interval: Option<Duration>) -> Result<Flushed> {
        let Some(files) = &mut self.scope.files else {
            return Err(Error::Refused { what: format!("all of the root is recorded, {path} with it") });
        };
        if !files.contains(&path) {
            files.push(path.clone());
        }
        self.widen_scope(&path)?;
        self.ledger.rules.name_file(path.clone());
        let now = self.now();
        match interval {
            Some(interval) => drop(self.sampled.insert(path.clone(), (interval, now + interval))),
            None => drop(self.sampled.remove(&path)),
        }
        let mut dirs = Vec::new();
        let mut above = path.parent();
        while let Some(dir) = above.filter(|_| interval.is_none()) {
            above = dir.parent();
            let added = self.watch.add(&self.scope.root, &dir);
            dirs.push((dir, added));
        }
        self.added(dirs);
        self.commit(vec![Candidate { force: true, ..Candidate::new(path) }])
    }

    /// The store may record more than this recorder does; it is never made to record less.
    fn widen_scope(&self, path: &RelPath) -> Result<()> {
        if let Some(Scope { root, files: Some(mut files) }) = self.writer.store().scope()?
            && !files.contains(path)
        {
            files.push(path.clone());
            self.writer.set_scope(&Scope { root, files: Some(files) })?;
        }
        Ok(())
    }

    fn remove_file(&mut self, path: &RelPath) -> Result<Flushed> {
        let flushed = self.commit(vec![Candidate { force: true, ..Candidate::new(path.clone()) }])?;
        self.sampled.remove(path);
        self.ledger.rules.forget_file(path);
        self.ledger.stamps.remove(path);
        Ok(flushed)
    }

    /// Records everything that was seen, due or not.
    pub(super) fn flush(&mut self) -> Result<Flushed> {
        if self.gone {
            self.look_for_the_root()?;
        }
        if self.gone {
            let why = "nothing is recorded until it is back".to_owned();
            return Err(Error::RootGone { root: self.scope.root.clone(), why });
        }
        if self.lost {
            self.overflowed()?;
        }
        self.reload_rules()?;
        self.tell_of_merged(self.now(), Duration::ZERO)?;
        let mut flushed = Flushed::default();
        if !self.listens() || self.watch.unwatched() > 0 {
            flushed.append(self.compare_all()?);
        }
        let sampled: Vec<RelPath> = self.sampled.keys().cloned().collect();
        let force = |path| Candidate { force: true, ..Candidate::new(path) };
        flushed.append(self.commit(sampled.into_iter().map(force).collect())?);
        let portion = self.settle.take_all();
        flushed.append(self.commit_portion(portion, true)?);
        flushed.unread = self.unread.iter().map(|(path, why)| (path.clone(), why.clone())).collect();
        self.show();
        Ok(flushed)
    }

    pub(super) fn last_commit(&mut self) {
        if self.held == 0 && !self.paused && !self.gone {
            if let Err(error) = self.flush() {
                self.failed(error);
            }
            if let Err(error) = self.ledger.keep_stamps(&self.writer, now_nanos()) {
                self.failed(error);
            }
        }
        let now = self.clock();
        let payload = serde_json::json!({ "recorder": "files" });
        self.writer.observe(now, Action::SessionEnd, &ItemType::RECORDER, &payload);
    }

    pub(super) fn end(self) {
        self.wake.close();
        let mut status = self.shared.status.lock();
        if !matches!(status.state, State::Failing { .. }) {
            status.state = State::Stopped;
        }
    }
}
