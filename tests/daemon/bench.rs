//! A directory with a project, the binary to run on it, and the end of every process that it left behind.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
pub(crate) use tickfs_tests::program::{Running, Shown, Signal, is_alive, is_installed, signal, wait_until};

pub(crate) const TICKFS: &str = env!("CARGO_BIN_EXE_tickfs");

pub(crate) struct Bench {
    temp: tempfile::TempDir,
    /// The binary, in a directory where any user may run it.
    binary: PathBuf,
    as_stranger: bool,
}

impl Bench {
    /// A project `app` with a file `f`, that no store records.
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let bench = Self { temp, binary: PathBuf::from(TICKFS), as_stranger: false };
        std::fs::create_dir(bench.path("app")).unwrap();
        bench.write("f", "one\n");
        bench
    }

    /// The same for an ordinary user; `None`, and said, where that cannot be arranged.
    pub(crate) fn of_a_stranger() -> Option<Self> {
        let mut bench = Self::new();
        if rustix::process::getuid().is_root() {
            if !is_installed("setpriv") {
                return None;
            }
            bench.binary = bench.path("tickfs");
            std::fs::copy(TICKFS, &bench.binary).unwrap();
            bench.as_stranger = true;
            let nobody = 65534;
            for path in ["", "app", "app/f"] {
                std::os::unix::fs::chown(bench.path(path), Some(nobody), Some(nobody)).unwrap();
            }
            bench.set_mode("", 0o755);
        }
        Some(bench)
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.temp.path().canonicalize().unwrap().join(below)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path(".app.tickfs")
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.path("app").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn set_mode(&self, below: &str, mode: u32) {
        std::fs::set_permissions(self.path(below), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The binary in the project's directory, with nothing of this machine around it.
    pub(crate) fn command(&self) -> Command {
        self.wrapped(&[])
    }

    /// The binary as the argument of another program.
    pub(crate) fn wrapped(&self, wrapper: &[&str]) -> Command {
        let mut line: Vec<&OsStr> = wrapper.iter().map(OsStr::new).collect();
        if self.as_stranger {
            let become_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
            line.splice(0..0, become_nobody.map(OsStr::new));
        }
        line.push(self.binary.as_os_str());
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).current_dir(self.path("app")).stdin(Stdio::null());
        command.env("HOME", self.path("home")).env_remove("COLUMNS");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Shown {
        self.shown(self.command().args(args))
    }

    pub(crate) fn shown(&self, command: &mut Command) -> Shown {
        Shown::of(command, |text| text.replace(&self.path("").display().to_string(), "/p/"))
    }

    /// A run that is to succeed: what it printed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let shown = self.run(args);
        assert_eq!(shown.status, 0, "tickfs {} said {shown:?}", args.join(" "));
        shown.stdout
    }

    /// A run that is to fail with this status: what it said on stderr.
    pub(crate) fn fails(&self, status: i32, args: &[&str]) -> String {
        let shown = self.run(args);
        assert_eq!(shown.status, status, "tickfs {} said {shown:?}", args.join(" "));
        shown.stderr
    }

    /// Starts a recording in the background; the process's number.
    pub(crate) fn start(&self, args: &[&str]) -> u32 {
        let printed = self.ok(&[&["daemon", "start", "--json"], args].concat());
        let begun: Value = serde_json::from_str(&printed).unwrap();
        u32::try_from(begun["pid"].as_u64().unwrap()).unwrap()
    }

    pub(crate) fn listing(&self) -> Value {
        serde_json::from_str(&self.ok(&["daemon", "status", "--json"])).unwrap()
    }

    /// The files of which a recording is listed, in order.
    pub(crate) fn recorded(&self) -> Vec<String> {
        let listing = self.listing();
        let rows = listing["recordings"].as_array().unwrap();
        rows.iter().map(|row| row["file"].as_str().unwrap_or("(root)").to_owned()).collect()
    }

    /// The metadata file of a recording.
    pub(crate) fn metadata(&self, name: &str) -> PathBuf {
        self.store().join("daemons").join(format!("{name}.daemon"))
    }

    pub(crate) fn metadata_names(&self) -> Vec<String> {
        names(&self.store().join("daemons"))
    }

    /// Processes whose command line names this directory, but for keepers of mounts.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.all_processes(&|line| !line.contains("\0keep-mounts\0"))
    }

    pub(crate) fn keepers(&self) -> Vec<u32> {
        self.all_processes(&|line| line.contains("\0keep-mounts\0"))
    }

    pub(crate) fn servers(&self) -> Vec<u32> {
        self.all_processes(&|line| line.contains("\0serve-in-background\0"))
    }

    fn all_processes(&self, is_asked_for: &dyn Fn(&str) -> bool) -> Vec<u32> {
        let marker = self.path("").display().to_string();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            let names_this = line.contains(marker.trim_end_matches('/'));
            if pid != std::process::id() && is_asked_for(&line) && names_this && is_alive(pid) {
                found.push(pid);
            }
        }
        found
    }

    /// Kills processes, and the keepers before they can start the next.
    pub(crate) fn kill_with_keepers(&self, pids: &[u32]) {
        let keepers = self.keepers();
        keepers.iter().for_each(|&pid| signal(pid, Signal::STOP));
        for &pid in pids.iter().chain(&keepers) {
            signal(pid, Signal::KILL);
            wait_until("a process that was killed is gone", || !is_alive(pid));
        }
    }

    /// Every file below a directory and its bytes.
    pub(crate) fn bytes_of(&self, dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut dirs = vec![dir.to_path_buf()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(&dir).into_iter().flatten().map(|entry| entry.unwrap()) {
                match entry.file_type().unwrap().is_dir() {
                    true => dirs.push(entry.path()),
                    false => {
                        drop(files.insert(entry.path(), std::fs::read(entry.path()).unwrap_or_default()))
                    }
                }
            }
        }
        files
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.kill_with_keepers(&self.processes());
        // What a killed process left mounted would keep the directory from being removed.
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for place in mounts.lines().filter_map(|line| line.split(' ').nth(4)) {
            if Path::new(place).starts_with(self.path("")) {
                // Who waits for an answer gets an error first: the kernel takes nothing away that still waits.
                Command::new("umount").args(["-f", place]).stderr(Stdio::null()).status().unwrap();
                Command::new("umount").args(["-q", "-l", place]).stderr(Stdio::null()).status().unwrap();
            }
        }
    }
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
