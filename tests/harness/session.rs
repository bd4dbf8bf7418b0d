//! Sessions: what a store is asked to do, step by step, beside the model of what should come of it.
//!
//! Numbers become steps with the model's help, so that most of them mean something; the same numbers are always the
//! same steps.
//! Invariant: `Script::models[n]` is what a store says after `n` steps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tickfs_store::disk::{Disk, SimDisk};
use tickfs_store::history::{PartialPath, Point, Stand};
use tickfs_store::ids::{BranchNo, StoreId, Tick, UnixMillis, UnixNanos};
use tickfs_store::journal::entry::{Action, ItemType, NodeType, Writer};
use tickfs_store::path::RelPath;
use tickfs_store::{Content, Error, Meta, Mutation, Result, Store, StoreWriter};

use crate::model::{At, Change, Files, Model, Node};

/// One thing that a session does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Makes the store, unless an earlier try got that far.
    Init,
    Base {
        now: i64,
        files: Files,
    },
    /// One mutation. With `refuse` its caller changes its mind at the end.
    Mutate {
        now: i64,
        changes: Vec<Change>,
        refuse: bool,
    },
    /// An event that holds no state; a long one is kept in the packs.
    Note {
        now: i64,
        len: usize,
    },
    /// The writer goes, by a clean stop or not, and another comes.
    Reopen {
        clean: bool,
    },
    LoseIndex,
    /// From here on segments and packs are short, so that they roll, and are sealed and compacted.
    Shorten,
    /// What `doctor --compact` does.
    Compact {
        now: i64,
    },
}

/// Steps, and the model before and after each.
#[derive(Debug, Clone)]
pub struct Script {
    pub steps: Vec<Step>,
    pub models: Vec<Model>,
}

impl Script {
    /// A new store with a base, then what the numbers choose.
    #[must_use]
    pub fn new(numbers: &[u64]) -> Self {
        let mut script = Self { steps: Vec::new(), models: vec![Model::default()] };
        script.push(Step::Init);
        if numbers.first().is_some_and(|number| number % 2 == 1) {
            script.push(Step::Shorten);
        }
        script.push(Step::Base { now: 1_000_000, files: base() });
        let mut numbers = numbers.iter().copied();
        let mut now = 1_000_000;
        while let Some(number) = numbers.next() {
            now += 1_000;
            let step = choose_step(script.last(), now, &mut Draw(number), &mut numbers);
            script.push(step);
        }
        script
    }

    /// The same for numbers that follow from a seed. An odd one makes short segments and packs.
    #[must_use]
    pub fn seeded(seed: u64, len: usize) -> Self {
        let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut roll = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut numbers: Vec<u64> = (0..len + 8).map(|_| roll()).skip(8).collect();
        if let Some(first) = numbers.first_mut() {
            *first = *first & !1 | seed & 1;
        }
        Self::new(&numbers)
    }

    /// A script that goes on from what a model says.
    #[must_use]
    pub fn from(model: Model) -> Self {
        Self { steps: Vec::new(), models: vec![model] }
    }

    /// Adds one step.
    pub fn push(&mut self, step: Step) {
        let mut model = self.last().clone();
        match &step {
            Step::Base { now, files } => model.base(*now, files.clone()),
            Step::Mutate { now, changes, refuse: false } => {
                // A refusal is expected of the store too.
                model.mutate(*now, changes).unwrap_or_default();
            }
            Step::Init
            | Step::Mutate { .. }
            | Step::Note { .. }
            | Step::Reopen { .. }
            | Step::LoseIndex
            | Step::Shorten
            | Step::Compact { .. } => {}
        }
        self.steps.push(step);
        self.models.push(model);
    }

    /// What the store says after the last step.
    #[must_use]
    pub fn last(&self) -> &Model {
        self.models.last().expect("at least one, because a script begins with an empty model")
    }

