//! Where the journal's files lie, and which segment holds a seq: a listing and a binary search on names.
//!
//! Invariants:
//!   * A segment is named by the first seq written in it, and no name is used twice.
//!   * Where a plain and a sealed form of one segment both exist (a crash while sealing), the plain one is read.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::ids::{SegmentForm, SegmentId, Seq};

/// The end of the journal as somebody knew it: kept by the index as its watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalEnd {
    /// The last record.
    pub seq: Seq,
    pub segment: SegmentId,
    /// The first byte after the newline of the last record; 0 in a segment that holds none yet.
    pub offset: u64,
}

impl JournalEnd {
    /// The end of a journal in which nothing was ever written.
    pub const EMPTY: Self = Self { seq: Seq(0), segment: SegmentId(Seq(1)), offset: 0 };
}

/// Where one record's line stands, without its newlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinePlace {
    pub segment: SegmentId,
    pub offset: u64,
    pub len: u32,
}

/// The directory `journal/` of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalDir(PathBuf);

impl JournalDir {
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self(dir.to_path_buf())
    }

    /// Creates the directory and those in it.
    pub fn create(&self, disk: &dyn Disk) -> Result<()> {
        for dir in [self.0.clone(), self.archive(), self.checkpoints(), self.readers()] {
            disk.create_dir(&dir).map_err(Error::io("create the directory", &dir))?;
        }
        disk.sync_dir(&self.0).map_err(Error::io("sync the directory", &self.0))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    #[must_use]
    pub fn archive(&self) -> PathBuf {
        self.0.join("archive")
    }

    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    #[must_use]
    pub fn readers(&self) -> PathBuf {
        self.0.join("readers")
    }

    #[must_use]
    pub fn head(&self) -> PathBuf {
        self.0.join("HEAD.json")
    }

    #[must_use]
    pub fn plain(&self, id: SegmentId) -> PathBuf {
        self.0.join(id.file_name())
    }

    #[must_use]
    pub fn sealed(&self, id: SegmentId) -> PathBuf {
        self.0.join(id.sealed_name())
    }
}

/// A segment as it was listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentFile {
    pub id: SegmentId,
    pub archived: bool,
    pub form: SegmentForm,
}

impl SegmentFile {
    #[must_use]
    pub fn path(&self, dir: &JournalDir) -> PathBuf {
        let parent = if self.archived { dir.archive() } else { dir.path().to_path_buf() };
        parent.join(match self.form {
            SegmentForm::Plain => self.id.file_name(),
            SegmentForm::Sealed => self.id.sealed_name(),
        })
    }
}

/// The segments of a journal, oldest first, each once.
#[derive(Debug, Clone, Default)]
pub struct Segments {
    files: Vec<SegmentFile>,
    /// Files that say again what another file says: the sealed beside the plain.
    spare: Vec<SegmentFile>,
}

impl Segments {
    pub fn list(disk: &dyn Disk, dir: &JournalDir, archive: bool) -> Result<Self> {
        let mut files = list_one(disk, dir.path(), false)?;
        if archive {
            files.extend(list_one(disk, &dir.archive(), true)?);
        }
        // The order of the fields makes the preferred file of one segment the first of its run.
        files.sort_unstable();
        let mut segments = Self::default();
        for file in files {
            match segments.files.last() {
                Some(last) if last.id == file.id => segments.spare.push(file),
                _ => segments.files.push(file),
            }
        }
        Ok(segments)
    }

    #[must_use]
    pub fn files(&self) -> &[SegmentFile] {
        &self.files
    }

    #[must_use]
    pub fn spare(&self) -> &[SegmentFile] {
        &self.spare
    }

    #[must_use]
    pub fn last(&self) -> Option<SegmentFile> {
        self.files.last().copied()
    }

    /// The segment in which `seq` stands if it exists: the last one whose name is not above it.
    #[must_use]
    pub fn locate(&self, seq: Seq) -> Option<usize> {
        self.files.partition_point(|file| file.id.0 <= seq).checked_sub(1)
    }

    /// The segment that follows `id`.
    #[must_use]
    pub fn after(&self, id: SegmentId) -> Option<SegmentFile> {
        self.files.get(self.files.partition_point(|file| file.id <= id)).copied()
    }
}

fn list_one(disk: &dyn Disk, dir: &Path, archived: bool) -> Result<Vec<SegmentFile>> {
    let names = match disk.list(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list", dir)(error)),
    };
    let file = |name: &std::ffi::OsString| {
        let (id, form) = SegmentId::parse(name.to_str()?)?;
        Some(SegmentFile { id, archived, form })
    };
    Ok(names.iter().filter_map(file).collect())
}

/// Whether nothing was written since `end`: three looks at names, whatever the length of history.
///
/// A tail that is torn, or a stranger's line, makes the answer `false` until the next append: reading on then finds
/// nothing new, and is cheap.
pub fn is_current(disk: &dyn Disk, dir: &JournalDir, end: &JournalEnd) -> Result<bool> {
    let stat = |path: &Path| disk.stat(path).map_err(Error::io("look at", path));
    let active = stat(&dir.plain(end.segment))?;
    if *end == JournalEnd::EMPTY && active.is_none() {
        return Ok(stat(&dir.sealed(end.segment))?.is_none());
    }
    if active.is_none_or(|file| file.len != end.offset) {
        return Ok(false);
    }
    let successor = SegmentId(end.seq.next());
    Ok(successor == end.segment
        || (stat(&dir.plain(successor))?.is_none() && stat(&dir.sealed(successor))?.is_none()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_form_and_the_living_place_are_preferred() {
        let id = SegmentId(Seq(1));
        let mut files = [
            SegmentFile { id, archived: true, form: SegmentForm::Plain },
            SegmentFile { id, archived: false, form: SegmentForm::Sealed },
            SegmentFile { id, archived: false, form: SegmentForm::Plain },
        ];
        files.sort_unstable();
        assert!(!files[0].archived);
        assert_eq!(files[0].form, SegmentForm::Plain);
        assert_eq!(files[1].form, SegmentForm::Sealed);
    }

    #[test]
    fn a_seq_is_found_by_names_alone() {
        let file =
            |first| SegmentFile { id: SegmentId(Seq(first)), archived: false, form: SegmentForm::Plain };
        let segments = Segments { files: vec![file(5), file(10), file(20)], spare: Vec::new() };
        let found = |seq| segments.locate(Seq(seq));
        assert_eq!(
            [found(4), found(5), found(9), found(10), found(99)],
            [None, Some(0), Some(0), Some(1), Some(2)]
        );
    }
}
