//! The projection: what the journal says, in the shape in which it is asked for. SQLite, WAL.
//!
//! Invariants:
//!   * The watermark moves in the same transaction as the rows: the index is exactly the journal up to there.
//!   * It is never ahead of the journal. Where it is (the journal was cut), or does not read, it is made anew.
//!   * Only the holder of the store's lock writes to it.

mod apply;
mod bulk;
mod log;
mod proof;
mod query;
mod reading;
mod rows;
mod schema;

use std::fmt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

pub(crate) use apply::{BIG_RECORD, Fact, apply};
pub(crate) use bulk::{Bulk, Gathered};
use log::Pages;
use proof::{PAGE, Proof};
pub(crate) use query::Query;
pub use query::{Child, EntityRow, Lineage, StateRow};
pub(crate) use reading::Trace;
use reading::{Reading, Stamp};
pub(crate) use rows::{Live, Rows};
pub use rows::{Span, TickRow, Version};

use crate::disk::Fsync;
use crate::error::{Error, Result};
use crate::ids::{SegmentId, Seq, StoreId};
use crate::journal::JournalEnd;

/// The database of one store, for any number of readers. A connection is taken, used and given back.
pub(crate) struct Index {
    path: PathBuf,
    trace: Trace,
    idle: Mutex<Pool>,
    /// Of the writer's database, if it was proved when it was opened, or was made anew since.
    proof: Mutex<Option<Proof>>,
}

/// A log of so many pages is put into the database.
const LOG_FRAMES_MAX: u64 = 1000;

