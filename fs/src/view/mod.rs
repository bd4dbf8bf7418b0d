//! History as names, attributes and bytes: plain Rust, which a test calls without a mount.
//!
//! A room of the layout is a file here: it finds a name ([`Found`]) and lists its names in an order that stays, so that a
//! cookie (the place in a listing at which a reader stopped) means the same for ever.
//!
//! Invariants:
//!   * History does not change, so neither does what an inode of it says; only [`Now`] moves on.
//!   * Whoever asks after [`View::committed`] returned is answered from a state that holds the commit.
//!   * Reading is only reading: nothing here writes, or asks the network.

mod found;
mod options;

mod names;
mod now;
mod told;

mod contents;
mod lines;
mod log;
mod texts;

mod listing;

mod below;
mod branches;
mod codevovle;
mod deleted;
mod diff;
mod events;
mod files;
mod journal;
mod readme;
mod root;
mod single;
mod snapshots;
mod states;
mod stats;
mod ticks;
mod tree;
mod watch;

mod rooms;

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tickfs_store::history::Moment;
use tickfs_store::ids::{Tick, UnixNanos};
use tickfs_store::path::RelPath;
use tickfs_store::runs::RunId;
use tickfs_store::{Committed, Error as StoreError, Store, Version, render};

pub use found::{Bytes, Entry};
pub(crate) use found::{Found, NamedDir};
pub use listing::DirEntry;
use listing::Listing;
pub(crate) use listing::first_cookie;
use now::Now;
pub use options::{Extras, Isolate, ListTicks, Options};
pub(crate) use texts::Recipe;
pub use told::{Outdated, Told};

use crate::attr::{Attr, Kind, Owner};
use crate::counters::Counters;
use crate::error::{Error, Result};
use crate::inode::{Fixed, Ino, Object};
use crate::intern::{self, InternTable, Interned, Text};

/// One store, shown. Its answers do not depend on the order in which they are asked for.
#[derive(Debug)]
pub struct View {
    store: Store,
    options: Options,
    counters: Arc<Counters>,
    owner: Owner,
    interned: InternTable,
    now: RwLock<Arc<Now>>,
    /// How often the store has changed.
    changes: std::sync::atomic::AtomicU64,
    loading: Mutex<()>,
    told: Mutex<Told>,
    contents: contents::Contents,
    texts: texts::Texts,
    log: log::Log,
    events: events::Events,
    failures: events::Failures,
    /// Every path that ever was a file, up to some tick.
    ever: Mutex<(Option<Tick>, BTreeSet<RelPath>)>,
    trees: tree::Trees,
}

impl View {
    /// A view that nobody mounts.
    pub fn new(store: Store, options: Options) -> Result<Self> {
        Self::with_counters(store, options, Arc::default())
    }

    pub(crate) fn with_counters(store: Store, options: Options, counters: Arc<Counters>) -> Result<Self> {
        let now = Now::load(&store, 0)?;
        let told = Told::of(now.history());
        Ok(Self {
            contents: contents::Contents::new(store.content().clone()),
            texts: texts::Texts::default(),
            log: log::Log::default(),
            events: events::Events::default(),
            failures: events::Failures::default(),
            ever: Mutex::default(),
            trees: tree::Trees::default(),
            store,
            options,
            counters,
            owner: Owner::of_this_process(),
            interned: InternTable::default(),
            now: RwLock::new(Arc::new(now)),
            changes: 0.into(),
            loading: Mutex::new(()),
            told: Mutex::new(told),
        })
    }

    /// The store has changed. Cheap: what is new is read when somebody asks. Says what of that which lasted until now does
    /// not stand any more.
    pub fn committed(&self, _what: &Committed) -> Result<Outdated> {
        self.changes.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let history = self.store.view()?;
        self.told.lock().renew(&history)
    }

    /// What the kernel was told last of what it keeps until it is told otherwise.
    #[must_use]
    pub fn told(&self) -> Told {
        self.told.lock().clone()
    }

