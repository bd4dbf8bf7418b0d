//! A disk in memory that crashes where a test tells it to, and then has lost what a real one may lose.
//!
//! Invariants:
//!   * Each call that changes the medium is one numbered step, counted from 0, also if it fails.
//!   * From the step of the crash on every call fails, on each clone and each handle; only `crash` gives a disk that
//!     works again, with the bytes that the chosen cut leaves.
//!   * What a stranger does (`write`, `truncate`, `flip_bit`) is no step, and durable at once.
//!
//! SQLite's files are real, in a scratch directory of each disk; nothing is modelled of what they lose.

mod cut;
mod medium;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::io::Errno;
use tempfile::TempDir;

use self::cut::UnderWay;
use self::medium::{Ino, Medium};
use super::{Disk, DiskFile, DiskLock, Op, OpKind, Space, Stat};

pub use self::cut::Cut;

/// A disk in memory, which holds the root directory alone. Clones are handles of the same disk.
#[derive(Clone, Default)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

/// What goes wrong with an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The disk is full: an append leaves half of its bytes behind.
    NoSpace,
    Io,
    Access,
    /// Only a sync fails; other operations are left alone.
    SyncLost,
}

/// A failed sync of a file, by whatever fault, loses what was pending: the bytes stay readable until `drop_caches`, no
/// later sync makes them durable, and the next sync returns `Ok`, as Linux does it.
impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::NoSpace => Errno::NOSPC.into(),
            Self::Io | Self::SyncLost => Errno::IO.into(),
            Self::Access => Errno::ACCESS.into(),
        }
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    unlocked: Condvar,
}

struct State {
    medium: Medium,
    steps: u64,
    crash_at: Option<u64>,
    dead: bool,
    under_way: Option<UnderWay>,
    faults: Vec<Rule>,
    syncs: bool,
    free: u64,
    network: Option<String>,
    locked: BTreeSet<Ino>,
    databases: BTreeSet<PathBuf>,
    scratch: Option<TempDir>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            medium: Medium::default(),
            steps: 0,
            crash_at: None,
            dead: false,
            under_way: None,
            faults: Vec::new(),
            syncs: true,
            free: 1 << 40,
            network: None,
            locked: BTreeSet::new(),
            databases: BTreeSet::new(),
            scratch: None,
        }
    }
}

enum Rule {
    Step(u64, Fault),
    When(Box<dyn FnMut(&Op) -> bool + Send>, Fault),
}

/// What becomes of a step.
enum Turn {
    Goes,
    Fails(Fault),
    /// The process dies in it.
    Dies,
}

/// What a test does to a disk.
impl SimDisk {
    /// The negative control: every sync returns `Ok` and does nothing, so that a crash test must fail on it.
    #[must_use]
    pub fn without_fsync() -> Self {
        let disk = Self::default();
        disk.state().syncs = false;
        disk
    }

    /// How many steps were made. A crash test runs once to learn it, then once for each step below it.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// The process dies in this step, counted from 0.
    pub fn crash_at(&self, step: u64) {
        self.state().crash_at = Some(step);
    }

