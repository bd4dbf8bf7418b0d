//! `events/`: every event as a line of JSON, growing; the same as an array; and those that tell of a failure.
//!
//! Neither is held in memory: marks say where in the text which record stands, and reading begins at the mark before.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tickfs_store::ids::{Seq, UnixMillis};
use tickfs_store::journal::entry::Action;
use tickfs_store::journal::{JournalEnd, JournalReader, ReadOptions};
use tickfs_store::render;
use tickfs_store::{Error as StoreError, Store};

use super::{Bytes, Found, Listing, Now, Recipe, View, journal};
use crate::cache::ByteCache;
use crate::error::{Error, Result};
use crate::inode::{Fixed, Object};

/// A mark stands behind so many bytes at most, one record more or less.
const MARK_EVERY: u64 = 256 * 1024;
/// So many failures are shown.
const NEWEST_FAILURES: usize = 1000;
/// Texts that were read are kept up to here.
const LIMIT: usize = 16 * 1024 * 1024;
/// What is kept of a text is cut here.
const WINDOW: u64 = 512 * 1024;

const JSONL: Found = Found::Object { object: Object::Fixed(Fixed::EventsJsonl), name_lasts: true };
const JOURNAL: Found = Found::Object { object: Object::Fixed(Fixed::Journal), name_lasts: true };
const ERRORS: Found = Found::Text { recipe: Recipe::ErrorsJson, lasts: false };

pub(super) fn find(view: &View, now: &Now, name: &[u8]) -> Result<Option<Found>> {
    Ok(match name {
        b"events.jsonl" => Some(JSONL),
        b"events.json" => Some(array(view, now)?),
        b"errors.json" => Some(ERRORS),
        b"journal" => Some(JOURNAL),
        _ => None,
    })
}

pub(super) fn list(after: u64, out: &mut Listing<'_>) -> Result<()> {
    // How many there are is counted when the name is looked up.
    let recipe = Recipe::EventsJson { until: Seq(0), records: 0, bytes: 0 };
    let array = Found::Text { recipe, lasts: false };
    let names: Vec<(&[u8], Found)> = vec![
        (b"events.jsonl", JSONL),
        (b"events.json", array),
        (b"errors.json", ERRORS),
        (b"journal", JOURNAL),
    ];
    out.fixed(after, names).map(drop)
}

fn array(view: &View, now: &Now) -> Result<Found> {
    let Mark { bytes, records, end } = view.events.end(&view.store, now)?;
    let recipe = Recipe::EventsJson { until: end.seq, records, bytes };
    Ok(Found::Text { recipe, lasts: false })
}

/// Behind so many records, which take so many bytes as lines.
#[derive(Debug, Clone, Copy)]
struct Mark {
    bytes: u64,
    records: u64,
    end: JournalEnd,
}

const START: Mark = Mark { bytes: 0, records: 0, end: JournalEnd::EMPTY };

/// The two spellings of the same records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Form {
    Lines,
    Array,
}

impl Form {
    /// Where the text of the record behind a mark begins.
    fn offset(self, mark: &Mark) -> u64 {
        match self {
            Self::Lines => mark.bytes,
            // `[`, a newline, and a comma behind each.
            Self::Array => 2 + mark.bytes + mark.records,
        }
    }
}

/// The size of the array of so many records.
pub(super) fn array_len(records: u64, bytes: u64) -> u64 {
    // The last has no comma; what closes the array takes two.
    bytes + records + 3
}

#[derive(Debug)]
pub(super) struct Events {
    marks: Mutex<Vec<Mark>>,
    kept: ByteCache<(Form, u64)>,
}

impl Default for Events {
    fn default() -> Self {
        Self { marks: Mutex::new(vec![START]), kept: ByteCache::new(LIMIT) }
    }
}

impl Events {
    /// Where the text of all that is known ends.
    fn end(&self, store: &Store, now: &Now) -> Result<Mark> {
        let mut marks = self.marks.lock();
        let last = *marks.last().unwrap_or(&START);
        let until = now.history().applied_seq();
        if last.end.seq >= until {
            return Ok(last);
        }
        // The last mark is where the text ended when somebody last looked.
        marks.pop();
        let mut at = last;
        let mut marked = marks.last().map_or(0, |mark| mark.bytes);
        if marks.is_empty() {
            marks.push(START);
        }
        let mut reader = reader(store, last.end, until)?;
        while let Some(entry) = reader.next()? {
            at.bytes += entry.text.len() as u64 + 1;
            at.records += 1;
            at.end = entry.end();
            if at.bytes - marked >= MARK_EVERY {
                marks.push(at);
                marked = at.bytes;
            }
        }
        if at.end.seq < until {
            return Err(ends_early(store, at.end.seq, until));
        }
        if marks.last().is_some_and(|mark| mark.records < at.records) || at.records == 0 {
            marks.push(at);
        }
        Ok(at)
    }

    pub(super) fn is_begun(&self) -> bool {
        self.marks.lock().len() > 1
    }

    pub(super) fn len(&self, store: &Store, now: &Now) -> Result<u64> {
        Ok(self.end(store, now)?.bytes)
    }

    pub(super) fn read_lines(&self, store: &Store, now: &Now, offset: u64, len: usize) -> Result<Bytes> {
        let end = self.end(store, now)?;
        self.read(store, Form::Lines, (end.end.seq, end.bytes), offset, len)
    }

