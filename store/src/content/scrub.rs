//! Reads every byte of every pack, and says what is not as it was written.
//!
//! It only reads. What lies in a hot pack and is no sound record is called torn: a crash leaves such tails, and
//! nothing refers to them. Whether something did is shown by what else is found: a version whose record is gone does
//! not read.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::Disk;
use crate::ids::{Address, ContentHash, PackForm, PackId};
use crate::{Error, Result};

use super::chain::{Wanted, Whole};
use super::cold::{self, Entry};
use super::large::{CHUNK_LEN, Part};
use super::pack::list_packs;
use super::packs::{OpenPack, Packs};
use super::record::{HEADER_LEN, Kind};
use super::scan::{Item, scan};

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub path: PathBuf,
    pub offset: u64,
    pub kind: DamageKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DamageKind {
    /// Bytes of a hot pack that are no record.
    Torn { len: u64 },
    /// What is wrong there.
    Corrupt(String),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, offset, kind } = self;
        match kind {
            DamageKind::Torn { len } => write!(f, "{}: {len} bytes from {offset} are torn", path.display()),
            DamageKind::Corrupt(what) => write!(f, "{} is damaged at byte {offset}: {what}", path.display()),
        }
    }
}

/// Checks all packs. An error means that the disk could not be read; damage is what is returned.
pub fn scrub(disk: &Arc<dyn Disk>, packs_dir: &Path) -> Result<Vec<Damage>> {
    let mut scrub =
        Scrub { packs: Packs::new(Arc::clone(disk), packs_dir), found: Vec::new(), chunks: HashSet::new() };
    for (id, form) in list_packs(&**disk, packs_dir)? {
        let checked = match form {
            PackForm::Hot => scrub.hot(&**disk, packs_dir, id),
            PackForm::Cold => scrub.cold(&**disk, packs_dir, id),
        };
        scrub.note(checked)?;
    }
    Ok(scrub.found)
}

struct Scrub {
    packs: Packs,
    found: Vec<Damage>,
    /// Chunks that were read already, on behalf of another version.
    chunks: HashSet<Address>,
}

impl Scrub {
    /// Turns an error that is damage into a finding.
    fn note(&mut self, checked: Result<()>) -> Result<()> {
        match checked {
            Err(Error::Corrupt { path, offset, what }) => {
                let damage = Damage { path, offset, kind: DamageKind::Corrupt(what) };
                if !self.found.contains(&damage) {
                    self.found.push(damage);
                }
                Ok(())
            }
            checked => checked,
        }
    }

    fn hot(&mut self, disk: &dyn Disk, dir: &Path, id: PackId) -> Result<()> {
        let pack = OpenPack::open_hot(disk, &dir.join(id.hot_name()), id)?;
        scan(&pack, &mut |item| match item {
            Item::Unexplained { at, len } => {
                let path = pack.path().to_path_buf();
                self.found.push(Damage { path, offset: at, kind: DamageKind::Torn { len } });
                Ok(())
            }
            // The scan has proved every frame of a chunk; that they unpack is seen with the content they belong to.
            Item::Record { header, .. } if header.kind == Kind::Chunk => Ok(()),
            Item::Record { at, .. } => {
                let checked = self.version(&pack, at);
                self.note(checked)
            }
        })
    }

    fn cold(&mut self, disk: &dyn Disk, dir: &Path, id: PackId) -> Result<()> {
        let pack = OpenPack::open_cold(disk, &dir.join(id.cold_name()), id)?;
        let Some(index) = pack.cold_index() else { return Ok(()) };
        let mut in_groups: HashMap<u32, Vec<Entry>> = HashMap::new();
        let (mut count, mut last) = (0, None);
        for block in 0..index.sparse.len() {
            for entry in index.entries(&pack, block)? {
                if last.is_some_and(|last| last >= entry.offset) {
                    return Err(pack.corrupt(index.sparse[block].at, "its addresses are out of order"));
                }
                last = Some(entry.offset);
                count += 1;
                in_groups.entry(entry.group).or_default().push(entry);
            }
        }
        if count != index.entries {
            return Err(pack.corrupt(0, "it has not as many addresses as it says"));
        }
        for (group, extent) in (0_u32..).zip(index.groups.windows(2)) {
            let entries = in_groups.remove(&group).unwrap_or_default();
            let checked = self.group(&pack, extent[0], extent[1], group, &entries);
            self.note(checked)?;
        }
        Ok(())
    }

    fn group(&mut self, pack: &OpenPack, at: u64, end: u64, group: u32, entries: &[Entry]) -> Result<()> {
        let mut head = [0; HEADER_LEN];
        let read = pack.read_up_to(&mut head, at)?;
        let chunk = match entries {
            [only] => cold::chunk_in(&head[..read], pack.at(only.offset)).map(|header| (only.offset, header)),
            _ => None,
        };
        if let Some((offset, header)) = chunk {
            if header.total_len() != end - at {
                return Err(pack.corrupt(at, "a chunk does not fill its place"));
            }
            let len = usize::try_from(header.raw_len).unwrap_or(usize::MAX);
            return pack.read_chunk(pack.at(offset), len, 0..len, &mut Vec::new());
        }
        let Some(index) = pack.cold_index() else { return Ok(()) };
        let read = index.group(pack, group)?;
        if usize::from(read.header.members) != entries.len() {
            return Err(pack.corrupt(at, "not every version of it has an address"));
        }
        for entry in entries {
            let checked = self.version(pack, entry.offset);
            self.note(checked)?;
        }
        Ok(())
    }

    /// Puts a version together, and reads the chunks it is made of.
    fn version(&mut self, pack: &OpenPack, at: u64) -> Result<()> {
        let resolved = pack.resolve(pack.at(at), Wanted::ALL)?;
        match &resolved.whole {
            // That it can be put together was proved by its lengths; doing it would find nothing more.
            Whole::Text(_) => Ok(()),
            Whole::Chunks { list, raw_len } => self.parts(list, *raw_len),
        }
    }

    fn parts(&mut self, list: &[Part], raw_len: u64) -> Result<()> {
        let mut left = raw_len;
        for part in list {
            let len = usize::try_from(left).map_or(CHUNK_LEN, |left| left.min(CHUNK_LEN));
            left -= len as u64;
            if !self.chunks.insert(part.address) {
                continue;
            }
            let mut raw = Vec::with_capacity(len);
            let pack = self.packs.get(part.address.pack)?;
            pack.read_chunk(part.address, len, 0..len, &mut raw)?;
            if ContentHash::of(&raw) != part.hash {
                return Err(pack.corrupt(part.address.offset, "a chunk is not the one that was listed"));
            }
        }
        Ok(())
    }
}
