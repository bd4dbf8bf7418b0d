//! A tree in memory that can be recorded and written to an ordinary directory, so that both can be compared.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use tickfs_store::ids::{Tick, UnixNanos};
use tickfs_store::journal::entry::NodeType;
use tickfs_store::path::RelPath;
use tickfs_store::{Content, Meta};
use tickfs_tests::mount::{Mounted, Project, rel, skipped};

#[derive(Debug, Clone)]
pub(crate) struct Thing {
    pub(crate) kind: NodeType,
    pub(crate) mode: u32,
    pub(crate) mtime: i64,
    pub(crate) bytes: Vec<u8>,
}

impl Thing {
    pub(crate) fn file(bytes: impl Into<Vec<u8>>) -> Self {
        Self { kind: NodeType::File, mode: 0o100_644, mtime: 0, bytes: bytes.into() }
    }

    pub(crate) fn dir(mode: u32) -> Self {
        Self { kind: NodeType::Dir, mode: 0o040_000 | mode, ..Self::file("") }
    }

    pub(crate) fn link(target: &str) -> Self {
        Self { kind: NodeType::Symlink, mode: 0o120_777, ..Self::file(target) }
    }

    pub(crate) fn mode(self, mode: u32) -> Self {
        Self { mode: 0o100_000 | mode, ..self }
    }

    pub(crate) fn meta(&self) -> Meta {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let (kind, mode) = (self.kind, self.mode);
        Meta { kind, mode, uid, gid, mtime: UnixNanos(self.mtime), holes: Vec::new() }
    }

    pub(crate) fn content(&self) -> Content<'static> {
        match self.kind {
            NodeType::Dir => Content::None,
            NodeType::File | NodeType::Symlink => Content::Bytes(self.bytes.clone()),
        }
    }
}

/// Paths and what they are; directories come before what is in them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    pub(crate) things: BTreeMap<RelPath, Thing>,
}

impl Sample {
    /// Each thing has a time of its own, to the nanosecond.
    pub(crate) fn put(&mut self, path: impl AsRef<[u8]>, thing: Thing) {
        let nth = i64::try_from(self.things.len()).unwrap();
        let mtime = (1_600_000_000 + nth * 86_401) * 1_000_000_000 + 123_456_789 + nth;
        self.things.insert(rel(path), Thing { mtime, ..thing });
    }

    /// What a project may hold: every kind, every size class, modes, odd names, an empty directory.
    pub(crate) fn project() -> Self {
        let mut sample = Self::default();
        let lines = |n: u32| (0..n).map(|i| format!("line {i} of many\n")).collect::<String>();
        sample.put("", Thing::dir(0o755));
        sample.put("README.md", Thing::file("# The project\n\nTODO: say more\n"));
        sample.put("src", Thing::dir(0o750));
        sample.put("src/app.py", Thing::file("def answer():\n    return 1\n"));
        sample.put("src/empty.txt", Thing::file(""));
        sample.put("src/deep", Thing::dir(0o755));
        sample.put("src/deep/er", Thing::dir(0o700));
        sample.put("src/deep/er/mod.c", Thing::file("int main(void) { return 0; } /* TODO */\n"));
        sample.put("bin", Thing::dir(0o755));
        sample.put("bin/tool.sh", Thing::file("#!/bin/sh\necho an old tool\n").mode(0o755));
        sample.put("bin/as-owner", Thing::file("#!/bin/sh\n").mode(0o4755));
        sample.put("data", Thing::dir(0o755));
        sample.put("data/noise.bin", Thing::file(noise(300_000)).mode(0o600));
        sample.put("data/lines.txt", Thing::file(lines(20_000)).mode(0o400));
        sample.put("empty", Thing::dir(0o700));
        sample.put("spool", Thing::dir(0o1777));
        sample.put("link", Thing::link("src/app.py"));
        sample.put("to-a-directory", Thing::link("src"));
        sample.put("to-nowhere", Thing::link("no/such/thing"));
        sample.put("with space", Thing::file("a space\n"));
        sample.put("-n", Thing::file("a leading dash\n"));
        sample.put("new\nline", Thing::file("a newline\n"));
        sample.put(b"\xff\xfe not UTF-8", Thing::file("bytes\n"));
        sample.put("übergrößenträger", Thing::file("UTF-8\n"));
        sample.put("before-1970", Thing::file("old\n"));
        sample.put("after-2038", Thing::file("new\n"));
        for (path, mtime) in
            [("before-1970", -1_000_000_000_000_000_001), ("after-2038", 4_000_000_000_123_456_789)]
        {
            sample.things.get_mut(&rel(path)).unwrap().mtime = mtime;
        }
        sample
    }

    /// As the base.
    pub(crate) fn record(&self, project: &Project) {
        let things = self.things.clone();
        project.mutate(move |m| {
            for (path, thing) in &things {
                m.base(path, &thing.meta(), thing.content())?;
            }
            m.finish_base("00000000-0000-4000-8000-000000000001")
        });
    }

    /// Puts it here and saves it there.
    pub(crate) fn save(&mut self, project: &Project, path: &str, thing: Thing) -> Tick {
        self.put(path, thing);
        let path = rel(path);
        let thing = self.things[&path].clone();
        project.mutate(move |m| {
            Ok(m.save(&path, &thing.meta(), thing.content())?.tick().expect("a tick, because it differs"))
        })
    }

    /// Takes it away here and there, with what is in it.
    pub(crate) fn remove(&mut self, project: &Project, path: &str) {
        self.things.retain(|known, _| !known.starts_with(&rel(path)));
        project.remove(path);
    }

