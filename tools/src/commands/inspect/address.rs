//! One content: how it is kept, and what it rests on.

use std::io::Write;

use serde::Serialize;
use tickfs_store::Store;
use tickfs_store::content::Step;
use tickfs_store::ids::{Address, PackForm};

use crate::output;

#[derive(Serialize)]
struct Shown {
    address: Address,
    pack: &'static str,
    len: u64,
    chain: Vec<ShownStep>,
}

#[derive(Serialize)]
struct ShownStep {
    address: Address,
    kind: &'static str,
    stored_len: u64,
    len: u64,
}

pub(super) fn print(store: &Store, address: Address, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let found = store.content().describe(address)?;
    let step = |step: &Step| ShownStep {
        address: step.at,
        kind: step.kind.name(),
        stored_len: step.stored_len,
        len: step.raw_len,
    };
    let pack = match found.form {
        PackForm::Hot => "hot",
        PackForm::Cold => "cold",
    };
    let chain = found.chain.iter().map(step).collect();
    let shown = Shown { address, pack, len: found.raw_len, chain };
    if json {
        return output::json(out, &shown);
    }
    writeln!(out, "{address}: {} bytes, in a {pack} pack", shown.len)?;
    let row = |step: &ShownStep| {
        [
            format!("  {}", step.address),
            step.kind.to_owned(),
            format!("{} bytes stored", step.stored_len),
            format!("{} bytes", step.len),
        ]
    };
    let rows: Vec<[String; 4]> = shown.chain.iter().map(row).collect();
    Ok(output::table(out, &rows)?)
}
