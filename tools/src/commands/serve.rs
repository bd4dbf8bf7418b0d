//! The verb of the background process, which no help names; see `serve::spawn`.

use std::path::PathBuf;

use clap::Parser;

use crate::serve::message::Request;
use crate::serve::spawn;

/// What `tickfs daemon start` and `tickfs mount` run behind [`NAME`].
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    #[arg(long)]
    store: PathBuf,
    /// What to begin with
    #[arg(long, value_parser = |text: &str| serde_json::from_str::<Request>(text))]
    request: Request,
}

pub(crate) const NAME: &str = "serve-in-background";

/// `None`: something else was typed.
pub(crate) fn asked() -> Option<Result<Arguments, clap::Error>> {
    let mut words = std::env::args_os().skip(1);
    (words.next()? == NAME).then(|| Arguments::try_parse_from(std::env::args_os().skip(1)))
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    spawn::live(&arguments.store, &arguments.request)
}
