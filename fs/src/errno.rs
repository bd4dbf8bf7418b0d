//! The one place that speaks errno.

use fuser::Errno;
use tickfs_store::Error as StoreError;

use crate::error::Error;

pub(crate) fn errno(error: &Error) -> Errno {
    match error {
        Error::Store(error) => of_store(error),
        Error::NoSuchName => Errno::ENOENT,
        // The kernel looks the name up again.
        Error::Stale(_) => Errno::ESTALE,
        Error::NotADirectory(_) => Errno::ENOTDIR,
        Error::IsADirectory(_) => Errno::EISDIR,
        Error::NotASymlink(_) => Errno::EINVAL,
        // Not EIO, which means damage: nothing is broken, and nothing can be read.
        Error::NotKept(_) => Errno::ENODATA,
        Error::NameTooLong(_) => Errno::ENAMETOOLONG,
        Error::TooMany(_) => Errno::EOVERFLOW,
        Error::Mount { .. } | Error::Refused(_) => Errno::EINVAL,
    }
}

fn of_store(error: &StoreError) -> Errno {
    match error {
        StoreError::NotFound { .. } | StoreError::NotAPoint { .. } => Errno::ENOENT,
        StoreError::Corrupt { .. } | StoreError::Io { .. } | StoreError::Index { .. } => Errno::EIO,
        StoreError::Poisoned { .. } => Errno::EIO,
        StoreError::Locked { .. } => Errno::EAGAIN,
        StoreError::Refused { .. } | StoreError::Config { .. } => Errno::EINVAL,
        // The store's errors may grow; what is not known here is no reason to call the file absent.
        _ => Errno::EIO,
    }
}
