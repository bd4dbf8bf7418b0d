//! Follows a version back to its keyframe in a hot pack, and folds the splices on the way.
//!
//! Invariants:
//!   * Every record is proved by its checksum before it is believed.
//!   * Each step goes back in the pack and one hop down, so a walk ends.

use std::borrow::Cow;
use std::sync::Arc;

use crate::Result;
use crate::ids::{Address, PackForm};

use super::codec;
use super::large::{self, Part};
use super::packs::OpenPack;
use super::record::{HEADER_LEN, Header, Kind, STORED_MAX, is_sound};
use super::splice::{Fold, Piece, Pieces};

/// A version, not yet put together: where each byte of the wanted range comes from, and what it comes from.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) raw_len: u64,
    pub(super) wanted: Wanted,
    pub(super) pieces: Pieces,
    pub(super) whole: Whole,
    /// Known where more can be based on it: in a hot pack.
    pub(super) chain: Option<Chain>,
}

impl Resolved {
    /// The wanted bytes, where the content is a text.
    pub(super) fn into_text(self) -> Option<Vec<u8>> {
        let text = self.whole.into_text()?;
        if matches!(*self.pieces.list(), [Piece::Base { at: 0, len }] if len == text.len()) {
            return Some(Arc::unwrap_or_clone(text));
        }
        let mut out = Vec::with_capacity(self.wanted.len);
        for piece in self.pieces.list() {
            out.extend_from_slice(match *piece {
                Piece::Base { at, len } => &text[at..at + len],
                Piece::Inserted { at, len } => self.pieces.inserted(at, len),
            });
        }
        Some(out)
    }
}

/// What a chain of splices rests on.
#[derive(Debug)]
pub(super) enum Whole {
    Text(Arc<Vec<u8>>),
    Chunks { list: Vec<Part>, raw_len: u64 },
}

impl Whole {
    pub(super) fn into_text(self) -> Option<Arc<Vec<u8>>> {
        match self {
            Self::Text(text) => Some(text),
            Self::Chunks { .. } => None,
        }
    }
}

/// How a version hangs on its keyframe.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chain {
    pub(super) hops: u8,
    pub(super) chain_bytes: u32,
    pub(super) keyframe: Address,
    pub(super) keyframe_header: Header,
}

/// A range of a content; the end is clipped to the content's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) offset: u64,
    pub(super) len: usize,
}

impl Wanted {
    pub(super) const ALL: Self = Self { offset: 0, len: usize::MAX };
    /// Only the facts about the version.
    pub(super) const NOTHING: Self = Self { offset: 0, len: 0 };

    pub(super) fn clipped(self, raw_len: u64) -> Self {
        let left = raw_len.saturating_sub(self.offset);
        Self { offset: self.offset, len: usize::try_from(left).map_or(self.len, |left| left.min(self.len)) }
    }
}

pub(super) fn resolve(pack: &OpenPack, at: Address, wanted: Wanted) -> Result<Resolved> {
    let mut window = Window::of(pack);
    let version = window.header(at)?;
    let wanted = wanted.clipped(version.header.raw_len);
    let start = in_memory(pack, at, wanted.offset)?;
    // A content that is longer than memory can be is no splice, so nothing is folded.
    let whole_len = usize::try_from(version.header.raw_len).unwrap_or(usize::MAX);
    let mut fold = Fold::of(start, wanted.len, whole_len);
    let mut place = at;
    let mut found = version;
    while found.header.kind.is_splice() {
        let payload = window.payload(&found, place)?;
        let payload =
            unpacked_splice(found.header.kind, payload).map_err(|what| pack.corrupt(place.offset, what))?;
        fold.add(&payload).map_err(|what| pack.corrupt(place.offset, what))?;
        let (base_len, base) = (fold.base_len() as u64, found.header.base(place));
        let hops_below = found.header.hops - 1;
        found = window.header(base)?;
        if found.header.raw_len != base_len || found.header.depth() != hops_below {
            return Err(pack.corrupt(place.offset, "its base is not the one it was made for"));
        }
        place = base;
    }
    let chain = Chain {
        hops: version.header.depth(),
        chain_bytes: version.header.chain_bytes,
        keyframe: place,
        keyframe_header: found.header,
    };
    let need = match wanted.len {
        0 => Need::Proof,
        _ if place == at => Need::Once,
        _ => Need::Base,
    };
    let whole = whole(&mut window, &found, place, need)?;
    let pieces = fold.finish();
    Ok(Resolved { raw_len: version.header.raw_len, wanted, pieces, whole, chain: Some(chain) })
}

