//! The random work of a writer: saves, bursts, removals, renames, going back, entities, events.
//!
//! Each thread works in a directory of its own, and all on one cursor: when one goes back, the next change of any of
//! them makes a branch.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use tickfs_store::disk::RealDisk;
use tickfs_store::history::{Point, Stand};
use tickfs_store::ids::{BranchNo, ContentHash, StoreId, Tick, UnixMillis, UnixNanos};
use tickfs_store::journal::entry::{Action, ItemType, NodeType, Writer};
use tickfs_store::path::RelPath;
use tickfs_store::{Content, Error, Meta, Mutation, Saved, Store, StoreWriter};

use crate::promise::Promise;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    dir: PathBuf,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// Stop after so many mutations; without it only a signal ends it.
    #[arg(long)]
    mutations: Option<u64>,
    /// Control: nothing is made durable, so a power cut must be noticed. TICKFS_TEST_NO_FSYNC in the environment says
    /// the same.
    #[arg(long)]
    no_fsync: bool,
}

/// The store lies beside what the filesystem of `dir` keeps there itself.
pub(crate) fn store_dir(dir: &Path) -> PathBuf {
    dir.join("store")
}

pub(crate) fn who() -> Writer {
    Writer { writer: "storm".to_owned(), writer_id: None, pid: std::process::id() }
}

pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

pub(crate) fn open_or_init(dir: &Path) -> Result<Store> {
    let (disk, dir) = (Arc::new(RealDisk), store_dir(dir));
    if dir.join("FORMAT").exists() {
        return Store::open(disk, &dir).context("opening the store");
    }
    let id = StoreId::new(now(), std::array::from_fn(|_| fastrand::u8(..)));
    Store::init(disk, &dir, id).context("making the store")
}

/// Does not outlive whoever started it.
pub(crate) fn die_with_parent() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("asking to be killed with the parent")
}

pub(crate) fn write(arguments: &Arguments) -> Result<()> {
    die_with_parent()?;
    let mut store = open_or_init(&arguments.dir)?;
    if arguments.no_fsync || std::env::var_os("TICKFS_TEST_NO_FSYNC").is_some() {
        fs::write(store.layout().config(), "[store.journal]\nfsync = \"never\"\n")?;
        store = open_or_init(&arguments.dir)?;
    }
    let writer = store.writer(who(), Duration::from_secs(30)).context("opening the store for writing")?;
    writer.mutate(now(), base).context("writing the base")?;
    // A seed is given again to a store that has gone on meanwhile: ids and labels must be new ones.
    let seed = arguments.seed ^ writer.end().seq.0.rotate_left(32);
    let left = AtomicU64::new(arguments.mutations.unwrap_or(u64::MAX));
    std::thread::scope(|scope| {
        let (writer, left) = (&writer, &left);
        let start = |thread| {
            let work = move || Worker::new(seed, thread).work(writer, left);
            scope.spawn(work)
        };
        let threads: Vec<_> = (0..arguments.threads).map(start).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a worker returns its errors"))
    })?;
    writer.close().context("closing the store")
}

pub(crate) fn base(m: &mut Mutation<'_>) -> tickfs_store::Result<()> {
    if m.cursor().is_some() {
        return Ok(());
    }
    m.base(&RelPath::root(), &meta(NodeType::Dir), Content::None)?;
    for name in ["a", "b", "c"] {
        m.base(&rel(name), &meta(NodeType::File), Content::Bytes(name.as_bytes().to_vec()))?;
    }
    m.finish_base("8c3c0c0e-0000-4000-8000-000000000001")
}

pub(crate) fn rel(text: &str) -> RelPath {
    RelPath::new(text).expect("a path below the root, because it is made here")
}

pub(crate) fn meta(kind: NodeType) -> Meta {
    let mode = match kind {
        NodeType::File => 0o100_644,
        NodeType::Dir => 0o040_755,
        NodeType::Symlink => 0o120_777,
    };
    Meta { kind, mode, uid: 0, gid: 0, mtime: UnixNanos(1), holes: Vec::new() }
}

