//! `files/`: every path that ever was, as a directory. One that was a file holds its versions, one that was a directory
//! holds the names that were in it, and one that was both holds both.

use tickfs_store::history::{PathVersion, Point};
use tickfs_store::ids::{NodeId, Tick};
use tickfs_store::journal::entry::NodeType;
use tickfs_store::path::RelPath;
use tickfs_store::{Error as StoreError, Version};

use super::names::{self, Said};
use super::{Found, Listing, Now, Recipe, View, first_cookie};
use crate::error::Result;
use crate::inode::{Ino, Object};

/// Cookies of names in a directory begin here; below are those of versions.
const NAMES: u64 = 1 << 62;
/// So many names are asked for at once.
const PORTION: usize = 256;

/// A path and all that ever stood there.
pub(super) struct Path {
    path: RelPath,
    versions: Vec<PathVersion>,
}

impl Path {
    pub(super) fn new(now: &Now, path: RelPath) -> Result<Self> {
        let versions = now.history().versions_of(&path)?;
        Ok(Self { path, versions })
    }

    fn of(view: &View, now: &Now, at: Tick, node: NodeId) -> Result<Self> {
        Self::new(now, path_of(view, now, at, node)?)
    }

    /// Its versions that are no directory.
    pub(super) fn saved(&self) -> impl DoubleEndedIterator<Item = (&PathVersion, &Version)> {
        let pairs = self.versions.iter().filter_map(|held| Some((held, held.version.as_ref()?)));
        pairs.filter(|(_, version)| version.kind != NodeType::Dir)
    }

    fn was_directory(&self) -> bool {
        self.path.is_root()
            || self.versions.iter().any(|held| held.version.as_ref().is_some_and(|v| v.kind == NodeType::Dir))
    }

    fn was_file(&self) -> bool {
        self.saved().next().is_some()
    }

    /// `@17.py`
    pub(super) fn name_at(&self, at: Tick) -> Vec<u8> {
        [format!("@{at}").as_bytes(), names::extension(self.path.name())].concat()
    }

    /// The version that held at a point, and the tick at which it came there.
    pub(super) fn held_at(&self, now: &Now, point: Point) -> Option<&PathVersion> {
        let on_chain = |held: &&PathVersion| {
            held.at <= point.tick && now.history().branches().is_on(point.branch, held.at)
        };
        self.versions
            .iter()
            .rev()
            .find(on_chain)
            .filter(|held| held.version.as_ref().is_some_and(|version| version.kind != NodeType::Dir))
    }

    fn link_to(&self, now: &Now, point: Point) -> Result<Option<Found>> {
        let Some(held) = self.held_at(now, point) else { return Ok(None) };
        let mtime = now.time_of(held.at)?;
        Ok(Some(Found::Link { target: self.name_at(held.at), mtime, name_lasts: false }))
    }
}

/// Where a directory of `files/` is.
pub(super) fn path_of(view: &View, now: &Now, at: Tick, node: NodeId) -> Result<RelPath> {
    if node == NodeId::ROOT {
        return Ok(RelPath::root());
    }
    let path = view.trees.get(now, at, node)?.path_of(node)?;
    Ok(path.ok_or_else(|| StoreError::not_found(format!("nothing is known of node {node} at tick {at}")))?)
}

/// A path as it is numbered: by where it first stood. `None`: it never did.
pub(super) fn number(versions: &[PathVersion]) -> Option<(Tick, NodeId)> {
    versions.iter().find_map(|held| Some((held.at, held.version.as_ref()?.node)))
}

pub(super) fn saved(held: &PathVersion, version: &Version) -> Found {
    Found::Object { object: Object::Saved { at: held.at, node: version.node }, name_lasts: true }
}

pub(super) fn find(view: &View, now: &Now, at: Tick, node: NodeId, name: &[u8]) -> Result<Option<Found>> {
    let path = Path::of(view, now, at, node)?;
    if path.was_file()
        && let Some(found) = find_version(view, now, &path, name)?
    {
        return Ok(Some(found));
    }
    if !path.was_directory() {
        return Ok(None);
    }
    let Some(below) = path.path.join(name).ok().filter(|below| view.shows(below)) else { return Ok(None) };
    let number = number(&now.history().versions_of(&below)?);
    Ok(number.map(|(at, node)| Found::Object { object: Object::Past { at, node }, name_lasts: true }))
}

