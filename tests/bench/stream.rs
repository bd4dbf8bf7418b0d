//! A version that is larger than memory should be asked for: it goes in and comes out as a stream.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tickfs_store::disk::RealDisk;
use tickfs_store::path::RelPath;
use tickfs_store::{Content, Store};

use crate::figure::{Figure, line};
use crate::keeping::{self, Durable};
use crate::scratch::scratch;
use crate::{Size, child};

const NAME: &str = "large.bin";

pub(crate) fn measure(size: Size) -> Result<()> {
    let (len, text) = size.of((2_u64 << 30, "2 GiB"), (256 << 20, "256 MiB"));
    let scratch = scratch()?;
    let dir = scratch.path().join("store");
    let dir = dir.to_str().context("a directory with a plain name")?;
    for (verb, what) in [("take", "recorded"), ("give", "read back")] {
        let found = child::start(&[verb, dir, &len.to_string()])?;
        let each = Figure::Bytes(len as f64 / found.time.value());
        line(
            &format!("peak memory while a version of {text} is {what} ({each} a second)"),
            found.peak,
            &[("the version", Figure::bytes(len))],
            Some(Figure::megabytes(100.0)),
        );
    }
    Ok(())
}

/// In the child: records the version.
pub(crate) fn take(dir: &Path, len: u64) -> Result<()> {
    let writer = keeping::init(dir, Durable::Always)?;
    keeping::base(&writer, std::iter::empty())?;
    let path = RelPath::new(NAME)?;
    let mut reader = Lines::new().take(len);
    writer.mutate_alone(keeping::moment(1), |m| {
        let content = Content::Stream { reader: &mut reader, size: len };
        m.save(&path, &keeping::file_meta(0o644), content)
    })?;
    Ok(writer.close()?)
}

/// In the child: reads it again, to the last byte.
pub(crate) fn give(dir: &Path, len: u64) -> Result<()> {
    let store = Store::open(Arc::new(RealDisk), dir)?;
    let view = store.view()?;
    let entry = view.tree(view.cursor_point()?)?.resolve(&RelPath::new(NAME)?)?.context("it is not there")?;
    let mut stream = store.content().stream(entry.version.content.context("it has no content")?)?;
    let mut expected = Lines::new().take(len);
    let (mut given, mut wanted) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut total = 0;
    loop {
        let count = stream.read(&mut given)?;
        if count == 0 {
            break;
        }
        expected.read_exact(&mut wanted[..count])?;
        ensure!(given[..count] == wanted[..count], "it differs behind byte {total}");
        total += count as u64;
    }
    ensure!(total == len, "{total} bytes came back of {len}");
    Ok(())
}

/// Bytes that compress by half, and never repeat.
struct Lines {
    random: fastrand::Rng,
    block: Vec<u8>,
    at: usize,
}

impl Lines {
    fn new() -> Self {
        Self { random: fastrand::Rng::with_seed(42), block: vec![b' '; 4096], at: 4096 }
    }
}

impl Read for Lines {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            self.random.fill(&mut self.block[..2048]);
            self.at = 0;
        }
        let count = buf.len().min(self.block.len() - self.at);
        buf[..count].copy_from_slice(&self.block[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
