//! A mount that serves until it is dropped.

mod system;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fuser::BackgroundSession;
use parking_lot::Mutex;
use tickfs_store::{Committed, Store};

use crate::counters::Counters;
use crate::error::{Error, Result};
use crate::fuse::{self, Notices};
use crate::view::{Options, View};

/// Takes away a mount that nobody serves any more. It is no error where there is none.
pub fn detach(mountpoint: &Path) -> Result<()> {
    system::unmount(mountpoint)
}

#[derive(Debug)]
pub struct Mount {
    mountpoint: PathBuf,
    view: Arc<View>,
    counters: Arc<Counters>,
    notices: Notices,
    session: Mutex<Option<BackgroundSession>>,
}

impl Mount {
    /// Shows a store at a directory that exists. Returns when the first lookup would be answered.
    pub fn start(store: Store, mountpoint: &Path, options: Options) -> Result<Self> {
        let counters = Arc::new(Counters::default());
        let view = Arc::new(View::with_counters(store, options.clone(), Arc::clone(&counters))?);
        let device = system::mount(mountpoint, &options)?;
        let served = fuse::session(Arc::clone(&view), Arc::clone(&counters), device, options.allow_other);
        let session = match served {
            Ok(session) => session,
            Err(error) => {
                system::unmount(mountpoint)?;
                return Err(error);
            }
        };
        let mountpoint = mountpoint.to_path_buf();
        let notices = Notices::of(&session);
        Ok(Self { mountpoint, view, counters, notices, session: Mutex::new(Some(session)) })
    }

    /// To be told of each commit before anybody else is: whoever looks afterwards sees what it made.
    pub fn committed(&self, what: &Committed) {
        let told = self.view.committed(what).and_then(|outdated| {
            let failed =
                |source| Error::Mount { what: "could not tell the kernel what changed".to_owned(), source };
            for ino in outdated.inodes {
                self.notices.inode_changed(ino).map_err(failed)?;
            }
            for (parent, name) in outdated.names {
                self.notices.name_changed(parent, &name).map_err(failed)?;
            }
            Ok(())
        });
        // Without a mount there is nobody to be told.
        if let Err(error) = told
            && self.is_served()
        {
            self.view.failed(&error);
        }
    }

    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    #[must_use]
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Whether the kernel still has it; it does not after `fusermount3 -u`.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.session.lock().as_ref().is_some_and(|session| !session.guard.is_finished())
    }

    /// Takes the mount away. Files that are open stay readable as long as this process lives.
    pub fn unmount(&self) -> Result<()> {
        let Some(session) = self.session.lock().take() else { return Ok(()) };
        if !session.guard.is_finished() {
            system::unmount(&self.mountpoint)?;
        }
        // The loop ends with the last file that is open; nobody waits for that.
        let until = Instant::now() + Duration::from_millis(500);
        while !session.guard.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            // Nobody is left to be told: the mount point says it itself, and the next start replaces it.
            drop(error);
        }
    }
}
