//! Trees: every path as it was at one tick.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tickfs_store::history::{Point, Tree};
use tickfs_store::ids::{NodeId, Tick};
use tickfs_store::journal::entry::NodeType;
use tickfs_store::{Child, Error as StoreError, Version};

use super::{Found, Listing, Now, View, first_cookie, unknown};
use crate::error::{Error, Result};
use crate::inode::Object;

/// So many trees are kept at hand.
const KEPT: usize = 256;
/// So many names are asked for at once.
const PORTION: usize = 128;
/// So many names are read before they are asked for: two answers of the length that `ls` asks for.
const AHEAD: usize = 384;

/// Trees by their tick. A tree never changes, so one that is there is right.
#[derive(Debug, Default)]
pub(super) struct Trees {
    kept: Mutex<HashMap<Tick, Arc<Tree>>>,
    /// Of the directory that was listed last.
    rest: Mutex<Option<Rest>>,
}

/// What of a directory was read and not asked for yet. Whoever lists goes on where the answer before was full, and asks once more
/// behind the last name.
#[derive(Debug)]
struct Rest {
    tree: Arc<Tree>,
    tick: Tick,
    dir: NodeId,
    /// The cookie behind which it begins.
    after: u64,
    entries: VecDeque<(Child, Version)>,
    /// The last name that was read.
    read: Vec<u8>,
    is_last: bool,
}

impl Rest {
    fn begin(tree: Arc<Tree>, (tick, dir, after): (Tick, NodeId, u64)) -> Result<Self> {
        let read = match after.checked_sub(first_cookie()) {
            Some(node) => tree.path_of(NodeId(node))?.map(|path| path.name().to_vec()).unwrap_or_default(),
            None => Vec::new(),
        };
        Ok(Self { tree, tick, dir, after, entries: VecDeque::new(), read, is_last: false })
    }

    fn read_on(&mut self) -> Result<()> {
        let portion = self.tree.entries(self.dir, &self.read, PORTION)?;
        self.is_last = portion.len() < PORTION;
        if let Some((last, _)) = portion.last() {
            self.read.clone_from(&last.name);
        }
        self.entries.extend(portion);
        Ok(())
    }

    /// Gives what there is until no more is taken.
    fn give(&mut self, out: &mut Listing<'_>) -> Result<()> {
        loop {
            while let Some((child, found)) = self.entries.front() {
                let cookie = first_cookie() + child.node.0;
                if !out.push(&child.name, cookie, version(self.tick, found.clone()))? {
                    return Ok(());
                }
                self.after = cookie;
                self.entries.pop_front();
            }
            if self.is_last {
                return Ok(());
            }
            self.read_on()?;
        }
    }
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

    /// Whether a directory has names that will be asked for and are not read.
    pub(super) fn has_more(&self) -> bool {
        self.rest.lock().as_ref().is_some_and(|rest| !rest.is_last && rest.entries.len() < AHEAD)
    }

    /// Reads them while the answer before is looked at. Whoever asks meanwhile waits for as many as one answer takes.
    pub(super) fn read_on(&self) -> Result<()> {
        while self.has_more() {
            if let Some(rest) = &mut *self.rest.lock() {
                rest.read_on()?;
            }
        }
        Ok(())
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
    // Nothing stands before the first name.
    let after = if after < first_cookie() { 0 } else { after };
    let kept = view.trees.rest.lock().take();
    let mut rest = match kept.filter(|rest| (rest.tick, rest.dir, rest.after) == (tick, dir, after)) {
        Some(rest) => rest,
        None => Rest::begin(view.trees.get(now, tick, dir)?, (tick, dir, after))?,
    };
    rest.give(out)?;
    *view.trees.rest.lock() = Some(rest);
    Ok(())
}
