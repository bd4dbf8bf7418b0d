//! What is mounted and attached, each owned by a value that undoes it when it is dropped, on a panic too.
//!
//! Invariant: the process lives in a mount namespace of its own, and a loop device goes with its last user. So even
//! a kill leaves nothing behind.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use fuser::{BackgroundSession, Config, Session, SessionACL};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::medium::Medium;

/// A filesystem that is unmounted in the end.
#[derive(Debug)]
pub(crate) struct Mounted {
    at: PathBuf,
}

impl Mounted {
    /// Memory, for images that nobody needs after a power cut.
    pub(crate) fn memory(dir: &Path) -> Result<Self> {
        Self::new(Path::new("tmpfs"), dir, "tmpfs", "mode=0700")
    }

    /// The ext4 of a device. The device goes with the mount, whoever ends it.
    pub(crate) fn ext4(device: LoopDevice, dir: &Path, options: &str) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        let mounted = Self::new(&device.path, dir, "ext4", options)?;
        device.detach().context("leaving the loop device to its mount")?;
        Ok(mounted)
    }

    fn new(source: &Path, at: &Path, kind: &str, options: &str) -> Result<Self> {
        let data = CString::new(options).context("mount options hold a NUL")?;
        mount(source, at, kind, MountFlags::NOATIME, Some(data.as_c_str()))
            .with_context(|| format!("mounting {kind} of {} at {}", source.display(), at.display()))?;
        Ok(Self { at: at.to_owned() })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let Err(busy) = unmount(&self.at, UnmountFlags::empty()) else { return };
        if let Err(error) = unmount(&self.at, UnmountFlags::DETACH) {
            eprintln!("powercut: {} stays mounted: {busy}, {error}", self.at.display());
        }
    }
}

/// The file that a medium shows.
#[derive(Debug)]
pub(crate) struct MediumFile {
    mounted: Mounted,
    /// Ends by itself once the kernel has let go of the mount.
    _session: BackgroundSession,
}

impl MediumFile {
    pub(crate) fn mount(medium: Medium, path: &Path) -> Result<Self> {
        File::create(path).context("making the file to mount on")?;
        let fuse: OwnedFd = File::options().read(true).write(true).open("/dev/fuse")?.into();
        let options = format!("fd={},rootmode=100600,user_id=0,group_id=0", fuse.as_raw_fd());
        let mounted = Mounted::new(Path::new("powercut"), path, "fuse.powercut", &options)?;
        let session = Session::from_fd(medium, fuse, SessionACL::Owner, Config::default())?;
        Ok(Self { mounted, _session: session.spawn()? })
    }

    pub(crate) fn path(&self) -> &Path {
        self.mounted.dir()
    }
}

#[derive(Debug)]
pub(crate) struct LoopDevice {
    path: PathBuf,
    attached: bool,
}

impl LoopDevice {
    /// Reads and writes go past the page cache, so that the file below sees them as the device did.
    pub(crate) fn attach(file: &Path) -> Result<Self> {
        let output = run(Command::new("losetup").args(["--find", "--show", "--direct-io=on"]).arg(file))?;
        let path = PathBuf::from(String::from_utf8(output.stdout)?.trim_end());
        Ok(Self { path, attached: true })
    }

    /// The kernel detaches a device that is in use when its last user leaves.
    fn detach(mut self) -> Result<()> {
        self.attached = false;
        run(Command::new("losetup").arg("--detach").arg(&self.path)).map(drop)
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        if !self.attached {
            return;
        }
        if let Err(error) = run(Command::new("losetup").arg("--detach").arg(&self.path)) {
            eprintln!("powercut: {} stays attached: {error:#}", self.path.display());
        }
    }
}

/// Runs a tool to its end; what it complains about becomes the error.
pub(crate) fn run(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_owned();
    let output = command.output().with_context(|| format!("starting {}", name.display()))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} ended with {}: {}", name.display(), output.status, complaint.trim());
    Ok(output)
}
