//! What makes facts: the recorder of files and the tracer of variables.

pub mod files;
mod sys;
pub mod variables;

pub use sys::{isolate_thread, replace_descriptor};
