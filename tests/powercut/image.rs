//! A disk in memory: only blocks that were written take room.
//!
//! Invariant: a clone shares its blocks until one side writes, so that an image for each cut costs little.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

const BLOCK: usize = 4096;

type Block = [u8; BLOCK];

#[derive(Debug, Clone)]
pub(crate) struct Image {
    len: u64,
    blocks: BTreeMap<u64, Arc<Block>>,
}

impl Image {
    pub(crate) fn empty(len: u64) -> Self {
        Self { len, blocks: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn load(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut image = Self::empty(file.metadata()?.len());
        let mut bytes = vec![0; 1 << 20];
        let mut offset = 0;
        loop {
            let read = file.read(&mut bytes)?;
            if read == 0 {
                return Ok(image);
            }
            for chunk in bytes[..read].chunks(BLOCK) {
                if chunk.iter().any(|&byte| byte != 0) {
                    image.write(offset, chunk);
                }
                offset += chunk.len() as u64;
            }
        }
    }

    /// Writes a sparse file.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        file.set_len(self.len)?;
        for (&number, block) in &self.blocks {
            let offset = number * BLOCK as u64;
            let len = (self.len - offset).min(BLOCK as u64);
            file.write_all_at(&block[..to_usize(len)], offset)?;
        }
        Ok(())
    }

    /// What lies beyond the end is not read.
    pub(crate) fn read(&self, offset: u64, len: u64) -> Vec<u8> {
        let len = to_usize(len.min(self.len.saturating_sub(offset)));
        let mut bytes = vec![0; len];
        for piece in pieces(offset, len) {
            if let Some(block) = self.blocks.get(&piece.block) {
                bytes[piece.at..piece.at + piece.len]
                    .copy_from_slice(&block[piece.within..piece.within + piece.len]);
            }
        }
        bytes
    }

    /// What lies beyond the end is not written.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let room = self.len.saturating_sub(offset).min(bytes.len() as u64);
        for piece in pieces(offset, to_usize(room)) {
            let block = self.blocks.entry(piece.block).or_insert_with(|| Arc::new([0; BLOCK]));
            Arc::make_mut(block)[piece.within..piece.within + piece.len]
                .copy_from_slice(&bytes[piece.at..piece.at + piece.len]);
        }
    }
}

/// The part of a request that lies in one block.
struct Piece {
    block: u64,
    within: usize,
    at: usize,
    len: usize,
}

fn pieces(offset: u64, len: usize) -> impl Iterator<Item = Piece> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let place = offset + at as u64;
        let within = to_usize(place % BLOCK as u64);
        let piece = Piece { block: place / BLOCK as u64, within, at, len: (BLOCK - within).min(len - at) };
        at += piece.len;
        (piece.len > 0).then_some(piece)
    })
}

fn to_usize(len: u64) -> usize {
    usize::try_from(len).expect("because the disk fits into memory")
}

#[test]
fn a_clone_does_not_see_what_is_written_later() {
    let mut image = Image::empty(10_000);
    image.write(4_000, &[1; 5_000]);
    let clone = image.clone();
    image.write(8_999, &[2; 2_000]);
    assert_eq!(clone.read(8_998, 3), [1, 1, 0]);
    assert_eq!(image.read(8_998, 3), [1, 2, 2]);
    assert_eq!(image.read(9_999, 9), [2], "nothing lies beyond the end");
    assert_eq!(image.read(3_999, 2), [0, 1]);
}

#[test]
fn a_saved_image_is_loaded_again() {
    let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    let mut image = Image::empty(3 << 20);
    image.write(5_000, &[3; 10]);
    image.write((3 << 20) - 1, &[4]);
    image.save(&path).unwrap();
    let loaded = Image::load(&path).unwrap();
    assert_eq!(loaded.blocks, image.blocks);
    assert_eq!(loaded.len, image.len);
}
