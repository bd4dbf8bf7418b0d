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
pub mod disk;
pub mod redact;

pub mod content;
pub mod journal;

pub mod history;
mod index;
mod store;

pub mod doctor;
pub mod render;
pub mod runs;

pub mod migrate;

pub use error::{Error, Result};
pub use index::{Child, EntityRow, Lineage, Span, StateRow, TickRow, Version};
pub use store::{
    Committed, Config, Content, Dual, FORMAT, Freshness, Layout, Meta, MountConfig, Mutation, RecordConfig,
    Saved, Scope, Store, StoreWriter, Upkeep, UpkeepStep,
};
