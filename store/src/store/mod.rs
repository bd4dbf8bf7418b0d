//! One store: opens everything, and answers without a lock. Whoever changes something takes a [`StoreWriter`].
//!
//! Invariants:
//!   * Opening for reading writes nothing. A reader that finds the index behind takes the lock, if it is free, heals
//!     the index and frees the lock; else it serves what there is and says so.
//!   * The order of every write: content, journal, fsync, projection, watermark.

mod compare;
mod config;
mod group;
mod layout;
mod maintain;
mod mutation;
mod reconcile;
mod scope;
mod writer;

#[cfg(test)]
mod promises;
#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

pub use config::{Config, Dual, MountConfig, RecordConfig};
pub use layout::Layout;
pub use maintain::{Upkeep, UpkeepStep};
pub use mutation::{Content, Meta, Mutation, Saved};
pub(crate) use reconcile::{load_branches, load_cursor};
pub use scope::Scope;
pub use writer::{Committed, StoreWriter};

use crate::content::ContentReader;
use crate::disk::{self, Disk, Durability};
use crate::error::{Error, Result};
use crate::history::{Known, View};
use crate::ids::StoreId;
use crate::index::{self, Index, Trace};
use crate::journal::entry::Writer;
use crate::journal::{self, JournalDir};
use crate::redact::Redactor;
use crate::runs::Runs;

/// The number of the format that this program reads and writes.
pub const FORMAT: u32 = 1;

/// A store that is open. Cheap to clone; all clones are the same store.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    disk: Arc<dyn Disk>,
    layout: Layout,
    id: StoreId,
    config: Config,
    content: ContentReader,
    index: Index,
    redactor: Redactor,
    /// History as the writer of this process has it.
    latest: RwLock<Option<Known>>,
}

/// So long the making of a store may take that somebody else has begun.
const INIT_WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize, Deserialize)]
struct FormatFile {
    format: u32,
    store_id: StoreId,
}

/// What a reader may rely on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freshness {
    /// The index says what the journal says.
    Current,
    /// It was behind by so many records, and was healed.
    Healed { records: u64 },
    /// It is behind, and another process holds the lock.
    Stale { holder: String },
}

impl Store {
    /// Makes an empty store. The directory's parent must exist; nothing is left behind if it fails half-way.
    pub fn init(disk: Arc<dyn Disk>, dir: &Path, id: StoreId) -> Result<Self> {
        Self::init_for(disk, dir, id, None)
    }

    /// The same, for a directory or some files of it.
    pub fn init_for(disk: Arc<dyn Disk>, dir: &Path, id: StoreId, scope: Option<&Scope>) -> Result<Self> {
        let layout = Layout::new(dir);
        if disk.stat(&layout.format()).map_err(Error::io("look for", dir))?.is_some() {
            return Err(Error::refused(format!("{} is a store already", dir.display())));
        }
        let space =
            disk.space(dir.parent().unwrap_or(dir)).map_err(Error::io("examine the filesystem of", dir))?;
        if let Some(network) = space.network {
            return Err(Error::refused(format!(
                "{} lies on a network filesystem ({network}), where locks and fsync cannot be relied on: \
                 use --store with a directory on a local disk",
                dir.display()
            )));
        }
        let existed = disk.stat(dir).map_err(Error::io("look for", dir))?.is_some();
        disk.create_dir(dir).map_err(Error::io("create", dir))?;
        // Of two that make it at once, the second finds it made.
        let lock = disk.lock(&layout.lock(), INIT_WAIT).map_err(Error::io("lock", &layout.lock()))?;
        if lock.is_none() || disk.stat(&layout.format()).map_err(Error::io("look for", dir))?.is_some() {
            return Err(Error::refused(format!("{} is a store already", dir.display())));
        }
        Self::lay_out(&*disk, &layout, id, scope).inspect_err(|_| {
            if !existed {
                remove_what_was_begun(&*disk, &layout);
            }
        })?;
        drop(lock);
        Self::open(disk, dir)
    }

    /// FORMAT comes last: a directory without it is no store.
    fn lay_out(disk: &dyn Disk, layout: &Layout, store_id: StoreId, scope: Option<&Scope>) -> Result<()> {
        for dir in [layout.journal(), layout.packs()] {
            disk.create_dir(&dir).map_err(Error::io("create", &dir))?;
        }
        JournalDir::new(&layout.journal()).create(disk)?;
        scope.map_or(Ok(()), |scope| scope.write(disk, layout))?;
        // Where FORMAT is, everything that a store needs is there too.
        disk.sync_dir(layout.dir()).map_err(Error::io("make durable the names in", layout.dir()))?;
        let format = FormatFile { format: FORMAT, store_id };
        let mut text = serde_json::to_vec(&format).expect("a number and a string are always JSON");
        text.push(b'\n');
        disk::write_atomically(disk, &layout.format(), &text, Durability::Synced)
            .map_err(Error::io("write", &layout.format()))?;
        let parent = layout.dir().parent().unwrap_or(layout.dir());
        disk.sync_dir(parent).map_err(Error::io("make durable the names in", parent))
    }

