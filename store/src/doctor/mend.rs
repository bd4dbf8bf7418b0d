//! `--repair`: parks what is damaged and rebuilds what can be rebuilt. It deletes nothing.
//!
//! The journal and the packs are not touched: their damage is survived by reading around it.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::findings::Report;
use crate::error::{Error, Result};
use crate::store::{Store, StoreWriter};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Mended {
    /// What was moved, and where to.
    pub parked: Vec<(PathBuf, PathBuf)>,
    pub index_rebuilt: bool,
}

/// Mends what a report names. Needs the writer: nothing else may change the store meanwhile.
pub fn mend(writer: &StoreWriter, report: &Report) -> Result<Mended> {
    let store = writer.store();
    let mut mended = Mended::default();
    for finding in &report.findings {
        match (finding.kind, &finding.path) {
            ("leftover" | "daemon_unreadable" | "head_unreadable", Some(path)) => {
                mended.parked.extend(park(store, path)?);
            }
            ("index_damaged" | "index_drift" | "index_ahead", _) => mended.index_rebuilt = true,
            _ => {}
        }
    }
    if mended.index_rebuilt {
        writer.rebuild_index()?;
    }
    Ok(mended)
}

/// Moves a file into `quarantine/`, under a name that is free there: from where, to where. `None`: it is gone already.
pub fn park(store: &Store, path: &Path) -> Result<Option<(PathBuf, PathBuf)>> {
    let quarantine = store.layout().quarantine();
    let disk = store.disk();
    if disk.stat(path).map_err(Error::io("look for", path))?.is_none() {
        return Ok(None);
    }
    disk.create_dir(&quarantine).map_err(Error::io("create", &quarantine))?;
    let name = path.file_name().unwrap_or_default().to_owned();
    for n in 0_u32.. {
        let mut candidate = name.clone();
        if n > 0 {
            candidate.push(format!(".{n}"));
        }
        let to = quarantine.join(candidate);
        if disk.stat(&to).map_err(Error::io("look for", &to))?.is_none() {
            disk.rename(path, &to).map_err(Error::io("park", path))?;
            disk.sync_dir(&quarantine).map_err(Error::io("sync", &quarantine))?;
            return Ok(Some((path.to_path_buf(), to)));
        }
    }
    Err(Error::refused(format!("{} holds every name there is", quarantine.display())))
}
