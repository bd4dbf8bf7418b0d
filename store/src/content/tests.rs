//! Contents written and read back through whole packs, sound and damaged.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;

use super::memory::MemoryDisk;
use super::*;
use crate::Error;
use crate::disk::Disk;
use crate::ids::{Address, ContentHash, PackId};

const DIR: &str = "/packs";

/// A store of contents on a disk in memory.
struct Bench {
    disk: Arc<MemoryDisk>,
    writer: ContentWriter,
    reader: ContentReader,
    /// Every content that was kept, and where.
    kept: Vec<(Address, Vec<u8>)>,
    kinds: Vec<Kind>,
}

impl Bench {
    fn new(roll_at: u64) -> Self {
        let disk = Arc::new(MemoryDisk::default());
        let writer = ContentWriter::open(
            Arc::clone(&disk) as Arc<dyn Disk>,
            Path::new(DIR),
            PackOptions::rolling_at(roll_at),
        )
        .unwrap();
        let reader = ContentReader::open(Arc::clone(&disk) as Arc<dyn Disk>, Path::new(DIR));
        Self { disk, writer, reader, kept: Vec::new(), kinds: Vec::new() }
    }

    /// As the store does it: on the version before, if that is in the active pack.
    fn keep(&mut self, content: &[u8], previous: Option<Address>) -> Address {
        let base = previous
            .filter(|address| address.pack == self.writer.active())
            .map(|address| self.reader.base_for(address).unwrap());
        let encoded = encode(content, base.as_ref());
        assert_eq!(encoded.hash(), ContentHash::of(content));
        let address = self.writer.append(&encoded).unwrap();
        self.kept.push((address, content.to_vec()));
        self.kinds.push(encoded.kind());
        self.writer.roll_if_full().unwrap();
        address
    }

    /// What no version was before.
    fn keep_first(&mut self, content: &[u8]) {
        let encoded = self.writer.encode_first(content);
        let address = self.writer.append_first(content, &encoded).unwrap();
        self.kept.push((address, content.to_vec()));
        self.kinds.push(encoded.kind());
        self.writer.roll_if_full().unwrap();
    }

    fn pack_path(id: u32) -> PathBuf {
        Path::new(DIR).join(PackId(id).hot_name())
    }

    /// A reader that has not seen the disk before.
    fn fresh_reader(disk: &Arc<MemoryDisk>) -> ContentReader {
        ContentReader::open(Arc::clone(disk) as Arc<dyn Disk>, Path::new(DIR))
    }

    fn check(&self) {
        for (address, content) in &self.kept {
            assert_eq!(self.reader.read(*address).unwrap(), *content, "{address}");
            assert_eq!(self.reader.len(*address).unwrap(), content.len() as u64);
        }
    }
}

/// Text that does not repeat itself.
fn source(lines: usize) -> Vec<u8> {
    let line =
        |n: usize| format!("let value_{n} = compute({}, \"{:x}\");\n", n * 7919 % 1013, n * 0x9e37_79b9);
    (0..lines).flat_map(|n| line(n).into_bytes()).collect()
}

fn noise(len: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&len.to_le_bytes());
    let mut out = vec![0; len];
    hasher.finalize_xof().fill(&mut out);
    out
}

/// Version after version of one file, a few bytes changed in each.
fn edited(mut text: Vec<u8>, version: usize) -> Vec<u8> {
    let at = version * 7919 % text.len();
    text.splice(at..(at + 3).min(text.len()), format!("<{version}>").into_bytes());
    text
}

/// Files of a directory resemble each other: what is seen for the first time shares a prefix with what came just before, eight
/// at most, in its own pack, and short ones alone. Their next versions and a compaction go on from there.
#[test]
fn contents_that_are_seen_for_the_first_time_share_the_prefix_of_a_neighbour() {
    let mut bench = Bench::new(6_000);
    let file = |n: usize| [format!("// file {n}\n").into_bytes(), source(120 + n % 7)].concat();
    for n in 0..60 {
        bench.keep_first(&file(n));
    }
    let count = |kinds: &[Kind], kind| kinds.iter().filter(|&&k| k == kind).count();
    assert!(bench.writer.active() > PackId(1), "a prefix is never looked for in another pack");
    assert!(count(&bench.kinds, Kind::Prefixed) > 48, "{:?}", bench.kinds);
    assert!(count(&bench.kinds, Kind::Keyframe) >= 60 / 8, "{:?}", bench.kinds);
    let before = bench.kinds.len();
    for n in 0..3 {
        bench.keep_first(&[noise(40_000), source(n)].concat());
        bench.keep_first(&noise(500 + n));
    }
    assert_eq!(count(&bench.kinds[before..], Kind::Prefixed), 0, "nothing in common, or too long");
    for n in 0..60 {
        let (mut last, mut text) = bench.kept[n].clone();
        for version in 0..3 {
            text = edited(text, version);
            last = bench.keep(&text, Some(last));
        }
    }
    bench.check();
    for pack in 1..bench.writer.active().0 {
        bench.compact(pack).unwrap();
        bench.reader.forget(PackId(pack));
    }
    bench.check();
}

