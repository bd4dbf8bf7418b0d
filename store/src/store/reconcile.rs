//! Brings the index up to the journal: by the records it misses, or, where it cannot be trusted, from the beginning.
//!
//! Runs under the lock. What is replayed is made durable first: nothing becomes visible that a power cut could take.

use std::sync::Arc;

use rusqlite::Connection;

use super::Store;
use super::mutation::{CURSOR_ID, Heads};
use crate::content::{ContentWriter, PackOptions};
use crate::disk::Fsync;
use crate::error::{Error, Result};
use crate::history::{Branches, Cursor};
use crate::ids::{BranchNo, Seq, Tick, UnixMillis};
use crate::index::{self, Bulk, Fact, Gathered, Live, Query, Unusable, apply};
use crate::journal::entry::{Action, ItemType, Line, PayloadRef, Writer};
use crate::journal::{
    self, JournalDir, JournalEnd, JournalReader, JournalWriter, ReadOptions, WriterOptions,
};

pub(super) struct Opened {
    pub(super) db: Connection,
    pub(super) journal: JournalWriter,
    pub(super) packs: ContentWriter,
    pub(super) healed: u64,
}

pub(super) fn open_writer(store: &Store, who: Writer) -> Result<Opened> {
    let sizes = &store.config().store;
    let usable = store.index().open_writer(store.id(), sizes.journal.fsync);
    if usable.as_ref().is_err_and(|&why| why == Unusable::Damaged) {
        index::park_database(store.index().path(), &store.layout().quarantine())?;
    }
    let watermark = match &usable {
        Ok(db) => index::watermark(db).ok(),
        Err(_) => None,
    };
    let options = WriterOptions { fsync: sizes.journal.fsync, roll_at: sizes.journal.roll_bytes };
    let pack_options = PackOptions { roll_at: sizes.packs.roll_bytes, fsync: sizes.journal.fsync };
    let journal_dir = store.layout().journal();
    let journal =
        JournalWriter::open(Arc::clone(store.disk()), &journal_dir, store.id().clone(), who, options)?;
    let packs = ContentWriter::open(Arc::clone(store.disk()), &store.layout().packs(), pack_options)?;
    let mut found = Found { journal, packs };
    if found.journal.end() == JournalEnd::EMPTY && sizes.journal.fsync == Fsync::Mutation {
        make_store_durable(store)?;
    }
    if watermark != Some(found.journal.end()) {
        found.make_durable()?;
    }
    let end = found.journal.end();
    let (db, healed) = match (usable, watermark) {
        (Ok(db), Some(at)) if at == end => (db, 0),
        (Ok(db), Some(at)) if at.seq <= end.seq && journal::holds(&**store.disk(), &dir_of(store), &at)? => {
            replay(store, &db, end)?;
            (db, end.seq.0 - at.seq.0)
        }
        (usable, _) => {
            drop(usable);
            (rebuild(store, end)?, end.seq.0)
        }
    };
    let Found { journal, packs } = found;
    Ok(Opened { db, journal, packs, healed })
}

/// Who made the store may have died before its own name was durable; that is so as long as nothing was recorded.
fn make_store_durable(store: &Store) -> Result<()> {
    let dir = store.layout().dir();
    for names in [dir, dir.parent().unwrap_or(dir)] {
        store.disk().sync_dir(names).map_err(Error::io("make durable the names in", names))?;
    }
    Ok(())
}

/// What the process before left, perhaps in the page cache alone.
struct Found {
    journal: JournalWriter,
    packs: ContentWriter,
}

impl Found {
    fn make_durable(&mut self) -> Result<()> {
        self.packs.sync()?;
        self.journal.sync_found()
    }
}

/// Applies the records after the watermark, in one transaction.
pub(super) fn replay(store: &Store, db: &Connection, end: JournalEnd) -> Result<()> {
    let from = index::watermark(db)?;
    db.execute_batch("BEGIN IMMEDIATE").map_err(Error::index("was written"))?;
    let apply_all = || {
        let mut rows = Live(db);
        let options = ReadOptions::after(from).with_archive().until(end.seq);
        let mut reader = JournalReader::open(store.disk(), &dir_of(store), options)?.whole()?;
        while let Some(entry) = reader.next()? {
            apply_line(store, &entry.line, &mut rows)?;
        }
        index::set_watermark(db, end)
    };
    let applied = apply_all();
    let ending = if applied.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = db.execute_batch(ending).map_err(Error::index("was written"));
    applied.and(ended)
}

