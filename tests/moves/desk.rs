//! A root on a real disk with its store, and the moves as commands make them.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tickfs_store::disk::RealDisk;
use tickfs_store::history::{Point, PointName, Stand, View};
use tickfs_store::ids::{StoreId, UnixMillis};
use tickfs_store::journal::entry::{NodeType, Writer};
use tickfs_store::path::RelPath;
use tickfs_store::{Scope, Store, StoreWriter};
use tickfs_tracer::files::record_now;
use tickfs_tracer::files::restore::{self, Commit, Moved, Place, Recovered, Step, destination};

pub(crate) const NOW: UnixMillis = UnixMillis(1_795_179_600_000);

/// Every path of a root: a file's mode and bytes, a directory's mode, a symlink's target.
pub(crate) type Tree = BTreeMap<String, String>;

pub(crate) struct Desk {
    temp: tempfile::TempDir,
    pub(crate) writer: Arc<StoreWriter>,
}

impl Desk {
    /// A root that holds these files, recorded as its base.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        Self::within(tempfile::tempdir().unwrap(), files)
    }

    /// The same in a directory where `app` and `s` may be there already.
    pub(crate) fn within(temp: tempfile::TempDir, files: &[(&str, &str)]) -> Self {
        std::fs::create_dir_all(temp.path().join("app")).unwrap();
        let store =
            Store::init(Arc::new(RealDisk), &temp.path().join("s"), StoreId::new(NOW, [7; 10])).unwrap();
        std::fs::write(store.layout().config(), "[record]\nexclude = [\"ignored\"]\n").unwrap();
        let store = Store::open(Arc::new(RealDisk), store.layout().dir()).unwrap();
        let desk = Self { writer: Arc::new(writer(&store)), temp };
        for (path, text) in files {
            desk.write(path, text);
        }
        desk.record();
        desk
    }

    /// The same desk with everything that was held in memory gone.
    pub(crate) fn reopened(self) -> Self {
        let Self { temp, writer: before } = self;
        let dir = before.store().layout().dir().to_path_buf();
        drop(before);
        let store = Store::open(Arc::new(RealDisk), &dir).unwrap();
        Self { writer: Arc::new(writer(&store)), temp }
    }

    /// Its directory, in which nothing is open any more.
    pub(crate) fn closed(self) -> tempfile::TempDir {
        self.temp
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.temp.path().join("app")
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root().join(below)
    }

    pub(crate) fn view(&self) -> View {
        self.writer.store().view().unwrap()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        let path = self.path(path);
        match path.is_dir() {
            true => std::fs::remove_dir_all(path).unwrap(),
            false => std::fs::remove_file(path).unwrap(),
        }
    }

    /// Writes and records: the tick of it.
    pub(crate) fn save(&self, path: &str, text: &str) -> u64 {
        self.write(path, text);
        self.record();
        self.view().last_tick().0
    }

    /// Records what differs from where the cursor stands.
    pub(crate) fn record(&self) -> u64 {
        let scope = Scope::whole(&self.root());
        let flushed = record_now(&self.writer, &scope, &|| NOW).unwrap();
        assert_eq!(flushed.unread, []);
        flushed.ticks.len() as u64
    }

    pub(crate) fn point(&self, name: &str) -> Point {
        let moment = tickfs_store::history::Moment::utc(NOW);
        self.view().point(&PointName::parse(name).unwrap(), &moment).unwrap()
    }

    pub(crate) fn place<'a>(&'a self, root: &'a Path, step: Step<'a>) -> Place<'a> {
        Place { writer: &self.writer, root, now: NOW, step }
    }

    pub(crate) fn go(&self, to: &Stand, commit: Commit, step: Step<'_>) -> restore::Result<Moved> {
        restore::move_root(self.place(&self.root(), step), to, commit, false)
    }

    /// What a command does: records what is unsaved, then moves.
    pub(crate) fn revert(&self, at: &str) -> restore::Result<Moved> {
        let at = self.point(at);
        self.record();
        self.go(&destination::whole(at), Commit::Move("revert".to_owned()), QUIET)
    }

    pub(crate) fn revert_file(&self, path: &str, at: &str) -> restore::Result<Moved> {
        let at = self.point(at);
        self.record();
        let to = destination::one_path(&self.view(), &self.view().stand()?, &rel(path), at)?;
        self.go(&to, Commit::Move("revert".to_owned()), QUIET)
    }

    pub(crate) fn restore(&self, path: &str, at: &str) -> restore::Result<Moved> {
        let at = self.point(at);
        self.record();
        let to = destination::one_path(&self.view(), &self.view().stand()?, &rel(path), at)?;
        self.go(&to, Commit::Forward, QUIET)
    }

    pub(crate) fn undo(&self) -> restore::Result<Moved> {
        self.record();
        let (to, _) = destination::before_the_last(&self.view())?;
        self.go(&to, Commit::Move("undo".to_owned()), QUIET)
    }

    pub(crate) fn recover(&self) -> Option<Recovered> {
        restore::recover(self.place(&self.root(), QUIET)).unwrap()
    }

    /// The root as it is on disk.
    pub(crate) fn tree(&self) -> Tree {
        let root = self.root();
        scan(&root).iter().map(|path| (path.to_string(), shown(&root.join(path.as_path())))).collect()
    }

    /// The tree of a tick as the store has it, in the same words.
    pub(crate) fn tree_at(&self, name: &str) -> Tree {
        let tree = self.view().tree(self.point(name)).unwrap();
        let mut all = Tree::new();
        tree.walk(&RelPath::root(), &mut |path, entry| {
            let version = &entry.version;
            let mode = version.mode & 0o7777;
            let text = || String::from_utf8_lossy(&tree.read(version).unwrap()).into_owned();
            let shown = match version.kind {
                NodeType::Dir => format!("dir {mode:o}"),
                NodeType::Symlink => format!("-> {}", text()),
                NodeType::File => format!("{mode:o} {}", text()),
            };
            all.insert(path.to_string(), shown);
            Ok(())
        })
        .unwrap();
        all
    }

    /// The cursor: its branch, its tick, and whether the next change becomes the next tick there.
    pub(crate) fn stands(&self) -> (String, u64, bool) {
        let view = self.view();
        let point = view.cursor_point().unwrap();
        let label = view.branches().get(point.branch).unwrap().label.clone();
        (label, point.tick.0, view.cursor().unwrap().is_attached())
    }
}

