//! Appends groups of mutations to the active segment.
//!
//! Invariants:
//!   * Whoever holds a [`JournalWriter`] holds the store's lock; there is one.
//!   * A group is one write and, by policy, one sync; what was not asked to be committed leaves nothing.
//!   * Bytes that were appended never change. A range that a failed write left behind is declared dead by the first
//!     record of the next append, and a seq that it shows is never used again.
//!   * After a failed sync nothing more is written until the journal has been opened anew.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use super::entry::{self, Draft, Stamp, Writer};
use super::head::Head;
use super::recovery::{self, Adjudication, Tail, TornRange};
use super::segment::{JournalDir, JournalEnd, SegmentFile, Segments};
use super::{reader, schema};
use crate::disk::{Disk, DiskFile, Fsync};
use crate::error::{Error, Result};
use crate::ids::{SegmentForm, SegmentId, Seq, StoreId, UnixMillis};

/// A segment this long is followed by a new one.
pub const ROLL_AT: u64 = 10 * 1024 * 1024;

#[derive(Debug, Clone, Copy)]
pub struct WriterOptions {
    pub roll_at: u64,
    pub fsync: Fsync,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { roll_at: ROLL_AT, fsync: Fsync::default() }
    }
}

#[derive(Debug)]
pub struct JournalWriter {
    disk: Arc<dyn Disk>,
    dir: JournalDir,
    origin: StoreId,
    writer: Writer,
    options: WriterOptions,
    active: Option<Active>,
    end: JournalEnd,
    next_seq: Seq,
    torn: Option<TornRange>,
    /// Whether what follows in the active segment is known to be by `origin` and `writer`.
    stamped: Stamped,
    poisoned: bool,
    head_failures: u64,
}

#[derive(Debug)]
struct Active {
    id: SegmentId,
    file: Arc<dyn DiskFile>,
    /// Up to here its bytes were examined.
    len: u64,
    unsynced: bool,
    /// Who made it may have died before its name was durable.
    name_unsynced: bool,
    /// An append failed: what it left behind `len` is dead.
    failed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Stamped {
    origin: bool,
    writer: bool,
}

impl JournalWriter {
    /// Finds the end of the journal. Writes nothing.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        origin: StoreId,
        writer: Writer,
        options: WriterOptions,
    ) -> Result<Self> {
        let dir = JournalDir::new(dir);
        let mut journal = Self {
            disk,
            dir,
            origin,
            writer,
            options,
            active: None,
            end: JournalEnd::EMPTY,
            next_seq: Seq(1),
            torn: None,
            stamped: Stamped::default(),
            poisoned: false,
            head_failures: 0,
        };
        journal.find_end()?;
        Ok(journal)
    }

    /// The seq of the next record.
    #[must_use]
    pub fn next_seq(&self) -> Seq {
        self.next_seq
    }

    /// The last record of the last whole mutation.
    #[must_use]
    pub fn end(&self) -> JournalEnd {
        self.end
    }

    /// The torn range that the next append will declare dead.
    #[must_use]
    pub fn torn_tail(&self) -> Option<TornRange> {
        self.torn
    }

    /// How often the cache `HEAD.json` could not be written.
    #[must_use]
    pub fn head_failures(&self) -> u64 {
        self.head_failures
    }

