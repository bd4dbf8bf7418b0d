//! The recorder over real directories: what happens to a root becomes the ticks that a person would expect.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]
#![expect(clippy::print_stdout, reason = "what is skipped is said")]

mod stage;

mod bursts;
mod live;
mod now;
mod replay;
mod saving;
mod shapes;
mod slow;
