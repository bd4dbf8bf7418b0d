//! The one writer: holds the lock, and turns mutations into durable records.
//!
//! Invariants:
//!   * Nothing is confirmed before content and journal are durable; nothing is visible before it is confirmed.
//!   * A mutation that fails leaves no record, no row, and the heads as they were.
//!   * Lock order: `queue` is never held while `inner` is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rusqlite::Connection;
use serde::Serialize;

use super::Store;
use super::group::{Job, Slot, Task};
use super::maintain::Turns;
use super::mutation::{Heads, Mutation};
use super::reconcile;
use super::scope::Scope;
use crate::content::ContentWriter;
use crate::disk::{DiskLock, Fsync};
use crate::error::{Error, Result};
use crate::history::Known;
use crate::ids::{Seq, Tick, UnixMillis};
use crate::index::{self, Query};
use crate::journal::entry::{Action, Draft, ItemType, Writer};
use crate::journal::{JournalEnd, JournalWriter};

pub struct StoreWriter {
    store: Store,
    healed: u64,
    inner: Mutex<Inner>,
    queue: Mutex<Vec<Box<dyn Job>>>,
    listeners: Mutex<Vec<Listener>>,
    events_lost: AtomicU64,
    pub(super) upkeep: Turns,
    _told: Told,
    /// Freed last: by then everything else is closed.
    _lock: Box<dyn DiskLock>,
}

/// A group of mutations that is durable and visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    pub first_seq: Seq,
    pub last_seq: Seq,
    /// The first tick that it made and the last; `None` if it made none.
    pub ticks: Option<(Tick, Tick)>,
    /// A segment or a pack was closed, so that upkeep is due.
    pub rolled: bool,
}

type Listener = Arc<dyn Fn(&Committed) + Send + Sync>;

struct Inner {
    db: Connection,
    journal: JournalWriter,
    packs: ContentWriter,
    heads: Heads,
    fsync: Fsync,
    /// A segment or a pack was closed since somebody last looked.
    rolled: bool,
    /// The journal got further than the index did: replay before the next mutation.
    index_is_behind: bool,
    is_closed: bool,
}

/// While it lives, views of this store's clones know history from its writer.
struct Told(Store);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.set_latest(None);
    }
}

impl std::fmt::Debug for StoreWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreWriter").field("store", &self.store.id()).finish_non_exhaustive()
    }
}

impl StoreWriter {
    pub(super) fn open(store: &Store, who: Writer, wait: Duration) -> Result<Self> {
        let lock = take_lock(store, &who, wait)?;
        let opened = reconcile::open_writer(store, who)?;
        let heads = reconcile::load_heads(Query(&opened.db))?;
        let inner = Inner {
            db: opened.db,
            journal: opened.journal,
            packs: opened.packs,
            heads,
            fsync: store.config().store.journal.fsync,
            rolled: false,
            index_is_behind: false,
            is_closed: false,
        };
        inner.publish(store);
        Ok(Self {
            _told: Told(store.clone()),
            store: store.clone(),
            healed: opened.healed,
            inner: Mutex::new(inner),
            queue: Mutex::default(),
            listeners: Mutex::default(),
            events_lost: AtomicU64::new(0),
            upkeep: Turns::default(),
            _lock: lock,
        })
    }

    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How many records the index was behind when the lock was taken.
    #[must_use]
    pub fn healed(&self) -> u64 {
        self.healed
    }