fn find_version(view: &View, now: &Now, path: &Path, name: &[u8]) -> Result<Option<Found>> {
    let Some(said) = name.strip_prefix(b"@") else { return Ok(None) };
    match said {
        b"log" => return Ok(Some(file_log(path))),
        b"blame" => {
            let at = now.history().head(now.active());
            let stands = path.held_at(now, at).is_some();
            let recipe = Recipe::Blame { path: path.path.clone(), at };
            return Ok(stands.then_some(Found::Text { recipe, lasts: false }));
        }
        _ => {}
    }
    let extension = names::extension(path.path.name());
    let stem = said.strip_suffix(extension).unwrap_or(said);
    let tick = std::str::from_utf8(stem).ok().and_then(names::tick);
    if let Some(tick) = tick {
        if let Some((held, version)) = path.saved().find(|(held, _)| held.at == tick) {
            return Ok(Some(saved(held, version)));
        }
        if super::unknown(now, tick) {
            return Ok(None);
        }
        return path.link_to(now, Point { branch: now.home(tick), tick });
    }
    match names::read(view, now, now.active(), stem)? {
        Some(Said::Point(point)) => path.link_to(now, point),
        Some(Said::Tick(_)) | None => Ok(None),
    }
}

pub(super) fn list(
    view: &View,
    now: &Now,
    at: Tick,
    node: NodeId,
    after: u64,
    out: &mut Listing<'_>,
) -> Result<()> {
    let path = Path::of(view, now, at, node)?;
    if after < NAMES && path.was_file() && !list_versions(now, &path, after, out)? {
        return Ok(());
    }
    if path.was_directory() { list_names(view, now, &path, after, out) } else { Ok(()) }
}

fn list_versions(now: &Now, path: &Path, after: u64, out: &mut Listing<'_>) -> Result<bool> {
    let head = now.history().head(now.active());
    let mut fixed = vec![(&b"@log"[..], file_log(path))];
    let name = [b"@HEAD", names::extension(path.path.name())].concat();
    if let Some(link) = path.link_to(now, head)? {
        fixed.push((&name[..], link));
    }
    if !out.fixed(after, fixed)? {
        return Ok(false);
    }
    for (held, version) in path.saved() {
        let found = saved(held, version);
        let cookie = first_cookie() + Ino::of(Object::Saved { at: held.at, node: version.node })?.payload();
        if after < cookie && !out.push(&path.name_at(held.at), cookie, found)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Names in the order of their bytes; the cookie is the number of the path behind whose name to go on.
fn list_names(view: &View, now: &Now, path: &Path, after: u64, out: &mut Listing<'_>) -> Result<()> {
    let mut behind = Vec::new();
    if let Some(number) = after.checked_sub(NAMES) {
        let node = number & ((1 << 30) - 1);
        behind = path_of(view, now, Tick(number >> 30), NodeId(node))?.name().to_vec();
    }
    loop {
        let portion = now.history().names_ever(&path.path, &behind, PORTION)?;
        let Some(last) = portion.last() else { return Ok(()) };
        behind.clone_from(last);
        for name in portion {
            let Some(below) = path.path.join(&name).ok().filter(|below| view.shows(below)) else { continue };
            // A name of a directory that stood elsewhere by then was never here.
            let Some((at, node)) = number(&now.history().versions_of(&below)?) else { continue };
            let object = Object::Past { at, node };
            let cookie = NAMES + Ino::of(object)?.payload();
            if !out.push(&name, cookie, Found::Object { object, name_lasts: true })? {
                return Ok(());
            }
        }
    }
}

fn file_log(path: &Path) -> Found {
    Found::Text { recipe: Recipe::FileLog(path.path.clone()), lasts: false }
}

/// `@log`: the lines of the ticks that changed what stood under the path, on whatever branch.
pub(super) fn log(view: &View, now: &Now, path: &RelPath) -> Result<Vec<u8>> {
    let versions = now.history().versions_of(path)?;
    view.log.of_ticks(now, versions.iter().map(|held| held.at).filter(|&at| at != Tick::BASE))
}

/// `@blame`: each line as it is at the head, behind the tick that wrote it and its time.
pub(super) fn blame(now: &Now, path: &RelPath, at: Point) -> Result<Vec<u8>> {
    let lines = now.history().blame(path, at)?;
    let widest = lines.iter().map(|(tick, _)| tick.to_string().len()).max().unwrap_or(0);
    let mut text = Vec::new();
    for (tick, line) in lines {
        let time = match tick {
            Tick::BASE => now.history().base_at().unwrap_or_default(),
            tick => now.history().tick(tick)?.at,
        };
        text.extend_from_slice(format!("{tick:>widest$}\t{}\t", time.to_iso()).as_bytes());
        text.extend_from_slice(&line);
        if !line.ends_with(b"\n") {
            text.push(b'\n');
        }
    }
    Ok(text)
}
