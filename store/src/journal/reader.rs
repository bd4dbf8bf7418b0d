//! Streams the records of the journal forward, across segments, from any seq.
//!
//! It only reads: it takes no lock and repairs nothing. What it skips it counts, in its [`ReadReport`].
//!
//! Invariants:
//!   * A record is given once, in the order of `seq`, and whole: its checksum was right and its newline there.
//!   * What an `adjudicate` record declares dead is never given, nor the torn end of the last segment.
//!   * Memory is bounded by one segment.

use std::collections::BTreeMap;
use std::io;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::PathBuf;
use std::sync::Arc;

use memchr::memmem;

use super::entry::{self, Action, Line, LineFault, Writer};
use super::lines::{RawLine, lines, next_line};
use super::quick;
use super::recovery::{self, Adjudication, TornRange};
use super::seal;
use super::segment::{JournalDir, JournalEnd, LinePlace, SegmentFile, Segments};
use crate::disk::{Disk, read_all, read_exact_at};
use crate::error::{Error, Result};
use crate::ids::{SegmentForm, SegmentId, Seq, StoreId};

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    Seq(Seq),
    /// Behind a known record. Costs only what follows it.
    After(JournalEnd),
}

#[derive(Debug, Clone, Copy)]
pub struct ReadOptions {
    pub from: ReadFrom,
    /// Whether to read archived segments too.
    pub archive: bool,
    /// The last record to give: what the caller knows to be durable.
    pub until: Option<Seq>,
    /// Whether to look back for the writer of records behind a [`ReadFrom::After`].
    pub writers: bool,
}

impl ReadOptions {
    #[must_use]
    pub fn from(seq: Seq) -> Self {
        Self { from: ReadFrom::Seq(seq), archive: false, until: None, writers: true }
    }

    #[must_use]
    pub fn after(end: JournalEnd) -> Self {
        Self { from: ReadFrom::After(end), archive: false, until: None, writers: false }
    }

    #[must_use]
    pub fn with_archive(self) -> Self {
        Self { archive: true, ..self }
    }

    #[must_use]
    pub fn until(self, last: Seq) -> Self {
        Self { until: Some(last), ..self }
    }
}

/// What opening a reader gives.
#[derive(Debug)]
pub enum Opened {
    Reader(Box<JournalReader>),
    /// The records asked for are archived, and the archive was not.
    Gap {
        first_available: Seq,
    },
}

impl Opened {
    /// For a reader of the archive, for which there is no gap.
    pub fn whole(self) -> Result<JournalReader> {
        match self {
            Self::Reader(reader) => Ok(*reader),
            Self::Gap { first_available } => Err(Error::not_found(format!(
                "the journal begins at seq {first_available}; what was before is gone"
            ))),
        }
    }
}

/// One record, borrowed from the reader.
#[derive(Debug)]
pub struct Entry<'a> {
    pub line: Line<'a>,
    /// The line as it stands on disk.
    pub text: &'a [u8],
    pub place: LinePlace,
    /// `None` only where reading began behind the record that says it.
    pub writer: Option<&'a Writer>,
    pub origin: Option<&'a StoreId>,
}

impl Entry<'_> {
    /// The end of the journal as it was when this was its last record.
    #[must_use]
    pub fn end(&self) -> JournalEnd {
        end_of(self.line.seq, &self.place)
    }
}

fn end_of(seq: Seq, place: &LinePlace) -> JournalEnd {
    JournalEnd { seq, segment: place.segment, offset: place.offset + u64::from(place.len) + 1 }
}

/// How many single findings are kept; beyond that they are only counted.
const KEPT: usize = 1_000;

/// What was read, and what was skipped under which name.
#[derive(Debug, Clone, Default)]
pub struct ReadReport {
    pub records: u64,
    /// Lines that were skipped, by [`LineFault::kind`].
    pub faults: BTreeMap<&'static str, u64>,
    /// The first of them.
    pub bad: Vec<BadLine>,
    /// Records whose seq had been met before.
    pub duplicates: u64,
    /// Seqs that no record has and no adjudication explains.
    pub missing: u64,
    pub missing_ranges: Vec<RangeInclusive<Seq>>,
    /// Ranges that an adjudication declares dead.
    pub dead: Vec<DeadRange>,
    /// The end of the last segment that waits for adjudication.
    pub torn_tail: Option<(SegmentId, TornRange)>,
    /// Blocks of sealed segments that cannot be read: segment, and offset of the block's lines.
    pub damaged_blocks: Vec<(SegmentId, u64)>,
}

