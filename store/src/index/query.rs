//! Questions to the projection. Every row that answers is checked against its sum.
//!
//! Invariant: nothing here writes. A [`Lineage`] is all that a question needs to know of branches.

use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{
    LOST, PlaceRow, Span, TickRow, Version, big_sum, checked, dirent_sum, read_span, read_tick, read_version,
    text_sum,
};
use crate::error::{Error, Result};
use crate::ids::{Address, BranchNo, ContentHash, NodeId, PackId, Rec, Seq, Tick, UnixMillis};
use crate::journal::entry::Action;

/// A tick of a branch, as the runs that answer for it: the branch up to the tick, its parent up to the fork, and so on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lineage(pub(crate) Vec<(BranchNo, Tick)>);

/// A row of `entity`: the latest state of something that is no path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityRow {
    pub kind: String,
    pub id: String,
    pub seq: Seq,
    pub body: String,
}

/// A name in a directory at some tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    pub name: Vec<u8>,
    pub node: NodeId,
}

/// A revision of a state document as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRow {
    pub rev: u64,
    pub seq: Seq,
    pub whole: bool,
    pub body: String,
}

/// The columns of `ver` as [`read_version`] expects them.
macro_rules! select_version {
    ($condition:literal) => {
        concat!(
            "SELECT node, branch, tick, kind, pack, off, size, mtime, mode, uid, gid, holes, sum FROM ver ",
            $condition
        )
    };
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<'c>(pub(crate) &'c Connection);

fn asking(source: rusqlite::Error) -> Error {
    Error::Index { doing: "was read", source }
}

impl<'c> Query<'c> {
    fn one<T>(
        self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<Result<T>>,
    ) -> Result<Option<T>> {
        let found = self.0.prepare_cached(sql).and_then(|mut s| s.query_row(values, read).optional());
        found.map_err(asking)?.transpose()
    }

    fn all<T>(
        self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<Result<T>>,
    ) -> Result<Vec<T>> {
        let mut statement = self.0.prepare_cached(sql).map_err(asking)?;
        let rows = statement.query_map(values, read).map_err(asking)?;
        rows.map(|row| row.map_err(asking)?).collect()
    }

    /// The node that a name in a directory stands for, if any.
    pub(crate) fn lookup(self, lineage: &Lineage, dir: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        for &(branch, upto) in &lineage.0 {
            if let Some(node) = self.dirent(branch, dir, name, upto)? {
                return Ok(node);
            }
        }
        Ok(None)
    }

    /// What the latest row for a name on one branch alone says, if there is one.
    fn dirent(
        self,
        branch: BranchNo,
        dir: NodeId,
        name: &[u8],
        upto: Tick,
    ) -> Result<Option<Option<NodeId>>> {
        let sql = "SELECT tick, node, sum FROM dirent
                   WHERE branch = ?1 AND dir = ?2 AND name = ?3 AND tick <= ?4 ORDER BY tick DESC LIMIT 1";
        let values = params![branch.0, dir.0.cast_signed(), name, upto.0.cast_signed()];
        self.one(sql, values, |row| {
            let (tick, node): (i64, i64) = (row.get(0)?, row.get(1)?);
            let node = (node != 0).then(|| NodeId(node.cast_unsigned()));
            let sum = dirent_sum(branch, dir, name, Tick(tick.cast_unsigned()), node);
            checked(sum, row.get(2)?, "dirent", node)
        })
    }

    /// Every time a name in a directory changed what it stands for, on any branch, oldest first.
    pub(crate) fn dirent_history(
        self,
        dir: NodeId,
        name: &[u8],
        branch: BranchNo,
    ) -> Result<Vec<(Tick, Option<NodeId>)>> {
        let sql =
            "SELECT tick, node, sum FROM dirent WHERE branch = ?1 AND dir = ?2 AND name = ?3 ORDER BY tick";
        self.all(sql, params![branch.0, dir.0.cast_signed(), name], |row| {
            let (tick, node): (i64, i64) = (row.get(0)?, row.get(1)?);
            let node = (node != 0).then(|| NodeId(node.cast_unsigned()));
            let tick = Tick(tick.cast_unsigned());
            checked(dirent_sum(branch, dir, name, tick, node), row.get(2)?, "dirent", (tick, node))
        })
    }

