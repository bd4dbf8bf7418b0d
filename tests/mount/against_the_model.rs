//! Random histories through the kernel, against a naive model that replays all facts, while ticks arrive.
//!
//! `TICKFS_CASES` sets how many histories are tried. A failure prints the numbers that a history is made of.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, FileType, Metadata};
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use rustix::io::Errno;
use tickfs_store::ids::UnixMillis;
use tickfs_store::journal::entry::{Action, ItemType, NodeType};
use tickfs_store::path::RelPath;
use tickfs_store::{Error, Meta, Result};
use tickfs_tests::model::{At, Change, Files, Model, Node};
use tickfs_tests::mount::Project;
use tickfs_tests::session::{Script, Step, apply, content, meta, payload};

/// What is wrong, in words.
type Verdict = std::result::Result<(), String>;

const READERS: u64 = 2;

#[test]
fn a_random_history_reads_through_the_kernel_as_the_model_says() {
    if !tickfs_tests::mount::can_mount() {
        return;
    }
    let cases = std::env::var("TICKFS_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 100,
        ..ProptestConfig::default()
    };
    let histories = prop::collection::vec(any::<u64>(), 10..50);
    let outcome = TestRunner::new(config)
        .run(&histories, |numbers| history(&Script::new(&numbers)).map_err(TestCaseError::fail));
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// Does the steps one by one, with readers at the side, and looks at the heads after each.
fn history(script: &Script) -> Verdict {
    let project = Project::without_base();
    let mounted = project.mount().ok_or("no mount")?;
    let root = mounted.root();
    // A branch that is renamed takes its directory along: who reads through it waits for that.
    let known = RwLock::new(Arc::new(Model::default()));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = |seed| {
            let (known, done) = (&known, &done);
            move || {
                let mut random = fastrand::Rng::with_seed(seed);
                while !done.load(Ordering::Relaxed) {
                    let held = known.read();
                    one_look(root, &held, &mut random)?;
                }
                Ok(())
            }
        };
        let readers: Vec<_> = (0..READERS).map(|seed| scope.spawn(reader(seed))).collect();
        let written = script.steps.iter().enumerate().try_for_each(|(n, step)| {
            let renames = |change: &Change| matches!(change, Change::RenameBranch(..));
            let alone = matches!(step, Step::Mutate { changes, .. } if changes.iter().any(renames));
            let guard = alone.then(|| known.write());
            let outcome = perform(&project, step);
            match (&outcome, script.is_refused(n)) {
                (Ok(()), false) | (Err(Error::Refused { .. } | Error::NotFound { .. }), true) => {}
                (_, refused) => {
                    return Err(format!("step {n} {step:?} gave {outcome:?}; refused: {refused}"));
                }
            }
            let after = Arc::new(script.models[n + 1].clone());
            match guard {
                Some(mut guard) => *guard = Arc::clone(&after),
                None => *known.write() = Arc::clone(&after),
            }
            heads(root, &after).map_err(|difference| format!("after step {n} {step:?}: {difference}"))
        });
        done.store(true, Ordering::Relaxed);
        let read =
            readers.into_iter().try_for_each(|reader| reader.join().expect("no panic, because it returns"));
        written.and(read)
    })?;
    everything(root, script.last())
}

