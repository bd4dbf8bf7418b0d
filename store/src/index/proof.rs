//! Proves a database, page by page: no bit of it changed since it was written.
//!
//! Each row proves itself by its sum, but a bit that flips in a key makes a search miss the row, and what is missing says
//! nothing. So a checksum of each page lies beside the database, and whoever opens it holds its pages against that
//! (format.md, "The index"), with all processors: SQLite reads its file itself, and nobody can look in between.
//!
//! Invariants:
//!   * A page that does not stand in the log has the sum that the proof says. A process that dies leaves it so, too.
//!   * A sum is made anew only of a page that came out of the log. Only a database that was proved when it was opened,
//!     or was made anew since, has a proof: damage is never vouched for.
//!   * A proof that does not read proves nothing and hurts nobody.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

use super::log::Pages;
use super::sibling;
use crate::disk::Fsync;
use crate::error::{Error, Result};

/// The size of a page of every index.
pub(super) const PAGE: usize = 8192;
const MAGIC: &[u8; 8] = b"ticksums";
const VERSION: u32 = 1;
const HEADER_LEN: usize = 20;
/// So much is read at once.
const PORTION: usize = 32 * PAGE;
/// Fewer pages are not worth a thread.
const PAGES_A_THREAD: usize = 256;
const THREADS_MAX: usize = 4;

/// The sum of each page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proof(Vec<u32>);

impl Proof {
    /// Of the database as it is now.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let read = || -> io::Result<Vec<u32>> {
            let file = File::open(path)?;
            let all = 0..pages_of(&file)?;
            let part = |pages: Range<usize>| {
                let mut sums = Vec::with_capacity(pages.len());
                each_sum(&file, pages, |_, sum| {
                    sums.push(sum);
                    true
                })?;
                Ok(sums)
            };
            Ok(in_parts(all, part)?.concat())
        };
        read().map(Self).map_err(Error::io("read", path))
    }

    /// Whether each page is as the proof says, those aside that the log holds.
    pub(super) fn holds(&self, path: &Path, aside: &Pages) -> Result<bool> {
        let hold = || -> io::Result<bool> {
            let file = File::open(path)?;
            let there = pages_of(&file)?;
            if (there.min(self.0.len())..there.max(self.0.len())).any(|page| !aside.contains(page)) {
                return Ok(false);
            }
            let part = |pages| {
                each_sum(&file, pages, |page, sum| self.0.get(page) == Some(&sum) || aside.contains(page))
            };
            Ok(in_parts(0..there.min(self.0.len()), part)?.into_iter().all(|sound| sound))
        };
        hold().map_err(Error::io("read", path))
    }

    /// Takes the sums of pages that came out of the log.
    pub(super) fn renew(&mut self, path: &Path, pages: &Pages) -> Result<()> {
        let mut renew = || -> io::Result<()> {
            let file = File::open(path)?;
            let there = pages_of(&file)?;
            self.0.resize(there, 0);
            for page in pages.iter().filter(|&page| page < there) {
                each_sum(&file, page..page + 1, |page, sum| {
                    self.0[page] = sum;
                    true
                })?;
            }
            Ok(())
        };
        renew().map_err(Error::io("read", path))
    }

    pub(super) fn read(path: &Path) -> Option<Self> {
        let text = fs::read(sibling(path, ".sum")).ok()?;
        Self::decode(&text)
    }

    /// Leaves the proof beside the database. It is durable before the log that it speaks of goes.
    pub(super) fn give(&self, path: &Path, fsync: Fsync) -> Result<()> {
        let (to, temp) = (sibling(path, ".sum"), sibling(path, ".sum.tmp"));
        let give = || -> io::Result<()> {
            let mut file = File::create(&temp)?;
            file.write_all(&self.encode())?;
            if fsync == Fsync::Mutation {
                file.sync_data()?;
            }
            fs::rename(&temp, &to)?;
            sync_names_beside(&to, fsync)
        };
        give().map_err(Error::io("write", &to))
    }

    pub(super) fn take_away(path: &Path, fsync: Fsync) -> Result<()> {
        let proof = sibling(path, ".sum");
        match fs::remove_file(&proof) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => {
                removed.and_then(|()| sync_names_beside(&proof, fsync)).map_err(Error::io("remove", &proof))
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let short =
            |n: usize| u32::try_from(n).expect("an index has fewer than 2^32 pages, as SQLite counts them");
        let mut out = Vec::with_capacity(HEADER_LEN + 4 * self.0.len() + 4);
        out.extend_from_slice(MAGIC);
        for number in [VERSION, short(PAGE), short(self.0.len())].iter().chain(&self.0) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(text: &[u8]) -> Option<Self> {
        let (body, crc) = text.split_last_chunk::<4>()?;
        let numbers = body.strip_prefix(MAGIC)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) || !numbers.len().is_multiple_of(4) {
            return None;
        }
        let mut numbers =
            numbers.chunks_exact(4).map(|four| four.try_into().map(u32::from_le_bytes).unwrap_or_default());
        let head = [numbers.next()?, numbers.next()?, numbers.next()?].map(|n| usize::try_from(n).ok());
        let sums: Vec<u32> = numbers.collect();
        (head == [usize::try_from(VERSION).ok(), Some(PAGE), Some(sums.len())]).then_some(Self(sums))
    }
}

