//! What whoever mounts may choose.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use tickfs_store::history::Moment;
use tickfs_store::ids::UnixMillis;
use tickfs_store::path::RelPath;

/// Numbers of whoever records, for `stats.json`: a JSON object.
pub type Extras = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// Gives the thread that calls it descriptors of its own: this one alone.
pub type Isolate = fn(BorrowedFd<'_>) -> std::io::Result<OwnedFd>;

/// How many ticks `branches/<b>/` and `ticks/` list. The others are found by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListTicks {
    Newest(u64),
    All,
}

#[derive(Clone)]
pub struct Options {
    /// Others than the user who mounts may read, as far as the modes allow it.
    pub allow_other: bool,
    /// What `mount` and `df` show as the source; the root's path.
    pub fsname: String,
    pub list_ticks: ListTicks,
    /// The moment now, and the zone that times are read in.
    pub moment: Arc<dyn Fn() -> Moment + Send + Sync>,
    /// For `stats.json`.
    pub extras: Option<Extras>,
    /// Shows the history of this one file.
    pub single: Option<RelPath>,
    /// So that a thread which waits in the kernel keeps nothing else of a killed process; `None`: it may.
    pub isolate: Option<Isolate>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("fsname", &self.fsname)
            .field("allow_other", &self.allow_other)
            .field("list_ticks", &self.list_ticks)
            .field("single", &self.single)
            .finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        let fsname = "tickfs".to_owned();
        let list_ticks = ListTicks::Newest(32);
        let moment = Arc::new(the_moment);
        Self { allow_other: false, fsname, list_ticks, moment, extras: None, single: None, isolate: None }
    }
}

/// The system's clock and zone.
fn the_moment() -> Moment {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    Moment { now, zone: jiff::tz::TimeZone::system() }
}
