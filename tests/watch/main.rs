//! `tickfs watch` as a person and a script see it: programs run as ever, and every change of a watched variable is an event.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]
#![expect(clippy::print_stdout, reason = "a test that cannot run here says so")]

mod bench;

mod containers;
mod drivers;
mod ends;
mod events;
mod forms;
mod javascript;
mod kept;
mod kills;
mod members;
mod modes;
mod module;
mod mounted;
mod options;
mod packages;
mod patterns;
mod processors;
mod pythons;
mod queries;
mod raw;
mod same;
mod scope;
mod servers;
mod threads;
mod values;
