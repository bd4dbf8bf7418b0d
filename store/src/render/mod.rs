//! The JSON views and the specification's own layout, as bytes: pure functions of a [`View`](crate::history::View).
//!
//! The mount shows them, `export` writes them; nothing here touches the disk but to read contents.
//!
//! Invariants:
//!   * The same view gives the same bytes: keys stand in a fixed order, each on its own line.
//!   * One changed field changes one line (arrays: one line an element), so that a copy is git-diffable.

mod codevovle;
mod entity;
mod spelling;

use serde::Serialize;

pub(crate) use codevovle::layout_directory;
pub use codevovle::{
    CodeVovle, Layer, RECORDING, RecordingConfig, THREADS, ThreadConfig, add_ever_files, ever_files,
};
pub use entity::{branch_json, now_json, tick_json};
pub use spelling::{parse_file_path, spell_file_path};

/// Pretty-printed JSON and a newline.
#[must_use]
pub fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .expect("what is rendered has string keys and no failing parts, because it is built here");
    bytes.push(b'\n');
    bytes
}
