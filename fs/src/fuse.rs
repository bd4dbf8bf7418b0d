//! Translates what the kernel asks into questions to the view, and nothing more. The one module that knows fuser.
//!
//! The mount is read-only, so the kernel refuses every change by itself. OPEN and OPENDIR are answered once with ENOSYS:
//! from then on the kernel opens without asking, and keeps pages and names. What it keeps for ever is what never changes;
//! what changes has a lifetime of nothing and is asked for anew, but for the few things that stand in the way to all others,
//! which are kept until `notify.rs` says otherwise. Handlers never wait for that.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    AccessFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};
use tickfs_store::ids::UnixNanos;

use crate::ahead::Ahead;
use crate::attr::{Attr, Kind};
use crate::counters::{Counters, Operation};
use crate::errno::errno;
use crate::error::{Error, Result};
use crate::inode::Ino;
use crate::mount::kept;
use crate::pool::Pool;
use crate::view::{Entry, View};

/// For ever, as far as the kernel can count.
const EVER: Duration = Duration::from_secs(1 << 31);
const NEVER: Duration = Duration::ZERO;

pub(crate) struct Fuse {
    view: Arc<View>,
    counters: Arc<Counters>,
    pool: Pool,
    ahead: Arc<Ahead>,
}

impl Fuse {
    pub(crate) fn new(view: Arc<View>, counters: Arc<Counters>, pool: Pool, ahead: Arc<Ahead>) -> Self {
        Self { view, counters, pool, ahead }
    }

    /// Answers here, or where it may take its time. A panic is an answer too: EIO.
    fn answer<R: Send + 'static>(
        &self,
        slow: bool,
        reply: R,
        work: impl FnOnce(&View, R, &Counters) + Send + 'static,
    ) {
        let (view, counters) = (Arc::clone(&self.view), Arc::clone(&self.counters));
        let guarded = move || {
            if catch_unwind(AssertUnwindSafe(|| work(&view, reply, &counters))).is_err() {
                counters.count(Operation::Failed);
            }
        };
        if slow {
            self.counters.count(Operation::Slow);
            self.pool.run(guarded);
        } else {
            guarded();
        }
    }

    /// Meanwhile whoever lists looks at the answer.
    fn read_names_ahead(&self) {
        if self.view.has_more_names() {
            let (view, counters) = (Arc::clone(&self.view), Arc::clone(&self.counters));
            self.pool.run(move || {
                let read = catch_unwind(AssertUnwindSafe(|| view.read_names_ahead()));
                if !matches!(read, Ok(Ok(()))) {
                    // Whoever asks for them is told why.
                    counters.count(Operation::Failed);
                }
            });
        }
    }
}

fn failed(view: &View, counters: &Counters, error: &Error) -> Errno {
    if !matches!(error, Error::NoSuchName) {
        counters.count(Operation::Failed);
        view.failed(error);
    }
    errno(error)
}

fn lifetime(lasts: bool) -> Duration {
    if lasts { EVER } else { NEVER }
}

fn time(time: UnixNanos) -> SystemTime {
    let distance = Duration::from_nanos(time.0.unsigned_abs());
    if time.0 < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::File => FileType::RegularFile,
        Kind::Symlink => FileType::Symlink,
    }
}

