//! The bytes of versions: decoded once, kept within a limit, and long ones read in windows.

use std::sync::Arc;

use tickfs_store::Version;
use tickfs_store::content::{CHUNK_LEN, ContentReader};
use tickfs_store::ids::Address;

use super::Bytes;
use crate::cache::ByteCache;
use crate::error::{Error, Result};

/// So many bytes of contents are kept.
const LIMIT: usize = 64 * 1024 * 1024;
/// What is read at once of a content that is not kept whole.
const WINDOW: u64 = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Contents {
    reader: ContentReader,
    /// By where a content begins, and by the window of it; a short one is window 0.
    kept: ByteCache<(Address, u64)>,
}

impl Contents {
    pub(super) fn new(reader: ContentReader) -> Self {
        Self { reader, kept: ByteCache::new(LIMIT) }
    }

    pub(super) fn whole(&self, version: &Version) -> Result<Arc<[u8]>> {
        let address = version.content.ok_or(Error::NotKept(version.tick))?;
        self.kept_or((address, 0), || self.reader.read(address))
    }

    pub(super) fn read(&self, version: &Version, offset: u64, len: usize) -> Result<Bytes> {
        if version.size <= CHUNK_LEN as u64 {
            return Ok(Bytes::cut(self.whole(version)?, offset, len));
        }
        let address = version.content.ok_or(Error::NotKept(version.tick))?;
        let end = offset.saturating_add(len as u64).min(version.size);
        let (first, last) = (offset / WINDOW, end.saturating_sub(1) / WINDOW);
        if offset >= end {
            return Ok(Bytes::cut(Arc::from([]), 0, 0));
        }
        if first == last {
            return Ok(Bytes::cut(self.window(address, first)?, offset % WINDOW, len));
        }
        let mut all = Vec::with_capacity(len);
        for window in first..=last {
            all.extend_from_slice(&self.window(address, window)?);
        }
        Ok(Bytes::cut(all.into(), offset % WINDOW, len))
    }

    fn window(&self, address: Address, window: u64) -> Result<Arc<[u8]>> {
        let len = usize::try_from(WINDOW).unwrap_or(usize::MAX);
        self.kept_or((address, window), || self.reader.read_range(address, window * WINDOW, len))
    }

    fn kept_or(
        &self,
        key: (Address, u64),
        read: impl FnOnce() -> tickfs_store::Result<Vec<u8>>,
    ) -> Result<Arc<[u8]>> {
        if let Some(bytes) = self.kept.get(key) {
            return Ok(bytes);
        }
        let bytes: Arc<[u8]> = read()?.into();
        self.kept.put(key, &bytes);
        Ok(bytes)
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.bytes()
    }
}
