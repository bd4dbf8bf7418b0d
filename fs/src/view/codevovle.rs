//! `codevovle/`: the specification's own layout, rendered exactly. One file's at the top; of several, each below its path.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use tickfs_store::ids::{BranchNo, Tick};
use tickfs_store::path::RelPath;
use tickfs_store::render::{CodeVovle, Layer};

use super::below::{is_above, names_below};
use super::listing::named_cookie;
use super::{Found, Listing, NamedDir, Now, Recipe, View, first_cookie, names};
use crate::error::Result;

/// A directory of the layout.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Dir {
    /// Where a file's layout lies, or a directory above such a place.
    Place(RelPath),
    Branches(RelPath),
    Diffs(RelPath),
    Snapshots(RelPath),
}

/// A file of the layout. Without a path it is about all files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum File {
    Config(Option<RelPath>),
    State(Option<RelPath>),
    Branch(RelPath, BranchNo),
    Diff(RelPath, Tick),
    Base(RelPath),
}

/// Which file's layout lies where.
#[derive(Debug)]
pub(super) struct Places {
    files: BTreeSet<RelPath>,
    by_place: BTreeMap<RelPath, RelPath>,
    flat: bool,
}

fn places(view: &View, now: &Now) -> Result<Arc<Places>> {
    let mut known = now.codevovle.lock();
    if let Some(places) = &*known {
        return Ok(Arc::clone(places));
    }
    let files = match &view.options.single {
        Some(file) => BTreeSet::from([file.clone()]),
        None => view.ever_files(now)?,
    };
    let layout = CodeVovle::of_files(now.history(), files.clone());
    let by_place = layout.files().map(|file| (layout.directory(file), file.clone())).collect();
    let places = Arc::new(Places { by_place, flat: layout.is_flat(), files });
    *known = Some(Arc::clone(&places));
    Ok(places)
}

/// The names of a file's layout, in the order in which they are listed.
fn layer(file: &RelPath) -> Vec<(&'static [u8], Found)> {
    let some = || Some(file.clone());
    vec![
        (b"config.json", text(File::Config(some()))),
        (b"state.json", text(File::State(some()))),
        (b"branches", directory(Dir::Branches(file.clone()))),
        (b"diffs", directory(Dir::Diffs(file.clone()))),
        (b"snapshots", directory(Dir::Snapshots(file.clone()))),
    ]
}

fn text(file: File) -> Found {
    Found::Text { recipe: Recipe::Codevovle(file), lasts: false }
}

fn directory(dir: Dir) -> Found {
    Found::Dir(NamedDir::Codevovle(dir))
}

impl Places {
    /// What a place always has: the layout of a file that lies there, and at the top that of all.
    fn fixed(&self, place: &RelPath) -> Vec<(&'static [u8], Found)> {
        match self.by_place.get(place) {
            Some(file) => layer(file),
            None if place.is_root() => {
                vec![(b"config.json", text(File::Config(None))), (b"state.json", text(File::State(None)))]
            }
            None => Vec::new(),
        }
    }

    /// The first place from there on.
    fn next(&self, from: Bound<RelPath>) -> Option<&RelPath> {
        self.by_place.range((from, Bound::Unbounded)).next().map(|(place, _)| place)
    }

    /// The next names on the way to places below this one.
    fn below(&self, place: &RelPath) -> BTreeSet<&[u8]> {
        names_below(place, |from| self.next(from))
    }

    /// Whether a place lies there, or below.
    fn leads_to_one(&self, place: &RelPath) -> bool {
        self.by_place.contains_key(place) || is_above(place, |from| self.next(from))
    }
}

/// One file's layout. Its versions are kept, because whoever asks for one of its texts asks for the next too.
fn layer_of<'n>(now: &'n Now, file: &RelPath) -> Result<Layer<'n>> {
    let mut lately = now.versions.lock();
    if let Some((of, versions)) = &*lately
        && of == file
    {
        return Ok(Layer::of(now.history(), file, Arc::clone(versions)));
    }
    let layer = Layer::new(now.history(), file)?;
    *lately = Some((file.clone(), layer.versions()));
    Ok(layer)
}