impl ReadReport {
    /// Lines that were skipped, strays among them.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Lines of strangers.
    #[must_use]
    pub fn strays(&self) -> u64 {
        self.faults.get(LineFault::Stray.kind()).copied().unwrap_or(0)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    pub segment: SegmentId,
    pub offset: u64,
    pub fault: LineFault,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadRange {
    pub segment: SegmentId,
    pub from: u64,
    pub to: u64,
    /// Whether the bytes are still those that were declared dead.
    pub unchanged: bool,
}

/// Reads every record, archived ones too; the fast way to rebuild.
pub fn scan_all(
    disk: &Arc<dyn Disk>,
    dir: &JournalDir,
    mut each: impl FnMut(&Entry<'_>) -> Result<ControlFlow<()>>,
) -> Result<ReadReport> {
    let options = ReadOptions::from(Seq(1)).with_archive();
    let mut reader = JournalReader::open(disk, dir, options)?.whole()?;
    loop {
        let JournalReader { progress, loaded, at, .. } = &mut reader;
        while let Some((line, place)) = progress.accept(loaded, at) {
            let (text, writer, origin) =
                (loaded.text(&place), progress.writer.as_ref(), progress.origin.as_ref());
            if each(&Entry { line, text, place, writer, origin })?.is_break() {
                return Ok(reader.progress.report);
            }
        }
        if !reader.load_next()? {
            return Ok(reader.progress.report);
        }
    }
}

#[derive(Debug)]
pub struct JournalReader {
    disk: Arc<dyn Disk>,
    dir: JournalDir,
    archive: bool,
    segments: Segments,
    loaded: Loaded,
    at: usize,
    progress: Progress,
}

impl JournalReader {
    pub fn open(disk: &Arc<dyn Disk>, dir: &JournalDir, options: ReadOptions) -> Result<Opened> {
        let segments = Segments::list(&**disk, dir, options.archive)?;
        let (from, offset) = match options.from {
            ReadFrom::Seq(seq) => (seq.max(Seq(1)), 0),
            ReadFrom::After(end) => (end.seq.next(), end.offset),
        };
        let file = match options.from {
            ReadFrom::Seq(_) => segments.locate(from).map(|place| segments.files()[place]),
            ReadFrom::After(end) => segments.files().iter().find(|file| file.id == end.segment).copied(),
        };
        let first = segments.files().first().copied();
        let mut progress = Progress { until: options.until, ..Progress::behind(Seq(from.0 - 1)) };
        if let ReadFrom::After(end) = options.from {
            progress.end = end;
        }
        let mut reader = Self {
            disk: Arc::clone(disk),
            dir: dir.clone(),
            archive: options.archive,
            segments,
            loaded: Loaded::nothing(),
            at: 0,
            progress,
        };
        match (file, first) {
            (Some(file), _) => {
                if options.writers && offset > 0 {
                    reader.look_back(file, offset)?;
                }
                let is_last = reader.segments.last() == Some(file);
                reader.enter(file, offset, is_last)?;
            }
            (None, Some(first)) if options.archive => {
                // Nothing older exists; whoever asked learns of it by the count of missing records.
                let is_last = reader.segments.last() == Some(first);
                reader.enter(first, 0, is_last)?;
            }
            (None, Some(first)) => {
                return Ok(Opened::Gap { first_available: first.id.0 });
            }
            (None, None) => {}
        }
        Ok(Opened::Reader(Box::new(reader)))
    }

    /// The next record; `None` at the end, for now: asked again it gives what was written since.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend its items")]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>> {
        let place = loop {
            if let Some((_, place)) = self.progress.accept(&self.loaded, &mut self.at) {
                break place;
            }
            if !self.load_next()? {
                return Ok(None);
            }
        };
        let text = self.loaded.text(&place);
        let line = entry::decode_sound(text).expect("a record, because it was just decoded");
        let (writer, origin) = (self.progress.writer.as_ref(), self.progress.origin.as_ref());
        Ok(Some(Entry { line, text, place, writer, origin }))
    }

    #[must_use]
    pub fn report(&self) -> &ReadReport {
        &self.progress.report
    }

    /// The last record given, as a watermark.
    #[must_use]
    pub fn end(&self) -> JournalEnd {
        self.progress.end
    }

    fn load_next(&mut self) -> Result<bool> {
        if self.progress.done {
            return Ok(false);
        }
        let Some(current) = self.loaded.file else {
            // The journal was empty when it was opened.
            self.segments = Segments::list(&*self.disk, &self.dir, self.archive)?;
            let Some(file) = self.segments.files().first().copied() else {
                return Ok(false);
            };
            self.enter(file, 0, self.segments.last() == Some(file))?;
            return Ok(true);
        };
        if self.loaded.is_last {
            // List first, read then: a segment that has a successor gets no more bytes.
            self.segments = Segments::list(&*self.disk, &self.dir, self.archive)?;
            let is_last = self.segments.after(current.id).is_none();
            let read_to = self.loaded.read_to();
            let file =
                self.segments.files().iter().find(|file| file.id == current.id).copied().unwrap_or(current);
            self.enter(file, read_to, is_last)?;
            if self.loaded.read_to() > read_to {
                return Ok(true);
            }
            if is_last {
                return Ok(false);
            }
        }
        let Some(file) = self.segments.after(current.id) else {
            return Ok(false);
        };
        self.enter(file, 0, self.segments.last() == Some(file))?;
        Ok(true)
    }

    fn enter(&mut self, file: SegmentFile, from: u64, is_last: bool) -> Result<()> {
        let mut loaded = load(&*self.disk, &self.dir, file, from)?;
        loaded.is_last = is_last;
        let report = &mut self.progress.report;
        report.damaged_blocks.extend(loaded.damaged.iter().map(|offset| (file.id, *offset)));
        loaded.dead = recovery::adjudications(&loaded.bytes, from, file.id);
        for dead in &loaded.dead {
            if report.dead.len() < KEPT {
                report.dead.push(dead_range(dead, file, &loaded, &*self.disk, &self.dir)?);
            }
        }
        report.torn_tail = None;
        if is_last {
            let before = if from == 0 { recovery::before(file.id) } else { self.progress.last };
            if let Some(torn) = recovery::tail_of(&loaded.bytes, from, before).torn {
                loaded.limit = usize::try_from(torn.from - from).unwrap_or(0);
                report.torn_tail = Some((file.id, torn));
            }
        }
        (self.loaded, self.at) = (loaded, 0);
        Ok(())
    }

    /// Finds who wrote, in what stands before `offset`.
    fn look_back(&mut self, file: SegmentFile, offset: u64) -> Result<()> {
        let loaded = load(&*self.disk, &self.dir, file, 0)?;
        let before = &loaded.bytes[..loaded.bytes.len().min(usize::try_from(offset).unwrap_or(usize::MAX))];
        for hit in memmem::rfind_iter(before, b"\"writer\":\"") {
            let start = memchr::memrchr(b'\n', &before[..hit]).map_or(0, |newline| newline + 1);
            let Some(Ok(line)) = next_line(before, start).map(|line| entry::decode(line.text)) else {
                continue;
            };
            if line.writer.is_some() {
                self.progress.note_writer(&line);
                break;
            }
        }
        if let Some(Ok(line)) = lines(before).map(|line| entry::decode(line.text)).find(Result::is_ok) {
            self.progress.origin = line.origin_store_id;
        }
        Ok(())
    }
}

fn dead_range(
    dead: &Adjudication,
    file: SegmentFile,
    loaded: &Loaded,
    disk: &dyn Disk,
    dir: &JournalDir,
) -> Result<DeadRange> {
    let inside = |offset: u64| offset.checked_sub(loaded.base).and_then(|at| usize::try_from(at).ok());
    let bytes = match (inside(dead.from), inside(dead.to)) {
        (Some(from), Some(to)) => loaded.bytes.get(from..to).map(<[u8]>::to_vec).unwrap_or_default(),
        _ => {
            let whole = load(disk, dir, file, dead.from)?;
            let len = usize::try_from(dead.to - dead.from).unwrap_or(usize::MAX);
            whole.bytes.get(..len).map(<[u8]>::to_vec).unwrap_or_default()
        }
    };
    let unchanged = recovery::sha256_hex(&bytes) == dead.sha256;
    Ok(DeadRange { segment: file.id, from: dead.from, to: dead.to, unchanged })
}

/// The bytes of a segment from `base` on.
#[derive(Debug)]
pub(crate) struct Loaded {
    file: Option<SegmentFile>,
    base: u64,
    pub(crate) bytes: Vec<u8>,
    /// Where the torn tail begins, else the end.
    limit: usize,
    /// Offsets of blocks that could not be read; blank lines stand in for them.
    damaged: Vec<u64>,
    dead: Vec<Adjudication>,
    is_last: bool,
}

impl Loaded {
    fn nothing() -> Self {
        let (bytes, damaged, dead) = (Vec::new(), Vec::new(), Vec::new());
        Self { file: None, base: 0, bytes, limit: 0, damaged, dead, is_last: true }
    }

    fn text(&self, place: &LinePlace) -> &[u8] {
        let start = usize::try_from(place.offset - self.base)
            .expect("an offset in memory, because it was found there");
        &self.bytes[start..start + place.len as usize]
    }

    /// The offset up to which the lines were given.
    fn read_to(&self) -> u64 {
        self.base + self.limit as u64
    }

    /// Where the dead range ends in which a line stands.
    fn dead_until(&self, start: usize) -> Option<usize> {
        let offset = self.base + start as u64;
        let dead = self.dead.iter().find(|dead| dead.from <= offset && offset < dead.to)?;
        usize::try_from(dead.to - self.base).ok()
    }
}

/// Reads a segment, in whatever form and place it is by now: it may be sealed or archived under a reader.
pub(crate) fn load(disk: &dyn Disk, dir: &JournalDir, file: SegmentFile, from: u64) -> Result<Loaded> {
    let elsewhere = [
        (false, SegmentForm::Plain),
        (false, SegmentForm::Sealed),
        (true, SegmentForm::Plain),
        (true, SegmentForm::Sealed),
    ];
    let others = elsewhere.map(|(archived, form)| SegmentFile { archived, form, ..file });
    for candidate in std::iter::once(file).chain(others) {
        let path = candidate.path(dir);
        let (bytes, damaged) = match read_form(disk, path, candidate.form, from) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
            read => read?,
        };
        let limit = bytes.len();
        return Ok(Loaded {
            file: Some(candidate),
            base: from,
            bytes,
            limit,
            damaged,
            dead: Vec::new(),
            is_last: false,
        });
    }
    let path = file.path(dir);
    Err(Error::io("open", &path)(io::ErrorKind::NotFound.into()))
}

fn read_form(disk: &dyn Disk, path: PathBuf, form: SegmentForm, from: u64) -> Result<(Vec<u8>, Vec<u64>)> {
    match form {
        SegmentForm::Plain => {
            let file = disk.open(&path).map_err(Error::io("open", &path))?;
            let len = file.len().map_err(Error::io("look at", &path))?;
            let size = usize::try_from(len.saturating_sub(from))
                .map_err(|_too_large| Error::corrupt(&path, 0, "too large"))?;
            let mut bytes = vec![0; size];
            read_exact_at(&*file, &mut bytes, from).map_err(Error::io("read", &path))?;
            Ok((bytes, Vec::new()))
        }
        SegmentForm::Sealed => {
            let sealed = read_all(disk, &path).map_err(Error::io("read", &path))?;
            let (mut bytes, damaged) = seal::read_lines(&sealed);
            bytes.drain(..usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len()));
            Ok((bytes, damaged))
        }
    }
}

