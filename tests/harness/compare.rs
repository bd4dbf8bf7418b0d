//! Does a store say what its model says?

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tickfs_store::disk::SimDisk;
use tickfs_store::history::{Cursor, Stand as StoredStand, Tree, View};
use tickfs_store::ids::{Address, BranchNo, Tick, UnixMillis};
use tickfs_store::journal::entry::{self, ItemType};
use tickfs_store::path::RelPath;
use tickfs_store::{Error, Store, Version};

use crate::model::{At, Files, Model, Node, Stand};
use crate::session::{point, segments};

/// The first difference that was found, in words.
pub type Verdict = std::result::Result<(), String>;

/// Compares everything that can be asked: branches, chains, the cursor, ticks, entities, and each path of each tree.
pub fn compare(store: &Store, model: &Model) -> Verdict {
    let view = store.view().map_err(|e| said("there is no view", &e))?;
    heads(&view, model)?;
    by_time(&view, model)?;
    trees(&view, model)
}

/// The same with fewer trees: those at the heads, and of each tick the path that it changed.
pub fn compare_briefly(store: &Store, model: &Model) -> Verdict {
    let view = store.view().map_err(|e| said("there is no view", &e))?;
    heads(&view, model)?;
    let mut contents = Contents::default();
    for branch in &model.branches {
        let at = At { branch: branch.no, tick: model.head(branch.no) };
        let tree = view.tree(point(at)).map_err(|e| said("there is no tree at a head", &e))?;
        one_tree(&tree, &model.tree(at), &BTreeSet::new(), &mut contents)
            .map_err(|difference| format!("the head of {}: {difference}", branch.label))?;
    }
    for fact in model.facts() {
        let Some((path, node)) = fact.put() else { continue };
        let at = At { branch: fact.branch, tick: fact.tick };
        let found = view.tree(point(at)).and_then(|tree| match tree.resolve(path)? {
            Some(entry) => contents.node(&tree, &entry.version).map(Some),
            None => Ok(None),
        });
        let found = found.map_err(|e| said(&format!("tick {}", fact.tick), &e))?;
        same(&format!("{path:?} at tick {}", fact.tick), &found.as_ref(), &Some(node))?;
    }
    Ok(())
}

fn heads(view: &View, model: &Model) -> Verdict {
    branches(view, model)?;
    same("the cursor", &view.cursor().map(stand_of), &model.stand)?;
    let before = view.cursor().and_then(|cursor| cursor.before.as_deref()).map(stored_stand);
    same("what was before the cursor moved", &before, &model.before)?;
    ticks(view, model)?;
    entities(view, model)
}

fn said(what: &str, error: &Error) -> String {
    format!("{what}: {error:?}")
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, store: &T, model: &T) -> Verdict {
    if store == model {
        Ok(())
    } else {
        Err(format!("{what}: the store says {store:?}, the model {model:?}"))
    }
}

fn branches(view: &View, model: &Model) -> Verdict {
    let all = view.branches();
    let stored: Vec<_> = all
        .listed()
        .map(|b| {
            let parent = b.parent.zip(b.forked_at_tick).map(|(p, t)| At { branch: p.0, tick: t.0 });
            (b.no.0, b.label.clone(), parent, b.auto)
        })
        .collect();
    let expected: Vec<_> = model.branches.iter().map(|b| (b.no, b.label.clone(), b.parent, b.auto)).collect();
    same("the branches", &stored, &expected)?;
    for branch in &model.branches {
        let no = BranchNo(branch.no);
        let spans = all.chain(no, Tick(u64::MAX));
        let chain: Vec<u64> = spans.iter().flat_map(|span| span.first.0..=span.last.0).collect();
        same(&format!("the chain of {}", branch.label), &chain, &model.chain(branch.no))?;
        same(&format!("the head of {}", branch.label), &all.head(no).0, &model.head(branch.no))?;
    }
    Ok(())
}

fn by_time(view: &View, model: &Model) -> Verdict {
    for branch in &model.branches {
        let no = BranchNo(branch.no);
        for moment in model.facts().iter().map(|fact| fact.at).chain([i64::MIN / 2, i64::MAX / 2]) {
            let found = view.by_time(no, UnixMillis(moment)).map_err(|e| said("asking by time", &e))?;
            same(&format!("{}@{moment}", branch.label), &found.0, &model.by_time(branch.no, moment))?;
        }
    }
    Ok(())
}

fn stand_of(cursor: &Cursor) -> Stand {
    let tick = cursor.tick.map(|tick| tick.0);
    Stand { branch: cursor.branch.0, tick, partial: partial_of(&cursor.partial) }
}

fn stored_stand(stand: &StoredStand) -> Stand {
    Stand { branch: stand.branch.0, tick: Some(stand.tick.0), partial: partial_of(&stand.partial) }
}

fn partial_of(partial: &[tickfs_store::history::PartialPath]) -> Vec<(RelPath, At)> {
    let at = |p: &tickfs_store::history::PartialPath| At { branch: p.at.branch.0, tick: p.at.tick.0 };
    partial.iter().map(|p| (p.path.clone(), at(p))).collect()
}

