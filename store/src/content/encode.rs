//! Decides how a content is stored, and makes its bytes: pure, so that many threads can do it at once.
//!
//! A version becomes a splice on the version before as long as the chain stays short in hops and in bytes; else a
//! keyframe, compressed with the first keyframe of its group as prefix where that halves it.

use crate::ids::{Address, ContentHash, PackId};

use super::codec;
use super::differ;
use super::large::{self, CHUNK_LEN};
use super::record::{GROUP_MAX, HOPS_MAX, Kind, TEXT_MAX};
use super::splice;

/// A shorter splice is not worth compressing.
const PACK_SPLICE_MIN: usize = 192;
/// What a chain may take beyond half of its text, so that small files have chains too.
const CHAIN_SLACK: usize = 64;

/// A version that the next one may be based on, as [`ContentReader::base_for`](super::ContentReader::base_for)
/// found it.
#[derive(Debug, Clone)]
pub struct Base {
    pub(super) address: Address,
    pub(super) hops: u8,
    pub(super) chain_bytes: u32,
    pub(super) text: Vec<u8>,
    /// Known where the chain is nearly used up, and a keyframe likely.
    pub(super) group: Option<Group>,
}

/// Keyframes that share the first of them as prefix.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) first: Address,
    /// The place of the next keyframe.
    pub(super) next_place: u8,
    pub(super) text: Vec<u8>,
}

impl Base {
    /// The content of the version.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    #[must_use]
    pub fn into_text(self) -> Vec<u8> {
        self.text
    }

    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// A version that nothing can be based on: what follows it becomes a keyframe.
    pub(super) fn closed(address: Address) -> Self {
        Self { address, hops: HOPS_MAX, chain_bytes: 0, text: Vec::new(), group: None }
    }

    /// Whether one more splice may follow.
    pub(super) fn is_open(&self) -> bool {
        self.hops < HOPS_MAX
    }
}

/// Whether the next version on such a chain is likely to be a keyframe.
pub(super) fn is_nearly_used_up(hops: u8, chain_bytes: u32, text_len: usize) -> bool {
    hops >= HOPS_MAX || chain_bytes as usize > text_len / 4
}

/// A content that is ready to be appended.
#[derive(Debug, Clone)]
pub struct Encoded {
    pub(super) base: Option<Address>,
    pub(super) hops: u8,
    pub(super) chain_bytes: u32,
    pub(super) raw_len: u64,
    pub(super) hash: ContentHash,
    pub(super) body: Body,
}

#[derive(Debug, Clone)]
pub(super) enum Body {
    Record { kind: Kind, payload: Vec<u8> },
    Chunks(Vec<EncodedChunk>),
}

#[derive(Debug, Clone)]
pub(super) struct EncodedChunk {
    pub(super) hash: ContentHash,
    pub(super) raw_len: usize,
    pub(super) payload: Vec<u8>,
}

impl Encoded {
    #[must_use]
    pub fn hash(&self) -> ContentHash {
        self.hash
    }

    #[must_use]
    pub fn raw_len(&self) -> u64 {
        self.raw_len
    }

    /// The version it is a difference to, or shares a prefix with. It must be in the pack that this is appended to.
    #[must_use]
    pub fn base(&self) -> Option<Address> {
        self.base
    }

    /// How its last record is to be read.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match &self.body {
            Body::Record { kind, .. } => *kind,
            Body::Chunks(_) => Kind::ChunkList,
        }
    }

    /// Bytes of payload that appending it will write.
    #[must_use]
    pub fn stored_len(&self) -> usize {
        match &self.body {
            Body::Record { payload, .. } => payload.len(),
            Body::Chunks(chunks) => chunks.iter().map(|chunk| chunk.payload.len()).sum(),
        }
    }
}

/// How hard a keyframe is made smaller.
#[derive(Debug, Clone, Copy)]
struct Effort {
    level: i32,
    /// A prefix is worth its second look at every read if this much of the keyframe's size is left, in hundredths.
    left_max: usize,
}

const HOT: Effort = Effort { level: codec::LEVEL_HOT, left_max: 50 };
const FIRST: Effort = Effort { level: codec::LEVEL_FIRST, left_max: 90 };

/// Longer contents are not shared as a prefix among neighbours: what they gain is less than what their own next keyframe loses.
const NEIGHBOUR_MAX: usize = 32 * 1024;

/// Contents that are seen for the first time, one after the other, as the files of a directory are: each may share a prefix
/// with one that was written just before.
#[derive(Debug, Default)]
pub struct Neighbours(Option<Group>);

