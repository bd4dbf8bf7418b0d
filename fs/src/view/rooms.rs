//! Which room answers for a directory. A new room is a file beside this one and a line in each of these.

use tickfs_store::path::RelPath;

use super::{
    Found, Listing, NamedDir, Now, Place, View, branches, codevovle, deleted, diff, events, files, journal,
    readme, root, snapshots, states, ticks, tree, watch,
};
use crate::error::{Error, Result};
use crate::inode::{Fixed, Ino, Object};

impl View {
    pub(super) fn find(&self, now: &Now, parent: Ino, name: &[u8]) -> Result<Option<Found>> {
        match self.resolve(parent)? {
            Place::Object(Object::Fixed(fixed)) => match fixed {
                Fixed::Root => root::find(self, now, name),
                Fixed::Branches => branches::find_branch(now, name),
                Fixed::Ticks => ticks::find(self, now, name),
                Fixed::Deleted => deleted::find(self, now, &RelPath::root(), name),
                Fixed::Snapshots => snapshots::find(self, now, name),
                Fixed::Diff => diff::find(self, now, name),
                Fixed::Events => events::find(self, now, name),
                Fixed::Journal => journal::find(self, false, name),
                Fixed::Archive => journal::find(self, true, name),
                Fixed::States => states::find_document(now, name),
                Fixed::Codevovle => codevovle::find(self, now, &codevovle::Dir::Place(RelPath::root()), name),
                Fixed::EventsJsonl => Err(Error::NotADirectory(parent)),
                Fixed::Watch => watch::find_run(self, name),
                // Its room is still to come.
                Fixed::Handoff => Ok(None),
            },
            Place::Object(Object::TreeDir { tick, node }) => tree::find(self, now, tick, node, name),
            Place::Object(Object::Past { at, node }) => files::find(self, now, at, node, name),
            Place::Object(Object::Branch(no)) => branches::find(self, now, no, name),
            Place::Object(Object::Tick(tick)) => ticks::find_part(self, now, tick, name),
            Place::Named(dir) => match dir {
                NamedDir::Deleted(path) => deleted::find(self, now, &path, name),
                NamedDir::Diff { from, to, path } => diff::find_below(self, now, (from, to), &path, name),
                NamedDir::State(document) => states::find(now, &document, name),
                NamedDir::Codevovle(dir) => codevovle::find(self, now, &dir, name),
                NamedDir::Watch(dir) => watch::find(self, &dir, name),
            },
            Place::Object(
                Object::Version { .. } | Object::Saved { .. } | Object::Log(_) | Object::Segment { .. },
            )
            | Place::Link { .. }
            | Place::Stream(_)
            | Place::Text(_) => Err(Error::NotADirectory(parent)),
        }
    }

    pub(super) fn list(&self, now: &Now, dir: Ino, after: u64, out: &mut Listing<'_>) -> Result<()> {
        match self.resolve(dir)? {
            Place::Object(Object::Fixed(fixed)) => match fixed {
                Fixed::Root => root::list(self, now, after, out),
                Fixed::Branches => branches::list_branches(now, after, out),
                Fixed::Ticks => ticks::list(self, now, after, out),
                Fixed::EventsJsonl => Err(Error::NotADirectory(dir)),
                Fixed::Deleted => deleted::list(self, now, &RelPath::root(), after, out),
                Fixed::Snapshots => snapshots::list(self, now, after, out),
                Fixed::Diff => out.fixed(after, vec![(b"README", readme::Of::Diff.found())]).map(drop),
                Fixed::Events => events::list(after, out),
                Fixed::Journal => journal::list(self, false, after, out),
                Fixed::Archive => journal::list(self, true, after, out),
                Fixed::States => states::list_documents(now, after, out),
                Fixed::Codevovle => {
                    codevovle::list(self, now, &codevovle::Dir::Place(RelPath::root()), after, out)
                }
                Fixed::Watch => watch::list_runs(self, after, out),
                Fixed::Handoff => Ok(()),
            },
            Place::Object(Object::TreeDir { tick, node }) => tree::list(self, now, tick, node, after, out),
            Place::Object(Object::Past { at, node }) => files::list(self, now, at, node, after, out),
            Place::Object(Object::Branch(no)) => branches::list(self, now, no, after, out),
            Place::Object(Object::Tick(tick)) => ticks::list_parts(self, now, tick, after, out),
            Place::Named(named) => match named {
                NamedDir::Deleted(path) => deleted::list(self, now, &path, after, out),
                NamedDir::Diff { .. } => Ok(()),
                NamedDir::State(document) => states::list(self, now, &document, after, out),
                NamedDir::Codevovle(dir) => codevovle::list(self, now, &dir, after, out),
                NamedDir::Watch(dir) => watch::list(self, &dir, after, out),
            },
            Place::Object(
                Object::Version { .. } | Object::Saved { .. } | Object::Log(_) | Object::Segment { .. },
            )
            | Place::Link { .. }
            | Place::Stream(_)
            | Place::Text(_) => Err(Error::NotADirectory(dir)),
        }
    }
}
