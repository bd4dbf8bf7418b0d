//! A whole store: its parts, and what they say of each other.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;
use tickfs_store::disk::Disk;
use tickfs_store::history::Cursor;
use tickfs_store::ids::{PackForm, PackId, SegmentForm, SegmentId, Seq, StoreId, Tick};
use tickfs_store::journal::{Head, JournalDir, JournalReader, ReadOptions, Segments};
use tickfs_store::path::{NameBytes, RelPath};
use tickfs_store::{FORMAT, Scope, Store};

use crate::output::{self, path_in_json};

#[derive(Serialize)]
struct Shown<'a> {
    store: NameBytes<'a>,
    format: u32,
    store_id: &'a StoreId,
    root: Option<NameBytes<'a>>,
    files: Option<&'a [RelPath]>,
    journal: Journal,
    packs: Vec<Pack>,
    index: Index,
}

#[derive(Serialize)]
struct Journal {
    head: Option<Head>,
    next_seq: Seq,
    segments: Vec<Segment>,
    records: u64,
    actions: BTreeMap<&'static str, u64>,
    item_types: BTreeMap<String, u64>,
    /// Lines that are no records, by why.
    skipped: BTreeMap<&'static str, u64>,
    missing: u64,
    torn_tail: bool,
    damaged_blocks: usize,
}

#[derive(Serialize)]
struct Segment {
    name: String,
    first_seq: Option<Seq>,
    last_seq: Option<Seq>,
    records: u64,
    bytes: u64,
    sealed: bool,
    archived: bool,
}

#[derive(Serialize)]
struct Pack {
    name: String,
    form: &'static str,
    bytes: u64,
}

/// What the projection says, or why it says nothing.
#[derive(Serialize)]
#[serde(untagged)]
enum Index {
    Unreadable { error: String },
    Says(Box<Projection>),
}

