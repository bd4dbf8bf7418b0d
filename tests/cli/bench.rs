//! A directory with a project and the binary to run on it; what it prints is made the same on every machine.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tickfs_store::disk::{Disk, RealDisk};
use tickfs_store::ids::{UnixMillis, UnixNanos};
use tickfs_store::journal::entry::{NodeType, Writer};
use tickfs_store::path::RelPath;
use tickfs_store::{Content, Meta, Store, StoreWriter};
pub(crate) use tickfs_tests::program::{Shown, is_installed};

pub(crate) const TICKFS: &str = env!("CARGO_BIN_EXE_tickfs");
pub(crate) const NOW: UnixMillis = UnixMillis(1_763_640_900_123);

pub(crate) struct Bench {
    temp: tempfile::TempDir,
}

impl Bench {
    /// A project `app` that no store records.
    pub(crate) fn new() -> Self {
        let bench = Self { temp: tempfile::tempdir().unwrap() };
        std::fs::create_dir(bench.path("app")).unwrap();
        bench
    }

    /// The same with a store.
    pub(crate) fn with_store() -> Self {
        let bench = Self::new();
        assert_eq!(bench.run(&["init"]).status, 0);
        bench
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.temp.path().canonicalize().unwrap().join(below)
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(disk(), &self.path(".app.tickfs")).unwrap()
    }

    pub(crate) fn writer(&self) -> StoreWriter {
        self.store().writer(who(), Duration::from_secs(5)).unwrap()
    }

    /// Writes a file of the project, and records what is there: the last tick.
    pub(crate) fn save(&self, path: &str, text: impl AsRef<[u8]>) -> u64 {
        let full = self.path("app").join(path);
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(full, text).unwrap();
        self.record()
    }

    /// What a command does before it moves: the last tick.
    pub(crate) fn record(&self) -> u64 {
        let scope = self.store().scope().unwrap().unwrap();
        tickfs_tracer::files::record_now(&self.writer(), &scope, &|| NOW).unwrap();
        self.store().view().unwrap().last_tick().0
    }

    pub(crate) fn text(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.path("app").join(path)).ok()
    }

    /// The specification's own layout, as it is exported now.
    pub(crate) fn codevovle(&self, path: &str) -> serde_json::Value {
        let out = self.path("exported");
        if out.exists() {
            std::fs::remove_dir_all(&out).unwrap();
        }
        let shown = self.run(&["export", "--format", "codevovle", &out.display().to_string()]);
        assert_eq!(shown.status, 0, "{}", shown.stderr);
        serde_json::from_slice(&std::fs::read(out.join(path)).unwrap()).unwrap()
    }

    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        let shown = self.run(args);
        serde_json::from_str(&shown.stdout).unwrap_or_else(|_| panic!("{args:?} showed {shown:?}"))
    }

    /// Runs it, and fails unless it succeeds: what it printed.
    pub(crate) fn done(&self, args: &[&str]) -> String {
        let shown = self.run(args);
        assert_eq!(shown.status, 0, "{args:?}: {}", shown.stderr);
        shown.stdout
    }

    /// Runs it, and fails unless it fails so and leaves root and cursor as they were: what it said.
    pub(crate) fn refused(&self, args: &[&str], status: i32) -> String {
        let before = self.state();
        let shown = self.run(args);
        assert_eq!((shown.status, self.state()), (status, before), "{args:?}: {}", shown.stderr);
        shown.stderr.trim_end().to_owned()
    }

    /// Every file of the project, and where the cursor stands.
    pub(crate) fn state(&self) -> (BTreeMap<PathBuf, Vec<u8>>, Option<tickfs_store::history::Cursor>) {
        let mut files = BTreeMap::new();
        read_into(&self.path("app"), &mut files);
        let cursor = self.store().view().unwrap().cursor().cloned();
        (files.into_iter().map(|(path, (bytes, _))| (path, bytes)).collect(), cursor)
    }

    /// The binary in the project's directory, with nothing of this machine around it.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path("app")).stdin(Stdio::null()).env("HOME", self.path("home"));
        command.env("TICKFS_TEST_NOW", NOW.0.to_string()).env_remove("COLUMNS");
        command.env("TZ", "UTC");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Shown {
        self.shown(self.command(TICKFS).args(args))
    }

    pub(crate) fn shown(&self, command: &mut Command) -> Shown {
        Shown::of(command, |text| self.same_everywhere(text))
    }

    /// Runs it, and holds what it showed against `golden/NAME.txt`.
    pub(crate) fn golden(&self, name: &str, runs: &[&[&str]]) {
        let mut all = String::new();
        for args in runs {
            let shown = self.run(args);
            all.push_str(&format!("$ tickfs {}\n{}", args.join(" "), shown.stdout));
            if !shown.stderr.is_empty() {
                all.push_str(&format!("--- stderr\n{}", shown.stderr));
            }
            all.push_str(&format!("--- exit status {}\n\n", shown.status));
        }
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cli/golden").join(format!("{name}.txt"));
        if std::env::var_os("TICKFS_GOLDEN").is_some_and(|value| value == "write") {
            std::fs::write(&path, &all).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(all == expected, "{} differs; this was shown:\n{all}", path.display());
    }

    /// Without paths of this machine and ids that were drawn.
    fn same_everywhere(&self, text: &str) -> String {
        let text = text.replace(&self.path("").display().to_string(), "/p/");
        let mut same = String::new();
        let is_part = |c: char| c.is_ascii_alphanumeric();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(is_part) {
            let (before, word) = rest.split_at(at);
            let (word, after) = word.split_at(word.find(|c| !is_part(c)).unwrap_or(word.len()));
            same.push_str(before);
            same.push_str(if word.len() == 26 && word.starts_with("01") { "STORE-ID" } else { word });
            rest = after;
        }
        same + rest
    }

    /// Every file of the store: its bytes and when it was written.
    pub(crate) fn bytes_of_store(&self) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
        let mut files = BTreeMap::new();
        read_into(&self.path(".app.tickfs"), &mut files);
        files
    }
}

