//! `tickfs watch`: runs a program and records every change of its watched variables; and what is known of such runs.

mod last;
mod list;
mod log;
mod module;
mod program;

use std::io::Write;

use clap::{Args, Subcommand};
use tickfs_store::runs::Run;

use crate::cli::Where;

/// Run a Python or JavaScript program and record every change of its watched variables
///
/// The program calls `watch(value, name="x")`, which needs no import, and goes on as ever; each change of `x` is a line of
/// watcher_output/events.jsonl. Where a store records the script, the run is kept in it too: `tickfs watch list`,
/// `watch log RUN NAME` and `watch last RUN NAME` look into it.
///
/// Changes are seen by hooks: assignments in files of the program that call watch() (in JavaScript, in all of them), methods
/// that change a value, and attributes that are set. The program's files are those below the working directory, or else the
/// script's, and not installed packages (site-packages, node_modules). The memory of a buffer that watch() is given fresh, as in
/// `watch(bytearray(8))`, is protected on x86-64, and whoever writes it is seen: numpy, ctypes, a memoryview, a file read into
/// it. What else goes past the hooks (exec, globals(), a buffer that has another name) is found when the program ends, as
/// changed by `<unseen>`. A process that the program forks is not traced.
///
/// Exit status: that of the program (128 and the signal's number, if one ended it); 1 also where events could not be
/// written; 2 where the script, a processor or an option cannot be used, and nothing has run.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    program: program::Traced,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(list::Arguments),
    Log(log::Arguments),
    Last(last::Arguments),
    Module(module::Arguments),
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    match &arguments.verb {
        None => program::run(&arguments.program),
        Some(Verb::List(arguments)) => list::run(arguments, out),
        Some(Verb::Log(arguments)) => log::run(arguments, out),
        Some(Verb::Last(arguments)) => last::run(arguments, out),
        Some(Verb::Module(arguments)) => module::run(arguments, out),
    }
}

/// The run that `said` names, in the store that is meant.
fn find(place: &Where, said: &str) -> anyhow::Result<Run> {
    Ok(place.open_untouched()?.runs().find(said)?)
}
