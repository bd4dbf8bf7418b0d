//! `tickfs init --adopt`: a root that was moved gets its store back.
//!
//! Invariant: history is untouched; the store's directory is renamed, and says where its root is now.

use std::io;
use std::path::{Path, PathBuf};

use tickfs_store::{Scope, Store};

use super::init::LOCK_WAIT;
use crate::client::{Conversation, PATIENCE};
use crate::error::{Failure, plain};
use crate::serve::alive;
use crate::serve::message::Request;
use crate::{find, now};

/// The store of a root that was moved to `root`, brought to it.
pub(crate) fn adopt(root: &Path, named: Option<&Path>) -> anyhow::Result<Store> {
    let dir = match named {
        Some(store) => find::settled(store)?,
        None => orphan_near(root)?,
    };
    let store = Store::open(find::disk(), &dir)?;
    let scope = store.scope()?;
    let old = scope.as_ref().map_or_else(|| root.to_path_buf(), |scope| scope.root.clone());
    if old != root && old.exists() {
        return Err(Failure::new(format!("the store records {}, which is still there", old.display()))
            .at(&dir)
            .next("move it first, or `tickfs init` a store of its own for the copy")
            .into());
    }
    if let Some(conversation) = Conversation::open(&dir)? {
        // It waits for a root that will not come back.
        let pid = conversation.pid();
        conversation.ask(&Request::Stop, Some(PATIENCE), &mut |_| {})?;
        alive::ends_within(pid, PATIENCE)?;
    }
    let scope = Scope { root: root.to_path_buf(), files: scope.and_then(|scope| scope.files) };
    // What a writer has open it knows by the old name, so that it is closed before.
    store.writer(now::writer(), LOCK_WAIT)?.close()?;
    let was_found_by_going_up = find::places(&old).contains(&dir);
    let new_dir = match was_found_by_going_up && !find::places(root).contains(&dir) {
        true => bring(&dir, root)?,
        false => dir,
    };
    let store = Store::open(find::disk(), &new_dir)?;
    let writer = store.writer(now::writer(), LOCK_WAIT)?;
    writer.set_scope(&scope)?;
    writer.close()?;
    Ok(store)
}

/// Beside the root or in it, or beside it under another name: a store whose root is not there any more.
fn orphan_near(root: &Path) -> anyhow::Result<PathBuf> {
    let mut orphans: Vec<PathBuf> = Vec::new();
    let mut places = find::places(root);
    if let Some(parent) = root.parent() {
        let names = find::disk().list(parent).map_err(|error| Failure::new(plain(&error)).at(parent))?;
        places.extend(
            names.iter().filter(|n| n.as_encoded_bytes().ends_with(b".tickfs")).map(|n| parent.join(n)),
        );
    }
    for place in places {
        if orphans.contains(&place) || !find::is_store(&place) {
            continue;
        }
        let scope = Store::open(find::disk(), &place)?.scope()?;
        if scope.is_none_or(|scope| scope.root == root || !scope.root.exists()) {
            orphans.push(place);
        }
    }
    match orphans.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Failure::new("no store near it misses its root")
            .at(root)
            .next("name the store: tickfs init ROOT --adopt --store DIR")
            .into()),
        [_, ..] => {
            let all: Vec<String> = orphans.iter().map(|place| place.display().to_string()).collect();
            Err(Failure::new(format!("several stores miss their roots: {}", all.join(", ")))
                .at(root)
                .next("name one: tickfs init ROOT --adopt --store DIR")
                .into())
        }
    }
}

fn bring(dir: &Path, root: &Path) -> anyhow::Result<PathBuf> {
    let places = find::places(root);
    if let Some(taken) = places.iter().find(|place| find::is_store(place)) {
        return Err(Failure::new("the root has a store already")
            .at(taken)
            .next("move one of them away")
            .into());
    }
    let mut why = Vec::new();
    for place in places {
        match find::disk().rename(dir, &place) {
            Ok(()) => return Ok(place),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                return Err(Failure::new("the root is on another filesystem than its store")
                    .at(dir)
                    .next(format!("`mv {} {}`, and run this again", dir.display(), place.display()))
                    .into());
            }
            Err(error) => why.push(format!("{} ({})", place.display(), plain(&error))),
        }
    }
    Err(Failure::new(format!("the store cannot be moved to {}", why.join(" or "))).at(dir).into())
}
