//! `tickfs status`: where the root, or one file, stands.
//!
//! Invariant: it changes nothing, and says what it can where something cannot be read.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use tickfs_store::history::View;
use tickfs_store::ids::{Tick, UnixMillis};
use tickfs_store::journal::entry::{Action, ItemType};
use tickfs_store::journal::{JournalDir, JournalReader, ReadOptions};
use tickfs_store::path::RelPath;
use tickfs_store::render::{Layer, RECORDING, RecordingConfig, spell_file_path};
use tickfs_store::{Scope, Store};
use tickfs_tracer::files::{Ignored, ignored};

use crate::about::About;
use crate::ago::ago;
use crate::cli::Where;
use crate::client::Conversation;
use crate::output::{self, counted, one_line};
use crate::{find, now};

/// Show where the root, or one file, stands
///
/// The active branch, the tick at which the root stands, the branch's head, the last tick, how changes are noticed, and
/// counts; then what is put back to other ticks, what is not recorded and why, and who records. With a file it is about
/// that file: its ticks alone count. Nothing is written.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A root, as --root, or a file, as --file
    #[arg(conflicts_with_all = ["root", "file"])]
    path: Option<PathBuf>,
    #[command(flatten)]
    place: Where,
    /// How many paths that are not recorded are named
    #[arg(long, value_name = "N", default_value_t = 12)]
    ignored: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default, Serialize)]
