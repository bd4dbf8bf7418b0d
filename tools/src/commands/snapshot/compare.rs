//! `tickfs snapshot diff`: what differs between two snapshots, for people and for CI.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use tickfs_store::Error;
use tickfs_store::history::{Change, Stand, View};
use tickfs_store::journal::entry::NodeType;

use super::super::diff::{Side, write_sides};
use crate::cli::Where;
use crate::error::Failure;
use crate::output::{counted, one_line};
use crate::style::Style;
use crate::typed::At;

/// Compare two snapshots
///
/// First how many paths were added, removed and changed, and which; then the unified diff of each text, and a line for
/// each binary file that differs. A and B can be anything that names a point in history. Exit status with --fail-on-diff:
/// 0 if nothing differs, 1 if something does.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    /// A snapshot
    #[arg(value_name = "A", allow_negative_numbers = true)]
    from: At,
    /// Another
    #[arg(value_name = "B", allow_negative_numbers = true)]
    to: At,
    /// Write the report into this file too; its directory is made
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Fail if anything differs
    #[arg(long)]
    fail_on_diff: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let view = arguments.place.about(None)?.view()?;
    let standing = |at: &At| -> anyhow::Result<_> {
        let at = at.point(&view).map_err(|error| match error {
            Error::NotAPoint { .. } => Failure::new(format!("there is no snapshot named {:?}", at.text))
                .next("`tickfs snapshot list` names them")
                .into(),
            other => anyhow::Error::new(other),
        })?;
        Ok(view.standing(&Stand { branch: at.branch, tick: at.tick, partial: Vec::new() })?)
    };
    let changes = view.changed_standing(&standing(&arguments.from)?, &standing(&arguments.to)?)?;
    let mut report = Vec::new();
    write_report(&view, arguments, &changes, &mut report)?;
    out.write_all(&report)?;
    if let Some(file) = &arguments.output {
        let cannot = || format!("could not write {}", file.display());
        file.parent().map_or(Ok(()), std::fs::create_dir_all).with_context(cannot)?;
        std::fs::write(file, &report).with_context(cannot)?;
    }
    match arguments.fail_on_diff && !changes.is_empty() {
        false => Ok(()),
        true => {
            let what = format!("the snapshots differ in {}", counted(changes.len() as u64, "path"));
            Err(Failure::new(what).next("the report says in what").into())
        }
    }
}

fn write_report(
    view: &View,
    arguments: &Arguments,
    changes: &[Change],
    out: &mut Vec<u8>,
) -> anyhow::Result<()> {
    let (from, to) = (&arguments.from.text, &arguments.to.text);
    let of = |mark: char| changes.iter().filter(move |change| mark_of(change) == mark);
    let count = |mark| of(mark).count();
    if changes.is_empty() {
        return Ok(writeln!(out, "{from} and {to} do not differ")?);
    }
    writeln!(out, "{from} -> {to}: {} added, {} removed, {} changed", count('+'), count('-'), count('~'))?;
    for change in changes {
        writeln!(out, "  {} {}", mark_of(change), one_line(&change.path.to_string()))?;
    }
    for change in changes.iter().filter(|change| !are_directories(change)) {
        writeln!(out)?;
        let side = |version| Side::of(&change.path, version);
        write_sides(view, side(change.before.as_ref()), side(change.after.as_ref()), Style::plain(), out)?;
    }
    Ok(())
}

fn mark_of(change: &Change) -> char {
    match (&change.before, &change.after) {
        (None, _) => '+',
        (_, None) => '-',
        _ => '~',
    }
}

fn are_directories(change: &Change) -> bool {
    [&change.before, &change.after].into_iter().flatten().all(|version| version.kind == NodeType::Dir)
}
