//! The packs: does every version that the journal names read back, and is every byte as it was written.

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;

use super::Depth;
use super::findings::{Report, Severity};
use super::journal::tell_of_error;
use crate::content::{self, DamageKind};
use crate::error::{Error, Result};
use crate::ids::{Address, ContentHash};
use crate::journal::entry::{FileState, ItemType};
use crate::journal::{self, JournalDir};
use crate::store::Store;

pub(super) fn examine(store: &Store, depth: Depth, report: &mut Report) -> Result<()> {
    let named = named_by_the_journal(store)?;
    report.facts.versions = named.len() as u64;
    for (&address, (hash, what)) in &named {
        let read = match depth.scrub {
            true => reads_as(store, address, *hash),
            false => store.content().len(address).map(|_| true),
        };
        match read {
            Ok(true) => {}
            Ok(false) => {
                let what = format!("the content of {what} at {address} is not what was recorded");
                report.add(Severity::Damage, "wrong_content", what);
            }
            Err(error) => {
                let what = format!("the content of {what} at {address} does not read: {error}");
                report.add(Severity::Damage, "missing_content", what);
            }
        }
    }
    tell_of_leftovers(store, report)?;
    if depth.scrub {
        report.facts.packs_examined = true;
        scrub(store, report)?;
    }
    Ok(())
}

fn scrub(store: &Store, report: &mut Report) -> Result<()> {
    for damage in content::scrub(store.disk(), &store.layout().packs())? {
        match damage.kind {
            DamageKind::Torn { len } => {
                let what =
                    format!("{len} bytes are no record: the remains of a write that was never confirmed");
                report.add(Severity::Note, "torn_pack", what).at(&damage.path, Some(damage.offset));
            }
            DamageKind::Corrupt(what) => {
                report.add(Severity::Damage, "damaged_pack", what).at(&damage.path, Some(damage.offset));
            }
        }
    }
    Ok(())
}

fn reads_as(store: &Store, address: Address, expected: ContentHash) -> Result<bool> {
    let mut hasher = blake3::Hasher::new();
    let mut stream = store.content().stream(address)?;
    io::copy(&mut stream, &mut hasher).map_err(Error::io("read", &store.layout().packs()))?;
    Ok(ContentHash::from_hasher(&hasher) == expected)
}

/// Each address that a sound record names, with the hash it must have and whose it is.
fn named_by_the_journal(store: &Store) -> Result<HashMap<Address, (ContentHash, String)>> {
    let mut named = HashMap::new();
    let dir = JournalDir::new(&store.layout().journal());
    journal::scan_all(store.disk(), &dir, |entry| {
        let line = &entry.line;
        if let Some(reference) = &line.payload_ref {
            let whose = format!("the payload of record {}", line.seq);
            named.entry(reference.rec.at).or_insert((reference.hash, whose));
        }
        if line.item_type == ItemType::FILE
            && let Some(payload) = line.payload
            && let Ok(state) = serde_json::from_str::<FileState>(payload.get())
            && let (Some(hash), Some(rec)) = (state.hash, state.rec)
        {
            let tick = line.tick.as_ref().map_or(0, |t| t.n.0);
            named.entry(rec.at).or_insert_with(|| (hash, format!("{} at tick {tick}", state.path)));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(named)
}

/// Temp files of what a crash interrupted.
fn tell_of_leftovers(store: &Store, report: &mut Report) -> Result<()> {
    let layout = store.layout();
    let journal = JournalDir::new(&layout.journal());
    for dir in [layout.packs(), layout.journal(), journal.checkpoints(), layout.dir().to_path_buf()] {
        let names = match store.disk().list(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            names => names.map_err(Error::io("list", &dir))?,
        };
        for name in names.iter().filter(|name| name.as_encoded_bytes().ends_with(b".tmp")) {
            let what = "was left behind by an interrupted write, and is not used";
            report
                .add(Severity::Note, "leftover", what)
                .at(&dir.join(name), None)
                .next("tickfs doctor --repair parks it");
        }
    }
    if let Err(error) = content::list_packs(&**store.disk(), &layout.packs()) {
        tell_of_error(Severity::Damage, "packs_unreadable", &error, report);
    }
    Ok(())
}
