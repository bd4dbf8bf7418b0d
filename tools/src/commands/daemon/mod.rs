//! `tickfs daemon`: recording in the background.

mod control;
mod list;
mod start;
mod stop;
mod threads;

use std::io::Write;

use clap::{Args, Subcommand};

use crate::target::{Target, existing};

/// Record in the background: one process serves a store, however much it records
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Start(start::Arguments),
    Stop(stop::Arguments),
    Status(list::Arguments),
    /// List what is recorded in the background, as `status` does
    List(list::Arguments),
    StopAll(stop::AllArguments),
    Pause(control::PauseArguments),
    Resume(control::ResumeArguments),
    SetThreads(threads::SetArguments),
    GetThreads(threads::GetArguments),
}

/// Whose recording is meant.
#[derive(Debug, Args)]
pub(crate) struct Whose {
    /// The recording of this file [default: that of the root]
    #[arg(long, value_name = "FILE", conflicts_with = "root")]
    file: Option<std::path::PathBuf>,
    /// The root [default: the one around the working directory]
    #[arg(long, value_name = "DIR")]
    root: Option<std::path::PathBuf>,
    /// The store itself
    #[arg(long, value_name = "DIR")]
    store: Option<std::path::PathBuf>,
}

impl Whose {
    fn target(&self) -> anyhow::Result<Option<Target>> {
        existing(self.root.as_deref(), self.file.as_deref(), self.store.as_deref())
    }
}

pub(crate) fn run(verb: &Verb, out: &mut impl Write) -> anyhow::Result<()> {
    match verb {
        Verb::Start(arguments) => start::run(arguments, out),
        Verb::Stop(arguments) => stop::run(arguments, out),
        Verb::Status(arguments) | Verb::List(arguments) => list::run(arguments, out),
        Verb::StopAll(arguments) => stop::run_all(arguments, out),
        Verb::Pause(arguments) => control::pause(arguments, out),
        Verb::Resume(arguments) => control::resume(arguments, out),
        Verb::SetThreads(arguments) => threads::set(arguments, out),
        Verb::GetThreads(arguments) => threads::get(arguments, out),
    }
}
