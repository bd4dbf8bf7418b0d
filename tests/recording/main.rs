//! The recorder over real directories: what happens to a root becomes the ticks that a person would expect.
#![forbid(unsafe_code)]

mod stage;

mod bursts;
mod live;
mod now;
mod replay;
mod saving;
mod shapes;