fn ticks(view: &View, model: &Model) -> Verdict {
    same("the last tick", &view.last_tick().0, &model.last_tick())?;
    let rows = view.ticks(Tick(1), view.last_tick(), 100_000).map_err(|e| said("listing ticks", &e))?;
    let stored: Vec<_> =
        rows.iter().map(|row| (row.n.0, row.at.0, row.action, row.burst.map(|t| t.0))).collect();
    let expected: Vec<_> = model.facts().iter().map(|f| (f.tick, f.at, f.action, f.burst)).collect();
    same("the ticks", &stored, &expected)?;
    match rows.windows(2).all(|pair| pair[0].seq < pair[1].seq) {
        true => Ok(()),
        false => Err("ticks are not in the order of their records".to_owned()),
    }
}

fn entities(view: &View, model: &Model) -> Verdict {
    let rows = view.entities(&ItemType::HANDOFF).map_err(|e| said("listing entities", &e))?;
    let stored: BTreeMap<String, String> = rows.into_iter().map(|row| (row.id, row.body)).collect();
    let expected =
        model.entities.iter().map(|(id, text)| (id.clone(), format!("{{\"text\":{text:?}}}"))).collect();
    same("the entities", &stored, &expected)
}

fn trees(view: &View, model: &Model) -> Verdict {
    let mut contents = Contents::default();
    let all_paths: BTreeSet<RelPath> = model.all_paths();
    for branch in &model.branches {
        for tick in 0..=model.last_tick() + 1 {
            let at = At { branch: branch.no, tick };
            match (view.tree(point(at)), model.exists(at)) {
                (Ok(tree), true) => one_tree(&tree, &model.tree(at), &all_paths, &mut contents)
                    .map_err(|difference| format!("{}@{tick}: {difference}", branch.label))?,
                (Err(Error::NotFound { .. }), false) => {}
                (answer, exists) => {
                    return Err(format!("{}@{tick} exists: {exists}; the store: {answer:?}", branch.label));
                }
            }
        }
    }
    all_paths.iter().try_for_each(|path| newest_first(view, path))
}

/// The versions under a path are the same from either end.
fn newest_first(view: &View, path: &RelPath) -> Verdict {
    let asked = |error: Error| said("versions", &error);
    let all = view.versions_of(path).map_err(asked)?;
    for branch in view.branches().listed() {
        let mut wanted = all.clone();
        wanted.retain(|version| view.branches().is_on(branch.no, version.at));
        let (mut before, mut found) = (Tick(u64::MAX), Vec::new());
        loop {
            let portion = view.newest_of(path, branch.no, before, 3).map_err(asked)?;
            let Some(oldest) = portion.last() else { break };
            before = oldest.at;
            found.extend(portion);
        }
        found.reverse();
        same(&format!("the versions of {path} on {}", branch.label), &found, &wanted)?;
    }
    Ok(())
}

/// What was read once: a version's content never changes.
#[derive(Default)]
struct Contents(BTreeMap<Address, Arc<[u8]>>);

impl Contents {
    /// What a version is, in the model's words.
    fn node(&mut self, tree: &Tree, version: &Version) -> Result<Node, Error> {
        let bytes = match version.content.map(|address| (address, self.0.get(&address))) {
            None => None,
            Some((_, Some(known))) => Some(Arc::clone(known)),
            Some((address, None)) => {
                let read: Arc<[u8]> = tree.read(version)?.into();
                self.0.insert(address, Arc::clone(&read));
                Some(read)
            }
        };
        let (kind, mode, mtime, size) = (version.kind, version.mode, version.mtime.0, version.size);
        Ok(Node { kind, mode, mtime, size, bytes })
    }
}

fn one_tree(tree: &Tree, expected: &Files, paths: &BTreeSet<RelPath>, contents: &mut Contents) -> Verdict {
    let mut stored = Files::new();
    let mut walked = Vec::new();
    tree.walk(&RelPath::root(), &mut |path, entry| {
        stored.insert(path.clone(), contents.node(tree, &entry.version)?);
        walked.push((path.clone(), entry.node));
        Ok(())
    })
    .map_err(|e| said("walking it", &e))?;
    if stored != *expected {
        return Err(first_difference(&stored, expected));
    }
    for (path, node) in &walked {
        let found = tree.path_of(*node).map_err(|e| said("asking for a path", &e))?;
        same("the path of a node", &found.as_ref(), &Some(path))?;
    }
    for path in paths {
        let found = tree.resolve(path).map_err(|e| said("resolving", &e))?;
        let kind = found.map(|entry| entry.version.kind);
        same(&format!("resolving {path:?}"), &kind, &expected.get(path).map(|node| node.kind))?;
    }
    Ok(())
}

fn first_difference(stored: &Files, expected: &Files) -> String {
    let names: BTreeSet<&RelPath> = stored.keys().chain(expected.keys()).collect();
    names
        .into_iter()
        .find(|name| stored.get(*name) != expected.get(*name))
        .map(|name| {
            format!("{name:?} is {:?} in the store, {:?} in the model", stored.get(name), expected.get(name))
        })
        .unwrap_or_default()
}

/// No seq is on disk twice, and they only grow: also those of records that never came to count.
pub fn seqs_never_repeat(disk: &SimDisk) -> Verdict {
    let mut last = 0;
    for segment in segments(disk) {
        let bytes = disk.read(&segment).map_err(|e| e.to_string())?;
        for line in bytes.split(|&byte| byte == b'\n') {
            let Ok(record) = entry::decode(line) else { continue };
            if record.seq.0 <= last {
                return Err(format!("seq {} follows {last} in {}", record.seq, segment.display()));
            }
            last = record.seq.0;
        }
    }
    Ok(())
}
