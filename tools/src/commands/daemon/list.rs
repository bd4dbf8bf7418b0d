//! `tickfs daemon status` and `list`: what is recorded in the background, by which process, and since when.
//!
//! Metadata of processes that are gone is told of and removed; what is no metadata is told of and moved to `quarantine/`.

use std::io::Write;

use clap::Args;
use serde::Serialize;
use tickfs_store::Store;
use tickfs_store::ids::UnixMillis;
use tickfs_store::path::RelPath;

use super::Whose;
use crate::client::{Conversation, NoAnswer, Said};
use crate::output::{self, one_line};
use crate::serve::message::{Answer, Request};
use crate::serve::status::Status;
use crate::serve::{metadata, stale};
use crate::{age, now};

/// Show what is recorded in the background: all of it, or one file
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    whose: Whose,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    /// `None`: the root.
    file: Option<RelPath>,
    pid: u32,
    interval: Option<f64>,
    since: String,
    elapsed_s: f64,
}

/// What is there to show.
#[derive(Debug, Default, Serialize)]
struct Listing {
    recordings: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Box<Status>>,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let target = arguments.whose.target()?;
    let mut listing = match &target {
        Some(target) => look(&target.store)?,
        None => Listing::default(),
    };
    let wanted = target.as_ref().and_then(|target| target.file.as_ref());
    if arguments.whose.file.is_some() {
        listing.recordings.retain(|row| row.file.as_ref() == wanted);
    }
    if arguments.json {
        return output::json(out, &listing);
    }
    if listing.recordings.is_empty() {
        let shown = listing.process.as_ref().is_some_and(|process| !process.mounts.is_empty());
        match wanted {
            Some(file) => writeln!(out, "{}", metadata::not_recorded(Some(file)))?,
            None if shown => writeln!(out, "recorded because it is shown, and not beyond that")?,
            None => writeln!(out, "no daemon is running here")?,
        }
    } else {
        output::table(out, &rows(&listing.recordings))?;
    }
    if let Some(process) = &listing.process {
        if process.paused {
            writeln!(out, "recording is paused: `tickfs daemon resume` goes on")?;
        }
        process.mounts.iter().try_for_each(|mount| writeln!(out, "shown at {}", mount.at.0.display()))?;
        process.warnings.iter().for_each(|warning| eprintln!("tickfs: {warning}"));
    }
    Ok(())
}

fn look(store: &Store) -> anyhow::Result<Listing> {
    let found = metadata::read_all(store)?;
    found.parked.iter().for_each(|parked| eprintln!("tickfs: {}", metadata::told_of_parked(parked)));
    let row = |file, pid, interval, since: String| {
        let began = UnixMillis::from_iso(&since).unwrap_or(now::now());
        let elapsed_s = (now::now().0.saturating_sub(began.0)) as f64 / 1000.0;
        Row { file, pid, interval, since, elapsed_s }
    };
    let of_metadata = |m: &metadata::Metadata| row(m.file.clone(), m.pid, m.interval, m.start_time.clone());
    match status(store) {
        Ok(Some(process)) => {
            let pid = process.pid;
            let recordings = process.recordings.iter();
            let recordings = recordings.map(|r| row(r.file.clone(), pid, r.interval, r.since.clone()));
            Ok(Listing { recordings: recordings.collect(), process: Some(process) })
        }
        Ok(None) => {
            for (_, gone) in &found.recordings {
                let what = gone.file.as_ref().map_or_else(|| "the root".to_owned(), ToString::to_string);
                eprintln!("tickfs: process {}, which recorded {what}, is not running any more", gone.pid);
                stale::remove(store, gone.file.as_ref())?;
            }
            Ok(Listing::default())
        }
        Err(error) => {
            if error.downcast_ref::<NoAnswer>().is_none() {
                return Err(error);
            }
            eprintln!("tickfs: {error}");
            let recordings = found.recordings.iter().map(|(_, m)| of_metadata(m)).collect();
            Ok(Listing { recordings, process: None })
        }
    }
}

/// What the serving process says; `None` where there is none.
fn status(store: &Store) -> anyhow::Result<Option<Box<Status>>> {
    let Some(conversation) = Conversation::open(store.layout().dir())? else { return Ok(None) };
    match conversation.ask(&Request::Status, None, &mut |_| {})? {
        Said::Done(Answer::Status(status)) => Ok(Some(status)),
        Said::Done(_) | Said::Ending => Ok(None),
    }
}

fn rows(recordings: &[Row]) -> Vec<[String; 4]> {
    let mut rows = vec![["FILE", "PID", "INTERVAL", "ELAPSED"].map(str::to_owned)];
    rows.extend(recordings.iter().map(|row| {
        [
            row.file.as_ref().map_or_else(|| "(the root)".to_owned(), |file| one_line(&file.to_string())),
            row.pid.to_string(),
            row.interval.map_or_else(|| "at once".to_owned(), |seconds| format!("{seconds} s")),
            age::spelled(row.elapsed_s),
        ]
    }));
    rows
}