fn read_into(dir: &Path, files: &mut BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)>) {
    for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
        let (path, meta) = (entry.path(), entry.metadata().unwrap());
        match meta.is_dir() {
            true => {
                files.insert(path.clone(), (Vec::new(), meta.modified().unwrap()));
                read_into(&path, files);
            }
            false => {
                files.insert(path.clone(), (std::fs::read(&path).unwrap(), meta.modified().unwrap()));
            }
        }
    }
}

pub(crate) fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

/// Its number is always the same, so that what it writes is as long on every run.
pub(crate) fn who() -> Writer {
    Writer { writer: "test".to_owned(), writer_id: None, pid: 7 }
}

pub(crate) fn rel(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

pub(crate) fn meta(kind: NodeType) -> Meta {
    let mode = if kind == NodeType::Dir { 0o040_755 } else { 0o100_644 };
    Meta { kind, mode, uid: 0, gid: 0, mtime: UnixNanos(1), holes: Vec::new() }
}

/// A base with one file `a`, and as many saves of it.
pub(crate) fn save(writer: &StoreWriter, saves: usize) {
    writer
        .mutate(NOW, |m| {
            m.base(&RelPath::root(), &meta(NodeType::Dir), Content::None)?;
            m.base(&rel("a"), &meta(NodeType::File), Content::Bytes(b"zero\n".to_vec()))?;
            m.finish_base("8c3c0c0e-0000-4000-8000-000000000001")
        })
        .unwrap();
    for n in 0..saves {
        let text = format!("{}save {n}\n", "a line that stays as it is\n".repeat(40));
        let text = text.into_bytes();
        writer.mutate(NOW, move |m| m.save(&rel("a"), &meta(NodeType::File), Content::Bytes(text))).unwrap();
    }
}

/// The binary as a user who may not write where `path` lies. Root may write everywhere, so that it has to become another.
pub(crate) fn as_stranger(bench: &Bench) -> Option<Command> {
    let writable = |dir: &Path, mode| {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let is_root = std::fs::metadata("/proc/self").map(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    if !is_root.unwrap() {
        return Some(bench.command(TICKFS));
    }
    if !is_installed("setpriv") {
        return None;
    }
    writable(&bench.path(""), 0o755);
    let binary = bench.path("tickfs");
    // Once: what is being written, or held by a child that is being born, cannot be run.
    if !binary.exists() {
        std::fs::copy(TICKFS, &binary).unwrap();
    }
    let mut command = bench.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(binary);
    Some(command)
}
