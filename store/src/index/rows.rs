//! The rows of the projection, their checksums, and how each is written.

use rusqlite::{CachedStatement, Connection, Statement, params};

use crate::error::{Error, Result};
use crate::ids::{Address, BranchNo, ContentHash, NodeId, PackId, Rec, Seq, Tick, UnixMillis, UnixNanos};
use crate::journal::entry::{Action, NodeType};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TickRow {
    pub n: Tick,
    pub seq: Seq,
    pub at: UnixMillis,
    pub action: Action,
    pub node: NodeId,
    pub burst: Option<Tick>,
}

/// A run of consecutive ticks on one branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub first: Tick,
    pub last: Tick,
    pub branch: BranchNo,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DirentRow {
    pub(crate) branch: BranchNo,
    pub(crate) dir: NodeId,
    pub(crate) name: Vec<u8>,
    pub(crate) tick: Tick,
    /// `None`: the name is free from this tick on.
    pub(crate) node: Option<NodeId>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PlaceRow {
    pub(crate) node: NodeId,
    pub(crate) branch: BranchNo,
    pub(crate) tick: Tick,
    /// `None`: the node hangs nowhere from this tick on.
    pub(crate) dir: Option<NodeId>,
    pub(crate) name: Vec<u8>,
}

/// What a node is from a tick on, until its next version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub node: NodeId,
    /// The branch and the tick where this version happened.
    pub branch: BranchNo,
    pub tick: Tick,
    pub kind: NodeType,
    /// `None`: a directory, or content that was not kept.
    pub content: Option<Address>,
    pub size: u64,
    pub mtime: UnixNanos,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub holes: Vec<(u64, u64)>,
}

/// Where rows go: into a live database one by one, or into lists that are sorted and loaded at once.
pub(crate) trait Rows {
    fn tick(&mut self, row: TickRow, branch: BranchNo) -> Result<()>;
    fn dirent(&mut self, row: DirentRow) -> Result<()>;
    fn place(&mut self, row: PlaceRow) -> Result<()>;
    fn version(&mut self, row: Version) -> Result<()>;
    fn big(&mut self, hash: ContentHash, rec: Rec) -> Result<()>;
    /// `body` `None`: the entity is gone.
    fn entity(&mut self, kind: &str, id: &str, seq: Seq, body: Option<&str>) -> Result<()>;
    /// The entity's latest payload does not read.
    fn lost_entity(&mut self, kind: &str, id: &str, seq: Seq) -> Result<()>;
    fn state_revision(&mut self, name: &str, rev: u64, seq: Seq, whole: bool, body: &str) -> Result<()>;
    fn observed(&mut self, seq: Seq, action: Action) -> Result<()>;
    fn foreign(&mut self, origin: &str, seq: Seq, own: Seq) -> Result<()>;
}

/// 15 bits, so that SQLite keeps it in two bytes. Numbers are gathered, because a checksum goes over many bytes faster than
/// over few many times.
pub(crate) struct Sum {
    crc: crc32fast::Hasher,
    gathered: [u8; 128],
    len: usize,
}

impl Sum {
    pub(crate) fn new() -> Self {
        Self { crc: crc32fast::Hasher::new(), gathered: [0; 128], len: 0 }
    }

    pub(crate) fn int(mut self, value: impl Into<i64>) -> Self {
        self.gather(&value.into().to_le_bytes());
        self
    }

    pub(crate) fn bytes(mut self, value: &[u8]) -> Self {
        self.gather(&(value.len() as u64).to_le_bytes());
        self.gather(value);
        self
    }

    fn gather(&mut self, bytes: &[u8]) {
        if self.len + bytes.len() > self.gathered.len() {
            self.crc.update(&self.gathered[..self.len]);
            self.len = 0;
        }
        match self.gathered.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.crc.update(bytes),
        }
    }

    pub(crate) fn value(mut self) -> i64 {
        self.crc.update(&self.gathered[..self.len]);
        let crc = self.crc.finalize();
        i64::from((crc ^ crc >> 16) & 0x7fff)
    }
}

pub(crate) fn action_code(action: Action) -> i64 {
    let place = Action::ALL.iter().position(|&a| a == action);
    i64::try_from(place.expect("every action is in ALL because one macro makes both")).unwrap_or(-1)
}

pub(crate) fn action_of(code: i64) -> Option<Action> {
    usize::try_from(code).ok().and_then(|i| Action::ALL.get(i)).copied()
}

pub(crate) fn kind_code(kind: NodeType) -> i64 {
    match kind {
        NodeType::File => 0,
        NodeType::Dir => 1,
        NodeType::Symlink => 2,
    }
}

pub(crate) fn kind_of(code: i64) -> Option<NodeType> {
    [NodeType::File, NodeType::Dir, NodeType::Symlink].into_iter().find(|&k| kind_code(k) == code)
}

