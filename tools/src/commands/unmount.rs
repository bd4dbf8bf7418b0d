//! `tickfs unmount`: ends mounts, and the process that served them if nothing else needs it.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use tickfs_store::Store;
use tickfs_store::path::RelPath;

use crate::client::{Conversation, PATIENCE, Said};
use crate::error::Failure;
use crate::find;
use crate::output::counted;
use crate::serve::message::{Absolute, Answer, Request};
use crate::serve::mounted::{self, Mounted};
use crate::serve::{alive, stale};
use crate::target::existing;

/// End the mounts of a root, that of a file, or the one at a mount point
///
/// What is saved until then is recorded. A mount point that tickfs made is removed.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// What is shown, or where it is shown [default: the root around the working directory]
    #[arg(value_name = "ROOT|FILE|MOUNTPOINT")]
    path: Option<PathBuf>,
    /// The store
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let path = match &arguments.path {
        Some(path) => find::settled(path)?,
        None => find::working_directory()?,
    };
    // A mount point is told by the kernel; looking at it would hang or fail where nobody serves it.
    let mounts = mounted::all()?;
    let shown = mounts.iter().rfind(|m| m.is_ours() && path.starts_with(&m.at));
    let (root, at) = match shown {
        Some(mounted) => (PathBuf::from(&mounted.source), Some(Absolute(mounted.at.clone()))),
        None => (path.clone(), None),
    };
    let is_file = shown.is_none() && arguments.path.is_some() && !root.is_dir();
    let target = match is_file {
        true => existing(None, Some(&root), arguments.store.as_deref())?,
        false => existing(Some(&root), None, arguments.store.as_deref())?,
    };
    let count = match &target {
        // The root itself may be gone.
        Some(target) => ask(&target.store, at.as_ref(), target.file.as_ref().filter(|file| !file.is_root()))?,
        None => None,
    };
    let count = match (count, shown) {
        (Some(count), _) => count,
        (None, Some(mounted)) => take_away(mounted, target.as_ref().map(|t| &t.store))?,
        (None, None) => take_away_all(&mounts, &root, target.as_ref().map(|t| &t.store))?,
    };
    if count == 0 {
        return Err(Failure::new("nothing is shown there")
            .at(path)
            .next("`tickfs daemon status` says what is")
            .into());
    }
    writeln!(out, "took {} away", counted(count, "mount"))?;
    Ok(())
}

/// Asks the process that serves the store; `None` where there is none.
fn ask(store: &Store, at: Option<&Absolute>, file: Option<&RelPath>) -> anyhow::Result<Option<u64>> {
    let Some(conversation) = Conversation::open(store.layout().dir())? else { return Ok(None) };
    let pid = conversation.pid();
    match conversation.ask(&Request::Unmount { at: at.cloned(), file: file.cloned() }, None, &mut |_| {})? {
        Said::Done(Answer::Unmounted { count, ends }) => {
            if ends && !alive::ends_within(pid, PATIENCE)? {
                return Err(Failure::new(format!("process {pid} takes long to end")).into());
            }
            Ok(Some(count).filter(|&count| count > 0))
        }
        Said::Done(_) => Err(Failure::new(format!("process {pid} did not understand")).into()),
        Said::Ending => {
            alive::ends_within(pid, PATIENCE)?;
            Ok(None)
        }
    }
}

/// A mount that nobody serves any more.
fn take_away(mounted: &Mounted, store: Option<&Store>) -> anyhow::Result<u64> {
    tickfs_fs::detach(&mounted.at)?;
    if let Some(store) = store {
        stale::tidy_mounts(store, Path::new(&mounted.source))?;
    }
    Ok(1)
}

fn take_away_all(mounts: &[Mounted], root: &Path, store: Option<&Store>) -> anyhow::Result<u64> {
    let source = mounted::source_of(root);
    let of_root = mounts.iter().filter(|m| m.is_ours() && m.source.to_string_lossy() == source);
    let mut count = 0;
    for mounted in of_root {
        tickfs_fs::detach(&mounted.at)?;
        count += 1;
    }
    if let Some(store) = store {
        stale::tidy_mounts(store, root)?;
    }
    Ok(count)
}
