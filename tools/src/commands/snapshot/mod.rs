//! `tickfs snapshot`: names for ticks, and trees that were taken in from elsewhere.

mod compare;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use tickfs_store::history::View;
use tickfs_store::ids::{Tick, UnixMillis};

use super::moving;
use crate::about::About;
use crate::act::Act;
use crate::ago::ago;
use crate::cli::Where;
use crate::client;
use crate::error::Failure;
use crate::typed::At;
use crate::{find, now, output};

/// Name ticks, take in directories, and compare both
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Create(CreateArguments),
    List(ListArguments),
    Rename(RenameArguments),
    Remove(RemoveArguments),
    Import(ImportArguments),
    Diff(compare::Arguments),
}

/// Give the present, or a tick, a name
///
/// Every command takes it for a point in history, and the mount shows it under snapshots/.
#[derive(Debug, Args)]
pub(crate) struct CreateArguments {
    #[command(flatten)]
    place: Where,
    /// Its name: one that no tick, time or path could be mistaken for
    name: String,
    /// Name this tick, BRANCH@TICK or time [default: what stands now; what is unsaved is recorded first]
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    at: Option<At>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// List the snapshots
#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    #[command(flatten)]
    place: Where,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Rename a snapshot
#[derive(Debug, Args)]
pub(crate) struct RenameArguments {
    #[command(flatten)]
    place: Where,
    /// The snapshot
    name: String,
    /// Its new name, which no snapshot has
    new_name: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Remove the name of a snapshot: what it named stays in the history
#[derive(Debug, Args)]
pub(crate) struct RemoveArguments {
    #[command(flatten)]
    place: Where,
    /// The snapshot
    name: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Take in a directory from elsewhere as a read-only tree
///
/// All of it or, where something cannot be read, nothing. Symlinks are kept as symlinks.
#[derive(Debug, Args)]
pub(crate) struct ImportArguments {
    #[command(flatten)]
    place: Where,
    /// The directory
    dir: PathBuf,
    /// What to call it [default: the directory's own name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(verb: &Verb, out: &mut impl Write) -> anyhow::Result<()> {
    match verb {
        Verb::List(arguments) => list(arguments, out),
        Verb::Diff(arguments) => compare::run(arguments, out),
        Verb::Create(arguments) => {
            let about = arguments.place.about(None)?;
            if let Some(at) = &arguments.at {
                at.point(&about.view()?)?;
            }
            let at = arguments.at.as_ref().map(|at| at.text.clone());
            ask(&about, &Act::CreateSnapshot { name: arguments.name.clone(), at }, arguments.json, out)
        }
        Verb::Rename(arguments) => {
            let (old, new) = (arguments.name.clone(), arguments.new_name.clone());
            ask(&arguments.place.about(None)?, &Act::RenameSnapshot { old, new }, arguments.json, out)
        }
        Verb::Remove(arguments) => {
            let act = Act::RemoveSnapshot { name: arguments.name.clone() };
            ask(&arguments.place.about(None)?, &act, arguments.json, out)
        }
        Verb::Import(arguments) => {
            let dir = find::settled(&arguments.dir)?;
            let own = dir.file_name().and_then(|name| name.to_str()).map(str::to_owned);
            let name = arguments.name.clone().or(own).ok_or_else(|| {
                Failure::new("the directory has no name that could be a snapshot's")
                    .at(&dir)
                    .next("say --name NAME")
            })?;
            ask(&arguments.place.about(None)?, &Act::ImportSnapshot { name, dir }, arguments.json, out)
        }
    }
}

fn ask(about: &About, act: &Act, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    moving::print(&client::act(&about.store, act)?, json, out)
}

#[derive(Serialize)]
struct Row {
    name: String,
    /// `None`: it was imported.
    branch: Option<String>,
    tick: Option<Tick>,
    imported_from: Option<String>,
    created_at: String,
}

fn rows(view: &View) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for snapshot in view.snapshots()? {
        let home = view.branches().get(snapshot.branch).filter(|_| snapshot.imported_from.is_none());
        rows.push(Row {
            branch: home.map(|branch| branch.label.clone()),
            tick: home.map(|_| snapshot.tick),
            name: snapshot.name,
            imported_from: snapshot.imported_from,
            created_at: snapshot.created_at,
        });
    }
    Ok(rows)
}

fn list(arguments: &ListArguments, out: &mut impl Write) -> anyhow::Result<()> {
    let rows = arguments.place.view_if_any()?.map_or(Ok(Vec::new()), |view| rows(&view))?;
    if arguments.json {
        return output::json(out, &rows);
    }
    if rows.is_empty() {
        return Ok(writeln!(out, "No snapshots")?);
    }
    let columns = |row: &Row| {
        let what = match (&row.branch, row.tick, &row.imported_from) {
            (Some(branch), Some(tick), _) => format!("{branch}@{tick}"),
            (_, _, Some(from)) => format!("imported from {from}"),
            _ => String::new(),
        };
        let made = UnixMillis::from_iso(&row.created_at).map(|at| ago(at, now::now()));
        [row.name.clone(), output::one_line(&what), made.unwrap_or_default()]
    };
    Ok(output::table(out, &rows.iter().map(columns).collect::<Vec<_>>())?)
}