/// Ranges as little-endian pairs; `None` for none.
pub(crate) fn holes_to_blob(holes: &[(u64, u64)]) -> Option<Vec<u8>> {
    let pairs = holes.iter().flat_map(|&(offset, len)| [offset, len]);
    (!holes.is_empty()).then(|| pairs.flat_map(u64::to_le_bytes).collect())
}

pub(crate) fn holes_of_blob(blob: Option<&[u8]>) -> Vec<(u64, u64)> {
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
    blob.unwrap_or_default().chunks_exact(16).map(|pair| (number(&pair[..8]), number(&pair[8..]))).collect()
}

impl TickRow {
    pub(crate) fn sum(&self) -> i64 {
        let sum = Sum::new().int(self.n.0.cast_signed()).int(self.seq.0.cast_signed()).int(self.at.0);
        let sum = sum.int(action_code(self.action)).int(self.node.0.cast_signed());
        sum.int(self.burst.map_or(-1, |b| b.0.cast_signed())).value()
    }
}

impl Span {
    pub(crate) fn sum(&self) -> i64 {
        let sum = Sum::new().int(self.first.0.cast_signed()).int(self.last.0.cast_signed());
        sum.int(self.branch.0).value()
    }
}

impl DirentRow {
    pub(crate) fn sum(&self) -> i64 {
        dirent_sum(self.branch, self.dir, &self.name, self.tick, self.node)
    }
}

pub(crate) fn dirent_sum(
    branch: BranchNo,
    dir: NodeId,
    name: &[u8],
    tick: Tick,
    node: Option<NodeId>,
) -> i64 {
    let sum = Sum::new().int(branch.0).int(dir.0.cast_signed()).bytes(name);
    sum.int(tick.0.cast_signed()).int(node.map_or(0, |n| n.0.cast_signed())).value()
}

impl PlaceRow {
    pub(crate) fn sum(&self) -> i64 {
        let sum = Sum::new().int(self.node.0.cast_signed()).int(self.branch.0).int(self.tick.0.cast_signed());
        sum.int(self.dir.map_or(0, |d| d.0.cast_signed())).bytes(&self.name).value()
    }
}

impl Version {
    pub(crate) fn sum(&self) -> i64 {
        let sum = Sum::new().int(self.node.0.cast_signed()).int(self.branch.0).int(self.tick.0.cast_signed());
        let (pack, offset) = self.content.map_or((-1, 0), |a| (i64::from(a.pack.0), a.offset.cast_signed()));
        let sum = sum.int(kind_code(self.kind)).int(pack).int(offset).int(self.size.cast_signed());
        let sum = sum.int(self.mtime.0).int(self.mode).int(self.uid).int(self.gid);
        sum.bytes(holes_to_blob(&self.holes).as_deref().unwrap_or_default()).value()
    }
}

pub(crate) fn big_sum(hash: ContentHash, rec: Rec) -> i64 {
    Sum::new().bytes(&hash.0).int(rec.at.pack.0).int(rec.at.offset.cast_signed()).int(rec.len).value()
}

/// Stands in the sum for a payload that is lost; no payload is spelled so.
pub(crate) const LOST: &str = "\0lost";

pub(crate) fn text_sum(kind: &str, id: &str, seq: Seq, body: &str) -> i64 {
    Sum::new()
        .bytes(kind.as_bytes())
        .bytes(id.as_bytes())
        .int(seq.0.cast_signed())
        .bytes(body.as_bytes())
        .value()
}

/// Writes each row into the database as it comes.
pub(crate) struct Live<'c>(pub(crate) &'c Connection);

fn writing(source: rusqlite::Error) -> Error {
    Error::Index { doing: "was written", source }
}

impl Live<'_> {
    fn run(&self, sql: &str, values: impl rusqlite::Params) -> Result<()> {
        self.insert(sql, |into| into.execute(values).map(drop))
    }

    fn insert(
        &self,
        sql: &str,
        insert: impl FnOnce(&mut CachedStatement<'_>) -> rusqlite::Result<()>,
    ) -> Result<()> {
        self.0.prepare_cached(sql).and_then(|mut statement| insert(&mut statement)).map_err(writing)
    }
}

