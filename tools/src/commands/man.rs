//! `tickfs man`: the manual pages, made from the same types that read the command line.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;

use crate::cli::Cli;

/// Print the manual page, or write one for each command
///
/// To read it: `tickfs man | man -l -`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Write a page for each command into this directory instead
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let mut command = Cli::command();
    command.build();
    match &arguments.out {
        None => Ok(Man::new(command).render(out)?),
        Some(dir) => write_pages(&command, "tickfs", dir),
    }
}

fn write_pages(command: &Command, name: &str, dir: &Path) -> anyhow::Result<()> {
    // A command is given its whole name, because a page's heading has nothing else to go by.
    let whole: &'static str = Box::leak(name.to_owned().into_boxed_str());
    let mut page = Vec::new();
    Man::new(command.clone().name(whole)).render(&mut page)?;
    let path = dir.join(format!("{name}.1"));
    std::fs::write(&path, page).with_context(|| format!("could not write {}", path.display()))?;
    let mut inner = command.get_subcommands();
    inner.try_for_each(|inner| write_pages(inner, &format!("{name}-{}", inner.get_name()), dir))
}
