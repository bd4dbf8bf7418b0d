//! The truth on disk: everything tickfs keeps of one root.
//!
//! A façade of named re-exports; each module rests only on those above it in this list.
//! The store never asks the clock, never draws a random number and never speaks to the network: all of that is
//! handed in.
#![forbid(unsafe_code)]

mod error;
pub mod ids;
pub mod path;

pub mod delta;
pub mod diff;
pub mod redact;

pub mod disk;
pub mod journal;

pub use error::{Error, Result};
