//! A naive model of a store: a list of facts that is replayed from the first one for every question.
//!
//! It says what design.md asks for (recording, branches, going back) in plain maps, and calls nothing of the store but
//! its spelling of paths and kinds.
//!
//! Invariants:
//!   * A change that is refused leaves the model as it was.
//!   * A tree is made from the facts alone, each time anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use tickfs_store::journal::entry::{Action, NodeType};
use tickfs_store::path::RelPath;

/// What a path is.
#[derive(Clone, PartialEq, Eq)]
pub struct Node {
    pub kind: NodeType,
    pub mode: u32,
    pub mtime: i64,
    pub size: u64,
    /// A file's bytes or a symlink's target; `None` for a directory, and for a file whose content was not kept.
    pub bytes: Option<Arc<[u8]>>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start =
            self.bytes.as_deref().map(|b| String::from_utf8_lossy(&b[..b.len().min(24)]).into_owned());
        write!(f, "{:o} of {} bytes {start:?} mtime {}", self.mode, self.size, self.mtime)
    }
}

/// All paths at one point; the root is the empty path.
pub type Files = BTreeMap<RelPath, Node>;

/// A tick of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    pub branch: u32,
    pub tick: u64,
}

/// Where the root stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stand {
    pub branch: u32,
    /// `None`: at the head, wherever that is.
    pub tick: Option<u64>,
    pub partial: Vec<(RelPath, At)>,
}

/// One change as a caller asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Save(RelPath, Node),
    Remove(RelPath),
    Rename(RelPath, RelPath),
    Restore(RelPath, At),
    /// Revert and jump: the tick is always said.
    Move(At, Vec<(RelPath, At)>),
    CreateBranch(String, At),
    ForkHere(String),
    RenameBranch(String, String),
    PutEntity(String, String),
    DeleteEntity(String),
}

/// Why a change is refused; for people.
pub type Refused = &'static str;

#[derive(Debug, Clone)]
enum What {
    Put(RelPath, Node),
    Gone(RelPath),
    Moved(RelPath, RelPath),
}

/// One tick: what happened, where and when.
#[derive(Debug, Clone)]
pub struct Fact {
    pub tick: u64,
    pub branch: u32,
    pub at: i64,
    /// The first tick of its burst, if it is not that itself.
    pub burst: Option<u64>,
    pub action: Action,
    what: What,
}

