//! `tickfs record`: records in the foreground, a line a tick, until it is interrupted.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use tickfs_store::ids::Tick;
use tickfs_store::path::RelPath;
use tickfs_store::render::Layer;

use crate::output::counted;
use crate::serve::announce::Line;
use crate::serve::foreground::{Ended, Foreground};
use crate::serve::message::{Answer, Request};
use crate::target::{Chosen, Target};
use crate::threads;

/// Record a root, or one file, until Ctrl+C
///
/// Each tick is one line. A root is recorded by what the kernel tells, each save at once; a file (--file) is looked at
/// every so many seconds (--interval), so that of several saves between two looks the last is kept.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    chosen: Chosen,
    /// Write the diff of each tick into this directory too
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Threads that read, hash and compress, 1..32 [default: what `daemon set-threads` set, or 4]
    #[arg(long, value_name = "N", value_parser = threads::count, allow_negative_numbers = true)]
    threads: Option<u8>,
    /// Tell at the end what it cost
    #[arg(long)]
    profile: bool,
    /// Print no ticks, and be listed as what runs in the background is
    #[arg(long, hide = true)]
    daemonized: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let target = arguments.chosen.target()?;
    if let Some(dir) = &arguments.out {
        std::fs::create_dir_all(dir).with_context(|| format!("could not make {}", dir.display()))?;
    }
    let request = Request::Record {
        file: target.file.clone(),
        interval: arguments.chosen.interval,
        threads: arguments.threads,
    };
    let foreground = Foreground::begin(&target.store, &request, !arguments.daemonized)?;
    say_what_is_recorded(&target, arguments.chosen.interval, &foreground.answer, out)?;
    let mut ticks = 0;
    let ended = foreground.watch(&mut |line| {
        if let Line::Tick { tick, path, .. } = line {
            ticks += 1;
            if let Some(dir) = &arguments.out
                && let Err(error) = write_diff(&target, Tick(*tick), path, dir)
            {
                eprintln!("tickfs: tick {tick} was recorded, and its diff was not written: {error:#}");
            }
        }
        show(line, arguments.daemonized, out)
    })?;
    sum_up(ticks, &ended, arguments.profile, out)
}

fn say_what_is_recorded(
    target: &Target,
    interval: Option<f64>,
    answer: &Answer,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let Answer::Recording { threads, notes } = answer else { return Ok(()) };
    notes.iter().for_each(|note| eprintln!("tickfs: {note}"));
    let what =
        target.file.as_ref().map_or_else(|| target.root.clone(), |file| target.root.join(file.as_path()));
    let every = interval.map(|seconds| format!(" every {seconds} s")).unwrap_or_default();
    let threads = counted(u64::from(*threads), "thread");
    writeln!(out, "records {}{every} with {threads}; Ctrl+C ends it", what.display())?;
    Ok(out.flush()?)
}

/// A line a tick on stdout; what else is to be known on stderr.
pub(crate) fn show(line: &Line, quiet: bool, out: &mut impl Write) -> anyhow::Result<()> {
    match line {
        Line::Tick { .. } if quiet => {}
        Line::Tick { .. } => {
            writeln!(out, "{line}")?;
            out.flush()?;
        }
        Line::Note { .. } => eprintln!("tickfs: {line}"),
        Line::Progress { .. } => {}
    }
    Ok(())
}

fn sum_up(ticks: u64, ended: &Ended, profile: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let Ended { status, took } = ended;
    let seconds = took.as_secs_f64();
    let samples = counted(status.samples, "sample");
    writeln!(out, "{} and {samples} in {seconds:.1} s", counted(ticks, "tick"))?;
    if profile {
        #[expect(clippy::cast_precision_loss, reason = "nobody counts samples beyond 2^52")]
        let count = status.samples as f64;
        writeln!(out, "avg sample time  {:.3} ms", status.sampling_ms / count.max(1.0))?;
        writeln!(out, "peak memory      {}", peak_memory()?)?;
        writeln!(out, "sampling rate    {:.2} a second", count / seconds.max(0.001))?;
    }
    Ok(())
}

fn write_diff(target: &Target, tick: Tick, path: &RelPath, dir: &Path) -> anyhow::Result<()> {
    let view = target.store.view()?;
    let layer = Layer::new(&view, path)?;
    // A directory that came or went has no text.
    let has_text = layer.ticks().any(|own| own == tick);
    if has_text {
        std::fs::write(dir.join(format!("{tick}.diff")), layer.diff(tick)?)?;
    }
    Ok(())
}

fn peak_memory() -> anyhow::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status").context("could not look at this process")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(peak.map_or_else(|| "unknown".to_owned(), |peak| peak.trim().to_owned()))
}
