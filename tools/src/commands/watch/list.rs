//! `tickfs watch list`: the runs that a store has kept.

use std::io::Write;

use clap::Args;
use serde::Serialize;
use tickfs_store::runs::{RunFacts, RunStatus};

use crate::cli::Where;
use crate::output;

/// List the programs that were watched
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Listed {
    #[serde(flatten)]
    facts: RunFacts,
    /// It says that it runs, and nobody writes to it any more.
    abandoned: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let runs = arguments.place.open_untouched()?.runs();
    let mut listed = Vec::new();
    for id in runs.list()? {
        let run = runs.open(&id)?;
        let facts = run.facts()?;
        let abandoned = facts.status == RunStatus::Running && !run.is_alive()?;
        listed.push(Listed { facts, abandoned });
    }
    if arguments.json {
        return output::json(out, &listed);
    }
    if listed.is_empty() {
        writeln!(out, "no program was watched here yet: `tickfs watch --user-script SCRIPT` runs one")?;
        return Ok(());
    }
    let rows: Vec<[String; 5]> = listed.iter().map(row).collect();
    Ok(output::table(out, &rows)?)
}

fn row(run: &Listed) -> [String; 5] {
    let facts = &run.facts;
    let status = match (facts.status, facts.exit_code, facts.signal) {
        (RunStatus::Running, ..) if run.abandoned => "abandoned".to_owned(),
        (RunStatus::Running, ..) => "running".to_owned(),
        (RunStatus::Finished, ..) => "finished".to_owned(),
        (_, Some(code), _) => format!("status {code}"),
        (_, None, Some(signal)) => format!("signal {signal}"),
        (_, None, None) => "failed".to_owned(),
    };
    let written = facts.counts.get("events_written").copied().unwrap_or(0);
    [
        facts.run.to_string(),
        status,
        output::counted(facts.variables, "variable"),
        output::counted(written, "event"),
        output::one_line(&facts.script),
    ]
}