/// The records from a version to the keyframe, or to the first keyframe of the group, that it rests on. Each is proved.
pub(super) fn steps(pack: &OpenPack, at: Address) -> Result<Vec<(Address, Header)>> {
    let mut window = Window::of(pack);
    let mut steps = Vec::new();
    let mut place = at;
    loop {
        let found = window.header(place)?;
        window.payload(&found, place)?;
        steps.push((place, found.header));
        // A base lies before what rests on it, so the walk ends.
        match found.header.base_back {
            0 => return Ok(steps),
            _ => place = found.header.base(place),
        }
    }
}

/// The splice of a version, unpacked.
pub(super) fn read_splice(pack: &OpenPack, at: Address) -> Result<Vec<u8>> {
    let mut window = Window::of(pack);
    let found = window.header(at)?;
    let payload = window.payload(&found, at)?;
    let splice = unpacked_splice(found.header.kind, payload).map_err(|what| pack.corrupt(at.offset, what))?;
    Ok(splice.into_owned())
}

fn in_memory(pack: &OpenPack, at: Address, length: u64) -> Result<usize> {
    usize::try_from(length).map_err(|_too_long| pack.corrupt(at.offset, "it is longer than memory can be"))
}

/// The splice itself; its compressed form says its length, which is bounded here.
pub(super) fn unpacked_splice(kind: Kind, payload: Cow<'_, [u8]>) -> Result<Cow<'_, [u8]>, &'static str> {
    if kind != Kind::PackedSplice {
        return Ok(payload);
    }
    let len = zstd::zstd_safe::get_frame_content_size(&payload).ok().flatten();
    match len.and_then(|len| usize::try_from(len).ok()) {
        Some(len) if len <= STORED_MAX => Ok(Cow::Owned(codec::decompress(&payload, len)?)),
        _ => Err("its splice does not say its length"),
    }
}

/// What a keyframe is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Only the record is to be proved.
    Proof,
    Once,
    /// Other versions rest on it, and are likely to be asked for too.
    Base,
}

fn whole(window: &mut Window<'_>, found: &Found, at: Address, need: Need) -> Result<Whole> {
    let pack = window.pack;
    let header = &found.header;
    let raw_len = header.raw_len;
    if header.kind == Kind::Chunk {
        return Err(pack.corrupt(at.offset, "it is only a part of a content"));
    }
    let kept_at = (PackForm::Hot, at);
    if need != Need::Proof
        && let Some(text) = pack.lately().and_then(|lately| lately.texts(header.kind).get(kept_at))
        && text.len() as u64 == raw_len
    {
        return Ok(Whole::Text(text));
    }
    let payload = window.payload(found, at)?;
    if header.kind == Kind::ChunkList {
        return Ok(Whole::Chunks { list: large::parse_list(&payload), raw_len });
    }
    if need == Need::Proof {
        return Ok(Whole::Text(Arc::default()));
    }
    let len = in_memory(pack, at, raw_len)?;
    let text = match header.kind {
        Kind::Raw => Ok(payload.into_owned()),
        Kind::Keyframe => codec::decompress(&payload, len),
        Kind::Prefixed => {
            let payload = payload.into_owned();
            let first = header.base(at);
            let found = window.header(first)?;
            if !matches!(found.header.kind, Kind::Keyframe | Kind::Raw) {
                return Err(pack.corrupt(first.offset, "it is not the first keyframe of a group"));
            }
            let Whole::Text(prefix) = whole(window, &found, first, Need::Base)? else {
                return Err(pack.corrupt(first.offset, "it is not the first keyframe of a group"));
            };
            codec::decompress_after(&prefix, &payload, len)
        }
        Kind::Splice | Kind::PackedSplice | Kind::ChunkList | Kind::Chunk => {
            return Err(pack.corrupt(at.offset, "it is no keyframe"));
        }
    };
    let text = Arc::new(text.map_err(|what| pack.corrupt(at.offset, what))?);
    if need == Need::Base
        && let Some(lately) = pack.lately()
    {
        lately.texts(header.kind).put(kept_at, &text, text.len());
    }
    Ok(Whole::Text(text))
}

/// A header, and its bytes for the checksum.
#[derive(Debug, Clone, Copy)]
struct Found {
    header: Header,
    bytes: [u8; HEADER_LEN],
}

/// What was read last, so that records that stand close together cost one read.
struct Window<'p> {
    pack: &'p OpenPack,
    start: u64,
    bytes: Vec<u8>,
    /// A walk goes backwards, so most of what is read at once lies before the record; the longer the walk, the more.
    before: u64,
}

