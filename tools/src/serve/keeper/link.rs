//! The serving process's end of the keeper: finds the one that is left, starts one where there is none, and tells it what changes.
//!
//! Invariants:
//!   * What is answered is kept: a mount is told to the keeper before whoever asked for it hears that it is there.
//!   * Only the holder of the store's lock binds `KEEPER`; so what is found there before is a leftover.
//!   * A keeper that is gone is followed by another one, unless they go at once again and again.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use std::os::unix::process::CommandExt as _;

use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tickfs_fs::Mount;

use super::super::log::{self, Log};
use super::super::message::Absolute;
use super::super::socket;
use super::message::{KeptMount, Message, Standing, VERSION, hear, say};
use crate::commands;

const NAME: &str = "KEEPER";
/// A keeper does nothing else than keep, and answers at once.
const PATIENCE: Duration = Duration::from_secs(3);
/// So many keepers may go by themselves before none is started any more.
const LOSSES_MAX: u32 = 5;

/// What a process before this one left with its keeper.
#[derive(Debug, Default)]
pub(crate) struct Inheritance {
    pub(crate) mounts: Vec<(KeptMount, OwnedFd)>,
    pub(crate) standing: Option<Standing>,
}

#[derive(Debug)]
pub(crate) struct Link {
    store: PathBuf,
    log: Arc<Log>,
    outage_max_seconds: u32,
    state: Mutex<State>,
    gone: Condvar,
}

#[derive(Debug, Default)]
struct State {
    keeper: Option<Arc<OwnedFd>>,
    /// What it was told.
    kept: BTreeMap<Absolute, KeptMount>,
    standing: Option<Standing>,
    losses: u32,
    ends: bool,
}

impl Link {
    pub(crate) fn new(store: &Path, log: Arc<Log>, outage_max_seconds: u32) -> Self {
        let (state, gone) = (Mutex::default(), Condvar::new());
        Self { store: store.to_path_buf(), log, outage_max_seconds, state, gone }
    }

    /// What is left of a process before this one. `lost` is called when the keeper goes by itself.
    pub(crate) fn inherit(self: &Arc<Self>, lost: impl Fn() + Send + 'static) -> io::Result<Inheritance> {
        let mut inheritance = Inheritance::default();
        let Some(keeper) = self.connect()? else { return Ok(inheritance) };
        loop {
            wait_for(&keeper)?;
            match hear(&keeper)? {
                Some((Message::Hello { version }, _)) if version == VERSION => {}
                Some((Message::Keep { mount }, Some(device))) => inheritance.mounts.push((*mount, device)),
                Some((Message::Standing { standing }, _)) => {
                    inheritance.standing = standing;
                    break;
                }
                // One that kept nothing any more.
                None => return Ok(Inheritance::default()),
                Some((message, _)) => {
                    return Err(io::Error::other(format!("the keeper said something strange: {message:?}")));
                }
            }
        }
        let mut state = self.state.lock();
        let kept = inheritance.mounts.iter().map(|(mount, _)| (mount.mount_point.at.clone(), mount.clone()));
        state.kept = kept.collect();
        state.standing.clone_from(&inheritance.standing);
        self.heed(&mut state, keeper, None, lost)?;
        Ok(inheritance)
    }

    /// Whether there is a keeper.
    pub(crate) fn is_kept(&self) -> bool {
        self.state.lock().keeper.is_some()
    }

    /// Makes the keeper keep these mounts, and starts one where there is none.
    pub(crate) fn follow(
        self: &Arc<Self>,
        wanted: &[(KeptMount, Arc<Mount>)],
        standing: Standing,
        lost: impl Fn() + Send + 'static,
    ) -> anyhow::Result<()> {
        let mut state = self.state.lock();
        if state.ends || (state.keeper.is_none() && (wanted.is_empty() || state.losses > LOSSES_MAX)) {
            return Ok(());
        }
        if state.keeper.is_none() {
            let (keeper, child) = self.begin()?;
            self.heed(&mut state, keeper, Some(child), lost)?;
        }
        let Some(keeper) = state.keeper.clone() else { return Ok(()) };
        if state.standing.as_ref() != Some(&standing) {
            say(&keeper, &Message::Standing { standing: Some(standing.clone()) }, None)?;
            state.standing = Some(standing);
        }
        for (mount, served) in wanted {
            let at = &mount.mount_point.at;
            let before = state.kept.get(at);
            if before == Some(mount) {
                continue;
            }
            let device = match before {
                Some(_) => None,
                None => match served.connection()? {
                    Some(device) => Some(device),
                    None => continue,
                },
            };
            let message = Message::Keep { mount: Box::new(mount.clone()) };
            say(&keeper, &message, device.as_ref().map(OwnedFd::as_fd))?;
            state.kept.insert(at.clone(), mount.clone());
        }
        let is_wanted = |at: &Absolute| wanted.iter().any(|(mount, _)| mount.mount_point.at == *at);
        let released: Vec<Absolute> = state.kept.keys().filter(|at| !is_wanted(at)).cloned().collect();
        for at in released {
            if let Some(KeptMount { mount_point, .. }) = state.kept.remove(&at) {
                say(&keeper, &Message::Release { mount_point }, None)?;
            }
        }
        if state.kept.is_empty() {
            say(&keeper, &Message::End, None)?;
            state.keeper = None;
        }
        Ok(())
    }

