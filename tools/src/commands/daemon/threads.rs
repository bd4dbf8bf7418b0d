//! `tickfs daemon set-threads` and `get-threads`: how many threads read, hash and compress.
//!
//! Invariant: the number never changes what is recorded, or in which order.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use tickfs_store::Error;

use crate::cli::Where;
use crate::client::{Conversation, Patience, Said};
use crate::now;
use crate::serve::message::{Answer, Request};
use crate::serve::{THREADS_DEFAULT, recordings};
use crate::target::existing;

/// Set the number of threads that recording uses, now and from now on
#[derive(Debug, Args)]
pub(crate) struct SetArguments {
    /// 1..32
    #[arg(long, value_name = "N", value_parser = crate::threads::count, allow_negative_numbers = true)]
    count: u8,
    #[command(flatten)]
    place: Where,
}

/// Print the number of threads that recording uses; 4 where nobody has set it
#[derive(Debug, Args)]
pub(crate) struct GetArguments {
    #[command(flatten)]
    place: Where,
}

pub(crate) fn set(arguments: &SetArguments, out: &mut impl Write) -> anyhow::Result<()> {
    let store = arguments.place.open()?;
    let count = arguments.count;
    let patience = Patience::begin();
    loop {
        let holder = match Conversation::open(store.layout().dir())? {
            Some(conversation) => {
                match conversation.ask(&Request::SetThreads { count }, None, &mut |_| {})? {
                    Said::Done(_) => break,
                    Said::Ending => "a process that ends".to_owned(),
                }
            }
            None => match store.writer(now::writer(), Duration::ZERO) {
                Ok(writer) => {
                    recordings::store_threads(&writer, count)?;
                    writer.close()?;
                    break;
                }
                Err(Error::Locked { holder }) => holder,
                Err(error) => return Err(error.into()),
            },
        };
        patience.wait(&holder)?;
    }
    writeln!(out, "recording uses {} from now on", crate::output::counted(u64::from(count), "thread"))?;
    Ok(())
}

pub(crate) fn get(arguments: &GetArguments, out: &mut impl Write) -> anyhow::Result<()> {
    let Where { root, file, store } = &arguments.place;
    let count = match existing(root.as_deref(), file.as_deref(), store.as_deref())? {
        None => THREADS_DEFAULT,
        Some(target) => {
            let asked = Conversation::open(target.store.layout().dir())?
                .map(|conversation| conversation.ask(&Request::Status, None, &mut |_| {}))
                .transpose()?;
            match asked {
                Some(Said::Done(Answer::Status(status))) => status.threads,
                _ => recordings::stored_threads(&arguments.place.open_untouched()?)?,
            }
        }
    };
    writeln!(out, "{count}")?;
    Ok(())
}