    /// Changes the store, all or nothing. When it returns `Ok`, the change is durable; and visible, unless the index
    /// alone could not be written (a disk that is full to the last page): then it becomes so with the next mutation or
    /// refresh that can. What other threads ask for meanwhile is committed together.
    pub fn mutate<T, F>(&self, now: UnixMillis, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Mutation<'_>) -> Result<T> + Send + 'static,
    {
        let (task, slot) = Task::new(now, work);
        self.queue.lock().push(Box::new(task));
        let mut inner = self.inner.lock();
        if slot.lock().is_none() {
            let mut jobs = std::mem::take(&mut *self.queue.lock());
            let mut borrowed: Vec<&mut dyn Job> =
                jobs.iter_mut().map(|job| &mut **job as &mut dyn Job).collect();
            let committed = inner.commit(&self.store, &mut borrowed);
            self.tell(committed);
            self.shorten_log(&inner);
        }
        self.answer(inner, &slot, now)
    }

    /// The same for work that borrows: it is committed alone.
    pub fn mutate_alone<T: Send>(
        &self,
        now: UnixMillis,
        work: impl FnOnce(&mut Mutation<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        let (mut task, slot) = Task::new(now, work);
        let mut inner = self.inner.lock();
        let committed = inner.commit(&self.store, &mut [&mut task]);
        self.tell(committed);
        self.shorten_log(&inner);
        self.answer(inner, &slot, now)
    }

    /// Says that something happened, as well as it can: what happened does not fail because it could not be written down. How
    /// often that was so is counted.
    pub fn observe(
        &self,
        now: UnixMillis,
        action: Action,
        kind: &ItemType,
        payload: &(impl Serialize + Sync),
    ) {
        if self.mutate_alone(now, |m| m.observe(action, kind, None, payload)).is_err() {
            self.events_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many events could not be written down.
    #[must_use]
    pub fn events_lost(&self) -> u64 {
        self.events_lost.load(Ordering::Relaxed)
    }

    /// Whom to tell of every group once it stands, before any `mutate` of it returns. It runs under the writer's lock: it is
    /// to be quick, and must not ask the writer for anything.
    pub fn on_commit(&self, callback: Arc<dyn Fn(&Committed) + Send + Sync>) {
        self.listeners.lock().push(callback);
    }

    fn tell(&self, committed: Option<Committed>) {
        let Some(committed) = committed else { return };
        for listener in &*self.listeners.lock() {
            listener(&committed);
        }
    }

    /// What was asked for stands already: if this fails, the log stays long, and that is counted.
    fn shorten_log(&self, inner: &Inner) {
        if let Err(error) = self.store.index().checkpoint_if_long(&inner.db, inner.fsync) {
            self.upkeep.failed(&error);
        }
    }

    /// What the one who asked is told. The upkeep behind a roll keeps nobody waiting who asks meanwhile.
    fn answer<T>(&self, mut inner: MutexGuard<'_, Inner>, slot: &Slot<T>, now: UnixMillis) -> Result<T> {
        let rolled = std::mem::take(&mut inner.rolled);
        drop(inner);
        if rolled {
            self.after_roll(now);
        }
        let answer = slot.lock().take();
        answer.unwrap_or_else(|| Err(Error::refused("a mutation was forgotten")))
    }

    /// Says anew which directory, or which files, the store records.
    pub fn set_scope(&self, scope: &Scope) -> Result<()> {
        scope.write(&**self.store.disk(), self.store.layout())
    }

    /// The last record that is durable.
    #[must_use]
    pub fn end(&self) -> JournalEnd {
        self.inner.lock().journal.end()
    }

    /// Writes HEAD.json, so that whoever opens next has less to read. Dropping the writer is as safe.
    pub fn close(self) -> Result<()> {
        self.rest()
    }

    /// What [`Self::close`] does, where others may still hold the writer: they can change nothing with it any more.
    pub fn rest(&self) -> Result<()> {
        let mut inner = self.inner.lock();
        inner.check_open()?;
        let synced = inner.journal.sync();
        inner.journal.write_head();
        inner.is_closed = true;
        let nothing = Connection::open_in_memory().map_err(Error::index("was closed"))?;
        let db = std::mem::replace(&mut inner.db, nothing);
        self.store.index().close_writer(db, inner.fsync).and(synced)
    }

    /// Puts another index in the place of the one in use.
    pub(super) fn renew_index(
        &self,
        make: impl FnOnce(&Store, JournalEnd) -> Result<Connection>,
    ) -> Result<()> {
        let mut inner = self.inner.lock();
        inner.check_open()?;
        let end = inner.journal.end();
        // The old file is closed before it is moved.
        inner.db = Connection::open_in_memory().map_err(Error::index("was closed"))?;
        inner.db = make(&self.store, end)?;
        inner.heads = reconcile::load_heads(Query(&inner.db))?;
        inner.index_is_behind = false;
        inner.publish(&self.store);
        Ok(())
    }

    /// Runs `work` while no mutation is under way.
    pub(crate) fn paused<T>(
        &self,
        work: impl FnOnce(&Store, &mut JournalWriter, &mut ContentWriter) -> Result<T>,
    ) -> Result<T> {
        let mut inner = self.inner.lock();
        let Inner { journal, packs, .. } = &mut *inner;
        work(&self.store, journal, packs)
    }
}

/// Whoever lets go of it without closing leaves the index closed at least.
impl Drop for StoreWriter {
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        if let (false, Ok(nothing)) = (inner.is_closed, Connection::open_in_memory()) {
            let db = std::mem::replace(&mut inner.db, nothing);
            let closed = self.store.index().close_writer(db, inner.fsync);
            // What could not be closed is as a kill leaves it: the next writer goes on from there.
            drop(closed);
        }
    }
}

fn take_lock(store: &Store, who: &Writer, wait: Duration) -> Result<Box<dyn DiskLock>> {
    let path = store.layout().lock();
    let taken = store.disk().lock(&path, wait).map_err(Error::io("lock", &path))?;
    let Some(lock) = taken else {
        let text = crate::disk::read_all(&**store.disk(), &path).map_err(Error::io("read", &path))?;
        let holder = String::from_utf8_lossy(&text).trim().to_owned();
        let holder = if holder.is_empty() { "another process".to_owned() } else { holder };
        return Err(Error::Locked { holder });
    };
    lock.describe(&format!("process {} ({})\n", who.pid, who.writer)).map_err(Error::io("write", &path))?;
    Ok(lock)
}

impl Inner {
    /// Runs the jobs and makes those that succeeded durable, in one write and one barrier.
    fn commit(&mut self, store: &Store, jobs: &mut [&mut dyn Job]) -> Option<Committed> {
        let before = self.heads.clone();
        let (tick_before, seq_before) = (before.last_tick, self.journal.end().seq);
        let mut outcomes: Vec<Result<()>> = Vec::with_capacity(jobs.len());
        let committed = self.try_commit(store, jobs, &mut outcomes);
        if let Err(error) = &committed {
            self.heads = before;
            self.roll_back();
            outcomes.resize_with(jobs.len(), || Err(error.again()));
        }
        for (job, outcome) in jobs.iter_mut().zip(outcomes) {
            let failed_with_the_group = committed.as_ref().err().filter(|_| outcome.is_ok());
            job.settle(failed_with_the_group.map_or(outcome, |error| Err(error.again())));
        }
        let (last_seq, last_tick) = (self.journal.end().seq, self.heads.last_tick);
        let ticks = (last_tick > tick_before).then_some((tick_before.next(), last_tick));
        let (first_seq, rolled) = (seq_before.next(), self.rolled);
        (last_seq > seq_before).then_some(Committed { first_seq, last_seq, ticks, rolled })
    }

    fn try_commit(
        &mut self,
        store: &Store,
        jobs: &mut [&mut dyn Job],
        outcomes: &mut Vec<Result<()>>,
    ) -> Result<()> {
        self.check_open()?;
        self.catch_up(store)?;
        self.rolled |= self.packs.roll_if_full()?;
        let now = jobs.iter().map(|job| job.now()).max().unwrap_or_default();
        let db = &self.db;
        let savepoints = jobs.len() > 1;
        execute(db, "BEGIN IMMEDIATE")?;
        let before = self.journal.end().segment;
        let mut group = self.journal.begin(now)?;
        let empty = group.len();
        let mut durable = false;
        for job in jobs {
            let heads = self.heads.clone();
            if savepoints {
                execute(db, "SAVEPOINT job")?;
            }
            let mut mutation = Mutation {
                db,
                packs: &mut self.packs,
                contents: store.content(),
                redactor: store.redactor(),
                heads: &mut self.heads,
                now: job.now(),
                next_seq: group.next_seq(),
                drafts: Vec::new(),
                first_tick: None,
                who: None,
                owners_count: true,
            };
            let ran = job.run(&mut mutation);
            let drafts = mutation.drafts;
            let ran = ran.and_then(|()| match drafts.is_empty() {
                true => Ok(()),
                false => group.push_mutation(&drafts).map(drop),
            });
            match (&ran, savepoints) {
                (Ok(()), _) => durable |= drafts.iter().any(must_last),
                (Err(_), true) => {
                    execute(db, "ROLLBACK TO job")?;
                    self.heads = heads;
                }
                // Alone: the rows go with the transaction, below.
                (Err(_), false) => self.heads = heads,
            }
            outcomes.push(ran);
        }
        if group.len() == empty {
            drop(group);
            return execute(db, "ROLLBACK");
        }
        let sync = durable && self.fsync == Fsync::Mutation;
        if sync {
            self.packs.sync()?;
        }
        let end = group.append()?;
        self.rolled |= end.segment != before;
        if sync {
            self.journal.sync()?;
        }
        // The journal has it: from here on the change stands, whatever becomes of the index.
        let projected = index::set_watermark(db, end).and_then(|()| execute(db, "COMMIT"));
        match projected {
            Ok(()) => self.publish(store),
            Err(_) => {
                self.index_is_behind = true;
                self.roll_back();
            }
        }
        Ok(())
    }

    /// What the next view of this process is to know. Called when the index has it too.
    fn publish(&self, store: &Store) {
        let Heads { last_tick, branches, cursor, .. } = &self.heads;
        let (branches, cursor, last_tick) = (branches.clone(), cursor.clone(), *last_tick);
        let end = self.journal.end();
        store.set_latest(Some(Known { branches, cursor, end, last_tick }));
    }

    fn check_open(&self) -> Result<()> {
        match self.is_closed {
            true => Err(Error::refused("this process has closed the store already")),
            false => Ok(()),
        }
    }

    /// Replays what the index missed because it could not be written.
    fn catch_up(&mut self, store: &Store) -> Result<()> {
        if !self.index_is_behind {
            return Ok(());
        }
        let db = &self.db;
        reconcile::replay(store, db, self.journal.end())?;
        self.heads = reconcile::load_heads(Query(db))?;
        self.index_is_behind = false;
        self.publish(store);
        Ok(())
    }

    fn roll_back(&self) {
        // A transaction that cannot even be rolled back ends with its connection; the journal heals the rest.
        let rolled_back = self.db.is_autocommit() || self.db.execute_batch("ROLLBACK").is_ok();
        debug_assert!(rolled_back, "SQLite refused a rollback");
    }
}

/// What only tells that something happened may be lost with the last seconds before a power cut.
fn must_last(draft: &Draft) -> bool {
    !draft.action.is_observability() || draft.action == Action::Checkpoint
}

fn execute(db: &Connection, sql: &str) -> Result<()> {
    db.prepare_cached(sql).and_then(|mut s| s.execute([])).map(drop).map_err(Error::index("was written"))
}

impl StoreWriter {
    /// The seq that the next record will have.
    #[must_use]
    pub fn next_seq(&self) -> Seq {
        self.inner.lock().journal.next_seq()
    }
}
