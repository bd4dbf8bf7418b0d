//! The tables of the projection.
//!
//! Invariants:
//!   * Rows are only added; a tick never changes a row of an earlier tick. Only `meta`, `span` and `entity` move.
//!   * Every row ends with `sum`, 15 bits of a CRC over its values, so that a damaged row is an error, not an answer.
//!   * All of it can be dropped: the journal and the packs give it back, identical.

/// Goes up with every change of the tables: an index of another version is dropped and rebuilt.
pub(crate) const VERSION: i64 = 1;

/// Applied to every connection. The log is put into the database by `Index::checkpoint` alone, and is no longer than what stands
/// in it.
pub(crate) const PRAGMAS: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -8000;
    PRAGMA wal_autocheckpoint = 0;
    PRAGMA journal_size_limit = 0;
";

pub(crate) const TABLES: &str = "
    -- version, store_id, applied_seq, segment, offset: the watermark
    CREATE TABLE meta(k TEXT PRIMARY KEY, v) WITHOUT ROWID;

    -- one row a tick; its branch is that of the span it lies in
    CREATE TABLE tick(n INTEGER PRIMARY KEY, seq INTEGER, at INTEGER, action INTEGER, node INTEGER, burst INTEGER,
        sum INTEGER);

    -- runs of consecutive ticks on one branch
    CREATE TABLE span(first INTEGER PRIMARY KEY, last INTEGER, branch INTEGER, sum INTEGER);

    -- name -> node from a tick on; node 0: the name is free from then on
    CREATE TABLE dirent(branch INTEGER, dir INTEGER, name BLOB, tick INTEGER, node INTEGER, sum INTEGER,
        PRIMARY KEY(branch, dir, name, tick)) WITHOUT ROWID;

    -- node -> name from a tick on; dir 0: it hangs nowhere
    CREATE TABLE place(node INTEGER, branch INTEGER, tick INTEGER, dir INTEGER, name BLOB, sum INTEGER,
        PRIMARY KEY(node, branch, tick)) WITHOUT ROWID;

    -- what a node is from a tick on; pack NULL: no content, or content that was not kept
    CREATE TABLE ver(node INTEGER, branch INTEGER, tick INTEGER, kind INTEGER, pack INTEGER, off INTEGER,
        size INTEGER, mtime INTEGER, mode INTEGER, uid INTEGER, gid INTEGER, holes BLOB, sum INTEGER,
        PRIMARY KEY(node, branch, tick)) WITHOUT ROWID;

    -- contents whose record takes over 1 KiB, to be referred to when they come again
    CREATE TABLE big(hash BLOB PRIMARY KEY, pack INTEGER, off INTEGER, len INTEGER, sum INTEGER) WITHOUT ROWID;

    -- the latest payload of every live entity that is no path; NULL: it does not read
    CREATE TABLE entity(type TEXT, id TEXT, seq INTEGER, body TEXT, sum INTEGER,
        PRIMARY KEY(type, id)) WITHOUT ROWID;

    -- state documents, a row a revision; whole 1: the document itself, else a difference
    CREATE TABLE state_rev(name TEXT, rev INTEGER, seq INTEGER, whole INTEGER, body TEXT, sum INTEGER,
        PRIMARY KEY(name, rev)) WITHOUT ROWID;

    -- events that are no state: where to find the errors and the gaps
    CREATE TABLE observed(seq INTEGER PRIMARY KEY, action INTEGER, sum INTEGER);

    -- events of other stores that were taken over
    CREATE TABLE foreign_event(origin TEXT, seq INTEGER, own INTEGER, sum INTEGER,
        PRIMARY KEY(origin, seq)) WITHOUT ROWID;
";

/// The tables that hold rows, in the order in which two indexes are compared.
pub(crate) const TABLE_NAMES: &[&str] =
    &["tick", "span", "dirent", "place", "ver", "big", "entity", "state_rev", "observed", "foreign_event"];
