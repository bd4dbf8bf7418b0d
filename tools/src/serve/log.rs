//! `logs/serve.log`: what the serving process did, a line each, with its time.
//!
//! Invariants:
//!   * No secret reaches it, and it stays bounded: at 4 MiB it becomes `serve.log.1`, in the place of the one before.
//!   * A line that cannot be written is counted, and holds nobody up.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tickfs_store::Store;

use crate::now;
use crate::output::one_line;

const FULL: u64 = 4 << 20;

#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    /// What takes secrets out.
    store: Option<Store>,
    open: Mutex<Open>,
    lost: AtomicU64,
}

#[derive(Debug)]
struct Open {
    file: File,
    len: u64,
    /// What the process prints by accident, a panic for instance, goes into the log too.
    holds_stderr: bool,
}

impl Log {
    pub(crate) fn open(dir: &Path, store: Option<Store>) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let path = dir.join("serve.log");
        let file = append_to(&path)?;
        let len = file.metadata()?.len();
        let open = Mutex::new(Open { file, len, holds_stderr: false });
        Ok(Self { path, store, open, lost: AtomicU64::new(0) })
    }

    pub(crate) fn line(&self, text: &str) {
        let text = match &self.store {
            Some(store) => store.redactor().redact_str(text),
            None => text.into(),
        };
        let line = format!("{} [{}] {}\n", now::now().to_iso(), std::process::id(), one_line(&text));
        if self.open.lock().write(&self.path, &line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// From here on the process has no terminal and no pipe any more.
    pub(crate) fn take_output(&self) -> io::Result<()> {
        let mut open = self.open.lock();
        rustix::stdio::dup2_stdout(&open.file)?;
        rustix::stdio::dup2_stderr(&open.file)?;
        open.holds_stderr = true;
        Ok(())
    }
}

impl Open {
    fn write(&mut self, path: &Path, line: &str) -> io::Result<()> {
        if self.len > FULL {
            std::fs::rename(path, path.with_extension("log.1"))?;
            self.file = append_to(path)?;
            self.len = 0;
            if self.holds_stderr {
                rustix::stdio::dup2_stdout(&self.file)?;
                rustix::stdio::dup2_stderr(&self.file)?;
            }
        }
        self.file.write_all(line.as_bytes())?;
        self.len += line.len() as u64;
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// For the errors of a process that is being born.
pub(crate) fn stderr_of(path: &Path) -> io::Result<OwnedFd> {
    if let Some(dir) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    Ok(append_to(path)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_makes_way_and_lines_stay_lines() {
        let temp = tempfile::tempdir().unwrap();
        let log = Log::open(temp.path(), None).unwrap();
        log.line("two\nlines");
        log.line(&"x".repeat(usize::try_from(FULL).unwrap()));
        log.line("new");
        let read = |name: &str| std::fs::read_to_string(temp.path().join(name)).unwrap();
        assert!(read("serve.log.1").contains("two\u{fffd}lines\n"));
        assert!(read("serve.log").ends_with(" new\n") && read("serve.log").lines().count() == 1);
        assert_eq!(log.lost(), 0);
    }
}
