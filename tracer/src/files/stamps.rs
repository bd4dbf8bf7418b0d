//! How each recorded path looked on disk when it was last compared with what is recorded.
//!
//! Invariants:
//!   * A stamp says "a file that looks like this holds what the cursor's tree holds". No stamp: it must be read.
//!   * On disk it is a cache, tied to a tick of a branch: if the journal is elsewhere by then, it is brought up to it or
//!     thrown away. Losing it costs one reading of the root.
//!   * Racily clean, as git has it: what changed so shortly before the cache was written that its times could be those
//!     of a later change too, has a stamp in it that equals none.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::ops::Bound;

use rustix::fs::Stat;
use tickfs_store::disk::{self, Disk, Durability};
use tickfs_store::history::View;
use tickfs_store::ids::{BranchNo, Tick};
use tickfs_store::path::RelPath;
use tickfs_store::{Error, Layout, Result};

/// Changes that lie closer together than this may look alike: the kernel's clock for files ticks that coarsely.
const RACY_NANOS: i64 = 20_000_000;
/// No file was changed then: a stamp with this ctime still tells a file that moved, and is never believed.
const RACY: i64 = i64::MIN;
const MAGIC: &[u8; 8] = b"tickst1\n";

/// What a stat tells of a path, as far as it tells changes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) ino: u64,
    pub(crate) size: u64,
    pub(crate) mtime: i64,
    pub(crate) ctime: i64,
    pub(crate) mode: u32,
}

impl Stamp {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            ino: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            mtime: nanos(stat.st_mtime, stat.st_mtime_nsec),
            ctime: nanos(stat.st_ctime, stat.st_ctime_nsec),
            mode: stat.st_mode,
        }
    }

    /// Whether this is the same thing under another name: a rename changes the ctime alone.
    pub(crate) fn is_moved(&self, to: &Self) -> bool {
        (self.ino, self.size, self.mtime, self.mode) == (to.ino, to.size, to.mtime, to.mode)
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }
}

fn nanos(seconds: i64, nanos: u64) -> i64 {
    let nanos = i64::try_from(nanos).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// Every path that is recorded at the cursor, in the order of its bytes.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    paths: BTreeMap<RelPath, Option<Stamp>>,
    /// The root's device, by which a root that is another one is known.
    pub(crate) dev: u64,
    pub(crate) changed: bool,
}

impl Stamps {
    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    pub(crate) fn has(&self, path: &RelPath) -> bool {
        self.paths.contains_key(path)
    }

    pub(crate) fn get(&self, path: &RelPath) -> Option<Stamp> {
        self.paths.get(path).copied().flatten()
    }

    pub(crate) fn put(&mut self, path: RelPath, stamp: Option<Stamp>) {
        self.changed = true;
        self.paths.insert(path, stamp);
    }

    /// Notes that a path is recorded, without saying how it looks.
    pub(crate) fn note(&mut self, path: RelPath) {
        if let Slot::Vacant(slot) = self.paths.entry(path) {
            slot.insert(None);
            self.changed = true;
        }
    }

    /// The path must be read before it is believed again.
    pub(crate) fn doubt(&mut self, path: &RelPath) {
        if let Some(stamp) = self.paths.get_mut(path) {
            *stamp = None;
        }
    }

    pub(crate) fn remove(&mut self, path: &RelPath) {
        self.changed |= self.paths.remove(path).is_some();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&RelPath, Option<Stamp>)> {
        self.paths.iter().map(|(path, stamp)| (path, *stamp))
    }

    /// What is recorded below a directory, without itself.
    pub(crate) fn below(&self, dir: &RelPath) -> impl DoubleEndedIterator<Item = (&RelPath, Option<Stamp>)> {
        below(&self.paths, dir).map(|(path, stamp)| (path, *stamp))
    }

    /// Gives a path, and all below it, another name.
    pub(crate) fn rename(&mut self, from: &RelPath, to: &RelPath) {
        let moved: Vec<RelPath> = self.below(from).map(|(path, _)| path.clone()).collect();
        for path in moved.into_iter().chain([from.clone()]) {
            let stamp = self.paths.remove(&path).flatten();
            if let Some(path) = renamed(&path, from, to) {
                self.paths.insert(path, stamp);
            }
        }
        self.changed = true;
    }
}

/// `path` as it is called when `from` is called `to`.
pub(crate) fn renamed(path: &RelPath, from: &RelPath, to: &RelPath) -> Option<RelPath> {
    let rest = path.as_bytes().strip_prefix(from.as_bytes())?;
    let name = [to.as_bytes(), rest].concat();
    RelPath::new(name).ok()
}

/// The keys below a directory: they lie between `dir/` and `dir0`, because `0` follows `/`.
pub(crate) fn below<'m, V>(
    map: &'m BTreeMap<RelPath, V>,
    dir: &RelPath,
) -> impl DoubleEndedIterator<Item = (&'m RelPath, &'m V)> {
    let prefix = if dir.is_root() { Vec::new() } else { [dir.as_bytes(), b"/"].concat() };
    let end = match dir.is_root() {
        true => Bound::Unbounded,
        false => {
            let after = RelPath::new([dir.as_bytes(), b"0"].concat());
            Bound::Excluded(after.expect("it is a path because only its last name grew"))
        }
    };
    map.range((Bound::Excluded(dir.clone()), end))
        .filter(move |(path, _)| path.as_bytes().starts_with(&prefix))
}

/// Where the journal stands, as far as the stamps depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tie {
    branch: BranchNo,
    last_tick: Tick,
    attached: bool,
}

impl Tie {
    fn of(view: &View) -> Option<Self> {
        let cursor = view.cursor()?;
        Some(Self { branch: cursor.branch, last_tick: view.last_tick(), attached: cursor.is_attached() })
    }
}