/// One change of a mutation, chosen before the mutation runs.
#[derive(Debug)]
enum Change {
    Save(RelPath, Vec<u8>),
    Remove(RelPath),
    Rename(RelPath, RelPath),
    /// The cursor goes this many ticks back, on its own branch or on `main`.
    GoBack {
        ticks: u64,
        to_main: bool,
    },
    Fork(String),
    Put {
        id: String,
        padding: usize,
    },
    Retire(String),
    Note,
}

struct Worker {
    random: fastrand::Rng,
    area: String,
    /// The text that was last written to a path: what is saved next is an edit of it.
    texts: HashMap<String, Vec<String>>,
    /// An entity that waits to be deleted.
    to_retire: Option<String>,
}

impl Worker {
    fn new(seed: u64, thread: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(thread));
        Self { random, area: format!("t{thread}"), texts: HashMap::new(), to_retire: None }
    }

    fn work(mut self, writer: &StoreWriter, left: &AtomicU64) -> Result<()> {
        let one_less = |left: u64| left.checked_sub(1);
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            let changes = self.choose();
            let described = format!("{changes:?}");
            match writer.mutate(now(), move |m| apply(m, changes)) {
                Ok(promises) => say(&promises)?,
                // The path that was to move is not there: it is on another branch, or was never made.
                Err(Error::NotFound { .. }) => {}
                Err(error) => {
                    return Err(error).with_context(|| described.chars().take(200).collect::<String>());
                }
            }
        }
        Ok(())
    }

    fn choose(&mut self) -> Vec<Change> {
        match self.random.u32(0..100) {
            0..50 => vec![self.save()],
            50..65 => (0..self.random.u32(2..8)).map(|_| self.save()).collect(),
            65..72 => vec![Change::Remove(rel(&self.file()))],
            72..74 => vec![Change::Remove(rel(&self.directory()))],
            74..79 => vec![Change::Rename(rel(&self.file()), rel(&self.file()))],
            79..81 => vec![Change::Rename(rel(&self.directory()), rel(&self.directory()))],
            81..83 => vec![Change::GoBack { ticks: self.random.u64(1..40), to_main: self.random.bool() }],
            83 => vec![Change::Fork(format!("fork-{:016x}", self.random.u64(..)))],
            84..92 => {
                let padding = if self.random.u8(..) < 8 { 70_000 } else { self.random.usize(0..2_000) };
                vec![Change::Put { id: format!("e{}", self.random.u32(0..10)), padding }]
            }
            92..95 => match self.to_retire.take() {
                Some(id) => vec![Change::Retire(id)],
                None => {
                    let id = format!("once-{:016x}", self.random.u64(..));
                    self.to_retire = Some(id.clone());
                    vec![Change::Put { id, padding: 10 }]
                }
            },
            _ => vec![Change::Note],
        }
    }

    fn directory(&mut self) -> String {
        let inner = if self.random.bool() { "" } else { "/e" };
        format!("{}/d{}{inner}", self.area, self.random.u32(0..3))
    }

    fn file(&mut self) -> String {
        let directory = if self.random.bool() { self.area.clone() } else { self.directory() };
        format!("{directory}/f{}", self.random.u32(0..10))
    }

    fn save(&mut self) -> Change {
        let path = self.file();
        let random = &mut self.random;
        let text = self.texts.entry(path.clone()).or_default();
        match random.u32(0..400) {
            0 => text.clear(),
            1 => *text = vec!["a line of a large file ".repeat(60_000)],
            2..10 => text.extend((0..800).map(|line| format!("line {line}: {:016x}", random.u64(..)))),
            _ => {}
        }
        let line = format!("{:016x}", random.u64(..));
        match text.len() {
            lines if lines > 1_500 => text.truncate(10),
            0..20 => text.push(line),
            lines => text[random.usize(0..lines)] = line,
        }
        Change::Save(rel(&path), text.join("\n").into_bytes())
    }
}

