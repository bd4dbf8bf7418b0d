//! `tickfs diff`: what differs between two points in history.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use tickfs_store::Version;
use tickfs_store::diff::{Diff, Labels};
use tickfs_store::history::{Change, Stand, Told, View};
use tickfs_store::ids::Tick;
use tickfs_store::journal::entry::NodeType;
use tickfs_store::path::RelPath;

use crate::about::About;
use crate::cli::Where;
use crate::error::Failure;
use crate::output::{self, counted, one_line};
use crate::style::Style;
use crate::typed::At;

/// Show what differs between two points
///
/// `diff 17 42`, `diff main@17 try@50`, `diff yesterday`: with one point, what differs between it and where the root
/// stands as it is recorded. The result is a unified diff that `patch -p1` accepts.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    /// From this tick, time or snapshot
    #[arg(value_name = "A", allow_negative_numbers = true)]
    from: At,
    /// To this one [default: where the root stands]
    #[arg(value_name = "B", allow_negative_numbers = true)]
    to: Option<At>,
    /// Only these paths, and what is below them
    #[arg(last = true)]
    paths: Vec<PathBuf>,
    /// How many lines each path gained and lost
    #[arg(long, conflicts_with_all = ["name_only", "json"])]
    stat: bool,
    /// Names alone
    #[arg(long, conflicts_with = "json")]
    name_only: bool,
    /// Print JSON: each path with both of its versions
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let about = arguments.place.about(arguments.paths.first().map(PathBuf::as_path))?;
    let view = about.view()?;
    let whole = |at: &At| -> anyhow::Result<Stand> {
        let at = at.point(&view)?;
        Ok(Stand { branch: at.branch, tick: at.tick, partial: Vec::new() })
    };
    let from = view.standing(&whole(&arguments.from)?)?;
    let to = match &arguments.to {
        Some(at) => view.standing(&whole(at)?)?,
        None => view.standing(&view.stand()?)?,
    };
    let wanted = wanted(&about, arguments)?;
    let mut changes = view.changed_standing(&from, &to)?;
    changes.retain(|change| wanted.is_empty() || wanted.iter().any(|path| change.path.starts_with(path)));
    let style = Style::of_stdout();
    if arguments.json {
        return output::json(out, &changes.iter().map(Changed::of).collect::<Vec<_>>());
    }
    if arguments.name_only {
        return Ok(changes
            .iter()
            .try_for_each(|change| writeln!(out, "{}", one_line(&change.path.to_string())))?);
    }
    if arguments.stat {
        return write_stat(&view, &changes, out);
    }
    changes.iter().try_for_each(|change| {
        write_sides(
            &view,
            Side::of(&change.path, change.before.as_ref()),
            Side::of(&change.path, change.after.as_ref()),
            style,
            out,
        )
    })
}

fn wanted(about: &About, arguments: &Arguments) -> anyhow::Result<Vec<RelPath>> {
    arguments.paths.iter().chain(&arguments.place.file).map(|path| about.path(path)).collect()
}

#[derive(Serialize)]
struct Changed<'a> {
    path: &'a RelPath,
    change: &'static str,
    before: Option<VersionJson>,
    after: Option<VersionJson>,
}

#[derive(Serialize)]
struct VersionJson {
    tick: Tick,
    #[serde(rename = "type")]
    kind: NodeType,
    mode: String,
    size: u64,
}

impl<'a> Changed<'a> {
    fn of(change: &'a Change) -> Self {
        let version = |version: &Version| VersionJson {
            tick: version.tick,
            kind: version.kind,
            mode: format!("{:06o}", version.mode),
            size: version.size,
        };
        let (before, after) = (change.before.as_ref().map(version), change.after.as_ref().map(version));
        let word = match (&before, &after) {
            (None, _) => "create",
            (_, None) => "delete",
            _ => "modify",
        };
        Self { path: &change.path, change: word, before, after }
    }
}

/// One side of a comparison.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    path: &'a RelPath,
    version: Option<&'a Version>,
}

impl<'a> Side<'a> {
    pub(super) fn of(path: &'a RelPath, version: Option<&'a Version>) -> Self {
        Self { path, version }
    }
}