    /// Whether the active segment has reached its length: the next group begins a new one.
    #[must_use]
    pub fn wants_roll(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.len >= self.options.roll_at)
    }

    /// Begins a group. A full segment is left for a new one first.
    pub fn begin(&mut self, now: UnixMillis) -> Result<Group<'_>> {
        self.alive()?;
        self.settle_length()?;
        if self.wants_roll() {
            if self.torn.is_some() {
                // The dead range is named in its own segment, so that a reader need not look into the next.
                Group::new(self, now)?.commit()?;
            }
            self.roll()?;
        } else if self.active.is_none() {
            self.roll()?;
        }
        Group::new(self, now)
    }

    /// Makes durable what was appended; by policy it may do nothing.
    pub fn sync(&mut self) -> Result<()> {
        self.alive()?;
        if self.options.fsync == Fsync::Never {
            return Ok(());
        }
        let Some(active) = self.active.as_mut().filter(|active| active.unsynced) else {
            return Ok(());
        };
        let synced = active.file.sync().and_then(|()| match active.name_unsynced {
            true => self.disk.sync_dir(self.dir.path()),
            false => Ok(()),
        });
        if synced.is_err() {
            self.poisoned = true;
            return Err(self.poison());
        }
        (active.unsynced, active.name_unsynced) = (false, false);
        Ok(())
    }

    /// Makes durable what another writer may have left in the page cache, before anyone is shown it. The end may be
    /// another one afterwards.
    pub fn sync_found(&mut self) -> Result<()> {
        let Some(active) = self.active.as_mut() else { return Ok(()) };
        (active.unsynced, active.name_unsynced) = (true, true);
        self.sync()?;
        self.verify_found()
    }

    /// Looks for the end again, on the medium: a sync that failed before, in whatever process, is reported once, and
    /// the page cache shows what was lost as if it were there.
    fn verify_found(&mut self) -> Result<()> {
        if let Some(active) = &self.active {
            let path = self.dir.plain(active.id);
            active.file.forget_cached().map_err(Error::io("read anew", &path))?;
        }
        let next_seq = self.next_seq;
        (self.end, self.torn) = (JournalEnd::EMPTY, None);
        self.find_end()?;
        self.next_seq = self.next_seq.max(next_seq);
        if let Some(active) = &mut self.active {
            (active.unsynced, active.name_unsynced) = (false, false);
        }
        Ok(())
    }

    /// Replaces `HEAD.json`. It is a cache: a failure is counted and hurts nobody.
    pub fn write_head(&mut self) {
        let active = self.active.as_ref().map_or(self.end.segment, |active| active.id);
        let offset = if active == self.end.segment { self.end.offset } else { 0 };
        let head = Head::new(self.next_seq, &JournalEnd { segment: active, offset, ..self.end });
        if head.write(&*self.disk, &self.dir).is_err() {
            self.head_failures += 1;
        }
    }

    /// A clean stop.
    pub fn close(mut self) -> Result<()> {
        self.sync()?;
        self.write_head();
        Ok(())
    }

    fn alive(&self) -> Result<()> {
        if self.poisoned { Err(self.poison()) } else { Ok(()) }
    }

    fn poison(&self) -> Error {
        let path =
            self.active.as_ref().map_or_else(|| self.dir.path().to_path_buf(), |a| self.dir.plain(a.id));
        Error::Poisoned { path }
    }

    fn find_end(&mut self) -> Result<()> {
        let segments = Segments::list(&*self.disk, &self.dir, true)?;
        let Some(last) = segments.last() else {
            return Ok(());
        };
        self.next_seq = last.id.0;
        if last.form == SegmentForm::Plain && !last.archived {
            let path = self.dir.plain(last.id);
            let file = self.disk.open_append(&path).map_err(Error::io("open for appending", &path))?;
            let len = file.len().map_err(Error::io("look at", &path))?;
            // What another process left unsynced is made durable by our first sync.
            self.active =
                Some(Active { id: last.id, file, len, unsynced: true, name_unsynced: true, failed: false });
            let tail = self.examine_active()?;
            self.adopt(last.id, tail);
        } else {
            let tail = self.tail_of_closed(last)?;
            self.adopt(last.id, Tail { torn: None, ..tail });
        }
        // The last segment may hold no record yet; then the end stands in an older one.
        let mut older = segments.files().iter().rev().skip(1);
        while self.end == JournalEnd::EMPTY {
            let Some(file) = older.next() else { break };
            if let Some((seq, offset)) = self.tail_of_closed(*file)?.last {
                self.end = JournalEnd { seq, segment: file.id, offset };
                self.next_seq = self.next_seq.max(seq.next());
            }
        }
        Ok(())
    }

    fn examine_active(&self) -> Result<Tail> {
        let active =
            self.active.as_ref().expect("an active segment, because it was just opened or appended to");
        recovery::read_tail(&*active.file, &self.dir.plain(active.id), active.len, active.id)
    }

    fn tail_of_closed(&self, file: SegmentFile) -> Result<Tail> {
        let loaded = reader::load(&*self.disk, &self.dir, file, 0)?;
        Ok(recovery::tail_of(&loaded.bytes, 0, recovery::before(file.id)))
    }

    fn adopt(&mut self, segment: SegmentId, tail: Tail) {
        if let Some((seq, offset)) = tail.last {
            self.end = JournalEnd { seq, segment, offset };
            self.next_seq = self.next_seq.max(seq.next());
        }
        self.torn = tail.torn;
        if let Some(shown) = tail.torn.and_then(|torn| torn.shows) {
            self.next_seq = self.next_seq.max(shown.next());
        }
    }

    /// Looks at what stands behind the last byte we know of: a failed append, or a stranger's line.
    fn settle_length(&mut self) -> Result<()> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        let path = self.dir.plain(active.id);
        let len = active.file.len().map_err(Error::io("look at", &path))?;
        if len == active.len {
            active.failed = false;
            return Ok(());
        }
        let (from, failed) = (active.len, active.failed);
        if failed {
            // All of a failed append is dead, also mutations in it that are complete: nobody was told they exist.
            let from = self.torn.map_or(from, |torn| torn.from);
            let bytes = recovery::read_range(&*self.disk, &path, from, len)?;
            self.torn = recovery::failed_append(&bytes, from, self.end.seq).or(self.torn);
            if let Some(shown) = self.torn.and_then(|torn| torn.shows) {
                self.next_seq = self.next_seq.max(shown.next());
            }
            (active.len, active.failed) = (len, false);
        } else {
            active.len = len;
            let (id, tail) = (active.id, self.examine_active()?);
            self.adopt(id, tail);
        }
        Ok(())
    }

    /// Leaves the active segment as it is and begins the next, which is named by its first seq.
    fn roll(&mut self) -> Result<()> {
        self.sync()?;
        let id = SegmentId(self.next_seq);
        let path = self.dir.plain(id);
        let file = self.disk.create_append(&path).map_err(Error::io("create", &path))?;
        if self.options.fsync == Fsync::Mutation && self.disk.sync_dir(self.dir.path()).is_err() {
            self.poisoned = true;
            return Err(Error::Poisoned { path: self.dir.path().to_path_buf() });
        }
        self.active = Some(Active { id, file, len: 0, unsynced: false, name_unsynced: false, failed: false });
        self.stamped = Stamped::default();
        self.write_head();
        Ok(())
    }
}