#[derive(Serialize)]
struct Projection {
    bytes: u64,
    applied_seq: Seq,
    stale: bool,
    last_tick: Tick,
    cursor: Option<Cursor>,
    branches: Vec<BranchLine>,
    entities: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct BranchLine {
    label: String,
    id: String,
    head: Tick,
    parent: Option<String>,
    forked_at_tick: Option<Tick>,
}

pub(super) fn print(store: &Store, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let scope = store.scope()?;
    let journal = journal(store)?;
    let last_seq = Seq(journal.next_seq.0 - 1);
    let shown = Shown {
        store: path_in_json(store.layout().dir()),
        format: FORMAT,
        store_id: store.id(),
        root: scope.as_ref().map(|scope| path_in_json(&scope.root)),
        files: scope.as_ref().and_then(|scope| scope.files.as_deref()),
        journal,
        packs: packs(store)?,
        index: match projection(store, last_seq) {
            Ok(says) => Index::Says(Box::new(says)),
            Err(error) => Index::Unreadable { error: format!("{error:#}") },
        },
    };
    match json {
        true => output::json(out, &shown),
        false => in_words(&shown, store, scope.as_ref(), out),
    }
}

fn journal(store: &Store) -> anyhow::Result<Journal> {
    let (disk, dir) = (store.disk(), JournalDir::new(&store.layout().journal()));
    let listed = Segments::list(&**disk, &dir, true)?;
    let mut segments: BTreeMap<SegmentId, Segment> = BTreeMap::new();
    for file in listed.files() {
        let path = file.path(&dir);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = len_of(&**disk, &path);
        let (sealed, archived) = (file.form == SegmentForm::Sealed, file.archived);
        let segment = Segment { name, first_seq: None, last_seq: None, records: 0, bytes, sealed, archived };
        segments.insert(file.id, segment);
    }
    let (mut actions, mut item_types) = (BTreeMap::new(), BTreeMap::new());
    let from = listed.files().first().map_or(Seq(1), |file| file.id.0);
    let options = ReadOptions::from(from).with_archive();
    let mut reader = JournalReader::open(disk, &dir, options)?.whole()?;
    while let Some(entry) = reader.next()? {
        *actions.entry(entry.line.action.as_str()).or_default() += 1;
        *item_types.entry(entry.line.item_type.to_string()).or_default() += 1;
        // A segment that was begun after the listing is counted, and not listed.
        if let Some(segment) = segments.get_mut(&entry.place.segment) {
            segment.first_seq.get_or_insert(entry.line.seq);
            segment.last_seq = Some(entry.line.seq);
            segment.records += 1;
        }
    }
    let report = reader.report();
    Ok(Journal {
        head: Head::read(&**disk, &dir),
        next_seq: reader.end().seq.next(),
        segments: segments.into_values().collect(),
        records: report.records,
        actions,
        item_types,
        skipped: report.faults.clone(),
        missing: report.missing,
        torn_tail: report.torn_tail.is_some(),
        damaged_blocks: report.damaged_blocks.len(),
    })
}

fn packs(store: &Store) -> anyhow::Result<Vec<Pack>> {
    let (disk, dir) = (&**store.disk(), store.layout().packs());
    let names = disk.list(&dir).map_err(anyhow::Error::from)?;
    let known = names.iter().filter_map(|name| {
        let name = name.to_str()?;
        let (_, form): (PackId, PackForm) = PackId::parse(name)?;
        let form = if form == PackForm::Hot { "hot" } else { "cold" };
        Some(Pack { name: name.to_owned(), form, bytes: len_of(disk, &dir.join(name)) })
    });
    Ok(known.collect())
}

/// 0 for a file that is gone again: sealing and compaction go on while this reads.
fn len_of(disk: &dyn Disk, path: &std::path::Path) -> u64 {
    disk.stat(path).ok().flatten().map_or(0, |stat| stat.len)
}

fn projection(store: &Store, last_seq: Seq) -> tickfs_store::Result<Projection> {
    let view = store.view()?;
    let mut entities = BTreeMap::new();
    for row in view.all_entities()? {
        *entities.entry(row.kind).or_default() += 1;
    }
    let branches = view.branches();
    let line = |branch: &tickfs_store::history::Branch| BranchLine {
        label: branch.label.clone(),
        id: branch.id.clone(),
        head: branches.head(branch.no),
        parent: branch.parent.and_then(|no| branches.get(no)).map(|parent| parent.label.clone()),
        forked_at_tick: branch.forked_at_tick,
    };
    Ok(Projection {
        bytes: len_of(&**store.disk(), &store.layout().index()),
        applied_seq: view.applied_seq(),
        stale: view.applied_seq() != last_seq,
        last_tick: view.last_tick(),
        cursor: view.cursor().cloned(),
        branches: branches.listed().map(line).collect(),
        entities,
    })
}

fn in_words(
    shown: &Shown<'_>,
    store: &Store,
    scope: Option<&Scope>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    writeln!(out, "store     {}", store.layout().dir().display())?;
    writeln!(out, "format    {}", shown.format)?;
    writeln!(out, "id        {}", shown.store_id)?;
    match scope {
        None => writeln!(out, "root      not said")?,
        Some(Scope { root, files: None }) => writeln!(out, "root      {}", root.display())?,
        Some(Scope { root, files: Some(files) }) => {
            writeln!(out, "root      {}, of which alone", root.display())?;
            files
                .iter()
                .try_for_each(|file| writeln!(out, "            {}", output::one_line(&file.to_string())))?;
        }
    }
    journal_in_words(&shown.journal, out)?;
    writeln!(out, "packs     {}", shown.packs.len())?;
    let row =
        |pack: &Pack| [format!("  {}", pack.name), pack.form.to_owned(), format!("{} bytes", pack.bytes)];
    output::table(out, &shown.packs.iter().map(row).collect::<Vec<_>>())?;
    match &shown.index {
        Index::Unreadable { error } => Ok(writeln!(out, "index     cannot be read: {error}")?),
        Index::Says(says) => projection_in_words(says, out),
    }
}

fn journal_in_words(journal: &Journal, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "journal   {} records, the next is {}", journal.records, journal.next_seq)?;
    let row = |segment: &Segment| {
        let seqs = match (segment.first_seq, segment.last_seq) {
            (Some(first), Some(last)) => format!("{first}..{last}"),
            _ => "empty".to_owned(),
        };
        let form = if segment.sealed { "sealed" } else { "plain" };
        let place = if segment.archived { "archived" } else { "" };
        let bytes = format!("{} bytes", segment.bytes);
        [format!("  {}", segment.name), seqs, bytes, form.to_owned(), place.to_owned()]
    };
    output::table(out, &journal.segments.iter().map(row).collect::<Vec<_>>())?;
    match &journal.head {
        None => writeln!(out, "  HEAD.json  missing")?,
        Some(head) => {
            writeln!(
                out,
                "  HEAD.json  next {}, {} to byte {}",
                head.next_seq, head.active_segment, head.offset
            )?;
        }
    }
    counts("actions", &journal.actions, out)?;
    counts("types", &journal.item_types, out)?;
    counts("skipped", &journal.skipped, out)?;
    if journal.missing > 0 {
        writeln!(out, "  missing    {} records", journal.missing)?;
    }
    if journal.damaged_blocks > 0 {
        writeln!(out, "  damaged    {} sealed blocks", journal.damaged_blocks)?;
    }
    if journal.torn_tail {
        writeln!(out, "  torn tail  waits for the next writer")?;
    }
    Ok(())
}

fn projection_in_words(says: &Projection, out: &mut impl Write) -> anyhow::Result<()> {
    let stale = if says.stale { ", behind the journal" } else { "" };
    writeln!(out, "index     {} bytes, applied to {}{stale}", says.bytes, says.applied_seq)?;
    writeln!(out, "  last tick  {}", says.last_tick)?;
    match &says.cursor {
        None => writeln!(out, "  cursor     none: the base is not complete")?,
        Some(cursor) => {
            let at = cursor.tick.map_or_else(|| "HEAD".to_owned(), |tick| tick.to_string());
            writeln!(
                out,
                "  cursor     branch {} @{at}, {} paths elsewhere",
                cursor.branch,
                cursor.partial.len()
            )?;
        }
    }
    counts("entities", &says.entities, out)?;
    writeln!(out, "branches  {}", says.branches.len())?;
    let row = |branch: &BranchLine| {
        let fork = branch.parent.as_ref().zip(branch.forked_at_tick);
        let from = fork.map_or_else(String::new, |(parent, tick)| format!("from {parent}@{tick}"));
        [format!("  {}", branch.label), format!("@{}", branch.head), branch.id.clone(), from]
    };
    Ok(output::table(out, &says.branches.iter().map(row).collect::<Vec<_>>())?)
}

fn counts<K: std::fmt::Display>(
    what: &str,
    counts: &BTreeMap<K, u64>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if counts.is_empty() {
        return Ok(());
    }
    let said: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    Ok(writeln!(out, "  {what:10} {}", said.join(", "))?)
}
