//! A store written down in other layouts.
//!
//! Invariant: a directory bears its name only when all that belongs into it is durable.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::history::{Branch, Point, View};
use crate::ids::{BranchNo, ContentHash, Tick};
use crate::index::Version;
use crate::journal::entry::{ItemType, NodeType};
use crate::path::RelPath;
use crate::render::{CodeVovle, Layer};

/// Writes the specification's own layout as the directory `out`, which does not exist yet or is empty.
///
/// It is made under another name beside `out`. Gives what lies there already under such a name: exports that are under
/// way, or that did not end and can be removed.
pub fn export_codevovle(disk: &dyn Disk, view: &View, out: &Path) -> Result<Vec<PathBuf>> {
    refuse_a_full_target(disk, out)?;
    let (temp, others) = free_name_beside(disk, out)?;
    let mut tree = OutTree { disk, top: temp.clone(), made: vec![temp.clone()] };
    create_dir(disk, &temp)?;
    let layout = CodeVovle::of_store(view)?;
    if !layout.is_flat() {
        tree.write(&temp, "config.json", &layout.config_json()?)?;
        tree.write(&temp, "state.json", &layout.state_json()?)?;
    }
    for path in layout.files() {
        let dir = tree.dir(&layout.directory(path))?;
        write_layer(&mut tree, view, &layout.layer(path)?, &dir)?;
    }
    tree.finish(out)?;
    Ok(others)
}

fn write_layer(tree: &mut OutTree<'_>, view: &View, layer: &Layer<'_>, dir: &Path) -> Result<()> {
    tree.write(dir, "config.json", &layer.config_json()?)?;
    tree.write(dir, "state.json", &layer.state_json()?)?;
    let snapshots = tree.dir_in(dir, "snapshots")?;
    tree.write(&snapshots, "base.txt", &layer.base()?)?;
    let branches = tree.dir_in(dir, "branches")?;
    for branch in view.branches().listed() {
        tree.write(&branches, &format!("{}.json", branch.label), &layer.branch_json(branch.no)?)?;
    }
    let diffs = tree.dir_in(dir, "diffs")?;
    for tick in layer.ticks() {
        tree.write(&diffs, &format!("{tick}.diff"), &layer.diff(tick)?)?;
    }
    Ok(())
}

fn refuse_a_full_target(disk: &dyn Disk, out: &Path) -> Result<()> {
    match disk.stat(out).map_err(Error::io("look at", out))? {
        None => Ok(()),
        Some(stat) if stat.is_dir && disk.list(out).map_err(Error::io("list", out))?.is_empty() => Ok(()),
        Some(_) => Err(Error::refused(format!("{} exists already and is not empty", out.display()))),
    }
}

fn free_name_beside(disk: &dyn Disk, out: &Path) -> Result<(PathBuf, Vec<PathBuf>)> {
    let mut taken = Vec::new();
    let name = out.file_name().ok_or_else(|| Error::refused("an export needs a directory with a name"))?;
    for n in 1..u32::MAX {
        let mut temp = std::ffi::OsString::from(".");
        temp.push(name);
        temp.push(format!(".export-{n}"));
        let temp = out.with_file_name(temp);
        if disk.stat(&temp).map_err(Error::io("look at", &temp))?.is_none() {
            return Ok((temp, taken));
        }
        taken.push(temp);
    }
    Err(Error::refused("there is no free name for the export"))
}

fn create_dir(disk: &dyn Disk, dir: &Path) -> Result<()> {
    disk.create_dir(dir).map_err(Error::io("create the directory", dir))
}

/// A tree of files in the making.
struct OutTree<'d> {
    disk: &'d dyn Disk,
    top: PathBuf,
    made: Vec<PathBuf>,
}

