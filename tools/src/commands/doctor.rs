//! `tickfs doctor`: what is not as it should be, by kind and place; and mending, which deletes nothing.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tickfs_store::doctor::{self, Depth, Finding, Mended, Report, Severity, Surroundings};
use tickfs_store::{Store, StoreWriter};

use crate::cli::Where;
use crate::error::Failure;
use crate::serve::mounted;
use crate::{now, output};

/// How long a repair waits for another writer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Examine a store, and mend it
///
/// Without an option that mends, nothing is written. Exit status: 0 if nothing wants doing, 1 if something does or the
/// examination failed, 2 wrong usage.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    /// Read every byte of every pack, and every recorded version
    #[arg(long)]
    scrub: bool,
    /// Build the index anew aside, and compare
    #[arg(long)]
    verify_journal: bool,
    /// Park what is damaged and rebuild what can be rebuilt; nothing is deleted
    #[arg(long)]
    repair: bool,
    /// Seal, checkpoint, park what that makes redundant, and compact the packs
    #[arg(long)]
    compact: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Shown<'a> {
    well: bool,
    torn_tail: bool,
    #[serde(flatten)]
    report: &'a Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    mended: Option<&'a Mended>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compacted: Option<&'a Compacted>,
}

#[derive(Serialize)]
struct Compacted {
    sealed_segments: usize,
    parked_segments: usize,
    checkpoint_entities: u64,
    packs: usize,
    bytes_before: u64,
    bytes_after: u64,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let store = if arguments.repair || arguments.compact {
        arguments.place.open()?
    } else {
        arguments.place.open_untouched()?
    };
    let depth = Depth { scrub: arguments.scrub, verify_journal: arguments.verify_journal };
    let mut report = doctor::examine(&store, &surroundings(&store), depth)?;
    let mut mended = None;
    if arguments.repair {
        mended = Some(doctor::mend(&writer(&store)?, &report)?);
        report = doctor::examine(&store, &surroundings(&store), depth)?;
    }
    let mut compacted = None;
    if arguments.compact {
        compacted = Some(compact(&writer(&store)?)?);
        report = doctor::examine(&store, &surroundings(&store), depth)?;
    }
    let shown = Shown {
        well: report.is_well(),
        torn_tail: report.facts.torn_tail,
        report: &report,
        mended: mended.as_ref(),
        compacted: compacted.as_ref(),
    };
    match arguments.json {
        true => output::json(out, &shown)?,
        false => print(&shown, out)?,
    }
    match report.is_well() {
        true => Ok(()),
        false => Err(Failure::new(format!("{} in the store", output::counted(wanting(&report), "finding")))
            .at(store.layout().dir())
            .next("each says above what can be done")
            .into()),
    }
}

fn wanting(report: &Report) -> u64 {
    report.findings.iter().filter(|f| f.severity != Severity::Note).count() as u64
}

fn writer(store: &Store) -> anyhow::Result<StoreWriter> {
    Ok(store.writer(now::writer(), PATIENCE)?)
}

fn compact(writer: &StoreWriter) -> anyhow::Result<Compacted> {
    let upkeep = writer.compact(now::now())?;
    Ok(Compacted {
        sealed_segments: upkeep.sealed.len(),
        parked_segments: upkeep.parked.len(),
        checkpoint_entities: upkeep.checkpoint.map_or(0, |c| c.entities),
        packs: upkeep.packs.len(),
        bytes_before: upkeep.packs.iter().map(|(_, pack)| pack.hot_len).sum(),
        bytes_after: upkeep.packs.iter().map(|(_, pack)| pack.cold_len).sum(),
    })
}

fn print(shown: &Shown<'_>, out: &mut impl Write) -> anyhow::Result<()> {
    let facts = &shown.report.facts;
    let skipped: u64 = facts.skipped.values().sum();
    let mut rows = vec![
        ["records".to_owned(), facts.records.to_string()],
        ["last seq".to_owned(), facts.last_seq.to_string()],
        [
            "applied to the index".to_owned(),
            facts.applied_seq.map_or("nothing".to_owned(), |s| s.to_string()),
        ],
        ["lines skipped".to_owned(), skipped.to_string()],
        ["ranges adjudicated".to_owned(), facts.adjudicated_ranges.to_string()],
        ["torn tail".to_owned(), if facts.torn_tail { "yes" } else { "no" }.to_owned()],
        ["sealed segments".to_owned(), facts.sealed_segments.to_string()],
        ["checkpoints".to_owned(), facts.checkpoints.to_string()],
        ["contents named".to_owned(), facts.versions.to_string()],
        ["free".to_owned(), format!("{} MiB", facts.free_bytes >> 20)],
    ];
    if let Some(done) = shown.compacted {
        let packs = format!(
            "{} ({} to {} bytes)",
            output::counted(done.packs as u64, "pack"),
            done.bytes_before,
            done.bytes_after
        );
        rows.push(["compacted".to_owned(), packs]);
        rows.push(["parked".to_owned(), output::counted(done.parked_segments as u64, "segment")]);
    }
    output::table(out, &rows)?;
    for finding in &shown.report.findings {
        writeln!(out, "{}", line(finding))?;
    }
    if let Some(mended) = shown.mended {
        for (from, to) in &mended.parked {
            writeln!(out, "parked: {} is now {}", from.display(), to.display())?;
        }
        if mended.index_rebuilt {
            writeln!(out, "the index was made anew")?;
        }
    }
    Ok(writeln!(out, "{}", if shown.well { "the store is well" } else { "the store wants looking after" })?)
}

fn line(finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Damage => "damage",
    };
    let offset = finding.offset.map(|offset| format!(" at byte {offset}")).unwrap_or_default();
    let place = finding.path.as_ref().map(|path| format!(" ({}{offset})", path.display()));
    let next = finding.next.as_ref().map(|next| format!(": {next}"));
    let what = output::one_line(&finding.what);
    format!("{severity}: {}: {what}{}{}", finding.kind, place.unwrap_or_default(), next.unwrap_or_default())
}

fn surroundings(store: &Store) -> Surroundings {
    Surroundings { is_alive: Some(is_alive), dead_mounts: dead_mounts(store), watches: None }
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// Mounts of this store's root that nobody serves any more. Where the list of mounts cannot be read, none is known.
fn dead_mounts(store: &Store) -> Vec<PathBuf> {
    let Ok(Some(scope)) = store.scope() else { return Vec::new() };
    let source = mounted::source_of(&scope.root);
    let mounts = mounted::all().unwrap_or_default().into_iter();
    let of_root = mounts.filter(|m| m.is_ours() && m.source.to_string_lossy() == source);
    of_root.map(|m| m.at).filter(|at| mounted::is_dead(at)).collect()
}
