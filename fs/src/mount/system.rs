//! mount(2) by ourselves where that is allowed, else by `fusermount3`.
//!
//! Not by fuser, because what it mounted it may later unmount from under somebody else.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::mount::{MountFlags, UnmountFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
};

use crate::error::{Error, Result};
use crate::view::Options;

/// What `mount` shows as the type is `fuse.tickfs`.
const SUBTYPE: &str = "tickfs";

/// Mounts, and gives the connection to the kernel.
pub(super) fn mount(mountpoint: &Path, options: &Options) -> Result<OwnedFd> {
    let failed = |source: io::Error| Error::Mount {
        what: format!("could not mount at {}", mountpoint.display()),
        source,
    };
    if rustix::process::geteuid().is_root() {
        directly(mountpoint, options)
    } else {
        helped(mountpoint, options)
    }
    .map_err(failed)
}

fn directly(mountpoint: &Path, options: &Options) -> io::Result<OwnedFd> {
    let device: OwnedFd = File::options().read(true).write(true).open("/dev/fuse")?.into();
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={}",
        device.as_raw_fd(),
        uid.as_raw(),
        gid.as_raw()
    );
    if options.allow_other {
        data.push_str(",allow_other,default_permissions");
    }
    let data = CString::new(data)?;
    let source = CString::new(options.fsname.as_bytes())?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
    let kind = format!("fuse.{SUBTYPE}");
    rustix::mount::mount(source, mountpoint, kind.as_str(), flags, Some(data.as_c_str()))?;
    Ok(device)
}

/// The helper opens the device, mounts it and hands it over a socket that it finds as its standard input.
fn helped(mountpoint: &Path, options: &Options) -> io::Result<OwnedFd> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let mut said = format!("ro,nosuid,nodev,noatime,subtype={SUBTYPE},fsname={}", escaped(&options.fsname));
    if options.allow_other {
        said.push_str(",allow_other,default_permissions");
    }
    let output = Command::new("fusermount3")
        .arg("-o")
        .arg(said)
        .arg("--")
        .arg(mountpoint)
        .env("_FUSE_COMMFD", "0")
        .stdin(Stdio::from(theirs))
        .output()?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(io::Error::other(format!("fusermount3 refused: {why}")));
    }
    receive(&ours)
}

/// Commas end an option, so they are escaped, and so are backslashes.
fn escaped(fsname: &str) -> String {
    fsname.replace('\\', "\\\\").replace(',', "\\,")
}

fn receive(socket: &OwnedFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut buffers = [IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut devices) = message
            && let Some(device) = devices.next()
        {
            return Ok(device);
        }
    }
    Err(io::Error::other("fusermount3 handed over no connection"))
}

/// Breaks the connection, if the mount is busy; else the mount is gone too. Only root may, and only root has to: what nobody serves
/// any more breaks by itself, when whoever keeps it gives up.
pub(super) fn abort(mountpoint: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    match rustix::mount::unmount(mountpoint, UnmountFlags::FORCE) {
        Ok(()) | Err(rustix::io::Errno::BUSY | rustix::io::Errno::INVAL) => Ok(()),
        Err(error) => Err(Error::Mount {
            what: format!("could not break the connection of {}", mountpoint.display()),
            source: error.into(),
        }),
    }
}

/// Takes the mount away from the name at once, and from whoever still reads when they end.
pub(super) fn unmount(mountpoint: &Path) -> Result<()> {
    let failed = |source| Error::Mount {
        what: format!("could not unmount {}: try `umount -l` on it", mountpoint.display()),
        source,
    };
    if rustix::process::geteuid().is_root() {
        return match rustix::mount::unmount(mountpoint, UnmountFlags::DETACH) {
            // Somebody else did it.
            Err(rustix::io::Errno::INVAL) => Ok(()),
            done => done.map_err(|error| failed(error.into())),
        };
    }
    let helper = Command::new("fusermount3").args(["-u", "-z", "--"]).arg(mountpoint).output();
    let output = helper.map_err(failed)?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let why = OsStr::from_bytes(&output.stderr).to_string_lossy().trim().to_owned();
            Err(failed(io::Error::other(why)))
        }
    }
}
