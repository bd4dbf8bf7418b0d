//! The medium of a simulated disk: files and names, and what of them is not durable yet.
//!
//! Invariants:
//!   * A byte is durable unless a unit of its file covers it; a unit is what one append wrote, and units are disjoint
//!     and in order.
//!   * `live` is `durable` with all of `pending` applied in order.
//!   * A node has one name: there are no hard links.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;

use crate::disk::Stat;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ino(usize);

const ROOT: Ino = Ino(0);

/// A name in a directory.
type Place = (Ino, OsString);
type Names = BTreeMap<Place, Ino>;

#[derive(Debug, Clone)]
pub(super) struct Medium {
    nodes: Vec<Node>,
    durable: Names,
    live: Names,
    pending: Vec<NameOp>,
}

#[derive(Debug, Clone)]
enum Node {
    Dir,
    File(Content),
}

/// A file's bytes as its readers see them, and which of them a power cut may take.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) live: Vec<u8>,
    pub(super) units: Vec<Unit>,
}

#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) range: Range<usize>,
    /// A sync failed: the pages count as clean, and no later sync writes them.
    pub(super) lost: bool,
}

#[derive(Debug, Clone)]
enum NameOp {
    Link { at: Place, ino: Ino },
    Unlink { at: Place },
    Rename { from: Place, to: Place, ino: Ino },
}

impl Default for Medium {
    fn default() -> Self {
        Self { nodes: vec![Node::Dir], durable: Names::new(), live: Names::new(), pending: Vec::new() }
    }
}

/// What a process may ask.
impl Medium {
    pub(super) fn file(&self, path: &Path) -> io::Result<Ino> {
        let ino = self.find(path)?;
        match self.nodes[ino.0] {
            Node::File(_) => Ok(ino),
            Node::Dir => Err(Errno::ISDIR.into()),
        }
    }

