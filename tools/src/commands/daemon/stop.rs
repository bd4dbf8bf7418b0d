//! `tickfs daemon stop` and `stop-all`: ends recordings, and the process with the last of them.
//!
//! Invariant: a signal goes only to the process that listens on the store's socket, as the kernel tells, and that the
//! recording's metadata names; never to a number that was found in a file.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use rustix::process::Pid;
use tickfs_store::Store;
use tickfs_store::path::RelPath;

use super::Whose;
use crate::client::{Conversation, NoAnswer, PATIENCE, Said, number};
use crate::error::Failure;
use crate::output::counted;
use crate::serve::message::{Answer, Request};
use crate::serve::{alive, metadata, stale};

/// Stop the recording of the root, or of one file
///
/// What is saved until then is recorded. A process that does not answer is sent SIGTERM.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    whose: Whose,
}

/// Stop every recording of the store
#[derive(Debug, Args)]
pub(crate) struct AllArguments {
    /// The root [default: the one around the working directory]
    #[arg(long, value_name = "DIR")]
    root: Option<std::path::PathBuf>,
    /// The store itself
    #[arg(long, value_name = "DIR")]
    store: Option<std::path::PathBuf>,
}

/// So long a process may think about a request to stop, and then about a signal.
const THINKING: Duration = Duration::from_secs(5);

/// What came of a stop.
enum Stopped {
    Now,
    NotRecorded,
    /// The process that recorded it was gone before.
    WasDead(u32),
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let Some(target) = arguments.whose.target()? else {
        writeln!(out, "no daemon is running here, and no store records this")?;
        return Ok(());
    };
    let what = name(target.file.as_ref());
    match stop(&target.store, target.file.as_ref())? {
        Stopped::Now => writeln!(out, "stopped recording {what}")?,
        Stopped::NotRecorded => writeln!(out, "{}", metadata::not_recorded(target.file.as_ref()))?,
        Stopped::WasDead(pid) => {
            writeln!(out, "process {pid}, which recorded {what}, was already dead")?;
        }
    }
    Ok(())
}

pub(crate) fn run_all(arguments: &AllArguments, out: &mut impl Write) -> anyhow::Result<()> {
    let target = super::existing(arguments.root.as_deref(), None, arguments.store.as_deref())?;
    let Some(target) = target else {
        writeln!(out, "no daemon is running here, and no store records this")?;
        return Ok(());
    };
    let found = metadata::read_all(&target.store)?;
    found.parked.iter().for_each(|parked| eprintln!("tickfs: {}", metadata::told_of_parked(parked)));
    let (mut stopped, mut failed) = (0, 0);
    for (_, metadata) in found.recordings {
        let what = name(metadata.file.as_ref());
        match stop(&target.store, metadata.file.as_ref()) {
            Ok(Stopped::Now) => stopped += 1,
            Ok(Stopped::NotRecorded) => eprintln!("tickfs: {what} was stopped meanwhile"),
            Ok(Stopped::WasDead(pid)) => {
                eprintln!("tickfs: process {pid}, which recorded {what}, was already dead");
            }
            Err(error) => {
                failed += 1;
                eprintln!("tickfs: could not stop recording {what}: {}", Failure::from(&error));
            }
        }
    }
    writeln!(out, "stopped {}", counted(stopped, "recording"))?;
    if failed > 0 {
        return Err(Failure::new(format!("{} could not be stopped", counted(failed, "recording"))).into());
    }
    Ok(())
}

fn name(file: Option<&RelPath>) -> String {
    file.map_or_else(|| "the root".to_owned(), ToString::to_string)
}

fn stop(store: &Store, file: Option<&RelPath>) -> anyhow::Result<Stopped> {
    let found = metadata::read(store, file)?;
    found.parked.iter().for_each(|parked| eprintln!("tickfs: {}", metadata::told_of_parked(parked)));
    let named = found.recordings.first().map(|(_, metadata)| metadata.pid);
    let not_recorded = named.map_or(Stopped::NotRecorded, Stopped::WasDead);
    let conversation = match Conversation::open(store.layout().dir()) {
        Ok(Some(conversation)) => conversation,
        Ok(None) => {
            if named.is_some() {
                stale::remove(store, file)?;
            }
            return Ok(not_recorded);
        }
        Err(error) => return insist(store, file, named, error),
    };
    let pid = conversation.pid();
    let request = Request::Forget { file: file.cloned() };
    match conversation.ask(&request, Some(THINKING), &mut |_| {}) {
        Ok(Said::Done(Answer::Forgotten { was_recorded, ends })) => {
            if ends {
                await_end(pid)?;
            }
            Ok(if was_recorded { Stopped::Now } else { not_recorded })
        }
        Ok(Said::Done(_)) => Err(Failure::new(format!("process {pid} did not understand")).into()),
        Ok(Said::Ending) => {
            await_end(pid)?;
            Ok(Stopped::Now)
        }
        Err(error) => insist(store, file, named, error),
    }
}

fn await_end(pid: Pid) -> anyhow::Result<()> {
    match alive::ends_within(pid, PATIENCE)? {
        true => Ok(()),
        false => Err(Failure::new(format!("process {pid} takes long to end")).into()),
    }
}

/// A process that does not answer is sent a signal, if it is the one that the metadata names.
fn insist(
    store: &Store,
    file: Option<&RelPath>,
    named: Option<u32>,
    error: anyhow::Error,
) -> anyhow::Result<Stopped> {
    let Some(NoAnswer { pid: Some(pid) }) = error.downcast_ref::<NoAnswer>() else { return Err(error) };
    let pid = *pid;
    if named != Some(number(pid)) {
        return Err(error);
    }
    alive::terminate(pid)?;
    if !alive::ends_within(pid, THINKING)? {
        return Err(Failure::new(format!("process {pid} does not answer; it was sent SIGTERM"))
            .next("if it is stopped, let it go on (kill -CONT), and it ends")
            .into());
    }
    stale::remove(store, file)?;
    Ok(Stopped::Now)
}