    /// This is what the kernel was told last, by whoever showed it before. Says what of that does not stand any more.
    pub(crate) fn was_told(&self, before: Option<Told>) -> Result<Outdated> {
        let history = self.store.view()?;
        let mut told = self.told.lock();
        match before {
            Some(before) => {
                *told = before;
                told.renew(&history)
            }
            None => told.everything(),
        }
    }

    /// The store as it is.
    fn now(&self) -> Result<Arc<Now>> {
        let wanted = || self.changes.load(std::sync::atomic::Ordering::SeqCst);
        let now = Arc::clone(&self.now.read());
        if now.changes() >= wanted() {
            return Ok(now);
        }
        let _one_at_a_time = self.loading.lock();
        let (before, changes) = (Arc::clone(&self.now.read()), wanted());
        if before.changes() >= changes {
            return Ok(before);
        }
        let fresh = Arc::new(Now::load(&self.store, changes)?);
        *self.now.write() = Arc::clone(&fresh);
        Ok(fresh)
    }

    /// Every path that ever was a file or a symlink.
    fn ever_files(&self, now: &Now) -> Result<BTreeSet<RelPath>> {
        let mut ever = self.ever.lock();
        let (seen, files) = &mut *ever;
        let last = now.history().last_tick();
        if now.history().cursor().is_some() && seen.is_none_or(|seen| seen < last) {
            render::add_ever_files(now.history(), *seen, files)?;
            *seen = Some(last);
        }
        Ok(files.clone())
    }

    /// Whether a path is shown: it leads to the one file, where only one is.
    fn shows(&self, path: &RelPath) -> bool {
        self.options.single.as_ref().is_none_or(|file| file.starts_with(path))
    }

    /// The moment that names of times are counted from.
    fn moment(&self) -> Moment {
        (self.options.moment)()
    }

    /// Keeps what went wrong, for `errors.json`.
    pub fn failed(&self, error: &Error) {
        if matches!(error, Error::Store(error) if !matches!(error, StoreError::NotFound { .. })) {
            self.failures.add(self.moment().now, error.to_string());
        }
    }

    /// Finds a name in a directory; the kernel is given a reference to it, until [`Self::forget`].
    pub fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Entry> {
        if name.len() > 255 {
            return Err(Error::NameTooLong(name.len()));
        }
        let now = self.now()?;
        let found = self.find(&now, parent, name)?.ok_or(Error::NoSuchName)?;
        self.enter(&now, found)
    }

    /// Whether a name that a directory does not hold will never be in it.
    #[must_use]
    pub fn absence_lasts(&self, parent: Ino) -> bool {
        matches!(parent.object(), Some(Object::TreeDir { .. } | Object::Tick(_)))
    }

    pub fn getattr(&self, ino: Ino) -> Result<Entry> {
        let now = self.now()?;
        let (attr, attr_lasts) = match self.resolve(ino)? {
            Place::Object(object) => (self.attr_of(&now, object)?, lasts(object)),
            Place::Named(dir) => (self.owner.directory(ino, self.mtime_of(&now, &dir)?), false),
            Place::Stream(run) => (self.attr_of_stream(&now, &run)?, false),
            Place::Link { target, mtime } => (self.owner.symlink(ino, target.len() as u64, mtime), true),
            Place::Text(text) => (self.owner.file(ino, text.len, text.mtime), true),
        };
        Ok(Entry { attr, name_lasts: false, attr_lasts })
    }

    /// Whether it can be run, or entered.
    pub fn is_program(&self, ino: Ino) -> Result<bool> {
        let attr = self.getattr(ino)?.attr;
        Ok(attr.kind != Kind::File || attr.mode & 0o111 != 0)
    }