pub(crate) mod sql {
    pub(crate) const TICK: &str = "INSERT INTO tick VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    pub(crate) const SPAN: &str = "INSERT INTO span VALUES (?1, ?2, ?3, ?4)";
    pub(crate) const DIRENT: &str = "INSERT OR REPLACE INTO dirent VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    pub(crate) const PLACE: &str = "INSERT OR REPLACE INTO place VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    pub(crate) const VERSION: &str =
        "INSERT OR REPLACE INTO ver VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    pub(crate) const BIG: &str = "INSERT OR IGNORE INTO big VALUES (?1, ?2, ?3, ?4, ?5)";
    pub(crate) const ENTITY: &str = "INSERT OR REPLACE INTO entity VALUES (?1, ?2, ?3, ?4, ?5)";
    pub(crate) const STATE_REV: &str = "INSERT OR REPLACE INTO state_rev VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    pub(crate) const OBSERVED: &str = "INSERT INTO observed VALUES (?1, ?2, ?3)";
    pub(crate) const FOREIGN: &str = "INSERT OR IGNORE INTO foreign_event VALUES (?1, ?2, ?3, ?4)";
}

impl Rows for Live<'_> {
    fn tick(&mut self, row: TickRow, branch: BranchNo) -> Result<()> {
        self.insert(sql::TICK, |into| insert_tick(into, &row, row.sum()))?;
        let previous = last_span(self.0)?;
        match previous {
            Some(span) if span.branch == branch && span.last.next() == row.n => {
                let longer = Span { last: row.n, ..span };
                self.run(
                    "UPDATE span SET last = ?2, sum = ?3 WHERE first = ?1",
                    params![longer.first.0.cast_signed(), longer.last.0.cast_signed(), longer.sum()],
                )
            }
            _ => {
                self.insert(sql::SPAN, |into| insert_span(into, &Span { first: row.n, last: row.n, branch }))
            }
        }
    }

    fn dirent(&mut self, row: DirentRow) -> Result<()> {
        self.insert(sql::DIRENT, |into| insert_dirent(into, &row))
    }

    fn place(&mut self, row: PlaceRow) -> Result<()> {
        self.insert(sql::PLACE, |into| insert_place(into, &row))
    }

    fn version(&mut self, row: Version) -> Result<()> {
        self.insert(sql::VERSION, |into| insert_version(into, &row, row.sum()))
    }

    fn big(&mut self, hash: ContentHash, rec: Rec) -> Result<()> {
        self.insert(sql::BIG, |into| insert_big(into, hash, rec))
    }

    fn entity(&mut self, kind: &str, id: &str, seq: Seq, body: Option<&str>) -> Result<()> {
        match body {
            Some(body) => self.run(
                sql::ENTITY,
                params![kind, id, seq.0.cast_signed(), body, text_sum(kind, id, seq, body)],
            ),
            None => self.run("DELETE FROM entity WHERE type = ?1 AND id = ?2", params![kind, id]),
        }
    }

    fn lost_entity(&mut self, kind: &str, id: &str, seq: Seq) -> Result<()> {
        let sum = text_sum(kind, id, seq, LOST);
        self.run(sql::ENTITY, params![kind, id, seq.0.cast_signed(), None::<&str>, sum])
    }

    fn state_revision(&mut self, name: &str, rev: u64, seq: Seq, whole: bool, body: &str) -> Result<()> {
        let sum = text_sum(name, if whole { "whole" } else { "" }, seq, body);
        self.run(
            sql::STATE_REV,
            params![name, rev.cast_signed(), seq.0.cast_signed(), i64::from(whole), body, sum],
        )
    }

    fn observed(&mut self, seq: Seq, action: Action) -> Result<()> {
        let sum = Sum::new().int(seq.0.cast_signed()).int(action_code(action)).value();
        self.run(sql::OBSERVED, params![seq.0.cast_signed(), action_code(action), sum])
    }

    fn foreign(&mut self, origin: &str, seq: Seq, own: Seq) -> Result<()> {
        let sum = text_sum(origin, "", seq, &own.to_string());
        self.run(sql::FOREIGN, params![origin, seq.0.cast_signed(), own.0.cast_signed(), sum])
    }
}

pub(crate) fn insert_tick(into: &mut Statement<'_>, row: &TickRow, sum: i64) -> rusqlite::Result<()> {
    let burst = row.burst.map(|b| b.0.cast_signed());
    let values = params![
        row.n.0.cast_signed(),
        row.seq.0.cast_signed(),
        row.at.0,
        action_code(row.action),
        row.node.0.cast_signed(),
        burst,
        sum
    ];
    into.execute(values).map(drop)
}

pub(crate) fn insert_span(into: &mut Statement<'_>, row: &Span) -> rusqlite::Result<()> {
    let values = params![row.first.0.cast_signed(), row.last.0.cast_signed(), row.branch.0, row.sum()];
    into.execute(values).map(drop)
}

pub(crate) fn insert_dirent(into: &mut Statement<'_>, row: &DirentRow) -> rusqlite::Result<()> {
    let node = row.node.map_or(0, |n| n.0.cast_signed());
    let (dir, tick) = (row.dir.0.cast_signed(), row.tick.0.cast_signed());
    let values = params![row.branch.0, dir, row.name, tick, node, row.sum()];
    into.execute(values).map(drop)
}

