//! Upkeep beside everything else: a thread that gives way to all others, and may be killed at any moment.
//!
//! It looks for something to do when it begins and when a segment or a pack was closed; in between it sleeps.

use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::{Condvar, Mutex};
use tickfs_store::{StoreWriter, UpkeepStep};

use super::log::Log;
use crate::now;

/// What a process is started for comes first.
pub(crate) const FIRST_LOOK: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Upkeep(Arc<Bell>);

#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Rung {
    is_due: bool,
    has_ended: bool,
}

impl Upkeep {
    pub(crate) fn begin(
        writer: &Arc<StoreWriter>,
        log: Arc<Log>,
        first_look: Duration,
    ) -> anyhow::Result<Self> {
        writer.leave_upkeep_to_background();
        let bell = Arc::new(Bell::default());
        let due = Arc::clone(&bell);
        writer.on_commit(Arc::new(move |committed| {
            if committed.rolled {
                due.ring();
            }
        }));
        let (heard, writer) = (Arc::clone(&bell), Arc::downgrade(writer));
        let work = move || {
            heard.wait_first(first_look);
            while heard.goes_on() {
                if let Err(error) = do_what_is_due(&writer, &log, &heard) {
                    log.line(&format!("upkeep failed, and is tried again after the next roll: {error:#}"));
                }
                heard.wait();
            }
        };
        std::thread::Builder::new()
            .name("upkeep".to_owned())
            .spawn(work)
            .context("could not start a thread")?;
        Ok(Self(bell))
    }

    /// Nothing more is begun, and what is under way ends soon or with the process.
    pub(crate) fn end(&self) {
        self.0.rung.lock().has_ended = true;
        self.0.changed.notify_all();
    }
}

impl Bell {
    fn ring(&self) {
        self.rung.lock().is_due = true;
        self.changed.notify_all();
    }

    fn goes_on(&self) -> bool {
        !self.rung.lock().has_ended
    }

    fn wait_first(&self, at_most: Duration) {
        let mut rung = self.rung.lock();
        self.changed.wait_while_for(&mut rung, |rung| !rung.has_ended, at_most);
        rung.is_due = false;
    }

    fn wait(&self) {
        let mut rung = self.rung.lock();
        self.changed.wait_while(&mut rung, |rung| !rung.is_due && !rung.has_ended);
        rung.is_due = false;
    }
}

fn do_what_is_due(writer: &Weak<StoreWriter>, log: &Log, bell: &Bell) -> anyhow::Result<()> {
    // The kernel takes the number of a process for one of its threads: 0 is the one that asks.
    rustix::process::setpriority_process(None, 19).context("could not give way to others")?;
    while bell.goes_on() {
        let Some(writer) = writer.upgrade() else { return Ok(()) };
        match writer.upkeep_step(now::now(), &|| bell.goes_on())? {
            Some(step) => log.line(&told(&step)),
            None => return Ok(()),
        }
    }
    Ok(())
}

fn told(step: &UpkeepStep) -> String {
    match step {
        UpkeepStep::Sealed(sealed) => {
            let (from, to) = (sealed.plain_len, sealed.sealed_len);
            format!("sealed {}: {from} bytes are {to}", sealed.segment.sealed_name())
        }
        UpkeepStep::Checkpoint(made) => format!("made the checkpoint {}", made.file),
        UpkeepStep::Pack(pack, done) => {
            format!("compacted pack {}: {} bytes are {}", pack.0, done.hot_len, done.cold_len)
        }
        UpkeepStep::Index => "made the index anew, because nobody had closed it".to_owned(),
        UpkeepStep::Stopped => "stopped a compaction, which begins anew another time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tickfs_store::Store;
    use tickfs_store::disk::RealDisk;
    use tickfs_store::ids::{StoreId, UnixMillis};
    use tickfs_store::journal::entry::ItemType;

    use super::*;

    /// A store whose segments are short.
    fn store(dir: &Path) -> Store {
        drop(Store::init(Arc::new(RealDisk), dir, StoreId::new(UnixMillis(1), [7; 10])).unwrap());
        std::fs::write(dir.join("config.toml"), "[store.journal]\nroll_bytes = 4000\n").unwrap();
        Store::open(Arc::new(RealDisk), dir).unwrap()
    }

    fn is_sealed(dir: &Path, count: usize) -> bool {
        let names = std::fs::read_dir(dir.join("journal")).unwrap();
        let sealed = names.filter(|name| {
            let name = name.as_ref().unwrap().file_name();
            name.to_string_lossy().ends_with(".jsonl.zst")
        });
        sealed.count() >= count
    }

    #[test]
    fn what_rolls_is_sealed_without_anybody_asking_and_nothing_begins_behind_the_end() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("store");
        let writer = Arc::new(store(&dir).writer(now::writer(), Duration::ZERO).unwrap());
        let log = Arc::new(Log::open(&temp.path().join("logs"), None).unwrap());
        let upkeep = Upkeep::begin(&writer, Arc::clone(&log), Duration::ZERO).unwrap();
        let write = || {
            for n in 0..60 {
                let text = serde_json::json!({"n": n, "text": "x".repeat(100)});
                writer.mutate(UnixMillis(n), move |m| m.put_entity(&ItemType::HANDOFF, "h", &text)).unwrap();
            }
        };
        write();
        let patience = std::time::Instant::now() + Duration::from_secs(60);
        while !is_sealed(&dir, 2) {
            assert!(std::time::Instant::now() < patience, "nothing was sealed");
            std::thread::yield_now();
        }
        upkeep.end();
        // The thread holds the writer only while it does something.
        while Arc::strong_count(&writer) > 1 {
            assert!(std::time::Instant::now() < patience, "it goes on behind the end");
            std::thread::yield_now();
        }
        writer.rest().unwrap();
        assert!(dir.join("index.db.sum").exists());
        let refused = writer.mutate(UnixMillis(1), |m| m.put_entity(&ItemType::HANDOFF, "h", &1));
        assert!(refused.unwrap_err().to_string().contains("closed"), "nothing is written behind the close");
    }
}