    /// The disk as the next process finds it. The process on this one is dead from now on. It may be called again,
    /// for another cut of the same moment.
    #[must_use]
    pub fn crash(&self, cut: Cut) -> Self {
        let mut state = self.state();
        state.dead = true;
        let mut medium = state.medium.clone();
        cut::cut(&mut medium, state.under_way, cut);
        let scratch = match cut.keeps_databases() {
            true => state.copy_databases(),
            false => None,
        };
        let next = State {
            medium,
            syncs: state.syncs,
            free: state.free,
            network: state.network.clone(),
            databases: state.databases.clone(),
            scratch,
            ..State::default()
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(next), unlocked: Condvar::new() }) }
    }

    /// This step fails.
    pub fn fail_at(&self, step: u64, fault: Fault) {
        self.state().faults.push(Rule::Step(step, fault));
    }

    /// Each operation fails for which `chosen` is true, reads and opens too; it may count to choose one of many. It
    /// is called with the disk locked, and must not use it.
    pub fn fail_when(&self, chosen: impl FnMut(&Op) -> bool + Send + 'static, fault: Fault) {
        self.state().faults.push(Rule::When(Box::new(chosen), fault));
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// Forgets the page cache: what a failed sync lost now reads as zeros.
    pub fn drop_caches(&self) {
        self.state().medium.drop_caches();
    }

    /// How much may still be appended. It shrinks with each append and grows by what is removed.
    pub fn set_free(&self, bytes: u64) {
        self.state().free = bytes;
    }

    pub fn set_network(&self, name: Option<&str>) {
        self.state().network = name.map(str::to_owned);
    }

    /// All files but SQLite's, in order.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().medium.paths()
    }

    /// What a file holds, also when the process is dead.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        Ok(state.medium.content(state.medium.file(path)?).live.clone())
    }

    /// A stranger writes a whole file, and makes the directories above it.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.state().medium.write(path, bytes)
    }

    pub fn truncate(&self, path: &Path, len: usize) -> io::Result<()> {
        self.state().medium.truncate(path, len)
    }

    /// Bit `n` is bit `n % 8` of byte `n / 8`.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        self.state().medium.flip_bit(path, bit)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock()
    }

    fn handle(&self, path: &Path, ino: Ino, appends: bool) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.clone(), path: path.to_owned(), ino, appends })
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("SimDisk")
            .field("steps", &state.steps)
            .field("dead", &state.dead)
            .finish_non_exhaustive()
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let ino = self.state().ask(OpKind::Open, path)?.medium.file(path)?;
        Ok(self.handle(path, ino, false))
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let ino = self.state().ask(OpKind::OpenAppend, path)?.medium.file(path)?;
        Ok(self.handle(path, ino, true))
    }

    fn create_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let ino = self.state().change_names(OpKind::Create, path, |medium| medium.create(path))?;
        Ok(self.handle(path, ino, true))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.is_database(from) {
            return state.change_scratch(OpKind::Rename, to, |state| {
                let (old, new) = (state.scratch_file(from), state.scratch_file(to));
                state.databases.insert(to.to_owned());
                fs::rename(old, new)
            });
        }
        state.change_names(OpKind::Rename, to, |medium| medium.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.is_database(path) {
            return state
                .change_scratch(OpKind::Remove, path, |state| fs::remove_file(state.scratch_file(path)));
        }
        let freed = state.medium.stat(path).ok().flatten().map_or(0, |stat| stat.len);
        state.change_names(OpKind::Remove, path, |medium| medium.remove_file(path))?;
        state.free = state.free.saturating_add(freed);
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.state().change_names(OpKind::CreateDir, path, |medium| medium.create_dir(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.state().ask(OpKind::List, dir)?.medium.list(dir)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let mut state = self.state();
        state.ask(OpKind::Stat, path)?;
        match state.medium.stat(path)? {
            None if state.is_database(path) => super::RealDisk.stat(&state.scratch_file(path)),
            stat => Ok(stat),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        match state.turn(OpKind::SyncDir, dir, 0)? {
            Turn::Goes if state.syncs => state.medium.sync_dir(dir),
            Turn::Goes => state.medium.list(dir).map(drop),
            Turn::Fails(fault) => Err(fault.error()),
            Turn::Dies => Err(died()),
        }
    }

    fn lock(&self, path: &Path, wait: Duration) -> io::Result<Option<Box<dyn DiskLock>>> {
        let mut state = self.state();
        state.ask(OpKind::Lock, path)?;
        let ino = match state.medium.file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                state.change_names(OpKind::Create, path, |medium| medium.create(path))?
            }
            found => found?,
        };
        let taken = |state: &mut State| !state.dead && state.locked.contains(&ino);
        if taken(&mut state) {
            let waited = self.shared.unlocked.wait_while_for(&mut state, taken, wait);
            if waited.timed_out() {
                return Ok(None);
            }
        }
        state.must_live()?;
        state.locked.insert(ino);
        Ok(Some(Box::new(SimLock { disk: self.clone(), path: path.to_owned(), ino })))
    }

    fn database(&self, path: &Path) -> PathBuf {
        let mut state = self.state();
        state.databases.insert(path.to_owned());
        state.scratch.get_or_insert_with(new_scratch);
        state.scratch_file(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let mut state = self.state();
        state.ask(OpKind::Space, path)?;
        state.medium.stat(path)?.ok_or(Errno::NOENT)?;
        Ok(Space { free: state.free, network: state.network.clone() })
    }
}

impl State {
    fn must_live(&self) -> io::Result<()> {
        if self.dead { Err(died()) } else { Ok(()) }
    }

    /// An operation that changes nothing.
    fn ask(&mut self, kind: OpKind, path: &Path) -> io::Result<&mut Self> {
        self.must_live()?;
        match self.fault(&Op::new(kind, path, 0), None) {
            Some(fault) => Err(fault.error()),
            None => Ok(self),
        }
    }

    /// Begins a step.
    fn turn(&mut self, kind: OpKind, path: &Path, bytes: usize) -> io::Result<Turn> {
        self.must_live()?;
        let step = self.steps;
        self.steps += 1;
        if self.crash_at == Some(step) {
            self.dead = true;
            return Ok(Turn::Dies);
        }
        let fault = self.fault(&Op::new(kind, path, bytes as u64), Some(step));
        Ok(fault.map_or(Turn::Goes, Turn::Fails))
    }

    fn fault(&mut self, op: &Op, step: Option<u64>) -> Option<Fault> {
        let concerns =
            |fault: Fault| fault != Fault::SyncLost || matches!(op.kind, OpKind::Sync | OpKind::SyncDir);
        self.faults.iter_mut().find_map(|rule| match rule {
            Rule::Step(at, fault) => (step == Some(*at) && concerns(*fault)).then_some(*fault),
            Rule::When(chosen, fault) => (concerns(*fault) && chosen(op)).then_some(*fault),
        })
    }

    /// A step that is about names: when the process dies in it, it may have happened.
    fn change_names<T>(
        &mut self,
        kind: OpKind,
        path: &Path,
        change: impl FnOnce(&mut Medium) -> io::Result<T>,
    ) -> io::Result<T> {
        match self.turn(kind, path, 0)? {
            Turn::Goes => change(&mut self.medium),
            Turn::Fails(fault) => Err(fault.error()),
            Turn::Dies => {
                let before = self.medium.pending_names();
                if change(&mut self.medium).is_ok() {
                    self.under_way = Some(UnderWay::Names { before });
                }
                Err(died())
            }
        }
    }

    fn change_scratch(
        &mut self,
        kind: OpKind,
        path: &Path,
        change: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> io::Result<()> {
        match self.turn(kind, path, 0)? {
            Turn::Goes => change(self),
            Turn::Fails(fault) => Err(fault.error()),
            Turn::Dies => Err(died()),
        }
    }

    fn append(&mut self, path: &Path, ino: Ino, bytes: &[u8]) -> io::Result<()> {
        match self.turn(OpKind::Append, path, bytes.len())? {
            Turn::Goes => self.fill(ino, bytes),
            Turn::Fails(fault) => {
                if fault == Fault::NoSpace {
                    self.medium.append(ino, &bytes[..bytes.len() / 2]);
                }
                Err(fault.error())
            }
            Turn::Dies => {
                let start = self.medium.content(ino).live.len();
                self.medium.append(ino, bytes);
                self.under_way = Some(UnderWay::Append { ino, start });
                Err(died())
            }
        }
    }

    fn fill(&mut self, ino: Ino, bytes: &[u8]) -> io::Result<()> {
        let fits = usize::try_from(self.free).unwrap_or(usize::MAX).min(bytes.len());
        self.medium.append(ino, &bytes[..fits]);
        self.free -= fits as u64;
        if fits == bytes.len() { Ok(()) } else { Err(Fault::NoSpace.error()) }
    }

    fn sync(&mut self, path: &Path, ino: Ino) -> io::Result<()> {
        match self.turn(OpKind::Sync, path, 0)? {
            Turn::Goes if self.syncs => {
                self.medium.sync(ino);
                Ok(())
            }
            Turn::Goes => Ok(()),
            Turn::Fails(fault) => {
                self.medium.fail_sync(ino);
                Err(fault.error())
            }
            Turn::Dies => Err(died()),
        }
    }

    fn describe(&mut self, path: &Path, ino: Ino, holder: &str) -> io::Result<()> {
        match self.turn(OpKind::Describe, path, holder.len())? {
            Turn::Goes => {
                self.medium.replace(ino, holder.as_bytes());
                Ok(())
            }
            Turn::Fails(fault) => Err(fault.error()),
            Turn::Dies => Err(died()),
        }
    }
}

/// SQLite's files.
impl State {
    /// A path that `database` was asked for, or the log beside it.
    fn is_database(&self, path: &Path) -> bool {
        let bytes = path.as_os_str().as_bytes();
        let main = ["-wal", "-shm"].iter().find_map(|suffix| bytes.strip_suffix(suffix.as_bytes()));
        let main = OsString::from_vec(main.unwrap_or(bytes).to_vec());
        self.scratch.is_some() && self.databases.contains(Path::new(&main))
    }

    fn scratch_file(&self, path: &Path) -> PathBuf {
        let scratch = self.scratch.as_ref().expect("it is there because a database was asked for");
        scratch.path().join(scratch_name(path))
    }

    /// As it lies there. The `-shm` file is memory that the processes share, and is gone with them.
    fn copy_databases(&self) -> Option<TempDir> {
        let from = self.scratch.as_ref()?;
        let to = new_scratch();
        for path in &self.databases {
            let name = scratch_name(path);
            let beside = ["", "-wal", ".sum"].map(|suffix| {
                let mut name = name.clone();
                name.push(suffix);
                name
            });
            for name in beside {
                match fs::copy(from.path().join(&name), to.path().join(&name)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    copied => drop(copied.expect("it can be copied because both directories are ours")),
                }
            }
        }
        Some(to)
    }
}

fn new_scratch() -> TempDir {
    tempfile::tempdir().expect("tests can run because there is a temporary directory")
}

/// One flat name for a path.
fn scratch_name(path: &Path) -> OsString {
    let bytes = path.as_os_str().as_bytes().iter().map(|&byte| if byte == b'/' { b'%' } else { byte });
    OsString::from_vec(bytes.collect())
}

fn died() -> io::Error {
    io::Error::other("the simulated process is dead")
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    ino: Ino,
    appends: bool,
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        let state = state.ask(OpKind::Read, &self.path)?;
        let live = &state.medium.content(self.ino).live;
        let from = usize::try_from(offset).map_or(live.len(), |offset| offset.min(live.len()));
        let read = buf.len().min(live.len() - from);
        buf[..read].copy_from_slice(&live[from..from + read]);
        Ok(read)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        if !self.appends {
            return Err(Errno::BADF.into());
        }
        self.disk.state().append(&self.path, self.ino, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.state().sync(&self.path, self.ino)
    }

    fn forget_cached(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.must_live()?;
        state.medium.forget_cached(self.ino);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        let state = state.ask(OpKind::Stat, &self.path)?;
        Ok(state.medium.content(self.ino).live.len() as u64)
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    path: PathBuf,
    ino: Ino,
}

impl DiskLock for SimLock {
    fn describe(&self, holder: &str) -> io::Result<()> {
        self.disk.state().describe(&self.path, self.ino, holder)
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().locked.remove(&self.ino);
        self.disk.shared.unlocked.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::disk::{Durability, read_all, write_atomically};

    const FILE: &str = "/d/f";

    /// A disk with a durable directory `/d` and a durable file `/d/f` that says `synced`.
    fn prepared() -> (SimDisk, Arc<dyn DiskFile>) {
        let disk = SimDisk::default();
        let file = prepare(&disk).unwrap();
        (disk, file)
    }

    fn prepare(disk: &SimDisk) -> io::Result<Arc<dyn DiskFile>> {
        disk.create_dir(Path::new("/d"))?;
        disk.sync_dir(Path::new("/"))?;
        let file = disk.create_append(Path::new(FILE))?;
        disk.sync_dir(Path::new("/d"))?;
        file.append(b"synced")?;
        file.sync()?;
        Ok(file)
    }

    fn read(disk: &SimDisk, path: &str) -> Vec<u8> {
        read_all(disk, Path::new(path)).unwrap()
    }

    #[test]
    fn what_was_synced_survives_every_cut() {
        let (disk, file) = prepared();
        file.append(&[b'x'; 2000]).unwrap();
        for cut in Cut::samples(200) {
            let left = read(&disk.crash(cut), FILE);
            assert_eq!(&left[..6], b"synced", "{cut:?}");
            assert!(left.len() <= 2006, "{cut:?}");
        }
        assert_eq!(read(&disk.crash(Cut::LoseUnsynced), FILE), b"synced");
    }

    #[test]
    fn seeds_lose_keep_tear_and_punch_holes() {
        let (disk, file) = prepared();
        file.append(&[b'x'; 2000]).unwrap();
        file.append(&[b'y'; 2000]).unwrap();
        let left: Vec<Vec<u8>> = (0..200).map(|seed| read(&disk.crash(Cut::Seeded(seed)), FILE)).collect();
        let count = |is: &dyn Fn(&[u8]) -> bool| left.iter().filter(|bytes| is(&bytes[6..])).count();
        let lost = count(&|tail| tail.is_empty());
        let kept = count(&|tail| tail.len() == 4000 && !tail.contains(&0) && tail[0] == b'x');
        let torn = count(&|tail| (1..2000).contains(&tail.len()) && tail.iter().all(|&byte| byte == b'x'));
        let zeros = count(&|tail| tail.len() == 4000 && tail.iter().all(|&byte| byte == 0));
        let reordered =
            count(&|tail| tail.len() == 4000 && tail[..2000] == [0; 2000] && tail[2000..] == [b'y'; 2000]);
        let garbage = count(&|tail| tail.iter().any(|byte| ![0, b'x', b'y'].contains(byte)));
        let seen = [lost, kept, torn, zeros, reordered, garbage];
        assert!(seen.iter().all(|&times| times > 0), "{seen:?}");
    }

    #[test]
    fn the_same_seed_leaves_the_same_bytes() {
        let (disk, file) = prepared();
        file.append(&[b'x'; 3000]).unwrap();
        for seed in 0..50 {
            let (first, second) = (disk.crash(Cut::Seeded(seed)), disk.crash(Cut::Seeded(seed)));
            assert_eq!(read(&first, FILE), read(&second, FILE), "seed {seed}");
        }
    }

    #[test]
    fn a_killed_process_leaves_what_it_wrote_and_it_is_still_not_durable() {
        let (disk, file) = prepared();
        file.append(b" written").unwrap();
        disk.create_append(Path::new("/d/new")).unwrap();
        let next = disk.crash(Cut::Killed { torn: 0 });
        assert_eq!(read(&next, FILE), b"synced written");
        assert_eq!(next.list(Path::new("/d")).unwrap(), ["f", "new"]);
        let after = next.crash(Cut::LoseUnsynced);
        assert_eq!(read(&after, FILE), b"synced");
        assert_eq!(after.list(Path::new("/d")).unwrap(), ["f"]);
    }

    #[test]
    fn the_append_that_the_process_dies_in_may_be_torn_anywhere() {
        for torn in 0..=4 {
            let (disk, file) = prepared();
            disk.crash_at(disk.steps());
            file.append(b"abcd").unwrap_err();
            let left = read(&disk.crash(Cut::Killed { torn }), FILE);
            assert_eq!(left, [b"synced", &b"abcd"[..torn]].concat());
        }
    }

    #[test]
    fn the_dead_do_nothing() {
        let (disk, file) = prepared();
        let clone = disk.clone();
        disk.crash_at(disk.steps());
        disk.rename(Path::new(FILE), Path::new("/d/g")).unwrap_err();
        file.append(b"x").unwrap_err();
        file.sync().unwrap_err();
        file.read_at(&mut [0], 0).unwrap_err();
        clone.stat(Path::new(FILE)).unwrap_err();
        clone.create_append(Path::new("/d/h")).unwrap_err();
        let next = disk.crash(Cut::Killed { torn: 0 });
        assert_eq!(next.list(Path::new("/d")).unwrap(), ["f"]);
        assert_eq!(next.steps(), 0);
        let renamed = |seed| disk.crash(Cut::Seeded(seed)).list(Path::new("/d")).unwrap() == ["g"];
        assert!((0..50).any(renamed), "the step under way may have happened");
        assert!(!(0..50).all(renamed), "and it may not");
    }

    #[test]
    fn a_rename_without_a_synced_directory_may_be_lost_and_never_leaves_both_names() {
        let (disk, _file) = prepared();
        disk.rename(Path::new(FILE), Path::new("/d/g")).unwrap();
        let names: BTreeSet<Vec<OsString>> =
            (0..100).map(|seed| disk.crash(Cut::Seeded(seed)).list(Path::new("/d")).unwrap()).collect();
        assert_eq!(names, BTreeSet::from([vec!["f".into()], vec!["g".into()]]));
        disk.crash(Cut::LoseUnsynced).open(Path::new("/d/g")).unwrap_err();
    }

    #[test]
    fn a_renamed_file_that_was_not_synced_may_be_empty() {
        let (disk, _file) = prepared();
        write_atomically(&disk, Path::new(FILE), b"replaced", Durability::Cache).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        assert_eq!(read(&disk.crash(Cut::LoseUnsynced), FILE), b"");
    }

    #[test]
    fn a_file_in_a_directory_whose_own_name_was_not_synced_is_lost_with_it() {
        let disk = SimDisk::default();
        disk.create_dir(Path::new("/new")).unwrap();
        disk.create_append(Path::new("/new/f")).unwrap().sync().unwrap();
        disk.sync_dir(Path::new("/new")).unwrap();
        assert_eq!(disk.crash(Cut::LoseUnsynced).paths(), [] as [PathBuf; 0]);
    }

    /// Runs one atomic replacement, crashes it in every step, and says what broke: the text must be the old or the new
    /// one, and the new one once the call has returned.
    fn replace_and_crash_everywhere(new: fn() -> SimDisk) -> Result<u64, String> {
        let run = |crash_at: Option<u64>| {
            let disk = new();
            prepare(&disk).unwrap();
            let begin = disk.steps();
            if let Some(step) = crash_at {
                disk.crash_at(begin + step);
            }
            let done = write_atomically(&disk, Path::new(FILE), b"replaced", Durability::Synced).is_ok();
            (disk.steps() - begin, disk, done)
        };
        let (steps, ..) = run(None);
        for step in 0..=steps {
            let (_, disk, done) = run(Some(step));
            for cut in Cut::samples(40) {
                let left =
                    read_all(&disk.crash(cut), Path::new(FILE)).map_err(|e| format!("{step} {cut:?} {e}"))?;
                if left != b"replaced" && (done || left != b"synced") {
                    return Err(format!("step {step}, {cut:?}: {:?}", String::from_utf8_lossy(&left)));
                }
            }
        }
        Ok(steps)
    }

    #[test]
    fn an_atomic_replacement_is_old_or_new_at_every_crash_point() {
        assert_eq!(replace_and_crash_everywhere(SimDisk::default), Ok(5));
    }

    #[test]
    fn without_fsync_the_same_test_fails() {
        let disk = SimDisk::without_fsync();
        disk.write(Path::new("/f"), b"").unwrap();
        let file = disk.open_append(Path::new("/f")).unwrap();
        file.append(b"not synced").unwrap();
        file.sync().unwrap();
        assert_eq!(read(&disk.crash(Cut::LoseUnsynced), "/f"), b"");
        replace_and_crash_everywhere(SimDisk::without_fsync).unwrap_err();
    }

    #[test]
    fn after_a_failed_sync_the_bytes_are_readable_and_never_become_durable() {
        let (disk, file) = prepared();
        file.append(b" lost").unwrap();
        disk.fail_at(disk.steps(), Fault::SyncLost);
        assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(Errno::IO.raw_os_error()));
        file.append(b" later").unwrap();
        file.sync().unwrap();
        assert_eq!(read(&disk, FILE), b"synced lost later");
        for cut in [Cut::LoseUnsynced, Cut::Seeded(1), Cut::Seeded(2)] {
            assert_eq!(read(&disk.crash(cut), FILE), b"synced\0\0\0\0\0 later");
        }

        let (disk, file) = prepared();
        file.append(b" lost").unwrap();
        disk.fail_when(|op| op.is_for("f"), Fault::SyncLost);
        file.append(b"!").unwrap();
        file.sync().unwrap_err();
        disk.drop_caches();
        assert_eq!(read(&disk, FILE), b"synced\0\0\0\0\0\0");
    }

    #[test]
    fn faults_are_injected_by_step_and_by_predicate() {
        let (disk, file) = prepared();
        disk.fail_at(disk.steps() + 1, Fault::NoSpace);
        file.append(b"1234").unwrap();
        assert_eq!(file.append(b"5678").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(read(&disk, FILE), b"synced123456", "a part is left behind");
        disk.fail_when(|op| op.kind == OpKind::Read && op.is_for("f"), Fault::Io);
        disk.fail_when(|op| op.kind == OpKind::Create, Fault::Access);
        file.read_at(&mut [0], 0).unwrap_err();
        let denied = disk.create_append(Path::new("/d/g")).unwrap_err();
        assert_eq!(denied.kind(), io::ErrorKind::PermissionDenied);
        disk.heal();
        file.read_at(&mut [0], 0).unwrap();
        disk.create_append(Path::new("/d/g")).unwrap();
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_removal_makes_room() {
        let (disk, file) = prepared();
        disk.set_free(3);
        assert_eq!(file.append(b"12345").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(read(&disk, FILE), b"synced123");
        assert_eq!(disk.space(Path::new("/d")).unwrap().free, 0);
        disk.remove_file(Path::new(FILE)).unwrap();
        assert_eq!(disk.space(Path::new("/d")).unwrap().free, 9);
        disk.set_network(Some("nfs"));
        assert_eq!(disk.space(Path::new("/d")).unwrap().network.as_deref(), Some("nfs"));
    }

    #[test]
    fn a_lock_is_held_until_dropped_or_dead() {
        let (disk, _file) = prepared();
        let path = Path::new("/d/LOCK");
        let held = disk.lock(path, Duration::ZERO).unwrap().expect("free");
        held.describe("pid 7").unwrap();
        assert_eq!(read(&disk, "/d/LOCK"), b"pid 7");
        assert!(disk.lock(path, Duration::from_millis(2)).unwrap().is_none());
        let waiter = {
            let disk = disk.clone();
            thread::spawn(move || disk.lock(path, Duration::from_secs(20)).unwrap().is_some())
        };
        drop(held);
        assert!(waiter.join().unwrap());
        let held = disk.lock(path, Duration::ZERO).unwrap().expect("free");
        let next = disk.crash(Cut::Killed { torn: 0 });
        assert!(next.lock(path, Duration::ZERO).unwrap().is_some());
        drop(held);
    }

    #[test]
    fn a_database_is_copied_or_dropped_and_can_be_moved_away() {
        let (disk, _file) = prepared();
        let path = Path::new("/d/index.db");
        let real = disk.database(path);
        for suffix in ["", "-wal", "-shm"] {
            let mut name = real.clone().into_os_string();
            name.push(suffix);
            fs::write(name, suffix).unwrap();
        }
        let names = |disk: &SimDisk| fs::read_dir(disk.database(path).parent().unwrap()).unwrap().count();
        assert_eq!(names(&disk.crash(Cut::Killed { torn: 0 })), 2);
        assert_eq!(names(&disk.crash(Cut::LoseUnsynced)), 0);
        let seeded: BTreeSet<usize> = (0..20).map(|seed| names(&disk.crash(Cut::Seeded(seed)))).collect();
        assert_eq!(seeded, BTreeSet::from([0, 2]));

        let next = disk.crash(Cut::Killed { torn: 0 });
        assert!(next.stat(path).unwrap().is_some());
        next.rename(path, Path::new("/d/index.db.damaged")).unwrap();
        next.remove_file(Path::new("/d/index.db-wal")).unwrap();
        assert_eq!(next.stat(path).unwrap(), None);
        assert!(next.stat(Path::new("/d/index.db.damaged")).unwrap().is_some());
    }

    #[test]
    fn a_stranger_corrupts_without_a_step() {
        let (disk, _file) = prepared();
        let steps = disk.steps();
        disk.flip_bit(Path::new(FILE), 8).unwrap();
        disk.truncate(Path::new(FILE), 3).unwrap();
        disk.write(Path::new("/else/where/g"), b"new").unwrap();
        assert_eq!(disk.steps(), steps);
        let next = disk.crash(Cut::LoseUnsynced);
        assert_eq!(next.paths(), [Path::new(FILE), Path::new("/else/where/g")]);
        assert_eq!(next.read(Path::new(FILE)).unwrap(), b"sxn");
    }
}
