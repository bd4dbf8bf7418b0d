//! The verbs of the background processes, which no help names; see `serve::spawn` and `serve::keeper`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

use crate::serve::message::Request;
use crate::serve::{keeper, spawn};

/// What `tickfs daemon start` and `tickfs mount` run behind [`NAME`].
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    #[arg(long)]
    store: PathBuf,
    /// What to begin with
    #[arg(long, value_parser = |text: &str| serde_json::from_str::<Request>(text))]
    request: Request,
}

/// What a serving process runs behind [`KEEPER`].
#[derive(Debug, Parser)]
pub(crate) struct KeeperArguments {
    #[arg(long)]
    store: PathBuf,
    #[arg(long)]
    outage_max_seconds: u32,
}

pub(crate) const NAME: &str = "serve-in-background";
pub(crate) const KEEPER: &str = "keep-mounts";

pub(crate) enum Background {
    Server(Arguments),
    Keeper(KeeperArguments),
}

/// `None`: something else was typed.
pub(crate) fn asked() -> Option<Result<Background, clap::Error>> {
    let verb = std::env::args_os().nth(1)?;
    let words = std::env::args_os().skip(1);
    if verb == NAME {
        Some(Arguments::try_parse_from(words).map(Background::Server))
    } else if verb == KEEPER {
        Some(KeeperArguments::try_parse_from(words).map(Background::Keeper))
    } else {
        None
    }
}

pub(crate) fn run(background: &Background) -> anyhow::Result<()> {
    // It is run by the name that the kernel has for every program's own file, and `ps` would show that one.
    let name = match background {
        Background::Server(_) => c"tickfs",
        Background::Keeper(_) => c"tickfs-keeper",
    };
    rustix::thread::set_name(name).context("could not take its name")?;
    match background {
        Background::Server(server) => spawn::live(&server.store, &server.request),
        Background::Keeper(keeper) => {
            keeper::process::live(&keeper.store, Duration::from_secs(keeper.outage_max_seconds.into()))
        }
    }
}
