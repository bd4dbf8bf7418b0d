//! A connection that reads and leaves no trace beside the database.
//!
//! SQLite reads a WAL database by making `-wal` and `-shm` where they are missing, and a connection that only reads
//! cannot take them away again. So there are three ways:
//!   * No `-wal`: nobody writes, and the file says everything. It is read as it lies there (`immutable`), without
//!     SQLite's locks; an answer counts only if the file is the same afterwards.
//!   * A `-wal`: a writer lives, or died. The files are there, and are shared with it as SQLite shares them.
//!   * A `-wal`, and nothing may change, not even the marks in `-shm`: that file is mapped read-only. Never in a process
//!     that writes too: SQLite would share the read-only mapping with its writer.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{Query, sibling};
use crate::error::{Error, Result};

/// So much of the database a connection keeps at most; negative, because SQLite then counts in KiB.
const CACHE_KIB: i64 = -16 * 1024;

/// What may be touched while reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Trace {
    /// The shared memory of a writer that is there anyway.
    #[default]
    Shared,
    /// Nothing at all.
    None,
}

#[derive(Debug)]
pub(super) struct Reading {
    db: Connection,
    /// The database as it was when it was opened.
    file: Stamp,
    immutable: bool,
}

impl Reading {
    pub(super) fn open(path: &Path, trace: Trace) -> Result<Self> {
        let opened = |source| Error::Index { doing: "was opened", source };
        let Some(file) = Stamp::of(path) else {
            let source = rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
                Some("it is missing".to_owned()),
            );
            return Err(opened(source));
        };
        let immutable = !has_log(path);
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let options = match (immutable, trace) {
            (true, _) => "?mode=ro&immutable=1",
            (false, Trace::Shared) => "?mode=ro",
            (false, Trace::None) => "?mode=ro&readonly_shm=1",
        };
        let db = Connection::open_with_flags(uri(path) + options, flags).map_err(opened)?;
        db.set_prepared_statement_cache_capacity(64);
        db.busy_timeout(std::time::Duration::from_secs(5)).map_err(opened)?;
        super::keep_plans(&db).map_err(opened)?;
        // Not mapped: a file that somebody cuts off would end the process instead of the answer.
        db.pragma_update(None, "cache_size", CACHE_KIB).map_err(opened)?;
        Ok(Self { db, file, immutable })
    }

    /// The state of the database that it reads as it lies there.
    pub(super) fn closed(&self) -> Option<Stamp> {
        self.immutable.then_some(self.file)
    }

    /// Whether it may be asked: the file was not replaced, and, where it is read as it lies there, nobody writes.
    /// Whether that is still the same file is seen behind the answer.
    pub(super) fn is_usable(&self, path: &Path) -> bool {
        match self.immutable {
            true => !has_log(path),
            false => Stamp::of(path).is_some_and(|now| now.is_same_file(&self.file)),
        }
    }

    /// `None` if the file changed meanwhile, so that the answer means nothing. A log that appeared changes nothing yet.
    pub(super) fn ask<T>(&self, path: &Path, ask: impl FnOnce(Query<'_>) -> Result<T>) -> Option<Result<T>> {
        if self.immutable {
            let answer = ask(Query(&self.db));
            return Stamp::of(path).is_some_and(|now| now == self.file).then_some(answer);
        }
        Some(self.ask_at_once(ask))
    }

    pub(super) fn examine<T>(self, path: &Path, ask: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let answer = ask(&self.db);
        match self.immutable && Stamp::of(path) != Some(self.file) {
            true => Err(Error::refused("the index changed while it was examined: try again")),
            false => answer,
        }
    }

    /// What a writer commits meanwhile is seen by none of the statements, or by all.
    fn ask_at_once<T>(&self, ask: impl FnOnce(Query<'_>) -> Result<T>) -> Result<T> {
        let run = |sql| self.db.prepare_cached(sql).and_then(|mut s| s.execute([])).map(drop);
        run("BEGIN").map_err(Error::index("was read"))?;
        let answer = ask(Query(&self.db));
        // Nothing was written, so there is nothing to lose by a rollback, and it ends a failed read as well.
        let ended = run("ROLLBACK").map_err(Error::index("was read"));
        let answer = answer?;
        ended.map(|()| answer)
    }
}

pub(super) fn has_log(path: &Path) -> bool {
    sibling(path, "-wal").exists()
}

/// Which file it is, and which state of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(path: &Path) -> Option<Self> {
        let of = |meta: &Metadata| Self {
            device: meta.dev(),
            inode: meta.ino(),
            len: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        };
        std::fs::metadata(path).ok().as_ref().map(of)
    }

    fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// `file:` and the path, with what an URI gives a meaning to spelled as `%xx`.
fn uri(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => uri.push(char::from(byte)),
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsString;

    use super::*;

    fn value(query: Query<'_>) -> Result<i64> {
        query.0.query_row("SELECT max(a) FROM t", [], |row| row.get(0)).map_err(Error::index("was read"))
    }

    fn write(db: &Connection, value: i64) {
        db.execute("INSERT INTO t VALUES (?1)", [value]).unwrap();
    }

    fn database(path: &Path) -> Connection {
        let db = Connection::open(path).unwrap();
        db.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS t(a)").unwrap();
        db
    }

    fn files(dir: &Path) -> BTreeMap<OsString, Vec<u8>> {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
        entries.map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap())).collect()
    }

    #[test]
    fn a_database_that_was_closed_is_read_without_a_trace() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("odd name?%20#\u{e9}.db");
        let db = database(&path);
        write(&db, 1);
        db.close().unwrap();
        let before = files(temp.path());
        for trace in [Trace::Shared, Trace::None] {
            let reading = Reading::open(&path, trace).unwrap();
            assert_eq!(reading.ask(&path, value).unwrap().unwrap(), 1);
            drop(reading);
            assert_eq!(files(temp.path()), before);
        }
    }

    #[test]
    fn an_answer_from_a_file_that_changed_meanwhile_does_not_count() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("x.db");
        let db = database(&path);
        write(&db, 1);
        db.close().unwrap();
        let reading = Reading::open(&path, Trace::Shared).unwrap();
        assert!(reading.is_usable(&path));
        let db = database(&path);
        write(&db, 2);
        assert!(!reading.is_usable(&path), "a writer is there");
        assert_eq!(reading.ask(&path, value).unwrap().unwrap(), 1, "what was there before it is still whole");
        db.close().unwrap();
        assert!(reading.ask(&path, value).is_none());
        let fresh = Reading::open(&path, Trace::Shared).unwrap();
        assert_eq!(fresh.ask(&path, value).unwrap().unwrap(), 2);
    }

    #[test]
    fn what_a_writer_left_when_it_died_is_read_without_a_trace() {
        let temp = tempfile::tempdir().unwrap();
        let (live, dead) = (temp.path().join("live"), temp.path().join("dead"));
        std::fs::create_dir(&live).unwrap();
        std::fs::create_dir(&dead).unwrap();
        let db = database(&live.join("x.db"));
        write(&db, 1);
        for name in ["x.db", "x.db-wal", "x.db-shm"] {
            std::fs::copy(live.join(name), dead.join(name)).unwrap();
        }
        let before = files(&dead);
        let reading = Reading::open(&dead.join("x.db"), Trace::None).unwrap();
        assert_eq!(reading.ask(&dead.join("x.db"), value).unwrap().unwrap(), 1);
        drop(reading);
        assert_eq!(files(&dead), before);
    }
}
