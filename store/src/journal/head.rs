//! `HEAD.json`: a cache of where the journal ends, for people and for tools.
//!
//! Invariant: nothing of tickfs believes it. Missing, damaged or wrong, it is written anew from the journal.

use serde::{Deserialize, Serialize};

use super::segment::{JournalDir, JournalEnd};
use crate::disk::{Disk, Durability, read_all, write_atomically};
use crate::error::{Error, Result};
use crate::ids::Seq;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub next_seq: Seq,
    /// The name of the segment that is appended to.
    pub active_segment: String,
    /// The end of its last record.
    pub offset: u64,
}

impl Head {
    #[must_use]
    pub fn new(next_seq: Seq, end: &JournalEnd) -> Self {
        Self { next_seq, active_segment: end.segment.file_name(), offset: end.offset }
    }

    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("it holds only strings and numbers, because it is built here")
            + "\n"
    }

    /// Not synced: a rename that ext4 makes durable costs as much as the journal's own barrier.
    pub fn write(&self, disk: &dyn Disk, dir: &JournalDir) -> Result<()> {
        let path = dir.head();
        write_atomically(disk, &path, self.to_json().as_bytes(), Durability::Cache)
            .map_err(Error::io("write", &path))
    }

    /// What lies on disk, if it can be read at all; only to report how far it lags.
    #[must_use]
    pub fn read(disk: &dyn Disk, dir: &JournalDir) -> Option<Self> {
        read_all(disk, &dir.head()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
    }
}
