//! What one would use instead: git, with its defaults, and only what is asked of it timed.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use tickfs_store::path::RelPath;

use crate::scratch::{Space, space};

/// A repository with its working tree.
#[derive(Debug)]
pub(crate) struct Git {
    tree: PathBuf,
}

impl Git {
    /// Whoever runs this has settings of their own; they stay out of it.
    fn command(&self) -> Command {
        let mut command = Command::new("git");
        command.current_dir(&self.tree).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        for who in ["GIT_AUTHOR", "GIT_COMMITTER"] {
            command.env(format!("{who}_NAME"), "bench").env(format!("{who}_EMAIL"), "bench@example.org");
        }
        command
    }

    pub(crate) fn init(tree: &Path) -> Result<Self> {
        fs::create_dir_all(tree)?;
        let git = Self { tree: tree.to_path_buf() };
        git.run(&["init", "-q", "-b", "main"])?;
        // It would pack in the background while something else is timed.
        git.run(&["config", "gc.auto", "0"])?;
        Ok(git)
    }

    pub(crate) fn run(&self, words: &[&str]) -> Result<()> {
        let status = self.command().args(words).stdout(Stdio::null()).status().context("run git")?;
        ensure!(status.success(), "git {words:?} failed");
        Ok(())
    }

    pub(crate) fn write(&self, path: &RelPath, bytes: &[u8]) -> Result<()> {
        let file = self.tree.join(path.as_path());
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(fs::write(file, bytes)?)
    }

    pub(crate) fn add_and_commit(&self, path: &RelPath) -> Result<()> {
        self.run(&["add", "--", &path.to_string()])?;
        self.run(&["commit", "-q", "-m", "save"])
    }

    pub(crate) fn space(&self) -> Result<Space> {
        space(&self.tree.join(".git"))
    }

    /// The length of everything that is packed.
    pub(crate) fn packs(&self) -> Result<u64> {
        Ok(space(&self.tree.join(".git/objects/pack"))?.len)
    }

    /// Commits every version on its own, as fast as git can. Gives the name of each blob.
    pub(crate) fn import(
        &self,
        commits: impl Iterator<Item = Result<Vec<(RelPath, Vec<u8>)>>>,
    ) -> Result<Vec<String>> {
        let marks = self.tree.join("marks");
        let mut import = self
            .command()
            .args(["fast-import", "--quiet", "--force"])
            .arg(format!("--export-marks={}", marks.display()))
            .stdin(Stdio::piped())
            .spawn()
            .context("run git fast-import")?;
        let mut to = BufWriter::new(import.stdin.take().context("git has no stdin")?);
        let mut blobs = 0;
        for (n, files) in commits.enumerate() {
            let files = files?;
            let first = blobs;
            for (_, bytes) in &files {
                blobs += 1;
                write!(to, "blob\nmark :{blobs}\ndata {}\n", bytes.len())?;
                to.write_all(bytes)?;
                to.write_all(b"\n")?;
            }
            let at = 1_700_000_000 + n;
            write!(to, "commit refs/heads/main\ncommitter b <b@example.org> {at} +0000\ndata 4\nsave\n")?;
            for (place, (path, _)) in files.iter().enumerate() {
                writeln!(to, "M 100644 :{} {path}", first + 1 + place)?;
            }
        }
        to.flush()?;
        drop(to);
        ensure!(import.wait()?.success(), "git fast-import failed");
        let text = fs::read_to_string(marks)?;
        let named: HashMap<usize, &str> = text
            .lines()
            .filter_map(|line| line.strip_prefix(':')?.split_once(' '))
            .filter_map(|(mark, name)| Some((mark.parse().ok()?, name)))
            .collect();
        (1..=blobs).map(|mark| Ok((*named.get(&mark).context("a blob without a name")?).to_owned())).collect()
    }

    pub(crate) fn cat_file(&self) -> Result<CatFile> {
        let mut child = self
            .command()
            .args(["cat-file", "--batch"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("run git cat-file")?;
        let to = child.stdin.take().context("git has no stdin")?;
        let from = BufReader::with_capacity(1 << 20, child.stdout.take().context("git has no stdout")?);
        Ok(CatFile { child, to: Some(to), from })
    }
}

/// A `git cat-file --batch` that waits for names.
#[derive(Debug)]
pub(crate) struct CatFile {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl CatFile {
    pub(crate) fn read(&mut self, name: &str) -> Result<Vec<u8>> {
        let to = self.to.as_mut().context("git was told to end")?;
        to.write_all(format!("{name}\n").as_bytes())?;
        let mut head = String::new();
        self.from.read_line(&mut head)?;
        let len: usize =
            head.trim_end().rsplit(' ').next().unwrap_or_default().parse().context(head.clone())?;
        let mut bytes = vec![0; len + 1];
        self.from.read_exact(&mut bytes)?;
        bytes.pop();
        Ok(bytes)
    }
}

impl Drop for CatFile {
    fn drop(&mut self) {
        self.to = None;
        if let Err(error) = self.child.wait() {
            println!("git cat-file did not end: {error}");
        }
    }
}
