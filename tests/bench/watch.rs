//! The tracer of variables: what an assignment costs with a hook, with its events on disk, and beside other tracers.
//!
//! One loop, `n = n + 1` in a function, in all of them; it times itself, so that no start of an interpreter counts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tickfs_store::Store;
use tickfs_store::disk::RealDisk;
use tickfs_store::ids::UnixMillis;
use tickfs_store::runs::{RunId, RunWriter};
use tickfs_tracer::variables::{Depth, FilesScope, Flags, Kept, Level, Options, trace};

use crate::Size;
use crate::child;
use crate::figure::{Figure, Samples, line};
use crate::keeping::{self, Durable};
use crate::scratch::{scratch, space};

const LOOP: &str = "\
import sys, time
n = watch(0, name='n')
def loop(count):
    global n
    start = time.perf_counter()
    for _ in range(count):
        n = n + 1
    return time.perf_counter() - start
count, burst, pause = int(sys.argv[1]), int(sys.argv[3]), float(sys.argv[4])
seconds = 0
for done in range(0, count, burst):
    seconds += loop(min(burst, count - done))
    time.sleep(pause)
seconds /= max(count, 1)
open(sys.argv[2], 'w').write(repr(seconds))
";
/// A tenth of a second after each so many, the ring of the default size has room for all of them.
const BURST: usize = 100_000;
/// The same loop under tracers that a user would take otherwise, their output thrown away.
const WATCHPOINTS: &str = "\
import sys, time
import watchpoints
n = 0
watchpoints.watch.config(file=open('/dev/null', 'w'))
watchpoints.watch(n)
";
const SNOOPER: &str = "\
import sys, time, os
import pysnooper
n = 0
";
const BESIDE: &str = "\
def loop(count):
    global n
    start = time.perf_counter()
    for _ in range(count):
        n = n + 1
    return (time.perf_counter() - start) / count
";

pub(crate) fn measure(size: Size) -> Result<()> {
    let events = size.of(1_000_000, 100_000);
    let scratch = scratch()?;
    let dir = scratch.path();
    let script = dir.join("loop.py");
    fs::write(&script, LOOP)?;
    let plain = dir.join("plain.py");
    fs::write(&plain, LOOP.replace("watch(0, name='n')", "0"))?;
    let plain = least(|| python(dir, &plain, events, None))?;

    let hook = least(|| Ok(child::start(&["trace", text(dir)?, &events.to_string(), "roomy"])?.time))?;
    let mut beside = vec![("a plain loop", plain)];
    for (name, source, wrapper) in [
        ("watchpoints", WATCHPOINTS, "seconds = loop(int(sys.argv[1]))\n"),
        (
            "PySnooper",
            SNOOPER,
            "loop = pysnooper.snoop(os.devnull, watch=('n',))(loop)\nseconds = loop(int(sys.argv[1]))\n",
        ),
    ] {
        let path = dir.join(format!("beside-{name}.py"));
        fs::write(&path, format!("{source}{BESIDE}{wrapper}open(sys.argv[2], 'w').write(repr(seconds))\n"))?;
        let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/packages/tracers");
        match python(dir, &path, 2_000, Some(&packages)) {
            Ok(figure) => beside.push((name, figure)),
            Err(error) => println!("{name} is left out: {error:#}"),
        }
    }
    line("watch: a traced assignment, Python, hook", hook, &beside, Some(Figure::nanos(100.0)));

    for (what, how, limit) in [
        ("events on disk", "whole", Some(Figure::nanos(250.0))),
        ("events on disk and versions in a store", "kept", None),
    ] {
        let run = || Ok(child::start(&["trace", text(dir)?, &events.to_string(), how])?.time);
        let figure = least(run)?;
        line(&format!("watch: the same, {what} ({events})"), figure, &beside, limit);
    }
    let found = child::start(&["trace", text(dir)?, &events.to_string(), "kept"])?;
    line(&format!("watch: memory of the tracer, {events} events"), found.peak, &[], None);
    let each = |path: &Path| {
        Ok::<_, anyhow::Error>(Figure::Bytes(space(path)?.len as f64 / f64::from(u32::try_from(events)?)))
    };
    let output = each(&dir.join("output"))?;
    line("watch: an event in events.jsonl", output, &[], None);
    line(
        "watch: an event and its version in a store",
        each(&dir.join("store/runs"))?,
        &[("in events.jsonl", output)],
        None,
    );

    let middle = events / 2;
    let cold = child::start(&["version", text(dir)?, &middle.to_string()])?;
    let mut warm = versions(dir, events)?;
    let warm = [("p50 of any, opened before", warm.percentile(50)), ("p99", warm.percentile(99))];
    line(&format!("watch: vars/n/@{middle} of {events}, store and run opened"), cold.time, &warm, None);
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("the scratch directory has a name that is no text")
}