pub(super) fn find(view: &View, now: &Now, dir: &Dir, name: &[u8]) -> Result<Option<Found>> {
    match dir {
        Dir::Place(place) => {
            let places = places(view, now)?;
            if let Some((_, found)) = places.fixed(place).into_iter().find(|(fixed, _)| *fixed == name) {
                return Ok(Some(found));
            }
            let Ok(below) = place.join(name) else { return Ok(None) };
            Ok((!places.flat && places.leads_to_one(&below)).then(|| directory(Dir::Place(below))))
        }
        Dir::Branches(file) => {
            let Some(label) = name.strip_suffix(b".json") else { return Ok(None) };
            let branch = now.history().branches().listed().find(|branch| branch.label.as_bytes() == label);
            Ok(branch.map(|branch| text(File::Branch(file.clone(), branch.no))))
        }
        Dir::Diffs(file) => {
            let tick = name.strip_suffix(b".diff").and_then(|tick| std::str::from_utf8(tick).ok());
            let Some(tick) = tick.and_then(names::tick) else { return Ok(None) };
            Ok(layer_of(now, file)?.has(tick).then(|| text(File::Diff(file.clone(), tick))))
        }
        Dir::Snapshots(file) => Ok((name == b"base.txt").then(|| text(File::Base(file.clone())))),
    }
}

pub(super) fn list(view: &View, now: &Now, dir: &Dir, after: u64, out: &mut Listing<'_>) -> Result<()> {
    match dir {
        Dir::Place(place) => list_place(&*places(view, now)?, place, after, out),
        Dir::Branches(file) => {
            for branch in now.history().branches().listed() {
                let cookie = first_cookie() + u64::from(branch.no.0);
                let name = format!("{}.json", branch.label);
                let found = text(File::Branch(file.clone(), branch.no));
                if after < cookie && !out.push(name.as_bytes(), cookie, found)? {
                    return Ok(());
                }
            }
            Ok(())
        }
        Dir::Diffs(file) => {
            for tick in layer_of(now, file)?.ticks() {
                let cookie = first_cookie() + tick.0;
                let found = text(File::Diff(file.clone(), tick));
                if after < cookie && !out.push(format!("{tick}.diff").as_bytes(), cookie, found)? {
                    return Ok(());
                }
            }
            Ok(())
        }
        Dir::Snapshots(file) => {
            out.fixed(after, vec![(b"base.txt", text(File::Base(file.clone())))]).map(drop)
        }
    }
}

fn list_place(places: &Places, place: &RelPath, after: u64, out: &mut Listing<'_>) -> Result<()> {
    if !out.fixed(after, places.fixed(place))? || places.flat {
        return Ok(());
    }
    let mut ordered: Vec<(u64, &[u8])> =
        places.below(place).into_iter().map(|name| (named_cookie(name), name)).collect();
    ordered.sort_unstable();
    for (cookie, name) in ordered.into_iter().filter(|&(cookie, _)| after < cookie) {
        let Ok(below) = place.join(name) else { continue };
        if !out.push(name, cookie, directory(Dir::Place(below)))? {
            return Ok(());
        }
    }
    Ok(())
}

impl File {
    pub(super) fn render(&self, view: &View, now: &Now) -> Result<Vec<u8>> {
        let history = now.history();
        let all = || -> Result<CodeVovle<'_>> {
            Ok(CodeVovle::of_files(history, places(view, now)?.files.clone()))
        };
        Ok(match self {
            Self::Config(None) => all()?.config_json()?,
            Self::State(None) => all()?.state_json()?,
            Self::Config(Some(file)) => layer_of(now, file)?.config_json()?,
            Self::State(Some(file)) => layer_of(now, file)?.state_json()?,
            Self::Branch(file, no) => layer_of(now, file)?.branch_json(*no)?,
            Self::Diff(file, tick) => layer_of(now, file)?.diff(*tick)?,
            Self::Base(file) => layer_of(now, file)?.base()?,
        })
    }

    /// The tick whose time the file shows.
    pub(super) fn tick(&self) -> Option<Tick> {
        match self {
            Self::Diff(_, tick) => Some(*tick),
            Self::Base(_) => Some(Tick::BASE),
            Self::Config(_) | Self::State(_) | Self::Branch(..) => None,
        }
    }
}
