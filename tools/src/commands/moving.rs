//! What the commands that write to the root have in common.

use std::io::Write;

use clap::Args;

use crate::about::About;
use crate::act::{Act, How, Report};
use crate::client;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct Moving {
    /// Only say what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Put back the old modification times too; else they become now, so that build tools notice
    #[arg(long)]
    pub(crate) mtimes: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Moving {
    pub(crate) fn how(&self) -> How {
        How { mtimes: self.mtimes, dry_run: self.dry_run }
    }
}

pub(crate) fn run(about: &About, act: &Act, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    print(&client::act(&about.store, act)?, json, out)
}

pub(crate) fn print(report: &Report, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    match json {
        true => output::json(out, report),
        false => Ok(report.print(out)?),
    }
}
