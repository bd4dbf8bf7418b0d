//! What history takes on disk, and how fast any version of it is read.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tickfs_store::disk::RealDisk;
use tickfs_store::history::Point;
use tickfs_store::ids::{BranchNo, Tick};
use tickfs_store::path::RelPath;
use tickfs_store::{Content, Store, Version};
use tickfs_tests::corpus::Corpus;

use crate::Size;
use crate::figure::{Figure, Samples, line};
use crate::git::Git;
use crate::keeping::{self, Durable, Parts};
use crate::scratch::{copy, scratch, space};

/// A base of a whole project, and 300 saves.
pub(crate) fn replay(_size: Size) -> Result<()> {
    let corpus = Corpus::named("replay")?;
    let scratch = scratch()?;
    let dir = scratch.path().join("store");
    let writer = keeping::init(&dir, Durable::Never)?;
    keeping::base_of(&writer, &corpus)?;
    let git = Git::init(&scratch.path().join("git"))?;
    for file in corpus.base() {
        let file = file?;
        git.write(&file.path, &file.bytes)?;
    }
    git.run(&["add", "-A"])?;
    git.run(&["commit", "-q", "-m", "base"])?;
    for (n, save) in corpus.saves().enumerate() {
        let save = save?;
        git.write(&save.path, &save.content)?;
        git.add_and_commit(&save.path)?;
        let meta = keeping::file_meta(0o644);
        writer
            .mutate(keeping::moment(n), move |m| m.save(&save.path, &meta, Content::Bytes(save.content)))?;
    }
    writer.close()?;
    let loose = Figure::bytes(git.space()?.allocated);
    git.run(&["gc", "-q"])?;
    let packed = Figure::bytes(git.space()?.allocated);
    let ours = Figure::bytes(space(&dir)?.allocated);
    let what = "store after the replay, no maintenance";
    line(what, ours, &[("git loose", loose), ("git gc", packed)], Some(Figure::megabytes(4.0)));
    Ok(())
}

/// Thousands of saves of few files: what each costs, hot and compacted, and the time to read one of them.
pub(crate) fn tick_and_read(size: Size) -> Result<()> {
    // The corpus is never cut short: its first files are several times larger than its mean.
    let reads = size.of(2_000, 1_000);
    let corpus = Corpus::named("saves")?;
    let scratch = scratch()?;
    let (hot, base) = (scratch.path().join("hot"), scratch.path().join("base"));
    let writer = keeping::init(&hot, Durable::Never)?;
    keeping::base_of(&writer, &corpus)?;
    writer.close()?;
    copy(&hot, &base)?;
    let ticks = fill(&hot, &corpus)?;
    let git = Beside::of(&corpus, &scratch.path().join("git"), ticks.len())?;

    let cost = Parts::of(&hot)?.beyond(Parts::of(&base)?);
    cost_line("hot", cost, &ticks, &git, 700.0);
    let asked = pick(&corpus, ticks.len(), reads)?;
    let mut from_git = git.time_reads(&asked)?;
    read_lines("hot", &hot, &ticks, &asked, &mut from_git)?;

    keeping::roll_and_compact(&hot)?;
    keeping::roll_and_compact(&base)?;
    let cost = Parts::of(&hot)?.beyond(Parts::of(&base)?);
    cost_line("compacted", cost, &ticks, &git, 230.0);
    read_lines("compacted", &hot, &ticks, &asked, &mut from_git)
}

/// Gives the tick of each save.
fn fill(dir: &Path, corpus: &Corpus) -> Result<Vec<Tick>> {
    let writer = keeping::open(dir)?;
    let mut ticks = Vec::new();
    let mut last = Tick::BASE;
    for (n, save) in corpus.saves().enumerate() {
        let save = save?;
        let meta = keeping::file_meta(0o644);
        let saved = writer
            .mutate(keeping::moment(n), move |m| m.save(&save.path, &meta, Content::Bytes(save.content)))?;
        last = saved.tick().unwrap_or(last);
        ticks.push(last);
    }
    writer.close()?;
    Ok(ticks)
}