    /// Whether the store must refuse step `n`.
    #[must_use]
    pub fn is_refused(&self, n: usize) -> bool {
        match &self.steps[n] {
            Step::Mutate { refuse: true, .. } => true,
            Step::Mutate { now, changes, .. } => self.models[n].clone().mutate(*now, changes).is_err(),
            _ => false,
        }
    }
}

/// A number that is used up choice by choice.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        let end = end.max(1) as u64;
        let chosen = self.0 % end;
        self.0 /= end;
        usize::try_from(chosen).expect("it fits, because it is below a usize")
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

fn choose_step(model: &Model, now: i64, draw: &mut Draw, more: &mut impl Iterator<Item = u64>) -> Step {
    // Clocks are set back now and then; nothing may depend on them.
    let now = if draw.below(8) == 7 { now - 3_600_000 } else { now };
    let (count, refuse) = match draw.below(25) {
        24 => return Step::Compact { now },
        23 => return Step::Reopen { clean: draw.below(2) == 0 },
        22 => return Step::LoseIndex,
        21 => return Step::Note { now, len: draw.one_of(&[5, 300, 70_000]) },
        20 => (2, true),
        14..20 => (2 + draw.below(3), false),
        _ => (1, false),
    };
    let mut ahead = model.clone();
    let mut changes = Vec::new();
    for n in 0..count {
        let number = if n == 0 { draw.0 } else { more.next().unwrap_or(draw.0) };
        let change = choose_change(&ahead, &mut Draw(number));
        let all: Vec<Change> = changes.iter().cloned().chain([change]).collect();
        // What is refused ends the burst, and with it the mutation.
        let refused = ahead.mutate(now, &all[n..]).is_err();
        changes = all;
        if refused {
            break;
        }
    }
    Step::Mutate { now, changes, refuse }
}

/// Few paths, so that they meet often.
fn paths() -> Vec<RelPath> {
    let names: [&[u8]; 13] = [
        b"a", b"b", b"d", b"d/x", b"d/y", b"d/e", b"d/e/z", b"f", b"f/x", b"f/e", b"d.x", b"\xff\n", b"f/e/z",
    ];
    names.iter().map(path).collect()
}

/// A path that is known to be one.
#[must_use]
pub fn path(name: impl AsRef<[u8]>) -> RelPath {
    RelPath::new(name.as_ref()).expect("a path, because it is spelled out")
}

/// A file as it is saved.
#[must_use]
pub fn file(bytes: &[u8]) -> Node {
    let bytes: Arc<[u8]> = bytes.into();
    Node { kind: NodeType::File, mode: 0o100_644, mtime: 1, size: bytes.len() as u64, bytes: Some(bytes) }
}

#[must_use]
pub fn directory() -> Node {
    Node { kind: NodeType::Dir, mode: 0o040_755, mtime: 1, size: 0, bytes: None }
}

/// The base that scripts begin with.
#[must_use]
pub fn base() -> Files {
    let all = [("", directory()), ("a", file(b"first\n")), ("d", directory()), ("d/x", file(&text(3, 1)))];
    all.into_iter().map(|(name, node)| (path(name), node)).collect()
}

/// Lines of which variants differ in one.
fn text(lines: usize, variant: usize) -> Vec<u8> {
    let line = |n: usize| format!("line {n} {}\n", if n == variant % 7 { variant } else { 0 });
    (0..lines).map(line).collect::<String>().into_bytes()
}

/// Bytes that do not compress.
fn noise(len: usize, seed: usize) -> Vec<u8> {
    let mut state = seed as u64 * 2 + 0x9e37_79b9;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(byte).collect()
}

