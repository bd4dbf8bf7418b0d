//! What makes facts: the recorder of files and the tracer of variables.

pub mod files;