/// The stamps as they were kept, brought up to what the journal says; without a cache every recorded path, unstamped.
pub(crate) fn load(disk: &dyn Disk, layout: &Layout, view: &View) -> Result<Stamps> {
    let Some(now) = Tie::of(view) else { return Ok(Stamps::default()) };
    let kept =
        read(disk, layout)?.filter(|(tie, _)| tie.branch == now.branch && tie.attached && now.attached);
    match kept {
        Some((tie, mut stamps)) if tie.last_tick <= now.last_tick => {
            catch_up(&mut stamps, view, tie.last_tick)?;
            Ok(stamps)
        }
        _ => from_tree(view),
    }
}

/// Ticks that came after the cache was written, on a branch that was attached all the while.
fn catch_up(stamps: &mut Stamps, view: &View, since: Tick) -> Result<()> {
    if since == view.last_tick() {
        return Ok(());
    }
    let tree = view.tree(view.cursor_point()?)?;
    let mut next = since.next();
    loop {
        let rows = view.ticks(next, view.last_tick(), 1024)?;
        let Some(last) = rows.last() else { return Ok(()) };
        next = last.n.next();
        for row in rows {
            match tree.path_of(row.node)? {
                Some(path) => {
                    stamps.note(path.clone());
                    stamps.doubt(&path);
                    let inside: Vec<RelPath> = collect(&tree, &path)?;
                    inside.into_iter().for_each(|path| stamps.note(path));
                }
                // It is gone, and the walk will not find it: whoever compares asks the store before it removes.
                None => continue,
            }
        }
    }
}

fn collect(tree: &tickfs_store::history::Tree, from: &RelPath) -> Result<Vec<RelPath>> {
    let mut paths = Vec::new();
    tree.walk(from, &mut |path, _| {
        paths.push(path.clone());
        Ok(())
    })?;
    Ok(paths)
}

/// Every path at the cursor, `partial` applied.
fn from_tree(view: &View) -> Result<Stamps> {
    let mut stamps = Stamps { changed: true, ..Stamps::default() };
    let tree = view.tree(view.cursor_point()?)?;
    collect(&tree, &RelPath::root())?.into_iter().for_each(|path| stamps.note(path));
    for partial in view.cursor().map(|cursor| cursor.partial.as_slice()).unwrap_or_default() {
        let then = view.tree(partial.at)?;
        collect(&then, &partial.path)?.into_iter().for_each(|path| stamps.note(path));
    }
    Ok(stamps)
}

/// Keeps the stamps for the next start. `drained`: the moment up to which every change has been seen.
pub(crate) fn save(
    stamps: &mut Stamps,
    disk: &dyn Disk,
    layout: &Layout,
    view: &View,
    drained: i64,
) -> Result<()> {
    let Some(tie) = Tie::of(view) else { return Ok(()) };
    let mut bytes = Vec::with_capacity(64 + stamps.len() * 96);
    bytes.extend_from_slice(MAGIC);
    for number in [stamps.dev, u64::from(tie.branch.0), tie.last_tick.0, u64::from(tie.attached)] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&(stamps.len() as u64).to_le_bytes());
    for (path, stamp) in stamps.iter() {
        let len = u32::try_from(path.as_bytes().len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(path.as_bytes());
        match stamp {
            None => bytes.push(0),
            Some(mut stamp) => {
                if stamp.ctime.max(stamp.mtime) >= drained - RACY_NANOS {
                    stamp.ctime = RACY;
                }
                bytes.push(1);
                bytes.extend_from_slice(&stamp.ino.to_le_bytes());
                bytes.extend_from_slice(&stamp.size.to_le_bytes());
                bytes.extend_from_slice(&stamp.mtime.to_le_bytes());
                bytes.extend_from_slice(&stamp.ctime.to_le_bytes());
                bytes.extend_from_slice(&stamp.mode.to_le_bytes());
            }
        }
    }
    let sum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    let path = layout.stamps();
    disk::write_atomically(disk, &path, &bytes, Durability::Cache).map_err(|source| Error::Io {
        action: "write",
        path,
        source,
    })?;
    stamps.changed = false;
    Ok(())
}

/// A cache that is missing, torn or of another version is none.
fn read(disk: &dyn Disk, layout: &Layout) -> Result<Option<(Tie, Stamps)>> {
    let path = layout.stamps();
    let io = |source| Error::Io { action: "read", path: path.clone(), source };
    if disk.stat(&path).map_err(io)?.is_none() {
        return Ok(None);
    }
    Ok(parse(&disk::read_all(disk, &path).map_err(io)?))
}

fn parse(bytes: &[u8]) -> Option<(Tie, Stamps)> {
    let (body, sum) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
        return None;
    }
    let mut at = Bytes(body.strip_prefix(MAGIC)?);
    let dev = at.u64()?;
    let branch = BranchNo(u32::try_from(at.u64()?).ok()?);
    let tie = Tie { branch, last_tick: Tick(at.u64()?), attached: at.u64()? == 1 };
    let mut stamps = Stamps { dev, ..Stamps::default() };
    for _ in 0..at.u64()? {
        let len = at.u32()? as usize;
        let path = RelPath::new(at.take(len)?).ok()?;
        let stamp = match at.take(1)? {
            [0] => None,
            _ => Some(Stamp {
                ino: at.u64()?,
                size: at.u64()?,
                mtime: at.u64()?.cast_signed(),
                ctime: at.u64()?.cast_signed(),
                mode: at.u32()?,
            }),
        };
        stamps.paths.insert(path, stamp);
    }
    Some((tie, stamps))
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }
}
