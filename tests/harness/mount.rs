//! A store on the real disk with its writer, and a mount of it that goes when it is dropped.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that cannot run here says so, and so does a mount that stays"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tickfs_fs::{Mount, Options};
use tickfs_store::disk::RealDisk;
use tickfs_store::ids::{StoreId, Tick, UnixMillis, UnixNanos};
use tickfs_store::journal::entry::NodeType;
use tickfs_store::path::RelPath;
use tickfs_store::{Content, Meta, Mutation, Result, Scope, Store, StoreWriter};

use crate::session::who;

/// When the base of a project was first seen.
pub const BASE_TIME: i64 = 1_763_640_000_000;

/// A recorded project whose ticks a test makes itself. Ticks are a second apart.
#[derive(Debug)]
pub struct Project {
    dir: TempDir,
    store: Store,
    writer: StoreWriter,
    clock: AtomicI64,
}

impl Project {
    /// With a base of these files; their directories come by themselves.
    #[must_use]
    pub fn new(base: &[(&str, &str)]) -> Self {
        let project = Self::without_base();
        let files: Vec<(RelPath, Vec<u8>)> =
            base.iter().map(|(name, text)| (rel(name), text.as_bytes().to_vec())).collect();
        project.put_base(files);
        project
    }

    /// A store in which nothing is recorded yet.
    #[must_use]
    pub fn without_base() -> Self {
        let dir = tempfile::tempdir().expect("a directory, because the machine has room for one");
        let disk = Arc::new(RealDisk);
        let id = StoreId::new(UnixMillis(BASE_TIME), [7; 10]);
        let scope = Scope::whole(&dir.path().join("app"));
        let place = dir.path().join(".app.tickfs");
        let store = Store::init_for(disk, &place, id, Some(&scope)).expect("a new store");
        let writer = store.writer(who(), Duration::ZERO).expect("its writer");
        Self { dir, store, writer, clock: AtomicI64::new(BASE_TIME) }
    }

    pub fn put_base(&self, files: Vec<(RelPath, Vec<u8>)>) {
        self.mutate(move |m| {
            let mut known = std::collections::BTreeSet::new();
            m.base(&RelPath::root(), &directory(), Content::None)?;
            for (path, bytes) in files {
                for above in ancestors(&path) {
                    if known.insert(above.clone()) {
                        m.base(&above, &directory(), Content::None)?;
                    }
                }
                m.base(&path, &file(m.now()), Content::Bytes(bytes))?;
            }
            m.finish_base("00000000-0000-4000-8000-000000000001")
        });
    }

    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    #[must_use]
    pub fn writer(&self) -> &StoreWriter {
        &self.writer
    }

    /// A directory beside the store, for whatever a test needs.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// One mutation, a second after the last.
    pub fn mutate<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Mutation<'_>) -> Result<T> + Send + 'static,
    ) -> T {
        let now = UnixMillis(self.clock.fetch_add(1_000, Ordering::SeqCst) + 1_000);
        self.writer.mutate(now, work).expect("the store takes it")
    }

    /// Saves a file, with the directories that it needs; gives the tick of the file.
    pub fn save(&self, path: &str, bytes: impl AsRef<[u8]>) -> Tick {
        self.save_at(rel(path), bytes.as_ref().to_vec(), 0o100_644)
    }

    pub fn save_at(&self, path: RelPath, bytes: Vec<u8>, mode: u32) -> Tick {
        self.mutate(move |m| {
            for above in ancestors(&path).into_iter().skip(1) {
                m.save(&above, &directory(), Content::None)?;
            }
            let saved = m.save(&path, &Meta { mode, ..file(m.now()) }, Content::Bytes(bytes))?;
            Ok(saved.tick().expect("a tick, because it differs"))
        })
    }

    pub fn symlink(&self, path: &str, target: &str) -> Tick {
        let (path, target) = (rel(path), target.as_bytes().to_vec());
        self.mutate(move |m| {
            let meta = Meta { kind: NodeType::Symlink, mode: 0o120_777, ..file(m.now()) };
            Ok(m.save(&path, &meta, Content::Bytes(target))?.tick().expect("a tick, because it differs"))
        })
    }

    pub fn remove(&self, path: &str) -> Tick {
        let path = rel(path);
        self.mutate(move |m| Ok(m.remove(&path)?.expect("a tick, because it was there")))
    }

    pub fn rename(&self, from: &str, to: &str) -> Tick {
        let (from, to) = (rel(from), rel(to));
        self.mutate(move |m| m.rename(&from, &to))
    }

    /// Mounts it; `None`, after saying `skipped:`, where the machine cannot.
    #[must_use]
    pub fn mount(&self) -> Option<Mounted> {
        self.mount_with(Options::default())
    }

    #[must_use]
    pub fn mount_with(&self, options: Options) -> Option<Mounted> {
        if !can_mount() {
            return None;
        }
        let point = self.dir.path().join("history");
        std::fs::create_dir_all(&point).expect("a mount point");
        let mount = Arc::new(Mount::start(self.store.clone(), &point, options).expect("a mount"));
        let told = Arc::clone(&mount);
        self.writer.on_commit(Arc::new(move |what| {
            told.committed(what);
        }));
        Some(Mounted { point, mount })
    }
}

/// Whether there is a FUSE to mount with; says so where there is none.
#[must_use]
pub fn can_mount() -> bool {
    let can = std::fs::File::options().read(true).write(true).open("/dev/fuse").is_ok();
    if !can {
        skipped("/dev/fuse cannot be opened");
    }
    can
}

/// The line from which the total of what was not tested is made.
pub fn skipped(why: &str) {
    println!("skipped: {why}");
}

/// A mount that is taken away when it is dropped, also while files of it are open.
#[derive(Debug)]
pub struct Mounted {
    point: PathBuf,
    mount: Arc<Mount>,
}

impl Mounted {
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.point.join(name)
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.point
    }

    #[must_use]
    pub fn mount(&self) -> &Mount {
        &self.mount
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = self.mount.unmount() {
            eprintln!("{} stays mounted: {error}", self.point.display());
        }
    }
}

/// A path that is known to be one.
#[must_use]
pub fn rel(name: impl AsRef<[u8]>) -> RelPath {
    RelPath::new(name.as_ref()).expect("a path, because it is spelled out")
}

/// The directories above a path, the root first.
#[must_use]
pub fn ancestors(path: &RelPath) -> Vec<RelPath> {
    let mut above: Vec<RelPath> = std::iter::successors(path.parent(), RelPath::parent).collect();
    above.reverse();
    above
}

#[must_use]
pub fn directory() -> Meta {
    Meta { kind: NodeType::Dir, mode: 0o040_755, ..file(UnixMillis(BASE_TIME)) }
}

/// A plain file of whoever runs the test.
#[must_use]
pub fn file(saved: UnixMillis) -> Meta {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mtime = UnixNanos(saved.0 * 1_000_000 + 123_456);
    Meta { kind: NodeType::File, mode: 0o100_644, uid, gid, mtime, holes: Vec::new() }
}
