//! The simplest workload and check for `powercut`: records that are appended to one file, each followed by an fsync.
//!
//! `append write DIR` prints `confirmed N` when record N is durable. `append check DIR FILE` reads such lines from
//! FILE and wants each of those records whole; behind them may stand anything.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what it prints is what it promises, or misses"
)]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, ensure};

const RECORDS: u64 = 300;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", dir] => write(Path::new(dir)),
        ["check", dir, confirmed] => check(Path::new(dir), Path::new(confirmed)),
        _ => Err(anyhow!("usage: append write DIR | append check DIR FILE")),
    };
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    eprintln!("append: {error:#}");
    ExitCode::FAILURE
}

fn write(dir: &Path) -> Result<()> {
    let durable = std::env::var_os("TICKFS_TEST_NO_FSYNC").is_none();
    let mut file = File::create_new(dir.join("records"))?;
    if durable {
        File::open(dir)?.sync_all()?;
    }
    for number in 1..=RECORDS {
        file.write_all(&record(number))?;
        if durable {
            file.sync_data()?;
        }
        println!("confirmed {number}");
    }
    Ok(())
}

fn check(dir: &Path, confirmed: &Path) -> Result<()> {
    let text = fs::read_to_string(confirmed)?;
    let Some(last) = text.lines().rfind(|line| !line.is_empty()) else { return Ok(()) };
    let last: u64 = last.strip_prefix("confirmed ").context("a line promises nothing")?.parse()?;
    let bytes = fs::read(dir.join("records")).context("the file is not there")?;
    let mut rest = bytes.as_slice();
    for number in 1..=last {
        let wanted = record(number);
        ensure!(rest.starts_with(&wanted), "record {number} of {last} is not there");
        rest = &rest[wanted.len()..];
    }
    Ok(())
}

/// Some are a line, some many pages.
fn record(number: u64) -> Vec<u8> {
    let lines = if number.is_multiple_of(10) { 1000 } else { 1 + number % 7 };
    (0..lines).flat_map(|line| format!("record {number}, line {line}\n").into_bytes()).collect()
}
