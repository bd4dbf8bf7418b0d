//! `tickfs watch last`: who wrote a variable, or one byte of it, last.

use std::io::Write;

use clap::Args;
use serde_json::Value;
use tickfs_store::runs::Run;

use super::find;
use crate::cli::Where;
use crate::error::Failure;

/// Say who wrote a variable last
///
/// RUN is a run's id, the beginning of one, or `last`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    run: String,
    name: String,
    /// Who changed this byte of it
    #[arg(long, value_name = "OFFSET")]
    byte: Option<u64>,
    /// Before this event of the run: its event_id, or the number that ends it
    #[arg(long, value_name = "EVENT")]
    before: Option<String>,
    #[command(flatten)]
    place: Where,
    /// Print the event itself
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let run = find(&arguments.place, &arguments.run)?;
    let variable = run.variable(&arguments.name)?;
    let before =
        arguments.before.as_deref().map(|said| number_of(said).ok_or_else(|| no_event(said))).transpose()?;
    let mut n = newest_before(&run, variable.id, before)?;
    while n > 0 {
        let event = run.event(variable.id, n)?.unwrap_or_default();
        if arguments.byte.is_none_or(|byte| touches(&event, byte)) {
            if arguments.json {
                writeln!(out, "{event}")?;
            } else {
                writeln!(out, "{}", run.log_line(variable.id, n)?)?;
            }
            return Ok(());
        }
        n -= 1;
    }
    let what = match arguments.byte {
        Some(byte) => format!("byte {byte} of {} was not changed by then", arguments.name),
        None => format!("{} was not changed by then", arguments.name),
    };
    Err(Failure::new(what)
        .next(format!("`tickfs watch log {} {}` shows what was", run.id(), arguments.name))
        .into())
}

fn no_event(said: &str) -> Failure {
    Failure::new(format!("{said:?} is no event")).usage().next("say its event_id, or the number that ends it")
}

fn number_of(event_id: &str) -> Option<u64> {
    event_id.rsplit('-').next()?.parse().ok()
}

/// The newest change of a variable that came before an event; events of a variable ascend.
fn newest_before(run: &Run, variable: u32, before: Option<u64>) -> anyhow::Result<u64> {
    let changes = run.changes(variable)?;
    let Some(before) = before else { return Ok(changes) };
    let (mut low, mut high) = (0, changes);
    while low < high {
        let middle = (low + high).div_ceil(2);
        let event: Value = serde_json::from_str(&run.event(variable, middle)?.unwrap_or_default())?;
        let number = event["event_id"].as_str().and_then(number_of).unwrap_or(u64::MAX);
        if number < before { low = middle } else { high = middle - 1 }
    }
    Ok(low)
}

fn touches(event: &str, byte: u64) -> bool {
    let event: Value = serde_json::from_str(event).unwrap_or_default();
    let deltas = event["deltas"].as_array().map(Vec::as_slice).unwrap_or_default();
    deltas.iter().any(|delta| delta["offset"].as_u64() == Some(byte))
}
