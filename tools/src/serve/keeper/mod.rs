//! The keeper: a small process that holds the connections of mounts, so that the serving process can be killed and started again
//! without a reader noticing.
//!
//! `message` is what the two say to each other, `link` the serving process's end of it, `process` the keeper itself.
//!
//! Invariants:
//!   * The keeper never touches a mount, not even by looking at one: it would wait for itself.
//!   * It ends when nothing is mounted any more, by whomever it was unmounted; and when nobody serves for too long, so that
//!     whoever reads gets an error instead of waiting for ever.
//!   * It knows nothing that the serving process did not tell it, and writes nothing but lines of the log.

pub(crate) mod link;
pub(crate) mod message;
pub(crate) mod process;
