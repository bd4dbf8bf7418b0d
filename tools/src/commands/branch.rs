//! `tickfs branch`: the named chains of ticks.

use std::io::Write;

use clap::{Args, Subcommand};
use serde::Serialize;
use tickfs_store::history::{Branch, View};
use tickfs_store::ids::{Tick, UnixMillis};

use super::moving::{self, Moving};
use crate::act::Act;
use crate::ago::ago;
use crate::cli::Where;
use crate::client;
use crate::now;
use crate::output;
use crate::typed::At;

/// List, make, rename and change branches
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    List(ListArguments),
    Create(CreateArguments),
    Rename(RenameArguments),
    Jump(JumpArguments),
}

/// List the branches: the active one is marked
///
/// For each its head, how many ticks its chain has, and where it began. Nothing is written.
#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    #[command(flatten)]
    place: Where,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Make a branch
///
/// It does not become active. While files stand in the past and without --at, it takes along where the root stands and what
/// is unsaved, and becomes active.
#[derive(Debug, Args)]
pub(crate) struct CreateArguments {
    #[command(flatten)]
    place: Where,
    /// Its name: one that no tick, time or path could be mistaken for
    name: String,
    /// Begin at this tick, BRANCH@TICK, time or snapshot [default: where the root stands]
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    at: Option<At>,
    /// A note about it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Rename a branch: its ticks and what was forked from it stay
#[derive(Debug, Args)]
pub(crate) struct RenameArguments {
    #[command(flatten)]
    place: Where,
    /// The branch
    branch: String,
    /// Its new name, which no branch has
    new_name: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Make a branch the active one, and put the root to its head
///
/// What is unsaved is recorded first, on the branch that was active. With --file where that file is all that is recorded.
#[derive(Debug, Args)]
pub(crate) struct JumpArguments {
    #[command(flatten)]
    place: Where,
    /// The branch
    branch: String,
    #[command(flatten)]
    moving: Moving,
}

pub(crate) fn run(verb: &Verb, out: &mut impl Write) -> anyhow::Result<()> {
    match verb {
        Verb::List(arguments) => list(arguments, out),
        Verb::Create(arguments) => {
            let about = arguments.place.about(None)?;
            let view = about.view()?;
            arguments.at.as_ref().map_or(Ok(()), |at| at.point(&view).map(drop))?;
            let at = arguments.at.as_ref().map(|at| at.text.clone());
            let (name, description) = (arguments.name.clone(), arguments.description.clone());
            let report = client::act(&about.store, &Act::CreateBranch { name, at, description })?;
            moving::print(&report, arguments.json, out)
        }
        Verb::Rename(arguments) => {
            let about = arguments.place.about(None)?;
            let (old, new) = (arguments.branch.clone(), arguments.new_name.clone());
            let report = client::act(&about.store, &Act::RenameBranch { old, new })?;
            moving::print(&report, arguments.json, out)
        }
        Verb::Jump(arguments) => {
            let about = arguments.place.about(None)?;
            about.view()?.branches().by_label(&arguments.branch)?;
            let path = arguments.place.file.as_ref().map(|file| about.path(file)).transpose()?;
            let act = Act::Jump { branch: arguments.branch.clone(), path, how: arguments.moving.how() };
            moving::run(&about, &act, arguments.moving.json, out)
        }
    }
}

#[derive(Serialize)]
struct Row<'a> {
    label: &'a str,
    id: &'a str,
    active: bool,
    head: Tick,
    /// How many ticks its chain has, those included that it inherits.
    chain_length: u64,
    parent: Option<&'a str>,
    forked_at_tick: Option<Tick>,
    created_at: &'a str,
    description: Option<&'a str>,
}

impl<'a> Row<'a> {
    fn of(view: &'a View, branch: &'a Branch) -> Self {
        let branches = view.branches();
        let spans = branches.chain(branch.no, Tick(u64::MAX));
        Self {
            label: &branch.label,
            id: &branch.id,
            active: view.cursor().is_some_and(|cursor| cursor.branch == branch.no),
            head: branches.head(branch.no),
            chain_length: spans.iter().map(|span| span.last.0 - span.first.0 + 1).sum(),
            parent: branch.parent.and_then(|no| branches.get(no)).map(|parent| parent.label.as_str()),
            forked_at_tick: branch.forked_at_tick,
            created_at: &branch.created_at,
            description: branch.description.as_deref(),
        }
    }

    fn columns(&self) -> [String; 6] {
        let began =
            self.parent.zip(self.forked_at_tick).map(|(parent, tick)| format!("from {parent}@{tick}"));
        let made = UnixMillis::from_iso(self.created_at).map(|at| ago(at, now::now()));
        [
            if self.active { "*" } else { " " }.to_owned(),
            self.label.to_owned(),
            format!("@{}", self.head),
            output::counted(self.chain_length, "tick"),
            began.unwrap_or_else(|| "from the base".to_owned()),
            made.unwrap_or_default(),
        ]
    }
}

fn list(arguments: &ListArguments, out: &mut impl Write) -> anyhow::Result<()> {
    let Some(view) = arguments.place.view_if_any()? else {
        return match arguments.json {
            true => output::json(out, &[(); 0]),
            false => Ok(writeln!(out, "No branches: nothing is recorded here")?),
        };
    };
    for no in view.branches().lost() {
        eprintln!(
            "tickfs: the record of branch number {no} does not read: `tickfs doctor` says where it is damaged"
        );
    }
    let rows: Vec<Row<'_>> = view.branches().listed().map(|branch| Row::of(&view, branch)).collect();
    match (arguments.json, rows.is_empty()) {
        (true, _) => output::json(out, &rows),
        (false, true) => Ok(writeln!(out, "No branches: nothing is recorded here yet")?),
        (false, false) => {
            let rows: Vec<[String; 6]> = rows.iter().map(Row::columns).collect();
            Ok(output::table(out, &rows)?)
        }
    }
}
