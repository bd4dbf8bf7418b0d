//! `tickfs watch log`: each value that a variable had, with the place in the code that wrote it.

use std::io::Write;

use super::find;
use crate::cli::Where;
use clap::Args;

/// Show each value that a variable had
///
/// A line a change: its number, time, value, and the function, file and line that made it. RUN is a run's id, the
/// beginning of one, or `last`. Change 0 is the value that the variable began with.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    run: String,
    name: String,
    /// Only the newest so many
    #[arg(long, value_name = "COUNT")]
    last: Option<u64>,
    #[command(flatten)]
    place: Where,
    /// Print the events themselves, one a line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let run = find(&arguments.place, &arguments.run)?;
    let variable = run.variable(&arguments.name)?;
    let changes = run.changes(variable.id)?;
    let first = arguments.last.map_or(0, |last| (changes + 1).saturating_sub(last));
    for n in first..=changes {
        if !arguments.json {
            writeln!(out, "{}", run.log_line(variable.id, n)?)?;
        } else if let Some(event) = run.event(variable.id, n)? {
            writeln!(out, "{event}")?;
        }
    }
    Ok(())
}