#[derive(Default)]
struct Pool {
    /// Goes up when the file was replaced: connections of an older generation are dropped.
    generation: u64,
    connections: Vec<Reading>,
    /// The state of the closed database that was held against its proof.
    proved: Option<Stamp>,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Why an index cannot be used as it is. All of them end in a rebuild; damage is parked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unusable {
    Missing,
    /// Another version of the tables, or another store's.
    Foreign,
    /// Nothing of it was ever synced, and who wrote it did not close it: a power cut may have taken a part of it.
    Unsynced,
    Damaged,
}

impl Index {
    pub(crate) fn new(path: PathBuf, trace: Trace) -> Self {
        Self { path, trace, idle: Mutex::default(), proof: Mutex::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a question on a connection of the pool, in one read transaction; again, if the database changed under it.
    pub(crate) fn read<T>(&self, ask: impl Fn(Query<'_>) -> Result<T>) -> Result<T> {
        const TRIES: usize = 8;
        for _ in 0..TRIES {
            let (generation, idle) = {
                let mut pool = self.idle.lock();
                (pool.generation, pool.connections.pop())
            };
            let reading = match idle.filter(|reading| reading.is_usable(&self.path)) {
                Some(reading) => reading,
                None => {
                    let reading = Reading::open(&self.path, self.trace)?;
                    if !self.prove(&reading)? {
                        continue;
                    }
                    reading
                }
            };
            let Some(answer) = reading.ask(&self.path, &ask) else { continue };
            let mut pool = self.idle.lock();
            if pool.generation == generation && pool.connections.len() < 16 {
                pool.connections.push(reading);
            }
            return answer;
        }
        Err(Error::refused("the index changes too fast to be read"))
    }

    /// Holds a closed database against its proof, once for each state of it. `false`: it changed meanwhile.
    fn prove(&self, reading: &Reading) -> Result<bool> {
        let Some(closed) = reading.closed() else { return Ok(true) };
        if self.idle.lock().proved == Some(closed) {
            return Ok(true);
        }
        let damage = match Proof::read(&self.path) {
            Some(proof) => !proof.holds(&self.path, &Pages::default())?,
            None => false,
        };
        if !reading.is_usable(&self.path) || Stamp::of(&self.path) != Some(closed) {
            return Ok(false);
        }
        if damage {
            let what =
                "it is not as it was when it was closed: the next command that may write makes it anew";
            return Err(Error::corrupt(&self.path, 0, what));
        }
        self.idle.lock().proved = Some(closed);
        Ok(true)
    }

    /// Runs a question that takes the database as a whole, on a connection of its own and in no transaction.
    pub(crate) fn examine<T>(&self, ask: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        Reading::open(&self.path, self.trace)?.examine(&self.path, ask)
    }

    /// Forgets every idle connection: the file behind them was replaced, or must be closed.
    pub(crate) fn forget_connections(&self) {
        let mut pool = self.idle.lock();
        pool.generation += 1;
        pool.connections.clear();
    }

    /// The writer's connection, if the file can be used as it is.
    pub(crate) fn open_writer(
        &self,
        store: &StoreId,
        fsync: Fsync,
    ) -> std::result::Result<Connection, Unusable> {
        if !self.path.exists() {
            return Err(Unusable::Missing);
        }
        let has_log = self.has_log();
        let proof = Proof::read(&self.path);
        if let Some(proof) = &proof {
            let aside = log::pages(&self.path, u64::MAX).map_err(|_unreadable| Unusable::Damaged)?;
            if !proof.holds(&self.path, &aside).unwrap_or(false) {
                return Err(Unusable::Damaged);
            }
        }
        // Without syncs, a page may have been written that came from a part of the log that a power cut took.
        if fsync == Fsync::Never && (proof.is_none() || has_log) {
            return Err(Unusable::Unsynced);
        }
        let db = self.open_own(store, fsync)?;
        *self.proof.lock() = proof;
        Ok(db)
    }

    fn open_own(&self, store: &StoreId, fsync: Fsync) -> std::result::Result<Connection, Unusable> {
        let db = open_to_write(&self.path, fsync).map_err(|_unreadable| Unusable::Damaged)?;
        match (meta_int(&db, "version"), meta_text(&db, "store_id")) {
            (Ok(Some(schema::VERSION)), Ok(Some(id))) if id == store.as_str() => Ok(db),
            (Ok(_), Ok(_)) => Err(Unusable::Foreign),
            _ => Err(Unusable::Damaged),
        }
    }

    /// Whether damage that the writer's database had when it was opened would have been seen.
    pub(crate) fn is_proved(&self) -> bool {
        self.proof.lock().is_some()
    }

    /// Whether somebody writes, or died while writing.
    pub(crate) fn has_log(&self) -> bool {
        reading::has_log(&self.path)
    }

    /// Puts the log into the database where it has become long. SQLite would do it by itself, and nobody would know which
    /// pages it wrote.
    pub(crate) fn checkpoint_if_long(&self, db: &Connection, fsync: Fsync) -> Result<()> {
        match log::frames(&self.path) >= LOG_FRAMES_MAX {
            true => self.checkpoint(db, fsync).map(drop),
            false => Ok(()),
        }
    }

    /// Puts the log into the database as far as readers let it, and takes the sums of those pages into the proof. `true`: all
    /// of it, so that the log may begin again.
    fn checkpoint(&self, db: &Connection, fsync: Fsync) -> Result<bool> {
        let (busy, frames, done): (i64, i64, i64) = db
            .prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")
            .and_then(|mut s| s.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))))
            .map_err(Error::index("was written"))?;
        if busy != 0 || frames != done {
            return Ok(false);
        }
        let mut proof = self.proof.lock();
        let Some(known) = &mut *proof else { return Ok(true) };
        let frames = frames.max(0).cast_unsigned();
        let renewed = log::pages(&self.path, frames)
            .and_then(|pages| known.renew(&self.path, &pages))
            .and_then(|()| known.give(&self.path, fsync));
        if renewed.is_err() {
            // A proof that is older than the database would call it damaged.
            *proof = None;
            Proof::take_away(&self.path, fsync)?;
        }
        renewed.map(|()| true)
    }

    /// Closes the writer's connection.
    pub(crate) fn close_writer(&self, db: Connection, fsync: Fsync) -> Result<()> {
        self.forget_connections();
        let put = self.checkpoint(&db, fsync);
        // The log goes with the last connection, but only where all of it is in the database and proved.
        if put.as_ref().is_ok_and(|&all| all) {
            keep_log_at_close(&db, false).map_err(Error::index("was closed"))?;
        }
        db.close().map_err(|(_, source)| Error::Index { doing: "was closed", source })?;
        put.map(drop)
    }

