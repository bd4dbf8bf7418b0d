//! The command line as a person and a script see it: stdout, stderr, exit status and help, byte by byte.
//!
//! What is expected stands in `golden/`; `TICKFS_GOLDEN=write cargo test -p tickfs --test cli` writes it anew, to be read
//! before it is committed.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]
#![expect(clippy::print_stdout, reason = "a test that cannot run here says so")]

mod bench;

mod back;
mod branches;
mod cold;
mod events;
mod help;
mod init;
mod inspect;
mod looking;
mod migrate;
mod snapshots;
mod terminal;
