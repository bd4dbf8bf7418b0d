//! Writes to a real store from real processes, to be killed, and checks what they had confirmed.
//!
//! `write` prints a line for each change when it is durable, and `check` wants each of those lines to hold. `kill` does
//! both again and again, with a SIGKILL in between. `powercut` calls the same two over a disk that loses power.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is what it promises")]

mod check;
mod kill;
mod lock;
mod promise;
mod steps;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Real processes on a real store.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Changes the store below DIR at random, and prints a line for each change that is durable.
    Write(workload::Arguments),
    /// Checks that the store below DIR is sound, and that each line of CONFIRMED holds.
    Check { dir: PathBuf, confirmed: PathBuf },
    /// Kills `write` at random moments, and checks after each.
    Kill(kill::Arguments),
    /// Changes one entity again and again, and takes the lock anew for each change.
    Mutate(lock::Mutate),
    /// Appends records to a file, without any lock.
    Append(lock::Append),
    /// Does one thing after the other, with a line before each, for whoever watches the system calls.
    Steps { dir: PathBuf },
}

fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("storm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Write(arguments) => workload::write(&arguments),
        Verb::Check { dir, confirmed } => {
            let checked = check::check(&dir, &promise::read(&confirmed)?)?;
            println!("{checked}");
            Ok(())
        }
        Verb::Kill(arguments) => kill::kill(&arguments),
        Verb::Mutate(arguments) => lock::mutate(&arguments),
        Verb::Append(arguments) => lock::append(&arguments),
        Verb::Steps { dir } => steps::steps(&dir),
    }
}
