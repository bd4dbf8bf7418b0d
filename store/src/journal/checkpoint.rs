//! A checkpoint: a self-contained copy of the live state, so that older segments can be parked.
//!
//! `checkpoints/cp-<seq>.jsonl.zst` holds the record lines of each live entity as of `seq`, by type and id. One
//! record of the journal names it with its sha256; what no record names is the rest of a crash, and is ignored.
//!
//! Invariants:
//!   * Making one costs the live entities and what was written since the one before, never the whole history.
//!   * Nothing is parked before the checkpoint was read back and found to be what the record says.
//!   * Parking moves; it deletes nothing. Only checkpoints older than the two newest are removed.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::entry::{self, Action, Body, Draft, ItemType, LINE_MAX};
use super::live::{Changes, EntityKey, EntityLines};
use super::reader::{JournalReader, ReadOptions};
use super::segment::{JournalDir, SegmentFile, Segments};
use crate::disk::{Disk, DiskFile, read_all};
use crate::error::{Error, Result};
use crate::ids::{SegmentId, Seq};

const LEVEL: i32 = 3;
/// How many checkpoints are kept.
const KEPT: usize = 2;
/// Compressed bytes are handed to the disk in pieces of this length.
const PIECE: usize = 256 * 1024;

/// The payload of a `checkpoint` record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointFile {
    /// Its name in `journal/checkpoints/`.
    pub file: String,
    pub sha256: String,
    /// The last record that it takes into account.
    pub seq: Seq,
    pub entities: u64,
}

impl CheckpointFile {
    /// The record by which the journal names the checkpoint.
    #[must_use]
    pub fn draft(&self) -> Draft {
        let payload = serde_json::to_string(self).and_then(RawValue::from_string);
        Draft {
            action: Action::Checkpoint,
            item_type: ItemType::STATE,
            item_id: None,
            summary: None,
            tick: None,
            body: Body::Payload(
                payload.expect("it holds only strings and numbers, because it is built here"),
            ),
        }
    }

    fn path(&self, dir: &JournalDir) -> PathBuf {
        dir.checkpoints().join(&self.file)
    }
}

fn file_name(seq: Seq) -> String {
    format!("cp-{:08}.jsonl.zst", seq.0)
}

fn parse_name(name: &str) -> Option<Seq> {
    let digits = name.strip_prefix("cp-")?.strip_suffix(".jsonl.zst")?;
    let seq = digits.parse().ok().map(Seq)?;
    (file_name(seq) == name).then_some(seq)
}

/// Writes the checkpoint of everything up to `until`, which is durable. The caller appends its
/// [`CheckpointFile::draft`]: only that makes it count. Needs the store's lock.
pub fn make(disk: &Arc<dyn Disk>, dir: &JournalDir, until: Seq) -> Result<CheckpointFile> {
    let before = newest_up_to(disk, dir, until)?;
    let after = before.as_ref().map_or(Seq(0), |before| before.seq);
    let changes = Changes::since(disk, dir, after, Some(until))?;

    let name = file_name(until);
    let path = dir.checkpoints().join(&name);
    let temp = dir.checkpoints().join(format!("{name}.tmp"));
    if disk.stat(&temp).map_err(Error::io("look at", &temp))?.is_some() {
        disk.remove_file(&temp).map_err(Error::io("remove", &temp))?;
    }
    let file = disk.create_append(&temp).map_err(Error::io("create", &temp))?;
    let mut entities = 0;
    let sink = Sink { file: &*file, sha256: Sha256::new(), piece: Vec::new() };
    let mut out = zstd::stream::Encoder::new(sink, LEVEL).map_err(Error::io("compress", &temp))?;
    let write = |_key, lines: EntityLines| {
        entities += 1;
        let mut all = lines.iter();
        all.try_for_each(|line| out.write_all(line).and_then(|()| out.write_all(b"\n")))
            .map_err(Error::io("write", &temp))
    };
    match &before {
        Some(before) => changes.over(self::entities(&**disk, dir, before)?, write)?,
        None => changes.over(std::iter::empty(), write)?,
    }
    let sha256 = out.finish().and_then(Sink::finish).map_err(Error::io("write", &temp))?;
    file.sync().map_err(Error::io("sync", &temp))?;
    disk.rename(&temp, &path).map_err(Error::io("rename", &temp))?;
    disk.sync_dir(&dir.checkpoints()).map_err(Error::io("sync the directory", &dir.checkpoints()))?;
    let made = CheckpointFile { file: name, sha256, seq: until, entities };
    verify(&**disk, dir, &made)?;
    Ok(made)
}

