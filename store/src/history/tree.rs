//! All paths at one tick of one branch.
//!
//! Invariant: a tree never changes, so nothing of it needs to be asked twice.

use super::{Branches, Point};
use crate::error::{Error, Result};
use crate::ids::NodeId;
use crate::index::{Child, Lineage, Version};
use crate::journal::entry::NodeType;
use crate::path::RelPath;
use crate::store::Store;

#[derive(Debug, Clone)]
pub struct Tree {
    store: Store,
    at: Point,
    root: NodeId,
    lineage: Lineage,
}

/// What a path is in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub node: NodeId,
    /// The directory that holds it; the root holds itself.
    pub dir: NodeId,
    pub version: Version,
}

impl Tree {
    pub(crate) fn new(store: Store, branches: &Branches, at: Point) -> Self {
        let lineage = branches.lineage(at.branch, at.tick);
        Self { store, at, root: branches.root(&lineage), lineage }
    }

    #[must_use]
    pub fn at(&self) -> Point {
        self.at
    }

    #[must_use]
    pub fn root(&self) -> NodeId {
        self.root
    }

    pub(crate) fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Follows a path; `None` if it does not exist here.
    pub fn resolve(&self, path: &RelPath) -> Result<Option<Entry>> {
        self.store.index().read(|q| {
            let (mut dir, mut node) = (self.root, self.root);
            for name in path.components() {
                dir = node;
                match q.lookup(&self.lineage, dir, name)? {
                    Some(child) => node = child,
                    None => return Ok(None),
                }
            }
            match q.version(&self.lineage, node)? {
                Some(version) => Ok(Some(Entry { node, dir, version })),
                None if node == self.root => Ok(None),
                // A name leads to it, so it is something: that the row is gone must not look like a file that is.
                None => Err(crate::index::missing_version()),
            }
        })
    }

    /// What a name in a directory is; `None` if nothing has it.
    pub fn entry(&self, dir: NodeId, name: &[u8]) -> Result<Option<Entry>> {
        self.store.index().read(|q| {
            let Some(node) = q.lookup(&self.lineage, dir, name)? else { return Ok(None) };
            let version = q.version(&self.lineage, node)?.ok_or_else(crate::index::missing_version)?;
            Ok(Some(Entry { node, dir, version }))
        })
    }

    /// The node of a name in a directory.
    pub fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        self.store.index().read(|q| q.lookup(&self.lineage, dir, name))
    }

    /// What a node is here.
    pub fn version(&self, node: NodeId) -> Result<Option<Version>> {
        self.store.index().read(|q| q.version(&self.lineage, node))
    }

    /// Names in a directory after `after`, in the order of their bytes. The last name is the cookie for the rest.
    pub fn children(&self, dir: NodeId, after: &[u8], limit: usize) -> Result<Vec<Child>> {
        self.store.index().read(|q| q.children(&self.lineage, dir, after, limit))
    }

    /// The same with what each is.
    pub fn entries(&self, dir: NodeId, after: &[u8], limit: usize) -> Result<Vec<(Child, Version)>> {
        self.store.index().read(|q| {
            let children = q.children(&self.lineage, dir, after, limit)?;
            let with_version = |child: Child| {
                let version = q.version(&self.lineage, child.node)?;
                version.map(|v| (child, v)).ok_or_else(crate::index::missing_version)
            };
            children.into_iter().map(with_version).collect()
        })
    }

    /// Where a node hangs; `None` if nowhere.
    pub fn path_of(&self, node: NodeId) -> Result<Option<RelPath>> {
        self.store.index().read(|q| {
            let (mut names, mut at) = (Vec::new(), node);
            while at != self.root {
                match q.place(&self.lineage, at)? {
                    Some((dir, name)) if names.len() < 4096 => {
                        names.push(name);
                        at = dir;
                    }
                    _ => return Ok(None),
                }
            }
            names.reverse();
            let path = RelPath::new(names.join(&b'/'));
            path.map(Some).map_err(|e| Error::corrupt("index.db".as_ref(), 0, e.to_string()))
        })
    }

    /// Every path of the tree, parents before children, in the order of the names' bytes. Streams: nothing but the
    /// current directory's portion is held.
    pub fn walk(&self, from: &RelPath, visit: &mut dyn FnMut(&RelPath, &Entry) -> Result<()>) -> Result<()> {
        match self.resolve(from)? {
            Some(entry) => self.walk_entry(from, &entry, visit),
            None => Ok(()),
        }
    }

    fn walk_entry(
        &self,
        path: &RelPath,
        entry: &Entry,
        visit: &mut dyn FnMut(&RelPath, &Entry) -> Result<()>,
    ) -> Result<()> {
        visit(path, entry)?;
        if entry.version.kind != NodeType::Dir {
            return Ok(());
        }
        let mut after = Vec::new();
        loop {
            let portion = self.entries(entry.node, &after, 256)?;
            let Some((last, _)) = portion.last() else { return Ok(()) };
            after.clone_from(&last.name);
            for (child, version) in portion {
                let below = path.join(&child.name).map_err(|e| Error::refused(e.to_string()))?;
                let found = Entry { node: child.node, dir: entry.node, version };
                self.walk_entry(&below, &found, visit)?;
            }
        }
    }

    /// The bytes of a version: a file's content, or a symlink's target.
    pub fn read(&self, version: &Version) -> Result<Vec<u8>> {
        match (version.kind, version.content) {
            (NodeType::Dir, _) => Err(Error::refused("a directory has no content")),
            (_, Some(address)) => self.store.content().read(address),
            (_, None) => Err(Error::not_found(format!(
                "the content of tick {} was not kept ({} bytes)",
                version.tick, version.size
            ))),
        }
    }
}
