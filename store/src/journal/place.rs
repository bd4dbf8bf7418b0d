//! Where a named reader of events stands: the last seq it has seen, never a byte offset.
//!
//! Invariant: rolling, sealing and parking leave a place valid: the next record unseen is `last_seq` + 1.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::live;
use super::reader::{JournalReader, Opened, ReadOptions};
use super::segment::JournalDir;
use crate::disk::{Disk, Durability, read_all, write_atomically};
use crate::error::{Error, Result};
use crate::ids::{Seq, UnixMillis};

/// The name of a reader: letters, digits, `_`, `-` and `.`, at most 64, no leading dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderName(String);

impl ReaderName {
    pub fn parse(text: &str) -> Result<Self> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
        if text.is_empty() || text.len() > 64 || text.starts_with('.') || !text.bytes().all(legal) {
            return Err(Error::refused(format!("{text:?} is no name of a reader")));
        }
        Ok(Self(text.to_owned()))
    }

    fn path(&self, dir: &JournalDir) -> PathBuf {
        dir.readers().join(format!("{}.json", self.0))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderPlace {
    pub last_seq: Seq,
    /// When it read last; for people.
    pub last_read: String,
}

/// Where a reader stands; `None` if it never read.
pub fn place_of(disk: &dyn Disk, dir: &JournalDir, reader: &ReaderName) -> Result<Option<ReaderPlace>> {
    let path = reader.path(dir);
    let bytes = match read_all(disk, &path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(Error::io("read", &path))?,
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| Error::corrupt(&path, 0, error.to_string()))
}

/// Notes that a reader has seen everything up to `last_seq`.
pub fn keep_place(
    disk: &dyn Disk,
    dir: &JournalDir,
    reader: &ReaderName,
    last_seq: Seq,
    now: UnixMillis,
) -> Result<()> {
    let path = reader.path(dir);
    let place = ReaderPlace { last_seq, last_read: now.to_iso() };
    let json =
        serde_json::to_string(&place).expect("it holds only a string and a number, because it is built here");
    disk.create_dir(&dir.readers()).map_err(Error::io("create the directory", &dir.readers()))?;
    write_atomically(disk, &path, (json + "\n").as_bytes(), Durability::Synced)
        .map_err(Error::io("write", &path))
}

/// What a reader has not seen.
#[derive(Debug)]
pub enum Unseen {
    Records(Box<JournalReader>),
    /// Some of it is archived.
    Gap(GapSummary),
}

/// In the place of records that are archived: what lives now. To go on, a reader keeps the place before
/// `first_available`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GapSummary {
    /// Always true.
    pub gap: bool,
    pub first_available: Seq,
    /// The ids of the live entities, by type.
    pub live: BTreeMap<String, Vec<String>>,
}

/// Streams what a reader has not seen, up to `until`, or says that it is archived.
pub fn unseen(
    disk: &Arc<dyn Disk>,
    dir: &JournalDir,
    reader: &ReaderName,
    until: Option<Seq>,
) -> Result<Unseen> {
    let last_seq = place_of(&**disk, dir, reader)?.map_or(Seq(0), |place| place.last_seq);
    let options = ReadOptions { until, ..ReadOptions::from(last_seq.next()) };
    match JournalReader::open(disk, dir, options)? {
        Opened::Reader(reader) => Ok(Unseen::Records(reader)),
        Opened::Gap { first_available } => {
            let mut live: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for key in live::live_state(disk, dir)?.entities.into_keys() {
                live.entry(key.item_type).or_default().push(key.item_id);
            }
            Ok(Unseen::Gap(GapSummary { gap: true, first_available, live }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, NOW, update, write_one};
    use super::super::writer::{JournalWriter, WriterOptions};
    use super::super::{checkpoint, seal};
    use super::*;

    fn read(bench: &Bench, name: &ReaderName) -> Vec<u64> {
        let Unseen::Records(mut reader) = unseen(&bench.disk, &bench.dir, name, None).unwrap() else {
            panic!("a gap");
        };
        let mut seen = Vec::new();
        while let Some(entry) = reader.next().unwrap() {
            seen.push(entry.line.seq.0);
        }
        keep_place(&*bench.disk, &bench.dir, name, reader.end().seq, NOW).unwrap();
        seen
    }

    fn compact(bench: &Bench, journal: &mut JournalWriter) {
        let made = checkpoint::make(&bench.disk, &bench.dir, journal.end().seq).unwrap();
        write_one(journal, &[made.draft()]);
        seal::seal_rolled(&*bench.disk, &bench.dir).unwrap();
        checkpoint::park(&bench.disk, &bench.dir).unwrap();
    }

    /// Shows EL-68, EL-69, EL-70, EL-71.
    #[test]
    fn a_place_survives_rolling_sealing_and_parking_until_it_is_archived() {
        let bench = Bench::new();
        let mut journal = bench.writer(WriterOptions { roll_at: 2_000, ..WriterOptions::default() });
        let (early, late) = (ReaderName::parse("early").unwrap(), ReaderName::parse("late").unwrap());
        for n in 0..50 {
            write_one(&mut journal, &[update(&format!("plan-{}", n % 4), "{}")]);
            if n == 9 {
                assert_eq!(read(&bench, &early), (1..=10).collect::<Vec<_>>());
            }
        }
        assert_eq!(read(&bench, &late), (1..=50).collect::<Vec<_>>());
        assert!(read(&bench, &late).is_empty());
        compact(&bench, &mut journal);
        for n in 0..5 {
            write_one(&mut journal, &[update(&format!("plan-{n}"), "{}")]);
        }
        assert_eq!(read(&bench, &late), (51..=56).collect::<Vec<_>>());
        let json = bench.memory.bytes(&late.path(&bench.dir));
        let place: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(place["last_seq"], 56);
        assert!(place["last_read"].is_string());

        let Unseen::Gap(gap) = unseen(&bench.disk, &bench.dir, &early, None).unwrap() else {
            panic!("no gap");
        };
        assert!(gap.gap && gap.first_available > Seq(11));
        assert_eq!(gap.live["plan"], ["plan-0", "plan-1", "plan-2", "plan-3", "plan-4"]);
    }

    #[test]
    fn a_damaged_place_is_an_error_and_a_name_stays_in_its_directory() {
        let bench = Bench::new();
        let name = ReaderName::parse("ci").unwrap();
        bench.memory.set(&name.path(&bench.dir), b"{");
        assert!(matches!(unseen(&bench.disk, &bench.dir, &name, None), Err(Error::Corrupt { .. })));
        for bad in ["", "../x", "a/b", ".hidden", "a b"] {
            assert!(ReaderName::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
