//! The binary: what a person types.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "telling a person what went wrong is its work")]

mod about;
mod act;
mod age;
mod ago;
mod cli;
mod client;
mod commands;
mod error;
mod find;
mod fresh;
mod now;
mod output;
mod pager;
mod progress;
mod serve;
mod style;
mod target;
mod threads;
mod typed;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match commands::serve::asked() {
        Some(Ok(background)) => return error::exit_code(commands::serve::run(&background)),
        Some(Err(usage)) => return error::exit_code_of_usage(&usage),
        None => {}
    }
    match cli::Cli::try_parse() {
        Ok(cli) => error::exit_code(commands::run(&cli)),
        Err(usage) => error::exit_code_of_usage(&usage),
    }
}
