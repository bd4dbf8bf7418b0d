//! Goes over a hot pack from front to back, record by record.
//!
//! Bytes that are no sound record (a torn tail, or damage) are stepped over one at a time until a sound one begins:
//! its checksum covers its address, so that nothing else is mistaken for it.

use crate::Result;

use super::large;
use super::packs::OpenPack;
use super::record::{HEADER_LEN, Header, Kind, PACK_HEADER_LEN, is_sound};

/// What the scan came upon.
#[derive(Debug)]
pub(super) enum Item {
    Record { at: u64, header: Header },
    Unexplained { at: u64, len: u64 },
}

pub(super) fn scan(pack: &OpenPack, each: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
    let end = pack.len()?;
    let mut buffer = Buffer { pack, start: 0, bytes: Vec::new() };
    let mut at = PACK_HEADER_LEN as u64;
    let mut unexplained_since = None;
    while at < end {
        match buffer.record(at, end)? {
            Some(header) => {
                if let Some(since) = unexplained_since.take() {
                    each(Item::Unexplained { at: since, len: at - since })?;
                }
                each(Item::Record { at, header })?;
                at += header.total_len();
            }
            None => {
                unexplained_since.get_or_insert(at);
                at += 1;
            }
        }
    }
    match unexplained_since {
        Some(since) => each(Item::Unexplained { at: since, len: end - since }),
        None => Ok(()),
    }
}

struct Buffer<'p> {
    pack: &'p OpenPack,
    start: u64,
    bytes: Vec<u8>,
}

impl Buffer<'_> {
    /// So much is read at once, or as much as one record takes.
    const STEP: usize = 1024 * 1024;

    /// The record at a place, if a sound one begins there.
    fn record(&mut self, at: u64, end: u64) -> Result<Option<Header>> {
        let Some(header_bytes) = self.get(at, HEADER_LEN, end)? else { return Ok(None) };
        let mut bytes = [0; HEADER_LEN];
        bytes.copy_from_slice(header_bytes);
        let address = self.pack.at(at);
        let Ok(header) = Header::parse(&bytes, address) else { return Ok(None) };
        let payload = self.get(at + HEADER_LEN as u64, header.stored_len as usize, end)?;
        let sound = payload.filter(|payload| {
            is_sound(&bytes, address, &payload[..header.covered_len()]) && frames_are_sound(&header, payload)
        });
        Ok(sound.map(|_payload| header))
    }

    /// `None` if the pack ends before.
    fn get(&mut self, at: u64, len: usize, end: u64) -> Result<Option<&[u8]>> {
        if end.saturating_sub(at) < len as u64 {
            return Ok(None);
        }
        let is_inside = at >= self.start && at + len as u64 <= self.start + self.bytes.len() as u64;
        if !is_inside {
            let wanted = usize::try_from(end - at).map_or(Self::STEP, |left| left.min(Self::STEP));
            self.bytes.resize(wanted.max(len), 0);
            self.pack.read_whole(&mut self.bytes, at)?;
            self.start = at;
        }
        let from = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        Ok(self.bytes.get(from..from.saturating_add(len)))
    }
}

/// A chunk whose frames are not all there may be torn, and then others were written into the space it claims.
fn frames_are_sound(header: &Header, payload: &[u8]) -> bool {
    let raw_len = usize::try_from(header.raw_len).unwrap_or(usize::MAX);
    header.kind != Kind::Chunk
        || large::frames(&payload[..header.covered_len()], raw_len, payload.len())
            .is_ok_and(|frames| frames.iter().all(|frame| frame.is_sound(payload)))
}