/// Takes compressed bytes, and hashes what it hands on.
struct Sink<'a> {
    file: &'a dyn DiskFile,
    sha256: Sha256,
    piece: Vec<u8>,
}

impl Sink<'_> {
    fn hand_on(&mut self) -> io::Result<()> {
        self.sha256.update(&self.piece);
        self.file.append(&self.piece)?;
        self.piece.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<String> {
        self.hand_on()?;
        Ok(self.sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.hand_on()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a checkpoint back: its bytes are those that the record names, and its lines are sound and in order.
pub fn verify(disk: &dyn Disk, dir: &JournalDir, checkpoint: &CheckpointFile) -> Result<()> {
    let path = checkpoint.path(dir);
    let bytes = read_all(disk, &path).map_err(Error::io("read", &path))?;
    if super::recovery::sha256_hex(&bytes) != checkpoint.sha256 {
        return Err(Error::corrupt(&path, 0, "its sha256 is not the one in its record"));
    }
    let (mut found, mut last) = (0, None);
    for entity in entities(disk, dir, checkpoint)? {
        let (key, _) = entity?;
        if last.as_ref().is_some_and(|last| *last >= key) {
            return Err(Error::corrupt(&path, 0, "its entities are out of order"));
        }
        (found, last) = (found + 1, Some(key));
    }
    if found != checkpoint.entities {
        return Err(Error::corrupt(
            &path,
            0,
            format!("it holds {found} entities of {}", checkpoint.entities),
        ));
    }
    Ok(())
}

/// The live entities of a checkpoint, in order, one at a time.
pub(crate) fn entities<'a>(
    disk: &'a dyn Disk,
    dir: &JournalDir,
    checkpoint: &CheckpointFile,
) -> Result<impl Iterator<Item = Result<(EntityKey, EntityLines)>> + 'a> {
    let path = checkpoint.path(dir);
    let file = disk.open(&path).map_err(Error::io("open", &path))?;
    let lines =
        zstd::stream::Decoder::new(FileBytes { file, offset: 0 }).map_err(Error::io("read", &path))?;
    let mut lines = BufReader::new(lines);
    let mut next = read_line(&mut lines, &path).transpose();
    Ok(std::iter::from_fn(move || {
        let (key, first) = match next.take()? {
            Ok(line) => line,
            Err(error) => return Some(Err(error)),
        };
        let mut entity = vec![first];
        loop {
            next = read_line(&mut lines, &path).transpose();
            match next.take() {
                Some(Ok((same, line))) if same == key => entity.push(line),
                other => {
                    next = other;
                    return Some(Ok((key, entity)));
                }
            }
        }
    }))
}

fn read_line(lines: &mut impl BufRead, path: &std::path::Path) -> Result<Option<(EntityKey, Box<[u8]>)>> {
    let mut line = Vec::new();
    lines.take(LINE_MAX as u64).read_until(b'\n', &mut line).map_err(Error::io("read", path))?;
    if line.is_empty() {
        return Ok(None);
    }
    let wrong = |what: String| Error::corrupt(path, 0, what);
    let text = line.strip_suffix(b"\n").ok_or_else(|| wrong("a line has no end".to_owned()))?;
    let decoded = entry::decode(text).map_err(|fault| wrong(fault.to_string()))?;
    let key = EntityKey::of(&decoded).ok_or_else(|| wrong("a line is no entity's state".to_owned()))?;
    Ok(Some((key, text.into())))
}

struct FileBytes {
    file: Arc<dyn DiskFile>,
    offset: u64,
}

impl Read for FileBytes {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buf, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// What lies in `checkpoints/`.
#[derive(Debug, Default)]
pub struct Checkpoints {
    /// Those a record names and whose bytes are what it says, newest first.
    pub good: Vec<CheckpointFile>,
    /// Those that are ignored, and why.
    pub ignored: Vec<(String, String)>,
}

/// Judges each checkpoint that lies on disk, by the journal.
pub fn list(disk: &Arc<dyn Disk>, dir: &JournalDir) -> Result<Checkpoints> {
    let mut found = Checkpoints::default();
    for seq in names(&**disk, dir)?.into_iter().rev() {
        match judge(disk, dir, seq)? {
            Ok(good) => found.good.push(good),
            Err(why) => found.ignored.push((file_name(seq), why)),
        }
    }
    Ok(found)
}

/// The newest checkpoint that counts.
pub fn newest(disk: &Arc<dyn Disk>, dir: &JournalDir) -> Result<Option<CheckpointFile>> {
    newest_up_to(disk, dir, Seq(u64::MAX))
}

fn newest_up_to(disk: &Arc<dyn Disk>, dir: &JournalDir, until: Seq) -> Result<Option<CheckpointFile>> {
    for seq in names(&**disk, dir)?.into_iter().rev().filter(|seq| *seq <= until) {
        if let Ok(good) = judge(disk, dir, seq)? {
            return Ok(Some(good));
        }
    }
    Ok(None)
}

fn names(disk: &dyn Disk, dir: &JournalDir) -> Result<Vec<Seq>> {
    let path = dir.checkpoints();
    let names = match disk.list(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names.map_err(Error::io("list", &path))?,
    };
    let mut seqs: Vec<_> = names.iter().filter_map(|name| parse_name(name.to_str()?)).collect();
    seqs.sort_unstable();
    Ok(seqs)
}

/// Looks for the record that names a checkpoint: it comes after all that the checkpoint takes into account, as a
/// rule as the next one. A newer record that names it again, with other bytes, is the one that counts.
fn judge(disk: &Arc<dyn Disk>, dir: &JournalDir, seq: Seq) -> Result<Result<CheckpointFile, String>> {
    let name = file_name(seq);
    let options = ReadOptions::from(seq.next()).with_archive();
    let mut reader = JournalReader::open(disk, dir, options)?.whole()?;
    let mut why = "no record names it".to_owned();
    while let Some(entry) = reader.next()? {
        if entry.line.action != Action::Checkpoint {
            continue;
        }
        let payload = entry.line.payload.map(RawValue::get).unwrap_or_default();
        let named = serde_json::from_str::<CheckpointFile>(payload).ok();
        let Some(named) = named.filter(|named| named.file == name && named.seq == seq) else { continue };
        match verify(&**disk, dir, &named) {
            Ok(()) => return Ok(Ok(named)),
            Err(damage @ Error::Corrupt { .. }) => why = damage.to_string(),
            Err(error) => return Err(error),
        }
    }
    Ok(Err(why))
}

/// What parking did.
#[derive(Debug, Default)]
pub struct Parked {
    pub segments: Vec<SegmentId>,
    /// Older checkpoints that were removed.
    pub removed: Vec<String>,
    /// Checkpoints that do not count, and why.
    pub ignored: Vec<(String, String)>,
}

/// Moves the segments that the newest good checkpoint makes redundant into `archive/`. Needs the store's lock.
pub fn park(disk: &Arc<dyn Disk>, dir: &JournalDir) -> Result<Parked> {
    let found = list(disk, dir)?;
    let mut parked = Parked { ignored: found.ignored, ..Parked::default() };
    let Some(checkpoint) = found.good.first() else { return Ok(parked) };
    let segments = Segments::list(&**disk, dir, false)?;
    for pair in segments.files().windows(2) {
        let (file, next) = (pair[0], pair[1]);
        if next.id.0 > checkpoint.seq.next() {
            break;
        }
        let both = std::iter::once(&file).chain(segments.spare().iter().filter(|spare| spare.id == file.id));
        for form in both {
            let to = SegmentFile { archived: true, ..*form }.path(dir);
            let from = form.path(dir);
            disk.rename(&from, &to).map_err(Error::io("park", &from))?;
        }
        parked.segments.push(file.id);
    }
    if !parked.segments.is_empty() {
        // The new names first: a crash may show a segment in both directories, never in none.
        disk.sync_dir(&dir.archive()).map_err(Error::io("sync the directory", &dir.archive()))?;
        disk.sync_dir(dir.path()).map_err(Error::io("sync the directory", dir.path()))?;
    }
    parked.removed = remove_old(&**disk, dir, &found.good)?;
    Ok(parked)
}

/// Removes the checkpoints that newer good ones make useless.
pub fn prune(disk: &Arc<dyn Disk>, dir: &JournalDir) -> Result<Vec<String>> {
    remove_old(&**disk, dir, &list(disk, dir)?.good)
}

fn remove_old(disk: &dyn Disk, dir: &JournalDir, good: &[CheckpointFile]) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for old in good.iter().skip(KEPT) {
        let path = old.path(dir);
        disk.remove_file(&path).map_err(Error::io("remove", &path))?;
        removed.push(old.file.clone());
    }
    Ok(removed)
}

/// Whether a segment was closed since the newest checkpoint, by their names alone.
pub fn is_due(disk: &dyn Disk, dir: &JournalDir) -> Result<bool> {
    let newest = names(disk, dir)?.last().copied();
    let active = Segments::list(disk, dir, false)?.last().filter(|last| last.id.0 > Seq(1));
    Ok(active.is_some_and(|active| newest.is_none_or(|newest| newest < active.id.0)))
}

#[cfg(test)]
mod tests {
    use super::super::live::{live_state, live_state_backward};
    use super::super::seal;
    use super::super::testing::{Bench, note, tombstone, update, write_one};
    use super::super::writer::{JournalWriter, WriterOptions};
    use super::*;

    fn small() -> WriterOptions {
        WriterOptions { roll_at: 3_000, ..WriterOptions::default() }
    }

    fn delta(name: &str, payload: &str) -> Draft {
        Draft { action: Action::Delta, item_type: ItemType::STATE, ..update(name, payload) }
    }

    fn whole(name: &str, payload: &str) -> Draft {
        Draft { item_type: ItemType::STATE, ..update(name, payload) }
    }

    /// Updates, deletions, deltas and notes in a fixed mixture.
    fn mix(journal: &mut JournalWriter, from: u64, to: u64) {
        for n in from..to {
            let (plan, state) = (format!("plan-{}", n % 13), format!("doc-{}", n % 3));
            let payload = format!("{{\"rev\":{n}}}");
            write_one(
                journal,
                &[match n % 7 {
                    0 => tombstone(&plan),
                    1 => note("nothing"),
                    2 | 3 => delta(&state, &payload),
                    4 if n % 3 == 0 => whole(&state, &payload),
                    _ => update(&plan, &payload),
                }],
            );
        }
    }

    fn checkpoint(bench: &Bench, journal: &mut JournalWriter) -> CheckpointFile {
        let made = make(&bench.disk, &bench.dir, journal.end().seq).unwrap();
        write_one(journal, &[made.draft()]);
        made
    }

    fn states(bench: &Bench) -> (BTreeMap, BTreeMap) {
        let forward = live_state(&bench.disk, &bench.dir).unwrap();
        let backward = live_state_backward(&bench.disk, &bench.dir).unwrap();
        assert_eq!(forward.checkpoint, backward.checkpoint);
        (forward.entities, backward.entities)
    }

    type BTreeMap = std::collections::BTreeMap<EntityKey, EntityLines>;

    /// Shows EL-28, EL-29, EL-62, EL-63.
    #[test]
    fn forward_backward_and_from_a_checkpoint_the_state_is_the_same() {
        let bench = Bench::new();
        let mut journal = bench.writer(small());
        for round in 0..6 {
            mix(&mut journal, round * 40 + 1, round * 40 + 41);
            let (forward, backward) = states(&bench);
            assert_eq!(forward, backward, "round {round}");
            assert!(forward.len() > 8);
            let without = bench.copy();
            for seq in names(&*without.disk, &without.dir).unwrap() {
                without.disk.remove_file(&without.dir.checkpoints().join(file_name(seq))).unwrap();
            }
            assert_eq!(states(&without).0, forward, "round {round}, from the beginning");
            if round % 2 == 1 {
                let made = checkpoint(&bench, &mut journal);
                assert_eq!(made.entities, forward.len() as u64);
                let bytes = bench.memory.bytes(&made.path(&bench.dir));
                assert_eq!(super::super::recovery::sha256_hex(&bytes), made.sha256);
                assert_eq!(states(&bench).0, forward, "round {round}, from the checkpoint");
                park(&bench.disk, &bench.dir).unwrap();
                assert_eq!(states(&bench), (forward.clone(), forward), "round {round}, parked");
            }
        }
        let named = bench.read().0.into_iter().filter(|(_, name)| name == "checkpoint").count();
        assert_eq!(named, 3, "one record a checkpoint");
    }

    /// Shows EL-23.
    #[test]
    fn a_deleted_entity_is_in_no_checkpoint() {
        let bench = Bench::new();
        let mut journal = bench.writer(small());
        write_one(&mut journal, &[update("a", "{}"), update("b", "{}")]);
        checkpoint(&bench, &mut journal);
        write_one(&mut journal, &[tombstone("a")]);
        assert_eq!(checkpoint(&bench, &mut journal).entities, 1);
        assert_eq!(states(&bench).0.keys().map(|key| key.item_id.as_str()).collect::<Vec<_>>(), ["b"]);
    }

    /// Shows EL-64.
    #[test]
    fn parking_moves_what_is_redundant_and_loses_no_record() {
        let bench = Bench::new();
        let mut journal = bench.writer(small());
        mix(&mut journal, 1, 120);
        seal::seal(&*bench.disk, &bench.dir, SegmentId(Seq(1))).unwrap();
        let made: Vec<_> = (0..3)
            .map(|n| {
                mix(&mut journal, 120 + n * 10, 130 + n * 10);
                checkpoint(&bench, &mut journal)
            })
            .collect();
        mix(&mut journal, 150, 200);
        let (before, files) = (bench.read().0, bench.memory.snapshot());
        let (state, _) = states(&bench);

        let damaged = bench.copy();
        for checkpoint in &made {
            let path = checkpoint.path(&bench.dir);
            let mut bytes = damaged.memory.bytes(&path);
            bytes[20] ^= 1;
            damaged.memory.set(&path, &bytes);
        }
        let nothing = park(&damaged.disk, &damaged.dir).unwrap();
        assert_eq!((nothing.segments.len(), nothing.ignored.len()), (0, 3));

        let parked = park(&bench.disk, &bench.dir).unwrap();
        assert!(parked.segments.len() > 3);
        assert_eq!(parked.removed, [made[0].file.clone()]);
        assert_eq!(list(&bench.disk, &bench.dir).unwrap().good.len(), 2);
        assert_eq!(bench.read().0, before);
        assert_eq!(states(&bench).0, state);
        for (path, bytes) in bench.memory.snapshot() {
            let was = if path.parent() == Some(&bench.dir.archive()) {
                files.get(&bench.dir.path().join(path.file_name().unwrap()))
            } else {
                files.get(&path)
            };
            assert_eq!(was, Some(&bytes), "{}", path.display());
        }
        assert!(park(&bench.disk, &bench.dir).unwrap().segments.is_empty());

        let forgotten = bench.copy();
        for name in forgotten.disk.list(&bench.dir.archive()).unwrap() {
            forgotten.disk.remove_file(&bench.dir.archive().join(name)).unwrap();
        }
        assert_eq!(states(&forgotten).0, state, "what was parked is redundant");
    }

    /// Shows EL-67.
    #[test]
    fn a_checkpoint_that_no_record_names_is_ignored_and_reported() {
        let bench = Bench::new();
        let mut journal = bench.writer(small());
        mix(&mut journal, 1, 60);
        checkpoint(&bench, &mut journal);
        mix(&mut journal, 60, 90);
        let (state, _) = states(&bench);
        let orphan = make(&bench.disk, &bench.dir, journal.end().seq).unwrap();
        let half = bench.dir.checkpoints().join("cp-00000099.jsonl.zst");
        bench.memory.set(&half, b"half a file");
        let ignored: Vec<_> = list(&bench.disk, &bench.dir).unwrap().ignored;
        assert_eq!(
            ignored.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["cp-00000099.jsonl.zst", orphan.file.as_str()]
        );
        let (forward, backward) = states(&bench);
        assert_eq!((&forward, &backward), (&state, &state));
    }

    /// Shows EL-32.
    #[test]
    fn what_lives_stays_bounded_by_the_entities_and_the_tail() {
        let bench = Bench::new();
        let mut journal = bench.writer(WriterOptions { roll_at: 50_000, ..WriterOptions::default() });
        for n in 0..2_000 {
            write_one(&mut journal, &[update(&format!("plan-{}", n % 50), &format!("{{\"n\":{n}}}"))]);
        }
        checkpoint(&bench, &mut journal);
        park(&bench.disk, &bench.dir).unwrap();
        let living = |path: &PathBuf| path.parent() != Some(&bench.dir.archive());
        let files = bench.memory.snapshot();
        let bytes: usize = files.iter().filter(|(path, _)| living(path)).map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes <= 50 * 200 + 50_000 + 1_000, "{bytes} bytes are live");
    }
}
