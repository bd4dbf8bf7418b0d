//! Turns a hot pack into a cold one.
//!
//! Invariants:
//!   * Addresses stay as they are; neither the journal nor the index learns of it.
//!   * The hot pack goes only after everything that can be read from it was read from the cold one and found equal,
//!     and the cold one is durable. Killed anywhere, one of the two is whole.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, Durability, write_atomically};
use crate::ids::{Address, PackForm, PackId};
use crate::{Error, Result};

use super::chain::{self, Resolved, Wanted, Whole};
use super::codec;
use super::cold::{
    self, BLOCK_ENTRIES, BLOCK_RAW_MAX, COLD_MAGIC, Entry, Footer, GroupHeader, Member, Sparse,
};
use super::differ;
use super::pack::list_packs;
use super::packs::OpenPack;
use super::record::{HEADER_LEN, Header, Kind, pack_header};
use super::scan::{Item, scan};
use super::splice;

/// Chains are joined into one group up to so many versions.
const GROUP_VERSIONS_MAX: usize = 128;

/// What a compaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compacted {
    /// Records that the cold pack answers for.
    pub records: u64,
    pub hot_len: u64,
    pub cold_len: u64,
    /// Ranges of the hot pack that held no sound record: `(offset, length)`. They are not in the cold pack.
    pub torn: Vec<(u64, u64)>,
    /// Sound records whose base was among the torn: nobody could read them.
    pub orphans: Vec<Address>,
}

/// Compacts a hot pack that will not grow any more. A reader that has it open keeps reading the hot form until it is
/// told to [`forget`](super::ContentReader::forget) it.
///
/// Bytes that no address can reach are parked in `quarantine`, never deleted.
pub fn compact(disk: &Arc<dyn Disk>, packs_dir: &Path, quarantine: &Path, pack: PackId) -> Result<Compacted> {
    let compacted = compact_while(disk, packs_dir, quarantine, pack, &|| true)?;
    Ok(compacted.expect("it was not told to stop, because nobody could"))
}

/// The same; `None` if `goes_on` said no before it was done: then all is as it was.
pub fn compact_while(
    disk: &Arc<dyn Disk>,
    packs_dir: &Path,
    quarantine: &Path,
    pack: PackId,
    goes_on: &dyn Fn() -> bool,
) -> Result<Option<Compacted>> {
    let packs = list_packs(&**disk, packs_dir)?;
    if packs.last().is_none_or(|(newest, _)| *newest == pack) {
        return Err(Error::refused(format!("pack {} is the newest and may still grow", pack.0)));
    }
    remove_leftovers(&**disk, packs_dir)?;
    let (hot_path, cold_path) = (packs_dir.join(pack.hot_name()), packs_dir.join(pack.cold_name()));
    let hot = OpenPack::open_hot(&**disk, &hot_path, pack)?;
    let contents = survey(&hot)?;
    let cold_is_there = packs.contains(&(pack, PackForm::Cold));
    let written = if cold_is_there { cold_path.clone() } else { with_tmp(&cold_path) };
    if !cold_is_there && !write_cold(&**disk, &written, &hot, &contents, goes_on)? {
        return Ok(None);
    }
    let cold = OpenPack::open_cold(&**disk, &written, pack)?;
    if !verify(&hot, &cold, &contents, goes_on)? {
        return Ok(None);
    }
    if !cold_is_there {
        disk.rename(&written, &cold_path).map_err(Error::io("rename", &written))?;
    }
    disk.sync_dir(packs_dir).map_err(Error::io("sync", packs_dir))?;
    let (hot_len, cold_len) = (hot.len()?, cold.len()?);
    park_lost(&**disk, quarantine, &hot, &contents.torn)?;
    match contents.orphans.is_empty() {
        true => disk.remove_file(&hot_path).map_err(Error::io("remove", &hot_path))?,
        // Sound records that nobody can read: a person may want to look at them where they lay.
        false => {
            disk.create_dir(quarantine).map_err(Error::io("create", quarantine))?;
            let parked = quarantine.join(pack.hot_name());
            disk.rename(&hot_path, &parked).map_err(Error::io("park", &hot_path))?;
            disk.sync_dir(quarantine).map_err(Error::io("sync", quarantine))?;
        }
    }
    disk.sync_dir(packs_dir).map_err(Error::io("sync", packs_dir))?;
    Ok(Some(Compacted {
        records: contents.records.len() as u64,
        hot_len,
        cold_len,
        torn: contents.torn,
        orphans: contents.orphans,
    }))
}