#[test]
fn contents_of_every_kind_read_back() {
    let mut bench = Bench::new(ROLL_AT);
    bench.keep(b"", None);
    bench.keep(b"x", None);
    bench.keep(&noise(5_000), None);
    let mut text = source(2_000);
    let mut last = bench.keep(&text, None);
    for version in 0..150 {
        text = edited(text, version);
        last = bench.keep(&text, Some(last));
    }
    text.extend_from_slice(&source(200));
    bench.keep(&text, Some(last));
    bench.check();
    for kind in [Kind::Raw, Kind::Keyframe, Kind::Prefixed, Kind::Splice, Kind::PackedSplice] {
        assert!(bench.kinds.contains(&kind), "no {kind:?} was written");
    }
}

#[test]
fn a_keyframe_comes_at_least_every_64_versions() {
    let mut bench = Bench::new(ROLL_AT);
    let mut text = source(3_000);
    let mut last = bench.keep(&text, None);
    for version in 1..=130 {
        text = edited(text, version);
        last = bench.keep(&text, Some(last));
    }
    let keyframes: Vec<_> = (0..bench.kinds.len())
        .filter(|&index| !matches!(bench.kinds[index], Kind::Splice | Kind::PackedSplice))
        .collect();
    assert_eq!(keyframes, [0, 64, 128]);
}

#[test]
fn a_chain_takes_at_most_half_of_its_text() {
    let mut bench = Bench::new(ROLL_AT);
    let mut text = noise(4_000);
    let mut last = bench.keep(&text, None);
    for version in 1..20 {
        text.splice(version * 100..version * 100 + 300, noise(300 + version));
        last = bench.keep(&text, Some(last));
    }
    bench.check();
    let splices = bench.kinds.iter().filter(|kind| kind.is_splice()).count();
    assert!(bench.kinds.len() - splices >= 3, "{:?}", bench.kinds);
}

#[test]
fn a_base_in_another_pack_is_refused() {
    let mut bench = Bench::new(1);
    let first = bench.keep(&source(100), None);
    assert_eq!(bench.writer.active(), PackId(2));
    let base = bench.reader.base_for(first).unwrap();
    let encoded = encode(&edited(source(100), 1), Some(&base));
    assert!(matches!(bench.writer.append(&encoded), Err(Error::Refused { .. })));
}

#[test]
fn opening_again_goes_on_in_the_same_pack_until_it_is_full() {
    let mut bench = Bench::new(100_000);
    let address = bench.keep(&source(50), None);
    let open = |roll_at| {
        ContentWriter::open(
            Arc::clone(&bench.disk) as Arc<dyn Disk>,
            Path::new(DIR),
            PackOptions::rolling_at(roll_at),
        )
        .unwrap()
    };
    let mut again = open(100_000);
    assert_eq!(again.active(), PackId(1));
    let base = bench.reader.base_for(address).unwrap();
    let second = again.append(&encode(&edited(source(50), 1), Some(&base))).unwrap();
    assert_eq!(bench.reader.read(second).unwrap(), edited(source(50), 1));
    assert_eq!(open(10).active(), PackId(2));
}

#[test]
fn a_pack_whose_beginning_was_torn_is_left_alone() {
    let bench = Bench::new(ROLL_AT);
    bench.disk.put(&Bench::pack_path(2), vec![0; 7]);
    let again =
        ContentWriter::open(Arc::clone(&bench.disk) as Arc<dyn Disk>, Path::new(DIR), PackOptions::default())
            .unwrap();
    assert_eq!(again.active(), PackId(3));
}

