//! `tickfs show`: one tick, or one path as it was.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use tickfs_store::history::View;
use tickfs_store::ids::Tick;
use tickfs_store::journal::entry::NodeType;
use tickfs_store::path::RelPath;

use super::diff::write_change;
use super::log::head;
use crate::cli::Where;
use crate::error::Failure;
use crate::output::one_line;
use crate::style::Style;
use crate::typed::At;

/// Show what a tick changed, or a path as it was
///
/// `show 42` tells about tick 42 and prints its diff. `show PATH --at T` prints the file as it was at T, byte for byte; of
/// a directory, what was in it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    /// A tick; with --at a path
    #[arg(value_name = "TICK|PATH", allow_negative_numbers = true)]
    what: PathBuf,
    /// The path as it was at this tick or time
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    at: Option<At>,
    /// Print JSON about the tick
    #[arg(long, conflicts_with = "at")]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    match &arguments.at {
        Some(at) => {
            let about = arguments.place.about(Some(&arguments.what))?;
            show_path(&about.view()?, &about.path(&arguments.what)?, at, out)
        }
        None => {
            let about = arguments.place.about(None)?;
            show_tick(&about.view()?, &arguments.what, arguments.json, out)
        }
    }
}

fn show_tick(view: &View, what: &Path, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let Some(text) = what.to_str() else {
        return Err(Failure::new("this is no tick").at(what).next("for a path say --at T").into());
    };
    // A tick of another branch is told about all the same: it is one tick of the store.
    let tick = match text.trim_start_matches('@').parse::<u64>() {
        Ok(tick) if Tick(tick) <= view.last_tick() => Tick(tick),
        _ => text.parse::<At>()?.point(view)?.tick,
    };
    if tick == Tick::BASE {
        let next = "`tickfs show PATH --at 0` prints what was there";
        return Err(Failure::new("tick 0 is the base: it changed nothing").next(next).into());
    }
    if json {
        return Ok(out.write_all(&tickfs_store::render::tick_json(view, tick)?)?);
    }
    let told = view.told(&view.tick(tick)?)?;
    let style = Style::of_stdout();
    head(view, &told, style, out)?;
    writeln!(out)?;
    write_change(view, &told, style, out)
}

fn show_path(view: &View, path: &RelPath, at: &At, out: &mut impl Write) -> anyhow::Result<()> {
    let point = at.point(view)?;
    let tree = view.tree(point)?;
    let Some(entry) = tree.resolve(path)? else {
        return Err(Failure::new(format!("{path} did not exist at tick {}", point.tick))
            .next("`tickfs log PATH` names the ticks of a path")
            .into());
    };
    match entry.version.kind {
        NodeType::File => Ok(out.write_all(&view.content_of(&entry.version)?)?),
        NodeType::Symlink => {
            out.write_all(&view.content_of(&entry.version)?)?;
            Ok(writeln!(out)?)
        }
        NodeType::Dir => {
            let mut after = Vec::new();
            loop {
                let portion = tree.entries(entry.node, &after, 256)?;
                let Some((last, _)) = portion.last() else { return Ok(()) };
                after.clone_from(&last.name);
                for (child, version) in portion {
                    let slash = if version.kind == NodeType::Dir { "/" } else { "" };
                    writeln!(out, "{}{slash}", one_line(&String::from_utf8_lossy(&child.name)))?;
                }
            }
        }
    }
}