fn choose_change(model: &Model, draw: &mut Draw) -> Change {
    let path = draw.one_of(&paths());
    match draw.below(32) {
        0..10 => Change::Save(path.clone(), choose_node(&path, draw)),
        10..13 => choose_mode(model, draw),
        13..16 => Change::Remove(choose_known(model, draw).unwrap_or(path)),
        16..20 => Change::Rename(choose_known(model, draw).unwrap_or(path), draw.one_of(&paths())),
        20..22 => Change::Restore(path, choose_point(model, draw)),
        22..24 => Change::Move(choose_back(model, draw), Vec::new()),
        24..27 => choose_partial(model, path, draw),
        27 => jump(model, draw),
        28 => Change::CreateBranch(choose_label(draw), choose_point(model, draw)),
        29 => Change::ForkHere(choose_label(draw)),
        30 => {
            let labels: Vec<String> = model.branches.iter().map(|b| b.label.clone()).collect();
            Change::RenameBranch(draw.one_of(&labels), choose_label(draw))
        }
        _ => choose_entity(draw),
    }
}

fn choose_node(path: &RelPath, draw: &mut Draw) -> Node {
    let likes_to_be_a_directory = [&b"d"[..], b"f", b"d/e", b"f/e"].contains(&path.as_bytes());
    let kind = draw.below(8);
    let node = match (likes_to_be_a_directory, kind) {
        (true, 0..6) | (false, 0) => directory(),
        (_, 6) => {
            Node { kind: NodeType::Symlink, mode: 0o120_777, ..file(draw.one_of(&[&b"a"[..], b"d/x"])) }
        }
        (_, 7) if draw.below(2) == 0 => Node { bytes: None, size: 1 << 40, ..file(b"") },
        _ => match draw.below(8) {
            0 => file(b""),
            1 => file(&noise(3_000, draw.below(2))),
            2 => file(b"a"),
            _ => file(&text(draw.one_of(&[3, 40]), draw.below(5))),
        },
    };
    Node { mtime: i64::try_from(draw.below(1_000_000_000)).unwrap_or(0), ..node }
}

/// What stands there, with another mode.
fn choose_mode(model: &Model, draw: &mut Draw) -> Change {
    let files: Vec<(RelPath, Node)> = model.on_disk().into_iter().collect();
    let (path, node) = draw.one_of(&files);
    let mode = node.mode & !0o777 | draw.one_of(&[0o644, 0o755, 0o600]);
    Change::Save(path, Node { mode, ..node })
}

fn choose_known(model: &Model, draw: &mut Draw) -> Option<RelPath> {
    let known: Vec<RelPath> = model.on_disk().into_keys().filter(|path| !path.is_root()).collect();
    (!known.is_empty()).then(|| draw.one_of(&known))
}

/// A tick of a branch, and seldom one that is none.
fn choose_point(model: &Model, draw: &mut Draw) -> At {
    let numbers: Vec<u32> = model.branches.iter().map(|branch| branch.no).collect();
    let branch = draw.one_of(&numbers);
    match draw.below(16) {
        15 => At { branch: branch + 1, tick: 0 },
        14 => At { branch, tick: model.last_tick() + 1 },
        _ => {
            let ticks: Vec<u64> = [0].into_iter().chain(model.chain(branch)).collect();
            At { branch, tick: draw.one_of(&ticks) }
        }
    }
}

/// An earlier tick of the active branch.
fn choose_back(model: &Model, draw: &mut Draw) -> At {
    let branch = model.stand.as_ref().map_or(1, |stand| stand.branch);
    let mut ticks: Vec<u64> = [0].into_iter().chain(model.chain(branch)).collect();
    ticks.drain(..ticks.len().saturating_sub(8));
    At { branch, tick: draw.one_of(&ticks) }
}

/// `revert --file`: one path goes elsewhere, the rest of the cursor stays. Commands do that with files alone.
fn choose_partial(model: &Model, path: RelPath, draw: &mut Draw) -> Change {
    let at = choose_point(model, draw);
    let to = model.point().unwrap_or(At { branch: 1, tick: 0 });
    let mut partial = model.stand.as_ref().map_or_else(Vec::new, |stand| stand.partial.clone());
    partial.retain(|(known, _)| *known != path);
    if model.tree(at).get(&path).is_none_or(|node| node.kind != NodeType::Dir) {
        partial.push((path, at));
    }
    Change::Move(to, partial)
}

