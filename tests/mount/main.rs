//! History as files, through the kernel and by real programs. Where there is no FUSE each test says that it is skipped.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]

mod sample;
mod serving;

mod against_the_model;
mod busy;
mod codevovle;
mod copies;
mod damage;
mod directories;
mod entities;
mod generations;
mod growing;
mod large;
mod layout;
mod names;
mod opens;
mod programs;
mod refused;
mod requests;
mod single;
mod stress;
mod users;
mod watched;
