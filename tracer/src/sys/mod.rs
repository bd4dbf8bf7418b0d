//! All unsafe code of the project: the memory that the tracer and the traced program share, and descriptors.
//!
//! `agent/` is built by `build.rs` into two small libraries that the traced program loads; they use `layout`, `producer` and
//! `raw` too. The tracer itself only reads.
#![allow(unsafe_code, reason = "memory that two processes share has no safe form")]

mod consumer;
mod descriptor;
#[cfg(all(test, target_arch = "x86_64"))]
#[expect(dead_code, reason = "the agents need more of it")]
mod fault;
mod isolated;
pub(crate) mod layout;
#[cfg(test)]
mod producer;
#[cfg(test)]
#[allow(dead_code, reason = "the agents need more of it")]
mod raw;

pub(crate) use consumer::{Next, Ring};
pub use descriptor::replace_descriptor;
pub use isolated::isolate_thread;

/// The library that a traced Python program loads.
pub(crate) const PYTHON_AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/python.so"));
/// The addon that a traced Node program loads.
pub(crate) const NODE_AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/node.so"));
/// The library that is loaded into it before all others.
pub(crate) const PRELOAD: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/preload.so"));

/// The file that watched memory is mapped from; it takes room only where something lies.
pub(crate) fn watched_memory() -> std::io::Result<std::os::fd::OwnedFd> {
    const LEN: u64 = 128 * 1024 * 1024;
    let file = rustix::fs::memfd_create("tickfs-watched", rustix::fs::MemfdFlags::CLOEXEC)?;
    rustix::fs::ftruncate(&file, LEN)?;
    Ok(file)
}