    /// Opens a store for reading.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self> {
        Self::open_with(disk, dir, Trace::Shared)
    }

    /// Opens a store to look at it: nothing of it changes, not even the marks that readers leave for a writer. Only for a
    /// process that does not write to it.
    pub fn open_untouched(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self> {
        Self::open_with(disk, dir, Trace::None)
    }

    fn open_with(disk: Arc<dyn Disk>, dir: &Path, trace: Trace) -> Result<Self> {
        let layout = Layout::new(dir);
        let path = layout.format();
        if disk.stat(&path).map_err(Error::io("look for", &path))?.is_none() {
            return Err(Error::not_found(format!("{} is not a store: it has no FORMAT", dir.display())));
        }
        let text = disk::read_all(&*disk, &path).map_err(Error::io("read", &path))?;
        let format: FormatFile =
            serde_json::from_slice(&text).map_err(|e| Error::corrupt(&path, 0, e.to_string()))?;
        if format.format != FORMAT {
            return Err(Error::refused(format!(
                "{} has format {}, and this tickfs knows format {FORMAT}: use a newer tickfs",
                dir.display(),
                format.format
            )));
        }
        let config = Config::read(&*disk, &layout.config())?;
        let content = ContentReader::open(Arc::clone(&disk), &layout.packs());
        let index = Index::new(disk.database(&layout.index()), trace);
        Ok(Self {
            inner: Arc::new(Inner {
                disk,
                layout,
                id: format.store_id,
                config,
                content,
                index,
                redactor: Redactor::new(),
                latest: RwLock::default(),
            }),
        })
    }

    #[must_use]
    pub fn id(&self) -> &StoreId {
        &self.inner.id
    }

    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    /// Which directory it records, or which files; `None` where nobody has said so yet.
    pub fn scope(&self) -> Result<Option<Scope>> {
        Scope::read(&*self.inner.disk, &self.inner.layout)
    }

    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.inner.disk
    }

    #[must_use]
    pub fn content(&self) -> &ContentReader {
        &self.inner.content
    }

    /// What takes secrets out of events and states before they are written. Whoever learns a secret registers it here.
    #[must_use]
    pub fn redactor(&self) -> &Redactor {
        &self.inner.redactor
    }

    pub(crate) fn latest(&self) -> Option<Known> {
        self.inner.latest.read().clone()
    }

    fn set_latest(&self, known: Option<Known>) {
        *self.inner.latest.write() = known;
    }

    pub(crate) fn index(&self) -> &Index {
        &self.inner.index
    }

    /// Takes the lock and everything that writing needs; heals what a crash left behind.
    pub fn writer(&self, who: Writer, wait: Duration) -> Result<StoreWriter> {
        StoreWriter::open(self, who, wait)
    }

    /// The runs of watched programs.
    #[must_use]
    pub fn runs(&self) -> Runs {
        Runs::new(Arc::clone(&self.inner.disk), self.inner.layout.clone())
    }

    /// Brings the index up to the journal if that is possible without waiting. `who` stands in the lock meanwhile.
    pub fn refresh(&self, who: Writer) -> Result<Freshness> {
        if self.lag()? == Some(0) {
            return self.close_for_who_died(who).map(|()| Freshness::Current);
        }
        // A reader that has no index at all cannot answer, so it waits longer.
        let usable = self.index().read(|q| index::watermark(q.0)).is_ok();
        let wait = if usable { Duration::ZERO } else { Duration::from_secs(10) };
        match self.writer(who, wait) {
            Ok(writer) => {
                let records = writer.healed();
                writer.close()?;
                Ok(Freshness::Healed { records })
            }
            Err(Error::Locked { holder }) if usable => Ok(Freshness::Stale { holder }),
            Err(error) => Err(error),
        }
    }

    /// Where a log lies beside the index and nobody holds the lock, its writer died: whoever comes next closes the index for
    /// it, so that it is proved again before it is asked.
    fn close_for_who_died(&self, who: Writer) -> Result<()> {
        if !self.index().has_log() {
            return Ok(());
        }
        match self.writer(who, Duration::ZERO) {
            Ok(writer) => writer.close(),
            // It lives, or this is a medium that nobody writes to: what there is can be read as it is.
            Err(Error::Locked { .. } | Error::Io { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// `Some(0)`: the index is current. `None`: there is none that can be read.
    fn lag(&self) -> Result<Option<u64>> {
        let Ok(end) = self.index().read(|q| index::watermark(q.0)) else { return Ok(None) };
        let current =
            journal::is_current(&*self.inner.disk, &JournalDir::new(&self.inner.layout.journal()), &end)?;
        Ok(Some(u64::from(!current)))
    }

    /// How many bytes it takes on disk: the journal, the contents and the index.
    pub fn size(&self) -> Result<u64> {
        let Inner { disk, layout, .. } = &*self.inner;
        let mut size = 0;
        for dir in [layout.journal(), layout.packs(), layout.dir().to_path_buf()] {
            for name in disk.list(&dir).map_err(Error::io("list", &dir))? {
                let path = dir.join(name);
                // What went meanwhile takes nothing.
                let stat = disk.stat(&path).map_err(Error::io("look for", &path))?;
                size += stat.filter(|stat| !stat.is_dir).map_or(0, |stat| stat.len);
            }
        }
        Ok(size)
    }

    /// History as it is now: later ticks do not change a view.
    pub fn view(&self) -> Result<View> {
        View::new(self.clone())
    }
}

/// Best effort after a failed `init`; what cannot be removed is empty and does no harm.
fn remove_what_was_begun(disk: &dyn Disk, layout: &Layout) {
    let temp = |name| layout.dir().join(name);
    let files = [layout.format(), temp("FORMAT.tmp"), layout.scope(), temp("SCOPE.tmp"), layout.lock()];
    for file in files {
        if disk.remove_file(&file).is_err() {
            continue;
        }
    }
}
