//! A mount that another process serves; it goes with its guard, whatever became of the process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use tickfs_store::Store;

pub(crate) struct Served {
    process: Child,
    /// It unmounts when this is closed.
    until: Option<ChildStdin>,
    point: PathBuf,
}

impl Served {
    /// Returns when it says that it is ready.
    #[track_caller]
    pub(crate) fn start(command: &mut Command, point: &Path) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let until = process.stdin.take();
        let mut said = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let served = Self { process, until, point: point.to_path_buf() };
        assert_eq!(said, "ready\n");
        served
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// SIGKILL: nothing is tidied up before this is dropped.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Asks it to end; says whether it ended well.
    pub(crate) fn stop(mut self) -> bool {
        drop(self.until.take());
        self.process.wait().unwrap().success()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.until.take());
        self.process.wait().unwrap();
        unmount(&self.point);
    }
}

/// Whatever lies there.
fn unmount(point: &Path) {
    let mounted = fs::read_to_string("/proc/self/mountinfo").unwrap();
    if mounted.lines().any(|line| line.split(' ').nth(4) == point.to_str()) {
        // Who waits for an answer gets an error first: the kernel takes nothing away that still waits.
        match rustix::mount::unmount(point, rustix::mount::UnmountFlags::FORCE) {
            Ok(()) => return,
            Err(error) => assert_eq!(error, rustix::io::Errno::BUSY),
        }
        rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

/// The program that serves a store.
pub(crate) fn served(store: &Store, point: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_served"));
    command.arg(store.layout().dir()).arg(point);
    command
}
