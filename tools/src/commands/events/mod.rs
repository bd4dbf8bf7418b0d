//! `tickfs events`: the records of the journal, as they were written.

mod dump;
mod record;
mod tail;

use std::io::Write;

use clap::Subcommand;

/// Print the events of the journal
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Dump(dump::Arguments),
    Tail(tail::Arguments),
}

pub(crate) fn run(verb: &Verb, out: &mut impl Write) -> anyhow::Result<()> {
    match verb {
        Verb::Dump(arguments) => dump::run(arguments, out),
        Verb::Tail(arguments) => tail::run(arguments, out),
    }
}
