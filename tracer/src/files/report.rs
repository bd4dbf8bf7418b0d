//! What the recorder tells: whoever shows or logs it decides how.

use std::time::Duration;

use serde::Serialize;
use tickfs_store::ids::{Tick, UnixMillis};
use tickfs_store::journal::entry::Action;
use tickfs_store::path::RelPath;

/// One tick as a line of a log shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ticked {
    pub tick: Tick,
    pub kind: Action,
    pub path: RelPath,
    /// Where the path was before, of a rename.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<RelPath>,
    /// Its bytes now; 0 for a directory and for what is gone.
    pub size: u64,
    /// Its bytes before, where it was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_before: Option<u64>,
}

/// What the recorder says while it runs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Announcement {
    /// A burst is durable and visible.
    Ticks { at: UnixMillis, ticks: Vec<Ticked> },
    /// The root stood in the past, and what was recorded next began a branch, which is active now.
    Forked { branch: String },
    /// Something is not recorded as it should be; recording goes on.
    Warning(Warning),
    /// Something may have happened that was not recorded.
    Gap(Gap),
    /// How far the first look at the root has come.
    Base { paths: u64, bytes: u64 },
    /// The base is complete: from here on every change is a tick.
    BaseDone { paths: u64, bytes: u64 },
    /// The root is back after a gap, and recording goes on.
    Back,
}

/// What keeps a path, or all of them, from being recorded as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// `None`: it is about the recorder as a whole.
    pub path: Option<RelPath>,
    /// A sentence; what to type next stands in it where there is something to type.
    pub what: String,
}

/// A span of time in which something may have happened that was not recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    pub from: UnixMillis,
    pub to: UnixMillis,
    pub why: String,
}

/// What a flush came to: all that is named is durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flushed {
    pub ticks: Vec<Ticked>,
    /// The branches that this made, because the root stood in the past.
    pub forks: Vec<String>,
    /// Paths that could not be read, each with the reason: these alone are not recorded as they stand.
    pub unread: Vec<(RelPath, String)>,
}

impl Flushed {
    pub(crate) fn append(&mut self, other: Self) {
        self.ticks.extend(other.ticks);
        self.forks.extend(other.forks);
        self.unread.extend(other.unread);
    }
}

/// What the recorder does right now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    #[default]
    Recording,
    /// A person said so; what changes meanwhile is one burst when it goes on.
    Paused,
    /// A command writes to the root.
    Held,
    /// The root is gone or empty: nothing is recorded, and nothing is taken for deleted, until it is back.
    RootGone {
        why: String,
    },
    /// The store refused the last group; it is tried again.
    Failing {
        why: String,
    },
    Stopped,
}

/// How the recorder is doing: everything that is late, skipped or doubtful is counted here under its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    pub state: State,
    pub since: UnixMillis,
    /// Recorded paths at the cursor.
    pub paths: u64,
    pub ticks: u64,
    pub bursts: u64,
    /// How often files were sampled, where events do not tell, or the interval was asked for.
    pub samples: u64,
    /// How long that took in all.
    pub sampling: Duration,
    /// Paths that were seen to change and are not recorded yet.
    pub pending: u64,
    /// How long the oldest of them has waited.
    pub lag: Option<Duration>,
    /// Directories that are watched.
    pub watches: u64,
    /// Directories beyond the limit of watches, which are sampled.
    pub unwatched: u64,
    pub overflows: u64,
    pub gaps: u64,
    pub last_gap: Option<Gap>,
    /// Files that were read the moment their writer was done, so that the next save could not take them away.
    pub read_at_once: u64,
    /// Saves that were overwritten before they could be looked at; a gap says when.
    pub merged: u64,
    /// Groups that the store refused.
    pub failures: u64,
    /// Paths that cannot be read, each with the reason; they are tried again.
    pub unread: Vec<(RelPath, String)>,
    /// Files that are written to all the time, and are sampled.
    pub written_all_the_time: Vec<RelPath>,
    /// The latest warnings, and how many there were.
    pub warnings: Vec<Warning>,
    pub warned: u64,
    pub threads: usize,
    /// Named files, each with its interval; `None` where events tell. Empty where the whole root is recorded.
    pub files: Vec<(RelPath, Option<Duration>)>,
    /// The interval at which the whole root is sampled, where it is.
    pub interval: Option<Duration>,
}