fn file_attr(attr: &Attr) -> FileAttr {
    let mtime = time(attr.mtime);
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        blocks: attr.blocks,
        atime: mtime,
        mtime,
        ctime: mtime,
        crtime: mtime,
        kind: file_type(attr.kind),
        perm: u16::try_from(attr.mode & 0o7777).unwrap_or_default(),
        // Nobody counts subdirectories: `find` must not either.
        nlink: 1,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// A name that will never be there.
fn absent() -> FileAttr {
    let owner = crate::attr::Owner { uid: 0, gid: 0 };
    file_attr(&owner.directory(Ino(0), UnixNanos(0)))
}

impl Filesystem for Fuse {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // An old kernel lacks some of these; then it asks more often, and is answered the same.
        for wanted in [
            InitFlags::FUSE_NO_OPEN_SUPPORT,
            InitFlags::FUSE_NO_OPENDIR_SUPPORT,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_AUTO_INVAL_DATA,
        ] {
            if config.add_capabilities(wanted).is_err() {
                self.counters.count(Operation::Refused);
            }
        }
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.counters.count(Operation::Lookup);
        let (parent, name) = (Ino(parent.0), name.as_bytes().to_vec());
        let slow = self.view.is_slow_to_look_up(parent, &name);
        self.answer(slow, reply, move |view, reply, counters| match view.lookup(parent, &name) {
            Ok(Entry { attr, name_lasts, attr_lasts }) => reply.entry_with_ttls(
                &lifetime(attr_lasts),
                &lifetime(name_lasts),
                &file_attr(&attr),
                Generation(0),
            ),
            Err(Error::NoSuchName) if view.absence_lasts(parent) => {
                reply.entry(&EVER, &absent(), Generation(0));
            }
            Err(error) => reply.error(failed(view, counters, &error)),
        });
    }

    fn forget(&self, _request: &Request, ino: INodeNo, references: u64) {
        self.counters.count(Operation::Forget);
        self.view.forget(Ino(ino.0), references);
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        self.counters.count(Operation::Getattr);
        let ino = Ino(ino.0);
        self.answer(false, reply, move |view, reply, counters| match view.getattr(ino) {
            Ok(entry) => reply.attr(&lifetime(entry.attr_lasts), &file_attr(&entry.attr)),
            Err(error) => reply.error(failed(view, counters, &error)),
        });
    }

    fn readlink(&self, _request: &Request, ino: INodeNo, reply: ReplyData) {
        self.counters.count(Operation::Readlink);
        let ino = Ino(ino.0);
        self.answer(false, reply, move |view, reply, counters| match view.readlink(ino) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(failed(view, counters, &error)),
        });
    }

    fn open(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.counters.count(Operation::Open);
        reply.error(Errno::ENOSYS);
    }

    fn opendir(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.counters.count(Operation::Opendir);
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
        self.counters.count(Operation::Read);
        let (ino, size) = (Ino(ino.0), size as usize);
        let slow = self.view.is_slow_to_read(ino, size);
        if offset == 0 {
            self.ahead.reads(ino);
        }
        self.answer(slow, reply, move |view, reply, counters| match view.read(ino, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(failed(view, counters, &error)),
        });
    }

    fn readdir(&self, _request: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, reply: ReplyDirectory) {
        self.counters.count(Operation::Readdir);
        let ino = Ino(ino.0);
        let slow = self.view.is_slow_to_list(ino);
        self.answer(slow, reply, move |view, mut reply, counters| {
            let listed = view.readdir(ino, offset, false, &mut |entry| {
                let name = OsStr::from_bytes(entry.name);
                reply.add(INodeNo(entry.ino.0), entry.cookie, file_type(entry.kind), name)
            });
            match listed {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(failed(view, counters, &error)),
            }
        });
    }

    fn readdirplus(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.counters.count(Operation::Readdirplus);
        let ino = Ino(ino.0);
        let slow = self.view.is_slow_to_list(ino);
        let ahead = Arc::clone(&self.ahead);
        self.answer(slow, reply, move |view, mut reply, counters| {
            let mut known = Vec::new();
            let listed = view.readdir(ino, offset, true, &mut |entry| {
                let name = OsStr::from_bytes(entry.name);
                let (attr, lasts) = match &entry.entry {
                    // There is one lifetime for both.
                    Some(known) => (file_attr(&known.attr), known.name_lasts && known.attr_lasts),
                    None => (FileAttr { ino: INodeNo(entry.ino.0), ..absent() }, false),
                };
                let full = reply.add(attr.ino, entry.cookie, name, &lifetime(lasts), &attr, Generation(0));
                known.extend(entry.entry.filter(|_| !full).map(|known| known.attr));
                full
            });
            match listed {
                Ok(()) => {
                    reply.ok();
                    ahead.listed(&known);
                }
                Err(error) => reply.error(failed(view, counters, &error)),
            }
        });
        if !slow {
            self.read_names_ahead();
        }
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        self.counters.count(Operation::Statfs);
        self.answer(true, reply, move |view, reply, counters| match view.used() {
            Ok((bytes, things)) => reply.statfs(bytes.div_ceil(4096), 0, 0, things, 0, 4096, 255, 4096),
            Err(error) => reply.error(failed(view, counters, &error)),
        });
    }

    fn lseek(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        self.counters.count(Operation::Lseek);
        let ino = Ino(ino.0);
        self.answer(false, reply, move |view, reply, counters| match view.seek(ino, offset, whence) {
            Ok(Some(offset)) => reply.offset(offset),
            Ok(None) => reply.error(Errno::ENXIO),
            Err(error) => reply.error(failed(view, counters, &error)),
        });
    }

    fn flush(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.counters.count(Operation::Refused);
        reply.error(Errno::ENOSYS);
    }

    /// access(2) and chdir(2), where the kernel does not check by itself: whoever mounted may read all, and run programs.
    fn access(&self, _request: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        self.counters.count(Operation::Access);
        let ino = Ino(ino.0);
        self.answer(false, reply, move |view, reply, counters| match view.is_program(ino) {
            Ok(false) if mask.contains(AccessFlags::X_OK) => reply.error(Errno::EACCES),
            Ok(_) => reply.ok(),
            Err(error) => reply.error(failed(view, counters, &error)),
        });
    }

    fn getxattr(&self, _request: &Request, _ino: INodeNo, _name: &OsStr, _size: u32, reply: ReplyXattr) {
        self.counters.count(Operation::Refused);
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _request: &Request, _ino: INodeNo, _size: u32, reply: ReplyXattr) {
        self.counters.count(Operation::Refused);
        reply.error(Errno::ENOSYS);
    }
}