    pub(super) fn read_array(
        &self,
        store: &Store,
        (until, records, bytes): (Seq, u64, u64),
        offset: u64,
        len: usize,
    ) -> Result<Bytes> {
        self.read(store, Form::Array, (until, array_len(records, bytes)), offset, len)
    }

    fn read(
        &self,
        store: &Store,
        form: Form,
        (until, size): (Seq, u64),
        offset: u64,
        len: usize,
    ) -> Result<Bytes> {
        let end = size.min(offset.saturating_add(len as u64));
        let mut out = Vec::new();
        let mut at = offset;
        while at < end {
            let window = self.window(store, form, (until, size), at / WINDOW)?;
            let from = usize::try_from(at % WINDOW).unwrap_or(usize::MAX).min(window.len());
            let count = (window.len() - from).min(usize::try_from(end - at).unwrap_or(usize::MAX));
            if count == 0 {
                break;
            }
            out.extend_from_slice(&window[from..from + count]);
            at += count as u64;
        }
        Ok(Bytes::cut(out.into(), 0, len))
    }

    fn window(&self, store: &Store, form: Form, (until, size): (Seq, u64), window: u64) -> Result<Arc<[u8]>> {
        if let Some(bytes) = self.kept.get((form, window)) {
            return Ok(bytes);
        }
        let (from, to) = (window * WINDOW, ((window + 1) * WINDOW).min(size));
        let start = {
            let marks = self.marks.lock();
            let behind = marks.partition_point(|mark| form.offset(mark) <= from && mark.end.seq <= until);
            behind.checked_sub(1).map_or(START, |place| marks[place])
        };
        let mut text = Vec::new();
        let mut at = form.offset(&start);
        if form == Form::Array && start.records == 0 {
            text.extend_from_slice(b"[\n");
            at = 0;
        }
        let mut reader = reader(store, start.end, until)?;
        let mut seq = start.end.seq;
        while at + (text.len() as u64) < to && seq < until {
            let Some(entry) = reader.next()? else { return Err(ends_early(store, seq, until)) };
            seq = entry.line.seq;
            text.extend_from_slice(entry.text);
            text.extend_from_slice(match form {
                Form::Array if entry.line.seq < until => b",\n",
                Form::Lines | Form::Array => b"\n",
            });
        }
        if form == Form::Array && at + (text.len() as u64) < to {
            text.extend_from_slice(b"]\n");
        }
        let skip = usize::try_from(from.saturating_sub(at)).unwrap_or(usize::MAX).min(text.len());
        let len = usize::try_from(to - from).unwrap_or(usize::MAX).min(text.len() - skip);
        let bytes: Arc<[u8]> = Arc::from(&text[skip..skip + len]);
        // Only what later events do not change: neither a window that will grow, nor the end of an array.
        if to < size && to == (window + 1) * WINDOW && (form == Form::Lines || to + 2 < size) {
            self.kept.put((form, window), &bytes);
        }
        Ok(bytes)
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.bytes()
    }
}

/// The index knows of records that the journal does not have.
fn ends_early(store: &Store, last: Seq, until: Seq) -> Error {
    let what = format!("the journal ends at record {last}, and {until} were written");
    StoreError::Corrupt { path: store.layout().journal(), offset: 0, what }.into()
}

fn reader(store: &Store, after: JournalEnd, until: Seq) -> Result<JournalReader> {
    let options = match after {
        JournalEnd::EMPTY => ReadOptions::from(Seq(1)),
        after => ReadOptions::after(after),
    };
    let options = options.with_archive().until(until);
    Ok(JournalReader::open(store.disk(), &journal::dir(store), options)?.whole()?)
}

/// Something that could not be read, met since the mount began.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct Failure {
    status: &'static str,
    action: &'static str,
    ts: String,
    summary: String,
    times: u64,
}

/// The failures that reading met. They stand in no journal, because reading writes nothing.
#[derive(Debug, Default)]
pub(super) struct Failures {
    met: Mutex<Vec<Failure>>,
}

impl Failures {
    pub(super) fn add(&self, now: UnixMillis, summary: String) {
        let mut met = self.met.lock();
        if let Some(known) = met.iter_mut().find(|failure| failure.summary == summary) {
            known.times += 1;
        } else if met.len() < NEWEST_FAILURES {
            met.push(Failure { status: "error", action: "read", ts: now.to_iso(), summary, times: 1 });
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.met.lock().iter().map(|failure| failure.times).sum()
    }
}

/// `errors.json`: the newest events that tell of a failure, and what could not be read since the mount began.
pub(super) fn errors(view: &View, now: &Now) -> Result<Vec<u8>> {
    let mut all: Vec<Box<RawValue>> = Vec::new();
    for (seq, _) in now.history().observed(&[Action::Failed], NEWEST_FAILURES)? {
        let options = ReadOptions::from(seq).with_archive().until(seq);
        let mut reader =
            JournalReader::open(view.store.disk(), &journal::dir(&view.store), options)?.whole()?;
        if let Some(entry) = reader.next()?
            && let Ok(text) = String::from_utf8(entry.text.to_vec())
        {
            all.extend(RawValue::from_string(text).ok());
        }
    }
    for failure in &*view.failures.met.lock() {
        all.extend(serde_json::value::to_raw_value(failure).ok());
    }
    Ok(render::pretty(&all))
}