impl Neighbours {
    /// A content that no version was before. `active` is the pack that it is about to be appended to.
    #[must_use]
    pub fn encode(&self, new: &[u8], active: PackId) -> Encoded {
        let hash = ContentHash::of(new);
        if new.len() > CHUNK_LEN {
            return as_chunks(new, hash);
        }
        let group = self.0.as_ref().filter(|group| group.first.pack == active && new.len() <= NEIGHBOUR_MAX);
        as_keyframe(new, hash, group, FIRST)
    }

    /// It was appended: what follows may share its prefix, or have it as prefix.
    pub fn appended(&mut self, new: &[u8], encoded: &Encoded, at: Address) {
        match (encoded.kind(), &mut self.0) {
            (Kind::Prefixed, Some(group)) => group.next_place += 1,
            (Kind::Keyframe, _) if new.len() <= NEIGHBOUR_MAX => {
                self.0 = Some(Group { first: at, next_place: 1, text: new.to_vec() });
            }
            _ => {}
        }
    }
}

/// `previous` must be in the pack that is active, or not be given.
#[must_use]
pub fn encode(new: &[u8], previous: Option<&Base>) -> Encoded {
    let hash = ContentHash::of(new);
    let on_chain = previous.and_then(|base| as_splice(new, hash, base));
    let worth_comparing = new.len() / 8;
    match on_chain {
        Some(splice) if splice.stored_len() <= worth_comparing || new.len() > CHUNK_LEN => splice,
        None if new.len() > CHUNK_LEN => as_chunks(new, hash),
        on_chain => {
            let whole = as_keyframe(new, hash, previous.and_then(|base| base.group.as_ref()), HOT);
            on_chain.filter(|splice| splice.stored_len() < whole.stored_len()).unwrap_or(whole)
        }
    }
}

/// `None` if the chain would become too long, or the difference is too large to be worth it.
pub(super) fn as_splice(new: &[u8], hash: ContentHash, base: &Base) -> Option<Encoded> {
    if !base.is_open() || new.len() as u64 > TEXT_MAX {
        return None;
    }
    let of_chain = (new.len() / 2 + CHAIN_SLACK).checked_sub(base.chain_bytes as usize)?;
    let budget = if new.len() > CHUNK_LEN { of_chain.min(new.len() / 8) } else { of_chain };
    let plain = splice::encode(&differ::edits(&base.text, new), new);
    let (kind, payload) =
        match (plain.len() > PACK_SPLICE_MIN).then(|| codec::compress(&plain, codec::LEVEL_HOT)) {
            Some(packed) if packed.len() < plain.len() => (Kind::PackedSplice, packed),
            _ => (Kind::Splice, plain),
        };
    if payload.len() > budget {
        return None;
    }
    let added = u32::try_from(payload.len()).ok()?;
    Some(Encoded {
        base: Some(base.address),
        hops: base.hops + 1,
        chain_bytes: base.chain_bytes.checked_add(added)?,
        raw_len: new.len() as u64,
        hash,
        body: Body::Record { kind, payload },
    })
}

fn as_keyframe(new: &[u8], hash: ContentHash, group: Option<&Group>, effort: Effort) -> Encoded {
    let packed = codec::compress(new, effort.level);
    let prefixed = group
        .filter(|group| group.next_place < GROUP_MAX)
        .and_then(|group| Some((group, codec::compress_after(&group.text, new, effort.level)?)))
        .filter(|(_, payload)| payload.len() * 100 < packed.len() * effort.left_max);
    let (base, hops, kind, payload) = match prefixed {
        Some((group, payload)) => (Some(group.first), group.next_place, Kind::Prefixed, payload),
        None if packed.len() * 100 > new.len() * 97 => (None, 0, Kind::Raw, new.to_vec()),
        None => (None, 0, Kind::Keyframe, packed),
    };
    let body = Body::Record { kind, payload };
    Encoded { base, hops, chain_bytes: 0, raw_len: new.len() as u64, hash, body }
}

fn as_chunks(new: &[u8], hash: ContentHash) -> Encoded {
    let chunk = |raw: &[u8]| EncodedChunk {
        hash: ContentHash::of(raw),
        raw_len: raw.len(),
        payload: large::encode_chunk(raw),
    };
    let body = Body::Chunks(new.chunks(CHUNK_LEN).map(chunk).collect());
    Encoded { base: None, hops: 0, chain_bytes: 0, raw_len: new.len() as u64, hash, body }
}