#[test]
fn an_append_that_was_torn_leaves_the_next_one_sound() {
    let mut bench = Bench::new(ROLL_AT);
    let first = bench.keep(&source(20), None);
    bench.disk.tear_next_append(&Bench::pack_path(1), 11);
    assert!(bench.writer.append(&encode(b"lost", None)).is_err());
    bench.keep(&edited(source(20), 1), Some(first));
    bench.check();
}

#[test]
fn a_failed_sync_poisons_the_writer() {
    let mut bench = Bench::new(ROLL_AT);
    bench.keep(b"confirmed", None);
    bench.disk.fail_syncs(&Bench::pack_path(1));
    assert!(matches!(bench.writer.sync(), Err(Error::Poisoned { .. })));
    assert!(matches!(bench.writer.append(&encode(b"more", None)), Err(Error::Poisoned { .. })));
    assert!(matches!(bench.writer.roll_if_full(), Err(Error::Poisoned { .. })));
}

/// A small pack with a chain, a prefixed keyframe and raw contents, as bytes.
fn small_pack() -> Bench {
    let mut bench = Bench::new(ROLL_AT);
    bench.keep(b"raw", None);
    let mut text = source(12);
    let mut last = bench.keep(&text, None);
    for version in 0..3 {
        text = edited(text, version);
        last = bench.keep(&text, Some(last));
    }
    text.extend_from_slice(&source(30)[500..1_200]);
    last = bench.keep(&text, Some(last));
    bench.keep(&edited(text, 9), Some(last));
    bench
}

/// Every kept content is what it was, or an error.
fn never_wrong(disk: &Arc<MemoryDisk>, kept: &[(Address, Vec<u8>)], what: &str) -> usize {
    let reader = Bench::fresh_reader(disk);
    let mut errors = 0;
    for (address, content) in kept {
        match reader.read(*address) {
            Ok(read) => assert!(read == *content, "{what}: a wrong answer for {address}"),
            Err(Error::Corrupt { .. }) => errors += 1,
            Err(other) => panic!("{what}: {other}"),
        }
    }
    errors
}

#[test]
fn a_flipped_bit_is_never_a_wrong_answer() {
    let bench = small_pack();
    let path = Bench::pack_path(1);
    let bytes = bench.disk.bytes(&path);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        bench.disk.put(&path, flipped);
        assert!(never_wrong(&bench.disk, &bench.kept, &format!("bit {bit}")) > 0, "bit {bit} went unnoticed");
    }
}

#[test]
fn a_pack_cut_anywhere_is_never_a_wrong_answer() {
    let bench = small_pack();
    let path = Bench::pack_path(1);
    let bytes = bench.disk.bytes(&path);
    for len in 0..bytes.len() {
        bench.disk.put(&path, bytes[..len].to_vec());
        assert!(never_wrong(&bench.disk, &bench.kept, &format!("cut at {len}")) > 0);
    }
}

#[test]
fn a_record_at_another_address_is_no_record() {
    let bench = small_pack();
    let bytes = bench.disk.bytes(&Bench::pack_path(1));
    let mut moved = bytes[..20].to_vec();
    moved.extend_from_slice(&[0; 8]);
    moved.extend_from_slice(&bytes[20..]);
    bench.disk.put(&Bench::pack_path(1), moved);
    let reader = Bench::fresh_reader(&bench.disk);
    for (address, _) in &bench.kept {
        let shifted = Address { offset: address.offset + 8, ..*address };
        assert!(matches!(reader.read(shifted), Err(Error::Corrupt { .. })));
    }
}

#[test]
fn a_missing_pack_is_named() {
    let bench = small_pack();
    let nowhere = Address { pack: PackId(9), offset: 20 };
    let error = bench.reader.read(nowhere).unwrap_err();
    assert!(error.to_string().contains("h-00000009.pk"), "{error}");
}

/// Large and hard to compress, so that a test does not take long to see that chunks differ.
fn large(len: usize) -> Vec<u8> {
    let mut bytes = noise(len / 4);
    bytes.resize(len, b'.');
    bytes
}