    /// Makes a new index beside the old one, lets `fill` put rows into it, and puts it in the old one's place.
    /// A crash in between leaves no index at all, which is the same as a missing one.
    pub(crate) fn replace(
        &self,
        store: &StoreId,
        fsync: Fsync,
        fill: impl FnOnce(&Connection) -> Result<JournalEnd>,
    ) -> Result<Connection> {
        self.prepare(store, fill)?;
        self.put_in_place(store, fsync)
    }

    /// Makes a new index beside the old one.
    pub(crate) fn prepare(
        &self,
        store: &StoreId,
        fill: impl FnOnce(&Connection) -> Result<JournalEnd>,
    ) -> Result<()> {
        let aside = sibling(&self.path, ".new");
        remove_database(&aside)?;
        self.build(&aside, store, fill)
    }

    /// Puts the index that was prepared in the place of the old one.
    pub(crate) fn put_in_place(&self, store: &StoreId, fsync: Fsync) -> Result<Connection> {
        let aside = sibling(&self.path, ".new");
        let proof = Proof::of(&aside)?;
        self.forget_connections();
        Proof::take_away(&self.path, fsync)?;
        remove_database(&self.path)?;
        std::fs::rename(&aside, &self.path).map_err(Error::io("put the new index in place", &self.path))?;
        proof.give(&self.path, fsync)?;
        *self.proof.lock() = Some(proof);
        self.open_own(store, fsync)
            .map_err(|why| Error::corrupt(&self.path, 0, format!("the index that was just built is {why:?}")))
    }

    /// Builds an index at `path`, to be used or compared.
    pub(crate) fn build(
        &self,
        path: &Path,
        store: &StoreId,
        fill: impl FnOnce(&Connection) -> Result<JournalEnd>,
    ) -> Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags).map_err(Error::index("was created"))?;
        let make = || -> rusqlite::Result<()> {
            db.execute_batch(&format!(
                "PRAGMA page_size = {PAGE}; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            ))?;
            db.set_prepared_statement_cache_capacity(64);
            keep_plans(&db)?;
            db.execute_batch(&format!("BEGIN; {}", schema::TABLES))?;
            db.execute("INSERT INTO meta VALUES ('version', ?1)", [schema::VERSION])?;
            db.execute("INSERT INTO meta VALUES ('store_id', ?1)", [store.as_str()]).map(drop)
        };
        make().map_err(Error::index("was created"))?;
        let end = fill(&db)?;
        set_watermark(&db, end)?;
        db.execute_batch("COMMIT; PRAGMA journal_mode = WAL;").map_err(Error::index("was created"))?;
        db.close().map_err(|(_, source)| Error::Index { doing: "was closed", source })
    }
}

fn open_to_write(path: &Path, fsync: Fsync) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let db = Connection::open_with_flags(path, flags)?;
        db.set_prepared_statement_cache_capacity(64);
        keep_plans(&db)?;
        db.busy_timeout(std::time::Duration::from_secs(5))?;
        db.execute_batch(schema::PRAGMAS)?;
        keep_log_at_close(&db, true)?;
        // The journal makes it good: only checkpoints of the log are synced, so that the database itself stays whole.
        let synchronous = if fsync == Fsync::Mutation { "NORMAL" } else { "OFF" };
        db.pragma_update(None, "synchronous", synchronous)?;
        Ok(db)
    };
    open().map_err(Error::index("was opened"))
}

/// Whether the log stays as it is when the last connection goes, without being put into the database.
fn keep_log_at_close(db: &Connection, keep: bool) -> rusqlite::Result<()> {
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(drop)
}

/// A plan does not depend on the values that are bound, so a statement is prepared once and not before each use.
fn keep_plans(db: &Connection) -> rusqlite::Result<()> {
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

fn meta_int(db: &Connection, key: &str) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT v FROM meta WHERE k = ?1")?.query_row([key], |row| row.get(0)).optional()
}

fn meta_text(db: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    db.prepare_cached("SELECT v FROM meta WHERE k = ?1")?.query_row([key], |row| row.get(0)).optional()
}

