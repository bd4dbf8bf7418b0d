//! The serving process of a store: it records, shows, and does what other commands ask for, until nothing needs it.
//!
//! `process` is the process, `recordings` and `showing` what it is asked for, `recorder` and `mounts` what it does that with,
//! `connection` how it is spoken with, `spawn` how it comes about in the background, `keeper` what goes on when it is killed. Everything else tickfs does works without it.

pub(crate) mod alive;
pub(crate) mod announce;
pub(crate) mod connection;
pub(crate) mod foreground;
pub(crate) mod keeper;
pub(crate) mod log;
pub(crate) mod message;
pub(crate) mod metadata;
pub(crate) mod mounted;
pub(crate) mod mountpoint;
pub(crate) mod mounts;
pub(crate) mod process;
pub(crate) mod recorder;
pub(crate) mod recordings;
pub(crate) mod showing;
pub(crate) mod socket;
pub(crate) mod spawn;
pub(crate) mod stale;
pub(crate) mod status;
pub(crate) mod upkeep;

/// Threads that read, hash and compress, where nobody set their number.
pub(crate) const THREADS_DEFAULT: u8 = 4;
