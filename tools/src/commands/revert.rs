//! `tickfs revert`: puts the root, or one file of it, back to a point in history.

use std::io::Write;

use clap::Args;

use super::moving::{self, Moving};
use crate::act::Act;
use crate::cli::Where;
use crate::typed::At;

/// Go back: put the root, or one file, to a tick
///
/// What is unsaved is recorded first, and nothing is lost: the cursor moves, and the next change begins a branch.
/// `tickfs undo` takes it back. With --file the file alone is put back, and removed if it did not exist then. What is
/// ignored or not recorded is not touched.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    /// A tick, BRANCH@TICK, a time, HEAD, -1, or the name of a snapshot
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    at: At,
    #[command(flatten)]
    moving: Moving,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let about = arguments.place.about(None)?;
    let path = arguments.place.file.as_ref().map(|file| about.path(file)).transpose()?;
    arguments.at.point(&about.view()?)?;
    let act = Act::Revert { at: arguments.at.text.clone(), path, how: arguments.moving.how() };
    moving::run(&about, &act, arguments.moving.json, out)
}
