//! From bytes to what a record names: equal contents are found, the others are kept in the packs.

use std::io::Read;

use super::{Content, Found, Kept, Meta, Mutation};
use crate::content::{self, CHUNK_LEN, ContentWriter, Encoded};
use crate::error::{Error, Result};
use crate::ids::{Address, ContentHash, Rec};
use crate::index::{BIG_RECORD, Version};
use crate::journal::entry::NodeType;

impl Mutation<'_> {
    /// Hands the content back if it, or the metadata that counts, differs from what is known.
    pub(super) fn unless_equal<'a>(
        &self,
        known: Option<&Found>,
        meta: &Meta,
        content: Content<'a>,
    ) -> Result<Option<Content<'a>>> {
        let same_meta = known.is_some_and(|f| {
            let v = &f.version;
            let same_owner = !self.owners_count || (v.uid, v.gid) == (meta.uid, meta.gid);
            same_owner && (v.kind, v.mode) == (meta.kind, meta.mode)
        });
        let equal = same_meta && self.same_content(known, &content)?;
        Ok((!equal).then_some(content))
    }

    pub(super) fn same_content(&self, known: Option<&Found>, content: &Content<'_>) -> Result<bool> {
        let Some(version) = known.map(|f| &f.version) else { return Ok(false) };
        match (content, version.content) {
            (Content::None, None) => Ok(version.kind == NodeType::Dir),
            (Content::Bytes(new), Some(old)) if version.size == new.len() as u64 => {
                match self.contents.read(old) {
                    // What does not read any more is no reason to lose what comes after it.
                    Err(Error::Corrupt { .. }) => Ok(false),
                    old => Ok(old? == *new),
                }
            }
            (Content::Stored { rec, hash, size }, Some(old)) => {
                Ok(rec.at == old || (version.size == *size && self.kept_of(version)?.hash == Some(*hash)))
            }
            (Content::Skipped { size }, None) => Ok(version.kind == NodeType::File && version.size == *size),
            _ => Ok(false),
        }
    }

    /// A stream can be read only once, so it is kept before anybody knows whether it differs.
    pub(super) fn take_stream<'a>(
        &mut self,
        known: Option<&Found>,
        content: Content<'a>,
    ) -> Result<Content<'a>> {
        let Content::Stream { .. } = content else { return Ok(content) };
        let kept = self.keep(known.and_then(|f| f.version.content), content)?;
        match (kept.rec, kept.hash) {
            (Some(rec), Some(hash)) => Ok(Content::Stored { rec, hash, size: kept.size }),
            _ => Ok(Content::Skipped { size: kept.size }),
        }
    }

    pub(super) fn keep(&mut self, previous: Option<Address>, content: Content<'_>) -> Result<Kept> {
        match content {
            Content::None => Ok(Kept { size: 0, hash: None, rec: None }),
            Content::Skipped { size } => Ok(Kept { size, hash: None, rec: None }),
            Content::Stored { rec, hash, size } => Ok(Kept { size, hash: Some(hash), rec: Some(rec) }),
            Content::Stream { reader, size } if size > CHUNK_LEN as u64 => {
                let stored = self.packs.append_large(reader, previous, self.contents)?;
                let len = u32::try_from(stored.raw_len).unwrap_or(u32::MAX);
                let rec = Rec { at: stored.address, len };
                Ok(Kept { size: stored.raw_len, hash: Some(stored.hash), rec: Some(rec) })
            }
            Content::Stream { reader, .. } => {
                let bytes = read_small(reader)?;
                self.keep_bytes(previous, &bytes)
            }
            Content::Bytes(bytes) => self.keep_bytes(previous, &bytes),
        }
    }

    /// Of a path that was never seen before, among others of which that holds too.
    pub(super) fn keep_first(&mut self, content: Content<'_>) -> Result<Kept> {
        let bytes = match content {
            Content::Bytes(bytes) => bytes,
            Content::Stream { reader, size } if size <= CHUNK_LEN as u64 => read_small(reader)?,
            content => return self.keep(None, content),
        };
        let encoded = self.packs.encode_first(&bytes);
        self.refer_or_append(&bytes, &encoded, |packs| packs.append_first(&bytes, &encoded))
    }

    pub(super) fn keep_bytes(&mut self, previous: Option<Address>, bytes: &[u8]) -> Result<Kept> {
        // A base in an older pack cannot be chained on: the version becomes a keyframe.
        let base = previous.filter(|a| a.pack == self.packs.active());
        let base = match base.map(|address| self.contents.base_for(address)) {
            // A damaged version is no base: this one stands alone.
            Some(Err(Error::Corrupt { .. })) | None => None,
            Some(base) => Some(base?),
        };
        let encoded = content::encode(bytes, base.as_ref());
        self.refer_or_append(bytes, &encoded, |packs| packs.append(&encoded))
    }

    fn refer_or_append(
        &mut self,
        bytes: &[u8],
        encoded: &Encoded,
        append: impl FnOnce(&mut ContentWriter) -> Result<Address>,
    ) -> Result<Kept> {
        let hash = encoded.hash();
        let len = u32::try_from(encoded.stored_len()).unwrap_or(u32::MAX);
        let known = if len > BIG_RECORD { self.query().big(hash)? } else { None };
        // Nothing is referred to that was not read again: damage must not spread to what is whole here.
        let known = known.filter(|rec| self.contents.read(rec.at).is_ok_and(|there| there == bytes));
        let rec = match known {
            Some(rec) => rec,
            None => Rec { at: append(self.packs)?, len },
        };
        Ok(Kept { size: bytes.len() as u64, hash: Some(hash), rec: Some(rec) })
    }

    /// The content of a version that is in the store, to be referred to again.
    pub(super) fn stored_content(&self, version: &Version) -> Result<Content<'static>> {
        Ok(match (version.kind, version.content) {
            (NodeType::Dir, _) => Content::None,
            (_, None) => Content::Skipped { size: version.size },
            (_, Some(_)) => {
                let kept = self.kept_of(version)?;
                match (kept.rec, kept.hash) {
                    (Some(rec), Some(hash)) => Content::Stored { rec, hash, size: kept.size },
                    _ => Content::Skipped { size: kept.size },
                }
            }
        })
    }

    /// The index does not keep hashes: the content is read, which also shows that it is whole.
    pub(super) fn kept_of(&self, version: &Version) -> Result<Kept> {
        let Some(address) = version.content else {
            return Ok(Kept { size: version.size, hash: None, rec: None });
        };
        let mut hasher = blake3::Hasher::new();
        let mut stream = self.contents.stream(address)?;
        std::io::copy(&mut stream, &mut hasher).map_err(Error::io("read", "a stored version".as_ref()))?;
        let rec = Rec { at: address, len: 0 };
        Ok(Kept { size: version.size, hash: Some(ContentHash::from_hasher(&hasher)), rec: Some(rec) })
    }
}

/// What fits in memory.
fn read_small(reader: &mut dyn Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map_err(Error::io("read", "the file to record".as_ref()))?;
    Ok(bytes)
}
