//! History as files, through the kernel and by real programs. Where there is no FUSE each test says that it is skipped.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]

mod sample;

mod copies;
mod layout;
mod programs;
mod refused;
