//! A mount in a process of its own, for tests that kill it or start it as somebody else.
//!
//! `served STORE MOUNTPOINT [--allow-other]` prints `ready`, and unmounts when its standard input ends.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test reads what it prints")]

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tickfs_fs::{Mount, Options};
use tickfs_store::Store;
use tickfs_store::disk::RealDisk;

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("served: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (store, point, allow_other) = match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [store, point] => (Path::new(*store), Path::new(*point), false),
        [store, point, "--allow-other"] => (Path::new(*store), Path::new(*point), true),
        _ => bail!("usage: served STORE MOUNTPOINT [--allow-other]"),
    };
    let opened = Store::open(Arc::new(RealDisk), store)
        .with_context(|| format!("cannot open the store {}", store.display()))?;
    let mount = Mount::start(opened, point, Options { allow_other, ..Options::default() })
        .with_context(|| format!("cannot mount at {}", point.display()))?;
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new()).context("cannot wait")?;
    mount.unmount().context("cannot unmount")
}
