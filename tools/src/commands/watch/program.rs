//! `tickfs watch --user-script S`: validates, runs, and passes the program's exit status on.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use tickfs_store::Store;
use tickfs_store::ids::Tick;
use tickfs_store::path::RelPath;
use tickfs_store::runs::{RunFacts, RunId, RunWriter};
use tickfs_tracer::variables::{self, Announce, Depth, Ended, FilesScope, Flags, Kept, Level, Options};

use crate::error::{Failure, Status};
use crate::{client, find, now};

#[derive(Debug, Args)]
pub(super) struct Traced {
    /// The program: a .py, .js, .mjs or .cjs file. JavaScript must export main(), which is called; in a .py file main() is called
    /// if there is one and the file did not call it itself
    #[arg(long, value_name = "SCRIPT", required = true)]
    user_script: Option<PathBuf>,
    /// Where events.jsonl is appended to; made if it does not exist
    #[arg(long, value_name = "DIR", default_value = "./watcher_output")]
    output: PathBuf,
    /// Put the number of the writing thread into each event
    #[arg(long)]
    track_threads: bool,
    /// Trace watched variables of functions too, not only those of modules and classes
    #[arg(long)]
    track_locals: bool,
    /// Trace every watched variable, those of functions too, and those that the file of --files-scope names: the program need
    /// not call watch() for them
    #[arg(long)]
    track_all: bool,
    /// Put the SQL statement that runs into each event
    #[arg(long)]
    track_sql: bool,
    /// Globs, separated by commas: only variables of these files are traced. Or a file with lines such as
    /// `src/app.py:(local:counter,global:total)`, which gives variables the scope that their events show
    #[arg(long, value_name = "FILE|GLOBS")]
    files_scope: Option<String>,
    /// Tell of changed bytes up to this offset alone: FULL, or a number of bytes; with 0 events tell of no bytes. A
    /// negative number is refused
    #[arg(long, value_name = "FULL|BYTES", default_value = "FULL", value_parser = depth, allow_hyphen_values = true)]
    mutation_depth: Depth,
    /// A program in the script's language whose main(event) sees each event before it is written, and answers
    /// {"action": "pass" | "drop" | "annotate" | "enrich"} within 100 ms; several make a chain
    #[arg(long, value_name = "PROCESSOR")]
    custom_processor: Vec<PathBuf>,
    /// How writes are seen that go past the hooks: `signal` protects the memory of buffers, and handles the fault in the thread
    /// that writes; `handler` leaves that to the tracer, which tells all that is written while a page is open; `coarse` looks
    /// at the memory every 10 ms, and costs a write nothing; `hooks` protects nothing
    #[arg(long, value_name = "MODE", default_value = "signal")]
    fault_mode: FaultMode,
    /// How much is said on stderr
    #[arg(long, value_name = "LEVEL", default_value = "info", ignore_case = true)]
    log_level: LogLevel,
    /// How many events may wait between the program and the tracer; a program that is faster then waits, so that none is
    /// lost [default: about 200000]
    #[arg(long, value_name = "EVENTS")]
    max_queue_size: Option<usize>,
    /// The program's own arguments, after --
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FaultMode {
    Signal,
    Handler,
    Coarse,
    Hooks,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogLevel {
    Debug,
    Info,
    Warning,
    Error,
}

fn depth(said: &str) -> Result<Depth, String> {
    match said {
        "FULL" => Ok(Depth(None)),
        number => number
            .parse()
            .map(|bytes| Depth(Some(bytes)))
            .map_err(|_no_number| "it is FULL, or the number of bytes that are told of, from 0".to_owned()),
    }
}

pub(super) fn run(arguments: &Traced) -> anyhow::Result<()> {
    let Some(script) = &arguments.user_script else {
        return Err(Failure::new("--user-script is missing").usage().into());
    };
    let level = match arguments.log_level {
        LogLevel::Debug => Level::Debug,
        LogLevel::Info => Level::Info,
        LogLevel::Warning => Level::Warning,
        LogLevel::Error => Level::Error,
    };
    let announce: Announce = Arc::new(move |of, text| {
        if of >= level {
            eprintln!("tickfs: {text}");
        }
    });
    let scope = match &arguments.files_scope {
        None => FilesScope::default(),
        Some(said) => FilesScope::read(said, &find::working_directory()?).map_err(usage)?,
    };
    if let Some(file) = &scope.file {
        announce(Level::Info, &format!("the scopes of variables are those of {}", file.display()));
    }
    let run = RunId::new(now::now(), now::random()?);
    let (store, kept) = match keep(script, &run)? {
        Some((store, kept)) => (Some(store), Some(kept)),
        None => (None, None),
    };
    announce(
        Level::Debug,
        &match &store {
            Some(store) => format!("the run is kept in {}", store.layout().dir().display()),
            None => "no store records the script: the run is kept in the output alone".to_owned(),
        },
    );
    let options = Options {
        script: script.clone(),
        arguments: arguments.arguments.clone(),
        output: arguments.output.clone(),
        flags: Flags {
            threads: arguments.track_threads,
            locals: arguments.track_locals || arguments.track_all,
            declared: arguments.track_all,
            sql: arguments.track_sql,
            faults: match arguments.fault_mode {
                FaultMode::Signal => variables::FaultMode::Signal,
                FaultMode::Handler => variables::FaultMode::Handler,
                FaultMode::Coarse => variables::FaultMode::Coarse,
                FaultMode::Hooks => variables::FaultMode::Hooks,
            },
        },
        depth: arguments.mutation_depth,
        scope,
        processors: arguments.custom_processor.clone(),
        queue: arguments.max_queue_size,
        level,
        run,
        kept,
        clock: Arc::new(now::now),
        announce: Arc::clone(&announce),
    };
    let journal = store.clone();
    let said = Arc::clone(&announce);
    let started = move |facts: &RunFacts| journalled(journal.as_ref(), facts, &said);
    let ended = variables::trace(options, &started).map_err(usage)?;
    journalled(store.as_ref(), &ended.facts, &announce);
    if let Some(what) = ended.invalid {
        return Err(Failure::new(what).at(script).usage().into());
    }
    conclude(&ended, &announce)
}

fn conclude(ended: &Ended, announce: &Announce) -> anyhow::Result<()> {
    let count = |name: &str| ended.facts.counts.get(name).copied().unwrap_or(0);
    let written = crate::output::counted(count("events_written"), "event");
    let mut text = format!("{} in {}", written, ended.facts.output);
    for (name, what) in [
        ("events_dropped", "dropped by a processor"),
        ("skipped_invocations", "not answered by a processor"),
        ("ignored_fields", "fields not overwritten"),
        ("events_lost", "lost"),
        ("damaged", "records not understood"),
    ] {
        if count(name) > 0 {
            text.push_str(&format!(", {} {what}", count(name)));
        }
    }
    announce(Level::Info, &format!("the program ended with {}; {text}", described(ended.status)));
    let status = match (ended.status.code(), ended.status.signal()) {
        (Some(0), _) if count("events_lost") + count("damaged") > 0 => 1,
        (Some(code), _) => u8::try_from(code & 0xff).unwrap_or(1),
        (None, signal) => u8::try_from(128 + signal.unwrap_or(0)).unwrap_or(1),
    };
    match status {
        0 => Ok(()),
        status => Err(Status(status).into()),
    }
}

fn described(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no status".to_owned(),
    }
}

/// What makes no sense is wrong usage; the rest is a failure.
fn usage(error: variables::Error) -> anyhow::Error {
    match error {
        variables::Error::Invalid { what, path } => {
            let failure = Failure::new(what).usage();
            match path {
                Some(path) => failure.at(path).into(),
                None => failure.into(),
            }
        }
        variables::Error::Store(error) => error.into(),
        other => other.into(),
    }
}

/// Where the run is kept, if a store records the script.
fn keep(script: &Path, run: &RunId) -> anyhow::Result<Option<(Store, Kept)>> {
    if !script.is_file() {
        return Ok(None);
    }
    let script = script.canonicalize()?;
    let Some(dir) = find::nearest(&script)? else { return Ok(None) };
    let store = Store::open(find::disk(), &dir)?;
    let script_tick = recorded(&store, &script)?;
    let writer = RunWriter::create(Arc::clone(store.disk()), store.layout(), run)?;
    Ok(Some((store, Kept { writer, script_tick })))
}

/// The tick at which the script became what it is now.
fn recorded(store: &Store, script: &Path) -> anyhow::Result<Option<Tick>> {
    let Some(scope) = store.scope()? else { return Ok(None) };
    let Ok(below) = script.strip_prefix(&scope.root) else { return Ok(None) };
    let Some(path) = below.to_str().and_then(|text| RelPath::new(text).ok()) else { return Ok(None) };
    let view = crate::fresh::quietly_fresh(store)?.0.view;
    let Ok(point) = view.cursor_point() else { return Ok(None) };
    let tree = view.tree(point)?;
    let Some(entry) = tree.resolve(&path)? else { return Ok(None) };
    if entry.version.content.is_none() {
        return Ok(None);
    }
    let same = tree.read(&entry.version)? == std::fs::read(script)?;
    Ok(same.then_some(entry.version.tick))
}

/// The run stands in the journal, when it began and when it has ended.
fn journalled(store: Option<&Store>, facts: &RunFacts, announce: &Announce) {
    let Some(store) = store else { return };
    if let Err(error) = client::keep_run(store, facts) {
        let why = Failure::from(&error);
        announce(Level::Warning, &format!("the journal does not tell of this run, run.json does: {why}"));
    }
}