/// Up to where the journal has been applied.
pub(crate) fn watermark(db: &Connection) -> Result<JournalEnd> {
    let number = |key| meta_int(db, key).map(|v| v.unwrap_or(0).cast_unsigned());
    let read = || -> rusqlite::Result<JournalEnd> {
        let end = JournalEnd {
            seq: Seq(number("applied_seq")?),
            segment: SegmentId(Seq(number("segment")?)),
            offset: number("offset")?,
        };
        Ok(end)
    };
    read().map_err(Error::index("was asked for its watermark"))
}

pub(crate) fn set_watermark(db: &Connection, end: JournalEnd) -> Result<()> {
    let set = || -> rusqlite::Result<()> {
        let mut statement = db.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?;
        statement.execute(params!["applied_seq", end.seq.0.cast_signed()])?;
        statement.execute(params!["segment", end.segment.0.0.cast_signed()])?;
        statement.execute(params!["offset", end.offset.cast_signed()]).map(drop)
    };
    set().map_err(Error::index("moved its watermark"))
}

/// A name that hangs in a directory and has no row that says what it is.
pub(crate) fn missing_version() -> Error {
    rows::damaged_row("ver")
}

pub(crate) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The database first: without it, a log that is left behind means nothing.
pub(crate) fn remove_database(path: &Path) -> Result<()> {
    Proof::take_away(path, Fsync::Never)?;
    for file in [path.to_path_buf(), sibling(path, "-wal"), sibling(path, "-shm")] {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove the old index", &file)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Moves a damaged index where a person can look at it.
pub(crate) fn park_database(path: &Path, quarantine: &Path) -> Result<PathBuf> {
    let name = |n: u32| quarantine.join(format!("index.db.{n}"));
    let parked = (1..).map(name).find(|p| !p.exists()).unwrap_or_else(|| name(0));
    std::fs::create_dir_all(quarantine).map_err(Error::io("create", quarantine))?;
    for suffix in ["", "-wal"] {
        let (from, to) = (sibling(path, suffix), sibling(&parked, suffix));
        match std::fs::rename(from, to) {
            // Where there is no log, the database holds all of it.
            Err(error) if !suffix.is_empty() && error.kind() == std::io::ErrorKind::NotFound => {}
            moved => moved.map_err(Error::io("park the damaged index as", &parked))?,
        }
    }
    remove_database(path)?;
    Ok(parked)
}

/// What SQLite itself finds wrong with the file.
pub(crate) fn integrity(db: &Connection) -> Result<Vec<String>> {
    let check = || -> rusqlite::Result<Vec<String>> {
        let mut statement = db.prepare("PRAGMA integrity_check(20)")?;
        let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
        lines.filter(|line| line.as_ref().map_or(true, |text| text != "ok")).collect()
    };
    match check() {
        // A file too damaged to be examined is an answer too.
        Err(rusqlite::Error::SqliteFailure(failure, text))
            if matches!(
                failure.code,
                rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase
            ) =>
        {
            Ok(vec![text.unwrap_or_else(|| failure.to_string())])
        }
        checked => checked.map_err(Error::index("was examined")),
    }
}

/// The tables in which two indexes differ. Empty: they say the same.
pub(crate) fn differences(db: &Connection, other: &Path) -> Result<Vec<String>> {
    let compare = || -> rusqlite::Result<Vec<String>> {
        db.execute("ATTACH DATABASE ?1 AS other", [other.to_string_lossy()])?;
        let mut different = Vec::new();
        for table in schema::TABLE_NAMES {
            let only =
                |a: &str, b: &str| format!("SELECT * FROM {a}.{table} EXCEPT SELECT * FROM {b}.{table}");
            let sql = format!(
                "SELECT count(*) FROM ({}) UNION ALL SELECT count(*) FROM ({})",
                only("main", "other"),
                only("other", "main")
            );
            let mut statement = db.prepare(&sql)?;
            let counts: Vec<i64> =
                statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            if let [extra, missing] = counts[..]
                && extra + missing > 0
            {
                different.push(format!("{table}: {extra} rows too many, {missing} missing"));
            }
        }
        db.execute_batch("DETACH DATABASE other")?;
        Ok(different)
    };
    compare().map_err(Error::index("was compared"))
}
