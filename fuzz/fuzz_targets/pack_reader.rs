//! A pack, hot or cold, of any bytes or with changes: reading never panics, and never gives other bytes than were kept.
//!
//! The first byte chooses: arbitrary bytes as a pack; a real pack with changes, of which every answer must be right or
//! an error; or one whose changed records got checksums that fit, which may say anything.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use tickfs_fuzz::edit;
use tickfs_store::content::{ContentReader, ContentWriter, PackOptions, compact, encode, scrub};
use tickfs_store::disk::{Disk, SimDisk};
use tickfs_store::ids::{Address, PackId};

const PACK: PackId = PackId(1);
/// A hot record's header: its checksum comes first, and the length of its payload stands at byte 8.
const HEADER_LEN: usize = 28;

fuzz_target!(|data: &[u8]| {
    let Some((&mode, rest)) = data.split_first() else { return };
    match mode % 6 {
        0 => check(&hot(), rest, &[]),
        1 => check(&cold(), rest, &[]),
        2 => check(&hot(), &edited(&REAL.hot, rest), &REAL.contents),
        3 => check(&cold(), &edited(&REAL.cold, rest), &REAL.contents),
        _ => check(&hot(), &with_checksums(edited(&REAL.hot, rest)), &[]),
    }
});

/// Reads all addresses there are; those that are known must give what is known, or an error.
fn check(path: &Path, bytes: &[u8], known: &[(Address, Vec<u8>)]) {
    let disk = SimDisk::default();
    disk.write(path, bytes).expect("a disk without faults takes it");
    let disk: Arc<dyn Disk> = Arc::new(disk);
    scrub(&disk, packs()).expect("damage is a finding, not an error");
    let reader = ContentReader::open(Arc::clone(&disk), packs());
    for (address, text) in known {
        if let Ok(read) = reader.read(*address) {
            assert!(read == *text, "{address} gave other bytes");
        }
        let (from, len) = (text.len() / 3, text.len() / 2);
        if let Ok(read) = reader.read_range(*address, from as u64, len) {
            assert!(read == text[from..from + len], "a range of {address} gave other bytes");
        }
    }
    for (address, _) in &REAL.contents {
        // The result is not known: it must only not panic.
        drop(reader.read_range(*address, 3, 100));
        drop(reader.len(*address));
        drop(reader.describe(*address));
    }
}

fn edited(bytes: &[u8], script: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    edit(&mut bytes, script);
    bytes
}

/// Gives the records that begin where real ones do the checksum of what stands there now.
fn with_checksums(mut bytes: Vec<u8>) -> Vec<u8> {
    for (address, _) in &REAL.contents {
        let at = usize::try_from(address.offset).expect("a small pack");
        let Some(header) = bytes.get(at..at + HEADER_LEN) else { continue };
        let len = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let Some(record) = bytes.get(at..(at + HEADER_LEN).saturating_add(len)) else { continue };
        let mut crc = crc32fast::Hasher::new();
        crc.update(&address.pack.0.to_le_bytes());
        crc.update(&address.offset.to_le_bytes());
        crc.update(&record[4..]);
        bytes[at..at + 4].copy_from_slice(&crc.finalize().to_le_bytes());
    }
    bytes
}

fn packs() -> &'static Path {
    Path::new("/packs")
}

fn hot() -> PathBuf {
    packs().join(PACK.hot_name())
}

fn cold() -> PathBuf {
    packs().join(PACK.cold_name())
}

/// One pack in both forms, and what it holds.
struct Real {
    hot: Vec<u8>,
    cold: Vec<u8>,
    contents: Vec<(Address, Vec<u8>)>,
}

static REAL: LazyLock<Real> = LazyLock::new(|| {
    let sim = SimDisk::default();
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    disk.create_dir(packs()).expect("an empty disk takes it");
    let mut contents = Vec::new();
    let mut writer = ContentWriter::open(Arc::clone(&disk), packs(), PackOptions::default()).expect("there is room");
    let reader = ContentReader::open(Arc::clone(&disk), packs());
    let mut previous = None;
    for text in texts() {
        let base = previous.map(|address| reader.base_for(address).expect("it was just written"));
        let address = writer.append(&encode(&text, base.as_ref())).expect("there is room");
        previous = Some(address);
        contents.push((address, text));
    }
    writer.sync().expect("there is room");
    drop(writer);
    // What ends the pack, so that it may be compacted.
    drop(ContentWriter::open(Arc::clone(&disk), packs(), PackOptions::rolling_at(1)).expect("there is room"));
    let bytes = sim.read(&hot()).expect("it was just written");
    compact(&disk, packs(), Path::new("/quarantine"), PACK).expect("a real pack can be compacted");
    Real { hot: bytes, cold: sim.read(&cold()).expect("it was just compacted"), contents }
});

/// Versions that become keyframes, splices plain and packed, and bytes as they are.
fn texts() -> Vec<Vec<u8>> {
    let text = |n: usize| -> Vec<u8> {
        let line = |row: usize| format!("line {row} {}\n", if row % 40 == n { n * 7919 } else { 0 });
        (0..80).map(line).collect::<String>().into_bytes()
    };
    let mut texts: Vec<Vec<u8>> = (0..10).map(text).collect();
    texts.push(Vec::new());
    let mut noise = 1_u64;
    texts.push(
        (0..600)
            .map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                noise.to_le_bytes()[7]
            })
            .collect(),
    );
    texts
}
