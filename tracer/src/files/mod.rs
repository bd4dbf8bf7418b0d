//! The files of a root: the recorder makes ticks of what happens to them, and `restore` puts them back.
//!
//! Invariants:
//!   * What is recorded is what stands on disk when it is looked at. Events only say where to look, so that a lost, late
//!     or doubled event can cost time and never truth.
//!   * A removal is recorded only while the root is known to be there.
//!   * The recorder never writes to the root; only `restore` does.

mod error;
mod report;

mod place;
mod rules;
mod stamps;

mod read;
mod walk;

mod capture;

mod ahead;
mod commit;

mod base;
mod compare;

mod settle;
mod watch;
mod who;

mod engine;
mod recorder;

pub mod restore;

pub use compare::record_now;
pub use error::{Error, Result};
pub use recorder::{Announce, Clock, Held, Options, Recorder};
pub use report::{Announcement, Flushed, Gap, State, Status, Ticked, Warning};
pub use rules::{DEFAULTS, Ignored, Reason, Rules, SECRETS, ignored};
