//! `tickfs migrate`: brings an older layout into a store, once.
//!
//! Two layouts are known: `.codevovle/`, which becomes the history of a new store of its directory; and one JSON file an
//! entity, which gets its journal in place.

use std::io::Write;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use tickfs_store::ids::StoreId;
use tickfs_store::migrate::{Owner, Plan, import_codevovle, migrate};
use tickfs_store::path::NameBytes;
use tickfs_store::{Scope, Store};

use crate::error::Failure;
use crate::output::{counted, path_in_json};
use crate::{find, now, output};

/// Bring an older layout into a store
///
/// Where DIR holds `.codevovle/`, its whole history is taken into a new store beside DIR, with the same branches and,
/// where the numbering has no gaps, the same ticks. A diff that does not apply, or one of binary content, is refused, and
/// nothing is made of it. Anywhere else DIR is taken for a directory of the older layout, with one JSON file an entity
/// (`TYPE/ID.json`) and a log `events.jsonl`: it is copied to `DIR.v1-backup`, gets a journal that begins with each entity
/// as it is, and is written to from then on as `store.journal_v2` in its config.toml says (off, dual or primary).
///
/// It can be repeated, and goes on where it was interrupted. Nothing of the older layout is changed or removed.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The directory
    dir: PathBuf,
    /// Make the store of a `.codevovle/` here instead
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const LOCK_WAIT: Duration = Duration::from_secs(10);
const CODEVOVLE: &str = ".codevovle";

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let dir = find::settled(&arguments.dir)?;
    if !dir.is_dir() {
        return Err(Failure::new("there is no such directory").at(dir).next("name another").into());
    }
    if dir.file_name().is_some_and(|name| name == CODEVOVLE) {
        let root = dir.parent().unwrap_or(&dir).to_path_buf();
        return take_in(arguments, &root, out);
    }
    if dir.join(CODEVOVLE).is_dir() {
        return take_in(arguments, &dir, out);
    }
    if !looks_like_the_older_layout(&dir)? {
        return Err(Failure::new("this is no older layout")
            .at(dir)
            .next("name a directory with .codevovle/, or with TYPE/ID.json files and events.jsonl")
            .into());
    }
    in_place(arguments, &dir, out)
}

#[derive(Serialize)]
struct TakenIn<'a> {
    store: NameBytes<'a>,
    ticks: u64,
    already_done: bool,
    /// `[theirs, ours]`, where they differ.
    renumbered: &'a [(u64, Option<u64>)],
    /// Diffs on no branch, left where they are.
    left: Vec<NameBytes<'a>>,
}

fn take_in(arguments: &Arguments, root: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let disk = find::disk();
    let plan = Plan::read(&*disk, &root.join(CODEVOVLE), root)?;
    let store = store_of(arguments, root, &plan)?;
    let owner = root.metadata().with_context(|| format!("could not look at {}", root.display()))?;
    let owner = Owner { uid: owner.uid(), gid: owner.gid() };
    let writer = store.writer(now::writer(), LOCK_WAIT)?;
    let taken = import_codevovle(&writer, &*disk, &plan, owner, now::now())?;
    writer.close()?;
    let dir = store.layout().dir();
    if arguments.json {
        let left = plan.orphans.iter().map(|path| path_in_json(path)).collect();
        let (ticks, already_done) = (taken.ticks, taken.already_done);
        let renumbered = &taken.renumbered;
        return output::json(
            out,
            &TakenIn { store: path_in_json(dir), ticks, already_done, renumbered, left },
        );
    }
    match taken.already_done {
        true => writeln!(out, "{} has it all already", dir.display())?,
        false => writeln!(out, "took {} into {}", counted(taken.ticks, "tick"), dir.display())?,
    }
    for (theirs, ours) in &taken.renumbered {
        match ours {
            Some(ours) => writeln!(out, "tick {theirs} is now tick {ours}")?,
            None => writeln!(out, "tick {theirs} changed nothing, and is none now")?,
        }
    }
    for path in &plan.orphans {
        writeln!(out, "left where it is, because it is on no branch: {}", path.display())?;
    }
    Ok(())
}

/// Where the store is there already, the import says whether it may go on.
fn store_of(arguments: &Arguments, root: &Path, plan: &Plan) -> anyhow::Result<Store> {
    let place = match &arguments.store {
        Some(store) => find::settled(store)?,
        None => find::places(root).into_iter().next().context("a directory has a place for its store")?,
    };
    if find::is_store(&place) {
        return Ok(Store::open(find::disk(), &place)?);
    }
    let id = StoreId::new(now::now(), now::random()?);
    let scope = Scope { root: root.to_path_buf(), files: Some(plan.files().cloned().collect()) };
    Ok(Store::init_for(find::disk(), &place, id, Some(&scope))?)
}

#[derive(Serialize)]
struct InPlace<'a> {
    store: NameBytes<'a>,
    entities: u64,
    already_done: bool,
    backup: NameBytes<'a>,
    quarantined: Vec<NameBytes<'a>>,
}

fn in_place(arguments: &Arguments, dir: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    if arguments.store.is_some() {
        let why = "an older layout gets its journal where it is, and --store is for .codevovle/";
        return Err(Failure::new(why).at(dir).next("leave --store away").into());
    }
    let id = StoreId::new(now::now(), now::random()?);
    let done = migrate(&find::disk(), dir, id, now::writer(), LOCK_WAIT, now::now())?;
    if arguments.json {
        return output::json(
            out,
            &InPlace {
                store: path_in_json(dir),
                entities: done.entities,
                already_done: done.already_done,
                backup: path_in_json(&done.backup),
                quarantined: done.quarantined.iter().map(|path| path_in_json(path)).collect(),
            },
        );
    }
    if done.already_done {
        writeln!(
            out,
            "{} has its journal already; the copy of before is {}",
            dir.display(),
            done.backup.display()
        )?;
        return Ok(());
    }
    let entities = match done.entities {
        1 => "1 entity".to_owned(),
        many => format!("{many} entities"),
    };
    writeln!(
        out,
        "the journal of {} begins with {entities}; the copy of before is {}",
        dir.display(),
        done.backup.display()
    )?;
    for path in &done.quarantined {
        writeln!(out, "could not be parsed, and was moved to {}", path.display())?;
    }
    writeln!(
        out,
        "set store.journal_v2 to \"dual\" or \"primary\" in {} to use it",
        dir.join("config.toml").display()
    )?;
    Ok(())
}

/// A log, a journal, or a folder with a JSON file.
fn looks_like_the_older_layout(dir: &Path) -> anyhow::Result<bool> {
    if dir.join("events.jsonl").is_file() || find::is_store(dir) {
        return Ok(true);
    }
    let cannot = || format!("could not look into {}", dir.display());
    for folder in dir.read_dir().with_context(cannot)? {
        let folder = folder.with_context(cannot)?.path();
        if !folder.is_dir() {
            continue;
        }
        for file in folder.read_dir().with_context(|| format!("could not look into {}", folder.display()))? {
            if file.with_context(cannot)?.path().extension().is_some_and(|e| e == "json") {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