    /// Every name that ever hung in a directory up to a tick by what one branch says, in the order of their bytes.
    pub(crate) fn names_on(
        self,
        branch: BranchNo,
        dir: NodeId,
        upto: Tick,
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<Vec<u8>>> {
        let sql = "SELECT DISTINCT name FROM dirent
                   WHERE branch = ?1 AND dir = ?2 AND name > ?3 AND tick <= ?4 ORDER BY name LIMIT ?5";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = params![branch.0, dir.0.cast_signed(), after, upto.0.cast_signed(), limit];
        self.all(sql, values, |row| Ok(Ok(row.get(0)?)))
    }

    /// Children of a directory in the order of their names' bytes, from after `after` on.
    pub(crate) fn children(
        self,
        lineage: &Lineage,
        dir: NodeId,
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<Child>> {
        let mut runs: Vec<Run> =
            lineage.0.iter().map(|&(branch, upto)| Run::new(branch, upto, after)).collect();
        let mut children = Vec::new();
        while children.len() < limit {
            for run in &mut runs {
                run.fill(self, dir, limit)?;
            }
            // The nearest branch comes first in the lineage, and hides the same name of those behind it.
            let Some(next) = runs.iter().filter_map(Run::peek).map(|(name, _)| name).min() else { break };
            let next = next.to_vec();
            let taken: Vec<Option<NodeId>> = runs.iter_mut().filter_map(|run| run.take(&next)).collect();
            if let Some(&Some(node)) = taken.first() {
                children.push(Child { name: next, node });
            }
        }
        Ok(children)
    }

    /// What a node is at a tick.
    pub(crate) fn version(self, lineage: &Lineage, node: NodeId) -> Result<Option<Version>> {
        let sql =
            select_version!("WHERE node = ?1 AND branch = ?2 AND tick <= ?3 ORDER BY tick DESC LIMIT 1");
        for &(branch, upto) in &lineage.0 {
            let values = params![node.0.cast_signed(), branch.0, upto.0.cast_signed()];
            if let Some(version) = self.one(sql, values, read_version)? {
                return Ok(Some(version));
            }
        }
        Ok(None)
    }

    /// Every version of a node on one branch, oldest first.
    pub(crate) fn versions_on(self, node: NodeId, branch: BranchNo) -> Result<Vec<Version>> {
        let sql = select_version!("WHERE node = ?1 AND branch = ?2 ORDER BY tick");
        self.all(sql, params![node.0.cast_signed(), branch.0], read_version)
    }

    /// The newest versions of a node on a branch, newest first, of ticks between these two.
    pub(crate) fn newest_on(
        self,
        node: NodeId,
        branch: BranchNo,
        (after, before): (Tick, Tick),
        limit: usize,
    ) -> Result<Vec<Version>> {
        let sql = select_version!(
            "WHERE node = ?1 AND branch = ?2 AND tick > ?3 AND tick < ?4 ORDER BY tick DESC LIMIT ?5"
        );
        let (after, before) = (after.0.cast_signed(), i64::try_from(before.0).unwrap_or(i64::MAX));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.all(sql, params![node.0.cast_signed(), branch.0, after, before, limit], read_version)
    }

    /// Every version of every node on every branch.
    pub(crate) fn all_versions(self) -> Result<Vec<Version>> {
        self.all(select_version!("ORDER BY node, branch, tick"), [], read_version)
    }

    /// Where a node hangs at a tick; `None` if nowhere.
    pub(crate) fn place(self, lineage: &Lineage, node: NodeId) -> Result<Option<(NodeId, Vec<u8>)>> {
        let sql = "SELECT tick, dir, name, sum FROM place
                   WHERE node = ?1 AND branch = ?2 AND tick <= ?3 ORDER BY tick DESC LIMIT 1";
        for &(branch, upto) in &lineage.0 {
            let values = params![node.0.cast_signed(), branch.0, upto.0.cast_signed()];
            let found = self.one(sql, values, |row| {
                let (tick, dir): (i64, i64) = (row.get(0)?, row.get(1)?);
                let dir = (dir != 0).then(|| NodeId(dir.cast_unsigned()));
                let place =
                    PlaceRow { node, branch, tick: Tick(tick.cast_unsigned()), dir, name: row.get(2)? };
                checked(place.sum(), row.get(3)?, "place", place)
            })?;
            if let Some(place) = found {
                return Ok(place.dir.map(|dir| (dir, place.name)));
            }
        }
        Ok(None)
    }

    pub(crate) fn tick(self, n: Tick) -> Result<Option<TickRow>> {
        let sql = "SELECT n, seq, at, action, node, burst, sum FROM tick WHERE n = ?1";
        self.one(sql, params![n.0.cast_signed()], read_tick)
    }

    /// Ticks from `first` to `last`, in order, at most `limit`.
    pub(crate) fn ticks(self, first: Tick, last: Tick, limit: usize) -> Result<Vec<TickRow>> {
        let sql = "SELECT n, seq, at, action, node, burst, sum FROM tick WHERE n BETWEEN ?1 AND ?2 ORDER BY n LIMIT ?3";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.all(sql, params![first.0.cast_signed(), last.0.cast_signed(), limit], read_tick)
    }

    pub(crate) fn last_tick(self) -> Result<Option<TickRow>> {
        let sql = "SELECT n, seq, at, action, node, burst, sum FROM tick ORDER BY n DESC LIMIT 1";
        self.one(sql, [], read_tick)
    }

    /// The last tick of the store at or before a moment: `at` never falls as `n` rises.
    pub(crate) fn tick_by_time(self, moment: UnixMillis) -> Result<Option<TickRow>> {
        let Some(last) = self.last_tick()? else { return Ok(None) };
        let (mut low, mut high) = (1, last.n.0 + 1);
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let row = self.tick(Tick(middle))?.ok_or_else(|| super::rows::damaged_row("tick"))?;
            if row.at <= moment {
                low = middle + 1;
                found = Some(row);
            } else {
                high = middle;
            }
        }
        Ok(found)
    }

    pub(crate) fn spans(self) -> Result<Vec<Span>> {
        self.all("SELECT first, last, branch, sum FROM span ORDER BY first", [], read_span)
    }

    /// The highest node that any row names.
    pub(crate) fn last_node(self) -> Result<NodeId> {
        let node: Option<i64> =
            self.0.query_row("SELECT max(node) FROM ver", [], |row| row.get(0)).map_err(asking)?;
        Ok(node.map_or(NodeId::ROOT, |n| NodeId(n.cast_unsigned()).max(NodeId::ROOT)))
    }

    pub(crate) fn entity(self, kind: &str, id: &str) -> Result<Option<EntityRow>> {
        let sql = "SELECT type, id, seq, body, sum FROM entity WHERE type = ?1 AND id = ?2";
        self.one(sql, params![kind, id], read_entity)
    }

    /// The live entities of one kind, by id.
    pub(crate) fn entities(self, kind: &str) -> Result<Vec<EntityRow>> {
        let sql = "SELECT type, id, seq, body, sum FROM entity WHERE type = ?1 ORDER BY id";
        self.all(sql, params![kind], read_entity)
    }

    pub(crate) fn all_entities(self) -> Result<Vec<EntityRow>> {
        self.all("SELECT type, id, seq, body, sum FROM entity ORDER BY type, id", [], read_entity)
    }

    pub(crate) fn big(self, hash: ContentHash) -> Result<Option<Rec>> {
        let sql = "SELECT pack, off, len, sum FROM big WHERE hash = ?1";
        self.one(sql, params![hash.0.as_slice()], |row| {
            let offset: i64 = row.get(1)?;
            let at = Address { pack: PackId(row.get(0)?), offset: offset.cast_unsigned() };
            let rec = Rec { at, len: row.get(2)? };
            checked(big_sum(hash, rec), row.get(3)?, "big", rec)
        })
    }

    /// The revisions of a state document from the last whole one at or before `rev` up to `rev`.
    pub(crate) fn state_chain(self, name: &str, rev: u64) -> Result<Vec<StateRow>> {
        let sql = "SELECT rev, seq, whole, body, sum FROM state_rev WHERE name = ?1 AND rev <= ?2 AND rev >=
            (SELECT coalesce(max(rev), 0) FROM state_rev WHERE name = ?1 AND rev <= ?2 AND whole = 1) ORDER BY rev";
        self.all(sql, params![name, rev.cast_signed()], |row| read_state(name, row))
    }

    pub(crate) fn all_states(self, name: &str) -> Result<Vec<StateRow>> {
        let sql = "SELECT rev, seq, whole, body, sum FROM state_rev WHERE name = ?1 ORDER BY rev";
        self.all(sql, params![name], |row| read_state(name, row))
    }

    pub(crate) fn last_state(self, name: &str) -> Result<Option<StateRow>> {
        let sql =
            "SELECT rev, seq, whole, body, sum FROM state_rev WHERE name = ?1 ORDER BY rev DESC LIMIT 1";
        self.one(sql, params![name], |row| read_state(name, row))
    }

    /// Events that are no state, of the given kinds and up to `last`, newest last.
    pub(crate) fn observed(self, actions: &[Action], last: Seq, limit: usize) -> Result<Vec<(Seq, Action)>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let wanted: Vec<i64> = actions.iter().map(|&a| super::rows::action_code(a)).collect();
        let mut found = Vec::new();
        for code in wanted {
            let sql =
                "SELECT seq, action FROM observed WHERE action = ?1 AND seq <= ?2 ORDER BY seq DESC LIMIT ?3";
            found.extend(self.all(sql, params![code, last.0.cast_signed(), limit], |row| {
                let seq: i64 = row.get(0)?;
                let action = super::rows::action_of(row.get(1)?);
                let pair = action.map(|action| (Seq(seq.cast_unsigned()), action));
                Ok(pair.ok_or_else(|| super::rows::damaged_row("observed")))
            })?);
        }
        found.sort_unstable_by_key(|&(seq, _)| seq);
        Ok(found)
    }

