//! zstd, with one context a thread that is used again and again.
//!
//! A prefix is handed over as a raw dictionary: the contexts then keep no reference to it.

use std::cell::RefCell;

use zstd::zstd_safe::{CCtx, DCtx, compress_bound};

/// The level of everything that is written while somebody waits.
pub(super) const LEVEL_HOT: i32 = 3;
/// The level of what is seen for the first time, all at once. Each level above takes a quarter more time than the one before,
/// and saves 2 %.
pub(super) const LEVEL_FIRST: i32 = 4;
/// The level of compacted groups.
pub(super) const LEVEL_COLD: i32 = 9;

/// What begins with this is taken for a trained dictionary, which a prefix never is.
const DICTIONARY_MAGIC: [u8; 4] = [0x37, 0xa4, 0x30, 0xec];
/// A shorter prefix is ignored by zstd.
const PREFIX_MIN: usize = 8;

thread_local! {
    static COMPRESSOR: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
    static DECOMPRESSOR: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

pub(super) fn compress(raw: &[u8], level: i32) -> Vec<u8> {
    let mut out = Vec::with_capacity(compress_bound(raw.len()));
    COMPRESSOR
        .with_borrow_mut(|context| context.compress(&mut out, raw, level))
        .expect("compression succeeds because the buffer has the size of the worst case");
    out
}

/// `None` if zstd would not take `prefix` as what it is.
pub(super) fn compress_after(prefix: &[u8], raw: &[u8], level: i32) -> Option<Vec<u8>> {
    if prefix.len() < PREFIX_MIN || prefix.starts_with(&DICTIONARY_MAGIC) {
        return None;
    }
    let mut out = Vec::with_capacity(compress_bound(raw.len()));
    COMPRESSOR
        .with_borrow_mut(|context| context.compress_using_dict(&mut out, raw, prefix, level))
        .expect("compression succeeds because the buffer has the size of the worst case");
    Some(out)
}

/// `raw_len` is what the record promises; the caller has bounded it.
pub(super) fn decompress(stored: &[u8], raw_len: usize) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::with_capacity(raw_len);
    let result = DECOMPRESSOR.with_borrow_mut(|context| context.decompress(&mut out, stored));
    whole(result, out, raw_len)
}

pub(super) fn decompress_after(
    prefix: &[u8],
    stored: &[u8],
    raw_len: usize,
) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::with_capacity(raw_len);
    let result =
        DECOMPRESSOR.with_borrow_mut(|context| context.decompress_using_dict(&mut out, stored, prefix));
    whole(result, out, raw_len)
}

fn whole<E>(result: Result<usize, E>, out: Vec<u8>, raw_len: usize) -> Result<Vec<u8>, &'static str> {
    match result {
        Ok(_) if out.len() == raw_len => Ok(out),
        Ok(_) => Err("it unpacks to another length than it promises"),
        Err(_unpacking) => Err("it does not unpack"),
    }
}
