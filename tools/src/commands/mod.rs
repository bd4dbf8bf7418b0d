//! The verbs, one a file: arguments, help text and code.

pub(crate) mod adopt;
pub(crate) mod completions;
pub(crate) mod daemon;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod export;
pub(crate) mod init;
pub(crate) mod inspect;
pub(crate) mod man;
pub(crate) mod migrate;
pub(crate) mod mount;
pub(crate) mod record;
pub(crate) mod serve;
pub(crate) mod service;
pub(crate) mod unmount;

use std::io::{BufWriter, Write};

use crate::cli::{Cli, Verb};

pub(crate) fn run(cli: &Cli) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let done = match &cli.verb {
        Verb::Init(arguments) => init::run(arguments, &mut out),
        Verb::Mount(arguments) => mount::run(arguments, &mut out),
        Verb::Unmount(arguments) => unmount::run(arguments, &mut out),
        Verb::Record(arguments) => record::run(arguments, &mut out),
        Verb::Daemon(verb) => daemon::run(verb, &mut out),
        Verb::Service(verb) => service::run(verb, &mut out),
        Verb::Events(verb) => events::run(verb, &mut out),
        Verb::Inspect(arguments) => inspect::run(arguments, &mut out),
        Verb::Doctor(arguments) => doctor::run(arguments, &mut out),
        Verb::Export(arguments) => export::run(arguments, &mut out),
        Verb::Migrate(arguments) => migrate::run(arguments, &mut out),
        Verb::Completions(arguments) => completions::run(arguments, &mut out),
        Verb::Man(arguments) => man::run(arguments, &mut out),
    };
    // What was printed before a failure is still an answer.
    let flushed = out.flush();
    done?;
    Ok(flushed?)
}