    pub fn readlink(&self, ino: Ino) -> Result<Arc<[u8]>> {
        match self.resolve(ino)? {
            Place::Link { target, .. } => Ok(target),
            Place::Object(object @ (Object::Version { .. } | Object::Saved { .. })) => {
                let version = self.version_of(&*self.now()?, object)?;
                match Kind::from(version.kind) {
                    Kind::Symlink => self.contents.whole(&version),
                    Kind::File | Kind::Directory => Err(Error::NotASymlink(ino)),
                }
            }
            _ => Err(Error::NotASymlink(ino)),
        }
    }

    /// At most `len` bytes of a file from `offset` on; fewer only at its end.
    pub fn read(&self, ino: Ino, offset: u64, len: usize) -> Result<Bytes> {
        match self.resolve(ino)? {
            Place::Object(object @ (Object::Version { .. } | Object::Saved { .. })) => {
                let version = self.version_of(&*self.now()?, object)?;
                match Kind::from(version.kind) {
                    Kind::Directory => Err(Error::IsADirectory(ino)),
                    Kind::File | Kind::Symlink => self.contents.read(&version, offset, len),
                }
            }
            Place::Object(Object::Log(no)) => {
                let text = self.log.read(&*self.now()?, no, offset, len)?;
                Ok(Bytes::cut(text.into(), 0, len))
            }
            Place::Object(Object::Fixed(Fixed::EventsJsonl)) => {
                self.events.read_lines(&self.store, &*self.now()?, offset, len)
            }
            Place::Object(Object::Segment { first, sealed }) => {
                Ok(Bytes::cut(journal::read(self, first, sealed, offset, len)?.into(), 0, len))
            }
            Place::Text(text) => self.texts.read(self, &*self.now()?, ino, &text, offset, len),
            Place::Stream(run) => Ok(Bytes::cut(watch::read_events(self, &run, offset, len)?.into(), 0, len)),
            Place::Link { .. } => Err(Error::NotASymlink(ino)),
            Place::Object(_) | Place::Named(_) => Err(Error::IsADirectory(ino)),
        }
    }

