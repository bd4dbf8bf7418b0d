//! `tickfs watch log`: each value that a variable had, with the place in the code that wrote it.

use std::io::Write;

use clap::Args;
use serde_json::Value;

use super::find;
use crate::cli::Where;
use crate::output;

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
        let event = run.event(variable.id, n)?;
        if arguments.json {
            if let Some(event) = event {
                writeln!(out, "{event}")?;
            }
            continue;
        }
        let value = run.value(variable.id, n)?.brief();
        match event {
            None => writeln!(out, "{n}  {}", output::one_line(&value))?,
            Some(event) => writeln!(out, "{n}  {}  {}", told(&event), output::one_line(&value))?,
        }
    }
    Ok(())
}

/// The time and the place of an event.
pub(super) fn told(event: &str) -> String {
    let event: Value = serde_json::from_str(event).unwrap_or_default();
    let nanos = event["timestamp_ns"].as_i64().unwrap_or(0);
    let time = tickfs_store::ids::UnixMillis(nanos.div_euclid(1_000_000)).to_iso();
    let text = |name: &str| output::one_line(event[name].as_str().unwrap_or("?"));
    format!("{time}  {}:{}  {}", text("file"), event["line"], text("function"))
}
