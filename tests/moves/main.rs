//! Going back: the root is put to points in history, and the whole of it is read afterwards.
//!
//! `desk` is a root with a store; `full` gives moves too little room; `exact` is about bytes and recorders; `sequences` are what goes wrong in lesser tools; `kills` stop a move at every step.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]
#![expect(clippy::print_stdout, reason = "what is skipped is said")]

mod desk;
mod exact;
mod full;
mod kept;
mod kills;
mod sequences;
