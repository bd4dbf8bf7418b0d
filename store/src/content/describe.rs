//! What lies at an address, for people who look into a store.
//!
//! A version in a hot pack is described by its chain; in a cold one its chain was dissolved into a group, and only the
//! content itself is left to describe.

use crate::Result;
use crate::ids::{Address, PackForm};

use super::chain;
use super::read::ContentReader;
use super::record::Kind;

/// One record on the way from a version to what it rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub at: Address,
    pub kind: Kind,
    /// Bytes of the payload, without the record's header.
    pub stored_len: u64,
    /// Length of the content that the record stands for.
    pub raw_len: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub form: PackForm,
    pub raw_len: u64,
    /// The version first, then what it is based on; each was proved by its checksum. Empty in a cold pack.
    pub chain: Vec<Step>,
}

impl ContentReader {
    pub fn describe(&self, address: Address) -> Result<Description> {
        let pack = self.pack(address.pack)?;
        if pack.cold_index().is_some() {
            let raw_len = self.len(address)?;
            return Ok(Description { form: PackForm::Cold, raw_len, chain: Vec::new() });
        }
        let chain = chain::steps(&pack, address)?;
        let step = |&(at, header): &(Address, super::record::Header)| Step {
            at,
            kind: header.kind,
            stored_len: header.stored_len.into(),
            raw_len: header.raw_len,
        };
        let chain: Vec<Step> = chain.iter().map(step).collect();
        let raw_len = chain.first().map_or(0, |first| first.raw_len);
        Ok(Description { form: PackForm::Hot, raw_len, chain })
    }
}
