//! One record: where it stands, and its line as it was written.

use std::io::Write;

use serde::Serialize;
use serde_json::value::RawValue;
use tickfs_store::Store;
use tickfs_store::ids::Seq;
use tickfs_store::journal::{JournalDir, JournalReader, ReadOptions};

use crate::error::Failure;
use crate::output;

#[derive(Serialize)]
struct Shown<'a> {
    /// The segment as it is named while it is not sealed; the offset is into that form.
    segment: String,
    offset: u64,
    len: u32,
    record: &'a RawValue,
}

pub(super) fn print(store: &Store, seq: Seq, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let dir = JournalDir::new(&store.layout().journal());
    let options = ReadOptions::from(seq).with_archive().until(seq);
    let mut reader = JournalReader::open(store.disk(), &dir, options)?.whole()?;
    let missing = || Failure::new(format!("there is no record {seq}")).at(dir.path());
    let Some(entry) = reader.next()?.filter(|entry| entry.line.seq == seq) else {
        return Err(missing().next("`tickfs inspect` says which there are").into());
    };
    let shown = Shown {
        segment: entry.place.segment.file_name(),
        offset: entry.place.offset,
        len: entry.place.len,
        record: serde_json::from_slice(entry.text)?,
    };
    if json {
        return output::json(out, &shown);
    }
    writeln!(out, "{} at byte {}, {} bytes", shown.segment, shown.offset, shown.len)?;
    out.write_all(entry.text)?;
    Ok(writeln!(out)?)
}