/// What one tick changed.
pub(super) fn write_change(
    view: &View,
    told: &Told,
    style: Style,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let path = told.path();
    let side = |side: &'_ Option<(RelPath, Version)>| side.clone().unzip();
    let ((was, before), (is, after)) = (side(&told.before), side(&told.after));
    let (was, is) = (was.unwrap_or_else(|| path.clone()), is.unwrap_or(path));
    write_sides(view, Side::of(&was, before.as_ref()), Side::of(&is, after.as_ref()), style, out)
}

pub(super) fn write_sides(
    view: &View,
    before: Side<'_>,
    after: Side<'_>,
    style: Style,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    for line in about_metadata(before, after) {
        writeln!(out, "{}", style.bold(&line))?;
    }
    let diff = diff_of(view, before, after)?.into_bytes();
    out.write_all(&style.diff(&diff))?;
    Ok(())
}

/// What a unified diff does not say.
fn about_metadata(before: Side<'_>, after: Side<'_>) -> Vec<String> {
    let name = one_line(&after.path.to_string());
    let mut lines = Vec::new();
    match (before.version, after.version) {
        (None, Some(after)) if after.kind == NodeType::Dir => lines.push(format!("new directory {name}")),
        (Some(before), None) if before.kind == NodeType::Dir => {
            lines.push(format!("directory {name} is gone"))
        }
        (Some(was), Some(is)) if was.mode != is.mode => {
            lines.push(format!("mode {:06o} -> {:06o} {name}", was.mode, is.mode));
        }
        _ => {}
    }
    if before.path != after.path {
        lines.push(format!("renamed {} -> {name}", one_line(&before.path.to_string())));
    }
    lines
}

fn diff_of(view: &View, before: Side<'_>, after: Side<'_>) -> anyhow::Result<Diff> {
    let (old, new) = ([b"a/", before.path.as_bytes()].concat(), [b"b/", after.path.as_bytes()].concat());
    let not_kept = |version: &&Version| version.kind != NodeType::Dir && version.content.is_none();
    if let Some(version) = [before.version, after.version].into_iter().flatten().find(not_kept) {
        let why = format!("the content of tick {} was not kept ({} bytes)", version.tick, version.size);
        return Ok(Diff::Binary(
            format!("Files a/{} and b/{} differ: {why}\n", before.path, after.path).into_bytes(),
        ));
    }
    let file = |version: Option<&Version>| version.filter(|version| version.kind != NodeType::Dir).cloned();
    let labels = Labels { old: &old, new: &new };
    let (was, is) = (file(before.version), file(after.version));
    if was.is_none() && is.is_none() {
        return Ok(Diff::Equal);
    }
    view.diff(&labels, was.as_ref(), is.as_ref()).map_err(|source| {
        let failure = Failure::new(format!("{} cannot be compared: {source}", after.path));
        failure.next("`tickfs doctor` says what else is damaged").into()
    })
}

fn write_stat(view: &View, changes: &[Change], out: &mut dyn Write) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let (mut added, mut taken) = (0, 0);
    for change in changes {
        let (before, after) = (change.before.as_ref(), change.after.as_ref());
        let diff = diff_of(view, Side::of(&change.path, before), Side::of(&change.path, after))?;
        let told = match &diff {
            Diff::Text(text) => {
                let (plus, minus) = lines_of(text);
                added += plus;
                taken += minus;
                format!("+{plus} -{minus}")
            }
            Diff::Binary(_) => {
                let size = |version: Option<&Version>| version.map_or(0, |version| version.size);
                format!("{} -> {} bytes", size(before), size(after))
            }
            Diff::Equal => String::new(),
        };
        rows.push([one_line(&change.path.to_string()), told]);
    }
    output::table(out, &rows)?;
    writeln!(out, "{}: +{added} -{taken}", counted(changes.len() as u64, "path"))?;
    Ok(())
}

/// Added and taken lines of a unified diff, its two header lines aside.
fn lines_of(diff: &[u8]) -> (u64, u64) {
    let body = diff.split(|&byte| byte == b'\n').skip(2);
    body.fold((0, 0), |(plus, minus), line| match line.first() {
        Some(b'+') => (plus + 1, minus),
        Some(b'-') => (plus, minus + 1),
        _ => (plus, minus),
    })
}