fn jump(model: &Model, draw: &mut Draw) -> Change {
    let numbers: Vec<u32> = model.branches.iter().map(|branch| branch.no).collect();
    let branch = draw.one_of(&numbers);
    Change::Move(At { branch, tick: model.head(branch) }, Vec::new())
}

fn choose_label(draw: &mut Draw) -> String {
    draw.one_of(&["try", "main-1", "main-2", "other", "try-1", "main", "7", "a/b", "HEAD"]).to_owned()
}

fn choose_entity(draw: &mut Draw) -> Change {
    let id = draw.one_of(&["one", "two"]).to_owned();
    match draw.below(4) {
        0 => Change::DeleteEntity(id),
        1 => Change::PutEntity(id, "long ".repeat(20_000)),
        _ => Change::PutEntity(id, format!("text {}", draw.below(100))),
    }
}

/// A store on a simulated disk, and its writer.
#[derive(Debug)]
pub struct Session {
    disk: SimDisk,
    open: Option<(Store, StoreWriter)>,
}

/// Where the store lies on every simulated disk.
#[must_use]
pub fn store_dir() -> PathBuf {
    PathBuf::from("/.app.tickfs")
}

#[must_use]
pub fn who() -> Writer {
    Writer { writer: "test".to_owned(), writer_id: None, pid: 7 }
}

impl Session {
    /// Nothing is opened before the first step.
    #[must_use]
    pub fn new(disk: &SimDisk) -> Self {
        Self { disk: disk.clone(), open: None }
    }

    #[must_use]
    pub fn store(&self) -> Option<&Store> {
        self.open.as_ref().map(|(store, _)| store)
    }

    #[must_use]
    pub fn writer(&self) -> Option<&StoreWriter> {
        self.open.as_ref().map(|(_, writer)| writer)
    }

    /// Opens the store as the next process would, unless it is open.
    pub fn open(&mut self) -> Result<&StoreWriter> {
        if self.open.is_none() {
            self.adopt(Store::open(Arc::new(self.disk.clone()), &store_dir())?)?;
        }
        Ok(&self.open.as_ref().expect("it is open, because it was opened above").1)
    }

    /// The process ends without a word.
    pub fn drop_writer(&mut self) {
        self.open = None;
    }

    fn adopt(&mut self, store: Store) -> Result<()> {
        let writer = store.writer(who(), Duration::ZERO)?;
        self.open = Some((store, writer));
        Ok(())
    }

    /// Does one step.
    pub fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Init => {
                self.open = None;
                let opened = match Store::open(Arc::new(self.disk.clone()), &store_dir()) {
                    Err(Error::NotFound { .. }) => {
                        let id = StoreId::new(UnixMillis(1), [7; 10]);
                        Store::init(Arc::new(self.disk.clone()), &store_dir(), id)
                    }
                    opened => opened,
                };
                self.adopt(opened?)
            }
            Step::Base { now, files } => {
                let files = files.clone();
                self.open()?.mutate(UnixMillis(*now), move |m| {
                    for (path, node) in &files {
                        m.base(path, &meta(node), content(node))?;
                    }
                    m.finish_base("00000000-0000-4000-8000-000000000001")
                })
            }
            Step::Mutate { now, changes, refuse } => {
                let (changes, refuse) = (changes.clone(), *refuse);
                self.open()?.mutate(UnixMillis(*now), move |m| {
                    changes.iter().try_for_each(|change| apply(m, change))?;
                    if refuse { Err(Error::refused("on second thoughts")) } else { Ok(()) }
                })
            }
            Step::Note { now, len } => {
                let text = "n".repeat(*len);
                let note = move |m: &mut Mutation<'_>| {
                    m.observe(Action::Note, &ItemType::COMMAND, None, &payload(&text))
                };
                self.open()?.mutate(UnixMillis(*now), note)
            }
            Step::Reopen { clean } => {
                match self.open.take() {
                    Some((_, writer)) if *clean => writer.close()?,
                    _ => {}
                }
                self.open().map(drop)
            }
            Step::Shorten => {
                self.open = None;
                let config = store_dir().join("config.toml");
                let text = b"[store.journal]\nroll_bytes = 2500\n[store.packs]\nroll_bytes = 1500\n";
                self.disk.write(&config, text).map_err(|e| Error::refused(e.to_string()))?;
                self.open().map(drop)
            }
            Step::Compact { now } => self.open()?.compact(UnixMillis(*now)).map(drop),
            Step::LoseIndex => {
                self.open = None;
                lose_index(&self.disk);
                self.open().map(drop)
            }
        }
    }
}