#[test]
fn a_large_content_reads_back_whole_in_ranges_and_as_a_stream() {
    let mut bench = Bench::new(ROLL_AT);
    for len in [CHUNK_LEN + 1, 2 * CHUNK_LEN, 2 * CHUNK_LEN + 300_001] {
        let content = large(len);
        let stored = bench.writer.append_large(&mut &content[..], None, &bench.reader).unwrap();
        assert_eq!((stored.raw_len, stored.hash), (len as u64, ContentHash::of(&content)));
        let in_memory = bench.writer.append(&encode(&content, None)).unwrap();
        for address in [stored.address, in_memory] {
            assert_eq!(bench.reader.len(address).unwrap(), len as u64);
            assert!(bench.reader.read(address).unwrap() == content);
            for (at, count) in [(0, 10), (262_140, 10), (CHUNK_LEN - 5, 10), (len - 7, 100), (len + 5, 3)] {
                let (from, to) = (at.min(len), (at + count).min(len));
                assert!(bench.reader.read_range(address, at as u64, count).unwrap() == content[from..to]);
            }
            let mut streamed = Vec::new();
            bench.reader.stream(address).unwrap().read_to_end(&mut streamed).unwrap();
            assert!(streamed == content);
        }
    }
}

#[test]
fn a_range_of_a_large_content_reads_only_its_frames() {
    let mut bench = Bench::new(ROLL_AT);
    let content = noise(CHUNK_LEN + 10);
    let stored = bench.writer.append_large(&mut &content[..], None, &bench.reader).unwrap();
    // A bit in the second frame: ranges of the others still read.
    let path = Bench::pack_path(1);
    let mut bytes = bench.disk.bytes(&path);
    bytes[400_000] ^= 1;
    bench.disk.put(&path, bytes);
    let reader = Bench::fresh_reader(&bench.disk);
    assert!(reader.read_range(stored.address, 600_000, 99).unwrap() == content[600_000..600_099]);
    assert!(matches!(reader.read_range(stored.address, 300_000, 9), Err(Error::Corrupt { .. })));
    assert!(matches!(reader.read(stored.address), Err(Error::Corrupt { .. })));
}

#[test]
fn an_edit_that_shifts_a_large_content_is_a_splice() {
    let mut bench = Bench::new(ROLL_AT);
    let mut content = large(CHUNK_LEN + 200_000);
    let first = bench.writer.append_large(&mut &content[..], None, &bench.reader).unwrap();
    let before = bench.disk.bytes(&Bench::pack_path(1)).len();
    content.splice(70_000..70_001, *b"shifted");
    let second = bench.writer.append_large(&mut &content[..], Some(first.address), &bench.reader).unwrap();
    assert!(bench.disk.bytes(&Bench::pack_path(1)).len() - before < 100);
    assert!(bench.reader.read(second.address).unwrap() == content);
    let range = bench.reader.read_range(second.address, 69_990, 30).unwrap();
    assert!(range == content[69_990..70_020]);
    // It shrinks to something small, and the small one still reads.
    let third = bench.writer.append_large(&mut &b"small"[..], Some(second.address), &bench.reader).unwrap();
    assert_eq!(bench.reader.read(third.address).unwrap(), b"small");
}

#[test]
fn a_chunk_that_did_not_change_is_not_written_again() {
    let mut bench = Bench::new(1);
    let mut content = noise(3 * CHUNK_LEN);
    let first = bench.writer.append_large(&mut &content[..], None, &bench.reader).unwrap();
    bench.writer.roll_if_full().unwrap();
    content[CHUNK_LEN + 9] ^= 1;
    let second = bench.writer.append_large(&mut &content[..], Some(first.address), &bench.reader).unwrap();
    assert_eq!(second.address.pack, PackId(2));
    let written = bench.disk.bytes(&Bench::pack_path(2)).len();
    assert!((CHUNK_LEN..CHUNK_LEN + 1_000).contains(&written), "{written} bytes");
    assert!(bench.reader.read(second.address).unwrap() == content);
}

#[test]
fn a_damaged_chunk_is_not_inherited() {
    let mut bench = Bench::new(1);
    let content = noise(2 * CHUNK_LEN);
    let first = bench.writer.append_large(&mut &content[..], None, &bench.reader).unwrap();
    bench.writer.roll_if_full().unwrap();
    let path = Bench::pack_path(1);
    let mut bytes = bench.disk.bytes(&path);
    bytes[900_000] ^= 1;
    bench.disk.put(&path, bytes);
    let reader = Bench::fresh_reader(&bench.disk);
    let second = bench.writer.append_large(&mut &content[..], Some(first.address), &reader).unwrap();
    assert!(reader.read(first.address).is_err());
    assert!(reader.read(second.address).unwrap() == content);
}