fn sync_names_beside(path: &Path, fsync: Fsync) -> io::Result<()> {
    match path.parent().filter(|_| fsync == Fsync::Mutation) {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

fn pages_of(file: &File) -> io::Result<usize> {
    let len = usize::try_from(file.metadata()?.len()).map_err(|_too_large| io::ErrorKind::FileTooLarge)?;
    Ok(len.div_ceil(PAGE))
}

/// Gives each page's sum, and says whether `each` took them all.
fn each_sum(file: &File, pages: Range<usize>, mut each: impl FnMut(usize, u32) -> bool) -> io::Result<bool> {
    let mut portion = vec![0; PORTION.min(pages.len() * PAGE)];
    let mut page = pages.start;
    while page < pages.end {
        let wanted = portion.len().min((pages.end - page) * PAGE);
        let read = read_at(file, &mut portion[..wanted], (page * PAGE) as u64)?;
        for bytes in portion[..read].chunks(PAGE) {
            if !each(page, crc32fast::hash(bytes)) {
                return Ok(false);
            }
            page += 1;
        }
        if read < wanted {
            // It became shorter meanwhile: what is missing has no sum.
            return Ok(page == pages.end);
        }
    }
    Ok(true)
}

/// Fewer bytes than wanted only at the end of the file.
fn read_at(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match file.read_at(&mut into[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Runs `part` on consecutive parts of all pages, each on a thread of its own where that is worth it.
fn in_parts<T: Send>(
    pages: Range<usize>,
    part: impl Fn(Range<usize>) -> io::Result<T> + Sync,
) -> io::Result<Vec<T>> {
    let processors = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let threads = pages.len().div_ceil(PAGES_A_THREAD).clamp(1, processors);
    let each = pages.len().div_ceil(threads);
    let ranges = (0..threads).map(|n| (n * each).min(pages.end)..((n + 1) * each).min(pages.end));
    thread::scope(|scope| {
        let part = &part;
        let mut ranges: Vec<_> = ranges.collect();
        let last = ranges.pop().unwrap_or_default();
        let others: Vec<_> = ranges.into_iter().map(|range| scope.spawn(move || part(range))).collect();
        let last = part(last);
        let join = |other: thread::ScopedJoinHandle<'_, io::Result<T>>| {
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        others.into_iter().map(join).chain([last]).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(numbers: &[usize]) -> Pages {
        numbers.iter().copied().collect()
    }

    #[test]
    fn each_page_is_proved_and_those_in_the_log_are_not_asked() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("x.db");
        let mut bytes: Vec<u8> = (0..3_000 * PAGE).map(|n| (n / 7 % 251).to_le_bytes()[0]).collect();
        fs::write(&path, &bytes).unwrap();
        let proof = Proof::of(&path).unwrap();
        assert_eq!(proof.0.len(), 3_000);
        assert!(proof.holds(&path, &pages(&[])).unwrap());
        for page in [0, 1, 1_499, 1_500, 2_999] {
            bytes[page * PAGE + 77] ^= 4;
            fs::write(&path, &bytes).unwrap();
            assert!(!proof.holds(&path, &pages(&[page + 1])).unwrap(), "page {page}");
            assert!(proof.holds(&path, &pages(&[page])).unwrap(), "page {page} stands in the log");
            let mut renewed = proof.clone();
            renewed.renew(&path, &pages(&[page])).unwrap();
            assert!(renewed != proof && renewed.holds(&path, &pages(&[])).unwrap(), "page {page}");
            bytes[page * PAGE + 77] ^= 4;
        }
        bytes.extend([1; PAGE]);
        fs::write(&path, &bytes).unwrap();
        assert!(!proof.holds(&path, &pages(&[])).unwrap(), "a page too many");
        assert!(proof.holds(&path, &pages(&[3_000])).unwrap());
        fs::write(&path, &bytes[..2_999 * PAGE]).unwrap();
        assert!(!proof.holds(&path, &pages(&[])).unwrap(), "a page too few");
    }

    #[test]
    fn a_proof_reads_back_and_no_flipped_bit_of_it_does() {
        let proof = Proof(vec![1, 0xffff_ffff, 0]);
        let text = proof.encode();
        assert_eq!(Proof::decode(&text), Some(proof));
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Proof::decode(&flipped), None, "bit {bit}");
        }
        for len in 0..text.len() {
            assert_eq!(Proof::decode(&text[..len]), None, "{len} bytes");
        }
    }
}
