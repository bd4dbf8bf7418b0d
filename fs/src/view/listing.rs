//! A directory's names on their way to whoever reads it.
//!
//! Cookies: 1 and 2 stand behind `.` and `..`, 3 to 63 behind names that a directory always has, and from 64 on a room
//! counts by what its names stand for. So a cookie means the same after names were added, and in the next process.

use tickfs_store::ids::UnixNanos;

use super::{Entry, Found, Now, View, lasts};
use crate::attr::{Attr, Kind};
use crate::error::Result;
use crate::inode::{Ino, Object};
use crate::intern::{self, Interned};

/// One name of a listing.
#[derive(Debug)]
pub struct DirEntry<'a> {
    pub name: &'a [u8],
    /// Where to go on behind this name.
    pub cookie: u64,
    pub ino: Ino,
    pub kind: Kind,
    /// With its attributes, where they were asked for. `.` and `..` have none.
    pub entry: Option<Entry>,
}

/// The first cookie that a room may give to what it counts itself.
pub(crate) const fn first_cookie() -> u64 {
    64
}

/// The cookie of a name in a directory whose names come and go: their order is that of hashes, and stays.
pub(super) fn named_cookie(name: &[u8]) -> u64 {
    first_cookie() + crate::inode::short(blake3::hash(name))
}

pub(crate) struct Listing<'a> {
    view: &'a View,
    now: &'a Now,
    plus: bool,
    take: &'a mut dyn FnMut(&DirEntry<'_>) -> bool,
}

impl<'a> Listing<'a> {
    pub(super) fn new(
        view: &'a View,
        now: &'a Now,
        plus: bool,
        take: &'a mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Self {
        Self { view, now, plus, take }
    }

    /// `.` and `..`; says whether there is room for more.
    pub(super) fn dots(&mut self, dir: Ino, after: u64) -> bool {
        for (cookie, name) in [(1, &b"."[..]), (2, b"..")] {
            let entry = DirEntry { name, cookie, ino: dir, kind: Kind::Directory, entry: None };
            if after < cookie && (self.take)(&entry) {
                return false;
            }
        }
        true
    }

    /// Names that a directory always has, in this order; says whether there is room for more.
    pub(super) fn fixed(&mut self, after: u64, names: Vec<(&[u8], Found)>) -> Result<bool> {
        for (cookie, (name, found)) in (3..first_cookie()).zip(names) {
            if after < cookie && !self.push(name, cookie, found)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Says whether there is room for more.
    pub(super) fn push(&mut self, name: &[u8], cookie: u64, found: Found) -> Result<bool> {
        let (ino, kind, pending) = identify(&found)?;
        if !self.plus {
            return Ok(!(self.take)(&DirEntry { name, cookie, ino, kind, entry: None }));
        }
        let (entry, interned) = match found {
            // Listings do not render: the kernel looks such a name up before it uses it.
            Found::Text { .. } => {
                let attr = self.view.owner.file(ino, 0, UnixNanos(0));
                (Entry { attr, name_lasts: false, attr_lasts: false }, Some(Interned::Pending))
            }
            Found::Object { object, .. } if !self.view.is_quick_to_measure(object) => {
                let attr = self.view.owner.file(Ino::of(object)?, 0, UnixNanos(0));
                (Entry { attr, name_lasts: false, attr_lasts: false }, None)
            }
            Found::Object { object, name_lasts } => {
                let attr = self.view.attr_of(self.now, object)?;
                (Entry { attr, name_lasts, attr_lasts: lasts(object) }, None)
            }
            Found::Version { version, .. } => {
                let attr = Attr::of_version(ino, &version);
                (Entry { attr, name_lasts: true, attr_lasts: true }, None)
            }
            Found::Link { target, mtime, name_lasts } => {
                let attr = self.view.owner.symlink(ino, target.len() as u64, mtime);
                let link = Interned::Link { target: target.into(), mtime };
                (Entry { attr, name_lasts, attr_lasts: true }, Some(link))
            }
            // What cannot be read is told to whoever uses its name, which the kernel looks up before; the other names are listed.
            Found::Dir(dir) => {
                let mtime = self.view.mtime_of(self.now, &dir).unwrap_or_default();
                let attr = self.view.owner.directory(ino, mtime);
                (Entry { attr, name_lasts: false, attr_lasts: false }, Some(Interned::Dir(dir)))
            }
            Found::Stream(run) => {
                let known = self.view.attr_of_stream(self.now, &run);
                let attr = known.unwrap_or_else(|_told_at_lookup| self.view.owner.file(ino, 0, UnixNanos(0)));
                (Entry { attr, name_lasts: false, attr_lasts: false }, Some(Interned::Stream(run)))
            }
        };
        debug_assert_eq!(pending, matches!(interned, Some(Interned::Pending)));
        let full = (self.take)(&DirEntry { name, cookie, ino, kind, entry: Some(entry) });
        if let Some(interned) = interned.filter(|_| !full) {
            self.view.interned.hand_out(ino, || interned);
        }
        Ok(!full)
    }
}

fn identify(found: &Found) -> Result<(Ino, Kind, bool)> {
    Ok(match found {
        Found::Object { object, .. } => (Ino::of(*object)?, kind_of(*object), false),
        Found::Version { object, version } => (Ino::of(*object)?, Kind::from(version.kind), false),
        Found::Text { recipe, .. } => (intern::pending_ino(recipe), Kind::File, true),
        Found::Link { target, mtime, .. } => (intern::link_ino(target, *mtime), Kind::Symlink, false),
        Found::Dir(dir) => (intern::dir_ino(dir), Kind::Directory, false),
        Found::Stream(run) => (intern::stream_ino(run), Kind::File, false),
    })
}

/// Of what needs no row to be told: a version's kind comes with its row.
fn kind_of(object: Object) -> Kind {
    match object {
        Object::Log(_) | Object::Segment { .. } | Object::Version { .. } | Object::Saved { .. } => Kind::File,
        Object::Fixed(crate::inode::Fixed::EventsJsonl) => Kind::File,
        Object::Fixed(_)
        | Object::TreeDir { .. }
        | Object::Past { .. }
        | Object::Branch(_)
        | Object::Tick(_) => Kind::Directory,
    }
}
