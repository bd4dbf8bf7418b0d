//! Any bytes as the segments of a journal: what is read is in order, and what is written behind them is read.
//!
//! The first byte chooses between arbitrary bytes, a real segment with changes, and lines that are given the checksum
//! which makes them count.
#![no_main]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use tickfs_fuzz::edit;
use tickfs_store::disk::{Disk, SimDisk};
use tickfs_store::ids::{SegmentId, Seq, StoreId, UnixMillis};
use tickfs_store::journal::entry::{Action, Body, Draft, ItemType, Writer};
use tickfs_store::journal::{
    JournalDir, JournalReader, JournalWriter, ReadOptions, WriterOptions, checkpoint, reads_the_same, scan_all, seal,
};

const FIRST: SegmentId = SegmentId(Seq(1));

/// A path's record without its checksum: a rebuild reads such a line without a general parser.
const PATH_RECORD: &[u8] = br#"{"v":2,"seq":7,"part":1,"ts":"2026-05-28T20:26:40.000Z","action":"modify","item_type":"file","item_id":"4","tick":{"n":1,"branch":1,"at":5,"burst":1},"payload":{"node":4,"dir":1,"path":"a/b","type":"file","mode":33188,"uid":2,"gid":3,"size":4,"mtime":"-1.000000000","hash":"148f02f92554e6acdee4cc513b5cd4e1","rec":[1,20,2]}"#;

fuzz_target!(|data: &[u8]| {
    let Some((&mode, rest)) = data.split_first() else { return };
    let mut record = PATH_RECORD.to_vec();
    edit(&mut record, rest);
    for line in with_checksums(&record).split(|&b| b == b'\n') {
        assert!(reads_the_same(line), "{}", String::from_utf8_lossy(line));
    }
    let disk = empty_disk();
    match mode % 5 {
        0 => put(&disk, &dir().plain(FIRST), rest),
        1 => put(&disk, &dir().sealed(FIRST), rest),
        2 => put(&disk, &dir().plain(FIRST), &with_checksums(rest)),
        3 => put_edited(&disk, &PLAIN, rest),
        _ => put_edited(&disk, &SEALED, rest),
    }
    check(&disk);
});

/// Opens what lies there as a reader and as a writer.
fn check(disk: &SimDisk) {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let before = read(&shared);
    // None of these may panic; what they say of garbage is their affair.
    drop(seal::verify_chain(disk, &dir()));
    drop(checkpoint::list(&shared, &dir()));
    let Ok(mut writer) = open_writer(&shared) else { return };
    let mut written = Vec::new();
    for _ in 0..2 {
        let Ok(mut group) = writer.begin(UnixMillis(9)) else { return };
        let Ok(seqs) = group.push_mutation(&[note("after"), note("after")]) else { return };
        written.extend([seqs.start().0, seqs.end().0]);
        group.commit().expect("a disk without faults takes it");
    }
    drop(writer);
    let Some(before) = before else { return };
    let after = read(&shared).expect("it was readable before");
    assert!(after.ends_with(&written), "{written:?} was written, {after:?} is read");
    assert!(before.iter().all(|seq| after.contains(seq)), "{before:?} became {after:?}");
    let again = open_writer(&shared).expect("it could be opened before");
    assert_eq!(again.end().seq.0, written[written.len() - 1]);
}

/// The seqs of all records, by both ways of reading; `None` where the journal does not read.
fn read(disk: &Arc<dyn Disk>) -> Option<Vec<u64>> {
    let options = ReadOptions::from(Seq(1)).with_archive();
    let mut reader = JournalReader::open(disk, &dir(), options).ok()?.whole().ok()?;
    let mut one_by_one = Vec::new();
    while let Some(entry) = reader.next().ok()? {
        one_by_one.push(entry.line.seq.0);
    }
    let mut scanned = Vec::new();
    let report = scan_all(disk, &dir(), |entry| {
        scanned.push(entry.line.seq.0);
        Ok(ControlFlow::Continue(()))
    });
    assert!(report.is_ok() && scanned == one_by_one, "{scanned:?} and {one_by_one:?}");
    assert!(scanned.windows(2).all(|pair| pair[0] < pair[1]), "out of order: {scanned:?}");
    Some(scanned)
}

fn dir() -> JournalDir {
    JournalDir::new(Path::new("/j"))
}

fn empty_disk() -> SimDisk {
    let disk = SimDisk::default();
    dir().create(&disk).expect("an empty disk takes it");
    disk
}

fn put(disk: &SimDisk, path: &Path, bytes: &[u8]) {
    disk.write(path, bytes).expect("a disk without faults takes it");
}

fn open_writer(disk: &Arc<dyn Disk>) -> Result<JournalWriter, tickfs_store::Error> {
    let who = Writer { writer: "fuzz".to_owned(), writer_id: None, pid: 1 };
    let origin = StoreId::new(UnixMillis(1), [7; 10]);
    // Each group that finds the segment this long begins a new one.
    let options = WriterOptions { roll_at: 2_000, ..WriterOptions::default() };
    JournalWriter::open(Arc::clone(disk), dir().path(), origin, who, options)
}

fn note(text: &str) -> Draft {
    Draft {
        action: Action::Note,
        item_type: ItemType::STATE,
        item_id: None,
        summary: Some(text.to_owned()),
        tick: None,
        body: Body::None,
    }
}

type Files = Vec<(std::path::PathBuf, Vec<u8>)>;

/// A journal of two segments, the first of which is full.
static PLAIN: LazyLock<Files> = LazyLock::new(|| files_of(&real()));

/// The same, with the first one sealed.
static SEALED: LazyLock<Files> = LazyLock::new(|| {
    let disk = real();
    seal::seal_rolled(&disk, &dir()).expect("a real journal can be sealed");
    files_of(&disk)
});

fn real() -> SimDisk {
    let disk = empty_disk();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut writer = open_writer(&shared).expect("an empty journal opens");
    for n in 0..12 {
        let mut group = writer.begin(UnixMillis(n)).expect("a disk without faults takes it");
        let drafts = vec![note("one of several records"); 1 + usize::from(n % 3 == 0)];
        group.push_mutation(&drafts).expect("these are records");
        group.commit().expect("a disk without faults takes it");
    }
    disk
}

fn files_of(disk: &SimDisk) -> Files {
    let segments = disk.paths().into_iter().filter(|path| path.to_string_lossy().contains("seg-"));
    segments.map(|path| (path.clone(), disk.read(&path).expect("it was just listed"))).collect()
}

/// The first byte chooses the file to change.
fn put_edited(disk: &SimDisk, files: &Files, script: &[u8]) {
    let Some((&chosen, script)) = script.split_first() else { return };
    for (n, (path, bytes)) in files.iter().enumerate() {
        let mut bytes = bytes.clone();
        if n == usize::from(chosen) % files.len() {
            edit(&mut bytes, script);
        }
        put(disk, path, &bytes);
    }
}

/// Each line as a record that has the right checksum, and is wrong only in what it says.
fn with_checksums(lines: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines.split(|&byte| byte == b'\n') {
        let crc = crc32fast::hash(line);
        out.push(b'\n');
        out.extend_from_slice(line);
        out.extend_from_slice(format!(",\"crc\":\"{crc:08x}\"}}\n").as_bytes());
    }
    out
}
