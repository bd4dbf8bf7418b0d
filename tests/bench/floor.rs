//! A FUSE filesystem that does nothing but hold a tree in memory, with everything that makes the kernel ask less: what a
//! mount could be at best on this machine.

use std::collections::HashMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Result;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEntry, ReplyOpen,
    ReplyXattr, Request, Session, SessionACL,
};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

const EVER: Duration = Duration::from_secs(1 << 30);

#[derive(Debug)]
struct Node {
    attr: FileAttr,
    bytes: Vec<u8>,
    children: Vec<(OsString, usize)>,
    by_name: HashMap<OsString, usize>,
}

#[derive(Debug)]
struct Floor {
    nodes: Vec<Node>,
}

/// Mounted until it is dropped.
#[derive(Debug)]
pub(crate) struct FloorMount {
    at: PathBuf,
    _session: fuser::BackgroundSession,
}

impl FloorMount {
    /// Shows what lies in a directory.
    pub(crate) fn of(dir: &Path, at: &Path) -> Result<Self> {
        fs::create_dir_all(at)?;
        let mut floor = Floor { nodes: Vec::new() };
        floor.add(dir)?;
        let device: OwnedFd = File::options().read(true).write(true).open("/dev/fuse")?.into();
        let options = CString::new(format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd()))?;
        mount("floor", at, "fuse.floor", MountFlags::RDONLY, Some(options.as_c_str()))?;
        let session = Session::from_fd(floor, device, SessionACL::Owner, fuser::Config::default())?;
        Ok(Self { at: at.to_owned(), _session: session.spawn()? })
    }
}

impl Drop for FloorMount {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.at, UnmountFlags::DETACH) {
            println!("{} stays mounted: {error}", self.at.display());
        }
    }
}

impl Floor {
    fn add(&mut self, path: &Path) -> Result<usize> {
        let stat = fs::metadata(path)?;
        let number = self.nodes.len();
        let bytes = if stat.is_dir() { Vec::new() } else { fs::read(path)? };
        let attr = FileAttr {
            ino: INodeNo(number as u64 + 1),
            size: bytes.len() as u64,
            blocks: (bytes.len() as u64).div_ceil(4096) * 8,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if stat.is_dir() { FileType::Directory } else { FileType::RegularFile },
            perm: u16::try_from(stat.permissions().mode() & 0o7777)?,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        };
        self.nodes.push(Node { attr, bytes, children: Vec::new(), by_name: HashMap::new() });
        if stat.is_dir() {
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                let child = self.add(&entry.path())?;
                self.nodes[number].children.push((entry.file_name(), child));
                self.nodes[number].by_name.insert(entry.file_name(), child);
            }
        }
        Ok(number)
    }

    fn node(&self, ino: INodeNo) -> &Node {
        &self.nodes[usize::try_from(ino.0).unwrap_or(1) - 1]
    }
}

impl Filesystem for Floor {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let wanted = InitFlags::FUSE_NO_OPEN_SUPPORT
            | InitFlags::FUSE_NO_OPENDIR_SUPPORT
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_PARALLEL_DIROPS;
        config.add_capabilities(wanted).map_err(|_missing| std::io::ErrorKind::Unsupported.into())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.node(parent).by_name.get(name) {
            Some(&child) => reply.entry(&EVER, &self.nodes[child].attr, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&EVER, &self.node(ino).attr);
    }

    fn open(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn opendir(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn getxattr(&self, _request: &Request, _ino: INodeNo, _name: &OsStr, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn read(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let bytes = &self.node(ino).bytes;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        reply.data(&bytes[from..bytes.len().min(from + size as usize)]);
    }

    fn readdir(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        for (place, (name, child)) in
            (1..).zip(&self.node(ino).children).skip(usize::try_from(offset).unwrap_or(0))
        {
            let attr = &self.nodes[*child].attr;
            if reply.add(attr.ino, place, attr.kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn readdirplus(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        for (place, (name, child)) in
            (1..).zip(&self.node(ino).children).skip(usize::try_from(offset).unwrap_or(0))
        {
            let attr = &self.nodes[*child].attr;
            if reply.add(attr.ino, place, OsStr::from_bytes(name.as_bytes()), &EVER, attr, Generation(0)) {
                break;
            }
        }
        reply.ok();
    }
}