impl<'p> Window<'p> {
    const BEFORE_MIN: u64 = 3584;
    const BEFORE_MAX: u64 = 8 * Self::BEFORE_MIN;
    const AFTER: usize = 512;

    fn of(pack: &'p OpenPack) -> Self {
        Self { pack, start: 0, bytes: Vec::new(), before: Self::BEFORE_MIN }
    }

    fn header(&mut self, at: Address) -> Result<Found> {
        if self.slice(at.offset, HEADER_LEN).is_none() {
            self.start = at.offset.saturating_sub(self.before);
            self.before = (self.before * 2).min(Self::BEFORE_MAX);
            let before = usize::try_from(at.offset - self.start).unwrap_or_default();
            self.bytes.resize(before + Self::AFTER, 0);
            let read = self.pack.read_up_to(&mut self.bytes, self.start)?;
            self.bytes.truncate(read);
        }
        let Some(slice) = self.slice(at.offset, HEADER_LEN) else {
            return Err(self.pack.corrupt(at.offset, "the pack ends before it"));
        };
        let mut bytes = [0; HEADER_LEN];
        bytes.copy_from_slice(slice);
        let header = Header::parse(&bytes, at).map_err(|what| self.pack.corrupt(at.offset, what))?;
        Ok(Found { header, bytes })
    }

    /// The payload of a record whose header was read; proved.
    fn payload(&self, found: &Found, at: Address) -> Result<Cow<'_, [u8]>> {
        let len = found.header.stored_len as usize;
        let start = at.offset + HEADER_LEN as u64;
        let payload = match self.slice(start, len) {
            Some(payload) => Cow::Borrowed(payload),
            None => {
                let mut payload = vec![0; len];
                self.pack.read_whole(&mut payload, start)?;
                Cow::Owned(payload)
            }
        };
        if !is_sound(&found.bytes, at, &payload[..found.header.covered_len()]) {
            return Err(self.pack.corrupt(at.offset, "the checksum of the record is wrong"));
        }
        Ok(payload)
    }

    fn slice(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.bytes.get(from..from.checked_add(len)?)
    }
}

/// Reads a range of one chunk, whose record lies at `place` by now: the header and the table of frames, then the frames it touches.
pub(super) fn read_chunk(
    pack: &OpenPack,
    at: Address,
    place: u64,
    expected_len: usize,
    wanted: std::ops::Range<usize>,
    out: &mut Vec<u8>,
) -> Result<()> {
    let corrupt = |what: &str| pack.corrupt(place, what);
    let mut head = [0; HEADER_LEN + large::FRAME_TABLE_MAX];
    let read = pack.read_up_to(&mut head, place)?;
    let Some((bytes, rest)) = head[..read].split_first_chunk::<HEADER_LEN>() else {
        return Err(corrupt("the pack ends before it"));
    };
    let header = Header::parse(bytes, at).map_err(corrupt)?;
    if header.kind != Kind::Chunk || header.raw_len != expected_len as u64 {
        return Err(corrupt("it is not the chunk that was listed"));
    }
    let table = rest.get(..header.covered_len()).ok_or_else(|| corrupt("the pack ends within it"))?;
    if !is_sound(bytes, at, table) {
        return Err(corrupt("the checksum of the record is wrong"));
    }
    let frames = large::frames(table, expected_len, header.stored_len as usize).map_err(corrupt)?;
    let touched = wanted.start / large::FRAME_LEN..wanted.end.div_ceil(large::FRAME_LEN);
    let frames = frames.get(touched.clone()).ok_or_else(|| corrupt("it is shorter than was listed"))?;
    let (Some(first), Some(last)) = (frames.first(), frames.last()) else {
        return Ok(());
    };
    let mut stored = vec![0; last.at + last.stored_len - first.at];
    pack.read_whole(&mut stored, place + (HEADER_LEN + first.at) as u64)?;
    let mut raw_at = touched.start * large::FRAME_LEN;
    let mut text = Vec::new();
    for frame in frames {
        let from = frame.at - first.at;
        let frame_bytes = &stored[from..from + frame.stored_len];
        let raw_end = raw_at + frame.raw_len;
        if wanted.start <= raw_at && raw_end <= wanted.end {
            frame.decode_onto(frame_bytes, out).map_err(corrupt)?;
        } else {
            text.clear();
            frame.decode_onto(frame_bytes, &mut text).map_err(corrupt)?;
            let (from, to) = (wanted.start.max(raw_at) - raw_at, wanted.end.min(raw_end) - raw_at);
            out.extend_from_slice(&text[from..to]);
        }
        raw_at = raw_end;
    }
    Ok(())
}
