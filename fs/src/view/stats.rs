//! `stats.json`: what was counted.

use serde::Serialize;
use serde_json::Value;
use tickfs_store::render;

use super::{Now, View, watch};
use crate::error::Result;

#[derive(Serialize)]
struct Stats {
    mount: MountStats,
    store: StoreStats,
    /// What the recorder says of itself; absent where none runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    recorder: Option<Value>,
    /// Runs of watched programs.
    watch: Value,
}

#[derive(Serialize)]
struct MountStats {
    /// Requests of the kernel, by kind.
    requests: std::collections::BTreeMap<&'static str, u64>,
    /// Contents and texts that are kept in memory.
    kept_bytes: usize,
    /// Answers that could not be given; `events/errors.json` says why.
    failures: u64,
    /// Generated things that the kernel refers to.
    interned: usize,
}

#[derive(Serialize)]
struct StoreStats {
    ticks: u64,
    branches: usize,
    last_seq: u64,
    bytes: u64,
}

pub(super) fn render(view: &View, now: &Now) -> Result<Vec<u8>> {
    let history = now.history();
    Ok(render::pretty(&Stats {
        mount: MountStats {
            requests: view.counters.all(),
            kept_bytes: view.kept_bytes(),
            failures: view.failures.count(),
            interned: view.interned(),
        },
        store: StoreStats {
            ticks: history.last_tick().0,
            branches: history.branches().listed().count(),
            last_seq: history.applied_seq().0,
            bytes: view.store.size()?,
        },
        recorder: view.options.extras.as_ref().map(|extras| extras()),
        watch: watch::stats(view)?,
    }))
}
