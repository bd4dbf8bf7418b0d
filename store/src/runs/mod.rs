//! Runs of watched programs: their events, and every value that each variable had (format.md, "Runs").
//!
//! Invariants:
//!   * A run's directory has one writer, its tracer, which holds the run's own lock; nothing is ever changed in it but
//!     `run.json`, which is replaced whole.
//!   * The n-th change of a variable is found without reading what came before it.

mod facts;
mod names;
mod reader;
mod row;
mod value;
mod writer;

#[cfg(test)]
mod tests;

pub use facts::{RunFacts, RunId, RunStatus, VariableFacts};
pub use names::file_name;
pub use reader::{Run, Runs};
pub use value::{Tag, Value};
pub use writer::RunWriter;
