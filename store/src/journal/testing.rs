//! A journal for tests: a disk in memory that fails where it is told to, and short spellings.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::value::RawValue;

use super::entry::{Action, Body, Draft, ItemType, Writer};
use super::reader::{JournalReader, ReadOptions, ReadReport};
use super::segment::JournalDir;
use super::writer::{JournalWriter, WriterOptions};
use crate::disk::{Disk, DiskFile, DiskLock, Space, Stat};
use crate::error::Result;
use crate::ids::{Seq, StoreId, UnixMillis};

pub(crate) const NOW: UnixMillis = UnixMillis(1_763_640_900_000);

#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<PathBuf, Arc<Mutex<Vec<u8>>>>,
    dirs: BTreeSet<PathBuf>,
    faults: Faults,
    seen: Seen,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Bytes that still fit; what does not leaves a part behind and fails.
    pub(crate) room: Option<usize>,
    pub(crate) sync: bool,
}

/// What was asked of the disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) opened: Vec<PathBuf>,
    pub(crate) appended: Vec<PathBuf>,
    pub(crate) synced: usize,
    pub(crate) renamed: Vec<(PathBuf, PathBuf)>,
}

impl MemoryDisk {
    pub(crate) fn fail(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    /// What was asked since the last call.
    pub(crate) fn take_seen(&self) -> Seen {
        std::mem::take(&mut self.0.lock().seen)
    }

    pub(crate) fn bytes(&self, path: &Path) -> Vec<u8> {
        self.file(path).expect("a file").lock().clone()
    }

    pub(crate) fn set(&self, path: &Path, bytes: &[u8]) {
        let file = Arc::new(Mutex::new(bytes.to_vec()));
        self.0.lock().files.insert(path.to_path_buf(), file);
    }

    /// All files, without those that `skip` names.
    pub(crate) fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.0.lock().files.iter().map(|(path, file)| (path.clone(), file.lock().clone())).collect()
    }

    fn file(&self, path: &Path) -> io::Result<Arc<Mutex<Vec<u8>>>> {
        self.0.lock().files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn handle(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.lock().seen.opened.push(path.to_path_buf());
        let (bytes, path) = (self.file(path)?, path.to_path_buf());
        Ok(Arc::new(MemoryFile { disk: self.clone(), path, bytes }))
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.handle(path)
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.handle(path)
    }

    fn create_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if self.file(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.set(path, b"");
        self.handle(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        let file = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_path_buf(), file);
        state.seen.renamed.push((from.to_path_buf(), to.to_path_buf()));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.lock().files.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.lock().dirs.insert(path.to_path_buf());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let state = self.0.lock();
        let names = state.files.keys().filter(|path| path.parent() == Some(dir));
        Ok(names.filter_map(|path| path.file_name()).map(OsString::from).collect())
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let file = self.file(path).ok();
        Ok(file.map(|file| Stat { len: file.lock().len() as u64, is_dir: false }))
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.seen.synced += 1;
        if state.faults.sync { Err(io::Error::other("told to fail")) } else { Ok(()) }
    }

    fn lock(&self, _path: &Path, _wait: Duration) -> io::Result<Option<Box<dyn DiskLock>>> {
        Ok(None)
    }

    fn database(&self, path: &Path) -> PathBuf {
        path.to_path_buf()
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        Ok(Space { free: u64::MAX, network: None })
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    path: PathBuf,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes.lock();
        let rest = usize::try_from(offset).ok().and_then(|from| bytes.get(from..)).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.seen.appended.push(self.path.clone());
        let fits = state.faults.room.map_or(bytes.len(), |room| room.min(bytes.len()));
        if let Some(room) = &mut state.faults.room {
            *room -= fits;
        }
        self.bytes.lock().extend_from_slice(&bytes[..fits]);
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.seen.synced += 1;
        if state.faults.sync { Err(io::Error::other("told to fail")) } else { Ok(()) }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().len() as u64)
    }
}

/// A journal on a disk of its own.
#[derive(Debug, Clone)]
pub(crate) struct Bench {
    pub(crate) memory: MemoryDisk,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: JournalDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let memory = MemoryDisk::default();
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        let dir = JournalDir::new(Path::new("/p/.app.tickfs/journal"));
        dir.create(&*disk).unwrap();
        Self { memory, disk, dir }
    }

    /// The same files on a fresh disk.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::new();
        for (path, bytes) in self.memory.snapshot() {
            copy.memory.set(&path, &bytes);
        }
        copy
    }

    pub(crate) fn writer(&self, options: WriterOptions) -> JournalWriter {
        self.try_writer(options).unwrap()
    }

    pub(crate) fn try_writer(&self, options: WriterOptions) -> Result<JournalWriter> {
        let writer = Writer { writer: "test".into(), writer_id: Some("agt_1".into()), pid: 7 };
        JournalWriter::open(Arc::clone(&self.disk), self.dir.path(), origin(), writer, options)
    }

    /// Writes one mutation of one record for each text, as updates of the state of that name.
    pub(crate) fn write(&self, names: &[&str]) {
        let mut journal = self.writer(WriterOptions::default());
        for name in names {
            write_one(&mut journal, &[update(name, "{}")]);
        }
    }

    /// Everything that can be read, as `seq` and `item_id`, and what was skipped.
    pub(crate) fn read(&self) -> (Vec<(u64, String)>, ReadReport) {
        self.read_with(ReadOptions::from(Seq(1)).with_archive())
    }

    pub(crate) fn read_with(&self, options: ReadOptions) -> (Vec<(u64, String)>, ReadReport) {
        let mut reader = JournalReader::open(&self.disk, &self.dir, options).unwrap().whole().unwrap();
        let mut seen = Vec::new();
        while let Some(entry) = reader.next().unwrap() {
            let name = entry.line.item_id.as_deref().unwrap_or(entry.line.action.as_str());
            seen.push((entry.line.seq.0, name.to_owned()));
        }
        (seen, reader.report().clone())
    }

    pub(crate) fn seqs(&self) -> Vec<u64> {
        self.read().0.into_iter().map(|(seq, _)| seq).collect()
    }
}

pub(crate) fn origin() -> StoreId {
    StoreId::new(NOW, [7; 10])
}

pub(crate) fn write_one(journal: &mut JournalWriter, drafts: &[Draft]) -> Seq {
    let mut group = journal.begin(NOW).unwrap();
    group.push_mutation(drafts).unwrap();
    group.commit().unwrap().seq
}

pub(crate) fn update(name: &str, payload: &str) -> Draft {
    Draft {
        action: Action::Update,
        item_type: ItemType::parse("plan").unwrap(),
        item_id: Some(name.to_owned()),
        summary: None,
        tick: None,
        body: Body::Payload(RawValue::from_string(payload.to_owned()).unwrap()),
    }
}

pub(crate) fn tombstone(name: &str) -> Draft {
    Draft { action: Action::Delete, body: Body::Deleted, ..update(name, "{}") }
}

pub(crate) fn note(text: &str) -> Draft {
    Draft {
        action: Action::Note,
        summary: Some(text.to_owned()),
        item_id: None,
        body: Body::None,
        ..update("", "{}")
    }
}
