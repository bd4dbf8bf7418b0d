//! Which pages stand in the log of a database, SQLite's `-wal`.
//!
//! Every frame counts that bears the mark of the log as it is now, also one that SQLite leaves out because it was not
//! committed: a page too many is looked at later, a page too few would be called damaged.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::proof::PAGE;
use super::sibling;
use crate::error::{Error, Result};

const HEADER_LEN: usize = 32;
const FRAME_HEADER_LEN: usize = 24;
const FRAME_LEN: u64 = (FRAME_HEADER_LEN + PAGE) as u64;

/// Pages of a database, counted from 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pages(BTreeSet<usize>);

impl Pages {
    pub(super) fn contains(&self, page: usize) -> bool {
        self.0.contains(&page)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().copied()
    }
}

impl FromIterator<usize> for Pages {
    fn from_iter<I: IntoIterator<Item = usize>>(pages: I) -> Self {
        Self(pages.into_iter().collect())
    }
}

/// Of the first frames of the log, at most so many.
pub(super) fn pages(database: &Path, frames: u64) -> Result<Pages> {
    let path = sibling(database, "-wal");
    read(&path, frames).map_err(Error::io("read", &path))
}

/// How many frames the log has room for: those of an older log, behind its end, count too.
pub(super) fn frames(database: &Path) -> u64 {
    let len = std::fs::metadata(sibling(database, "-wal")).map_or(0, |meta| meta.len());
    len.saturating_sub(HEADER_LEN as u64) / FRAME_LEN
}

fn read(path: &Path, frames: u64) -> io::Result<Pages> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Pages::default()),
        file => file?,
    };
    let mut header = [0; HEADER_LEN];
    let mut frame = [0; FRAME_HEADER_LEN];
    let mut pages = Pages::default();
    if !filled(&file, &mut header, 0)? {
        return Ok(pages);
    }
    for n in 0..frames {
        let is_there = filled(&file, &mut frame, HEADER_LEN as u64 + n * FRAME_LEN)?;
        // The mark of the log: two numbers that it draws anew each time it begins again.
        if !is_there || frame[8..16] != header[16..24] {
            break;
        }
        // The page's number, from 1 on and with the highest byte first.
        let number = frame[..4].iter().fold(0, |number, &byte| number << 8 | usize::from(byte));
        pages.0.extend(number.checked_sub(1));
    }
    Ok(pages)
}

fn filled(file: &File, into: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(into, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}
