//! What a reading command does first: it brings the index up to the journal, or says that it could not.

use std::time::Duration;

use tickfs_store::history::View;
use tickfs_store::{Error, Freshness, Store};

use crate::now;

/// History as it is now, or as far as the index knows it.
pub(crate) struct Fresh {
    pub(crate) view: View,
    /// Another process holds the lock, and the index is behind the journal.
    pub(crate) stale: bool,
}

pub(crate) fn fresh(store: &Store) -> anyhow::Result<Fresh> {
    let (fresh, behind) = quietly_fresh(store)?;
    if let Some(why) = behind {
        eprintln!("tickfs: the index is behind the journal, because {why}: what follows is stale");
    }
    Ok(fresh)
}

/// The same without a word to the terminal: why it is stale is for the caller to say.
pub(crate) fn quietly_fresh(store: &Store) -> anyhow::Result<(Fresh, Option<String>)> {
    let behind = match refresh(store) {
        Ok(Freshness::Current | Freshness::Healed { .. }) => None,
        Ok(Freshness::Stale { holder }) => Some(format!("{holder} holds the lock")),
        // A store that may be read and not be written is still good to read.
        Err(Error::Io { source, .. }) if may_only_read(&source) && store.view().is_ok() => {
            Some("it cannot be written here".to_owned())
        }
        Err(error) => return Err(error.into()),
    };
    Ok((Fresh { view: store.view()?, stale: behind.is_some() }, behind))
}

/// Whoever writes at this very moment has the index behind the journal for as long as that takes.
fn refresh(store: &Store) -> tickfs_store::Result<Freshness> {
    let mut waited = Duration::ZERO;
    loop {
        match store.refresh(now::writer())? {
            Freshness::Stale { .. } if waited < A_COMMIT => {
                std::thread::sleep(PAUSE);
                waited += PAUSE;
            }
            freshness => return Ok(freshness),
        }
    }
}

const A_COMMIT: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(2);

fn may_only_read(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem)
}
