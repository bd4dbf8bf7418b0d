//! `watch/<run>/`: a watched program, its events, and each of its variables at every change.
//!
//! A run is written by its own tracer and not through the journal, so nothing here rests on [`super::Now`]: what is on disk
//! when somebody asks is the answer, and a directory's time tells how much there was.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tickfs_store::Error as StoreError;
use tickfs_store::disk::DiskFile;
use tickfs_store::ids::UnixNanos;
use tickfs_store::render;
use tickfs_store::runs::{Run, RunId, file_name};

use super::listing::named_cookie;
use super::{Found, ListTicks, Listing, NamedDir, Now, Recipe, View, diff, first_cookie, names};
use crate::error::Result;

/// A directory of a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Dir {
    Run(RunId),
    Variables(RunId),
    Variable(RunId, u32),
}

/// A text of a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum File {
    Facts(RunId),
    Script(RunId),
    /// A variable's value after its n-th change.
    Value(RunId, u32, u64),
    /// Each change of a variable as a line: number, time, place, value.
    Log(RunId, u32),
    /// What went wrong, and how often.
    Errors(RunId),
}

pub(super) fn find_run(view: &View, name: &[u8]) -> Result<Option<Found>> {
    let Some(id) = std::str::from_utf8(name).ok().and_then(RunId::parse) else { return Ok(None) };
    match view.store.runs().open(&id) {
        Ok(run) => Ok(Some(directory(Dir::Run(run.id().clone())))),
        Err(error) => diff::absent(error),
    }
}

pub(super) fn list_runs(view: &View, after: u64, out: &mut Listing<'_>) -> Result<()> {
    let mut runs: Vec<(u64, RunId)> =
        view.store.runs().list()?.into_iter().map(|id| (named_cookie(id.as_str().as_bytes()), id)).collect();
    runs.sort_by_key(|&(cookie, _)| cookie);
    for (cookie, id) in runs.into_iter().filter(|&(cookie, _)| after < cookie) {
        let name = id.as_str().to_owned();
        if !out.push(name.as_bytes(), cookie, directory(Dir::Run(id)))? {
            return Ok(());
        }
    }
    Ok(())
}

pub(super) fn find(view: &View, dir: &Dir, name: &[u8]) -> Result<Option<Found>> {
    match dir {
        Dir::Run(id) => Ok(parts(id).into_iter().find(|(part, _)| *part == name).map(|(_, found)| found)),
        Dir::Variables(id) => {
            let variables = open(view, id)?.variables()?;
            let named = variables.into_iter().find(|facts| file_name(&facts.key).as_bytes() == name);
            Ok(named.map(|facts| directory(Dir::Variable(id.clone(), facts.id))))
        }
        Dir::Variable(id, variable) => {
            if name == b"log" {
                return Ok(Some(text(File::Log(id.clone(), *variable), false)));
            }
            let Some(said) = name.strip_prefix(b"@").and_then(|said| std::str::from_utf8(said).ok()) else {
                return Ok(None);
            };
            let last = open(view, id)?.changes(*variable)?;
            match names::tick(said) {
                Some(n) if n.0 <= last => Ok(Some(text(File::Value(id.clone(), *variable, n.0), true))),
                None if said == "HEAD" => Ok(Some(head(last))),
                Some(_) | None => Ok(None),
            }
        }
    }
}

pub(super) fn list(view: &View, dir: &Dir, after: u64, out: &mut Listing<'_>) -> Result<()> {
    match dir {
        Dir::Run(id) => out.fixed(after, parts(id)).map(drop),
        Dir::Variables(id) => {
            for facts in open(view, id)?.variables()? {
                let cookie = first_cookie() + u64::from(facts.id);
                let found = directory(Dir::Variable(id.clone(), facts.id));
                if after < cookie && !out.push(file_name(&facts.key).as_bytes(), cookie, found)? {
                    return Ok(());
                }
            }
            Ok(())
        }
        Dir::Variable(id, variable) => {
            let last = open(view, id)?.changes(*variable)?;
            let log = text(File::Log(id.clone(), *variable), false);
            if !out.fixed(after, vec![(b"log", log), (b"@HEAD", head(last))])? {
                return Ok(());
            }
            let first = match view.options.list_ticks {
                ListTicks::All => 0,
                ListTicks::Newest(limit) => (last + 1).saturating_sub(limit),
            };
            for n in first..=last {
                let cookie = first_cookie() + n;
                let found = text(File::Value(id.clone(), *variable, n), true);
                if after < cookie && !out.push(format!("@{n}").as_bytes(), cookie, found)? {
                    return Ok(());
                }
            }
            Ok(())
        }
    }
}

