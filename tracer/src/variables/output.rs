//! `events.jsonl`: whole lines are appended, in batches; what cannot be written is counted, never half there.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::counts::Counts;
use super::error::{Error, Result};

/// What happened in so long may be lost when the tracer is killed.
pub(super) const FLUSH_EVERY: Duration = Duration::from_millis(100);
const BATCH: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    file: File,
    /// Whole lines, and the one that is being made.
    pub(super) buffer: Vec<u8>,
    lines: u64,
    flushed: Instant,
    /// Why the last batch could not be written.
    pub(super) failed: Option<io::Error>,
    /// The file was removed or moved away, and is made anew; nobody has been told of it yet.
    pub(super) is_new: bool,
}

impl Output {
    /// Makes the directory if need be.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let refused = |source: &io::Error| {
            let why = source.to_string();
            let why = why.split(" (os error").next().unwrap_or_default().to_lowercase();
            Error::invalid(format!("the output directory cannot be written: {why}"), dir)
        };
        let path = dir.join("events.jsonl");
        let file = append_to(&path).map_err(|source| refused(&source))?;
        let (buffer, flushed) = (Vec::new(), Instant::now());
        Ok(Self { path, file, buffer, lines: 0, flushed, failed: None, is_new: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The buffer has got one line more, with its newline.
    pub(super) fn added(&mut self, counts: &mut Counts) {
        self.lines += 1;
        counts.buffered = self.lines;
        if self.buffer.len() >= BATCH {
            self.flush(counts);
        }
    }

    pub(super) fn is_due(&self) -> bool {
        self.flushed.elapsed() >= FLUSH_EVERY
    }

    /// What is written to a file that has no name any more is lost in silence.
    fn made_sure(&mut self) -> io::Result<()> {
        let ours = self.file.metadata()?;
        let is_same = |there: std::fs::Metadata| (there.dev(), there.ino()) == (ours.dev(), ours.ino());
        if !std::fs::metadata(&self.path).is_ok_and(is_same) {
            self.file = append_to(&self.path)?;
            self.is_new = true;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self, counts: &mut Counts) {
        self.flushed = Instant::now();
        if self.buffer.is_empty() {
            return;
        }
        let (written, result) = match self.made_sure() {
            Ok(()) => write_lines(&mut self.file, &self.buffer, self.lines),
            Err(error) => (0, Err(error)),
        };
        counts.written += written;
        counts.lost += self.lines - written;
        if let Err(error) = result {
            self.failed = Some(error);
        }
        self.buffer.clear();
        self.lines = 0;
        counts.buffered = 0;
    }
}

/// Makes the directory of a file that may be appended to, if need be.
fn append_to(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// How many of so many whole lines were written. A line that was cut is taken back.
fn write_lines(file: &mut File, buffer: &[u8], lines: u64) -> (u64, io::Result<()>) {
    let mut done = 0;
    let stopped: io::Error = loop {
        match file.write(&buffer[done..]) {
            Ok(0) => break io::ErrorKind::WriteZero.into(),
            Ok(more) => done += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break error,
        }
        if done == buffer.len() {
            return (lines, Ok(()));
        }
    };
    let whole = buffer[..done].iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let cut = (done - whole) as u64;
    let taken_back = match cut {
        0 => Ok(()),
        _ => file.metadata().and_then(|meta| file.set_len(meta.len().saturating_sub(cut))),
    };
    let lines = buffer[..whole].iter().filter(|&&byte| byte == b'\n').count() as u64;
    (lines, Err(taken_back.err().unwrap_or(stopped)))
}

#[test]
fn a_full_disk_loses_whole_lines_and_counts_them() {
    fn push(output: &mut Output, counts: &mut Counts) {
        output.buffer.extend_from_slice(b"{}\n");
        output.added(counts);
    }
    let mut counts = Counts::default();
    let dir = tempfile::tempdir().unwrap();
    let mut output = Output::open(&dir.path().join("a/b")).unwrap();
    push(&mut output, &mut counts);
    output.flush(&mut counts);
    assert_eq!((counts.written, std::fs::read(output.path()).unwrap()), (1, b"{}\n".to_vec()));
    output.path = "/dev/full".into();
    output.file = OpenOptions::new().append(true).open("/dev/full").unwrap();
    push(&mut output, &mut counts);
    push(&mut output, &mut counts);
    output.flush(&mut counts);
    assert_eq!((counts.written, counts.lost, counts.buffered), (1, 2, 0));
    assert_eq!(output.failed.unwrap().kind(), io::ErrorKind::StorageFull);
}