/// Deletes the projection, as a person might.
pub fn lose_index(disk: &SimDisk) {
    for file in index_files(disk) {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                panic!("the scratch file {} stays: {error}", file.display())
            }
            _ => {}
        }
    }
}

/// The scratch files of the projection: the database, its log, and what its readers share.
#[must_use]
pub fn index_files(disk: &SimDisk) -> [PathBuf; 3] {
    let database = disk.database(&store_dir().join("index.db"));
    let beside = |suffix: &str| {
        let mut name = database.clone().into_os_string();
        name.push(suffix);
        PathBuf::from(name)
    };
    [beside(""), beside("-wal"), beside("-shm")]
}

/// The segments of the journal, oldest first.
#[must_use]
pub fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|e| e == "jsonl");
    disk.paths().into_iter().filter(|path| path.starts_with(journal_dir()) && is_segment(path)).collect()
}

fn journal_dir() -> PathBuf {
    store_dir().join(Path::new("journal"))
}

/// Says one change to a mutation.
pub fn apply(m: &mut Mutation<'_>, change: &Change) -> Result<()> {
    match change {
        Change::Save(path, node) => m.save(path, &meta(node), content(node)).map(drop),
        Change::Remove(path) => m.remove(path).map(drop),
        Change::Rename(from, to) => m.rename(from, to).map(drop),
        Change::Restore(path, at) => m.restore(path, point(*at), None).map(drop),
        Change::Move(to, partial) => {
            let partial = partial.iter().map(|(path, at)| PartialPath { path: path.clone(), at: point(*at) });
            let to = point(*to);
            m.move_cursor(Stand { branch: to.branch, tick: to.tick, partial: partial.collect() }, "revert")
        }
        Change::CreateBranch(label, at) => m
            .create_branch(label, &format!("id-{label}-{}", m.branches().listed().count()), point(*at), false)
            .map(drop),
        Change::ForkHere(label) => m.fork_here(label, false),
        Change::RenameBranch(old, new) => m.rename_branch(old, new),
        Change::PutEntity(id, text) => m.put_entity(&ItemType::HANDOFF, id, &payload(text)),
        Change::DeleteEntity(id) => m.delete_entity(&ItemType::HANDOFF, id).map(drop),
    }
}

/// A document that holds one text.
#[must_use]
pub fn payload(text: &str) -> BTreeMap<&'static str, &str> {
    BTreeMap::from([("text", text)])
}

/// The store's spelling of a point.
#[must_use]
pub fn point(at: At) -> Point {
    Point { branch: BranchNo(at.branch), tick: Tick(at.tick) }
}

/// What a store is told of a node, whose owner is always the same.
#[must_use]
pub fn meta(node: &Node) -> Meta {
    let Node { kind, mode, mtime, .. } = *node;
    Meta { kind, mode, uid: 1000, gid: 100, mtime: UnixNanos(mtime), holes: Vec::new() }
}

#[must_use]
pub fn content(node: &Node) -> Content<'static> {
    match &node.bytes {
        Some(bytes) => Content::Bytes(bytes.to_vec()),
        None if node.kind == NodeType::Dir => Content::None,
        None => Content::Skipped { size: node.size },
    }
}
