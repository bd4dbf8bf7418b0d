//! One file, shown through FUSE, that writes down whatever it is told.
//!
//! Invariant: an operation is in the log before it is answered.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData,
    ReplyEmpty, ReplyWrite, Request, WriteFlags,
};
use parking_lot::Mutex;

use crate::image::Image;
use crate::recording::{Operation, Position};

/// Shared between the FUSE session and whoever reads the log.
#[derive(Debug, Clone)]
pub(crate) struct Medium(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    image: Image,
    operations: Vec<Operation>,
}

impl Medium {
    pub(crate) fn new(image: Image) -> Self {
        Self(Arc::new(Mutex::new(State { image, operations: Vec::new() })))
    }

    pub(crate) fn position(&self) -> Position {
        Position(self.0.lock().operations.len())
    }

    /// The log up to now. What comes later is not asked for any more.
    pub(crate) fn take_operations(&self) -> Vec<Operation> {
        std::mem::take(&mut self.0.lock().operations)
    }
}

/// The file is the root of its filesystem: it is mounted on a file.
impl Filesystem for Medium {
    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let size = self.0.lock().image.len();
        let attr = FileAttr {
            ino,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: FileType::RegularFile,
            perm: 0o600,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        };
        reply.attr(&Duration::MAX, &attr);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let bytes = self.0.lock().image.read(offset, u64::from(size));
        reply.data(&bytes);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.0.lock();
        state.image.write(offset, data);
        state.operations.push(Operation::Write { offset, bytes: data.to_vec() });
        drop(state);
        match u32::try_from(data.len()) {
            Ok(len) => reply.written(len),
            Err(_larger_than_any_request) => reply.error(Errno::EINVAL),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.0.lock().operations.push(Operation::Flush);
        reply.ok();
    }

    /// Comes with every close, and makes nothing durable.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    /// No holes are punched: the loop device is then told in writes.
    fn fallocate(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, _: u64, _: i32, reply: ReplyEmpty) {
        reply.error(Errno::EOPNOTSUPP);
    }
}
