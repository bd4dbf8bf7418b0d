//! `INTENT` in the store: what is about to be done to the root. While it is there, the root may be half-way.
//!
//! Invariant: it is durable before the root is touched, and goes when the root and the cursor agree again. It holds no
//! content: history never changes, so that both sides of the move can be read from the store again.

use serde::{Deserialize, Serialize};
use tickfs_store::disk::{self, Durability};
use tickfs_store::history::Stand;
use tickfs_store::ids::Seq;
use tickfs_store::{Error as StoreError, Store};

use super::error::{Error, Result};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    /// The next record of the journal when it began: a cursor that was written from there on is this move's.
    pub(super) seq: Seq,
    pub(super) from: Stand,
    pub(super) to: Stand,
    pub(super) commit: Commit,
    /// Put back the old times of files too.
    pub(super) mtimes: bool,
}

/// What the store is told once the root is as it shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Commit {
    /// The cursor moved, by the command of this name.
    Move(String),
    /// Old versions were copied forward: each is a change.
    Forward,
}

impl Intent {
    /// The directory in the root where versions are made ready.
    pub(super) fn staging(&self) -> String {
        format!("{}{}", super::STAGING_PREFIX, self.seq)
    }

    pub(super) fn write(&self, store: &Store) -> Result<()> {
        let path = store.layout().intent();
        let mut text = serde_json::to_vec(self).expect("it has string keys, so it is always JSON");
        text.push(b'\n');
        disk::write_atomically(&**store.disk(), &path, &text, Durability::Synced)
            .map_err(|source| Error::Io { action: "write", path, source })
    }

    pub(super) fn read(store: &Store) -> Result<Option<Self>> {
        let path = store.layout().intent();
        let io = |source| Error::Io { action: "read", path: path.clone(), source };
        if store.disk().stat(&path).map_err(io)?.is_none() {
            return Ok(None);
        }
        let text = disk::read_all(&**store.disk(), &path).map_err(io)?;
        let damaged = |error: serde_json::Error| StoreError::Corrupt {
            path: path.clone(),
            offset: error.column() as u64,
            what: error.to_string(),
        };
        Ok(Some(serde_json::from_slice(&text).map_err(damaged)?))
    }

    pub(super) fn remove(store: &Store) -> Result<()> {
        let path = store.layout().intent();
        let removed =
            store.disk().remove_file(&path).and_then(|()| store.disk().sync_dir(store.layout().dir()));
        removed.map_err(|source| Error::Io { action: "remove", path, source })
    }
}
