//! `tickfs undo`: goes back before the last revert, restore or jump.

use std::io::Write;

use clap::Args;

use super::moving::{self, Moving};
use crate::act::Act;
use crate::cli::Where;

/// Go back before the last revert, restore or jump
///
/// An undo can be undone too.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    moving: Moving,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let about = arguments.place.about(None)?;
    moving::run(&about, &Act::Undo { how: arguments.moving.how() }, arguments.moving.json, out)
}
