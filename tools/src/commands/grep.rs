//! `tickfs grep`: lines that match, at one point or in all of history.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use tickfs_store::diff::{Matcher, Search};
use tickfs_store::history::{Match, Point};
use tickfs_store::ids::Tick;
use tickfs_store::path::RelPath;

use crate::cli::Where;
use crate::error::Failure;
use crate::output::{self, one_line};
use crate::style::Style;
use crate::typed::At;

/// Print the lines that match a pattern
///
/// Without --at it searches where the root stands as it is recorded. --all searches every version of every file that there
/// ever was, on whatever branch, and names the tick of each. A pattern is a regular expression, and looks at one line
/// at a time. Exit status: 0, whether something matches or not.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    /// What to look for
    pattern: String,
    /// Only in these paths, and below them
    paths: Vec<PathBuf>,
    /// Search the tree of this tick, BRANCH@TICK, time or snapshot
    #[arg(long, value_name = "T", allow_hyphen_values = true, conflicts_with = "all")]
    at: Option<At>,
    /// Search all of history
    #[arg(long)]
    all: bool,
    /// Take upper and lower case for equal
    #[arg(short, long)]
    ignore_case: bool,
    /// The pattern is text to be found as it stands
    #[arg(short = 'F', long)]
    fixed: bool,
    /// Print JSON: an array of matches
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Found<'a> {
    path: &'a RelPath,
    /// The tick of the version that holds it.
    tick: Tick,
    /// `None`: the version is binary.
    line: Option<usize>,
    text: Option<std::borrow::Cow<'a, str>>,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let search =
        Search { pattern: &arguments.pattern, ignore_case: arguments.ignore_case, fixed: arguments.fixed };
    let matcher = Matcher::new(&search).map_err(|error| {
        let why = error.source.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Failure::new(format!("{error}: {why}")).next("-F looks for it as it stands")
    })?;
    let about = arguments.place.about(arguments.paths.first().map(PathBuf::as_path))?;
    let view = about.view()?;
    let wanted: Vec<RelPath> = arguments
        .paths
        .iter()
        .chain(&arguments.place.file)
        .map(|path| about.path(path))
        .collect::<anyhow::Result<_>>()?;
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let mut found = match &arguments.at {
        _ if arguments.all => view.grep_all(&matcher, threads)?,
        Some(at) => view.grep(&matcher, at.point(&view)?, threads)?,
        None => {
            let Point { branch, tick } = view.cursor_point()?;
            view.grep(&matcher, Point { branch, tick }, threads)?
        }
    };
    found.retain(|hit| wanted.is_empty() || wanted.iter().any(|path| hit.path.starts_with(path)));
    if arguments.json {
        return output::json(out, &found.iter().map(Found::of).collect::<Vec<_>>());
    }
    let style = Style::of_stdout();
    found.iter().try_for_each(|hit| write_hit(hit, arguments.all, style, out))
}

impl<'a> Found<'a> {
    fn of(hit: &'a Match) -> Self {
        let (line, text) = match &hit.line {
            Some((number, text)) => (Some(*number), Some(String::from_utf8_lossy(text))),
            None => (None, None),
        };
        Self { path: &hit.path, tick: hit.tick, line, text }
    }
}

fn write_hit(hit: &Match, with_tick: bool, style: Style, out: &mut impl Write) -> anyhow::Result<()> {
    let path = style.bold(&one_line(&hit.path.to_string()));
    let tick = if with_tick { style.tick(&format!("@{}", hit.tick)) } else { String::new() };
    match &hit.line {
        Some((number, text)) => {
            write!(out, "{path}{tick}:{number}:")?;
            out.write_all(text)?;
            Ok(writeln!(out)?)
        }
        None => Ok(writeln!(out, "{path}{tick}: a binary file matches")?),
    }
}
