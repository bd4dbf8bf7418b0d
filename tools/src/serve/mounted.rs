//! What is mounted where, as the kernel tells, and being told when that changes.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mounted {
    pub(crate) at: PathBuf,
    pub(crate) kind: String,
    pub(crate) source: OsString,
    /// The kernel's number of it.
    minor: String,
}

impl Mounted {
    pub(crate) fn is_ours(&self) -> bool {
        self.kind == "fuse.tickfs"
    }
}

/// Every mount, the topmost of a place last.
pub(crate) fn all() -> io::Result<Vec<Mounted>> {
    Ok(parse(&std::fs::read(MOUNTINFO)?))
}

/// The mount that one sees at a place.
pub(crate) fn at(place: &Path) -> io::Result<Option<Mounted>> {
    Ok(all()?.into_iter().rfind(|mounted| mounted.at == place))
}

fn parse(mountinfo: &[u8]) -> Vec<Mounted> {
    let lines = mountinfo.split(|&b| b == b'\n');
    let read = |line: &[u8]| {
        let mut fields = line.split(|&b| b == b' ');
        let minor = String::from_utf8_lossy(fields.nth(2)?).split_once(':')?.1.to_owned();
        let at = unescaped(fields.nth(1)?);
        // Optional fields end with a dash.
        fields.find(|field| *field == b"-")?;
        let kind = String::from_utf8_lossy(fields.next()?).into_owned();
        let source = unescaped(fields.next()?);
        Some(Mounted { at: at.into(), kind, source, minor })
    };
    lines.filter_map(read).collect()
}

/// Blanks and backslashes are written as `\` and three octal digits.
fn unescaped(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    OsString::from_vec(bytes)
}

/// Calls back whenever something was mounted or unmounted, until that says to stop.
pub(crate) fn on_change(mut changed: impl FnMut() -> bool) -> io::Result<()> {
    let mountinfo = File::open(MOUNTINFO)?;
    loop {
        let mut polled = [PollFd::new(&mountinfo, PollFlags::PRI)];
        match poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => continue,
            ready => ready?,
        };
        if !changed() {
            return Ok(());
        }
    }
}

/// Whether a mount is there of which nobody answers.
pub(crate) fn is_dead(place: &Path) -> bool {
    use rustix::io::Errno;
    let looked = std::fs::symlink_metadata(place);
    // The second is what is said just when the connection breaks.
    let dead = [Errno::NOTCONN, Errno::CONNABORTED].map(Errno::raw_os_error);
    looked.is_err_and(|error| error.raw_os_error().is_some_and(|number| dead.contains(&number)))
}

/// Breaks the connection of a mount, so that whoever waits for an answer gets an error; where the system lets one do that.
pub(crate) fn break_connection(place: &Path) -> io::Result<()> {
    let Some(mounted) = at(place)?.filter(Mounted::is_ours) else { return Ok(()) };
    let abort = format!("/sys/fs/fuse/connections/{}/abort", mounted.minor);
    match std::fs::write(abort, "1") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What stands as the source of a mount of this root.
pub(crate) fn source_of(root: &Path) -> String {
    String::from_utf8_lossy(root.as_os_str().as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_with_their_blanks() {
        let text = b"36 35 98:0 / /mnt/a\\040b rw,noatime master:1 shared:2 - fuse.tickfs /p/my\\040app ro\n\
            37 35 98:0 / / rw - ext4 /dev/\\xy rw\nbroken\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!((mounts[0].at.as_path(), mounts[0].is_ours()), (Path::new("/mnt/a b"), true));
        assert_eq!(mounts[0].minor, "0");
        assert_eq!(
            (mounts[0].source.to_str(), mounts[1].source.to_str()),
            (Some("/p/my app"), Some("/dev/\\xy"))
        );
        assert!(all().unwrap().iter().any(|mounted| mounted.at == Path::new("/proc")));
        assert!(!is_dead(Path::new("/proc")) && !is_dead(Path::new("/nowhere")));
    }
}
