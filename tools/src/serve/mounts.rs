//! The mounts of a serving process.
//!
//! Lock order: whoever commits holds the store's writer while it tells the mounts; so nobody asks the writer for anything
//! while holding the list of them.

use std::sync::Arc;

use parking_lot::RwLock;
use tickfs_fs::{Extras, Kept, ListTicks, Mount, Options};
use tickfs_store::path::RelPath;
use tickfs_store::{Store, StoreWriter};

use super::keeper::message::KeptMount;
use super::message::Absolute;
use super::mounted;
use super::mountpoint::{self, MountPoint};
use super::status::MountStatus;

#[derive(Debug, Default)]
pub(crate) struct Mounts(Arc<RwLock<Vec<Shown>>>);

#[derive(Debug, Clone)]
struct Shown {
    mount_point: MountPoint,
    file: Option<RelPath>,
    allow_other: bool,
    list_ticks: Option<u64>,
    mount: Arc<Mount>,
}

/// What is to be shown, and to whom.
pub(crate) struct Wish<'a> {
    pub(crate) root: &'a std::path::Path,
    pub(crate) file: Option<&'a RelPath>,
    pub(crate) allow_other: bool,
    pub(crate) list_ticks: Option<u64>,
    pub(crate) extras: Extras,
}

impl Mounts {
    /// Every commit is told to every mount before it is told to anybody else. `told_other`: the kernel was told what it keeps.
    pub(crate) fn follow(&self, writer: &StoreWriter, told_other: impl Fn() + Send + Sync + 'static) {
        let shown = Arc::clone(&self.0);
        writer.on_commit(Arc::new(move |committed| {
            let told = shown.read().iter().filter(|shown| shown.mount.committed(committed)).count();
            if told > 0 {
                told_other();
            }
        }));
    }

    /// What is to be kept when this process is killed.
    pub(crate) fn kept(&self) -> Vec<(KeptMount, Arc<Mount>)> {
        let kept = |shown: &Shown| {
            let Shown { mount_point, file, allow_other, list_ticks, mount } = shown.clone();
            let told = Some(mount.view().told());
            (KeptMount { mount_point, file, allow_other, list_ticks, told }, mount)
        };
        self.0.read().iter().map(kept).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.read().is_empty()
    }

    pub(crate) fn status(&self) -> Vec<MountStatus> {
        let shown = self.0.read();
        shown.iter().map(|s| MountStatus { at: s.mount_point.at.clone(), file: s.file.clone() }).collect()
    }

    pub(crate) fn places(&self) -> Vec<Absolute> {
        self.0.read().iter().map(|shown| shown.mount_point.at.clone()).collect()
    }

    /// Where the same is shown already, of these places.
    pub(crate) fn shown_at(&self, candidates: &[Absolute], file: Option<&RelPath>) -> Option<Absolute> {
        let shown = self.0.read();
        let same = |s: &&Shown| s.file.as_ref() == file && candidates.contains(&s.mount_point.at);
        shown.iter().find(same).map(|s| s.mount_point.at.clone())
    }

    /// Shows history at a mount point that was prepared.
    pub(crate) fn show(&self, store: &Store, mount_point: MountPoint, wish: Wish<'_>) -> anyhow::Result<()> {
        let mount = match Mount::start(store.clone(), &mount_point.at.0, options_of(&wish)) {
            Ok(mount) => Arc::new(mount),
            Err(error) => {
                mountpoint::tidy(store, &mount_point)?;
                return Err(error.into());
            }
        };
        self.add(mount_point, &wish, mount);
        Ok(())
    }

    /// Goes on with a mount that a process before this one showed.
    pub(crate) fn take_over(
        &self,
        store: &Store,
        mount_point: MountPoint,
        wish: Wish<'_>,
        kept: Kept,
    ) -> anyhow::Result<()> {
        let mount = Mount::take_over(store.clone(), &mount_point.at.0, options_of(&wish), kept)?;
        self.add(mount_point, &wish, Arc::new(mount));
        Ok(())
    }

    fn add(&self, mount_point: MountPoint, wish: &Wish<'_>, mount: Arc<Mount>) {
        let (file, allow_other, list_ticks) = (wish.file.cloned(), wish.allow_other, wish.list_ticks);
        self.0.write().push(Shown { mount_point, file, allow_other, list_ticks, mount });
    }

    /// Takes away the mount at a place, those of one file, or all. How many they were.
    pub(crate) fn take_away(
        &self,
        store: &Store,
        at: Option<&Absolute>,
        file: Option<&RelPath>,
    ) -> anyhow::Result<u64> {
        let gone = |shown: &Shown| {
            at.is_none_or(|at| shown.mount_point.at == *at)
                && file.is_none_or(|file| shown.file.as_ref() == Some(file))
        };
        self.end(store, gone)
    }

    /// Forgets those that somebody else took away, with `fusermount3 -u` for instance. How many they were.
    pub(crate) fn forget_vanished(&self, store: &Store) -> anyhow::Result<u64> {
        let here = mounted::all()?;
        let gone = |shown: &Shown| !here.iter().any(|m| m.is_ours() && m.at == shown.mount_point.at.0);
        self.end(store, gone)
    }

    fn end(&self, store: &Store, gone: impl Fn(&Shown) -> bool) -> anyhow::Result<u64> {
        let ending: Vec<Shown> = self.0.read().iter().filter(|shown| gone(shown)).cloned().collect();
        let mut failed = None;
        let mut count = 0;
        for shown in ending {
            if let Err(error) = shown.mount.unmount() {
                failed = Some(error.into());
                continue;
            }
            self.0.write().retain(|other| other.mount_point.at != shown.mount_point.at);
            count += 1;
            if let Err(error) = mountpoint::tidy(store, &shown.mount_point) {
                failed = Some(error);
            }
        }
        failed.map_or(Ok(count), Err)
    }
}

fn options_of(wish: &Wish<'_>) -> Options {
    Options {
        allow_other: wish.allow_other,
        fsname: mounted::source_of(wish.root),
        list_ticks: wish.list_ticks.map_or(ListTicks::All, ListTicks::Newest),
        extras: Some(Arc::clone(&wish.extras)),
        single: wish.file.cloned(),
        isolate: Some(tickfs_tracer::isolate_thread),
        ..Options::default()
    }
}
