//! Brings a `.codevovle/` directory into a store in which nothing was recorded yet.
//!
//! Invariants:
//!   * Each portion of the history and how far it got are one mutation: killed anywhere, the next run goes on.
//!   * Our ticks have the numbers that the plan foresees.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::plan::{Plan, PlannedBranch, Step};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::history::{Branch, PartialPath, Point, Stand};
use crate::ids::{BranchNo, Tick, UnixMillis, UnixNanos};
use crate::journal::entry::{ItemType, NodeType};
use crate::path::RelPath;
use crate::render::{RECORDING, RecordingConfig, THREADS, ThreadConfig, spell_file_path};
use crate::store::{Content, Meta, Mutation, Saved, StoreWriter};

/// The entity kind that says how far a migration got; its payload is a [`Progress`].
pub const MIGRATION: &str = "migration";
const CODEVOVLE: &str = "codevovle";

/// A portion ends when it has so many steps, or so many bytes.
const PORTION_STEPS: usize = 256;
const PORTION_BYTES: usize = 8 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Of the source: going on with another one is refused.
    pub source: String,
    pub steps: u64,
    pub done: bool,
    /// Original numbers that are not ours: `[theirs, ours]`; ours is null where nothing had changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renumbered: Vec<(u64, Option<u64>)>,
}

/// What an import came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Ticks written by this run; 0 when it was done already.
    pub ticks: u64,
    /// Whether an earlier run had begun.
    pub resumed: bool,
    pub already_done: bool,
    pub renumbered: Vec<(u64, Option<u64>)>,
}

/// What the format does not say of its files: their owner, and now.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// Writes the plan's history into the store. The times of its ticks are `now`: the format keeps none.
pub fn import_codevovle(
    writer: &StoreWriter,
    disk: &dyn Disk,
    plan: &Plan,
    owner: Owner,
    now: UnixMillis,
) -> Result<Imported> {
    import_in_portions(writer, disk, plan, owner, now, PORTION_STEPS)
}

pub(super) fn import_in_portions(
    writer: &StoreWriter,
    disk: &dyn Disk,
    plan: &Plan,
    owner: Owner,
    now: UnixMillis,
    portion_steps: usize,
) -> Result<Imported> {
    let before = writer.mutate_alone(now, |m| read_progress(m, plan))?;
    let renumbered: Vec<(u64, Option<u64>)> =
        plan.changes.iter().filter(|c| c.ours != Some(c.number)).map(|c| (c.number, c.ours)).collect();
    let mut imported = Imported { ticks: 0, resumed: before.is_some(), already_done: false, renumbered };
    if before.as_ref().is_some_and(|p| p.done) {
        return Ok(Imported { already_done: true, ..imported });
    }
    let mut run = Run { writer, plan, owner, now, done: before.map_or(0, |p| p.steps), portion: Vec::new() };
    if !imported.resumed {
        run.write_base()?;
    }
    let (mut place, mut bytes) = (0, 0);
    plan.steps(disk, &mut |step| {
        place += 1;
        if place <= run.done {
            return Ok(());
        }
        if let Step::Save { text, .. } = &step {
            imported.ticks += 1;
            bytes += text.len();
        }
        run.portion.push(step);
        if run.portion.len() >= portion_steps || bytes >= PORTION_BYTES {
            bytes = 0;
            run.write_portion()?;
        }
        Ok(())
    })?;
    run.write_portion()?;
    run.finish(&imported.renumbered)?;
    Ok(imported)
}

fn read_progress(m: &Mutation<'_>, plan: &Plan) -> Result<Option<Progress>> {
    let Some(body) = m.entity(&kind(MIGRATION), CODEVOVLE)? else {
        return match m.cursor() {
            None => Ok(None),
            Some(_) => Err(Error::refused("the store has a history already: import into a new one")),
        };
    };
    let progress: Progress = serde_json::from_str(&body)
        .map_err(|e| Error::corrupt("index.db".as_ref(), 0, format!("the migration: {e}")))?;
    if progress.source != plan.fingerprint {
        return Err(Error::refused("what was imported into this store is not what lies there now"));
    }
    Ok(Some(progress))
}

struct Run<'r> {
    writer: &'r StoreWriter,
    plan: &'r Plan,
    owner: Owner,
    now: UnixMillis,
    done: u64,
    portion: Vec<Step>,
}

