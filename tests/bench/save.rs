//! A save of a recorded path until it is durable and visible.

use anyhow::{Result, ensure};
use tickfs_store::Content;
use tickfs_tests::corpus::Corpus;

use crate::Size;
use crate::figure::{Figure, Samples, line};
use crate::git::Git;
use crate::keeping::{self, Durable};
use crate::scratch::{floor, scratch};

pub(crate) fn measure(size: Size) -> Result<()> {
    let (count, git_count) = (size.of(1_500, 300), size.of(25, 10));
    let corpus = Corpus::named("saves")?;
    let scratch = scratch()?;
    let mut floor = floor(scratch.path(), 200)?;
    let mut ours = ours(&corpus, &scratch.path().join("store"), count)?;
    let mut git = git(&corpus, &scratch.path().join("git"), git_count)?;
    for (per_cent, limit) in [(50, 2.0), (95, 5.0)] {
        let beside =
            [("git add+commit", git.percentile(per_cent)), ("write+fdatasync", floor.percentile(per_cent))];
        let what = format!("save → durable and visible, p{per_cent} of {count}");
        line(&what, ours.percentile(per_cent), &beside, Some(Figure::millis(limit)));
    }
    Ok(())
}

fn ours(corpus: &Corpus, dir: &std::path::Path, count: usize) -> Result<Samples> {
    let writer = keeping::init(dir, Durable::Always)?;
    keeping::base_of(&writer, corpus)?;
    let mut samples = Samples::default();
    let mut ticks = 0;
    for (n, save) in corpus.saves().take(count).enumerate() {
        let save = save?;
        let meta = keeping::file_meta(0o644);
        let saved = samples.time(|| {
            writer
                .mutate(keeping::moment(n), move |m| m.save(&save.path, &meta, Content::Bytes(save.content)))
        })?;
        ticks += u64::from(saved.tick().is_some());
    }
    let seen = writer.store().view()?.last_tick().0;
    ensure!(seen == ticks, "{ticks} saves were confirmed, {seen} are visible");
    Ok(samples)
}

fn git(corpus: &Corpus, dir: &std::path::Path, count: usize) -> Result<Samples> {
    let git = Git::init(dir)?;
    for file in corpus.base() {
        let file = file?;
        git.write(&file.path, &file.bytes)?;
    }
    git.run(&["add", "-A"])?;
    git.run(&["commit", "-q", "-m", "base"])?;
    let mut samples = Samples::default();
    for save in corpus.saves().take(count) {
        let save = save?;
        git.write(&save.path, &save.content)?;
        samples.time(|| git.add_and_commit(&save.path))?;
    }
    Ok(samples)
}