    pub(crate) fn has_foreign(self, origin: &str, seq: Seq) -> Result<bool> {
        let sql = "SELECT 1 FROM foreign_event WHERE origin = ?1 AND seq = ?2";
        Ok(self.one(sql, params![origin, seq.0.cast_signed()], |_| Ok(Ok(())))?.is_some())
    }
}

fn read_entity(row: &rusqlite::Row<'_>) -> rusqlite::Result<Result<EntityRow>> {
    let seq: i64 = row.get(2)?;
    let (kind, id, seq) = (row.get::<_, String>(0)?, row.get::<_, String>(1)?, Seq(seq.cast_unsigned()));
    let Some(body) = row.get(3)? else {
        let lost = Error::Corrupt {
            path: "packs".into(),
            offset: 0,
            what: format!(
                "the payload of {kind} {id} (record {seq}) does not read: `tickfs doctor` says where it lies"
            ),
        };
        return Ok(checked(text_sum(&kind, &id, seq, LOST), row.get(4)?, "entity", ())?.and(Err(lost)));
    };
    let entity = EntityRow { kind, id, seq, body };
    checked(text_sum(&entity.kind, &entity.id, entity.seq, &entity.body), row.get(4)?, "entity", entity)
}

fn read_state(name: &str, row: &rusqlite::Row<'_>) -> rusqlite::Result<Result<StateRow>> {
    let (rev, seq): (i64, i64) = (row.get(0)?, row.get(1)?);
    let whole: i64 = row.get(2)?;
    let state = StateRow {
        rev: rev.cast_unsigned(),
        seq: Seq(seq.cast_unsigned()),
        whole: whole != 0,
        body: row.get(3)?,
    };
    let sum = text_sum(name, if state.whole { "whole" } else { "" }, state.seq, &state.body);
    checked(sum, row.get(4)?, "state_rev", state)
}