impl Run<'_> {
    fn write_base(&self) -> Result<()> {
        self.writer.mutate_alone(self.now, |m| {
            m.base(&RelPath::root(), &self.meta(NodeType::Dir), Content::None)?;
            let mut dirs = std::collections::BTreeSet::new();
            for file in &self.plan.files {
                let mut above = file.path.parent();
                while let Some(dir) = above.filter(|d| !d.is_root()) {
                    above = dir.parent();
                    dirs.insert(dir);
                }
            }
            // In the order of their bytes a directory comes before what is in it.
            for dir in &dirs {
                m.base(dir, &self.meta(NodeType::Dir), Content::None)?;
            }
            for file in &self.plan.files {
                if let Some(base) = &file.base {
                    m.base(&file.path, &self.meta(NodeType::File), Content::Bytes(base.to_vec()))?;
                }
            }
            let root = &self.plan.branches[0];
            m.finish_base(&root.id)?;
            if root.label != "main" {
                m.rename_branch("main", &root.label)?;
            }
            complete_branch(m, BranchNo::MAIN, root)?;
            self.put_progress(m, 0, None)
        })
    }

    fn write_portion(&mut self) -> Result<()> {
        let portion = std::mem::take(&mut self.portion);
        let done = self.done + portion.len() as u64;
        self.writer.mutate_alone(self.now, |m| {
            for step in portion {
                match step {
                    Step::Branch(no) => self.create_branch(m, &self.plan.branches[no])?,
                    Step::Save { file, branch, ours, text } => self.save(m, file, branch, ours, &text)?,
                }
            }
            self.put_progress(m, done, None)
        })?;
        self.done = done;
        Ok(())
    }

    fn create_branch(&self, m: &mut Mutation<'_>, planned: &PlannedBranch) -> Result<()> {
        let Some((parent, fork)) = planned.parent else { return Ok(()) };
        let at = self.point(m, parent, fork)?;
        let no = m.create_branch(&planned.label, &planned.id, at, false)?;
        complete_branch(m, no, planned)
    }

    /// A point of ours for a number of theirs.
    fn point(&self, m: &Mutation<'_>, branch: usize, number: u64) -> Result<Point> {
        let branch = m.branches().by_label(&self.plan.branches[branch].label)?.no;
        let tick = m.branches().at_or_before(branch, Tick(self.plan.ours_at(number)));
        Ok(Point { branch, tick })
    }

    fn save(
        &self,
        m: &mut Mutation<'_>,
        file: usize,
        branch: usize,
        ours: u64,
        text: &Arc<[u8]>,
    ) -> Result<()> {
        let branch = m.branches().by_label(&self.plan.branches[branch].label)?.no;
        if m.cursor().is_none_or(|c| c.branch != branch || !c.is_attached()) {
            let tick = m.branches().head(branch);
            m.move_cursor(Stand { branch, tick, partial: Vec::new() }, "import")?;
        }
        m.begin_burst();
        let path = &self.plan.files[file].path;
        let saved = m.save(path, &self.meta(NodeType::File), Content::Bytes(text.to_vec()))?;
        if saved != Saved::Ticked(Tick(ours)) {
            return Err(Error::refused(format!(
                "{path}: tick {ours} was foreseen, and it came to {saved:?}"
            )));
        }
        Ok(())
    }

    fn finish(&self, renumbered: &[(u64, Option<u64>)]) -> Result<()> {
        let plan = self.plan;
        self.writer.mutate_alone(self.now, |m| {
            let Point { branch, tick } = self.point(m, plan.stand.branch, plan.stand.tick)?;
            let mut partial = Vec::new();
            for &(file, number) in &plan.stand.partial {
                let at = self.point(m, plan.stand.branch, number)?;
                partial.push(PartialPath { path: plan.files[file].path.clone(), at });
            }
            m.move_cursor(Stand { branch, tick, partial }, "import")?;
            for file in &plan.files {
                let config = RecordingConfig { interval: file.interval };
                m.put_entity(&kind(RECORDING), &spell_file_path(&file.path), &config)?;
            }
            if plan.threads.is_some() {
                m.put_entity(&kind(THREADS), "root", &ThreadConfig { daemon_threads: plan.threads })?;
            }
            self.put_progress(m, self.done, Some(renumbered))
        })
    }

    fn put_progress(
        &self,
        m: &mut Mutation<'_>,
        steps: u64,
        renumbered: Option<&[(u64, Option<u64>)]>,
    ) -> Result<()> {
        let progress = Progress {
            source: self.plan.fingerprint.clone(),
            steps,
            done: renumbered.is_some(),
            renumbered: renumbered.unwrap_or_default().to_vec(),
        };
        m.put_entity(&kind(MIGRATION), CODEVOVLE, &progress)
    }

    fn meta(&self, kind: NodeType) -> Meta {
        let mode = if kind == NodeType::Dir { 0o040_755 } else { 0o100_644 };
        let mtime = UnixNanos(self.now.0.saturating_mul(1_000_000));
        Meta { kind, mode, uid: self.owner.uid, gid: self.owner.gid, mtime, holes: Vec::new() }
    }
}

/// What making a branch does not let one say: when the original was made, and what its owner wrote of it.
fn complete_branch(m: &mut Mutation<'_>, no: BranchNo, planned: &PlannedBranch) -> Result<()> {
    let Some(made) = m.branches().get(no).cloned() else { return Ok(()) };
    let (created_at, description) = (planned.created_at.clone(), planned.description.clone());
    m.adopt_branch(Branch { created_at, description, ..made })
}

fn kind(name: &'static str) -> ItemType {
    ItemType::parse(name).expect("it is lower-case and short, because it is written here")
}
