//! A few mutations, each after a line that names it, so that a trace of the system calls can be cut there.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tickfs_store::journal::entry::{Action, ItemType, NodeType};
use tickfs_store::{Content, Mutation};

use crate::workload::{base, die_with_parent, meta, now, open_or_init, rel, who};

pub(crate) fn steps(dir: &Path) -> Result<()> {
    die_with_parent()?;
    let store = open_or_init(dir)?;
    let writer = store.writer(who(), Duration::from_secs(5))?;
    writer.mutate(now(), base)?;
    // The first save after opening also makes durable what others may have left; it is not what is looked at.
    writer.mutate(now(), |m| save(m, "warm"))?;
    step("save")?;
    writer.mutate(now(), |m| save(m, "one"))?;
    step("burst")?;
    writer.mutate(now(), |m| ["v", "w", "x", "y", "z"].into_iter().try_for_each(|name| save(m, name)))?;
    step("observe")?;
    let said = serde_json::json!({"said": "x"});
    writer.mutate(now(), move |m| m.observe(Action::Note, &ItemType::COMMAND, None, &said))?;
    step("close")?;
    writer.close().context("closing the store")
}

fn save(m: &mut Mutation<'_>, name: &str) -> tickfs_store::Result<()> {
    m.save(&rel(name), &meta(NodeType::File), Content::Bytes(name.repeat(40).into_bytes())).map(drop)
}

fn step(name: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("step {name}\n").as_bytes()).and_then(|()| out.flush()).context("naming a step")
}
