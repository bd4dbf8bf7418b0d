//! Many files at once: the first base, and what one command of another tool changed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tickfs_store::Content;
use tickfs_store::path::RelPath;
use tickfs_tests::corpus::Corpus;

use crate::Size;
use crate::figure::{line, timed};
use crate::git::Git;
use crate::keeping::{self, Durable};
use crate::scratch::scratch;

const FILE_LEN: usize = 10_000;

pub(crate) fn measure(size: Size) -> Result<()> {
    let (files, changed) = (size.of(10_000, 2_000), size.of(1_000, 200));
    let scratch = scratch()?;
    let tree = scratch.path().join("tree");
    let git = Git::init(&tree)?;
    make(&tree, files)?;

    let (added, beside) = timed(|| git.run(&["add", "-A"]));
    added?;
    let writer = keeping::init(&scratch.path().join("store"), Durable::Always)?;
    let (based, ours) = timed(|| {
        let read = |(path, file): (RelPath, PathBuf)| -> Result<_> { Ok((path, 0o644, fs::read(file)?)) };
        keeping::base(&writer, keeping::files_below(&tree)?.into_iter().map(read))
    });
    based?;
    let what = format!("first base of {files} files, {} MB", files * FILE_LEN / 1_000_000);
    line(&what, ours, &[("git add -A", beside)], Some(beside));

    let paths = change(&tree, changed, files / changed)?;
    let (added, beside) = timed(|| git.run(&["add", "-A"]));
    added?;
    let (saved, ours) = timed(|| -> Result<_> {
        let read = |path: RelPath| -> Result<_> { Ok((fs::read(tree.join(path.as_path()))?, path)) };
        let contents = paths.into_iter().map(read).collect::<Result<Vec<_>>>()?;
        Ok(writer.mutate_alone(keeping::moment(1), |m| {
            contents.into_iter().try_for_each(|(bytes, path)| {
                m.save(&path, &keeping::file_meta(0o644), Content::Bytes(bytes)).map(drop)
            })
        })?)
    });
    saved?;
    let seen = writer.store().view()?.last_tick().0;
    ensure!(seen == changed as u64, "{seen} ticks of {changed} changed files");
    line(&format!("{changed} files changed → all durable"), ours, &[("git add -A", beside)], Some(beside));
    Ok(())
}

/// Pieces of real sources, no two alike.
pub(crate) fn make(tree: &Path, files: usize) -> Result<()> {
    let mut text = Vec::new();
    for file in Corpus::named("replay")?.base() {
        text.extend_from_slice(&file?.bytes);
    }
    let room = text.len().checked_sub(FILE_LEN).context("the corpus is too small")?;
    for n in 0..files {
        let dir = tree.join(format!("dir-{:03}", n / 100));
        fs::create_dir_all(&dir)?;
        // A large prime, so that pieces overlap anywhere but at the same place.
        let start = n * 7_368_787 % room;
        fs::write(dir.join(format!("file-{n:05}.txt")), &text[start..start + FILE_LEN])?;
    }
    Ok(())
}

pub(crate) fn change(tree: &Path, count: usize, every: usize) -> Result<Vec<RelPath>> {
    let mut paths = Vec::new();
    for (path, file) in keeping::files_below(tree)?.into_iter().step_by(every).take(count) {
        let mut bytes = fs::read(&file)?;
        let middle = bytes.len() / 2;
        bytes.splice(middle..middle, b"\na line that was not there before\n".iter().copied());
        fs::write(&file, bytes)?;
        paths.push(path);
    }
    Ok(paths)
}
