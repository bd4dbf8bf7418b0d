//! The simulated disk answers as the real one does, as long as nothing crashes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;

use super::{Disk, DiskFile, Durability, RealDisk, SimDisk, read_all, write_atomically};

/// Names, directories, what lies below a file, and what lies below nothing.
const PATHS: &[&str] = &["a", "b", "d", "d/a", "d/b", "d/e", "d/e/f", "a/below", "absent/a"];

#[derive(Debug, Clone)]
enum Call {
    Create(&'static str, Vec<u8>),
    Append(&'static str, Vec<u8>),
    /// Appends to a file that was opened earlier, whatever became of its name.
    AppendHeld(usize, Vec<u8>),
    ReadHeld(usize, u64, usize),
    AppendToReadOnly(&'static str),
    Replace(&'static str, Vec<u8>),
    Read(&'static str),
    Sync(&'static str),
    Rename(&'static str, &'static str),
    Remove(&'static str),
    CreateDir(&'static str),
    SyncDir(&'static str),
    List(&'static str),
    Stat(&'static str),
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let path = || prop::sample::select(PATHS);
    let bytes = || prop::collection::vec(any::<u8>(), 0..6);
    let call = prop_oneof![
        3 => (path(), bytes()).prop_map(|(path, bytes)| Call::Create(path, bytes)),
        2 => (path(), bytes()).prop_map(|(path, bytes)| Call::Append(path, bytes)),
        2 => (any::<usize>(), bytes()).prop_map(|(file, bytes)| Call::AppendHeld(file, bytes)),
        2 => (any::<usize>(), 0..8u64, 0..8usize).prop_map(|(file, at, len)| Call::ReadHeld(file, at, len)),
        1 => path().prop_map(Call::AppendToReadOnly),
        1 => (path(), bytes()).prop_map(|(path, bytes)| Call::Replace(path, bytes)),
        2 => path().prop_map(Call::Read),
        1 => path().prop_map(Call::Sync),
        4 => (path(), path()).prop_map(|(from, to)| Call::Rename(from, to)),
        2 => path().prop_map(Call::Remove),
        3 => path().prop_map(Call::CreateDir),
        1 => path().prop_map(Call::SyncDir),
        1 => path().prop_map(Call::List),
        1 => path().prop_map(Call::Stat),
    ];
    prop::collection::vec(call, 0..60)
}

struct Run<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    held: Vec<Arc<dyn DiskFile>>,
}

impl Run<'_> {
    /// The answer, as text to compare.
    fn call(&mut self, call: &Call) -> Result<String, io::ErrorKind> {
        self.answer(call).map_err(|error| error.kind())
    }

    fn answer(&mut self, call: &Call) -> io::Result<String> {
        let at = |path: &str| self.dir.join(path);
        let done = String::new();
        match call {
            Call::Create(path, bytes) => {
                let file = self.disk.create_append(&at(path))?;
                file.append(bytes)?;
                self.held.push(file);
            }
            Call::Append(path, bytes) => {
                let file = self.disk.open_append(&at(path))?;
                file.append(bytes)?;
                self.held.push(file);
            }
            Call::AppendHeld(file, bytes) => {
                let Some(file) = self.held(*file) else {
                    return Ok(done);
                };
                file.append(bytes)?;
                return Ok(file.len()?.to_string());
            }
            Call::ReadHeld(file, offset, len) => {
                let Some(file) = self.held(*file) else {
                    return Ok(done);
                };
                let mut buf = vec![0; *len];
                let read = file.read_at(&mut buf, *offset)?;
                return Ok(format!("{read} {buf:?}"));
            }
            Call::AppendToReadOnly(path) => self.disk.open(&at(path))?.append(b"x")?,
            Call::Replace(path, bytes) => {
                write_atomically(self.disk, &at(path), bytes, Durability::Synced)?;
            }
            Call::Read(path) => return read_all(self.disk, &at(path)).map(|bytes| format!("{bytes:?}")),
            Call::Sync(path) => self.disk.open_append(&at(path))?.sync()?,
            Call::Rename(from, to) => self.disk.rename(&at(from), &at(to))?,
            Call::Remove(path) => self.disk.remove_file(&at(path))?,
            Call::CreateDir(path) => self.disk.create_dir(&at(path))?,
            Call::SyncDir(path) => self.disk.sync_dir(&at(path))?,
            Call::List(path) => return self.disk.list(&at(path)).map(|names| format!("{names:?}")),
            // How long a directory is, is the filesystem's own affair.
            Call::Stat(path) => {
                let stat = self.disk.stat(&at(path))?;
                return Ok(format!("{:?}", stat.map(|stat| (!stat.is_dir).then_some(stat.len))));
            }
        }
        Ok(done)
    }

    fn held(&self, file: usize) -> Option<&Arc<dyn DiskFile>> {
        (!self.held.is_empty()).then(|| &self.held[file % self.held.len()])
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_simulated_disk_answers_as_the_real_one(calls in calls()) {
        let temp = tempfile::tempdir().unwrap();
        let sim = SimDisk::default();
        let mut real_run = Run { disk: &RealDisk, dir: temp.path().to_owned(), held: Vec::new() };
        let mut sim_run = Run { disk: &sim, dir: Path::new("/").to_owned(), held: Vec::new() };
        for call in &calls {
            prop_assert_eq!(real_run.call(call), sim_run.call(call), "{:?}", call);
        }
    }
}