pub(crate) fn insert_place(into: &mut Statement<'_>, row: &PlaceRow) -> rusqlite::Result<()> {
    let dir = row.dir.map_or(0, |d| d.0.cast_signed());
    let (node, tick) = (row.node.0.cast_signed(), row.tick.0.cast_signed());
    let values = params![node, row.branch.0, tick, dir, row.name, row.sum()];
    into.execute(values).map(drop)
}

pub(crate) fn insert_version(into: &mut Statement<'_>, row: &Version, sum: i64) -> rusqlite::Result<()> {
    let values = params![
        row.node.0.cast_signed(),
        row.branch.0,
        row.tick.0.cast_signed(),
        kind_code(row.kind),
        row.content.map(|a| a.pack.0),
        row.content.map(|a| a.offset.cast_signed()),
        row.size.cast_signed(),
        row.mtime.0,
        row.mode,
        row.uid,
        row.gid,
        holes_to_blob(&row.holes),
        sum
    ];
    into.execute(values).map(drop)
}

pub(crate) fn insert_big(into: &mut Statement<'_>, hash: ContentHash, rec: Rec) -> rusqlite::Result<()> {
    let values =
        params![hash.0.as_slice(), rec.at.pack.0, rec.at.offset.cast_signed(), rec.len, big_sum(hash, rec)];
    into.execute(values).map(drop)
}

pub(crate) fn last_span(db: &Connection) -> Result<Option<Span>> {
    use rusqlite::OptionalExtension;
    db.prepare_cached("SELECT first, last, branch, sum FROM span ORDER BY first DESC LIMIT 1")
        .and_then(|mut s| s.query_row([], read_span).optional())
        .map_err(Error::index("looked for its last span"))?
        .transpose()
}

/// The inner result says whether the row's checksum holds.
pub(crate) fn read_span(row: &rusqlite::Row<'_>) -> rusqlite::Result<Result<Span>> {
    let (first, last): (i64, i64) = (row.get(0)?, row.get(1)?);
    let (first, last) = (Tick(first.cast_unsigned()), Tick(last.cast_unsigned()));
    let span = Span { first, last, branch: BranchNo(row.get(2)?) };
    checked(span.sum(), row.get(3)?, "span", span)
}

/// Reads `n, seq, at, action, node, burst, sum`.
pub(crate) fn read_tick(row: &rusqlite::Row<'_>) -> rusqlite::Result<Result<TickRow>> {
    let number = |i| row.get::<_, i64>(i).map(i64::cast_unsigned);
    let Some(action) = action_of(row.get(3)?) else { return Ok(Err(damaged_row("tick"))) };
    let burst: Option<i64> = row.get(5)?;
    let tick = TickRow {
        n: Tick(number(0)?),
        seq: Seq(number(1)?),
        at: UnixMillis(row.get(2)?),
        action,
        node: NodeId(number(4)?),
        burst: burst.map(|b| Tick(b.cast_unsigned())),
    };
    checked(tick.sum(), row.get(6)?, "tick", tick)
}

/// Reads `node, branch, tick, kind, pack, off, size, mtime, mode, uid, gid, holes, sum`.
pub(crate) fn read_version(row: &rusqlite::Row<'_>) -> rusqlite::Result<Result<Version>> {
    let number = |i| row.get::<_, i64>(i).map(i64::cast_unsigned);
    let Some(kind) = kind_of(row.get(3)?) else { return Ok(Err(damaged_row("ver"))) };
    let pack: Option<u32> = row.get(4)?;
    let offset: Option<i64> = row.get(5)?;
    let version = Version {
        node: NodeId(number(0)?),
        branch: BranchNo(row.get(1)?),
        tick: Tick(number(2)?),
        kind,
        content: pack
            .zip(offset)
            .map(|(pack, offset)| Address { pack: PackId(pack), offset: offset.cast_unsigned() }),
        size: number(6)?,
        mtime: UnixNanos(row.get(7)?),
        mode: row.get(8)?,
        uid: row.get(9)?,
        gid: row.get(10)?,
        holes: holes_of_blob(
            row.get_ref(11)?.as_blob_or_null().map_err(|_not_bytes| rusqlite::Error::InvalidQuery)?,
        ),
    };
    checked(version.sum(), row.get(12)?, "ver", version)
}

pub(crate) fn checked<T>(computed: i64, stored: i64, table: &str, row: T) -> rusqlite::Result<Result<T>> {
    Ok(if computed == stored { Ok(row) } else { Err(damaged_row(table)) })
}

pub(crate) fn damaged_row(table: &str) -> Error {
    Error::Corrupt {
        path: "index.db".into(),
        offset: 0,
        what: format!("a row of {table} fails its checksum"),
    }
}