impl Fact {
    /// The path that it gave a new content or metadata, and those.
    #[must_use]
    pub fn put(&self) -> Option<(&RelPath, &Node)> {
        match &self.what {
            What::Put(path, node) => Some((path, node)),
            What::Gone(_) | What::Moved(..) => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelBranch {
    pub no: u32,
    pub label: String,
    pub parent: Option<At>,
    pub auto: bool,
}

/// Everything that a store should say.
#[derive(Debug, Clone, Default)]
pub struct Model {
    base: Files,
    facts: Vec<Fact>,
    pub branches: Vec<ModelBranch>,
    /// `None` before the base is complete.
    pub stand: Option<Stand>,
    /// Where the root stood before the last move, for undo.
    pub before: Option<Stand>,
    pub entities: BTreeMap<String, String>,
    now: i64,
    last_at: i64,
    burst: Option<u64>,
}

/// Asking.
impl Model {
    #[must_use]
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    #[must_use]
    pub fn last_tick(&self) -> u64 {
        self.facts.last().map_or(0, |fact| fact.tick)
    }

    #[must_use]
    pub fn branch(&self, no: u32) -> Option<&ModelBranch> {
        self.branches.iter().find(|branch| branch.no == no)
    }

    /// The ticks of a branch after the base, oldest first: the parent's up to the fork, then its own.
    #[must_use]
    pub fn chain(&self, no: u32) -> Vec<u64> {
        let parent = self.branch(no).and_then(|branch| branch.parent);
        let inherited = parent.map_or_else(Vec::new, |fork| self.chain(fork.branch));
        let until = parent.map_or(0, |fork| fork.tick);
        let own = self.facts.iter().filter(|fact| fact.branch == no).map(|fact| fact.tick);
        inherited.into_iter().filter(|&tick| tick <= until).chain(own).collect()
    }

    #[must_use]
    pub fn head(&self, no: u32) -> u64 {
        self.chain(no).last().copied().unwrap_or(0)
    }

    #[must_use]
    pub fn exists(&self, at: At) -> bool {
        self.branch(at.branch).is_some() && (at.tick == 0 || self.chain(at.branch).contains(&at.tick))
    }

    /// All paths at a point: the base, and what each tick of the chain up to it did.
    #[must_use]
    pub fn tree(&self, at: At) -> Files {
        let chain: BTreeSet<u64> = self.chain(at.branch).into_iter().collect();
        let mut files = self.base.clone();
        for fact in self.facts.iter().filter(|fact| fact.tick <= at.tick && chain.contains(&fact.tick)) {
            match &fact.what {
                What::Put(path, node) => drop(files.insert(path.clone(), node.clone())),
                What::Gone(path) => drop(files.remove(path)),
                What::Moved(from, to) => move_paths(&mut files, from, to),
            }
        }
        files
    }

    /// Each path that ever was, on whatever branch.
    #[must_use]
    pub fn all_paths(&self) -> BTreeSet<RelPath> {
        let changed = self.facts.iter().map(|fact| At { branch: fact.branch, tick: fact.tick });
        let below = changed.flat_map(|at| self.tree(at).into_keys());
        self.base.keys().cloned().chain(below).collect()
    }

    /// The point at which the root stands, `partial` aside.
    #[must_use]
    pub fn point(&self) -> Option<At> {
        let stand = self.stand.as_ref()?;
        Some(At { branch: stand.branch, tick: stand.tick.unwrap_or_else(|| self.head(stand.branch)) })
    }

    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.stand.as_ref().is_some_and(|stand| stand.tick.is_none() && stand.partial.is_empty())
    }

    /// What the root on disk holds: the cursor's tree with `partial` applied, which is what a fork would begin with.
    #[must_use]
    pub fn on_disk(&self) -> Files {
        let mut forked = self.clone();
        match forked.attach() {
            Ok(()) => forked.point().map_or_else(Files::new, |point| forked.tree(point)),
            Err(_) => Files::new(),
        }
    }

    /// The last tick of a branch at or before a moment.
    #[must_use]
    pub fn by_time(&self, no: u32, moment: i64) -> u64 {
        let chain = self.chain(no);
        let on_chain = self.facts.iter().filter(|fact| chain.contains(&fact.tick) && fact.at <= moment);
        on_chain.map(|fact| fact.tick).max().unwrap_or(0)
    }
}

fn move_paths(files: &mut Files, from: &RelPath, to: &RelPath) {
    let moving: Vec<RelPath> = files.keys().filter(|path| path.starts_with(from)).cloned().collect();
    for old in moving {
        if let Some(node) = files.remove(&old) {
            let new = [to.as_bytes(), &old.as_bytes()[from.as_bytes().len()..]].concat();
            files.insert(RelPath::new(new).expect("a path, because both its halves were"), node);
        }
    }
}

/// Changing.
impl Model {
    /// The base as it was first seen, and `main` on it.
    pub fn base(&mut self, now: i64, files: Files) {
        self.base = files;
        self.branches.push(ModelBranch { no: 1, label: "main".to_owned(), parent: None, auto: false });
        self.stand = Some(Stand { branch: 1, tick: None, partial: Vec::new() });
        self.last_at = now;
    }

    /// One mutation: all of the changes, or none.
    pub fn mutate(&mut self, now: i64, changes: &[Change]) -> Result<(), Refused> {
        let mut changed = Self { now, burst: None, ..self.clone() };
        changes.iter().try_for_each(|change| changed.change(change))?;
        *self = changed;
        Ok(())
    }

    fn change(&mut self, change: &Change) -> Result<(), Refused> {
        match change {
            Change::PutEntity(id, text) => drop(self.entities.insert(id.clone(), text.clone())),
            Change::DeleteEntity(id) => drop(self.entities.remove(id)),
            Change::Save(path, node) => self.save(path, node)?,
            Change::Remove(path) => self.remove(path)?,
            Change::Rename(from, to) => self.rename(from, to)?,
            Change::Restore(path, at) => {
                if !self.exists(*at) {
                    return Err("there is no such point");
                }
                let old = self.tree(*at).remove(path).ok_or("it did not exist then")?;
                self.save(path, &old)?;
            }
            Change::Move(to, partial) => self.move_to(*to, partial)?,
            Change::CreateBranch(label, at) => drop(self.create_branch(label, *at, false)?),
            Change::ForkHere(label) => self.fork(label, false)?,
            Change::RenameBranch(old, new) => self.rename_branch(old, new)?,
        }
        Ok(())
    }

    fn save(&mut self, path: &RelPath, node: &Node) -> Result<(), Refused> {
        if path.is_root() && node.kind != NodeType::Dir {
            return Err("the root is a directory");
        }
        self.require_stand()?;
        if self.on_disk().get(path).is_some_and(|known| is_same(known, node)) {
            return Ok(());
        }
        self.attach()?;
        self.put(path, node)
    }

    fn remove(&mut self, path: &RelPath) -> Result<(), Refused> {
        if path.is_root() {
            return Err("the root stays");
        }
        self.require_stand()?;
        if self.on_disk().contains_key(path) {
            self.attach()?;
            self.take_away(path);
        }
        Ok(())
    }

    fn rename(&mut self, from: &RelPath, to: &RelPath) -> Result<(), Refused> {
        if to.starts_with(from) || from.starts_with(to) {
            return Err("one holds the other");
        }
        self.attach()?;
        if !self.at_head().contains_key(from) {
            return Err("it is not there");
        }
        self.take_away(to);
        self.require_parent(to)?;
        self.tick(Action::Rename, What::Moved(from.clone(), to.clone()));
        Ok(())
    }

    fn move_to(&mut self, to: At, partial: &[(RelPath, At)]) -> Result<(), Refused> {
        let stand = self.require_stand()?.clone();
        if !self.exists(to) || partial.iter().any(|(_, at)| !self.exists(*at)) {
            return Err("there is no such point");
        }
        self.before = Some(Stand { tick: self.point().map(|point| point.tick), ..stand });
        let tick = (to.tick != self.head(to.branch)).then_some(to.tick);
        self.stand = Some(Stand { branch: to.branch, tick, partial: partial.to_vec() });
        Ok(())
    }

    fn create_branch(&mut self, label: &str, at: At, auto: bool) -> Result<u32, Refused> {
        self.check_label(label)?;
        if !self.exists(at) {
            return Err("there is no such point");
        }
        let no = self.branches.last().map_or(1, |branch| branch.no + 1);
        self.branches.push(ModelBranch { no, label: label.to_owned(), parent: Some(at), auto });
        Ok(no)
    }

    fn rename_branch(&mut self, old: &str, new: &str) -> Result<(), Refused> {
        self.check_label(new)?;
        let branch = self.branches.iter_mut().find(|b| b.label == old).ok_or("no branch has that name")?;
        branch.label = new.to_owned();
        branch.auto = false;
        Ok(())
    }

    /// Only the names that the sessions try.
    fn check_label(&self, label: &str) -> Result<(), Refused> {
        let bad = ["", "..", "7", "HEAD", "a/b", "a@b", "10m", "-1"].contains(&label);
        match bad || self.branches.iter().any(|branch| branch.label == label) {
            true => Err("no name for a branch"),
            false => Ok(()),
        }
    }

    fn require_stand(&self) -> Result<&Stand, Refused> {
        self.stand.as_ref().ok_or("there is no base yet")
    }

    /// The next change while detached forks.
    fn attach(&mut self) -> Result<(), Refused> {
        let from = self.require_stand()?.branch;
        match self.is_attached() {
            true => Ok(()),
            false => self.fork(&self.fork_label(from), true),
        }
    }

    /// `<B>-1`, `-2` …, where B is the nearest that a person named.
    fn fork_label(&self, from: u32) -> String {
        let mut branch = self.branch(from);
        while let Some(parent) = branch.filter(|b| b.auto).and_then(|b| b.parent) {
            branch = self.branch(parent.branch);
        }
        let stem = branch.map_or("main", |branch| branch.label.as_str());
        let mut label = String::new();
        for n in 1.. {
            label = format!("{stem}-{n}");
            if self.branches.iter().all(|branch| branch.label != label) {
                break;
            }
        }
        label
    }

    fn fork(&mut self, label: &str, auto: bool) -> Result<(), Refused> {
        let partial = self.require_stand()?.partial.clone();
        let point = self.point().ok_or("there is no base yet")?;
        let no = self.create_branch(label, point, auto)?;
        self.stand = Some(Stand { branch: no, tick: None, partial: Vec::new() });
        partial.iter().try_for_each(|(path, at)| self.bring(path, *at))
    }

    /// A path becomes what it was at another point, with the directories above it.
    fn bring(&mut self, path: &RelPath, at: At) -> Result<(), Refused> {
        let then = self.tree(at);
        let Some(old) = then.get(path) else {
            self.take_away(path);
            return Ok(());
        };
        let mut above = Vec::new();
        let mut dir = path.parent();
        while let Some(this) = dir {
            dir = this.parent();
            above.push(this);
        }
        for dir in above.iter().rev() {
            if self.at_head().get(dir).is_none_or(|node| node.kind != NodeType::Dir) {
                self.put(dir, &then[dir])?;
            }
        }
        match self.at_head().get(path) {
            Some(here) if is_same(here, old) => Ok(()),
            _ => self.put(path, old),
        }
    }

    /// The tree at the head of the active branch.
    fn at_head(&self) -> Files {
        self.point().map_or_else(Files::new, |point| self.tree(point))
    }

    fn require_parent(&self, path: &RelPath) -> Result<(), Refused> {
        let parent = path.parent().unwrap_or_default();
        match self.at_head().get(&parent) {
            Some(node) if node.kind == NodeType::Dir => Ok(()),
            _ => Err("its directory is not there"),
        }
    }

    fn put(&mut self, path: &RelPath, node: &Node) -> Result<(), Refused> {
        let is_dir = |node: &Node| node.kind == NodeType::Dir;
        if self.at_head().get(path).is_some_and(|known| is_dir(known) != is_dir(node)) {
            self.take_away(path);
        }
        let known = self.at_head().remove(path);
        if known.is_none() {
            self.require_parent(path)?;
        }
        let not_kept = node.kind == NodeType::File && node.bytes.is_none();
        let action = match known {
            _ if not_kept => Action::Skipped,
            Some(known) if (known.kind, &known.bytes) == (node.kind, &node.bytes) => Action::Mode,
            _ if node.kind == NodeType::Symlink => Action::Symlink,
            Some(_) => Action::Modify,
            None if is_dir(node) => Action::Mkdir,
            None => Action::Create,
        };
        self.tick(action, What::Put(path.clone(), node.clone()));
        Ok(())
    }

    /// A tick for each path that goes: what is in a directory before the directory, in the order of names.
    fn take_away(&mut self, path: &RelPath) {
        let files = self.at_head();
        let Some(node) = files.get(path) else { return };
        for below in files.keys().filter(|p| p.parent().as_ref() == Some(path)) {
            self.take_away(below);
        }
        let action = if node.kind == NodeType::Dir { Action::Rmdir } else { Action::Delete };
        self.tick(action, What::Gone(path.clone()));
    }

    fn tick(&mut self, action: Action, what: What) {
        let tick = self.last_tick() + 1;
        let branch = self.stand.as_ref().map_or(1, |stand| stand.branch);
        self.last_at = self.last_at.max(self.now);
        self.facts.push(Fact { tick, branch, at: self.last_at, burst: self.burst, action, what });
        self.burst.get_or_insert(tick);
    }
}

/// Equal content is no change, and the time of a file alone is none.
fn is_same(known: &Node, node: &Node) -> bool {
    (known.kind, known.mode, known.size, &known.bytes) == (node.kind, node.mode, node.size, &node.bytes)
}
