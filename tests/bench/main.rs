//! Measures the store, with git and the medium beside it in the same run.
//!
//! Says what it found, never whether that is enough: it exits with 0 whenever it could measure. Arguments: `quick` for
//! smaller samples, and the names of the sections to run (all of them without any).
//!
//! Invariants:
//!   * A figure stands beside another one of the same run only: the machine may be busy, and is so for both.
//!   * What is compared has the same content on both sides.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a table is what this program makes")]

mod figure;
mod git;
mod jj;
mod keeping;
mod scratch;

mod child;
mod floor;

mod changes;
mod cold;
mod cost;
mod many;
mod mount;
mod recorder;
mod save;
mod scale;
mod stream;
mod watch;
mod wide;

use anyhow::{Result, bail};

/// How large a sample is taken.
#[derive(Debug, Clone, Copy)]
struct Size {
    quick: bool,
}

impl Size {
    fn of<T>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

type Section = fn(Size) -> Result<()>;

const SECTIONS: &[(&str, Section)] = &[
    ("save", save::measure),
    ("replay", cost::replay),
    ("tick", cost::tick_and_read),
    ("scale", scale::measure),
    ("cold", cold::measure),
    ("many", many::measure),
    ("recorder", recorder::measure),
    ("changes", changes::measure),
    ("stream", stream::measure),
    ("mount", mount::measure),
    ("watch", watch::measure),
];

fn main() -> Result<()> {
    // cargo says `--bench` to every benchmark.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if words.first().is_some_and(|word| word == child::WORD) {
        return child::run(&words[1..]);
    }
    let size = Size { quick: words.iter().any(|word| word == "quick") };
    let chosen: Vec<&String> = words.iter().filter(|word| *word != "quick").collect();
    if let Some(strange) = chosen.iter().find(|word| SECTIONS.iter().all(|(name, _)| name != *word)) {
        let names: Vec<&str> = SECTIONS.iter().map(|(name, _)| *name).collect();
        bail!("there is no section {strange:?}; there are {names:?}");
    }
    figure::head();
    for (name, section) in SECTIONS {
        if chosen.is_empty() || chosen.iter().any(|word| word == name) {
            section(size)?;
        }
    }
    figure::foot();
    Ok(())
}