/// The lines of one segment that a reader would give, in order.
pub(crate) fn sound_lines(
    disk: &dyn Disk,
    dir: &JournalDir,
    file: SegmentFile,
    is_last: bool,
) -> Result<Vec<Vec<u8>>> {
    let part = Part { file, is_last, behind: recovery::before(file.id), until: None };
    let mut lines = Vec::new();
    part.read(disk, dir, |_, text| {
        lines.push(text.to_vec());
        Ok(())
    })?;
    Ok(lines)
}

/// A segment that is read on its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) file: SegmentFile,
    /// Only the last can have a torn tail.
    pub(crate) is_last: bool,
    /// The last record of those before it.
    pub(crate) behind: Seq,
    pub(crate) until: Option<Seq>,
}

impl Part {
    /// Gives each record, and what was the first and the last of them.
    pub(crate) fn read(
        &self,
        disk: &dyn Disk,
        dir: &JournalDir,
        each: impl FnMut(&Line<'_>, &[u8]) -> Result<()>,
    ) -> Result<Option<RangeInclusive<Seq>>> {
        self.read_by(entry::decode, disk, dir, each)
    }

    /// The same; of a path's record the payload may stand in `file` alone.
    pub(crate) fn read_quickly(
        &self,
        disk: &dyn Disk,
        dir: &JournalDir,
        each: impl FnMut(&Line<'_>, &[u8]) -> Result<()>,
    ) -> Result<Option<RangeInclusive<Seq>>> {
        self.read_by(quick::decode, disk, dir, each)
    }

    fn read_by(
        &self,
        decode: Decode,
        disk: &dyn Disk,
        dir: &JournalDir,
        mut each: impl FnMut(&Line<'_>, &[u8]) -> Result<()>,
    ) -> Result<Option<RangeInclusive<Seq>>> {
        let mut loaded = load(disk, dir, self.file, 0)?;
        loaded.dead = recovery::adjudications(&loaded.bytes, 0, self.file.id);
        if self.is_last
            && let Some(torn) = recovery::tail_of(&loaded.bytes, 0, recovery::before(self.file.id)).torn
        {
            loaded.limit = usize::try_from(torn.from).unwrap_or(0);
        }
        let mut progress = Progress { until: self.until, decode, ..Progress::behind(self.behind) };
        let (mut at, mut given) = (0, None::<RangeInclusive<Seq>>);
        while let Some((line, place)) = progress.accept(&loaded, &mut at) {
            let first = given.map_or(line.seq, |given| *given.start());
            given = Some(first..=line.seq);
            each(&line, loaded.text(&place))?;
        }
        Ok(given)
    }
}

/// Whether the journal still holds the record that somebody knew as its last: an index whose watermark does not hold
/// is ahead of the journal or of another one, and is rebuilt.
pub fn holds(disk: &dyn Disk, dir: &JournalDir, end: &JournalEnd) -> Result<bool> {
    if *end == JournalEnd::EMPTY {
        return Ok(true);
    }
    let segments = Segments::list(disk, dir, true)?;
    let Some(file) = segments.files().iter().find(|file| file.id == end.segment) else {
        return Ok(false);
    };
    let bytes = match file.form {
        SegmentForm::Plain => {
            let from = end.offset.saturating_sub(entry::LINE_MAX as u64);
            recovery::read_range(disk, &file.path(dir), from, end.offset)?
        }
        SegmentForm::Sealed => {
            let mut bytes = load(disk, dir, *file, 0)?.bytes;
            bytes.truncate(usize::try_from(end.offset).unwrap_or(usize::MAX));
            bytes
        }
    };
    let Some(body) = bytes.strip_suffix(b"\n") else {
        return Ok(false);
    };
    let start = memchr::memrchr(b'\n', body).map_or(0, |newline| newline + 1);
    Ok(entry::decode(&body[start..]).is_ok_and(|line| line.seq == end.seq))
}

#[derive(Debug)]
struct Progress {
    from: Seq,
    until: Option<Seq>,
    /// The last seq that was met.
    last: Seq,
    end: JournalEnd,
    done: bool,
    writer: Option<Writer>,
    origin: Option<StoreId>,
    report: ReadReport,
    decode: Decode,
}

/// Lines are decoded by the parser, or quickly.
type Decode = for<'a> fn(&'a [u8]) -> std::result::Result<Line<'a>, LineFault>;

impl Progress {
    fn behind(last: Seq) -> Self {
        Self {
            from: last.next(),
            until: None,
            last,
            end: JournalEnd { seq: last, ..JournalEnd::EMPTY },
            done: false,
            writer: None,
            origin: None,
            report: ReadReport::default(),
            decode: entry::decode,
        }
    }

    /// The next record at or after `at`, which moves behind it.
    fn accept<'a>(&mut self, loaded: &'a Loaded, at: &mut usize) -> Option<(Line<'a>, LinePlace)> {
        let segment = loaded.file?.id;
        while !self.done {
            let raw = next_line(&loaded.bytes[..loaded.limit], *at)?;
            *at = raw.end();
            if !loaded.dead.is_empty()
                && let Some(behind) = loaded.dead_until(raw.start)
            {
                *at = behind;
                continue;
            }
            if self.is_before(raw.text) {
                continue;
            }
            let offset = loaded.base + raw.start as u64;
            let unclosed = || LineFault::Schema("no newline ends it".to_owned());
            let decoded = if raw.closed { (self.decode)(raw.text) } else { Err(unclosed()) };
            let line = match decoded {
                Ok(line) => line,
                Err(fault) => {
                    self.count(&raw, BadLine { segment, offset, fault });
                    continue;
                }
            };
            let Ok(len) = u32::try_from(raw.text.len()) else {
                continue;
            };
            let place = LinePlace { segment, offset, len };
            if self.until.is_some_and(|until| line.seq > until) {
                self.done = true;
                return None;
            }
            if line.seq <= self.last {
                // Asked for or not: what stands before `from` is no duplicate.
                self.report.duplicates += u64::from(line.seq >= self.from);
                continue;
            }
            if line.writer.is_some() {
                self.note_writer(&line);
            }
            if line.action != Action::Adjudicate {
                self.count_missing(line.seq);
            }
            self.last = line.seq;
            self.end = end_of(line.seq, &place);
            self.report.records += 1;
            return Some((line, place));
        }
        None
    }

    /// Skips what was not asked for by a look at its first bytes, and learns from it who wrote.
    fn is_before(&mut self, text: &[u8]) -> bool {
        if self.last >= self.from || self.from <= Seq(1) {
            return false;
        }
        let Some(seq) = entry::legible(text).map(|shown| shown.seq).filter(|seq| *seq < self.from) else {
            return false;
        };
        const HEAD: usize = 200;
        let head = &text[..text.len().min(HEAD)];
        if memmem::find(head, b"\"writer\":\"").is_some()
            && let Some(line) = entry::decode(text).ok().filter(|line| line.seq == seq)
        {
            self.note_writer(&line);
        }
        true
    }

    fn note_writer(&mut self, line: &Line<'_>) {
        if let (Some(writer), Some(pid)) = (&line.writer, line.pid) {
            let writer_id = line.writer_id.as_deref().map(str::to_owned);
            self.writer = Some(Writer { writer: writer.clone().into_owned(), writer_id, pid });
        }
        if let Some(origin) = &line.origin_store_id {
            self.origin = Some(origin.clone());
        }
    }

    fn count(&mut self, raw: &RawLine<'_>, bad: BadLine) {
        use LineFault::{Schema, UnknownAction, Version};
        if raw.closed && matches!(bad.fault, Version(_) | UnknownAction(_) | Schema(_)) {
            // The line is sound, so its seq is not missing. What one without an end shows may be any number.
            if let Some(seq) = entry::legible(raw.text).map(|shown| shown.seq).filter(|seq| *seq > self.last)
            {
                self.count_missing(seq);
                self.last = seq;
            }
        }
        *self.report.faults.entry(bad.fault.kind()).or_default() += 1;
        if self.report.bad.len() < KEPT {
            self.report.bad.push(bad);
        }
    }

    fn count_missing(&mut self, seq: Seq) {
        let missing = (seq.0 - 1).saturating_sub(self.last.0);
        self.report.missing += missing;
        if missing > 0 && self.report.missing_ranges.len() < KEPT {
            self.report.missing_ranges.push(self.last.next()..=Seq(seq.0 - 1));
        }
    }
}