    /// Gives the names of a directory behind `after` to `take`, until it is full (`true`). With `plus` each comes with its
    /// attributes, and the kernel holds a reference to it, as after a lookup.
    pub fn readdir(
        &self,
        dir: Ino,
        after: u64,
        plus: bool,
        take: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()> {
        let now = self.now()?;
        let mut listing = Listing::new(self, &now, plus, take);
        if listing.dots(dir, after) {
            self.list(&now, dir, after, &mut listing)?;
        }
        Ok(())
    }

    /// Whether a listing goes on behind the last answer with names that are not read yet.
    pub(crate) fn has_more_names(&self) -> bool {
        self.trees.has_more()
    }

    /// Reads names that will be asked for.
    pub(crate) fn read_names_ahead(&self) -> Result<()> {
        self.trees.read_on()
    }

    /// The kernel lets go of so many references.
    pub fn forget(&self, ino: Ino, references: u64) {
        if ino.is_interned() && self.interned.forget(ino, references) {
            self.texts.forget(ino);
        }
    }

    /// Whether an answer may take longer than a few questions to the index.
    #[must_use]
    pub fn is_slow_to_look_up(&self, parent: Ino, name: &[u8]) -> bool {
        match parent.object() {
            Some(Object::TreeDir { .. }) => false,
            Some(Object::Branch(_)) => !name.starts_with(b"@"),
            Some(Object::Fixed(Fixed::Root | Fixed::Branches | Fixed::Ticks)) => name.ends_with(b".json"),
            _ => true,
        }
    }

    /// Whether a growing file's size is known but for what came since somebody last looked.
    fn is_quick_to_measure(&self, object: Object) -> bool {
        match object {
            Object::Log(_) => self.log.is_begun(),
            Object::Fixed(Fixed::EventsJsonl) => self.events.is_begun(),
            _ => true,
        }
    }

    #[must_use]
    pub fn is_slow_to_list(&self, dir: Ino) -> bool {
        !matches!(dir.object(), Some(Object::TreeDir { .. } | Object::Branch(_) | Object::Tick(_)))
    }

    #[must_use]
    pub fn is_slow_to_read(&self, ino: Ino, size: usize) -> bool {
        match ino.object() {
            Some(Object::Version { .. } | Object::Saved { .. }) => size > 64 * 1024,
            _ => true,
        }
    }

    /// What `df` says: the bytes that the store takes on disk, and how many ticks it has.
    pub fn used(&self) -> Result<(u64, u64)> {
        let now = self.now()?;
        Ok((self.store.size()?, now.history().last_tick().0 + 1))
    }

    /// Where the next data or the next hole begins; `None` beyond the end.
    pub fn seek(&self, ino: Ino, offset: i64, whence: i32) -> Result<Option<i64>> {
        const DATA: i32 = 3;
        let size = self.getattr(ino)?.attr.size;
        let Some(offset) = u64::try_from(offset).ok().filter(|&offset| offset < size) else {
            return Ok(None);
        };
        let holes = match self.resolve(ino)? {
            Place::Object(object @ (Object::Version { .. } | Object::Saved { .. })) => {
                self.version_of(&*self.now()?, object)?.holes
            }
            _ => Vec::new(),
        };
        let mut at = offset;
        for (start, len) in holes.into_iter().filter(|&(start, len)| start + len > offset) {
            if whence != DATA {
                at = start.max(offset);
                return Ok(i64::try_from(at).ok());
            }
            if start > at {
                break;
            }
            at = start + len;
        }
        let end = if whence == DATA { at } else { size };
        Ok(i64::try_from(end).ok().filter(|_| whence != DATA || end < size))
    }

    /// How many bytes of contents and texts are held.
    fn kept_bytes(&self) -> usize {
        let cached = self.contents.kept_bytes() + self.texts.kept_bytes() + self.events.kept_bytes();
        cached + self.interned.bytes()
    }

    /// How many interned things the kernel refers to.
    #[must_use]
    pub fn interned(&self) -> usize {
        self.interned.len()
    }

    /// What an inode number stands for.
    fn resolve(&self, ino: Ino) -> Result<Place> {
        if let Some(object) = ino.object() {
            return Ok(Place::Object(object));
        }
        match self.interned.get(ino) {
            Some(Interned::Dir(dir)) => Ok(Place::Named(dir)),
            Some(Interned::Link { target, mtime }) => Ok(Place::Link { target, mtime }),
            Some(Interned::Text(text)) => Ok(Place::Text(text)),
            Some(Interned::Stream(run)) => Ok(Place::Stream(run)),
            Some(Interned::Pending) | None => Err(Error::Stale(ino)),
        }
    }

    /// Turns what was found into an inode that the kernel may refer to.
    fn enter(&self, now: &Now, found: Found) -> Result<Entry> {
        match found {
            Found::Object { object, name_lasts } => {
                Ok(Entry { attr: self.attr_of(now, object)?, name_lasts, attr_lasts: lasts(object) })
            }
            Found::Version { object, version } => {
                let attr = Attr::of_version(Ino::of(object)?, &version);
                Ok(Entry { attr, name_lasts: true, attr_lasts: true })
            }
            Found::Text { recipe, lasts } => {
                let (ino, text) = self.texts.render(self, now, &recipe)?;
                let attr = self.owner.file(ino, text.len, text.mtime);
                self.interned.hand_out(ino, || Interned::Text(text));
                Ok(Entry { attr, name_lasts: lasts, attr_lasts: true })
            }
            Found::Link { target, mtime, name_lasts } => {
                let ino = intern::link_ino(&target, mtime);
                let attr = self.owner.symlink(ino, target.len() as u64, mtime);
                self.interned.hand_out(ino, || Interned::Link { target: target.into(), mtime });
                Ok(Entry { attr, name_lasts, attr_lasts: true })
            }
            Found::Dir(dir) => {
                let ino = intern::dir_ino(&dir);
                let attr = self.owner.directory(ino, self.mtime_of(now, &dir)?);
                self.interned.hand_out(ino, || Interned::Dir(dir));
                Ok(Entry { attr, name_lasts: false, attr_lasts: false })
            }
            Found::Stream(run) => {
                let attr = self.attr_of_stream(now, &run)?;
                self.interned.hand_out(attr.ino, || Interned::Stream(run));
                Ok(Entry { attr, name_lasts: false, attr_lasts: false })
            }
        }
    }

    /// The time of a directory that a word names.
    fn mtime_of(&self, now: &Now, dir: &NamedDir) -> Result<UnixNanos> {
        match dir {
            NamedDir::Watch(dir) => watch::mtime(self, now, dir),
            NamedDir::Deleted(_) | NamedDir::Diff { .. } | NamedDir::State(_) | NamedDir::Codevovle(_) => {
                Ok(now.mtime())
            }
        }
    }

    fn attr_of_stream(&self, now: &Now, run: &RunId) -> Result<Attr> {
        let ino = intern::stream_ino(run);
        Ok(self.owner.file(ino, watch::events_len(self, run)?, now.mtime()))
    }

    fn attr_of(&self, now: &Now, object: Object) -> Result<Attr> {
        let ino = Ino::of(object)?;
        match object {
            Object::TreeDir { tick, node } => {
                let version = self.trees.get(now, tick, node)?.version(node)?;
                Ok(Attr::of_version(ino, &version.ok_or(Error::Stale(ino))?))
            }
            Object::Version { .. } => Ok(Attr::of_version(ino, &self.version_of(now, object)?)),
            Object::Saved { at, .. } => {
                let version = self.version_of(now, object)?;
                Ok(Attr { mtime: now.time_of(at)?, ..Attr::of_version(ino, &version) })
            }
            Object::Tick(tick) => Ok(self.owner.directory(ino, now.time_of(tick)?)),
            Object::Log(no) => Ok(self.owner.file(ino, self.log.len(now, no)?, now.mtime())),
            Object::Fixed(Fixed::EventsJsonl) => {
                Ok(self.owner.file(ino, self.events.len(&self.store, now)?, now.mtime()))
            }
            Object::Fixed(Fixed::Watch) => Ok(self.owner.directory(ino, watch::mtime_of_runs(self, now)?)),
            Object::Segment { first, sealed } => journal::attr(self, now, first, sealed),
            Object::Fixed(Fixed::Journal | Fixed::Archive) => journal::directory(self, now, ino),
            Object::Fixed(_) | Object::Past { .. } | Object::Branch(_) => {
                Ok(self.owner.directory(ino, now.mtime()))
            }
        }
    }

    fn version_of(&self, now: &Now, object: Object) -> Result<Version> {
        let ino = Ino::of(object)?;
        let found = match object {
            Object::Version { tick, node } => now.history().version_at(tick, node)?,
            Object::Saved { at, node } => self.trees.get(now, at, node)?.version(node)?,
            _ => None,
        };
        found.ok_or(Error::Stale(ino))
    }
}

/// What an inode number stands for.
enum Place {
    Object(Object),
    Named(NamedDir),
    Link { target: Arc<[u8]>, mtime: UnixNanos },
    Text(Text),
    Stream(RunId),
}

/// Whether a thing's attributes and bytes are the same for ever.
fn lasts(object: Object) -> bool {
    match object {
        Object::TreeDir { .. } | Object::Version { .. } | Object::Saved { .. } | Object::Tick(_) => true,
        Object::Segment { sealed, .. } => sealed,
        Object::Fixed(fixed) => fixed == Fixed::Root,
        // Until whoever commits says otherwise.
        Object::Branch(_) => true,
        Object::Past { .. } | Object::Log(_) => false,
    }
}

/// The tick after which nothing of history is known yet.
fn unknown(now: &Now, tick: Tick) -> bool {
    tick > now.history().last_tick()
}
