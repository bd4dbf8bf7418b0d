//! A root with its store and a recorder, and what was recorded of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tickfs_store::disk::{Disk, RealDisk};
use tickfs_store::history::Point;
use tickfs_store::ids::{StoreId, Tick, UnixMillis};
use tickfs_store::journal::entry::{NodeType, Writer};
use tickfs_store::path::RelPath;
use tickfs_store::{Scope, Store, StoreWriter};
use tickfs_tracer::files::{Announcement, Options, Recorder, Ticked};

/// Nothing that is awaited takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

enum Temp {
    Own(tempfile::TempDir),
    Others(PathBuf),
}

impl Temp {
    fn path(&self) -> &Path {
        match self {
            Self::Own(temp) => temp.path(),
            Self::Others(path) => path,
        }
    }
}

pub(crate) struct Stage {
    temp: Temp,
    recorder: Option<Recorder>,
    pub(crate) heard: Arc<Mutex<Vec<Announcement>>>,
    news: Option<Receiver<()>>,
    sentinels: u32,
    /// The medium of the recorder's store.
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) interval: Option<Duration>,
    pub(crate) files: Option<Vec<RelPath>>,
}

impl Stage {
    /// An empty root without a recorder.
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("app")).unwrap();
        Self::on(Temp::Own(temp))
    }

    /// The stage of another process, which removes it.
    pub(crate) fn at(outside: &Path) -> Self {
        Self::on(Temp::Others(outside.to_path_buf()))
    }

    fn on(temp: Temp) -> Self {
        Self {
            temp,
            recorder: None,
            heard: Arc::default(),
            news: None,
            sentinels: 0,
            disk: Arc::new(RealDisk),
            interval: None,
            files: None,
        }
    }

    /// A root with these files, and a recorder that has taken them as the base.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let mut stage = Self::new();
        for (path, text) in files {
            stage.write(path, text);
        }
        stage.record();
        stage
    }

    /// Puts the store on a filesystem of so many MiB.
    pub(crate) fn small_filesystem(&mut self, mib: u32) -> Small {
        let dir = self.temp.path().join(".app.tickfs");
        fs::create_dir(&dir).unwrap();
        let size = format!("size={mib}m,mode=0700");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&dir).status().unwrap();
        assert!(mounted.success());
        let id = StoreId::new(UnixMillis(1), [7; 10]);
        Store::init_for(Arc::new(RealDisk), &dir, id, Some(&self.scope())).unwrap();
        Small { dir }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.temp.path().join("app")
    }

    pub(crate) fn outside(&self) -> &Path {
        self.temp.path()
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn scope(&self) -> Scope {
        Scope { root: self.root(), files: self.files.clone() }
    }

    pub(crate) fn store(&self) -> Store {
        let dir = self.temp.path().join(".app.tickfs");
        match dir.exists() {
            true => Store::open(Arc::clone(&self.disk), &dir).unwrap(),
            false => {
                let id = StoreId::new(UnixMillis(1), [7; 10]);
                Store::init_for(Arc::clone(&self.disk), &dir, id, Some(&self.scope())).unwrap()
            }
        }
    }

    pub(crate) fn writer(&self) -> StoreWriter {
        let who = Writer { writer: "test".to_owned(), writer_id: None, pid: std::process::id() };
        self.store().writer(who, Duration::from_secs(10)).unwrap()
    }

    pub(crate) fn record(&mut self) {
        self.record_with(Arc::new(self.writer()));
    }

    pub(crate) fn record_with(&mut self, writer: Arc<StoreWriter>) {
        let (to, news) = channel();
        let (heard, to) = (Arc::clone(&self.heard), Mutex::new(to));
        let announce = move |announcement: &Announcement| {
            heard.lock().push(announcement.clone());
            assert!(to.lock().send(()).is_ok() || std::thread::panicking());
        };
        let options = Options {
            announce: Arc::new(announce),
            clock: Arc::new(now),
            interval: self.interval,
            threads: None,
        };
        self.news = Some(news);
        self.recorder = Some(Recorder::start(writer, self.scope(), options).unwrap());
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        self.recorder.as_ref().unwrap()
    }

    pub(crate) fn stop(&mut self) {
        if let Some(recorder) = self.recorder.take() {
            recorder.stop().unwrap();
        }
    }

    /// Runs a command line in the root. `false`: one of its programs is not there.
    pub(crate) fn sh(&self, line: &str) {
        let status = Command::new("sh")
            .args(["-ec", line])
            .current_dir(self.root())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("HOME", self.outside())
            .envs([("GIT_AUTHOR_NAME", "t"), ("GIT_AUTHOR_EMAIL", "t@example.org")])
            .envs([("GIT_COMMITTER_NAME", "t"), ("GIT_COMMITTER_EMAIL", "t@example.org"), ("TERM", "dumb")])
            .status()
            .unwrap();
        assert!(status.success(), "{line}");
    }

    /// Waits until the announcements hold what is looked for.
    pub(crate) fn await_heard(&self, what: &str, found: impl Fn(&[Announcement]) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !found(&self.heard.lock()) {
            let left = until.saturating_duration_since(Instant::now());
            let waited = self.news.as_ref().unwrap().recv_timeout(left);
            assert!(waited.is_ok(), "never heard {what}; heard {:?}", self.heard.lock());
        }
    }

    /// Waits until everything that happened so far has been recorded by itself: a new name waits as long as any.
    pub(crate) fn settled(&mut self) -> Vec<Ticked> {
        self.sentinels += 1;
        let sentinel = format!("sentinel-{}", self.sentinels);
        self.write(&sentinel, "x");
        let is_it = |ticked: &Ticked| ticked.path.as_bytes() == sentinel.as_bytes();
        self.await_heard(&sentinel, |heard| ticks_of(heard).iter().any(is_it));
        self.ticks()
    }

    /// All ticks that were announced, without those of sentinels.
    pub(crate) fn ticks(&self) -> Vec<Ticked> {
        let mut ticks = ticks_of(&self.heard.lock());
        ticks.retain(|ticked| !ticked.path.as_bytes().starts_with(b"sentinel-"));
        ticks
    }

    /// What happens while `work` is done and until it has settled: `kind path`, or `rename from -> to`.
    pub(crate) fn during(&mut self, work: impl FnOnce(&Self)) -> Vec<String> {
        let before = self.ticks().len();
        work(self);
        self.settled()[before..].iter().map(shown).collect()
    }

    /// Every path at a tick of `main`, its mode and its bytes.
    pub(crate) fn recorded_at(&self, tick: Option<Tick>) -> Tree {
        let view = self.store().view().unwrap();
        let here = view.cursor_point().unwrap();
        let tree = view.tree(Point { tick: tick.unwrap_or(here.tick), ..here }).unwrap();
        let mut recorded = BTreeMap::new();
        tree.walk(&RelPath::root(), &mut |path, entry| {
            let version = &entry.version;
            let bytes = match version.kind {
                NodeType::Dir => Vec::new(),
                _ => tree.read(version)?,
            };
            recorded.insert(path.to_string(), (version.mode, bytes));
            Ok(())
        })
        .unwrap();
        recorded
    }

    /// Every path below the root that is to be recorded is in the tree at the cursor, and nothing else, byte for byte.
    pub(crate) fn assert_recorded(&self) {
        assert_same(&self.recorded_at(None), &on_disk(&self.root()));
    }
}

