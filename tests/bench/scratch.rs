//! A place for stores and repositories on the disk of the build, and what is learned of it: sizes, and the floor.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::figure::Samples;

/// Below `target/`, so that it lies on the same filesystem as a project would; removed in the end.
pub(crate) fn scratch() -> Result<TempDir> {
    let below = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    fs::create_dir_all(&below)?;
    let below = below.canonicalize()?;
    tempfile::tempdir_in(&below).with_context(|| format!("make a scratch directory in {}", below.display()))
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Space {
    pub(crate) allocated: u64,
    pub(crate) len: u64,
}

/// What a file, or a directory with all that is in it, takes. Nothing there takes nothing.
pub(crate) fn space(path: &Path) -> Result<Space> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Space::default()),
        found => found?,
    };
    if !found.is_dir() {
        return Ok(Space { allocated: found.blocks() * 512, len: found.len() });
    }
    let mut sum = Space { allocated: found.blocks() * 512, len: 0 };
    for entry in fs::read_dir(path)? {
        let below = space(&entry?.path())?;
        sum.allocated += below.allocated;
        sum.len += below.len;
    }
    Ok(sum)
}

/// What the medium asks for: one small append, and one fdatasync.
pub(crate) fn floor(dir: &Path, times: usize) -> Result<Samples> {
    let mut file = OpenOptions::new().append(true).create(true).open(dir.join("floor"))?;
    let mut samples = Samples::default();
    for _ in 0..times {
        samples.time(|| file.write_all(&[b'x'; 600]).and_then(|()| file.sync_data()))?;
    }
    Ok(samples)
}

pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
