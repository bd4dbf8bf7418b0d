//! Appends contents of any size from a stream, in bounded memory.
//!
//! A small edit of a content that fits in memory becomes a splice, wherever it shifts what follows. Anything else is
//! cut into chunks, and a chunk that is stored already is referred to rather than written again: it is read back
//! first, so that damage is never inherited.

use std::collections::HashMap;
use std::io::Read;

use crate::ids::{Address, ContentHash};
use crate::{Error, Result};

use super::encode::{Base, Encoded, EncodedChunk, as_splice, encode};
use super::large::{self, CHUNK_LEN, Part};
use super::pack::{ContentWriter, Stored};
use super::read::ContentReader;
use super::record::TEXT_MAX;

impl ContentWriter {
    /// Appends all that `content` gives. `previous` is the version before, in whatever pack; `contents` reads it.
    pub fn append_large(
        &mut self,
        content: &mut dyn Read,
        previous: Option<Address>,
        contents: &ContentReader,
    ) -> Result<Stored> {
        let mut taken = Vec::new();
        take(content, &mut taken, CHUNK_LEN + 1)?;
        let base = match previous.filter(|address| address.pack == self.active()) {
            Some(address) => match contents.base_for(address) {
                // A damaged version is no base: the new one stands alone.
                Err(Error::Corrupt { .. }) => None,
                found => Some(found?),
            },
            None => None,
        };
        if taken.len() <= CHUNK_LEN {
            return self.store(&encode(&taken, base.as_ref()));
        }
        if let Some(base) = base.filter(Base::is_open) {
            let text_max = usize::try_from(TEXT_MAX).unwrap_or(usize::MAX);
            take(content, &mut taken, text_max + 1)?;
            let splice = as_splice(&taken, ContentHash::of(&taken), &base);
            if let Some(splice) = splice.filter(|_| taken.len() <= text_max) {
                return self.store(&splice);
            }
        }
        // What cannot be read cannot be shared; the new content is then written whole.
        let known = previous.map(|address| contents.parts(address).unwrap_or_default()).unwrap_or_default();
        self.append_in_chunks(&mut taken.as_slice().chain(content), &known, contents)
    }

    fn store(&mut self, encoded: &Encoded) -> Result<Stored> {
        let address = self.append(encoded)?;
        Ok(Stored { address, raw_len: encoded.raw_len(), hash: encoded.hash() })
    }

    fn append_in_chunks(
        &mut self,
        content: &mut dyn Read,
        known: &[Part],
        contents: &ContentReader,
    ) -> Result<Stored> {
        let mut shared: HashMap<ContentHash, Address> =
            known.iter().map(|part| (part.hash, part.address)).collect();
        let (mut parts, mut raw_len, mut hasher) = (Vec::new(), 0, blake3::Hasher::new());
        let mut raw = Vec::with_capacity(CHUNK_LEN);
        loop {
            raw.clear();
            take(content, &mut raw, CHUNK_LEN)?;
            if raw.is_empty() {
                break;
            }
            raw_len += raw.len() as u64;
            if raw_len > large::RAW_LEN_MAX {
                return Err(Error::refused("the content is longer than a pack can list"));
            }
            hasher.update(&raw);
            let hash = ContentHash::of(&raw);
            let address = match shared.get(&hash) {
                Some(&address) if contents.chunk_is(address, &raw) => address,
                _ => {
                    let payload = large::encode_chunk(&raw);
                    self.append_chunk(&EncodedChunk { hash, raw_len: raw.len(), payload })?
                }
            };
            shared.insert(hash, address);
            parts.push(Part { address, hash });
        }
        let address = self.append_list(&parts, raw_len)?;
        Ok(Stored { address, raw_len, hash: ContentHash::from_hasher(&hasher) })
    }
}

/// Fills `out` up to `len`, or to where the content ends.
fn take(content: &mut dyn Read, out: &mut Vec<u8>, len: usize) -> Result<()> {
    let missing = len.saturating_sub(out.len()) as u64;
    content.take(missing).read_to_end(out).map_err(Error::io("read", "the content to keep".as_ref()))?;
    Ok(())
}