/// The same as in a session on a simulated disk; the writer stays, so what only concerns it is left out.
fn perform(project: &Project, step: &Step) -> Result<()> {
    let writer = project.writer();
    match step {
        Step::Base { now, files } => {
            let files = files.clone();
            writer.mutate(UnixMillis(*now), move |m| {
                files.iter().try_for_each(|(path, node)| m.base(path, &meta(node), content(node)))?;
                m.finish_base("00000000-0000-4000-8000-000000000001")
            })
        }
        Step::Mutate { now, changes, refuse } => {
            let (changes, refuse) = (changes.clone(), *refuse);
            writer.mutate(UnixMillis(*now), move |m| {
                changes.iter().try_for_each(|change| apply(m, change))?;
                if refuse { Err(Error::refused("on second thoughts")) } else { Ok(()) }
            })
        }
        Step::Note { now, len } => {
            let text = "n".repeat(*len);
            writer.mutate(UnixMillis(*now), move |m| {
                m.observe(Action::Note, &ItemType::COMMAND, None, &payload(&text))
            })
        }
        Step::Compact { now } => writer.compact(UnixMillis(*now)).map(drop),
        Step::Init | Step::Reopen { .. } | Step::LoseIndex | Step::Shorten => Ok(()),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: impl std::fmt::Display, mount: &T, model: &T) -> Verdict {
    match mount == model {
        true => Ok(()),
        false => Err(format!("{what}: the mount says {mount:?}, the model {model:?}")),
    }
}

fn said<T>(what: impl std::fmt::Display, done: std::io::Result<T>) -> std::result::Result<T, String> {
    done.map_err(|error| format!("{what}: {error}"))
}

fn tree_at(root: &Path, model: &Model, at: At) -> PathBuf {
    let label = &model.branch(at.branch).expect("a branch, because the point is of the model").label;
    root.join(format!("branches/{label}/@{}", at.tick))
}

/// Everything that moves on with each commit.
fn heads(root: &Path, model: &Model) -> Verdict {
    let mut labels: Vec<String> = model.branches.iter().map(|branch| branch.label.clone()).collect();
    labels.push("README".to_owned());
    labels.sort();
    let entries = said("branches", fs::read_dir(root.join("branches")))?;
    let mut listed: Vec<String> = entries
        .map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<_>>()
        .map_err(|e| e.to_string())?;
    listed.sort();
    same("branches", &listed, &labels)?;
    for branch in &model.branches {
        let head = At { branch: branch.no, tick: model.head(branch.no) };
        let tree = root.join(format!("branches/{}/@HEAD/", branch.label));
        same(tree.display(), &whole(&tree)?, &expected(&model.tree(head)))?;
        // The same by its number, also where that tick was inherited.
        same(head.tick, &whole(&tree_at(root, model, head).join(""))?, &expected(&model.tree(head)))?;
        let beyond = root.join(format!("branches/{}/@{}", branch.label, model.last_tick() + 1));
        same(beyond.display(), &beyond.try_exists().map_err(|e| e.to_string())?, &false)?;
    }
    Ok(())
}

/// Every tick of every branch.
fn everything(root: &Path, model: &Model) -> Verdict {
    for branch in &model.branches {
        for tick in [0].into_iter().chain(model.chain(branch.no)) {
            let at = At { branch: branch.no, tick };
            let tree = tree_at(root, model, at).join("");
            same(tree.display(), &whole(&tree)?, &expected(&model.tree(at)))?;
        }
    }
    Ok(())
}

/// What `stat` says: kind and mode, size, time, user, group.
type Stat = (u32, u64, i64, u32, u32);

fn stat_of(meta: &Metadata) -> Stat {
    let mtime = meta.mtime() * 1_000_000_000 + meta.mtime_nsec();
    (meta.mode(), meta.len(), mtime, meta.uid(), meta.gid())
}

fn expected_stat(node: &Node) -> Stat {
    let Meta { mode, uid, gid, mtime, .. } = meta(node);
    (mode, node.size, mtime.0, uid, gid)
}

/// A tree as it can be compared.
type Seen = BTreeMap<Vec<u8>, (Stat, Option<Vec<u8>>)>;

fn expected(files: &Files) -> Seen {
    let seen = |node: &Node| (expected_stat(node), node.bytes.as_deref().map(<[u8]>::to_vec));
    files.iter().map(|(path, node)| (path.as_bytes().to_vec(), seen(node))).collect()
}

fn whole(tree: &Path) -> std::result::Result<Seen, String> {
    let mut seen = Seen::new();
    let mut waiting = vec![tree.to_path_buf()];
    while let Some(place) = waiting.pop() {
        let meta = said(place.display(), fs::symlink_metadata(&place))?;
        let bytes = match meta.file_type() {
            kind if kind.is_dir() => {
                for entry in said(place.display(), fs::read_dir(&place))? {
                    waiting.push(said(place.display(), entry)?.path());
                }
                None
            }
            kind if kind.is_symlink() => {
                Some(said(place.display(), fs::read_link(&place))?.into_os_string().into_vec())
            }
            _ if is_not_kept(&place) => None,
            _ => Some(said(place.display(), fs::read(&place))?),
        };
        let name = place.strip_prefix(tree).map_err(|e| e.to_string())?.as_os_str().as_bytes().to_vec();
        seen.insert(name, (stat_of(&meta), bytes));
    }
    Ok(seen)
}

/// A file whose bytes were never recorded, however many they were.
fn is_not_kept(file: &Path) -> bool {
    let read = File::open(file).and_then(|file| file.read_at(&mut [0], 0));
    read.is_err_and(|error| error.raw_os_error() == Some(Errno::NODATA.raw_os_error()))
}

/// One question about any path at any tick.
fn one_look(root: &Path, model: &Model, random: &mut fastrand::Rng) -> Verdict {
    if model.branches.is_empty() {
        std::thread::yield_now();
        return Ok(());
    }
    let no = random.choice(&model.branches).map_or(1, |branch| branch.no);
    let chain = [0].into_iter().chain(model.chain(no)).collect::<Vec<u64>>();
    let at = At { branch: no, tick: random.choice(chain).unwrap_or(0) };
    let files = model.tree(at);
    let path = random.choice(model.all_paths()).unwrap_or_default();
    let place = tree_at(root, model, at).join(path.as_path());
    let what = format!("{} of {path:?}", place.display());
    let Some(node) = files.get(&path) else {
        let absent = fs::symlink_metadata(&place).map(|meta| meta.file_type()).map_err(|error| error.kind());
        let is_absent = matches!(absent, Err(ErrorKind::NotFound | ErrorKind::NotADirectory));
        // A parent may be a symlink, which is followed.
        return match is_absent || above_is_symlink(&files, &path) {
            true => Ok(()),
            false => Err(format!("{what} is {absent:?}, and should not be there")),
        };
    };
    if path.is_root() {
        return names(&what, &place, &files, &path);
    }
    let meta = said(&what, fs::symlink_metadata(&place))?;
    same(&what, &stat_of(&meta), &expected_stat(node))?;
    match (node.kind, &node.bytes) {
        (NodeType::Dir, _) => names(&what, &place, &files, &path),
        (NodeType::Symlink, bytes) => {
            let target = said(&what, fs::read_link(&place))?.into_os_string().into_vec();
            same(&what, &Some(&target[..]), &bytes.as_deref())
        }
        (NodeType::File, Some(bytes)) => {
            let from = random.usize(0..=bytes.len() + 1);
            let mut got = vec![0; random.usize(1..=bytes.len() + 10)];
            let read = said(&what, said(&what, File::open(&place))?.read_at(&mut got, from as u64))?;
            let wanted = &bytes[from.min(bytes.len())..(from + got.len()).min(bytes.len())];
            same(format!("{what} from {from}"), &&got[..read], &wanted)
        }
        (NodeType::File, None) => same(&what, &is_not_kept(&place), &true),
    }
}

fn above_is_symlink(files: &Files, path: &RelPath) -> bool {
    let mut above = path.parent();
    while let Some(dir) = above {
        if files.get(&dir).is_some_and(|node| node.kind == NodeType::Symlink) {
            return true;
        }
        above = dir.parent();
    }
    false
}

/// A directory's names, and what kind of thing the listing says that each is.
fn names(what: &str, place: &Path, files: &Files, dir: &RelPath) -> Verdict {
    let mut listed = BTreeMap::new();
    for entry in said(what, fs::read_dir(place.join(OsStr::new(""))))? {
        let entry = said(what, entry)?;
        let kind = said(what, entry.file_type())?;
        if listed.insert(entry.file_name().into_vec(), kind_of(kind)).is_some() {
            return Err(format!("{what} lists {:?} twice", entry.file_name()));
        }
    }
    let inside = files.iter().filter(|(path, _)| path.parent().as_ref() == Some(dir));
    let wanted: BTreeMap<Vec<u8>, NodeType> =
        inside.map(|(path, node)| (path.name().to_vec(), node.kind)).collect();
    same(what, &listed, &wanted)
}

fn kind_of(kind: FileType) -> NodeType {
    match kind {
        kind if kind.is_dir() => NodeType::Dir,
        kind if kind.is_symlink() => NodeType::Symlink,
        _ => NodeType::File,
    }
}
