//! The first look at a long history of which nothing lies in the machine's memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustix::fs::Advice;
use tickfs_fs::{Mount, Options};
use tickfs_store::Scope;

use crate::Size;
use crate::figure::{Figure, line};
use crate::keeping;
use crate::scale;
use crate::scratch::scratch;

pub(crate) fn measure(_size: Size) -> Result<()> {
    let scratch = scratch()?;
    let (root, store) = (scratch.path().join("app"), scratch.path().join(".app.tickfs"));
    fs::create_dir(&root)?;
    scale::fill(&store, 10_000, 100_000)?;
    let writer = keeping::open(&store)?;
    writer.set_scope(&Scope { root: root.clone(), files: None })?;
    writer.close()?;
    let tickfs = tickfs()?;
    for verb in [&["status"][..], &["log"], &["branch", "list"]] {
        let mut times = (0..3).map(|_| -> Result<f64> {
            drop_caches(&[&store, &tickfs])?;
            let start = Instant::now();
            let status =
                Command::new(&tickfs).args(verb).current_dir(&root).stdout(Stdio::null()).status()?;
            ensure!(status.success(), "tickfs {verb:?} failed");
            Ok(start.elapsed().as_secs_f64())
        });
        say(&format!("tickfs {}", verb.join(" ")), &mut times)?;
    }
    let at = scratch.path().join("app.history");
    fs::create_dir(&at)?;
    let mut times = (0..3).map(|_| first_ls(&store, &at));
    say("mount, and its first ls", &mut times)
}

fn first_ls(store: &Path, at: &Path) -> Result<f64> {
    drop_caches(&[store])?;
    let start = Instant::now();
    let writer = keeping::open(store)?;
    let mount = Mount::start(writer.store().clone(), at, Options::default())?;
    let names = fs::read_dir(at)?.count();
    let time = start.elapsed().as_secs_f64();
    ensure!(names > 5, "the mount shows {names} names");
    mount.unmount()?;
    writer.close()?;
    Ok(time)
}

fn say(what: &str, times: &mut dyn Iterator<Item = Result<f64>>) -> Result<()> {
    let mut times = times.collect::<Result<Vec<_>>>()?;
    times.sort_by(f64::total_cmp);
    let what = format!("{what}, caches dropped, 100k events");
    line(&what, Figure::Seconds(times[times.len() / 2]), &[], Some(Figure::Seconds(1.0)));
    Ok(())
}

/// Of this store and of the program alone: what empties the caches of the whole machine also waits for every filesystem that
/// somebody has mounted.
fn drop_caches(paths: &[&Path]) -> Result<()> {
    for path in paths {
        if path.is_dir() {
            let below = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
            drop_caches(&below.iter().map(PathBuf::as_path).collect::<Vec<_>>())?;
        } else if path.is_file() {
            let file = fs::File::open(path)?;
            file.sync_all()?;
            rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// The binary that was built beside this program.
fn tickfs() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let dir = program.ancestors().nth(2).context("this program lies in a directory of the build")?;
    let tickfs = dir.join("tickfs");
    ensure!(tickfs.exists(), "{} is not there: scripts/bench builds it", tickfs.display());
    Ok(tickfs)
}
