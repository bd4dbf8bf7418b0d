//! Where the store lives: the filesystem, its room, processes and mounts that claim to serve it.

use std::io;
use std::path::PathBuf;

use serde::Deserialize;

use super::findings::{Report, Severity};
use crate::disk::read_all;
use crate::error::{Error, Result};
use crate::store::Store;

/// Below this, a store may soon have to refuse what it is given.
const LOW_DISK_BYTES: u64 = 256 << 20;

/// What only the caller can see of the machine: the store asks the operating system for storage alone.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Processes that live.
    pub is_alive: Option<fn(u32) -> bool>,
    /// Mount points that say they are of tickfs and do not answer.
    pub dead_mounts: Vec<PathBuf>,
    /// Directories under the root that want a watch, and how many watches a user may have.
    pub watches: Option<(u64, u64)>,
}

pub(super) fn examine(store: &Store, surroundings: &Surroundings, report: &mut Report) -> Result<()> {
    let dir = store.layout().dir();
    let space = store.disk().space(dir).map_err(Error::io("examine the filesystem of", dir))?;
    report.facts.free_bytes = space.free;
    if let Some(network) = space.network {
        let what = format!("lies on a network filesystem ({network}), where nothing can be promised");
        report
            .add(Severity::Warning, "network_filesystem", what)
            .at(dir, None)
            .next("move it to a local disk and name it with --store");
    }
    if space.free < LOW_DISK_BYTES {
        let what = format!("only {} MiB are free", space.free >> 20);
        report.add(Severity::Warning, "low_disk", what).at(dir, None).next("make room");
    }
    for mount in &surroundings.dead_mounts {
        report
            .add(Severity::Warning, "dead_mount", "is a mount of tickfs that nobody serves")
            .at(mount, None)
            .next("tickfs unmount, or mount again");
    }
    if let Some((wanted, limit)) = surroundings.watches
        && wanted > limit
    {
        let what = format!("{wanted} directories want a watch, and {limit} are allowed; the rest is sampled");
        report
            .add(Severity::Warning, "watch_limit", what)
            .next(format!("sysctl fs.inotify.max_user_watches={}", wanted.next_power_of_two()));
    }
    tell_of_daemons(store, surroundings, report)
}

fn tell_of_daemons(store: &Store, surroundings: &Surroundings, report: &mut Report) -> Result<()> {
    #[derive(Deserialize)]
    struct Daemon {
        pid: u32,
    }
    let dir = store.layout().daemons();
    let names = match store.disk().list(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        names => names.map_err(Error::io("list", &dir))?,
    };
    for name in names.iter().filter(|name| name.as_encoded_bytes().ends_with(b".daemon")) {
        let path = dir.join(name);
        let text = read_all(&**store.disk(), &path).map_err(Error::io("read", &path))?;
        match (serde_json::from_slice::<Daemon>(&text), surroundings.is_alive) {
            (Err(error), _) => {
                let what = format!("does not read: {error}");
                report
                    .add(Severity::Warning, "daemon_unreadable", what)
                    .at(&path, None)
                    .next("tickfs doctor --repair parks it");
            }
            (Ok(daemon), Some(is_alive)) if !is_alive(daemon.pid) => {
                let what = format!("speaks of process {}, which is gone", daemon.pid);
                report
                    .add(Severity::Warning, "stale_daemon", what)
                    .at(&path, None)
                    .next("tickfs daemon status");
            }
            (Ok(_), _) => {}
        }
    }
    Ok(())
}