/// One write of all lines, so that none of them is said without the others of its mutation.
fn say(promises: &[Promise]) -> Result<()> {
    let lines: String = promises.iter().map(|promise| format!("{promise}\n")).collect();
    let mut out = std::io::stdout().lock();
    out.write_all(lines.as_bytes()).and_then(|()| out.flush()).context("saying what is confirmed")
}

fn apply(m: &mut Mutation<'_>, changes: Vec<Change>) -> tickfs_store::Result<Vec<Promise>> {
    let mut promises = Vec::new();
    for change in changes {
        let branch_before = branch(m);
        apply_one(m, change, &mut promises)?;
        let no = branch(m);
        if let Some(branch) = m.branches().get(no).filter(|_| no != branch_before) {
            promises.push(Promise::Branch { no, label: branch.label.clone() });
        }
    }
    Ok(promises)
}

fn branch(m: &Mutation<'_>) -> BranchNo {
    m.cursor().map_or(BranchNo::MAIN, |cursor| cursor.branch)
}

fn apply_one(m: &mut Mutation<'_>, change: Change, promises: &mut Vec<Promise>) -> tickfs_store::Result<()> {
    match change {
        Change::Save(path, bytes) => {
            make_parents(m, &path, promises)?;
            let hash = ContentHash::of(&bytes);
            if let Saved::Ticked(tick) = m.save(&path, &meta(NodeType::File), Content::Bytes(bytes))? {
                promises.push(Promise::File { at: at(m, tick), path, hash });
            }
        }
        Change::Remove(path) => {
            if let Some(tick) = m.remove(&path)? {
                promises.push(Promise::Absent { at: at(m, tick), path });
            }
        }
        Change::Rename(from, to) => {
            if from == to || to.starts_with(&from) || from.starts_with(&to) {
                return Ok(());
            }
            make_parents(m, &to, promises)?;
            let tick = m.rename(&from, &to)?;
            promises.push(Promise::Renamed { at: at(m, tick), from, to });
        }
        Change::GoBack { ticks, to_main } => {
            let no = if to_main { BranchNo::MAIN } else { branch(m) };
            let head = m.branches().head(no);
            let tick = m.branches().at_or_before(no, Tick(head.0.saturating_sub(ticks)));
            m.move_cursor(Stand { branch: no, tick, partial: Vec::new() }, "revert")?;
        }
        Change::Fork(label) => m.fork_here(&label, false)?,
        Change::Put { id, padding } => {
            let count = count_of(m.entity(&entity_kind(), &id)?.as_deref()) + 1;
            m.put_entity(
                &entity_kind(),
                &id,
                &serde_json::json!({"count": count, "padding": "x".repeat(padding)}),
            )?;
            promises.push(Promise::Entity { id, count });
        }
        Change::Retire(id) => {
            m.delete_entity(&entity_kind(), &id)?;
            promises.push(Promise::Gone { id });
        }
        // Not fsynced, so nothing is promised.
        Change::Note => {
            m.observe(Action::Note, &ItemType::COMMAND, None, &serde_json::json!({"said": "x"}))?
        }
    }
    Ok(())
}

fn at(m: &Mutation<'_>, tick: Tick) -> Point {
    Point { branch: branch(m), tick }
}

fn make_parents(
    m: &mut Mutation<'_>,
    path: &RelPath,
    promises: &mut Vec<Promise>,
) -> tickfs_store::Result<()> {
    let Some(parent) = path.parent().filter(|parent| !parent.is_root()) else { return Ok(()) };
    make_parents(m, &parent, promises)?;
    if let Saved::Ticked(tick) = m.save(&parent, &meta(NodeType::Dir), Content::None)? {
        promises.push(Promise::Directory { at: at(m, tick), path: parent });
    }
    Ok(())
}

pub(crate) fn entity_kind() -> ItemType {
    ItemType::parse("plan").expect("a legal kind")
}

/// How often an entity has been changed; 0 if it does not exist.
pub(crate) fn count_of(body: Option<&str>) -> u64 {
    let payload = body.and_then(|body| serde_json::from_str::<serde_json::Value>(body).ok());
    payload.and_then(|payload| payload.get("count")?.as_u64()).unwrap_or(0)
}
