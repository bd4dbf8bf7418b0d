//! Proves a database that was closed: no bit of it changed since.
//!
//! Each row proves itself by its sum, but a bit that flips in a key makes a search miss the row, and what is missing says
//! nothing. So whoever closes the index cleanly leaves the checksum of the whole file beside it, and whoever opens it
//! next holds the file against that (format.md, "The index").
//!
//! Invariants:
//!   * A proof is taken away before the first write, and given only to a database that was proved itself or was made
//!     anew: damage is never vouched for.
//!   * A proof that does not read, or is of another state than the database says of itself, proves nothing and hurts
//!     nobody.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::sibling;
use crate::error::{Error, Result};
use crate::ids::Seq;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Proof {
    /// The watermark of the database that is proved.
    pub(super) applied_seq: Seq,
    len: u64,
    crc32: u32,
}

impl Proof {
    /// Of the database as it is now.
    fn of(path: &Path, applied_seq: Seq) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let (mut crc, mut len) = (crc32fast::Hasher::new(), 0);
        let mut portion = vec![0; 256 * 1024];
        loop {
            match file.read(&mut portion)? {
                0 => return Ok(Self { applied_seq, len, crc32: crc.finalize() }),
                read => {
                    crc.update(&portion[..read]);
                    len += read as u64;
                }
            }
        }
    }

    pub(super) fn read(path: &Path) -> Option<Self> {
        let text = fs::read(sibling(path, ".sum")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    pub(super) fn holds(&self, path: &Path) -> Result<bool> {
        let now = Self::of(path, self.applied_seq).map_err(Error::io("read", path))?;
        Ok(now == *self)
    }

    /// Leaves the proof beside the database.
    pub(super) fn give(path: &Path, applied_seq: Seq) -> Result<()> {
        let proof = Self::of(path, applied_seq).map_err(Error::io("read", path))?;
        let text = serde_json::to_vec(&proof).expect("it holds only numbers");
        let (to, temp) = (sibling(path, ".sum"), sibling(path, ".sum.tmp"));
        // It may be lost with a power cut: then nothing is proved, as if it had never been given.
        fs::write(&temp, text).and_then(|()| fs::rename(&temp, &to)).map_err(Error::io("write", &to))
    }

    pub(super) fn take_away(path: &Path) -> Result<()> {
        let proof = sibling(path, ".sum");
        match fs::remove_file(&proof) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &proof)(error)),
            _ => Ok(()),
        }
    }
}
