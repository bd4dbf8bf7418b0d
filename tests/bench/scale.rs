//! Long histories: the cold start, the index lost, and one entry among a million ticks.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tickfs_store::disk::RealDisk;
use tickfs_store::history::Point;
use tickfs_store::ids::{Address, BranchNo, ContentHash, PackId, Rec, Tick};
use tickfs_store::path::RelPath;
use tickfs_store::{Content, Store};

use crate::figure::{Figure, Samples, line};
use crate::keeping::{self, Durable};
use crate::scratch::{scratch, space};
use crate::{Size, child};

const IN_A_DIRECTORY: usize = 200;

pub(crate) fn measure(size: Size) -> Result<()> {
    let scratch = scratch()?;
    for (name, paths, ticks, lost) in size.of(
        &[("100k", 10_000, 100_000, 0.3), ("1M", 100_000, 1_000_000, 3.0)][..],
        &[("100k", 10_000, 100_000, 0.3)][..],
    ) {
        let dir = scratch.path().join(name);
        let index = fill(&dir, *paths, *ticks)?;
        cold(&dir, name, *lost, size)?;
        entry(&dir, name, *paths, *ticks, index)?;
        fs::remove_dir_all(&dir)?;
    }
    Ok(())
}

/// Ticks of real shape whose contents are nobody's: what is measured here never reads one. Gives the index's bytes for
/// each tick.
pub(crate) fn fill(dir: &Path, paths: usize, ticks: usize) -> Result<Figure> {
    let writer = keeping::init(dir, Durable::Never)?;
    keeping::base(&writer, (0..paths).map(plain))?;
    writer.close()?;
    let before = space(&dir.join("index.db"))?.len;
    let writer = keeping::open(dir)?;
    let mut random = fastrand::Rng::with_seed(42);
    for burst in 0..ticks / 1_000 {
        let saves =
            (0..1_000).map(|_| -> Result<_> { Ok((path(random.usize(0..paths))?, random.u64(1..1 << 40))) });
        let saves = saves.collect::<Result<Vec<_>>>()?;
        writer.mutate(keeping::moment(burst), move |m| {
            for (path, place) in &saves {
                let hash = ContentHash::of(&place.to_le_bytes());
                let rec = Rec { at: Address { pack: PackId(1), offset: *place }, len: 186 };
                let content = Content::Stored { rec, hash, size: *place };
                m.save(path, &keeping::file_meta(0o644), content)?;
            }
            Ok(())
        })?;
    }
    let made = writer.store().view()?.last_tick().0;
    ensure!(made == ticks as u64, "{made} ticks instead of {ticks}");
    writer.close()?;
    keeping::settle(dir)?;
    // What is written without syncs is not sealed by itself.
    let writer = keeping::open(dir)?;
    writer.compact(keeping::moment(0))?;
    writer.close()?;
    let grown = space(&dir.join("index.db"))?.len - before;
    Ok(Figure::Bytes(grown as f64 / ticks as f64))
}

fn plain(n: usize) -> Result<(RelPath, u32, Vec<u8>)> {
    Ok((path(n)?, 0o644, format!("{n}\n").into_bytes()))
}

fn path(n: usize) -> Result<RelPath> {
    Ok(RelPath::new(format!("dir-{:04}/file-{n:06}.rs", n / IN_A_DIRECTORY))?)
}

fn cold(dir: &Path, name: &str, lost: f64, size: Size) -> Result<()> {
    let place = dir.to_str().context("a directory with a plain name")?;
    let first = path(0)?.to_string();
    let mut starts =
        (0..size.of(9, 5)).map(|_| child::start(&["open", place, &first])).collect::<Result<Vec<_>>>()?;
    starts.sort_by(|a, b| a.time.value().total_cmp(&b.time.value()));
    let median = starts[starts.len() / 2];
    let what = format!("open, refresh and first lookup in a new process, {name} ticks");
    line(&what, median.time, &[], Some(Figure::millis(50.0)));
    line(
        &format!("peak memory of that process, {name} ticks"),
        median.peak,
        &[],
        Some(Figure::megabytes(50.0)),
    );
    for suffix in ["", "-wal", "-shm"] {
        match fs::remove_file(dir.join(format!("index.db{suffix}"))) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    let rebuilt = child::start(&["open", place, &first])?;
    let what = format!("index lost, {name} events: rebuilt and first lookup");
    line(&what, rebuilt.time, &[], Some(Figure::Seconds(lost)));
    line(&format!("peak memory of the rebuild, {name} events"), rebuilt.peak, &[], None);
    Ok(())
}

fn entry(dir: &Path, name: &str, paths: usize, ticks: usize, index: Figure) -> Result<()> {
    let store = Store::open(Arc::new(RealDisk), dir)?;
    let view = store.view()?;
    let mut random = fastrand::Rng::with_seed(7);
    let (mut entries, mut resolved) = (Samples::default(), Samples::default());
    for _ in 0..5_000 {
        let at = Point { branch: BranchNo::MAIN, tick: Tick(random.u64(1..ticks as u64)) };
        let path = path(random.usize(0..paths))?;
        let parent = path.parent().unwrap_or_default();
        let tree = view.tree(at)?;
        let dir = tree.resolve(&parent)?.context("a directory is not there")?.node;
        let found = entries.time(|| {
            let tree = view.tree(at)?;
            match tree.lookup(dir, path.name())? {
                Some(node) => tree.version(node),
                None => Ok(None),
            }
        })?;
        ensure!(found.is_some(), "{path} is not in the tree of {}", at.tick);
        resolved.time(|| tree.resolve(&path))?;
    }
    let what = format!("@n → tree entry (name and version), {name} ticks over {paths} paths, p50");
    line(&what, entries.percentile(50), &[], Some(Figure::micros(10.0)));
    line("the same for a whole path of two names, p50", resolved.percentile(50), &[], None);
    line(&format!("index for each tick, {name} ticks"), index, &[], None);
    Ok(())
}
