//! `tickfs restore`: copies an old version forward as a new change.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::moving::{self, Moving};
use crate::act::Act;
use crate::cli::Where;
use crate::typed::At;

/// Bring back a path as it was, as a new change
///
/// One more tick, and no branch: the history goes on. A file comes back also where it was deleted, or where a directory
/// lies now. With a directory, all that was in it comes back, and what was not there then goes.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    /// The path to bring back
    path: PathBuf,
    /// As it was at this tick, BRANCH@TICK, time or snapshot
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    at: At,
    #[command(flatten)]
    moving: Moving,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let about = arguments.place.about(Some(&arguments.path))?;
    let path = about.path(&arguments.path)?;
    arguments.at.point(&about.view()?)?;
    let act = Act::Restore { path, at: arguments.at.text.clone(), how: arguments.moving.how() };
    moving::run(&about, &act, arguments.moving.json, out)
}