/// The least of three: the machine can only make it slower.
fn least(mut measure: impl FnMut() -> Result<Figure>) -> Result<Figure> {
    let mut found = measure()?;
    for _ in 0..2 {
        let again = measure()?;
        if again.value() < found.value() {
            found = again;
        }
    }
    Ok(found)
}

/// What the loop says of itself.
fn python(dir: &Path, script: &Path, count: usize, packages: Option<&Path>) -> Result<Figure> {
    let said = dir.join("seconds");
    let mut command = Command::new("python3");
    command.arg(script).arg(count.to_string()).arg(&said).args([&count.to_string(), "0"]);
    if let Some(packages) = packages {
        command.env("PYTHONPATH", packages);
    }
    let output = command.output().context("start python3")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    seconds(&said)
}

fn seconds(path: &Path) -> Result<Figure> {
    Ok(Figure::Seconds(fs::read_to_string(path)?.trim().parse()?))
}

/// Traces the loop, in a process of its own. `roomy`: it comes in bursts for which the ring has room, so that the loop never
/// waits, and its own time counts. Otherwise what counts is all the time that the events took more than a run of none.
pub(crate) fn run_traced(dir: &Path, events: usize, how: &str) -> Result<Figure> {
    let said = dir.join("seconds");
    let (burst, pause) = if how == "roomy" { (BURST, "0.1") } else { (events, "0") };
    let whole = |count: usize| -> Result<Duration> {
        for left in [dir.join("output"), dir.join("store")] {
            if left.exists() {
                fs::remove_dir_all(left)?;
            }
        }
        let run = RunId::new(UnixMillis(1_780_000_000_000), [1, 2, 3]);
        let kept = match how {
            "kept" => {
                let writer = keeping::init(&dir.join("store"), Durable::Always)?;
                let store = writer.store().clone();
                let writer = RunWriter::create(Arc::clone(store.disk()), store.layout(), &run)?;
                Some(Kept { writer, script_tick: None })
            }
            _ => None,
        };
        let options = Options {
            script: dir.join("loop.py"),
            arguments: vec![
                count.to_string().into(),
                said.clone().into(),
                burst.to_string().into(),
                pause.into(),
            ],
            output: dir.join("output"),
            flags: Flags::default(),
            depth: Depth::default(),
            scope: FilesScope::default(),
            processors: Vec::<PathBuf>::new(),
            queue: None,
            level: Level::Error,
            run,
            kept,
            clock: Arc::new(|| UnixMillis(1_780_000_000_000)),
            announce: Arc::new(|_, _| {}),
        };
        let start = std::time::Instant::now();
        let ended = trace(options, &|_| {})?;
        let written = ended.facts.counts.get("events_written").copied();
        ensure!(
            ended.status.success() && written == Some(count as u64),
            "{count} events were to be written: {ended:?}"
        );
        Ok(start.elapsed())
    };
    if how == "roomy" {
        whole(events)?;
        return seconds(&said);
    }
    let none = whole(0)?;
    let all = whole(events)?;
    Ok(Figure::Seconds(all.saturating_sub(none).as_secs_f64() / f64::from(u32::try_from(events)?)))
}

/// Opens all that is needed, and reads one version.
pub(crate) fn version(dir: &Path, n: u64) -> Result<()> {
    let runs = Store::open(Arc::new(RealDisk), &dir.join("store"))?.runs();
    let id = runs.list()?.pop().context("there is no run")?;
    let run = runs.open(&id)?;
    let variable = run.variable("n")?;
    let value = run.value(variable.id, n)?;
    ensure!(value.bytes == n.to_le_bytes(), "the value is {value:?}");
    Ok(())
}

fn versions(dir: &Path, events: usize) -> Result<Samples> {
    let runs = Store::open(Arc::new(RealDisk), &dir.join("store"))?.runs();
    let run = runs.open(&runs.list()?.pop().context("there is no run")?)?;
    let variable = run.variable("n")?;
    let mut samples = Samples::default();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..1_000 {
        let n = random.u64(0..=events as u64);
        samples.time(|| run.value(variable.id, n))?;
    }
    Ok(samples)
}