/// Mutations that reach the disk together. Dropping it leaves nothing.
#[derive(Debug)]
pub struct Group<'w> {
    journal: &'w mut JournalWriter,
    now: UnixMillis,
    bytes: Vec<u8>,
    next_seq: Seq,
    mutations: usize,
    stamped: Stamped,
}

impl<'w> Group<'w> {
    fn new(journal: &'w mut JournalWriter, now: UnixMillis) -> Result<Self> {
        let stamped = journal.stamped_at_end();
        let next_seq = journal.next_seq;
        let mut group = Self { journal, now, bytes: Vec::new(), next_seq, mutations: 0, stamped };
        if let Some(torn) = group.journal.torn {
            let id = group.journal.active_id();
            let path = group.journal.dir.plain(id);
            let dead = recovery::read_range(&*group.journal.disk, &path, torn.from, torn.to)?;
            group.encode(&[Adjudication::new(id, torn.from, &dead).draft()])?;
        }
        Ok(group)
    }

    /// The seq that the next record pushed will get.
    #[must_use]
    pub fn next_seq(&self) -> Seq {
        self.next_seq
    }

    /// How many mutations were pushed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.mutations
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.mutations == 0
    }

    /// Whether the segment reaches its length with what the group holds: commit it and begin another, so that no
    /// segment is longer than that by more than one mutation.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let len = self.journal.active.as_ref().map_or(0, |active| active.len);
        len + self.bytes.len() as u64 >= self.journal.options.roll_at
    }

    /// Adds one mutation; its seqs are given back. On error the group is as it was.
    pub fn push_mutation(&mut self, drafts: &[Draft]) -> Result<RangeInclusive<Seq>> {
        if drafts.is_empty() {
            return Err(Error::refused("a mutation holds at least one record"));
        }
        drafts.iter().try_for_each(schema::validate)?;
        let seqs = self.encode(drafts)?;
        self.mutations += 1;
        Ok(seqs)
    }

    /// One write of everything, not durable yet: [`JournalWriter::sync`] makes it so.
    ///
    /// On error nothing of the group counts: what a part of the write left on disk is declared dead by the next
    /// append.
    pub fn append(self) -> Result<JournalEnd> {
        let Self { journal, bytes, next_seq, stamped, .. } = self;
        if bytes.is_empty() {
            return Ok(journal.end);
        }
        let last = Seq(next_seq.0 - 1);
        let path = journal.dir.plain(journal.active_id());
        let active = journal.active.as_mut().expect("an active segment, because `begin` made sure of one");
        active.unsynced = true;
        if let Err(error) = active.file.append(&bytes) {
            active.failed = true;
            return Err(Error::io("append to", &path)(error));
        }
        let (id, before) = (active.id, active.len);
        active.len = active.file.len().map_err(Error::io("look at", &path))?;
        journal.torn = None;
        journal.next_seq = next_seq;
        journal.stamped = stamped;
        if active.len == before + bytes.len() as u64 {
            journal.end = JournalEnd { seq: last, segment: id, offset: active.len };
        } else {
            // A stranger wrote too: where our last line ended up has to be looked for.
            let tail = journal.examine_active()?;
            journal.adopt(id, tail);
        }
        Ok(journal.end)
    }

    /// Appends, and makes durable by policy.
    pub fn commit(self) -> Result<JournalEnd> {
        let Self { journal, now, bytes, next_seq, mutations, stamped } = self;
        let group = Group { journal: &mut *journal, now, bytes, next_seq, mutations, stamped };
        let end = group.append()?;
        journal.sync()?;
        Ok(end)
    }

    /// Appends and does not wait for the disk: observability outside a mutation.
    pub fn commit_unsynced(self) -> Result<JournalEnd> {
        self.append()
    }

    fn encode(&mut self, drafts: &[Draft]) -> Result<RangeInclusive<Seq>> {
        let (length, first, before) = (self.bytes.len(), self.next_seq, self.stamped);
        let count = u32::try_from(drafts.len())
            .map_err(|_too_many| Error::refused("a mutation of more than 2^32 records"))?;
        for (draft, part) in drafts.iter().zip(0..count) {
            let stamp = Stamp {
                seq: self.next_seq,
                more: count - 1 - part,
                part,
                ts: self.now,
                origin: (!self.stamped.origin).then_some(&self.journal.origin),
                writer: (!self.stamped.writer).then_some(&self.journal.writer),
            };
            if let Err(too_long) = entry::encode(&mut self.bytes, &stamp, draft) {
                self.bytes.truncate(length);
                (self.next_seq, self.stamped) = (first, before);
                return Err(Error::refused(too_long.to_string()));
            }
            self.stamped = Stamped { origin: true, writer: true };
            self.next_seq = self.next_seq.next();
        }
        Ok(first..=Seq(self.next_seq.0 - 1))
    }
}

impl JournalWriter {
    fn active_id(&self) -> SegmentId {
        self.active.as_ref().map_or(self.end.segment, |active| active.id)
    }

    /// The origin stands once per segment; the writer too, and anew after each opening.
    fn stamped_at_end(&self) -> Stamped {
        let begun = self.end.segment == self.active_id() && self.end.offset > 0;
        Stamped { origin: begun, writer: begun && self.stamped.writer }
    }
}
