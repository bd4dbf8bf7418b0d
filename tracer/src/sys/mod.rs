//! All unsafe code of the project: the memory that the tracer and the traced program share, and descriptors.
//!
//! `agent/` is built by `build.rs` into three small libraries that the traced program loads; they use `layout`, `producer` and
//! `raw` too. The tracer itself only reads, but for its `keeper`, which looks for writes where the program does not see them.
#![allow(unsafe_code, reason = "memory that two processes share has no safe form")]

#[cfg(any(test, target_arch = "x86_64"))]
mod clock;
mod consumer;
mod descriptor;
#[cfg(target_arch = "x86_64")]
#[allow(dead_code, reason = "the agents need more of it")]
mod fault;
mod isolated;
#[cfg(target_arch = "x86_64")]
mod keeper;
/// Other processors have hooks alone.
#[cfg(not(target_arch = "x86_64"))]
mod keeper {
    use std::io;
    use std::os::fd::OwnedFd;

    pub(crate) enum Mode {
        Handler,
        Coarse,
    }

    pub(crate) enum Keeper {}

    impl Keeper {
        pub(crate) fn start(_: &OwnedFd, _: &super::Ring, _: Mode) -> io::Result<(Self, OwnedFd)> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(crate) fn finish(&self) {
            match *self {}
        }

        pub(crate) fn is_finished(&self) -> bool {
            match *self {}
        }
    }
}
pub(crate) mod layout;
#[cfg(any(test, target_arch = "x86_64"))]
#[allow(dead_code, reason = "the agents need more of it")]
mod producer;
#[cfg(any(test, target_arch = "x86_64"))]
#[allow(dead_code, reason = "the agents need more of it")]
mod raw;

pub(crate) use consumer::{Next, Ring};
pub use descriptor::replace_descriptor;
pub use isolated::isolate_thread;
pub(crate) use keeper::{Keeper, Mode};

/// The library that a traced Python program loads.
pub(crate) const PYTHON_AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/python.so"));
/// The addon that a traced Node program loads.
pub(crate) const NODE_AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/node.so"));
/// The library that is loaded into it before all others.
pub(crate) const PRELOAD: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/preload.so"));

/// The file that watched memory is mapped from; it takes room only where something lies.
pub(crate) fn watched_memory() -> std::io::Result<std::os::fd::OwnedFd> {
    #[cfg(target_arch = "x86_64")]
    const LEN: u64 = fault::arena::FILE;
    #[cfg(not(target_arch = "x86_64"))]
    const LEN: u64 = 0;
    let file = rustix::fs::memfd_create("tickfs-watched", rustix::fs::MemfdFlags::CLOEXEC)?;
    rustix::fs::ftruncate(&file, LEN)?;
    Ok(file)
}