    pub(crate) fn rename(&mut self, project: &Project, from: &str, to: &str) {
        let moving: Vec<RelPath> =
            self.things.keys().filter(|p| p.starts_with(&rel(from))).cloned().collect();
        for old in moving {
            let thing = self.things.remove(&old).unwrap();
            let new = [to.as_bytes(), &old.as_bytes()[from.len()..]].concat();
            self.things.insert(rel(new), thing);
        }
        project.rename(from, to);
    }

    /// As an ordinary directory.
    pub(crate) fn write(&self, dir: &Path) {
        for (path, thing) in &self.things {
            let place = dir.join(path.as_path());
            match thing.kind {
                NodeType::Dir => fs::create_dir_all(&place).unwrap(),
                NodeType::Symlink => symlink(OsStr::from_bytes(&thing.bytes), &place).unwrap(),
                NodeType::File => fs::write(&place, &thing.bytes).unwrap(),
            }
        }
        // From the inside out, because a name that is made changes the time of its directory.
        for (path, thing) in self.things.iter().rev() {
            let place = dir.join(path.as_path());
            if thing.kind != NodeType::Symlink {
                fs::set_permissions(&place, fs::Permissions::from_mode(thing.mode & 0o7777)).unwrap();
            }
            let time = Timespec {
                tv_sec: thing.mtime.div_euclid(1_000_000_000),
                tv_nsec: thing.mtime.rem_euclid(1_000_000_000),
            };
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(CWD, &place, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
    }
}

/// Bytes that do not compress.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    seeded_noise(7, len)
}

pub(crate) fn seeded_noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}

/// A project with three ticks, its base as an old tree, and the same as an ordinary directory.
pub(crate) struct Scene {
    /// What stands now.
    pub(crate) now: Sample,
    pub(crate) plain: PathBuf,
    pub(crate) old: PathBuf,
    // In this order: what is mounted goes before its store.
    pub(crate) mounted: Mounted,
    pub(crate) project: Project,
}

/// `None`, after saying `skipped:`, where there is no FUSE or a program is missing.
pub(crate) fn scene(programs: &[&str]) -> Option<Scene> {
    if !programs.iter().all(|program| has(program)) {
        return None;
    }
    let project = Project::without_base();
    let sample = Sample::project();
    sample.record(&project);
    let mounted = project.mount()?;
    let plain = project.scratch().join("plain");
    sample.write(&plain);
    let mut now = sample;
    now.save(&project, "src/app.py", Thing::file("def answer():\n    return 2\n"));
    now.save(&project, "bin/tool.sh", Thing::file("#!/bin/sh\necho a new tool\n").mode(0o755));
    now.remove(&project, "README.md");
    let old = mounted.path("branches/main/@0");
    Some(Scene { now, plain, old, mounted, project })
}

impl Scene {
    /// What a shell says in the old tree is what it says in the ordinary directory; and it is not nothing.
    #[track_caller]
    pub(crate) fn says_the_same(&self, script: &str) -> String {
        let (old, plain) = (shell(&self.old, script), shell(&self.plain, script));
        assert_eq!(old, plain, "{script}");
        assert!(!old.is_empty(), "{script} says nothing");
        old
    }
}

pub(crate) fn has(program: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|dir| dir.join(program).is_file());
    if !found {
        skipped(&format!("{program} is not installed"));
    }
    found
}

/// A shell in a directory, with nothing of its surroundings that would colour what it says.
pub(crate) fn shell_command(dir: &Path, script: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-o", "pipefail", "-euc", script]).current_dir(dir).stdin(Stdio::null());
    command.env("LC_ALL", "C").env("TZ", "UTC").env("HOME", "/nonexistent");
    command
}

#[track_caller]
pub(crate) fn shell(dir: &Path, script: &str) -> String {
    let output = shell_command(dir, script).output().unwrap();
    let (said, complained) = (lossy(&output.stdout), lossy(&output.stderr));
    assert!(output.status.success(), "{script}\nin {}: {}\n{said}{complained}", dir.display(), output.status);
    said
}

fn lossy(bytes: &[u8]) -> String {
    // Not `from_utf8_lossy`: two names that differ must not look the same.
    let spelled = |&byte: &u8| match byte {
        b'\n' | b'\t' | b' '..=b'~' => char::from(byte).to_string(),
        _ => byte.escape_ascii().to_string(),
    };
    bytes.iter().map(spelled).collect()
}

/// Both hold the same names, kinds, modes, owners, times, targets and bytes.
#[track_caller]
pub(crate) fn assert_same_trees(one: &Path, other: &Path) {
    let (one, other) = (described(one), described(other));
    for name in one.keys().chain(other.keys()) {
        assert_eq!(one.get(name), other.get(name), "{}", name.escape_ascii());
    }
}

fn described(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_path_buf()];
    while let Some(place) = waiting.pop() {
        let meta = fs::symlink_metadata(&place).unwrap();
        let times = (meta.mtime(), meta.mtime_nsec());
        let mut said = format!("{:o} of {}:{} at {times:?}", meta.mode(), meta.uid(), meta.gid());
        if meta.is_dir() {
            waiting.extend(fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let bytes = match meta.is_symlink() {
                true => fs::read_link(&place).unwrap().as_os_str().as_bytes().to_vec(),
                false => fs::read(&place).unwrap(),
            };
            assert_eq!(bytes.len() as u64, meta.len(), "the size of {}", place.display());
            said += &format!(", {} bytes: {}", bytes.len(), blake3::hash(&bytes));
        }
        found.insert(place.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec(), said);
    }
    found
}
