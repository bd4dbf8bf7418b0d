//! `tickfs log`: the ticks of a branch, newest first.
//!
//! Invariant: it streams; a portion of the ticks is held, whatever their number.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use tickfs_store::history::{Point, Told, View};
use tickfs_store::ids::{BranchNo, Tick};
use tickfs_store::journal::entry::NodeType;
use tickfs_store::path::RelPath;
use tickfs_store::{Error, TickRow};

use super::diff::write_change;
use crate::ago::{ago, day_and_time};
use crate::cli::Where;
use crate::now;
use crate::output::{counted, one_line};
use crate::style::Style;
use crate::typed::At;

/// List what was recorded, newest first
///
/// Changes that were made at once, as by a checkout, are one line; --each, -p and --json list each of them. A line has
/// the tick, when it was, what happened to which path, and its size with what was added or taken away. After a revert a star marks where
/// the project stands.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    /// Only what happened to this path, or below it
    path: Option<PathBuf>,
    /// The ticks of this branch [default: the active one]
    #[arg(long, value_name = "BRANCH")]
    branch: Option<String>,
    /// Only what came after this tick or time
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    since: Option<At>,
    /// At most so many lines
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<usize>,
    /// A line for every tick
    #[arg(long)]
    each: bool,
    /// Show what each tick changed
    #[arg(short = 'p', long)]
    patch: bool,
    /// Print JSON: an array, an object for every tick
    #[arg(long, conflicts_with = "patch")]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let about = arguments.place.about(arguments.path.as_deref())?;
    let view = about.view()?;
    let path = match (&arguments.path, &arguments.place.file) {
        (Some(path), _) | (None, Some(path)) => Some(about.path(path)?),
        (None, None) => None,
    };
    let branch = match &arguments.branch {
        Some(label) => view.branches().by_label(label)?.no,
        None => view.cursor_point()?.branch,
    };
    let after = since(&view, branch, arguments.since.as_ref())?;
    let mut wanted: Box<dyn Iterator<Item = tickfs_store::Result<TickRow>>> =
        Box::new(Newest::of(&view, branch, after));
    if let Some(path) = &path
        && !is_dir(&view, path)?
    {
        require_known(&view, path)?;
        wanted = Box::new(NewestOf::of(&view, path.clone(), branch, after));
    }
    let all = arguments.each || arguments.patch || path.is_some();
    let here = view.cursor().and_then(|cursor| cursor.tick);
    let mut log = Log { view: &view, out, style: Style::of_stdout(), limit: arguments.limit, path, here };
    match arguments.json {
        true => log.json(wanted),
        false if all => log.each(wanted, arguments.patch),
        false => log.bursts(wanted),
    }
}

/// What is older than the base is before everything.
fn since(view: &View, branch: BranchNo, since: Option<&At>) -> anyhow::Result<Tick> {
    let Some(at) = since else { return Ok(Tick::BASE) };
    match at.point(view) {
        Err(Error::NotFound { .. }) if at.is_time() => Ok(Tick::BASE),
        point => Ok(view.branches().at_or_before(branch, point?.tick)),
    }
}

/// Whether something ever lay below a path: then its ticks are found on the way through all.
fn is_dir(view: &View, path: &RelPath) -> anyhow::Result<bool> {
    Ok(path.is_root() || !view.names_ever(path, b"", 1)?.is_empty())
}

fn require_known(view: &View, path: &RelPath) -> anyhow::Result<()> {
    for branch in view.branches().listed() {
        if !view.newest_of(path, branch.no, Tick(u64::MAX), 1)?.is_empty() {
            return Ok(());
        }
    }
    Err(Error::not_found(format!("{path} is not recorded here, and never was")).into())
}

/// The ticks of a path that was never a directory with something in it, newest first, read in portions.
struct NewestOf<'v> {
    view: &'v View,
    path: RelPath,
    branch: BranchNo,
    after: Tick,
    /// All that is not told yet came before.
    before: Tick,
    /// Oldest first.
    portion: Vec<Tick>,
}

impl<'v> NewestOf<'v> {
    const PORTION: usize = 512;

