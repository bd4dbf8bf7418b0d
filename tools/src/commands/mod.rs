//! The verbs, one a file: arguments, help text and code.

pub(crate) mod adopt;
pub(crate) mod branch;
pub(crate) mod completions;
pub(crate) mod daemon;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod export;
pub(crate) mod grep;
pub(crate) mod init;
pub(crate) mod inspect;
pub(crate) mod log;
pub(crate) mod man;
pub(crate) mod migrate;
pub(crate) mod mount;
mod moving;
pub(crate) mod record;
pub(crate) mod restore;
pub(crate) mod revert;
pub(crate) mod serve;
pub(crate) mod service;
pub(crate) mod show;
pub(crate) mod snapshot;
pub(crate) mod status;
pub(crate) mod undo;
pub(crate) mod unmount;
pub(crate) mod watch;

use std::io::{BufWriter, Write};

use crate::cli::{Cli, Verb};
use crate::pager::Printer;

pub(crate) fn run(cli: &Cli) -> anyhow::Result<()> {
    let printer = if is_long(&cli.verb) { Printer::paged() } else { Printer::direct() };
    let mut out = BufWriter::new(printer);
    let done = match &cli.verb {
        Verb::Init(arguments) => init::run(arguments, &mut out),
        Verb::Mount(arguments) => mount::run(arguments, &mut out),
        Verb::Unmount(arguments) => unmount::run(arguments, &mut out),
        Verb::Record(arguments) => record::run(arguments, &mut out),
        Verb::Daemon(verb) => daemon::run(verb, &mut out),
        Verb::Service(verb) => service::run(verb, &mut out),
        Verb::Status(arguments) => status::run(arguments, &mut out),
        Verb::Log(arguments) => log::run(arguments, &mut out),
        Verb::Show(arguments) => show::run(arguments, &mut out),
        Verb::Diff(arguments) => diff::run(arguments, &mut out),
        Verb::Grep(arguments) => grep::run(arguments, &mut out),
        Verb::Revert(arguments) => revert::run(arguments, &mut out),
        Verb::Restore(arguments) => restore::run(arguments, &mut out),
        Verb::Undo(arguments) => undo::run(arguments, &mut out),
        Verb::Branch(verb) => branch::run(verb, &mut out),
        Verb::Snapshot(verb) => snapshot::run(verb, &mut out),
        Verb::Events(verb) => events::run(verb, &mut out),
        Verb::Inspect(arguments) => inspect::run(arguments, &mut out),
        Verb::Watch(arguments) => watch::run(arguments, &mut out),
        Verb::Doctor(arguments) => doctor::run(arguments, &mut out),
        Verb::Export(arguments) => export::run(arguments, &mut out),
        Verb::Migrate(arguments) => migrate::run(arguments, &mut out),
        Verb::Completions(arguments) => completions::run(arguments, &mut out),
        Verb::Man(arguments) => man::run(arguments, &mut out),
    };
    // What was printed before a failure is still an answer.
    let flushed = out.flush();
    let finished = match out.into_inner() {
        Ok(printer) => printer.finish(),
        Err(error) => Err(error.into_error()),
    };
    done?;
    flushed?;
    Ok(finished?)
}

/// What a person reads page by page.
fn is_long(verb: &Verb) -> bool {
    matches!(verb, Verb::Log(_) | Verb::Show(_) | Verb::Diff(_) | Verb::Grep(_))
}