/// Three files saved in turn, a large content with a splice on it, and a branch: pack 1, full, and pack 2 begun.
fn mixed_pack(versions: usize) -> Bench {
    let mut bench = Bench::new(u64::MAX);
    let mut files: Vec<(Vec<u8>, Option<Address>)> =
        [300, 40, 3].map(|lines| (source(lines), None)).into_iter().collect();
    for version in 0..versions {
        for (text, last) in &mut files {
            *text = edited(std::mem::take(text), version);
            *last = Some(bench.keep(text, *last));
        }
        if version % 40 == 20 {
            let (address, content) = bench.kept[bench.kept.len() - 50].clone();
            bench.keep(&[&content[..], b"branched"].concat(), Some(address));
        }
    }
    bench.keep(&noise(3_000), None);
    bench
}

fn with_large(bench: &mut Bench) {
    let mut content = large(CHUNK_LEN + 70_000);
    let first = bench.writer.append_large(&mut &content[..], None, &bench.reader).unwrap();
    bench.kept.push((first.address, content.clone()));
    content.splice(90..90, *b"more");
    let second = bench.writer.append_large(&mut &content[..], Some(first.address), &bench.reader).unwrap();
    bench.kept.push((second.address, content));
}

impl Bench {
    /// Begins the next pack, so that this one may be compacted.
    fn roll(&mut self) {
        let disk = Arc::clone(&self.disk) as Arc<dyn Disk>;
        self.writer = ContentWriter::open(disk, Path::new(DIR), PackOptions::rolling_at(1)).unwrap();
    }

    fn compact(&self, pack: u32) -> crate::Result<Compacted> {
        compact(
            &(Arc::clone(&self.disk) as Arc<dyn Disk>),
            Path::new(DIR),
            Path::new("/quarantine"),
            PackId(pack),
        )
    }

    fn scrub(&self) -> Vec<Damage> {
        scrub(&(Arc::clone(&self.disk) as Arc<dyn Disk>), Path::new(DIR)).unwrap()
    }
}

#[test]
fn a_compacted_pack_answers_for_the_same_addresses() {
    let mut bench = mixed_pack(140);
    with_large(&mut bench);
    bench.roll();
    let done = bench.compact(1).unwrap();
    assert_eq!(bench.disk.names(), ["c-00000001.pk", "h-00000002.pk"]);
    assert_eq!((&done.torn[..], &done.orphans[..]), (&[][..], &[][..]));
    bench.check();
    bench.reader.forget(PackId(1));
    bench.check();
    for (address, content) in &bench.kept {
        let (from, to) = (content.len() / 2, content.len() / 2 + content.len() / 9);
        assert_eq!(bench.reader.read_range(*address, from as u64, to - from).unwrap(), content[from..to]);
    }
    assert_eq!(bench.scrub(), []);
    // A new version of a file whose last one is in a cold pack stands alone.
    let (address, content) = bench.kept[0].clone();
    let base = bench.reader.base_for(address).unwrap();
    assert_eq!(encode(&edited(content, 5), Some(&base)).base(), None);
}

#[test]
fn a_compacted_pack_is_smaller() {
    let mut bench = mixed_pack(140);
    bench.roll();
    let done = bench.compact(1).unwrap();
    assert!(done.cold_len * 3 < done.hot_len * 2, "{done:?}");
}

#[test]
fn the_newest_pack_is_not_compacted() {
    let bench = mixed_pack(60);
    assert!(matches!(bench.compact(1), Err(Error::Refused { .. })));
    bench.check();
}

#[test]
fn a_compaction_that_stops_anywhere_leaves_one_form_whole() {
    for changes in 0.. {
        let mut bench = mixed_pack(55);
        bench.roll();
        bench.disk.stop_after(Some(changes));
        let done = bench.compact(1);
        bench.disk.stop_after(None);
        let reader = Bench::fresh_reader(&bench.disk);
        for (address, content) in &bench.kept {
            assert_eq!(reader.read(*address).unwrap(), *content, "stopped after {changes} changes");
        }
        if done.is_ok() {
            assert!(changes > 8, "only {changes} changes");
            break;
        }
        bench.compact(1).unwrap();
        assert_eq!(bench.disk.names(), ["c-00000001.pk", "h-00000002.pk"]);
    }
}

