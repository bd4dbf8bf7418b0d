//! The serving process among real ones: started, raced, frozen, killed, spoken to by strangers, and stopped.
//!
//! Each test has a directory of its own, and ends every process that names it.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]
#![expect(clippy::print_stdout, reason = "a test that cannot run here says so")]

mod bench;

mod acts;
mod keeper;
mod mount;
mod moved;
mod protocol;
mod races;
mod record;
mod rows;
mod start;
mod status;
mod stop;
mod threads;
