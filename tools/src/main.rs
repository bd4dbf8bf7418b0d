//! The binary: what a person types.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "telling a person what went wrong is its work")]

mod cli;
mod commands;
mod error;
mod find;
mod fresh;
mod now;
mod output;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::try_parse() {
        Ok(cli) => error::exit_code(commands::run(&cli)),
        Err(usage) => error::exit_code_of_usage(&usage),
    }
}
