//! Many processes at one journal: through the lock, and past it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::value::RawValue;
use tickfs_store::disk::{Disk, RealDisk};
use tickfs_store::ids::{Seq, UnixMillis};
use tickfs_store::journal::entry::{self, Action, Body, Draft, ItemType, Stamp};

use crate::workload::{die_with_parent, entity_kind, now, open_or_init, who};

#[derive(Debug, clap::Args)]
pub(crate) struct Mutate {
    dir: PathBuf,
    /// The entity.
    #[arg(long)]
    id: String,
    #[arg(long)]
    count: u64,
}

/// The lock is taken for one change and given back, as by so many commands.
pub(crate) fn mutate(arguments: &Mutate) -> Result<()> {
    die_with_parent()?;
    let store = open_or_init(&arguments.dir)?;
    for count in 1..=arguments.count {
        let writer = store.writer(who(), Duration::from_secs(120)).context("taking the lock")?;
        let id = arguments.id.clone();
        writer.mutate(now(), move |m| {
            m.put_entity(&entity_kind(), &id, &serde_json::json!({"count": count}))
        })?;
    }
    Ok(())
}

#[derive(Debug, clap::Args)]
pub(crate) struct Append {
    file: PathBuf,
    /// The first seq.
    #[arg(long)]
    first: u64,
    #[arg(long)]
    count: u64,
}

/// What the journal does to its segment, without the lock that keeps others away.
pub(crate) fn append(arguments: &Append) -> Result<()> {
    die_with_parent()?;
    let file = RealDisk.open_append(&arguments.file)?;
    for seq in arguments.first..arguments.first + arguments.count {
        // Of all lengths, some of several pages.
        let padding = "x".repeat(usize::try_from(seq * 37 % 500 + if seq % 50 == 0 { 9_000 } else { 0 })?);
        let draft = Draft {
            action: Action::Note,
            item_type: ItemType::COMMAND,
            item_id: None,
            summary: None,
            tick: None,
            body: Body::Payload(RawValue::from_string(format!("{{\"padding\":\"{padding}\"}}"))?),
        };
        let stamp = Stamp { seq: Seq(seq), part: 0, more: 0, ts: UnixMillis(0), origin: None, writer: None };
        let mut line = Vec::new();
        entry::encode(&mut line, &stamp, &draft)?;
        file.append(&line)?;
    }
    Ok(())
}
