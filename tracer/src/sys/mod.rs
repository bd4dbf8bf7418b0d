//! All unsafe code of the project: the memory that the tracer and the traced program share.
//!
//! `agent/` is built by `build.rs` into two small libraries that the traced program loads; they use `layout`, `producer` and
//! `raw` too. The tracer itself only reads.
#![allow(unsafe_code, reason = "memory that two processes share has no safe form")]

mod consumer;
pub(crate) mod layout;
#[cfg(test)]
mod producer;
#[cfg(test)]
#[expect(dead_code, reason = "the agents need more of it")]
mod raw;

pub(crate) use consumer::{Next, Ring};

/// The library that a traced Python program loads.
pub(crate) const PYTHON_AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/python.so"));
/// The addon that a traced Node program loads.
pub(crate) const NODE_AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/node.so"));
