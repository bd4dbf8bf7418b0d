//! History as files: shows what the store knows.
//!
//! A façade of named re-exports. [`View`] is plain Rust, from names and inode numbers to attributes, names and bytes;
//! `fuse.rs` alone knows the kernel, `errno.rs` alone its error numbers.
//!
//! Invariants:
//!   * Nothing here writes to the store, and no answer depends on who asked before.
//!   * What an inode number stands for never changes.
#![forbid(unsafe_code)]

mod error;

mod attr;
mod inode;

mod cache;
mod intern;

mod view;

mod ahead;
mod counters;
mod errno;
mod fuse;
mod mount;
mod notify;
mod pool;

pub use attr::{Attr, Kind};
pub use counters::{Counters, Operation};
pub use error::{Error, Result};
pub use inode::Ino;
pub use mount::{Kept, Mount, detach};
pub use view::{Bytes, DirEntry, Entry, Extras, Isolate, ListTicks, Options, Outdated, Told, View};