#[test]
fn a_pack_in_both_forms_does_not_grow() {
    let bench = small_pack();
    let mut forms = small_pack();
    forms.roll();
    forms.compact(1).unwrap();
    let cold = Path::new(DIR).join(PackId(1).cold_name());
    bench.disk.put(&cold, forms.disk.bytes(&cold));
    let disk = Arc::clone(&bench.disk) as Arc<dyn Disk>;
    let writer = ContentWriter::open(disk, Path::new(DIR), PackOptions::default()).unwrap();
    assert_eq!(writer.active(), PackId(2));
}

#[test]
fn a_cold_pack_that_does_not_answer_alike_never_replaces_the_hot_one() {
    let mut bench = small_pack();
    bench.roll();
    let mut other = Bench::new(ROLL_AT);
    other.keep(b"RAW", None);
    other.roll();
    other.compact(1).unwrap();
    let cold = Path::new(DIR).join(PackId(1).cold_name());
    bench.disk.put(&cold, other.disk.bytes(&cold));
    assert!(matches!(bench.compact(1), Err(Error::Corrupt { .. })));
    assert!(bench.disk.names().contains(&PackId(1).hot_name()));
    bench.check();
}

#[test]
fn torn_bytes_are_stepped_over_and_reported() {
    let mut bench = Bench::new(ROLL_AT);
    let first = bench.keep(&source(20), None);
    bench.disk.tear_next_append(&Bench::pack_path(1), 37);
    assert!(bench.writer.append(&encode(&noise(900), None)).is_err());
    let torn_at = bench.kept[0].0.offset + 28 + encode(&source(20), None).stored_len() as u64;
    bench.keep(&edited(source(20), 1), Some(first));
    // A chunk of which the beginning arrived, and into whose place others were written.
    bench.disk.tear_next_append(&Bench::pack_path(1), 5_000);
    let content = noise(CHUNK_LEN + 1);
    assert!(bench.writer.append_large(&mut &content[..], None, &bench.reader).is_err());
    let stored = bench.writer.append_large(&mut &content[..], None, &bench.reader).unwrap();
    bench.kept.push((stored.address, content));
    bench.roll();
    let expected = [DamageKind::Torn { len: 37 }, DamageKind::Torn { len: 5_000 }];
    assert_eq!(bench.scrub().into_iter().map(|damage| damage.kind).collect::<Vec<_>>(), expected);
    let done = bench.compact(1).unwrap();
    assert_eq!((done.torn[0], done.torn[1].1), ((torn_at, 37), 5_000));
    bench.reader.forget(PackId(1));
    bench.check();
    assert_eq!(bench.scrub(), []);
}

#[test]
fn scrub_finds_every_flipped_bit_of_either_form() {
    let mut bench = small_pack();
    bench.roll();
    let hot = Bench::pack_path(1);
    let hot_bytes = bench.disk.bytes(&hot);
    let flip = |path: &Path, bytes: &[u8], bit: usize| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        bench.disk.put(path, flipped);
        never_wrong(&bench.disk, &bench.kept, &format!("bit {bit} of {}", path.display()));
        assert!(!bench.scrub().is_empty(), "bit {bit} of {} went unnoticed", path.display());
    };
    for bit in 0..hot_bytes.len() * 8 {
        flip(&hot, &hot_bytes, bit);
    }
    bench.disk.put(&hot, hot_bytes);
    bench.compact(1).unwrap();
    let cold = Path::new(DIR).join(PackId(1).cold_name());
    let cold_bytes = bench.disk.bytes(&cold);
    for bit in 0..cold_bytes.len() * 8 {
        flip(&cold, &cold_bytes, bit);
    }
}

#[test]
fn scrub_finds_a_flipped_bit_in_a_chunk_of_either_form() {
    let mut bench = Bench::new(ROLL_AT);
    with_large(&mut bench);
    bench.roll();
    let cold = Path::new(DIR).join(PackId(1).cold_name());
    for path in [Bench::pack_path(1), cold] {
        let bytes = bench.disk.bytes(&path);
        for at in [30, 60, 100, 300_000, bytes.len() - 30_000] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            bench.disk.put(&path, flipped);
            assert!(!bench.scrub().is_empty(), "byte {at} of {} went unnoticed", path.display());
        }
        bench.disk.put(&path, bytes);
        if path == Bench::pack_path(1) {
            bench.compact(1).unwrap();
        }
    }
}

