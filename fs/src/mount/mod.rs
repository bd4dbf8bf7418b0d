//! A mount that serves until it is dropped.

pub(crate) mod kept;
mod system;

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fuser::BackgroundSession;
use parking_lot::Mutex;
use tickfs_store::{Committed, Store};

use crate::ahead::Ahead;
use crate::counters::Counters;
use crate::error::{Error, Result};
use crate::fuse::{self, Connection};
use crate::notify::{Changes, Notices};
use crate::view::{Options, Outdated, View};

pub use kept::Kept;

/// Takes away a mount that nobody serves any more; whoever waits for an answer gets an error, as far as this user may do that.
/// It is no error where there is none.
pub fn detach(mountpoint: &Path) -> Result<()> {
    system::abort(mountpoint)?;
    system::unmount(mountpoint)
}

#[derive(Debug)]
pub struct Mount {
    mountpoint: PathBuf,
    view: Arc<View>,
    counters: Arc<Counters>,
    notices: Notices,
    session: Mutex<Option<Session>>,
}

#[derive(Debug)]
struct Session {
    running: BackgroundSession,
    /// For whoever is to keep the connection.
    device: Arc<OwnedFd>,
}

impl Mount {
    /// Shows a store at a directory that exists. Returns when the first lookup would be answered.
    pub fn start(store: Store, mountpoint: &Path, options: Options) -> Result<Self> {
        let counters = Arc::new(Counters::default());
        let view = Arc::new(View::with_counters(store, options.clone(), Arc::clone(&counters))?);
        let device = Arc::new(system::mount(mountpoint, &options)?);
        let serve =
            |connection| Self::serve(view, counters, mountpoint, connection, device.clone(), &options);
        let served = duplicate(&device).and_then(|device| serve(Connection::New(device)));
        if served.is_err() {
            system::unmount(mountpoint)?;
        }
        served
    }

    /// Goes on with a mount that another process served. Whoever waits for an answer gets it now.
    pub fn take_over(store: Store, mountpoint: &Path, options: Options, kept: Kept) -> Result<Self> {
        let counters = Arc::new(Counters::default());
        let view = View::with_counters(store, options.clone(), Arc::clone(&counters))?;
        let outdated = view.was_told(kept.told)?;
        let view = Arc::new(view);
        let device = Arc::new(duplicate(&kept.device)?);
        let connection = Connection::Begun { device: kept.device, replace: kept.replace };
        let mount = Self::serve(view, counters, mountpoint, connection, device, &options)?;
        // What changed while nobody served was told to nobody.
        mount.tell(outdated)?;
        Ok(mount)
    }

    fn serve(
        view: Arc<View>,
        counters: Arc<Counters>,
        mountpoint: &Path,
        connection: Connection,
        device: Arc<OwnedFd>,
        options: &Options,
    ) -> Result<Self> {
        let failed =
            |source| Error::Mount { what: "could not start the threads of the mount".to_owned(), source };
        let begun = Notices::begin(&device, options.isolate, Arc::clone(&counters));
        let (notices, contents) = begun.map_err(failed)?;
        let ahead = Arc::new(Ahead::new(Arc::clone(&view), contents).map_err(failed)?);
        let (shown, counted) = (Arc::clone(&view), Arc::clone(&counters));
        let running = fuse::session(shown, counted, connection, options.allow_other, ahead)?;
        let mountpoint = mountpoint.to_path_buf();
        let session = Mutex::new(Some(Session { running, device }));
        Ok(Self { mountpoint, view, counters, notices, session })
    }

    /// For one who keeps the connection while nobody serves it. As long as such a descriptor is open, whoever reads waits when
    /// this process is gone. `None`: the mount was taken away.
    pub fn connection(&self) -> Result<Option<OwnedFd>> {
        self.session.lock().as_ref().map(|session| duplicate(&session.device)).transpose()
    }

    /// To be told of each commit before anybody else is: whoever looks afterwards sees what it made. Says whether
    /// [`View::told`] is another one now.
    pub fn committed(&self, what: &Committed) -> bool {
        let outdated = self.view.committed(what);
        let is_other = outdated.as_ref().is_ok_and(|outdated| outdated.told_other);
        // Without a mount there is nobody to be told.
        if let Err(error) = outdated.and_then(|outdated| self.tell(outdated))
            && self.is_served()
        {
            self.view.failed(&error);
        }
        is_other
    }

    fn tell(&self, outdated: Outdated) -> Result<()> {
        let failed =
            |source| Error::Mount { what: "could not tell the kernel what changed".to_owned(), source };
        let Outdated { inodes, names, .. } = outdated;
        self.notices.tell(Changes { inodes, names, ..Changes::default() }).map_err(failed)
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
        self.session.lock().as_ref().is_some_and(|session| !session.running.guard.is_finished())
    }

    /// Takes the mount away. Files that are open stay readable as long as this process lives.
    pub fn unmount(&self) -> Result<()> {
        let Some(Session { running: session, device }) = self.session.lock().take() else { return Ok(()) };
        drop(device);
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

fn duplicate(device: &OwnedFd) -> Result<OwnedFd> {
    let failed = |source| Error::Mount { what: "could not duplicate the connection".to_owned(), source };
    device.as_fd().try_clone_to_owned().map_err(failed)
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            // Nobody is left to be told: the mount point says it itself, and the next start replaces it.
            drop(error);
        }
    }
}
