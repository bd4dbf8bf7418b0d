//! Takes over the records of another store's segment: each becomes one event, with its own words inside.
//!
//! Invariant: a record is known by its store's id and its seq; what is known already is not taken again.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::disk::{Disk, read_all};
use crate::error::{Error, Result};
use crate::ids::{SegmentForm, SegmentId, StoreId, UnixMillis};
use crate::journal::entry::{self, Action, ItemType, LineFault};
use crate::journal::recovery::Adjudication;
use crate::journal::seal;
use crate::store::StoreWriter;

/// Records taken in one mutation.
const PORTION: usize = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SegmentImport {
    pub taken: u64,
    /// Known from an earlier import.
    pub known: u64,
    /// Lines that are no records.
    pub skipped: u64,
}

#[derive(Serialize)]
struct ImportedEvent<'a> {
    origin_store_id: &'a StoreId,
    seq: crate::ids::Seq,
    record: &'a RawValue,
}

/// Imports a segment, plain or sealed. Its first record says whose it is.
pub fn import_segment(
    writer: &StoreWriter,
    disk: &Arc<dyn Disk>,
    path: &Path,
    now: UnixMillis,
) -> Result<SegmentImport> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let stored = read_all(&**disk, path).map_err(Error::io("read", path))?;
    let (id, bytes, damaged) = match SegmentId::parse(name) {
        Some((id, SegmentForm::Sealed)) => {
            let (lines, damaged) = seal::read_lines(&stored);
            (id.file_name(), lines, damaged.len() as u64)
        }
        _ => (name.to_owned(), stored, 0),
    };
    let dead = dead_ranges(&bytes, &id);
    let mut origin: Option<StoreId> = None;
    let mut found = SegmentImport { skipped: damaged, ..SegmentImport::default() };
    let mut wanted = Vec::new();
    for (start, text) in lines(&bytes) {
        match entry::decode(text) {
            Ok(_) if dead.iter().any(|range| range.contains(&(start as u64))) => {}
            Ok(line) => {
                origin = line.origin_store_id.clone().or(origin);
                let whose = origin.clone().ok_or_else(|| {
                    Error::refused(format!("{} does not say which store it is of", path.display()))
                })?;
                wanted.push((whose, line.seq, text));
            }
            Err(LineFault::NotJson | LineFault::Checksum | LineFault::Stray) => found.skipped += 1,
            Err(fault) => return Err(Error::refused(format!("{}: {fault}", path.display()))),
        }
    }
    if origin.as_ref() == Some(writer.store().id()) {
        return Err(Error::refused(format!("{} is a segment of this very store", path.display())));
    }
    for portion in wanted.chunks(PORTION) {
        let (taken, known) = writer.mutate_alone(now, |m| {
            let (mut taken, mut known) = (0, 0);
            for (whose, seq, text) in portion {
                if m.has_foreign(whose.as_str(), *seq)? {
                    known += 1;
                    continue;
                }
                let record: &RawValue = serde_json::from_slice(text)
                    .map_err(|e| Error::refused(format!("{} seq {seq}: {e}", path.display())))?;
                let event = ImportedEvent { origin_store_id: whose, seq: *seq, record };
                m.observe(Action::Imported, &ItemType::JOURNAL, None, &event)?;
                taken += 1;
            }
            Ok((taken, known))
        })?;
        found.taken += taken;
        found.known += known;
    }
    Ok(found)
}

/// Lines that are not empty, each with where it begins.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut next = 0;
    let with_start = bytes.split(|&b| b == b'\n').map(move |text| {
        let start = next;
        next += text.len() + 1;
        (start, text)
    });
    with_start.filter(|(_, text)| !text.is_empty())
}

/// What the segment's own records declare dead in it.
fn dead_ranges(bytes: &[u8], segment: &str) -> Vec<std::ops::Range<u64>> {
    let adjudication = |text: &[u8]| {
        let line = entry::decode(text).ok().filter(|line| line.action == Action::Adjudicate)?;
        let said: Adjudication = serde_json::from_str(line.payload?.get()).ok()?;
        (said.segment == segment).then_some(said.from..said.to)
    };
    lines(bytes).filter_map(|(_, text)| adjudication(text)).collect()
}