    pub(super) fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        match self.find(path) {
            Ok(ino) => Ok(Some(match &self.nodes[ino.0] {
                Node::Dir => Stat { len: 0, is_dir: true },
                Node::File(content) => Stat { len: content.live.len() as u64, is_dir: false },
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let dir = self.dir(path)?;
        Ok(self.children(dir).map(|(name, _)| name.clone()).collect())
    }

    pub(super) fn content(&self, ino: Ino) -> &Content {
        match &self.nodes[ino.0] {
            Node::File(content) => content,
            Node::Dir => unreachable!("only files are handed out as open"),
        }
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<Ino> {
        self.make(path, Node::File(Content::default()))
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        match self.make(path, Node::Dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.dir(path).is_ok() => Ok(()),
            made => made.map(drop),
        }
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.file(path)?;
        let at = self.place(path)?;
        self.name(NameOp::Unlink { at });
        Ok(())
    }

    /// As rename(2), errors and their order included.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (old, new) = (self.place(from)?, self.place(to)?);
        let ino = *self.live.get(&old).ok_or(Errno::NOENT)?;
        if from != to && to.starts_with(from) {
            return Err(Errno::INVAL.into());
        }
        if from != to && from.starts_with(to) {
            return Err(Errno::NOTEMPTY.into());
        }
        match self.live.get(&new) {
            Some(&same) if same == ino => return Ok(()),
            Some(&other) => match (&self.nodes[ino.0], &self.nodes[other.0]) {
                (Node::Dir, Node::File(_)) => return Err(Errno::NOTDIR.into()),
                (Node::File(_), Node::Dir) => return Err(Errno::ISDIR.into()),
                (Node::Dir, Node::Dir) if self.children(other).next().is_some() => {
                    return Err(Errno::NOTEMPTY.into());
                }
                _ => {}
            },
            None => {}
        }
        self.name(NameOp::Rename { from: old, to: new, ino });
        Ok(())
    }

    pub(super) fn append(&mut self, ino: Ino, bytes: &[u8]) {
        let content = self.content_mut(ino);
        let start = content.live.len();
        content.live.extend_from_slice(bytes);
        if !bytes.is_empty() {
            content.units.push(Unit { range: start..start + bytes.len(), lost: false });
        }
    }

    /// Replaces the whole content, nothing of it durable.
    pub(super) fn replace(&mut self, ino: Ino, bytes: &[u8]) {
        *self.content_mut(ino) = Content::default();
        self.append(ino, bytes);
    }

    pub(super) fn sync(&mut self, ino: Ino) {
        self.content_mut(ino).units.retain(|unit| unit.lost);
    }

    /// A sync that fails: what was pending is gone, though readers still see it in the page cache.
    pub(super) fn fail_sync(&mut self, ino: Ino) {
        for unit in &mut self.content_mut(ino).units {
            unit.lost = true;
        }
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        // What an operation rests on becomes durable with it: earlier operations in the same directories.
        let mut dirs = BTreeSet::from([self.dir(path)?]);
        let (mut kept, mut synced) = (Vec::new(), Vec::new());
        for op in std::mem::take(&mut self.pending).into_iter().rev() {
            if op.dirs().iter().any(|dir| dirs.contains(dir)) {
                dirs.extend(op.dirs());
                synced.push(op);
            } else {
                kept.push(op);
            }
        }
        synced.iter().rev().for_each(|op| op.apply(&mut self.durable));
        kept.reverse();
        self.pending = kept;
        Ok(())
    }

    fn make(&mut self, path: &Path, node: Node) -> io::Result<Ino> {
        if self.find(path).is_ok() {
            return Err(Errno::EXIST.into());
        }
        let at = self.place(path)?;
        let ino = Ino(self.nodes.len());
        self.nodes.push(node);
        self.name(NameOp::Link { at, ino });
        Ok(ino)
    }

    fn name(&mut self, op: NameOp) {
        op.apply(&mut self.live);
        self.pending.push(op);
    }

    fn content_mut(&mut self, ino: Ino) -> &mut Content {
        match &mut self.nodes[ino.0] {
            Node::File(content) => content,
            Node::Dir => unreachable!("only files are handed out as open"),
        }
    }

    fn find(&self, path: &Path) -> io::Result<Ino> {
        let mut at = ROOT;
        for component in path.components() {
            match component {
                Component::RootDir => {}
                Component::Normal(name) => {
                    self.must_be_dir(at)?;
                    at = *self.live.get(&(at, name.to_owned())).ok_or(Errno::NOENT)?;
                }
                Component::Prefix(_) | Component::CurDir | Component::ParentDir => {
                    return Err(Errno::INVAL.into());
                }
            }
        }
        if path.is_absolute() { Ok(at) } else { Err(Errno::INVAL.into()) }
    }

    fn dir(&self, path: &Path) -> io::Result<Ino> {
        let ino = self.find(path)?;
        self.must_be_dir(ino)?;
        Ok(ino)
    }

    fn must_be_dir(&self, ino: Ino) -> io::Result<()> {
        match self.nodes[ino.0] {
            Node::Dir => Ok(()),
            Node::File(_) => Err(Errno::NOTDIR.into()),
        }
    }

    fn place(&self, path: &Path) -> io::Result<Place> {
        let (parent, name) = path.parent().zip(path.file_name()).ok_or(Errno::BUSY)?;
        Ok((self.dir(parent)?, name.to_owned()))
    }

    fn children(&self, dir: Ino) -> impl Iterator<Item = (&OsString, Ino)> {
        self.live
            .range((dir, OsString::new())..)
            .take_while(move |((parent, _), _)| *parent == dir)
            .map(|((_, name), &ino)| (name, ino))
    }
}

impl NameOp {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Unlink { at } => {
                names.remove(at);
            }
            // Also when the operation that gave the node its earlier name was lost, it has only one.
            Self::Link { at, ino } | Self::Rename { to: at, ino, .. } => {
                names.retain(|_, named| named != ino);
                names.insert(at.clone(), *ino);
            }
        }
    }

    fn dirs(&self) -> Vec<Ino> {
        match self {
            Self::Link { at, .. } | Self::Unlink { at } => vec![at.0],
            Self::Rename { from, to, .. } => vec![from.0, to.0],
        }
    }
}

/// What a stranger may do, and is durable at once.
impl Medium {
    /// Writes a whole file, and makes the directories above it.
    pub(super) fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let above: Vec<&Path> = path.ancestors().skip(1).collect();
        for dir in above.into_iter().rev().filter(|dir| dir.parent().is_some()) {
            self.create_dir(dir)?;
            self.sync_dir(dir.parent().expect("the root was left out because it has no parent"))?;
        }
        if self.stat(path)?.is_none() {
            self.create(path)?;
            self.sync_dir(path.parent().expect("it was created because it has a parent"))?;
        }
        let ino = self.file(path)?;
        *self.content_mut(ino) = Content { live: bytes.to_vec(), units: Vec::new() };
        Ok(())
    }

