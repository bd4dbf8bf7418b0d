//! Trees: every path as it was at one tick.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tickfs_store::history::{Point, Tree};
use tickfs_store::ids::{NodeId, Tick};
use tickfs_store::journal::entry::NodeType;
use tickfs_store::{Error as StoreError, Version};

use super::{Found, Listing, Now, View, first_cookie, unknown};
use crate::error::{Error, Result};
use crate::inode::Object;

/// So many trees are kept at hand.
const KEPT: usize = 256;
/// So many names are asked for at once.
const PORTION: usize = 128;

/// Trees by their tick. A tree never changes, so one that is there is right.
#[derive(Debug, Default)]
pub(super) struct Trees {
    kept: Mutex<HashMap<Tick, Arc<Tree>>>,
}

impl Trees {
    /// The tree of a tick. The base is asked for with a node of it, because imported trees have a base of their own.
    pub(super) fn get(&self, now: &Now, tick: Tick, node: NodeId) -> Result<Arc<Tree>> {
        if tick == Tick::BASE {
            let branch = now.history().version_at(tick, node)?.map_or(now.home(tick), |v| v.branch);
            return Ok(Arc::new(now.history().tree(Point { branch, tick })?));
        }
        if let Some(tree) = self.kept.lock().get(&tick) {
            return Ok(Arc::clone(tree));
        }
        if unknown(now, tick) {
            return Err(StoreError::not_found(format!("there is no tick {tick}")).into());
        }
        let tree = Arc::new(now.history().tree(Point { branch: now.home(tick), tick })?);
        let mut kept = self.kept.lock();
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(tick, Arc::clone(&tree));
        Ok(tree)
    }
}

/// What a version is in a tree.
pub(super) fn version(tick: Tick, version: Version) -> Found {
    let node = version.node;
    let object = match version.kind {
        NodeType::Dir => Object::TreeDir { tick, node },
        NodeType::File | NodeType::Symlink => Object::Version { tick: version.tick, node },
    };
    Found::Version { object, version }
}

pub(super) fn find(view: &View, now: &Now, tick: Tick, dir: NodeId, name: &[u8]) -> Result<Option<Found>> {
    let tree = view.trees.get(now, tick, dir)?;
    let Some(node) = tree.lookup(dir, name)? else { return Ok(None) };
    let missing = || {
        Error::from(StoreError::Corrupt {
            path: "index.db".into(),
            offset: 0,
            what: format!("node {node} of tick {tick} has a name and no version"),
        })
    };
    Ok(Some(version(tick, tree.version(node)?.ok_or_else(missing)?)))
}

/// Names in the order of their bytes; the cookie is the node behind whose name to go on.
pub(super) fn list(
    view: &View,
    now: &Now,
    tick: Tick,
    dir: NodeId,
    after: u64,
    out: &mut Listing<'_>,
) -> Result<()> {
    let tree = view.trees.get(now, tick, dir)?;
    let mut behind = match after.checked_sub(first_cookie()) {
        Some(node) => tree.path_of(NodeId(node))?.map(|path| path.name().to_vec()).unwrap_or_default(),
        None => Vec::new(),
    };
    loop {
        let portion = tree.entries(dir, &behind, PORTION)?;
        let Some((last, _)) = portion.last() else { return Ok(()) };
        behind.clone_from(&last.name);
        for (child, found) in portion {
            if !out.push(&child.name, first_cookie() + child.node.0, version(tick, found))? {
                return Ok(());
            }
        }
    }
}
