//! `tickfs completions`: a shell's completion script, made from the same types that read the command line.

use std::io::Write;

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use crate::cli::Cli;

/// Print a completion script for a shell
///
/// For bash: `tickfs completions bash > ~/.local/share/bash-completion/completions/tickfs`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let mut script = Vec::new();
    generate(arguments.shell, &mut Cli::command(), "tickfs", &mut script);
    Ok(out.write_all(&script)?)
}
