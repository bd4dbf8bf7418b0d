//! The recorder over a real directory: what a save, a base and a checkout wait for, and what it costs while nothing happens.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use tickfs_store::disk::RealDisk;
use tickfs_store::ids::{StoreId, UnixMillis};
use tickfs_store::{Scope, Store};
use tickfs_tracer::files::{Announcement, Options, Recorder};

use crate::Size;
use crate::child;
use crate::figure::{Figure, Samples, line, timed};
use crate::git::Git;
use crate::jj;
use crate::keeping::{self, who};
use crate::many;
use crate::scratch::{floor, scratch};

/// How long a recorder is watched that has nothing to do.
const IDLE: Duration = Duration::from_secs(5);

pub(crate) fn measure(size: Size) -> Result<()> {
    let scratch = scratch()?;
    let root = scratch.path().join("tree");
    let git = Git::init(&root)?;
    let (files, changed) = (size.of(10_000, 2_000), size.of(1_000, 200));
    many::make(&root, files)?;
    let (added, beside) = timed(|| git.run(&["add", "-A"]));
    added?;
    git.run(&["commit", "-q", "-m", "one"])?;
    let store = scratch.path().join("store");
    let (started, ours) = timed(|| start(&root, &store));
    let (recorder, news) = started?;
    let what = format!("recorder: base of {files} files");
    line(&what, ours, &[("git add -A", beside)], Some(beside));

    let jj = jj::snapshots(&scratch.path().join("jj"), files, 20)?;
    saves(&root, &news, size.of(1_000, 200), &mut floor(scratch.path(), 200)?, jj)?;
    in_quick_succession(&root, &recorder, &news, size.of(1_000, 200))?;

    // What the saves left is put away, so that the checkout finds its own tree.
    git.run(&["checkout", "-q", "."])?;
    recorder.flush()?;
    many::change(&root, changed, files / changed)?;
    let (added, beside) = timed(|| git.run(&["add", "-A"]));
    added?;
    git.run(&["commit", "-q", "-m", "two"])?;
    git.run(&["checkout", "-q", "HEAD~1"])?;
    recorder.flush()?;
    while news.try_recv().is_ok() {}
    git.run(&["checkout", "-q", "-"])?;
    let (seen, ours) = timed(|| await_ticks(&news, changed));
    let bursts = seen?;
    let what = format!("recorder: {changed} files changed by a checkout → durable ({bursts} bursts)");
    line(&what, ours, &[("git add -A", beside)], Some(beside));
    recorder.stop()?;

    let many_files = size.of(100_000, 20_000);
    let (root, store) = (scratch.path().join("many"), scratch.path().join("many-store"));
    small_files(&root, many_files)?;
    let (recorder, _news) = start(&root, &store)?;
    recorder.stop()?;
    drop(recorder);
    // By now nothing is racily clean any more.
    std::thread::sleep(Duration::from_millis(50));
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a path that is not UTF-8");
    let (root, store) = (text(&root)?, text(&store)?);
    let found = child::start(&["idle", &root, &store])?;
    let what = format!("recorder: idle with {many_files} files, processor per {} s", IDLE.as_secs());
    line(&what, found.time, &[], Some(Figure::millis(5.0)));
    line(
        &format!("recorder: most memory with {many_files} files"),
        found.peak,
        &[],
        Some(Figure::megabytes(60.0)),
    );
    Ok(())
}

fn start(root: &Path, store: &Path) -> Result<(Recorder, Receiver<usize>)> {
    let scope = Scope::whole(root);
    if !store.exists() {
        let id = StoreId::new(UnixMillis(1), [7; 10]);
        Store::init_for(Arc::new(RealDisk), store, id, Some(&scope))?;
    }
    let writer = Store::open(Arc::new(RealDisk), store)?.writer(who(), Duration::from_secs(10))?;
    let (to, news) = channel();
    let to = Mutex::new(to);
    let announce = move |announcement: &Announcement| {
        if let Announcement::Ticks { ticks, .. } = announcement {
            // Nobody may be interested any more.
            to.lock().send(ticks.len()).unwrap_or_default();
        }
    };
    let clock = || keeping::moment(0);
    let options =
        Options { announce: Arc::new(announce), clock: Arc::new(clock), interval: None, threads: None };
    Ok((Recorder::start(Arc::new(writer), scope, options)?, news))
}

/// From the moment at which the writer has closed its file.
fn saves(
    root: &Path,
    news: &Receiver<usize>,
    count: usize,
    floor: &mut Samples,
    mut jj: Option<Samples>,
) -> Result<()> {
    let file = keeping::files_below(root)?.into_iter().next().context("there are no files")?.1;
    let mut text = fs::read(&file)?;
    let mut samples = Samples::default();
    for n in 0..count {
        let line = format!("line {n}\n");
        text.splice(n * 7 % text.len()..n * 7 % text.len(), line.into_bytes());
        fs::write(&file, &text)?;
        samples.time(|| await_ticks(news, 1))?;
        std::thread::sleep(Duration::from_millis(8));
    }
    for (per_cent, limit) in [(50, 2.0), (95, 5.0)] {
        let what = format!("recorder: save → durable and visible, p{per_cent} of {count}");
        let mut beside = vec![("write+fdatasync", floor.percentile(per_cent))];
        beside.extend(jj.as_mut().map(|jj| ("jj debug snapshot", jj.percentile(per_cent))));
        line(&what, samples.percentile(per_cent), &beside, Some(Figure::millis(limit)));
    }
    Ok(())
}

/// Saves every 10 ms, whether the ones before are durable or not. A writer that was held up does not make up for it.
fn in_quick_succession(root: &Path, recorder: &Recorder, news: &Receiver<usize>, count: usize) -> Result<()> {
    let file = keeping::files_below(root)?.into_iter().next().context("there are no files")?.1;
    for n in 0..count {
        fs::write(&file, format!("save {n} of many\n"))?;
        std::thread::sleep(Duration::from_millis(10));
    }
    recorder.flush()?;
    let ticks: usize = news.try_iter().sum();
    let told = recorder.status();
    let lost = u64::try_from(count.saturating_sub(ticks))?;
    let what = format!(
        "recorder: saves lost, one every 10 ms, {count} times ({} told as lost, {} gaps)",
        told.merged, told.gaps
    );
    line(&what, Figure::count(lost), &[], Some(Figure::count(0)));
    Ok(())
}

/// Waits for so many ticks; gives the number of bursts in which they came.
fn await_ticks(news: &Receiver<usize>, count: usize) -> Result<usize> {
    let (mut seen, mut bursts) = (0, 0);
    while seen < count {
        seen += news.recv_timeout(Duration::from_secs(30)).context("a save was not recorded")?;
        bursts += 1;
    }
    ensure!(seen == count, "{seen} ticks of {count} changes");
    Ok(bursts)
}

fn small_files(root: &Path, count: usize) -> Result<()> {
    for n in 0..count {
        let dir = root.join(format!("dir{}", n / 100));
        if n % 100 == 0 {
            fs::create_dir_all(&dir)?;
        }
        fs::write(dir.join(format!("file{n}.txt")), format!("content {n}\n"))?;
    }
    Ok(())
}

/// In a process of its own: starts on a store that knows the root, and gives the time that doing nothing took.
pub(crate) fn idle(root: &Path, store: &Path) -> Result<Figure> {
    let (recorder, _news) = start(root, store)?;
    let before = processor();
    let until = Instant::now() + IDLE;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        std::thread::sleep(left);
    }
    let used = processor() - before;
    recorder.stop()?;
    Ok(Figure::from(used))
}

fn processor() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}