/// The kernel's end of it.
pub(crate) enum Connection {
    /// Just mounted.
    New(OwnedFd),
    /// Another process agreed on it with the kernel.
    Begun { device: OwnedFd, replace: Replace },
}

/// Makes a descriptor refer to what another one refers to.
type Replace = fn(BorrowedFd<'_>, BorrowedFd<'_>) -> std::io::Result<()>;

/// What the event loop rests on.
pub(crate) fn session(
    view: Arc<View>,
    counters: Arc<Counters>,
    connection: Connection,
    allow_other: bool,
    ahead: Arc<Ahead>,
) -> Result<fuser::BackgroundSession> {
    let refused = |what: &'static str| {
        move |source| Error::Mount {
            what: format!("could not {what}: is the kernel's FUSE in order?"),
            source,
        }
    };
    let pool = Pool::new(2).map_err(refused("start the threads of the mount"))?;
    let acl = if allow_other { fuser::SessionACL::All } else { fuser::SessionACL::Owner };
    let fuse = Fuse::new(view, counters, pool, ahead);
    let agree = |device| fuser::Session::from_fd(fuse, device, acl, fuser::Config::default());
    let session = match connection {
        Connection::New(device) => agree(device).map_err(refused("agree with the kernel on a protocol"))?,
        Connection::Begun { device, replace } => {
            take_over(agree, device, replace).map_err(refused("take the connection over"))?
        }
    };
    session.spawn().map_err(refused("start the event loop of the mount"))
}

fn take_over(
    agree: impl FnOnce(OwnedFd) -> std::io::Result<fuser::Session<Fuse>>,
    device: OwnedFd,
    replace: Replace,
) -> std::io::Result<fuser::Session<Fuse>> {
    let (greeted, _until_it_was_answered) = kept::greeted()?;
    let session = agree(greeted)?;
    replace(session.as_fd(), device.as_fd())?;
    kept::resend(&device)?;
    Ok(session)
}
