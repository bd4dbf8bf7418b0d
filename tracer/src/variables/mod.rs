//! The tracer of variables: runs a program, and records every change of its watched variables.
//!
//! The traced program writes records into a ring of shared memory; here they are read, turned into events, passed through
//! processors and written. A full ring makes the program wait, so that no event is lost on the way.

mod counts;
mod delta;
mod error;
mod event;
mod module;
mod options;
mod output;
mod processor;
mod program;
mod raw;
mod scope;
mod session;
mod symbols;

pub use error::{Error, Result};
pub use module::module_files;
pub use options::{Announce, Depth, FaultMode, Flags, Kept, Language, Level, Options};
pub use scope::FilesScope;
pub use session::{Ended, trace};
