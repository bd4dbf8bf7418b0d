//! `tickfs events dump`: the newest events, oldest of them first.
//!
//! Invariant: never empty silently. What cannot be read is an error, after what can be.

use std::collections::VecDeque;
use std::io::Write;
use std::ops::RangeInclusive;

use clap::Args;
use serde::Serialize;
use tickfs_store::Store;
use tickfs_store::ids::Seq;
use tickfs_store::journal::{JournalDir, JournalReader, ReadOptions, ReadReport, Segments};

use super::record::{COLUMNS, Event, write_csv};
use crate::cli::Where;
use crate::error::Failure;
use crate::fresh::fresh;
use crate::output::{self, counted};

/// Print the newest events, oldest of them first
///
/// Reads segments that are active, rolled, sealed and archived alike. With --csv each event is a row (RFC 4180) of the
/// columns time, command, status, ack_latency_ms, final_latency_ms, error, args, seq, action, item_type, item_id and
/// summary; command, both latencies, error and args are empty where the event is no command. With --json it is one
/// object with `stale` and the array `events`. If a part of the journal cannot be read, what can be is printed, the
/// message says what is missing, and the exit status is 1.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: usize,
    /// Every event there is
    #[arg(long, conflicts_with = "last")]
    all: bool,
    /// Print CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    stale: bool,
    events: &'a VecDeque<Event>,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let store = arguments.place.open()?;
    let fresh = fresh(&store)?;
    let wanted = if arguments.all { usize::MAX } else { arguments.last };
    let (events, report) = newest(&store, wanted, fresh.view.applied_seq())?;
    if arguments.json {
        output::json(out, &Document { stale: fresh.stale, events: &events })?;
    } else if arguments.csv {
        write_csv(out, &COLUMNS)?;
        events.iter().try_for_each(|event| write_csv(out, &event.cells()))?;
    } else {
        let rows: Vec<[String; 5]> = events.iter().map(Event::columns).collect();
        output::table(out, &rows)?;
    }
    say_what_is_missing(&report)
}

/// The last `wanted` events up to `until`: what the index knows to be durable.
fn newest(store: &Store, wanted: usize, until: Seq) -> anyhow::Result<(VecDeque<Event>, ReadReport)> {
    let dir = JournalDir::new(&store.layout().journal());
    let segments = Segments::list(&**store.disk(), &dir, true)?;
    let oldest = segments.files().first().map_or(Seq(1), |file| file.id.0);
    let mut span = u64::try_from(wanted).unwrap_or(u64::MAX);
    loop {
        let from = Seq(until.0.saturating_add(1).saturating_sub(span).max(1));
        let is_all = from <= oldest;
        // Of all of it, what is gone from the beginning is missed too.
        let from = if span == u64::MAX { Seq(1) } else { from.max(oldest) };
        let options = ReadOptions::from(from).with_archive().until(until);
        let mut reader = JournalReader::open(store.disk(), &dir, options)?.whole()?;
        let mut events = VecDeque::new();
        while let Some(entry) = reader.next()? {
            if events.len() == wanted {
                events.pop_front();
            }
            if wanted > 0 {
                events.push_back(Event::of(&entry));
            }
        }
        if events.len() >= wanted || is_all {
            return Ok((events, reader.report().clone()));
        }
        // A seq that was torn is never used again, so that there can be fewer records than seqs.
        span = span.saturating_mul(2);
    }
}

/// Damage is an error; a stranger's line is only mentioned.
pub(super) fn say_what_is_missing(report: &ReadReport) -> anyhow::Result<()> {
    if let Some((segment, offset)) = report.damaged_blocks.first() {
        let blocks = counted(report.damaged_blocks.len() as u64, "sealed block");
        return Err(Failure::new(format!("{blocks} cannot be read, the first at byte {offset}"))
            .at(segment.sealed_name())
            .next("`tickfs doctor` says what is lost")
            .into());
    }
    if report.missing > 0 {
        let named: Vec<String> = report.missing_ranges.iter().take(3).map(spelled).collect();
        let events = counted(report.missing, "event");
        return Err(Failure::new(format!("{events} cannot be read: {}", named.join(", ")))
            .next("`tickfs doctor` says where the journal is damaged")
            .into());
    }
    if report.skipped() > 0 {
        let lines = counted(report.skipped(), "line");
        eprintln!("tickfs: {lines} of the journal cannot be read as records, and were passed over");
    }
    Ok(())
}

fn spelled(range: &RangeInclusive<Seq>) -> String {
    match range.start() == range.end() {
        true => range.start().to_string(),
        false => format!("{} to {}", range.start(), range.end()),
    }
}
