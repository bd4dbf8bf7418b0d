//! `events.jsonl`: whole lines are appended, in batches; what cannot be written is counted, never half there.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

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
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    // Where there are no locks, nothing is mended: another tracer may be writing a line just now.
    if flock(&file, FlockOperation::LockShared).is_ok() {
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            mend_end(&mut file)?;
        }
        flock(&file, FlockOperation::LockShared)?;
    }
    Ok(file)
}

/// A tracer that was killed may have left half a line. It is taken back, so that no event is glued to it; what is no event
/// of ours gets its end.
fn mend_end(file: &mut File) -> io::Result<()> {
    const LONGEST: u64 = 64 * 1024 * 1024;
    const EVENT: &[u8] = b"{\"event_id\":\"";
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() == 0 {
        return Ok(());
    }
    let mut tail = Vec::new();
    let mut from = meta.len();
    while !tail.contains(&b'\n') && from > 0 && meta.len() - from < LONGEST {
        from = from.saturating_sub((tail.len() as u64).max(1));
        tail = vec![0; usize::try_from(meta.len() - from).unwrap_or(0)];
        file.read_exact_at(&mut tail, from)?;
    }
    let line = tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let cut = &tail[line..];
    match cut {
        [] => Ok(()),
        _ if cut.starts_with(EVENT) || EVENT.starts_with(cut) => file.set_len(meta.len() - cut.len() as u64),
        _ => file.write_all(b"\n"),
    }
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
fn a_line_that_a_killed_tracer_left_half_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    let long = format!("{{\"event_id\":\"r-1\",{}", "x".repeat(100_000));
    for (before, after) in [
        (String::new(), String::new()),
        ("{}\n".to_owned(), "{}\n".to_owned()),
        ("{}\n{\"event_id\":\"r-".to_owned(), "{}\n".to_owned()),
        ("{}\n{\"eve".to_owned(), "{}\n".to_owned()),
        (format!("{{}}\n{long}"), "{}\n".to_owned()),
        (long, String::new()),
        ("{}\n# a note".to_owned(), "{}\n# a note\n".to_owned()),
    ] {
        std::fs::write(&path, &before).unwrap();
        Output::open(dir.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), after, "{before}");
    }
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