pub(crate) const QUIET: Step<'static> = Step(&|_, _| {});

pub(crate) fn rel(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

fn writer(store: &Store) -> StoreWriter {
    let who = Writer { writer: "test".to_owned(), writer_id: None, pid: std::process::id() };
    store.writer(who, Duration::from_secs(5)).unwrap()
}

/// Parents first. What is called `ignored` is not recorded.
fn scan(root: &Path) -> Vec<RelPath> {
    let mut found = vec![RelPath::root()];
    let mut next = 0;
    while let Some(dir) = found.get(next).cloned() {
        next += 1;
        let full = root.join(dir.as_path());
        if !full.symlink_metadata().unwrap().is_dir() {
            continue;
        }
        let names = std::fs::read_dir(full).unwrap().map(|entry| entry.unwrap().file_name());
        found.extend(names.filter(|name| name != "ignored").map(|name| dir.join(name.as_bytes()).unwrap()));
    }
    found.sort();
    found
}

fn shown(full: &Path) -> String {
    let stat = full.symlink_metadata().unwrap();
    let mode = stat.permissions().mode() & 0o7777;
    if stat.is_dir() {
        format!("dir {mode:o}")
    } else if stat.is_symlink() {
        format!("-> {}", std::fs::read_link(full).unwrap().display())
    } else {
        format!("{mode:o} {}", String::from_utf8_lossy(&std::fs::read(full).unwrap()))
    }
}

pub(crate) fn tick_of(n: u64) -> tickfs_store::ids::Tick {
    tickfs_store::ids::Tick(n)
}
