//! The clock, the process and chance: what the store never asks for itself, handed to it by the commands.
//!
//! `TICKFS_TEST_NOW` holds the clock still for tests, at that many milliseconds since 1970. Nothing is ordered by time, so
//! that a wrong clock can only date a record wrongly.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use tickfs_store::ids::UnixMillis;
use tickfs_store::journal::entry::Writer;

const FIXED: &str = "TICKFS_TEST_NOW";

pub(crate) fn now() -> UnixMillis {
    let fixed = std::env::var(FIXED).ok().and_then(|text| text.parse().ok());
    fixed.map_or_else(clock, UnixMillis)
}

fn clock() -> UnixMillis {
    let signed = |millis: u128| i64::try_from(millis).unwrap_or(i64::MAX);
    UnixMillis(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => signed(since.as_millis()),
        Err(before) => -signed(before.duration().as_millis()),
    })
}

/// Who writes, when it is this process.
pub(crate) fn writer() -> Writer {
    Writer { writer: "tickfs".to_owned(), writer_id: None, pid: std::process::id() }
}

pub(crate) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
            .context("the kernel gave no random bytes")?;
    }
    Ok(bytes)
}