struct Status {
    tracked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<RelPath>,
    active_branch: Option<String>,
    current_tick: Option<Tick>,
    branch_head: Option<Tick>,
    last_tick: Option<Tick>,
    /// Seconds between samples; `None`: changes are noticed as they happen.
    interval: Option<f64>,
    counts: Counts,
    /// Whether the next change becomes the next tick of the branch; else it begins a branch.
    attached: bool,
    /// What moved the root where it stands.
    moved: Option<String>,
    partial: Vec<PutBack>,
    last_recorded_at: Option<String>,
    served_by: Option<i32>,
    /// When recording ended. What happened since then is recorded by the next command that changes something.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_recorded_since: Option<String>,
    ignored: Vec<NotRecorded>,
    warnings: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
struct Counts {
    ticks: u64,
    branches: u64,
    snapshots: u64,
}

#[derive(Debug, Serialize)]
struct PutBack {
    path: RelPath,
    to: String,
}

#[derive(Debug, Serialize)]
struct NotRecorded {
    path: RelPath,
    why: String,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let mut place = arguments.place.clone();
    match &arguments.path {
        Some(path) if path.is_dir() => place.root = Some(path.clone()),
        Some(path) => place.file = Some(path.clone()),
        None => {}
    }
    let status = match place.find()? {
        Some(dir) if find::is_store(&dir) => {
            of_store(arguments, place.file.as_deref(), Store::open(find::disk(), &dir)?)?
        }
        _ => Status::default(),
    };
    match arguments.json {
        true => output::json(out, &status),
        false => print(&status, out),
    }
}

fn of_store(arguments: &Arguments, file: Option<&Path>, store: Store) -> anyhow::Result<Status> {
    let dir = store.layout().dir().display().to_string();
    let Some(scope) = store.scope()? else {
        return Ok(Status { store: Some(dir), ..Status::default() });
    };
    let about = About { store, scope };
    let file = file.map(|file| about.path(file)).transpose()?;
    let view = about.store.view()?;
    let mut status = match view.cursor() {
        None => Status::default(),
        Some(_) => recorded(&view, &about.scope, file.as_ref())?,
    };
    status.store = Some(dir);
    status.root = Some(about.scope.root.display().to_string());
    status.served_by =
        Conversation::open(about.store.layout().dir())?.map(|served| served.pid().as_raw_nonzero().get());
    if status.served_by.is_none() {
        let recorded = status.last_recorded_at.as_deref().and_then(UnixMillis::from_iso);
        status.not_recorded_since =
            ended_at(&view)?.map(|ended| Some(ended).max(recorded).unwrap_or(ended).to_iso());
    }
    status.file = file;
    if status.file.is_none() && about.scope.files.is_none() {
        match ignored(&about.store, &about.scope, arguments.ignored) {
            Ok(found) => status.ignored = found.into_iter().map(NotRecorded::of).collect(),
            Err(error) => status.warnings.push(format!("what is not recorded cannot be told: {error}")),
        }
    }
    if tickfs_tracer::files::restore::is_half_way(&about.store)? {
        status
            .warnings
            .push("a move was interrupted: the next command that changes something sees to it".to_owned());
    }
    Ok(status)
}

/// When the last recorder said that it ends; of one that was killed when it began. `None`: there was none yet.
fn ended_at(view: &View) -> anyhow::Result<Option<UnixMillis>> {
    let told = view.observed(&[Action::SessionStart, Action::SessionEnd], 1)?;
    let Some((seq, _)) = told.into_iter().max_by_key(|(seq, _)| *seq) else { return Ok(None) };
    let store = view.store();
    let options = ReadOptions::from(seq).with_archive().until(seq);
    let mut reader =
        JournalReader::open(store.disk(), &JournalDir::new(&store.layout().journal()), options)?.whole()?;
    Ok(reader.next()?.and_then(|entry| UnixMillis::from_iso(&entry.line.ts)))
}

fn recorded(view: &View, scope: &Scope, file: Option<&RelPath>) -> anyhow::Result<Status> {
    let point = view.cursor_point()?;
    let branches = view.branches();
    let label = |no| branches.get(no).map(|branch| branch.label.clone());
    let layer = file.map(|file| Layer::new(view, file)).transpose()?;
    let (current, head, last, ticks) = match &layer {
        Some(layer) => {
            let chain = layer.chain(point.branch);
            (layer.current_tick()?, chain.last().copied(), layer.ticks().last(), layer.ticks().count() as u64)
        }
        None => {
            (Some(point.tick), Some(branches.head(point.branch)), Some(view.last_tick()), view.last_tick().0)
        }
    };
    let stand = view.stand()?;
    let is_tracked = match file {
        Some(file) => scope.covers(&scope.root.join(file.as_path())) && !view.versions_of(file)?.is_empty(),
        None => true,
    };
    let last_row = last.filter(|tick| *tick > Tick::BASE).map(|tick| view.tick(tick)).transpose()?;
    let put_back = |partial: &tickfs_store::history::PartialPath| PutBack {
        path: partial.path.clone(),
        to: format!("{}@{}", label(partial.at.branch).unwrap_or_default(), partial.at.tick),
    };
    Ok(Status {
        tracked: is_tracked,
        active_branch: label(point.branch),
        current_tick: current,
        branch_head: head,
        last_tick: last,
        interval: interval(view, file)?,
        counts: Counts {
            ticks,
            branches: branches.listed().count() as u64,
            snapshots: view.entities(&ItemType::SNAPSHOT)?.len() as u64,
        },
        attached: view.cursor().is_some_and(tickfs_store::history::Cursor::is_attached),
        moved: view.cursor().map(|cursor| cursor.moved.clone()),
        partial: stand
            .partial
            .iter()
            .filter(|partial| file.is_none_or(|file| partial.path == *file))
            .map(put_back)
            .collect(),
        last_recorded_at: last_row.map(|row| row.at.to_iso()),
        ..Status::default()
    })
}

/// The file's own, else the one of the whole root.
fn interval(view: &View, file: Option<&RelPath>) -> anyhow::Result<Option<f64>> {
    let kind = ItemType::parse(RECORDING).expect("it is lower-case and short, because it is a constant");
    let ids = file.map(spell_file_path).into_iter().chain([".".to_owned()]);
    for id in ids {
        if let Some(row) = view.entity(&kind, &id)? {
            return Ok(serde_json::from_str::<RecordingConfig>(&row.body)?.interval);
        }
    }
    Ok(None)
}

impl NotRecorded {
    fn of(ignored: Ignored) -> Self {
        Self { path: ignored.path, why: ignored.why.to_string() }
    }
}

fn print(status: &Status, out: &mut impl Write) -> anyhow::Result<()> {
    let number = |tick: Option<Tick>| tick.map_or_else(|| "none".to_owned(), |tick| tick.to_string());
    let none = || "none".to_owned();
    let Counts { ticks, branches, snapshots } = &status.counts;
    let many = format!(
        "{}, {}, {}",
        counted(*ticks, "tick"),
        if *branches == 1 { "1 branch".to_owned() } else { format!("{branches} branches") },
        counted(*snapshots, "snapshot")
    );
    let mut rows = vec![];
    let mut row = |label: &str, value: String| rows.push([format!("{label}:"), value]);
    match &status.file {
        Some(file) if !status.tracked => {
            row("file", format!("{} is not tracked", one_line(&file.to_string())))
        }
        Some(file) => row("file", one_line(&file.to_string())),
        None if status.root.is_none() => row("root", "not tracked: no store records this".to_owned()),
        None => {}
    }
    if let Some(root) = &status.root {
        row("root", one_line(root));
    }
    if let Some(store) = &status.store {
        row("store", one_line(store));
    }
    row("active branch", status.active_branch.clone().unwrap_or_else(none));
    row("current tick", number(status.current_tick));
    row("branch head", number(status.branch_head));
    row("last tick", number(status.last_tick));
    let by_events = if status.tracked { "none, changes are noticed as they happen" } else { "none" };
    row("interval", status.interval.map_or_else(|| by_events.to_owned(), |seconds| format!("{seconds} s")));
    row("counts", many);
    let when = status.last_recorded_at.as_deref().and_then(UnixMillis::from_iso);
    if let Some(at) = when {
        row("last recorded", ago(at, now::now()));
    }
    if status.root.is_some() {
        let since = status.not_recorded_since.as_deref().and_then(UnixMillis::from_iso);
        let since = since.map_or_else(String::new, |at| format!(" since {}", ago(at, now::now())));
        let nobody = || format!("no process{since}: `tickfs daemon start` records from now on");
        row("served by", status.served_by.map_or_else(nobody, |pid| format!("process {pid}")));
    }
    output::table(out, &rows)?;
    if status.tracked && !status.attached && status.file.is_none() {
        writeln!(out, "the root stands in the past: the next change begins a branch")?;
    }
    for PutBack { path, to } in &status.partial {
        writeln!(out, "put back: {} to {to}", one_line(&path.to_string()))?;
    }
    if !status.ignored.is_empty() {
        writeln!(out, "not recorded:")?;
        let rows: Vec<[String; 2]> = status
            .ignored
            .iter()
            .map(|ignored| [format!("  {}", one_line(&ignored.path.to_string())), one_line(&ignored.why)])
            .collect();
        output::table(out, &rows)?;
    }
    Ok(status.warnings.iter().try_for_each(|warning| writeln!(out, "{warning}"))?)
}
