//! `tickfs daemon pause` and `resume`.

use std::io::Write;

use clap::Args;

use crate::cli::Where;
use crate::client::{Conversation, Said};
use crate::error::Failure;
use crate::serve::message::Request;

/// Record nothing for a while
///
/// What is saved meanwhile is recorded as one burst when recording goes on.
#[derive(Debug, Args)]
pub(crate) struct PauseArguments {
    #[command(flatten)]
    place: Where,
}

/// Go on recording
#[derive(Debug, Args)]
pub(crate) struct ResumeArguments {
    #[command(flatten)]
    place: Where,
}

pub(crate) fn pause(arguments: &PauseArguments, out: &mut impl Write) -> anyhow::Result<()> {
    ask(&arguments.place, &Request::Pause)?;
    writeln!(out, "recording is paused")?;
    Ok(())
}

pub(crate) fn resume(arguments: &ResumeArguments, out: &mut impl Write) -> anyhow::Result<()> {
    ask(&arguments.place, &Request::Resume)?;
    writeln!(out, "recording goes on")?;
    Ok(())
}

fn ask(place: &Where, request: &Request) -> anyhow::Result<()> {
    let store = place.open()?;
    let dir = store.layout().dir();
    let nobody =
        || Failure::new("no daemon is running here").at(dir).next("`tickfs daemon start` starts one");
    let conversation = Conversation::open(dir)?.ok_or_else(nobody)?;
    match conversation.ask(request, None, &mut |_| {})? {
        Said::Done(_) => Ok(()),
        Said::Ending => Err(nobody().into()),
    }
}
