//! jj, which keeps the state of a working copy at each of its commands: beside the recorder, where it is installed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::figure::Samples;
use crate::many;

/// What one snapshot takes after one file of so many has changed; `None` where there is no jj.
pub(crate) fn snapshots(tree: &Path, files: usize, count: usize) -> Result<Option<Samples>> {
    let run = |words: &[&str]| -> Result<()> {
        let mut command = Command::new("jj");
        command.current_dir(tree).args(words).stdout(Stdio::null()).stderr(Stdio::null());
        // Whoever runs this has settings of their own; they stay out of it.
        let status = command.env("JJ_CONFIG", "/dev/null").status().context("run jj")?;
        ensure!(status.success(), "jj {words:?} failed");
        Ok(())
    };
    fs::create_dir_all(tree)?;
    if run(&["--version"]).is_err() {
        println!("skipped: jj is not installed");
        return Ok(None);
    }
    many::make(tree, files)?;
    run(&["git", "init", "."])?;
    run(&["status"])?;
    let mut samples = Samples::default();
    for n in 0..count {
        fs::write(tree.join("saved"), format!("save {n}\n"))?;
        samples.time(|| run(&["debug", "snapshot"]))?;
    }
    Ok(Some(samples))
}
