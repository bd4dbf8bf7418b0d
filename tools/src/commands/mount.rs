//! `tickfs mount`: shows a root's history, and records it from then on.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::client::ask_or_start;
use crate::progress::Progress;
use crate::serve::foreground::Foreground;
use crate::serve::message::{Absolute, Answer, Request};
use crate::serve::mountpoint;
use crate::target::{Target, Wanted};
use crate::{find, output};

use super::record::show;

/// Show the history of a root, or of one file, as files
///
/// From then on every save is kept. A store is made where none records it yet. The mount point is ROOT.history beside the
/// root, or FILE.history there, unless it is named, and is made if it is missing. The command returns when history can be read; `tickfs unmount`
/// ends it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The directory, or the file, whose history is to be shown [default: the working directory]
    #[arg(value_name = "ROOT|FILE")]
    path: Option<PathBuf>,
    /// Where to show it: an empty directory, or one that does not exist
    mountpoint: Option<PathBuf>,
    /// Stay, print each tick, and unmount at Ctrl+C
    #[arg(long)]
    foreground: bool,
    /// Let other users read it too, as far as the files' modes allow
    #[arg(long)]
    allow_other: bool,
    /// How many ticks are listed in a directory of ticks; the others are found by their names
    #[arg(long, value_name = "N|all", default_value = "32", value_parser = list_ticks)]
    list_ticks: Listed,
    /// The store to use, or to make
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Do it although the directory is / or your home
    #[arg(long)]
    yes: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy)]
struct Listed(Option<u64>);

fn list_ticks(text: &str) -> Result<Listed, String> {
    match text {
        "all" => Ok(Listed(None)),
        _ => text.parse().map(|n| Listed(Some(n))).map_err(|_no_number| "a number, or `all`".to_owned()),
    }
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let wanted = Wanted { store: arguments.store.as_deref(), yes: arguments.yes };
    let target = wanted.path(arguments.path.as_deref())?;
    let request = Request::Mount {
        candidates: candidates(&target, arguments.mountpoint.as_deref())?,
        file: target.file.clone(),
        allow_other: arguments.allow_other,
        list_ticks: arguments.list_ticks.0,
    };
    if arguments.foreground {
        let foreground = Foreground::begin(&target.store, &request, true)?;
        say_where(arguments, &target, None, &foreground.answer, out)?;
        foreground.watch(&mut |line| show(line, false, out))?;
        return Ok(());
    }
    let mut progress = Progress::default();
    let (pid, answer) = ask_or_start(&target.store, &request, &mut |text| progress.tell(text))?;
    drop(progress);
    say_where(arguments, &target, Some(pid), &answer, out)
}

fn say_where(
    arguments: &Arguments,
    target: &Target,
    pid: Option<u32>,
    answer: &Answer,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let Answer::Mounted { at, notes } = answer else { return Ok(()) };
    notes.iter().for_each(|note| eprintln!("tickfs: {note}"));
    let what = target.path();
    if arguments.json {
        let shown = serde_json::json!({
            "shown": output::path_in_json(&what), "at": output::path_in_json(&at.0), "pid": pid,
        });
        output::json(out, &shown)?;
    } else {
        writeln!(out, "the history of {} is at {}", what.display(), at.0.display())?;
    }
    Ok(out.flush()?)
}

/// A mount point that is named is the only one; its directory must exist, and is named without symlinks.
fn candidates(target: &Target, mountpoint: Option<&Path>) -> anyhow::Result<Vec<Absolute>> {
    let Some(named) = mountpoint else { return Ok(mountpoint::candidates(&target.root, &target.path())) };
    let settled = find::settled(named)?;
    let settled = match settled.canonicalize() {
        Ok(real) => real,
        Err(_not_there_or_dead) => settled,
    };
    settled.parent().with_context(|| format!("{} is no mount point", named.display()))?;
    Ok(vec![Absolute(settled)])
}
