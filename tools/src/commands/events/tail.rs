//! `tickfs events tail`: what a reader has not seen yet, as JSON lines.
//!
//! Invariant: a named reader's place moves only behind what was printed and flushed, so that an event may come twice
//! after a crash, and never not at all.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use tickfs_store::Store;
use tickfs_store::ids::Seq;
use tickfs_store::journal::place::{ReaderName, Unseen, keep_place, place_of, unseen};
use tickfs_store::journal::{JournalDir, JournalReader, ReadOptions};

use super::dump::say_what_is_missing;
use super::record::Event;
use crate::cli::Where;
use crate::fresh::{fresh, quietly_fresh};
use crate::now;

/// Print what has not been seen yet, one JSON object a line
///
/// With --reader NAME that is what this reader has not been given yet; its place is kept in the store. Where some of it
/// is archived, a line with `"gap":true`, the first event still at hand and the ids of all live entities comes in its
/// place. With --follow alone it is what happens from now on.
#[derive(Debug, Args)]
#[group(id = "what", required = true, multiple = true, args = ["reader", "follow"])]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    /// Go on where this reader stopped
    #[arg(long, value_name = "NAME", value_parser = |text: &str| ReaderName::parse(text))]
    reader: Option<ReaderName>,
    /// Wait for more
    #[arg(long)]
    follow: bool,
}

const PAUSE: Duration = Duration::from_millis(200);

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let store = arguments.place.open()?;
    let dir = JournalDir::new(&store.layout().journal());
    let reader = arguments.reader.as_ref();
    let mut until = fresh(&store)?.view.applied_seq();
    let mut seen = match reader {
        Some(name) => place_of(&**store.disk(), &dir, name)?.map_or(Seq(0), |place| place.last_seq),
        None => until,
    };
    loop {
        if until > seen {
            let read = match reader {
                Some(name) => give_unseen(&store, &dir, name, until, out)?,
                None => give(&store, &dir, seen, until, out)?,
            };
            out.flush()?;
            seen = read.end().seq.max(seen);
            if let Some(name) = reader {
                keep_place(&**store.disk(), &dir, name, seen, now::now())?;
            }
            // Only now, so that a reader gets past the damage it was told of.
            say_what_is_missing(read.report())?;
        }
        if !arguments.follow {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
        until = quietly_fresh(&store)?.0.view.applied_seq();
    }
}

fn give_unseen(
    store: &Store,
    dir: &JournalDir,
    name: &ReaderName,
    until: Seq,
    out: &mut impl Write,
) -> anyhow::Result<JournalReader> {
    match unseen(store.disk(), dir, name, Some(until))? {
        Unseen::Records(reader) => print_all(*reader, out),
        Unseen::Gap(gap) => {
            serde_json::to_writer(&mut *out, &gap)?;
            writeln!(out)?;
            give(store, dir, Seq(gap.first_available.0.saturating_sub(1)), until, out)
        }
    }
}

fn give(
    store: &Store,
    dir: &JournalDir,
    after: Seq,
    until: Seq,
    out: &mut impl Write,
) -> anyhow::Result<JournalReader> {
    let options = ReadOptions::from(after.next()).until(until);
    print_all(JournalReader::open(store.disk(), dir, options.with_archive())?.whole()?, out)
}

/// The reader as it stands behind the last event.
fn print_all(mut reader: JournalReader, out: &mut impl Write) -> anyhow::Result<JournalReader> {
    while let Some(entry) = reader.next()? {
        serde_json::to_writer(&mut *out, &Event::of(&entry))?;
        writeln!(out)?;
    }
    Ok(reader)
}