pub(crate) type Tree = BTreeMap<String, (u32, Vec<u8>)>;

pub(crate) fn assert_same(recorded: &Tree, on_disk: &Tree) {
    let not_in = |these: &BTreeMap<_, _>, those: &BTreeMap<_, _>| {
        these.keys().filter(|path| !those.contains_key(*path)).cloned().collect::<Vec<String>>()
    };
    let (missing, extra) = (not_in(on_disk, recorded), not_in(recorded, on_disk));
    assert!(missing.is_empty() && extra.is_empty(), "not recorded: {missing:?}; not on disk: {extra:?}");
    for (path, stands) in on_disk {
        assert!(recorded[path] == *stands, "{path} is recorded otherwise than it stands");
    }
}

/// A small filesystem, until it is dropped.
pub(crate) struct Small {
    dir: PathBuf,
}

impl Small {
    /// Takes all the room there is, in a file that can be removed again.
    pub(crate) fn fill(&self) -> PathBuf {
        use std::io::Write as _;
        let path = self.dir.join("filler");
        let mut file = fs::File::create(&path).unwrap();
        for len in [64 << 10, 4096] {
            while file.write_all(&vec![1; len]).is_ok() {}
        }
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: the recorder may still hold it, when a test failed.
        let unmounted = Command::new("umount").arg("-l").arg(&self.dir).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let (Some(recorder), false) = (self.recorder.take(), std::thread::panicking()) {
            recorder.stop().unwrap();
        }
    }
}

/// Everything below a directory but what version control and stores keep.
pub(crate) fn on_disk(root: &Path) -> Tree {
    fn add(root: &Path, at: &Path, found: &mut Tree) {
        let meta = fs::symlink_metadata(at).unwrap();
        let name = at.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let mode = meta.permissions().mode();
        if meta.is_dir() {
            found.insert(name, (mode, Vec::new()));
            for entry in fs::read_dir(at).unwrap() {
                let entry = entry.unwrap();
                if entry.file_name() != ".git" {
                    add(root, &entry.path(), found);
                }
            }
        } else if meta.is_symlink() {
            let target = fs::read_link(at).unwrap();
            found.insert(name, (mode, target.into_os_string().into_encoded_bytes()));
        } else {
            found.insert(name, (mode, fs::read(at).unwrap()));
        }
    }
    let mut found = BTreeMap::new();
    add(root, root, &mut found);
    found
}

pub(crate) fn ticks_of(heard: &[Announcement]) -> Vec<Ticked> {
    heard
        .iter()
        .flat_map(|announcement| match announcement {
            Announcement::Ticks { ticks, .. } => ticks.clone(),
            _ => Vec::new(),
        })
        .collect()
}

pub(crate) fn shown(ticked: &Ticked) -> String {
    let kind = ticked.kind.as_str();
    match &ticked.from {
        Some(from) => format!("{kind} {from} -> {}", ticked.path),
        None => format!("{kind} {}", ticked.path),
    }
}

pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixMillis(i64::try_from(since.as_millis()).unwrap())
}

/// Whether a program is there; says so if it is not.
pub(crate) fn has(program: &str) -> bool {
    let there =
        std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|dir| dir.join(program).is_file());
    if !there {
        println!("skipped: {program} is not installed");
    }
    there
}

pub(crate) fn path(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}