/// The names of one branch in one directory, read ahead in portions; the latest row of a name speaks for it.
struct Run {
    branch: BranchNo,
    upto: Tick,
    after: Vec<u8>,
    ahead: std::collections::VecDeque<(Vec<u8>, Option<NodeId>)>,
    exhausted: bool,
}

impl Run {
    fn new(branch: BranchNo, upto: Tick, after: &[u8]) -> Self {
        Self {
            branch,
            upto,
            after: after.to_vec(),
            ahead: std::collections::VecDeque::new(),
            exhausted: false,
        }
    }

    fn fill(&mut self, query: Query<'_>, dir: NodeId, limit: usize) -> Result<()> {
        if !self.ahead.is_empty() || self.exhausted {
            return Ok(());
        }
        let portion = i64::try_from(limit.clamp(1, 1024)).unwrap_or(1024);
        // SQLite takes the other columns of a max() from the row that has it.
        let sql = "SELECT name, max(tick), node, sum FROM dirent
                   WHERE branch = ?1 AND dir = ?2 AND name > ?3 AND tick <= ?4 GROUP BY name ORDER BY name LIMIT ?5";
        let (branch, upto) = (self.branch, self.upto);
        let values = params![branch.0, dir.0.cast_signed(), self.after, upto.0.cast_signed(), portion];
        let rows = query.all(sql, values, |row| {
            let name: Vec<u8> = row.get(0)?;
            let (tick, node): (i64, i64) = (row.get(1)?, row.get(2)?);
            let node = (node != 0).then(|| NodeId(node.cast_unsigned()));
            let sum = dirent_sum(branch, dir, &name, Tick(tick.cast_unsigned()), node);
            checked(sum, row.get(3)?, "dirent", (name, node))
        })?;
        self.exhausted = rows.len() < usize::try_from(portion).unwrap_or(usize::MAX);
        if let Some((name, _)) = rows.last() {
            self.after.clone_from(name);
        }
        self.ahead.extend(rows);
        Ok(())
    }

    fn peek(&self) -> Option<(&[u8], Option<NodeId>)> {
        self.ahead.front().map(|(name, node)| (name.as_slice(), *node))
    }

    /// What this branch says of the name, if it says anything.
    fn take(&mut self, name: &[u8]) -> Option<Option<NodeId>> {
        let (front, node) = self.peek()?;
        let node = (front == name).then_some(node);
        node.inspect(|_| drop(self.ahead.pop_front()))
    }
}