/// Makes the index anew from every segment there is, archived ones too.
pub(super) fn rebuild(store: &Store, end: JournalEnd) -> Result<Connection> {
    store.index().replace(store.id(), store.config().store.journal.fsync, |db| {
        fill(store, db, end.seq)?;
        Ok(end)
    })
}

/// Puts all rows that the journal gives up to a record into an empty database.
pub(crate) fn fill(store: &Store, db: &Connection, until: Seq) -> Result<()> {
    let mut bulk = Bulk::new(db);
    let add = |rows: &mut Gathered, line: &Line<'_>| apply_line(store, line, rows);
    journal::read_whole(store.disk(), &dir_of(store), until, add, |part| bulk.add(part))?;
    bulk.load()
}

fn dir_of(store: &Store) -> JournalDir {
    JournalDir::new(&store.layout().journal())
}

/// A record whose payload is not what its kind asks for is skipped; the journal's reader and `doctor` count it.
fn apply_line(store: &Store, line: &Line<'_>, rows: &mut impl crate::index::Rows) -> Result<()> {
    let fetched = match line.payload_ref.as_ref().map(|reference| fetch_for(store, line.action, reference)) {
        // What else there is can still be answered; this one says what it lacks when it is asked for.
        Some(Err(Error::Corrupt { .. })) => {
            let id = line.item_id.as_deref().unwrap_or_default();
            return rows.lost_entity(line.item_type.as_str(), id, line.seq);
        }
        Some(fetched) => fetched?,
        None => None,
    };
    let body = fetched.as_deref().or_else(|| line.payload.map(|p| p.get()));
    let fact = Fact {
        seq: line.seq,
        action: line.action,
        item_type: &line.item_type,
        item_id: line.item_id.as_deref(),
        tick: line.tick.as_ref(),
        body,
        file: line.file.as_ref(),
    };
    match apply(&fact, rows) {
        Err(Error::Refused { .. }) => Ok(()),
        done => done,
    }
}

/// The projection knows of most events only that they happened, and the payload of one that was never made durable may
/// be gone: no state depends on it.
fn fetch_for(store: &Store, action: Action, reference: &PayloadRef) -> Result<Option<String>> {
    match action {
        Action::Imported => match fetch(store, reference) {
            Err(Error::Corrupt { .. }) => Ok(None),
            fetched => fetched.map(Some),
        },
        event if event.is_observability() => Ok(None),
        _ => fetch(store, reference).map(Some),
    }
}

fn fetch(store: &Store, reference: &PayloadRef) -> Result<String> {
    let bytes = store.content().read(reference.rec.at)?;
    String::from_utf8(bytes).map_err(|_not_text| {
        Error::corrupt(&store.layout().packs(), reference.rec.at.offset, "a payload is not UTF-8")
    })
}

pub(super) fn load_heads(query: Query<'_>) -> Result<Heads> {
    let branches = load_branches(query)?;
    let last = query.last_tick()?;
    let base_at = branches.get(BranchNo::MAIN).and_then(|main| UnixMillis::from_iso(&main.created_at));
    Ok(Heads {
        last_tick: last.as_ref().map_or(Tick::BASE, |t| t.n),
        last_at: last.map_or(base_at.unwrap_or_default(), |t| t.at),
        last_node: query.last_node()?,
        cursor: load_cursor(query, &branches)?.map(Arc::new),
        branches,
    })
}

pub(crate) fn load_branches(query: Query<'_>) -> Result<Branches> {
    Branches::load(&query.entities(ItemType::BRANCH.as_str())?, query.spans()?)
}

/// Where the root stands. On a branch whose record is lost nothing can stand: then it is taken to stand at the head of the
/// first one, so that what is on disk is recorded there as what differs, and everything goes on.
pub(crate) fn load_cursor(query: Query<'_>, branches: &Branches) -> Result<Option<Cursor>> {
    let row = query.entity(ItemType::CURSOR.as_str(), CURSOR_ID)?;
    let read = |body: &str| {
        serde_json::from_str(body)
            .map_err(|e| Error::corrupt("index.db".as_ref(), 0, format!("the cursor: {e}")))
    };
    let cursor: Option<Cursor> = row.map(|row| read(&row.body)).transpose()?;
    Ok(cursor.map(|mut cursor| {
        let is_known = |no: BranchNo| branches.get(no).is_some();
        cursor.partial.retain(|path| is_known(path.at.branch));
        cursor.before = cursor.before.filter(|before| {
            is_known(before.branch) && before.partial.iter().all(|path| is_known(path.at.branch))
        });
        match is_known(cursor.branch) {
            true => cursor,
            false => Cursor { branch: BranchNo::MAIN, tick: None, partial: Vec::new(), ..cursor },
        }
    }))
}
