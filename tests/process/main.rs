//! The store among real processes: killed, stopped, many at once, without space, and watched by strace.
//!
//! Each test spawns the program `storm`, and ends only what it started.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "every file here is part of a test")]

mod kill;
mod lock;
mod space;
mod stray;
mod system_calls;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tickfs_store::disk::RealDisk;
use tickfs_store::ids::{StoreId, UnixMillis};
use tickfs_store::journal::entry::{ItemType, Writer};
use tickfs_store::journal::{JournalDir, ReadReport, scan_all};
use tickfs_store::{Result, Store, StoreWriter};
use tickfs_tests::program::Running;

fn storm() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_storm"));
    command.stdin(Stdio::null());
    command
}

/// Where `storm` has its store.
fn new_store(dir: &Path) -> Store {
    let disk = Arc::new(RealDisk);
    Store::init(disk, &dir.join("store"), StoreId::new(UnixMillis(1), [7; 10])).unwrap()
}

fn who() -> Writer {
    Writer { writer: "test".to_owned(), writer_id: None, pid: std::process::id() }
}

fn writer(store: &Store) -> StoreWriter {
    store.writer(who(), Duration::from_secs(30)).unwrap()
}

fn entity_kind() -> ItemType {
    ItemType::parse("plan").unwrap()
}

fn put(writer: &StoreWriter, id: &str, count: u64) -> Result<()> {
    let id = id.to_owned();
    writer.mutate(UnixMillis(5), move |m| {
        m.put_entity(&entity_kind(), &id, &serde_json::json!({"count": count}))
    })
}

/// The seqs of the journal, in the order in which they stand there, and what was found beside them.
fn seqs(store: &Store) -> (Vec<u64>, ReadReport) {
    let mut seqs = Vec::new();
    let dir = JournalDir::new(&store.layout().journal());
    let report = scan_all(store.disk(), &dir, |entry| {
        seqs.push(entry.line.seq.0);
        Ok(std::ops::ControlFlow::Continue(()))
    });
    (seqs, report.unwrap())
}

/// Whether this machine lacks what a test needs; says so in the line that counts it as skipped.
#[expect(clippy::print_stdout, reason = "the total is made from these lines")]
fn skip(missing: bool, why: &str) -> bool {
    if missing {
        println!("skipped: {why}");
    }
    missing
}
