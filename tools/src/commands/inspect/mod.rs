//! `tickfs inspect`: what lies in a store, decoded.
//!
//! Invariant: nothing is written, not a byte: no lock, no healing, no marks in shared memory.

mod address;
mod record;
mod store;

use std::io::Write;

use clap::Args;
use tickfs_store::ids::{Address, PackId, Seq};

use crate::cli::Where;

/// Decode a store without writing anything
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    /// One record of the journal
    #[arg(long, value_name = "SEQ", conflicts_with = "address")]
    record: Option<u64>,
    /// One content in a pack
    #[arg(long, value_name = "PACK:OFFSET", value_parser = parse_address)]
    address: Option<Address>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn parse_address(text: &str) -> Result<Address, String> {
    let address = text.split_once(':').and_then(|(pack, offset)| {
        Some(Address { pack: PackId(pack.parse().ok()?), offset: offset.parse().ok()? })
    });
    address.ok_or_else(|| "an address is PACK:OFFSET, two numbers, as 1:20".to_owned())
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let store = arguments.place.open_untouched()?;
    match (arguments.record, arguments.address) {
        (Some(seq), _) => record::print(&store, Seq(seq), arguments.json, out),
        (_, Some(address)) => address::print(&store, address, arguments.json, out),
        (None, None) => store::print(&store, arguments.json, out),
    }
}