    fn of(view: &'v View, path: RelPath, branch: BranchNo, after: Tick) -> Self {
        Self { view, path, branch, after, before: Tick(u64::MAX), portion: Vec::new() }
    }

    fn next_tick(&mut self) -> tickfs_store::Result<Option<Tick>> {
        if self.portion.is_empty() {
            let found = self.view.newest_of(&self.path, self.branch, self.before, Self::PORTION)?;
            self.before = found.last().map_or(Tick::BASE, |oldest| oldest.at);
            self.portion = found.into_iter().rev().map(|version| version.at).collect();
        }
        Ok(self.portion.pop().filter(|tick| *tick > self.after))
    }
}

impl Iterator for NewestOf<'_> {
    type Item = tickfs_store::Result<TickRow>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.next_tick() {
            Ok(tick) => tick.map(|tick| self.view.tick(tick)),
            Err(error) => Some(Err(error)),
        }
    }
}

/// The ticks of a branch's chain, from its head down, read in portions.
struct Newest<'v> {
    view: &'v View,
    /// Still to come, as spans, the newest last.
    spans: Vec<(Tick, Tick)>,
    portion: Vec<TickRow>,
}

impl<'v> Newest<'v> {
    const PORTION: u64 = 512;

    fn of(view: &'v View, branch: BranchNo, after: Tick) -> Self {
        let chain = view.branches().chain(branch, Tick(u64::MAX));
        let spans = chain.iter().map(|span| (span.first.max(after.next()), span.last));
        Self { view, spans: spans.filter(|(first, last)| first <= last).collect(), portion: Vec::new() }
    }
}

impl Iterator for Newest<'_> {
    type Item = tickfs_store::Result<TickRow>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.portion.is_empty() {
            let (first, last) = self.spans.pop()?;
            let from = first.max(Tick((last.0 + 1).saturating_sub(Self::PORTION)));
            if from > first {
                self.spans.push((first, Tick(from.0 - 1)));
            }
            match self.view.ticks(from, last, usize::MAX) {
                Ok(portion) => self.portion = portion,
                Err(error) => return Some(Err(error)),
            }
        }
        self.portion.pop().map(Ok)
    }
}

struct Log<'a, W> {
    view: &'a View,
    out: &'a mut W,
    style: Style,
    limit: Option<usize>,
    path: Option<RelPath>,
    /// Where the project stands, if that is not the head of a branch.
    here: Option<Tick>,
}

type Rows<'a> = dyn Iterator<Item = tickfs_store::Result<TickRow>> + 'a;