#[test]
fn a_cold_pack_cut_anywhere_is_never_a_wrong_answer() {
    let mut bench = small_pack();
    bench.roll();
    bench.compact(1).unwrap();
    let cold = Path::new(DIR).join(PackId(1).cold_name());
    let bytes = bench.disk.bytes(&cold);
    for len in 0..bytes.len() {
        bench.disk.put(&cold, bytes[..len].to_vec());
        assert!(never_wrong(&bench.disk, &bench.kept, &format!("cut at {len}")) > 0);
        assert!(!bench.scrub().is_empty());
    }
}

/// Prints what to compare with the facts: saves of at most three lines of four real
/// files of 25 to 65 KB, interleaved.
#[test]
#[ignore = "it measures; run it optimised, with --nocapture"]
fn measure_saves() {
    const FILES: usize = 4;
    const REAL: [&str; 6] = [
        include_str!("compact.rs"),
        include_str!("cold.rs"),
        include_str!("differ.rs"),
        include_str!("chain.rs"),
        include_str!("read.rs"),
        include_str!("record.rs"),
    ];
    const SAVES: usize = 300;
    let mut bench = Bench::new(u64::MAX);
    let mut files: Vec<_> = (0..FILES).map(|file| (REAL[file..].concat().into_bytes(), None)).collect();
    let mut encoding = std::time::Duration::ZERO;
    for save in 0..SAVES {
        for (file, (text, last)) in files.iter_mut().enumerate() {
            let mut lines: Vec<Vec<u8>> =
                text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            let at = (save * 37 + file * 11) % lines.len();
            for line in &mut lines[at..(at + save % 3 + 1).min(at + 1)] {
                *line = format!("    let changed_{save} = other({});\n", save * 31 + file).into_bytes();
            }
            *text = lines.concat();
            let base = last.map(|address| bench.reader.base_for(address).unwrap());
            let start = std::time::Instant::now();
            let encoded = encode(text, base.as_ref());
            encoding += start.elapsed();
            let address = bench.writer.append(&encoded).unwrap();
            bench.kept.push((address, text.clone()));
            *last = Some(address);
        }
    }
    let versions = FILES * SAVES;
    println!("encode {:?} each", encoding / u32::try_from(versions).unwrap());
    bench.roll();
    let report = |bench: &Bench, form: &str, len: u64| {
        let mut times: Vec<_> = (0..versions)
            .map(|n| {
                let (address, content) = &bench.kept[n * 7919 % versions];
                let start = std::time::Instant::now();
                let read = bench.reader.read(*address).unwrap();
                let time = start.elapsed();
                assert_eq!(read.len(), content.len());
                time
            })
            .collect();
        times.sort();
        println!(
            "{form}: {} B/version, read p50 {:?} p99 {:?}",
            len / versions as u64,
            times[versions / 2],
            times[versions * 99 / 100]
        );
    };
    let start = std::time::Instant::now();
    report(&bench, "hot", bench.disk.bytes(&Bench::pack_path(1)).len() as u64);
    println!("reading all took {:?}", start.elapsed());
    let start = std::time::Instant::now();
    let done = bench.compact(1).unwrap();
    println!("compaction took {:?}", start.elapsed());
    bench.reader.forget(PackId(1));
    report(&bench, "cold", done.cold_len);
}

/// One step of a history: which file, and what becomes of it.
fn steps() -> impl Strategy<Value = Vec<(usize, usize, usize, Vec<u8>)>> {
    let bytes = prop_oneof![
        4 => prop::collection::vec(prop::sample::select(&b"abc def\n"[..]), 0..60),
        1 => prop::collection::vec(any::<u8>(), 0..300),
    ];
    prop::collection::vec((0_usize..3, any::<usize>(), 0_usize..80, bytes), 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_history_reads_back_across_packs(steps in steps(), roll_at in 200_u64..6_000) {
        let mut bench = Bench::new(roll_at);
        let mut files: [(Vec<u8>, Option<Address>); 3] = Default::default();
        for (file, at, del, ins) in steps {
            let (text, last) = &mut files[file];
            let at = at % (text.len() + 1);
            let end = (at + del).min(text.len());
            text.splice(at..end, ins);
            *last = Some(bench.keep(text, *last));
        }
        for (address, content) in &bench.kept {
            prop_assert_eq!(&bench.reader.read(*address).unwrap(), content);
            let (from, to) = (content.len() / 3, content.len() / 3 * 2);
            prop_assert_eq!(&bench.reader.read_range(*address, from as u64, to - from).unwrap(), &content[from..to]);
        }
    }
}
