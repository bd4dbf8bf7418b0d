//! What a serving process says of itself.

use serde::{Deserialize, Serialize};
use tickfs_store::path::RelPath;

use super::message::Absolute;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) pid: u32,
    pub(crate) root: String,
    /// When the process began.
    pub(crate) since: String,
    pub(crate) paused: bool,
    pub(crate) threads: u8,
    pub(crate) recordings: Vec<Recording>,
    pub(crate) mounts: Vec<MountStatus>,
    /// Ticks recorded since the process began, and looks taken for them.
    pub(crate) ticks: u64,
    pub(crate) samples: u64,
    /// The time that those looks took, in all.
    pub(crate) sampling_ms: f64,
    /// What was met and not mended yet.
    pub(crate) warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recording {
    /// `None`: the whole root.
    pub(crate) file: Option<RelPath>,
    pub(crate) interval: Option<f64>,
    pub(crate) since: String,
    /// Somebody watches it on a terminal.
    pub(crate) foreground: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MountStatus {
    pub(crate) at: Absolute,
    /// `None`: the whole root's history.
    pub(crate) file: Option<RelPath>,
}
