//! What a serving process is asked to show, and what becomes of it when somebody else takes it away.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::Value;
use tickfs_fs::Kept;
use tickfs_store::path::RelPath;

use super::keeper::message::{KeptMount, Standing};
use super::message::{Absolute, Answer};
use super::mounts::Wish;
use super::process::{Server, Stage};
use super::{mounted, mountpoint};
use crate::output::counted;

impl Server {
    pub(super) fn mount(
        &self,
        candidates: &[Absolute],
        file: Option<&RelPath>,
        allow_other: bool,
        list_ticks: Option<u64>,
    ) -> anyhow::Result<Answer> {
        if let Some(at) = self.mounts.shown_at(candidates, file) {
            return Ok(Answer::Mounted { at, notes: vec!["it is shown there already".to_owned()] });
        }
        self.state.lock().all = true;
        let mounted = self.mount_recorded(candidates, file, allow_other, list_ticks);
        self.state.lock().all = false;
        let at = match mounted {
            Ok(at) => at,
            Err(error) => {
                self.follow_recordings()?;
                return Err(error);
            }
        };
        self.tell_keeper();
        self.log.line(&format!("shows history at {}", at.0.display()));
        Ok(Answer::Mounted { at, notes: std::mem::take(&mut self.state.lock().notes) })
    }

    fn mount_recorded(
        &self,
        candidates: &[Absolute],
        file: Option<&RelPath>,
        allow_other: bool,
        list_ticks: Option<u64>,
    ) -> anyhow::Result<Absolute> {
        self.follow_recordings()?;
        let store = self.writer.store();
        let root = self.scope.lock().root.clone();
        // A mount point in the root comes to be while nothing is recorded, so that it is no tick.
        let held = self.engine.hold()?;
        let mount_point = mountpoint::prepare(store, &root, candidates, &self.mounts.places())?;
        let at = mount_point.at.clone();
        let wish = Wish { root: &root, file, allow_other, list_ticks, extras: self.extras() };
        self.mounts.show(store, mount_point, wish)?;
        drop(held);
        Ok(at)
    }

    pub(super) fn unmount(&self, at: Option<&Absolute>, file: Option<&RelPath>) -> anyhow::Result<Answer> {
        let held = self.engine.hold()?;
        let count = self.mounts.take_away(self.writer.store(), at, file);
        drop(held);
        let count = count?;
        self.log.line(&format!("{} taken away", counted(count, "mount")));
        Ok(Answer::Unmounted { count, ends: self.after_a_mount_ended()? })
    }

    fn extras(&self) -> tickfs_fs::Extras {
        let this = self.this.clone();
        Arc::new(move || this.upgrade().map_or(Value::Null, |server| server.numbers()))
    }

    /// Goes on with the mounts of a process before this one. Before this nobody may look at them: there is nobody to answer.
    pub(super) fn take_over(&self, mounts: Vec<(KeptMount, OwnedFd)>) {
        for (KeptMount { mount_point, file, allow_other, list_ticks, told }, device) in mounts {
            let at = mount_point.at.0.clone();
            let root = self.scope.lock().root.clone();
            let file = file.as_ref();
            let wish = Wish { root: &root, file, allow_other, list_ticks, extras: self.extras() };
            let kept = Kept { device, told, replace: tickfs_tracer::replace_descriptor };
            match self.mounts.take_over(self.writer.store(), mount_point, wish, kept) {
                Ok(()) => self.log.line(&format!("goes on with the mount at {}", at.display())),
                Err(error) => {
                    self.log.line(&format!("could not go on with the mount at {}: {error:#}", at.display()));
                }
            }
        }
        // Somebody took it away while nobody served.
        if let Err(error) = self.mounts.forget_vanished(self.writer.store()) {
            self.log.line(&format!("could not see to the mounts: {error:#}"));
        }
        self.tell_keeper();
    }

    /// Lets the keeper know what is to go on when this process is killed. In the foreground there is none: who watches a
    /// process sees it die. What cannot be told is kept no worse than without a keeper.
    pub(super) fn tell_keeper(&self) {
        if self.foreground && !self.keeper.is_kept() {
            return;
        }
        let standing = {
            let state = self.state.lock();
            let recordings = state.recordings.values().cloned().collect();
            Standing { recordings, paused: state.paused, threads: state.threads }
        };
        let this = self.this.clone();
        let lost = move || {
            if let Some(server) = this.upgrade() {
                server.tell_keeper();
            }
        };
        if let Err(error) = self.keeper.follow(&self.mounts.kept(), standing, lost) {
            self.log.line(&format!("could not tell the keeper of the mounts: {error:#}"));
        }
    }

    /// Whether that was the end of all there is to do.
    fn after_a_mount_ended(&self) -> anyhow::Result<bool> {
        self.follow_recordings()?;
        let ends = self.is_idle();
        if ends {
            self.begin_to_end();
        } else {
            self.tell_keeper();
        }
        Ok(ends)
    }

    /// Notices mounts that somebody else takes away.
    pub(super) fn watch_mounts(&self) -> anyhow::Result<()> {
        let this = self.this.clone();
        let changed = move || {
            let Some(server) = this.upgrade() else { return false };
            if let Err(error) = server.look_at_mounts() {
                server.log.line(&format!("could not see to the mounts: {error:#}"));
            }
            true
        };
        let watch = move || mounted::on_change(changed);
        std::thread::Builder::new()
            .name("mounts".to_owned())
            .spawn(watch)
            .context("could not start a thread")?;
        Ok(())
    }

    fn look_at_mounts(&self) -> anyhow::Result<()> {
        let _changing = self.changing.lock();
        if self.state.lock().stage != Stage::Serving {
            return Ok(());
        }
        let held = self.engine.hold()?;
        let count = self.mounts.forget_vanished(self.writer.store());
        drop(held);
        if count? > 0 {
            self.log.line("a mount was taken away by somebody else");
            self.after_a_mount_ended()?;
        }
        Ok(())
    }
}