impl<W: Write> Log<'_, W> {
    fn left(&self) -> usize {
        self.limit.unwrap_or(usize::MAX)
    }

    fn is_wanted(&self, told: &Told) -> bool {
        let Some(path) = &self.path else { return true };
        [&told.before, &told.after].into_iter().flatten().any(|(at, _)| at.starts_with(path))
    }

    fn json(&mut self, rows: Box<Rows<'_>>) -> anyhow::Result<()> {
        let mut written = 0;
        self.out.write_all(b"[")?;
        for row in rows {
            let told = self.view.told(&row?)?;
            if written == self.left() {
                break;
            }
            if self.is_wanted(&told) {
                self.out.write_all(if written == 0 { b"\n" } else { b",\n" })?;
                let json = tickfs_store::render::tick_json(self.view, told.row.n)?;
                self.out.write_all(json.trim_ascii_end())?;
                written += 1;
            }
        }
        self.out.write_all(if written == 0 { b"]\n" } else { b"\n]\n" })?;
        Ok(())
    }

    fn each(&mut self, rows: Box<Rows<'_>>, patch: bool) -> anyhow::Result<()> {
        let mut written = 0;
        for row in rows {
            if written == self.left() {
                break;
            }
            let told = self.view.told(&row?)?;
            if !self.is_wanted(&told) {
                continue;
            }
            written += 1;
            self.line(&told)?;
            if patch {
                write_change(self.view, &told, self.style, self.out)?;
                writeln!(self.out)?;
            }
        }
        Ok(())
    }

    /// A line for each burst.
    fn bursts(&mut self, rows: Box<Rows<'_>>) -> anyhow::Result<()> {
        let mut written = 0;
        let mut group: Vec<TickRow> = Vec::new();
        let mut more = 0_u64;
        for row in rows {
            let row = row?;
            let joins = group.first().is_some_and(|last: &TickRow| burst(last) == burst(&row));
            if joins {
                // Of a long burst its ends and a few of its paths are told.
                more += 1;
                match group.len() {
                    ..=3 => group.push(row),
                    _ => group[3] = row,
                }
                continue;
            }
            if written == self.left() {
                return Ok(());
            }
            written += usize::from(self.burst_line(&group, more)?);
            (group, more) = (vec![row], 0);
        }
        if written < self.left() {
            self.burst_line(&group, more)?;
        }
        Ok(())
    }

    fn burst_line(&mut self, group: &[TickRow], more: u64) -> anyhow::Result<bool> {
        let (Some(newest), Some(oldest)) = (group.first(), group.last()) else { return Ok(false) };
        if more == 0 {
            self.line(&self.view.told(newest)?)?;
            return Ok(true);
        }
        let mut paths = Vec::new();
        for row in group.iter().take(3) {
            paths.push(one_line(&self.view.told(row)?.path().to_string()));
        }
        let rest = (more + 1).saturating_sub(paths.len() as u64);
        let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        let ticks = self.numbered(oldest.n, newest.n);
        let when = self.style.dim(&format!("{:<15}", ago(newest.at, now::now())));
        let many = counted(more + 1, "change");
        writeln!(self.out, "{ticks}  {when}  {many} from @{}: {}{rest}", oldest.n, paths.join(", "))?;
        Ok(true)
    }

    /// The number that a line begins with; a star where the project stands.
    fn numbered(&self, oldest: Tick, newest: Tick) -> String {
        let star = if self.here.is_some_and(|here| oldest <= here && here <= newest) { '*' } else { ' ' };
        self.style.tick(&format!("{star}{:>8}", format!("@{newest}")))
    }

    fn line(&mut self, told: &Told) -> anyhow::Result<()> {
        let ticks = self.numbered(told.row.n, told.row.n);
        let when = self.style.dim(&format!("{:<15}", ago(told.row.at, now::now())));
        let kind = told.row.action.as_str();
        writeln!(self.out, "{ticks}  {when}  {kind:<7}  {}", about(told))?;
        Ok(())
    }
}

fn burst(row: &TickRow) -> Tick {
    row.burst.unwrap_or(row.n)
}

/// The path and its size: `src/app.py  1204 B (+12)`.
pub(super) fn about(told: &Told) -> String {
    let path = one_line(&told.path().to_string());
    let name = match told.from() {
        Some(from) => format!("{} -> {path}", one_line(&from.to_string())),
        None => path,
    };
    let size = |side: &Option<(RelPath, tickfs_store::Version)>| {
        side.as_ref().filter(|(_, version)| version.kind != NodeType::Dir).map(|(_, version)| version.size)
    };
    match (size(&told.before), size(&told.after)) {
        (Some(was), Some(is)) if was == is => format!("{name}  {is} B"),
        (Some(was), Some(is)) if is > was => format!("{name}  {is} B (+{})", is - was),
        (Some(was), Some(is)) => format!("{name}  {is} B (-{})", was - is),
        (None, Some(is)) => format!("{name}  {is} B"),
        (Some(_), None) | (None, None) => name,
    }
}

/// The lines that head what one tick is told about.
pub(super) fn head(view: &View, told: &Told, style: Style, out: &mut dyn Write) -> anyhow::Result<()> {
    let at = Point { branch: told.branch, tick: told.row.n };
    let branch = view.branches().get(at.branch).map_or("?", |branch| branch.label.as_str());
    writeln!(out, "{}  on branch {branch}", style.tick(&format!("tick {}", at.tick)))?;
    writeln!(out, "  {}  ({})", day_and_time(told.row.at), ago(told.row.at, now::now()))?;
    writeln!(out, "  {}  {}", told.row.action.as_str(), about(told))?;
    Ok(())
}