/// Writes each range that held no sound record to a file of its own: `h-00000001.pk.<offset>`.
fn park_lost(disk: &dyn Disk, quarantine: &Path, hot: &OpenPack, torn: &[(u64, u64)]) -> Result<()> {
    if torn.is_empty() {
        return Ok(());
    }
    disk.create_dir(quarantine).map_err(Error::io("create", quarantine))?;
    for &(offset, len) in torn {
        let path = quarantine.join(format!("{}.{offset}", hot.at(offset).pack.hot_name()));
        let mut bytes = vec![
            0;
            usize::try_from(len)
                .map_err(|_too_long| Error::refused("a torn range is too long to park"))?
        ];
        hot.read_whole(&mut bytes, offset)?;
        write_atomically(disk, &path, &bytes, Durability::Synced).map_err(Error::io("write", &path))?;
    }
    Ok(())
}

fn with_tmp(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

/// Removes what a compaction that was killed left behind.
fn remove_leftovers(disk: &dyn Disk, dir: &Path) -> Result<()> {
    for name in disk.list(dir).map_err(Error::io("list", dir))? {
        let unfinished = name.to_str().and_then(|name| name.strip_suffix(".tmp")).and_then(PackId::parse);
        if let Some((_, PackForm::Cold)) = unfinished {
            let path = dir.join(&name);
            disk.remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// What a hot pack holds.
#[derive(Debug, Default)]
struct Contents {
    /// By offset; those that can be read.
    records: Vec<Record>,
    torn: Vec<(u64, u64)>,
    orphans: Vec<Address>,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    at: Address,
    header: Header,
    /// Where its keyframe is in the list; for a keyframe, itself.
    keyframe: usize,
}

fn survey(hot: &OpenPack) -> Result<Contents> {
    let mut contents = Contents::default();
    scan(hot, &mut |item| {
        match item {
            Item::Unexplained { at, len } => contents.torn.push((at, len)),
            Item::Record { at, header, .. } => {
                let at = hot.at(at);
                let place = contents.records.len();
                let base = match header.base_back {
                    0 => None,
                    _ => {
                        let base = header.base(at);
                        Some(contents.records.binary_search_by_key(&base.offset, |record| record.at.offset))
                    }
                };
                let keyframe = match base {
                    Some(Err(_missing)) => None,
                    Some(Ok(base)) if header.kind.is_splice() => Some(contents.records[base].keyframe),
                    Some(Ok(_)) | None => Some(place),
                };
                match keyframe {
                    Some(keyframe) => contents.records.push(Record { at, header, keyframe }),
                    None => contents.orphans.push(at),
                }
            }
        }
        Ok(())
    })?;
    Ok(contents)
}

/// Writes the cold pack, durable under its temporary name; says whether it came to the end.
fn write_cold(
    disk: &dyn Disk,
    path: &Path,
    hot: &OpenPack,
    contents: &Contents,
    goes_on: &dyn Fn() -> bool,
) -> Result<bool> {
    let file = disk.create_append(path).map_err(Error::io("create", path))?;
    let mut writer = ColdWriter { path, file, hot, end: 0, groups: Vec::new(), entries: Vec::new() };
    writer.append(&pack_header(COLD_MAGIC, hot.id))?;
    for family in families(&contents.records) {
        if !goes_on() {
            return Ok(false);
        }
        writer.append_family(&contents.records, &family)?;
    }
    writer.finish().map(|()| true)
}

/// Keyframes with all that rests on them, those together that share a prefix.
fn families(records: &[Record]) -> Vec<Vec<Vec<usize>>> {
    let mut chains: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, record) in records.iter().enumerate() {
        chains.entry(record.keyframe).or_default().push(index);
    }
    let mut families: BTreeMap<u64, Vec<Vec<usize>>> = BTreeMap::new();
    for (keyframe, chain) in chains {
        let record = &records[keyframe];
        let first =
            if record.header.kind == Kind::Prefixed { record.header.base(record.at) } else { record.at };
        families.entry(first.offset).or_default().push(chain);
    }
    families.into_values().collect()
}

struct ColdWriter<'a> {
    path: &'a Path,
    file: Arc<dyn DiskFile>,
    hot: &'a OpenPack,
    end: u64,
    groups: Vec<u64>,
    entries: Vec<Entry>,
}

/// A group that is being put together.
struct Draft {
    keyframe: usize,
    /// Records, in the order of the group's members.
    versions: Vec<usize>,
    members: Vec<Member>,
    /// The place of each, by its offset in the hot pack.
    places: HashMap<u64, usize>,
}

impl Draft {
    fn new(keyframe: usize, offset: u64) -> Self {
        let places = HashMap::from([(offset, 0)]);
        Self { keyframe, versions: vec![keyframe], members: Vec::new(), places }
    }

    fn push(&mut self, index: usize, record: &Record, parent: usize, splice: Vec<u8>) {
        self.places.insert(record.at.offset, self.versions.len());
        self.versions.push(index);
        let raw_len = record.header.raw_len;
        self.members.push(Member { parent, raw_len, splice });
    }
}

impl ColdWriter<'_> {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.append(bytes).map_err(Error::io("append to", self.path))?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Packs the chains of a family into groups. Where a chain fits behind the one before, its keyframe becomes a
    /// splice too.
    fn append_family(&mut self, records: &[Record], chains: &[Vec<usize>]) -> Result<()> {
        let mut first_group = None;
        let mut draft: Option<Draft> = None;
        for chain in chains {
            let keyframe = &records[chain[0]];
            if keyframe.header.kind == Kind::Chunk {
                self.append_chunk(keyframe)?;
                continue;
            }
            let joined = match &mut draft {
                Some(draft) => self.join(draft, records, chain)?,
                None => false,
            };
            if !joined {
                if let Some(draft) = draft.take() {
                    self.append_group(records, &draft, &mut first_group)?;
                }
                let mut fresh = Draft::new(chain[0], keyframe.at.offset);
                self.add_splices(&mut fresh, records, &chain[1..])?;
                draft = Some(fresh);
            }
        }
        match draft {
            Some(draft) => self.append_group(records, &draft, &mut first_group),
            None => Ok(()),
        }
    }

    fn join(&self, draft: &mut Draft, records: &[Record], chain: &[usize]) -> Result<bool> {
        let keyframe = &records[chain[0]];
        if draft.versions.len() + chain.len() > GROUP_VERSIONS_MAX {
            return Ok(false);
        }
        let parent = draft.versions.len() - 1;
        let before = self.text(records[draft.versions[parent]].at)?;
        let text = self.text(keyframe.at)?;
        let splice = splice::encode(&differ::edits(&before, &text), &text);
        if splice.len() > keyframe.header.stored_len as usize {
            return Ok(false);
        }
        draft.push(chain[0], keyframe, parent, splice);
        self.add_splices(draft, records, &chain[1..])?;
        Ok(true)
    }

    fn add_splices(&self, draft: &mut Draft, records: &[Record], chain: &[usize]) -> Result<()> {
        for &index in chain {
            let record = &records[index];
            let base = record.header.base(record.at).offset;
            let Some(&parent) = draft.places.get(&base) else {
                return Err(self.hot.corrupt(record.at.offset, "its base is not in its chain"));
            };
            draft.push(index, record, parent, chain::read_splice(self.hot, record.at)?);
        }
        Ok(())
    }

    fn text(&self, at: Address) -> Result<Vec<u8>> {
        chain::resolve(self.hot, at, Wanted::ALL)?
            .into_text()
            .ok_or_else(|| self.hot.corrupt(at.offset, "it is no text"))
    }

    fn append_chunk(&mut self, record: &Record) -> Result<()> {
        let len = HEADER_LEN + record.header.stored_len as usize;
        let mut bytes = vec![0; len];
        self.hot.read_whole(&mut bytes, record.at.offset)?;
        let group = self.begin_group()?;
        self.entries.push(Entry { offset: record.at.offset, group, member: 0 });
        self.append(&bytes)
    }

    fn begin_group(&mut self) -> Result<u32> {
        let group = u32::try_from(self.groups.len())
            .map_err(|_too_many| Error::refused("a pack has too many groups"))?;
        self.groups.push(self.end);
        Ok(group)
    }

    fn append_group(
        &mut self,
        records: &[Record],
        draft: &Draft,
        first: &mut Option<(u32, usize)>,
    ) -> Result<()> {
        let group = self.begin_group()?;
        let keyframe = &records[draft.keyframe];
        let (kind, key) = self.key(records, keyframe, first.map(|(_, record)| record))?;
        let prefix = if kind == Kind::Prefixed { first.map(|(group, _)| group) } else { None };
        first.get_or_insert((group, draft.keyframe));
        let raw = cold::encode_block(&draft.members);
        if raw.len() > BLOCK_RAW_MAX {
            return Err(Error::refused(format!(
                "the versions on {} take too much for one group",
                keyframe.at
            )));
        }
        let packed = codec::compress(&raw, codec::LEVEL_COLD);
        let block = if packed.len() < raw.len() { &packed } else { &raw };
        let length =
            |len: usize| u32::try_from(len).map_err(|_too_long| Error::refused("a group is too long"));
        let header = GroupHeader {
            kind,
            members: u16::try_from(draft.versions.len())
                .map_err(|_too_many| Error::refused("a group is too long"))?,
            key_stored: length(key.len())?,
            key_raw: keyframe.header.raw_len,
            prefix,
            block_stored: length(block.len())?,
            block_raw: length(raw.len())?,
        };
        let mut frame = header.to_bytes(self.hot.at(self.end), &key, block).to_vec();
        frame.extend_from_slice(&key);
        frame.extend_from_slice(block);
        for (member, &version) in (0_u16..).zip(&draft.versions) {
            self.entries.push(Entry { offset: records[version].at.offset, group, member });
        }
        self.append(&frame)
    }

    /// The keyframe as it was, or compressed more where that is smaller.
    fn key(&self, records: &[Record], keyframe: &Record, first: Option<usize>) -> Result<(Kind, Vec<u8>)> {
        let kind = keyframe.header.kind;
        let mut stored = vec![0; keyframe.header.stored_len as usize];
        self.hot.read_whole(&mut stored, keyframe.at.offset + HEADER_LEN as u64)?;
        let again = match (kind, first) {
            (Kind::Keyframe, _) => Some(codec::compress(&self.text(keyframe.at)?, codec::LEVEL_COLD)),
            (Kind::Prefixed, Some(first)) => {
                let prefix = self.text(records[first].at)?;
                codec::compress_after(&prefix, &self.text(keyframe.at)?, codec::LEVEL_COLD)
            }
            _ => None,
        };
        Ok((kind, again.filter(|again| again.len() < stored.len()).unwrap_or(stored)))
    }

    fn finish(mut self) -> Result<()> {
        self.entries.sort_unstable_by_key(|entry| entry.offset);
        let directory_at = self.end;
        let directory = cold::encode_directory(&self.groups);
        self.append(&directory)?;
        let table_at = self.end;
        let entries = std::mem::take(&mut self.entries);
        let mut sparse = Vec::new();
        for block in entries.chunks(BLOCK_ENTRIES) {
            let bytes = cold::encode_entries(block);
            sparse.push(Sparse { first: block[0].offset, at: self.end, crc: crc32fast::hash(&bytes) });
            self.append(&bytes)?;
        }
        let sparse_at = self.end;
        let sparse = cold::encode_sparse(&sparse);
        self.append(&sparse)?;
        let footer = Footer {
            entries: entries.len() as u64,
            groups: u32::try_from(self.groups.len())
                .map_err(|_too_many| Error::refused("a pack has too many groups"))?,
            directory_at,
            table_at,
            sparse_at,
            directory_crc: crc32fast::hash(&directory),
            sparse_crc: crc32fast::hash(&sparse),
        };
        self.append(&footer.to_bytes(self.hot.id))?;
        self.file.sync().map_err(Error::io("sync", self.path))
    }
}

/// Reads everything from both, and compares; says whether it came to the end.
fn verify(hot: &OpenPack, cold: &OpenPack, contents: &Contents, goes_on: &dyn Fn() -> bool) -> Result<bool> {
    for record in &contents.records {
        if !goes_on() {
            return Ok(false);
        }
        let is_equal = if record.header.kind == Kind::Chunk {
            chunk_bytes(hot, record)? == chunk_bytes(cold, record)?
        } else {
            let (before, after) =
                (hot.resolve(record.at, Wanted::ALL)?, cold.resolve(record.at, Wanted::ALL)?);
            before.raw_len == after.raw_len && is_same(before, after)
        };
        if !is_equal {
            return Err(cold.corrupt(0, format!("what it holds for {} is not what was compacted", record.at)));
        }
    }
    Ok(true)
}

fn chunk_bytes(pack: &OpenPack, record: &Record) -> Result<Vec<u8>> {
    let len = usize::try_from(record.header.raw_len).unwrap_or(usize::MAX);
    let mut out = Vec::new();
    pack.read_chunk(record.at, len, 0..len, &mut out)?;
    Ok(out)
}

/// Versions of a large content are compared by how they are made: the chunks themselves are compared on their own.
fn is_same(before: Resolved, after: Resolved) -> bool {
    match (&before.whole, &after.whole) {
        (Whole::Text(_), Whole::Text(_)) => before.into_text() == after.into_text(),
        (Whole::Chunks { list, raw_len }, Whole::Chunks { list: other_list, raw_len: other_len }) => {
            list == other_list && raw_len == other_len && before.pieces.is_same(&after.pieces)
        }
        _ => false,
    }
}