impl OutTree<'_> {
    fn dir(&mut self, path: &RelPath) -> Result<PathBuf> {
        let mut dir = self.top.clone();
        for name in path.components() {
            let below = RelPath::new(name).map_err(|e| Error::refused(e.to_string()))?;
            dir.push(below.as_path());
            self.create(&dir)?;
        }
        Ok(dir)
    }

    fn dir_in(&mut self, dir: &Path, name: &str) -> Result<PathBuf> {
        let dir = dir.join(name);
        self.create(&dir)?;
        Ok(dir)
    }

    fn create(&mut self, dir: &Path) -> Result<()> {
        if !self.made.iter().any(|made| made == dir) {
            create_dir(self.disk, dir)?;
            self.made.push(dir.to_path_buf());
        }
        Ok(())
    }

    fn write(&mut self, dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
        let path = dir.join(name);
        let file = self.disk.create_append(&path).map_err(Error::io("create", &path))?;
        file.append(bytes).and_then(|()| file.sync()).map_err(Error::io("write", &path))
    }

    fn finish(self, out: &Path) -> Result<()> {
        for dir in &self.made {
            self.disk.sync_dir(dir).map_err(Error::io("make durable the names in", dir))?;
        }
        self.disk.rename(&self.top, out).map_err(Error::io("name the export", out))?;
        let parent = out.parent().unwrap_or(out);
        self.disk.sync_dir(parent).map_err(Error::io("make durable the names in", parent))
    }
}

#[derive(Serialize)]
struct EntityLine<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: &'a str,
    payload: &'a RawValue,
}

#[derive(Serialize)]
struct FileLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    payload: FilePayload<'a>,
}

#[derive(Serialize)]
struct FilePayload<'a> {
    branch: &'a str,
    path: &'a RelPath,
    /// Of the version.
    tick: Tick,
    #[serde(rename = "type")]
    kind: NodeType,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: crate::ids::UnixNanos,
    hash: Option<ContentHash>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    holes: &'a [(u64, u64)],
}

/// Writes every live entity as one JSON line, and every path at the head of its branch: of a fork, those that differ
/// from where it was forked. Contents stand by their hash.
pub fn export_jsonl(view: &View, out: &mut dyn Write) -> Result<()> {
    for row in view.all_entities()? {
        let revisions;
        let body = if row.kind == ItemType::STATE.as_str() {
            revisions = state_body(view, &row.id)?;
            &revisions
        } else {
            &row.body
        };
        let payload: &RawValue = serde_json::from_str(body).map_err(|e| {
            Error::corrupt("index.db".as_ref(), 0, format!("the {} {}: {e}", row.kind, row.id))
        })?;
        write_line(out, &EntityLine { kind: &row.kind, id: &row.id, payload })?;
    }
    for branch in view.branches().listed() {
        export_paths(view, branch, out)?;
    }
    out.flush().map_err(Error::io("write", "the export".as_ref()))
}

/// The last revision of a state document.
fn state_body(view: &View, name: &str) -> Result<String> {
    let rev = view.last_revision(name)?.unwrap_or_default();
    let document = view.document(name, rev)?;
    Ok(serde_json::json!({ "rev": rev, "document": document }).to_string())
}

fn export_paths(view: &View, branch: &Branch, out: &mut dyn Write) -> Result<()> {
    let head = view.head(branch.no);
    let mut write = |path: &RelPath, node: crate::ids::NodeId, version: &Version| {
        let kept = version.content.is_some();
        let hash = kept.then(|| view.content_of(version).map(|bytes| ContentHash::of(&bytes))).transpose()?;
        let payload = FilePayload {
            branch: &branch.label,
            path,
            tick: version.tick,
            kind: version.kind,
            mode: version.mode,
            uid: version.uid,
            gid: version.gid,
            size: version.size,
            mtime: version.mtime,
            hash,
            holes: &version.holes,
        };
        write_line(out, &FileLine { kind: ItemType::FILE.as_str(), id: node.to_string(), payload })
    };
    match fork_point(branch) {
        None => view.tree(head)?.walk(&RelPath::root(), &mut |path, e| write(path, e.node, &e.version)),
        Some(fork) => {
            let changed = view.changed(fork, head)?;
            let mut present = changed.iter().filter_map(|c| Some((&c.path, c.after.as_ref()?)));
            present.try_for_each(|(path, version)| write(path, version.node, version))
        }
    }
}

fn fork_point(branch: &Branch) -> Option<Point> {
    let (branch, tick): (BranchNo, Tick) = branch.parent.zip(branch.forked_at_tick)?;
    Some(Point { branch, tick })
}

fn write_line(out: &mut dyn Write, line: &impl Serialize) -> Result<()> {
    serde_json::to_writer(&mut *out, line)
        .map_err(std::io::Error::from)
        .and_then(|()| out.write_all(b"\n"))
        .map_err(Error::io("write", "the export".as_ref()))
}