fn cost_line(form: &str, cost: Parts, ticks: &[Tick], git: &Beside, limit: f64) {
    let ticks = ticks.last().map_or(1, |last| last.0);
    let each = |bytes: u64| bytes / ticks;
    let what = format!(
        "a tick on disk, {form}, of {ticks} (packs {}, journal {}, index {})",
        each(cost.packs),
        each(cost.journal),
        each(cost.index)
    );
    let beside = [("git packed", Figure::Bytes(git.bytes_per_commit))];
    line(&what, Figure::Bytes(cost.sum() as f64 / ticks as f64), &beside, Some(Figure::Bytes(limit)));
}

/// A version that is asked for: the place of its save, and what must come back.
struct Asked {
    save: usize,
    path: RelPath,
    content: Vec<u8>,
}

/// Versions at random; their order is random too.
fn pick(corpus: &Corpus, among: usize, count: usize) -> Result<Vec<Asked>> {
    let mut random = fastrand::Rng::with_seed(42);
    let mut wanted: Vec<usize> = (0..among).collect();
    random.shuffle(&mut wanted);
    wanted.truncate(count);
    let places: BTreeMap<usize, usize> = wanted.iter().enumerate().map(|(at, &save)| (save, at)).collect();
    let mut asked: Vec<Option<Asked>> = (0..wanted.len()).map(|_| None).collect();
    for (n, save) in corpus.saves().take(among).enumerate() {
        let save = save?;
        if let Some(&at) = places.get(&n) {
            asked[at] = Some(Asked { save: n, path: save.path, content: save.content });
        }
    }
    asked.into_iter().map(|a| a.context("the corpus ended before")).collect()
}

fn read_lines(form: &str, dir: &Path, ticks: &[Tick], asked: &[Asked], git: &mut Samples) -> Result<()> {
    let store = Store::open(Arc::new(RealDisk), dir)?;
    let view = store.view()?;
    let version = |a: &Asked| -> Result<Version> {
        let tree = view.tree(Point { branch: BranchNo::MAIN, tick: ticks[a.save] })?;
        Ok(tree.resolve(&a.path)?.context("a saved path is not there")?.version)
    };
    let tree = view.tree(Point { branch: BranchNo::MAIN, tick: view.last_tick() })?;
    let versions = asked.iter().map(version).collect::<Result<Vec<_>>>()?;
    let mut samples = Samples::default();
    for (a, version) in asked.iter().zip(&versions) {
        let bytes = samples.time(|| tree.read(version))?;
        ensure!(bytes == a.content, "save {} of {} reads differently", a.save, a.path);
    }
    for (per_cent, limit) in [(50, 70.0), (99, 400.0)] {
        let what = format!("random version from the store, {form}, p{per_cent}");
        let beside = [("git cat-file --batch", git.percentile(per_cent))];
        line(&what, samples.percentile(per_cent), &beside, Some(Figure::micros(limit)));
    }
    Ok(())
}

/// The same saves as commits of a packed repository.
struct Beside {
    git: Git,
    bytes_per_commit: f64,
    /// The blob of each save.
    names: Vec<String>,
}

impl Beside {
    fn of(corpus: &Corpus, dir: &Path, count: usize) -> Result<Self> {
        let base: Vec<_> = corpus.base().collect::<std::io::Result<_>>()?;
        let first: Vec<_> = base.iter().map(|file| (file.path.clone(), file.bytes.clone())).collect();
        let saves = corpus.saves().map(|s| s.map(|s| vec![(s.path, s.content)]));
        let alone = Git::init(&dir.join("base"))?;
        alone.import(std::iter::once(Ok(first.clone())))?;
        alone.run(&["repack", "-adfq"])?;
        let git = Git::init(&dir.join("all"))?;
        let mut names = git.import(std::iter::once(Ok(first)).chain(saves.map(|s| s.map_err(Into::into))))?;
        git.run(&["repack", "-adfq"])?;
        names.drain(..base.len());
        let packs = |git: &Git| git.packs();
        let bytes_per_commit = (packs(&git)? - packs(&alone)?) as f64 / count as f64;
        Ok(Self { git, bytes_per_commit, names })
    }

    fn time_reads(&self, asked: &[Asked]) -> Result<Samples> {
        let mut cat = self.git.cat_file()?;
        let mut samples = Samples::default();
        for a in asked {
            let bytes = samples.time(|| cat.read(&self.names[a.save]))?;
            ensure!(bytes == a.content, "git gives save {} differently", a.save);
        }
        Ok(samples)
    }
}
