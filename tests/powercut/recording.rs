//! What a disk was told while a workload ran, in the order in which it was told, and when the workload said that
//! something is safe.
//!
//! Invariants:
//!   * A write counts as durable once a flush was logged after it. The log has the order of arrival: a write that
//!     was still under way when a flush began may stand before it and be taken for durable. A filesystem that relies
//!     on a flush waits for its writes first, so nothing it relies on is helped by that.
//!   * A line is stamped when it is read, which is later than when it was said: what it promises was durable by then.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::image::Image;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    Write { offset: u64, bytes: Vec<u8> },
    Flush,
}

/// How many operations the disk had been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position(pub(crate) usize);

/// A line of the workload: whatever it promises holds after a cut at `at` or later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Confirmation {
    pub(crate) at: Position,
    pub(crate) line: String,
}

#[derive(Debug)]
pub(crate) struct Recording {
    /// The disk before the first operation.
    pub(crate) base: Image,
    pub(crate) operations: Vec<Operation>,
    /// Where the workload began; before that only the filesystem was mounted.
    pub(crate) started: Position,
    pub(crate) confirmations: Vec<Confirmation>,
}

impl Recording {
    pub(crate) fn end(&self) -> Position {
        Position(self.operations.len())
    }

    /// The last flush among the first `at` operations; what was written before it is durable.
    pub(crate) fn flushed_at(&self, at: Position) -> Position {
        let flush = self.operations[..at.0].iter().rposition(|operation| *operation == Operation::Flush);
        Position(flush.map_or(0, |index| index + 1))
    }

    /// The positions right after each flush that the workload caused.
    pub(crate) fn flushes(&self) -> Vec<Position> {
        let after = (1..).zip(&self.operations).filter(|(_, operation)| **operation == Operation::Flush);
        after.map(|(position, _)| Position(position)).filter(|&position| position > self.started).collect()
    }

    pub(crate) fn confirmed_at(&self, at: Position) -> Vec<&str> {
        let confirmed = self.confirmations.iter().filter(|confirmation| confirmation.at <= at);
        confirmed.map(|confirmation| confirmation.line.as_str()).collect()
    }

    pub(crate) fn save(&self, dir: &Path) -> Result<()> {
        let context = || format!("keeping the recording in {}", dir.display());
        fs::create_dir_all(dir).with_context(context)?;
        self.base.save(&dir.join("base.ext4")).with_context(context)?;
        let mut file = io::BufWriter::new(fs::File::create(dir.join("operations")).with_context(context)?);
        for operation in &self.operations {
            encode(operation, &mut file).with_context(context)?;
        }
        file.flush().with_context(context)?;
        let mut lines = format!("{}\tstarted\n", self.started.0);
        for Confirmation { at, line } in &self.confirmations {
            lines.push_str(&format!("{}\t{line}\n", at.0));
        }
        fs::write(dir.join("confirmed"), lines).with_context(context)
    }

    pub(crate) fn load(dir: &Path) -> Result<Self> {
        let context = || format!("reading the recording in {}", dir.display());
        let base = Image::load(&dir.join("base.ext4")).with_context(context)?;
        let bytes = fs::read(dir.join("operations")).with_context(context)?;
        let mut rest = bytes.as_slice();
        let mut operations = Vec::new();
        while !rest.is_empty() {
            operations.push(decode(&mut rest).with_context(context)?);
        }
        let text = fs::read_to_string(dir.join("confirmed")).with_context(context)?;
        let mut confirmations = text.lines().map(confirmation).collect::<Result<Vec<_>>>()?;
        ensure!(!confirmations.is_empty(), "the recording does not say where the workload began");
        let started = confirmations.remove(0).at;
        ensure!(started.0 <= operations.len(), "the recording ends before its workload began");
        Ok(Self { base, operations, started, confirmations })
    }
}

const WRITE: u8 = b'W';
const FLUSH: u8 = b'F';

fn encode(operation: &Operation, to: &mut impl Write) -> io::Result<()> {
    match operation {
        Operation::Flush => to.write_all(&[FLUSH]),
        Operation::Write { offset, bytes } => {
            to.write_all(&[WRITE])?;
            to.write_all(&offset.to_le_bytes())?;
            to.write_all(&(bytes.len() as u64).to_le_bytes())?;
            to.write_all(bytes)
        }
    }
}

fn decode(rest: &mut &[u8]) -> Result<Operation> {
    let mut tag = [0];
    rest.read_exact(&mut tag)?;
    match tag {
        [FLUSH] => Ok(Operation::Flush),
        [WRITE] => {
            let offset = number(rest)?;
            let len = usize::try_from(number(rest)?)?;
            let (bytes, after) = rest.split_at_checked(len).context("a write is cut short")?;
            *rest = after;
            Ok(Operation::Write { offset, bytes: bytes.to_vec() })
        }
        [other] => bail!("{other} is no operation"),
    }
}

fn number(rest: &mut &[u8]) -> io::Result<u64> {
    let mut bytes = [0; 8];
    rest.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn confirmation(text: &str) -> Result<Confirmation> {
    let (at, line) = text.split_once('\t').context("a confirmation has no position")?;
    Ok(Confirmation { at: Position(at.parse()?), line: line.to_owned() })
}

#[test]
fn a_saved_recording_is_loaded_again() {
    let dir = tempfile::tempdir().unwrap();
    let recording = Recording {
        base: Image::empty(8192),
        operations: vec![Operation::Write { offset: 7, bytes: vec![1, 2] }, Operation::Flush],
        started: Position(1),
        confirmations: vec![Confirmation { at: Position(2), line: "confirmed 1\twhole".to_owned() }],
    };
    recording.save(dir.path()).unwrap();
    let loaded = Recording::load(dir.path()).unwrap();
    assert_eq!(loaded.operations, recording.operations);
    assert_eq!(loaded.started, recording.started);
    assert_eq!(loaded.confirmations, recording.confirmations);
    assert_eq!(loaded.base.len(), 8192);
}
