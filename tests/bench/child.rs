//! What is measured in a process of its own: the cold start, and how much memory something takes.
//!
//! The program starts itself with [`WORD`]; the child says its figures as words in one line.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use tickfs_store::Store;
use tickfs_store::disk::RealDisk;
use tickfs_store::path::RelPath;

use crate::figure::Figure;
use crate::keeping::who;
use crate::{recorder, stream, watch};

pub(crate) const WORD: &str = "child";

/// What a child found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) time: Figure,
    /// The most memory that was resident at any time.
    pub(crate) peak: Figure,
}

pub(crate) fn start(words: &[&str]) -> Result<Found> {
    let program = std::env::current_exe().context("find this program")?;
    let output = Command::new(program).arg(WORD).args(words).output().context("start a child")?;
    ensure!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    match numbers[..] {
        [seconds, bytes] => Ok(Found { time: Figure::Seconds(seconds), peak: Figure::Bytes(bytes) }),
        _ => bail!("a child said {text:?}"),
    }
}

pub(crate) fn run(words: &[String]) -> Result<()> {
    let start = Instant::now();
    if let [verb, root, store] = words
        && verb == "idle"
    {
        let used = recorder::idle(Path::new(root), Path::new(store))?;
        println!("{} {}", used.value(), peak()?);
        return Ok(());
    }
    if let [verb, dir, events, how] = words
        && verb == "trace"
    {
        let each = watch::run_traced(Path::new(dir), events.parse()?, how)?;
        println!("{} {}", each.value(), peak()?);
        return Ok(());
    }
    match words {
        [verb, dir, n] if verb == "version" => watch::version(Path::new(dir), n.parse()?)?,
        [verb, dir, path] if verb == "open" => open(Path::new(dir), path)?,
        [verb, dir, len] if verb == "take" => stream::take(Path::new(dir), len.parse()?)?,
        [verb, dir, len] if verb == "give" => stream::give(Path::new(dir), len.parse()?)?,
        _ => bail!("a child was asked for {words:?}"),
    }
    println!("{} {}", start.elapsed().as_secs_f64(), peak()?);
    Ok(())
}

/// Opens a store as a mount would, up to the first answer.
fn open(dir: &Path, path: &str) -> Result<()> {
    let store = Store::open(Arc::new(RealDisk), dir)?;
    store.refresh(who())?;
    let view = store.view()?;
    let found = view.tree(view.cursor_point()?)?.resolve(&RelPath::new(path)?)?;
    found.map(drop).context("the path is not there")
}

fn peak() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("there is no VmHWM")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024.0)
}
