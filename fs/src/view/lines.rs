//! A long text that only grows, held in little memory: what is complete is compressed, piece by piece.

use std::io;
use std::ops::Range;

/// So many bytes are a piece.
const PIECE: usize = 256 * 1024;

#[derive(Debug, Default)]
pub(super) struct Lines {
    pieces: Vec<Vec<u8>>,
    /// What comes behind the pieces.
    open: Vec<u8>,
    /// The piece that was asked for last, as it was written.
    last: Option<(usize, Vec<u8>)>,
}

impl Lines {
    pub(super) fn len(&self) -> usize {
        self.pieces.len() * PIECE + self.open.len()
    }

    pub(super) fn push(&mut self, text: &[u8]) -> io::Result<()> {
        self.open.extend_from_slice(text);
        while self.open.len() >= PIECE {
            let rest = self.open.split_off(PIECE);
            self.pieces.push(zstd::bulk::compress(&self.open, 1)?);
            self.open = rest;
        }
        Ok(())
    }

    pub(super) fn add_to(&mut self, out: &mut Vec<u8>, range: Range<usize>) -> io::Result<()> {
        let mut at = range.start;
        while at < range.end.min(self.len()) {
            let (piece, from) = (at / PIECE, at % PIECE);
            let text = self.piece(piece)?;
            let to = text.len().min(from + (range.end - at));
            out.extend_from_slice(&text[from..to]);
            at += to - from;
        }
        Ok(())
    }

    fn piece(&mut self, number: usize) -> io::Result<&[u8]> {
        let Some(compressed) = self.pieces.get(number) else { return Ok(&self.open) };
        let last = match self.last.take() {
            Some((held, text)) if held == number => (held, text),
            _ => (number, zstd::bulk::decompress(compressed, PIECE)?),
        };
        Ok(&self.last.insert(last).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_from_anywhere_and_takes_less() {
        let (mut lines, mut plain) = (Lines::default(), Vec::new());
        for n in 0..40_000 {
            let line = format!("{n}\tmodify\tsrc/some/file-{}.rs\t{}\t{}\n", n % 97, n, n + 1);
            lines.push(line.as_bytes()).unwrap();
            plain.extend_from_slice(line.as_bytes());
        }
        assert_eq!(lines.len(), plain.len());
        assert!(lines.pieces.len() > 3 && lines.pieces.iter().map(Vec::len).sum::<usize>() < plain.len() / 3);
        for (from, to) in [(0, 10), (PIECE - 5, PIECE + 5), (3, 3), (PIECE, 3 * PIECE + 1), (0, plain.len())]
        {
            let mut out = Vec::new();
            lines.add_to(&mut out, from..to).unwrap();
            assert!(out == plain[from..to], "{from}..{to}");
        }
        let mut out = Vec::new();
        lines.add_to(&mut out, plain.len() - 3..plain.len() + 9).unwrap();
        assert_eq!(out, &plain[plain.len() - 3..]);
    }
}