    pub(super) fn truncate(&mut self, path: &Path, len: usize) -> io::Result<()> {
        let ino = self.file(path)?;
        self.content_mut(ino).truncate(len);
        Ok(())
    }

    pub(super) fn flip_bit(&mut self, path: &Path, bit: u64) -> io::Result<()> {
        let ino = self.file(path)?;
        let index = usize::try_from(bit / 8).map_err(|_too_large| Errno::INVAL)?;
        let byte = self.content_mut(ino).live.get_mut(index).ok_or(Errno::INVAL)?;
        *byte ^= 1 << (bit % 8);
        Ok(())
    }

    /// Forgets the page cache: what a failed sync lost now reads as zeros.
    pub(super) fn drop_caches(&mut self) {
        (0..self.nodes.len()).for_each(|ino| self.forget_cached(Ino(ino)));
    }

    /// The same for one file.
    pub(super) fn forget_cached(&mut self, ino: Ino) {
        if let Node::File(Content { live, units }) = &mut self.nodes[ino.0] {
            units.iter().filter(|unit| unit.lost).for_each(|unit| live[unit.range.clone()].fill(0));
            units.retain(|unit| !unit.lost);
        }
    }

    /// All files, in order.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut todo = vec![(ROOT, PathBuf::from("/"))];
        while let Some((dir, path)) = todo.pop() {
            for (name, ino) in self.children(dir) {
                match self.nodes[ino.0] {
                    Node::Dir => todo.push((ino, path.join(name))),
                    Node::File(_) => found.push(path.join(name)),
                }
            }
        }
        found.sort_unstable();
        found
    }
}

impl Content {
    pub(super) fn truncate(&mut self, len: usize) {
        self.live.truncate(len);
        self.units.retain_mut(|unit| {
            unit.range.end = unit.range.end.min(len);
            unit.range.start < unit.range.end
        });
    }

    /// The end of the last durable byte.
    pub(super) fn durable_len(&self) -> usize {
        self.units.iter().rev().fold(self.live.len(), |end, unit| match unit.range.end == end {
            true => unit.range.start,
            false => end,
        })
    }
}

/// What a crash may do.
impl Medium {
    pub(super) fn pending_names(&self) -> usize {
        self.pending.len()
    }

    /// As if the last operations on names had not happened.
    pub(super) fn forget_names_after(&mut self, count: usize) {
        self.pending.truncate(count);
        self.live = self.durable.clone();
        self.pending.iter().for_each(|op| op.apply(&mut self.live));
    }

    pub(super) fn truncate_node(&mut self, ino: Ino, len: usize) {
        self.content_mut(ino).truncate(len);
    }

    /// Settles what was not durable: `survives` chooses among the operations on names, in order, `remains` gives what
    /// is left of each file.
    pub(super) fn settle(
        &mut self,
        mut survives: impl FnMut(usize) -> bool,
        mut remains: impl FnMut(&Content) -> Vec<u8>,
    ) {
        for (index, op) in std::mem::take(&mut self.pending).iter().enumerate() {
            if survives(index) {
                op.apply(&mut self.durable);
            }
        }
        self.live = self.durable.clone();
        for node in &mut self.nodes {
            if let Node::File(content) = node
                && !content.units.is_empty()
            {
                *content = Content { live: remains(content), units: Vec::new() };
            }
        }
    }
}
