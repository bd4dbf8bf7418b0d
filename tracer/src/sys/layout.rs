//! How the ring lies in shared memory: one header page, then a power of two of bytes.
//!
//! A record is `len | kind, tag, more | time | variable | site | thread | sql | payload`, at a multiple of eight. Its first
//! word is written last: a record counts when `len` is not zero. The reader puts zeros where it has read, before it says so
//! in `tail`; so a writer that dies half-way leaves a hole at which reading ends, never half a record.

use std::sync::atomic::{AtomicU32, AtomicU64};

pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"tickring");
/// The header fills a page.
pub(crate) const HEADER: usize = 4096;
/// Bytes of a record before its payload.
pub(crate) const FIXED: usize = 32;

/// A whole value: `tag` says of which kind.
pub(crate) const KIND_VALUE: u8 = 1;
/// A piece of a value: offset and removed length, 8 bytes each, then the bytes that stand there now.
pub(crate) const KIND_PATCH: u8 = 2;
/// A JSON object: what ids mean, and what is to be said.
pub(crate) const KIND_MESSAGE: u8 = 3;
/// Nothing, up to the end of the ring.
pub(crate) const KIND_PAD: u8 = 4;
/// What was written into memory itself: as a patch, with the statement's number, 8 bytes, before the bytes. Its `tag` says
/// `ONE_STATEMENT`, `WIDE`, both or neither.
pub(crate) const KIND_RAW: u8 = 5;
/// Writes of the same thread, site and statement are one event: it is known that the program has not gone on.
#[allow(dead_code, reason = "only the reader needs its name")]
pub(crate) const ONE_STATEMENT: u8 = 1;
/// Several elements were written at once, as no plain assignment does.
#[allow(dead_code, reason = "only the reader needs its name")]
pub(crate) const WIDE: u8 = 2;
/// The thread has gone on to another statement.
#[allow(dead_code, reason = "Node has nothing that says so")]
pub(crate) const KIND_OVER: u8 = 6;

#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) AtomicU64);

#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: AtomicU64,
    pub(crate) capacity: AtomicU64,
    /// Up to here writers have taken their places.
    pub(crate) head: Line,
    /// Up to here the reader is done.
    pub(crate) tail: Line,
    /// Not zero: the reader waits for the bell.
    pub(crate) sleeping: Line,
}

/// What stands before a payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fixed {
    pub(crate) kind: u8,
    pub(crate) tag: u8,
    pub(crate) more: bool,
    pub(crate) time_ns: u64,
    pub(crate) variable: u32,
    pub(crate) site: u32,
    pub(crate) thread: u32,
    pub(crate) sql: u32,
}

/// The place of the word that makes a record count.
pub(crate) fn commit_word(base: *mut u8, offset: usize) -> *const AtomicU32 {
    base.wrapping_add(HEADER + offset).cast::<AtomicU32>()
}

pub(crate) fn stride(len: usize) -> usize {
    len.next_multiple_of(8)
}