    /// The process ends in order, and the keeper with it.
    pub(crate) fn end(&self) -> anyhow::Result<()> {
        let mut state = self.state.lock();
        state.ends = true;
        if let Some(keeper) = &state.keeper {
            match say(keeper, &Message::End, None) {
                // It was gone already.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                said => said?,
            }
        }
        while state.keeper.is_some() {
            if self.gone.wait_for(&mut state, PATIENCE).timed_out() {
                self.log.line("the keeper of the mounts takes long to end");
                break;
            }
        }
        match std::fs::remove_file(self.store.join(NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn connect(&self) -> io::Result<Option<OwnedFd>> {
        let (_dir, path) = socket::short(&self.store, NAME)?;
        let keeper = seqpacket()?;
        match rustix::net::connect(&keeper, &SocketAddrUnix::new(path)?) {
            Ok(()) => Ok(Some(keeper)),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::CONNREFUSED) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn begin(&self) -> io::Result<(OwnedFd, Child)> {
        match std::fs::remove_file(self.store.join(NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (dir, path) = socket::short(&self.store, NAME)?;
        let listener = seqpacket()?;
        rustix::net::bind(&listener, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&listener, 8)?;
        drop(dir);
        let child = Command::new("/proc/self/exe")
            .arg0("tickfs")
            .args([commands::serve::KEEPER, "--store"])
            .arg(&self.store)
            .args(["--outage-max-seconds", &self.outage_max_seconds.to_string()])
            .current_dir("/")
            .stdin(listener)
            .stdout(Stdio::null())
            .stderr(log::stderr_of(&self.store.join("logs/serve.log"))?)
            .spawn()?;
        let refused = || io::Error::other("the keeper does not listen");
        Ok((self.connect()?.ok_or_else(refused)?, child))
    }

    /// Notices when the keeper goes.
    fn heed(
        self: &Arc<Self>,
        state: &mut State,
        keeper: OwnedFd,
        child: Option<Child>,
        lost: impl Fn() + Send + 'static,
    ) -> io::Result<()> {
        let keeper = Arc::new(keeper);
        state.keeper = Some(Arc::clone(&keeper));
        let this = Arc::clone(self);
        let heed = move || {
            if let Err(error) = until_it_goes(&keeper, child) {
                this.log.line(&format!("could not listen to the keeper of the mounts: {error}"));
            }
            let mut state = this.state.lock();
            if !state.keeper.as_ref().is_some_and(|other| Arc::ptr_eq(other, &keeper)) {
                return;
            }
            let ends = state.ends;
            *state = State { losses: state.losses + 1, ends, ..State::default() };
            drop(state);
            this.gone.notify_all();
            if !ends {
                this.log.line("the keeper of the mounts is gone");
                lost();
            }
        };
        std::thread::Builder::new().name("keeper".to_owned()).spawn(heed)?;
        Ok(())
    }
}

fn seqpacket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

fn until_it_goes(keeper: &OwnedFd, child: Option<Child>) -> io::Result<()> {
    while hear(keeper)?.is_some() {}
    child.map_or(Ok(()), |mut child| child.wait().map(drop))
}

fn wait_for(keeper: &OwnedFd) -> io::Result<()> {
    let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    let mut polled = [PollFd::new(keeper, PollFlags::IN)];
    loop {
        match poll(&mut polled, Some(&patience)) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(0) => return Err(io::Error::other("the keeper of the mounts does not answer")),
            ready => return Ok(ready.map(drop)?),
        }
    }
}