fn parts(id: &RunId) -> Vec<(&'static [u8], Found)> {
    vec![
        (b"run.json", text(File::Facts(id.clone()), false)),
        (b"script", text(File::Script(id.clone()), true)),
        (b"events.jsonl", Found::Stream(id.clone())),
        (b"errors.json", text(File::Errors(id.clone()), false)),
        (b"vars", directory(Dir::Variables(id.clone()))),
    ]
}

fn directory(dir: Dir) -> Found {
    Found::Dir(NamedDir::Watch(dir))
}

fn text(file: File, lasts: bool) -> Found {
    Found::Text { recipe: Recipe::Watch(file), lasts }
}

fn head(last: u64) -> Found {
    Found::Link { target: format!("@{last}").into_bytes(), mtime: UnixNanos(0), name_lasts: false }
}

fn open(view: &View, id: &RunId) -> Result<Run> {
    Ok(view.store.runs().open(id)?)
}

impl File {
    pub(super) fn render(&self, view: &View) -> Result<Vec<u8>> {
        Ok(match self {
            Self::Facts(id) => open(view, id)?.facts_text()?,
            Self::Script(id) => open(view, id)?.script()?,
            Self::Value(id, variable, n) => open(view, id)?.value(*variable, *n)?.shown(),
            Self::Log(id, variable) => open(view, id)?.log(*variable)?,
            Self::Errors(id) => errors(&open(view, id)?)?,
        })
    }

    /// Whether it is the same whenever it is read.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self, Self::Script(_) | Self::Value(..))
    }
}

/// What went wrong in a run, by its name.
fn errors(run: &Run) -> Result<Vec<u8>> {
    const WRONG: [&str; 4] = ["events_lost", "skipped_invocations", "ignored_fields", "damaged"];
    let counts = run.facts()?.counts;
    let wrong: Vec<Value> = WRONG
        .iter()
        .filter_map(|name| Some((name, *counts.get(*name).filter(|&&count| count > 0)?)))
        .map(|(name, count)| json!({ "error": name, "count": count }))
        .collect();
    Ok(render::pretty(&wrong))
}

/// What `stats.json` says of all runs: the counts of each, added up, and of how many there is nothing to be read.
pub(super) fn stats(view: &View) -> Result<Value> {
    let runs = view.store.runs();
    let all = runs.list()?;
    let mut counts = BTreeMap::<String, u64>::new();
    let (mut output, mut unreadable) = (None, 0);
    for id in &all {
        let facts = match runs.open(id).and_then(|run| run.facts()) {
            Ok(facts) => facts,
            // A run that is being born has no facts yet.
            Err(StoreError::NotFound { .. }) => continue,
            Err(error) => {
                view.failed(&error.into());
                unreadable += 1;
                continue;
            }
        };
        for (name, count) in facts.counts {
            *counts.entry(name).or_default() += count;
        }
        output = Some(facts.output);
    }
    Ok(json!({ "runs": all.len(), "unreadable": unreadable, "counts": counts, "last_output": output }))
}

/// What tells the listings of a directory apart, beside the time of the last tick.
pub(super) fn mtime(view: &View, now: &Now, dir: &Dir) -> Result<UnixNanos> {
    let count = match dir {
        Dir::Run(_) => 0,
        Dir::Variables(id) => open(view, id)?.variables()?.len() as u64,
        Dir::Variable(id, variable) => open(view, id)?.changes(*variable)?,
    };
    Ok(UnixNanos(now.mtime().0.saturating_add_unsigned(count)))
}

/// The same of `watch/` itself.
pub(super) fn mtime_of_runs(view: &View, now: &Now) -> Result<UnixNanos> {
    Ok(UnixNanos(now.mtime().0.saturating_add_unsigned(view.store.runs().list()?.len() as u64)))
}

fn events(view: &View, id: &RunId) -> Result<(Arc<dyn DiskFile>, u64)> {
    let file = open(view, id)?.events()?;
    let len = file.len().map_err(|source| failed(view, source))?;
    Ok((file, len))
}

pub(super) fn events_len(view: &View, id: &RunId) -> Result<u64> {
    Ok(events(view, id)?.1)
}

pub(super) fn read_events(view: &View, id: &RunId, offset: u64, len: usize) -> Result<Vec<u8>> {
    let (file, size) = events(view, id)?;
    let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; left.min(len)];
    let mut filled = 0;
    while filled < bytes.len() {
        let count = file
            .read_at(&mut bytes[filled..], offset + filled as u64)
            .map_err(|source| failed(view, source))?;
        if count == 0 {
            break;
        }
        filled += count;
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn failed(view: &View, source: std::io::Error) -> StoreError {
    StoreError::Io { action: "read the events of a run in", path: view.store.layout().runs(), source }
}
