//! What the writer, recovery and the reader promise together.

use super::testing::{Bench, Faults, note, origin, update, write_one};
use super::*;
use crate::disk::Fsync;
use crate::ids::{SegmentId, Seq};

fn first() -> SegmentId {
    SegmentId(Seq(1))
}

/// Shows EL-13, EL-15, EL-17, EL-91.
#[test]
fn seqs_count_from_one_and_each_record_knows_who_wrote_it() {
    let bench = Bench::new();
    bench.write(&["a", "b"]);
    bench.write(&["c"]);
    let mut reader =
        JournalReader::open(&bench.disk, &bench.dir, ReadOptions::from(Seq(1))).unwrap().whole().unwrap();
    let mut seqs = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        assert_eq!(entry.writer.unwrap().pid, 7);
        assert_eq!(entry.origin, Some(&origin()));
        seqs.push(entry.line.seq.0);
    }
    assert_eq!(seqs, [1, 2, 3]);
    let text = String::from_utf8(bench.memory.bytes(&bench.dir.plain(first()))).unwrap();
    let stamps: Vec<_> =
        text.lines().map(|l| (l.contains("origin_store_id"), l.contains("\"writer\""))).collect();
    let expected =
        [(false, false), (true, true), (false, false), (false, false), (false, false), (false, true)];
    assert_eq!(stamps, expected, "{text}");
}

/// Shows EL-37, EL-39, EL-93.
#[test]
fn a_segment_cut_at_every_byte_loses_only_the_torn_mutation_and_reuses_no_seq() {
    let bench = Bench::new();
    let mut journal = bench.writer(WriterOptions::default());
    write_one(&mut journal, &[update("a", "{}")]);
    write_one(&mut journal, &[update("b", "{}")]);
    write_one(&mut journal, &[update("c1", "{}"), update("c2", "{}"), update("c3", "{}")]);
    let path = bench.dir.plain(first());
    let whole = bench.memory.bytes(&path);
    let ends = [2, 3].map(|seq| end_of_seq(&bench, seq - 1));
    for cut in 0..=whole.len() {
        let torn = bench.copy();
        torn.memory.set(&path, &whole[..cut]);
        let kept: &[&str] = match () {
            () if cut == whole.len() => &["a", "b", "c1", "c2", "c3"],
            () if cut as u64 >= ends[1] => &["a", "b"],
            () if cut as u64 >= ends[0] => &["a"],
            () => &[],
        };
        let names = |seen: &[(u64, String)]| seen.iter().map(|(_, name)| name.clone()).collect::<Vec<_>>();
        let (seen, report) = torn.read();
        assert_eq!(names(&seen), kept, "cut at {cut}, before the next append");
        assert_eq!(report.skipped(), 0, "a torn tail is no warning, cut at {cut}");

        torn.write(&["next"]);
        let (seen, report) = torn.read();
        let was_torn = report.dead.len() == 1;
        let mut expected: Vec<String> = kept.iter().map(ToString::to_string).collect();
        expected.extend(was_torn.then(|| "adjudicate".to_owned()));
        expected.push("next".to_owned());
        assert_eq!(names(&seen), expected, "cut at {cut}, after the next append");
        assert!(
            report.torn_tail.is_none() && report.skipped() == 0 && report.missing == 0,
            "{cut}: {report:?}"
        );
        assert!(report.dead.iter().all(|dead| dead.unchanged), "cut at {cut}");
        for shown in shown_seqs(&whole[..cut], kept.len()) {
            assert!(!seen.iter().any(|(seq, _)| *seq == shown), "seq {shown} was used again, cut at {cut}");
        }
        torn.write(&["after"]);
        assert_eq!(torn.read().0.len(), seen.len() + 1, "the tail is judged once, cut at {cut}");
    }
}

fn end_of_seq(bench: &Bench, seq: u64) -> u64 {
    let mut reader =
        JournalReader::open(&bench.disk, &bench.dir, ReadOptions::from(Seq(seq))).unwrap().whole().unwrap();
    reader.next().unwrap().unwrap().end().offset
}

/// The seqs that the bytes show beyond those of the records that are kept.
fn shown_seqs(bytes: &[u8], kept: usize) -> Vec<u64> {
    let text = String::from_utf8_lossy(bytes);
    let numbers =
        text.split("\"seq\":").skip(1).map(|rest| rest.chars().take_while(char::is_ascii_digit).collect());
    let numbers = numbers.filter_map(|digits: String| digits.parse().ok());
    numbers.filter(|seq| *seq > kept as u64).collect()
}

/// Shows EL-38.
#[test]
fn each_record_stands_between_newlines() {
    let bench = Bench::new();
    bench.write(&["a", "b"]);
    let bytes = bench.memory.bytes(&bench.dir.plain(first()));
    let (starts, ends) = (b"\n{", b"}\n");
    assert_eq!(bytes.windows(2).filter(|two| two == starts).count(), 2);
    assert_eq!(bytes.windows(2).filter(|two| two == ends).count(), 2);
    assert_eq!((bytes[0], bytes[bytes.len() - 1]), (b'\n', b'\n'));
}

/// Shows EL-40.
#[test]
fn blank_lines_between_records_change_nothing() {
    let bench = Bench::new();
    bench.write(&["a", "b"]);
    let path = bench.dir.plain(first());
    let before = bench.read().0;
    let spaced = String::from_utf8(bench.memory.bytes(&path)).unwrap().replace('\n', "\n\n\n");
    bench.memory.set(&path, spaced.as_bytes());
    assert_eq!(bench.read().0, before);
    bench.write(&["c"]);
    assert_eq!(bench.seqs(), [1, 2, 3]);
}

/// Shows EL-42, EL-86, EL-95.
#[test]
fn what_strangers_append_is_counted_by_name_and_left_alone() {
    let bench = Bench::new();
    bench.write(&["a"]);
    let path = bench.dir.plain(first());
    let mut bytes = bench.memory.bytes(&path);
    bytes.extend_from_slice(
        b"garbage\n{}\n{\"v\":2,\"seq\":\"two\",\"payload\":3}\n{\"seq\":null,\"payload\":{}}\n",
    );
    bench.memory.set(&path, &bytes);
    for after in [false, true] {
        if after {
            bench.write(&["b"]);
        }
        let (seen, report) = bench.read();
        assert_eq!(seen.len(), if after { 2 } else { 1 });
        assert_eq!((report.skipped(), report.strays(), report.missing), (4, 2, 0));
        assert!(report.bad.iter().all(|bad| bad.segment == first()));
        assert!(report.torn_tail.is_none() && report.dead.is_empty());
    }
    assert_eq!(&bench.memory.bytes(&path)[..bytes.len()], &bytes);
}

/// Shows EL-39, EL-43.
#[test]
fn a_torn_tail_is_silent_until_the_next_writer_has_named_it() {
    let bench = Bench::new();
    bench.write(&["a", "b"]);
    let path = bench.dir.plain(first());
    let whole = bench.memory.bytes(&path);
    bench.memory.set(&path, &whole[..whole.len() - 1]);
    let (seen, report) = bench.read();
    assert_eq!((seen.len(), report.skipped(), report.torn_tail.is_some()), (1, 0, true));
    bench.write(&["c"]);
    let (seen, report) = bench.read();
    let expected = [(1, "a"), (3, "adjudicate"), (4, "c")].map(|(seq, name)| (seq, name.to_owned()));
    assert_eq!(seen, expected);
    assert_eq!((report.torn_tail, report.dead.len(), report.missing), (None, 1, 0));
}

#[test]
fn a_record_missing_in_the_middle_of_the_last_mutation_kills_it_whole() {
    let bench = Bench::new();
    bench.write(&["a"]);
    let mut journal = bench.writer(WriterOptions::default());
    write_one(&mut journal, &[update("b1", "{}"), update("b2", "{}"), update("b3", "{}")]);
    let path = bench.dir.plain(first());
    let whole = bench.memory.bytes(&path);
    for seq in 2..=4 {
        let torn = bench.copy();
        let mut bytes = whole.clone();
        let at = memchr::memmem::find(&bytes, format!("\"seq\":{seq},").as_bytes()).unwrap();
        bytes[at + 20..at + 60].fill(0);
        torn.memory.set(&path, &bytes);
        assert_eq!(torn.seqs(), [1], "record {seq} is zeroed");
        torn.write(&["c"]);
        assert_eq!(torn.seqs(), [1, 5, 6], "record {seq} is zeroed");
    }
}

#[test]
fn a_zeroed_block_kills_the_last_mutation_and_costs_older_ones_only_what_it_covers() {
    let bench = Bench::new();
    let mut journal = bench.writer(WriterOptions::default());
    for name in ["a", "b", "c", "d"] {
        write_one(&mut journal, &[update(name, "{}")]);
    }
    let path = bench.dir.plain(first());
    let whole = bench.memory.bytes(&path);
    let lines: Vec<_> = lines::lines(&whole).map(|line| (line.start, line.text.len())).collect();
    for (place, (start, len)) in lines.into_iter().enumerate() {
        let damaged = bench.copy();
        let mut bytes = whole.clone();
        bytes[start..start + len].fill(0);
        damaged.memory.set(&path, &bytes);
        let (seen, report) = damaged.read();
        assert_eq!(seen.len(), 3, "record {} is zeroed", place + 1);
        let (is_last, lost) = (place == 3, u64::from(place < 3));
        assert_eq!((report.torn_tail.is_some(), report.skipped(), report.missing), (is_last, lost, lost));
        damaged.write(&["e"]);
        let (seen, report) = damaged.read();
        assert_eq!((seen.last().unwrap().1.as_str(), report.dead.len()), ("e", usize::from(is_last)));
    }
}

/// Shows EL-99.
#[test]
fn a_flipped_byte_in_the_middle_costs_that_record_alone() {
    let bench = Bench::new();
    let mut journal = bench.writer(WriterOptions::default());
    write_one(&mut journal, &[update("a", "{}")]);
    write_one(&mut journal, &[update("b1", "{\"x\":1}"), update("b2", "{}")]);
    write_one(&mut journal, &[update("b1", "{\"x\":2}")]);
    let path = bench.dir.plain(first());
    let mut bytes = bench.memory.bytes(&path);
    let at = memchr::memmem::find(&bytes, b"{\"x\":1}").unwrap();
    bytes[at + 5] = b'9';
    bench.memory.set(&path, &bytes);
    let (seen, report) = bench.read();
    assert_eq!(seen.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 3, 4]);
    assert_eq!((report.faults["checksum"], report.missing, report.bad[0].segment), (1, 1, first()));
    assert_eq!(report.missing_ranges, [Seq(2)..=Seq(2)]);
}

/// Shows EL-27.
#[test]
fn a_doubled_line_is_given_once_and_counted() {
    let bench = Bench::new();
    bench.write(&["a", "b", "c"]);
    let path = bench.dir.plain(first());
    let bytes = bench.memory.bytes(&path);
    let lines: Vec<_> = lines::lines(&bytes).map(|line| line.text).collect();
    let doubled = [&bytes[..], lines[2], b"\n", lines[1], b"\n"].concat();
    bench.memory.set(&path, &doubled);
    let (seen, report) = bench.read();
    assert_eq!((seen.len(), report.duplicates), (3, 2));
    bench.write(&["d"]);
    assert_eq!(bench.seqs(), [1, 2, 3, 4]);
}

/// Shows EL-54, EL-58, EL-55.
#[test]
fn a_full_segment_is_followed_by_one_named_by_its_first_seq() {
    let bench = Bench::new();
    let mut journal = bench.writer(WriterOptions { roll_at: 2_000, ..WriterOptions::default() });
    let mut longest = 0;
    for n in 0..100 {
        let before = journal.end().offset;
        write_one(&mut journal, &[update(&format!("plan-{n}"), "{}")]);
        longest = longest.max(journal.end().offset.saturating_sub(before));
    }
    let segments = Segments::list(&*bench.disk, &bench.dir, false).unwrap();
    assert!(segments.files().len() > 5);
    for file in segments.files() {
        let bytes = bench.memory.bytes(&file.path(&bench.dir));
        assert!(bytes.len() as u64 <= 2_000 + longest);
        let line = entry::decode(bytes.split(|&b| b == b'\n').nth(1).unwrap()).unwrap();
        assert_eq!(line.seq, file.id.0);
        assert!(line.origin_store_id.is_some() && line.writer.is_some());
    }
    let head = Head::read(&*bench.disk, &bench.dir).unwrap();
    assert_eq!(head.active_segment, segments.last().unwrap().id.file_name());
    journal.close().unwrap();
    assert_eq!(Head::read(&*bench.disk, &bench.dir).unwrap().next_seq, Seq(101));
    assert_eq!(bench.seqs(), (1..=100).collect::<Vec<_>>());
}

/// Shows EL-61, EL-100.
#[test]
fn head_is_only_a_cache() {
    let bench = Bench::new();
    bench.write(&["a", "b"]);
    let right = Head { next_seq: Seq(3), active_segment: first().file_name(), offset: 0 };
    let (low, high) = (Head { next_seq: Seq(0), ..right.clone() }, Head { next_seq: Seq(103), ..right });
    let mut expected = 3;
    for head in [b"garbage".to_vec(), low.to_json().into_bytes(), high.to_json().into_bytes()] {
        bench.memory.set(&bench.dir.head(), &head);
        let mut journal = bench.writer(WriterOptions::default());
        assert_eq!(write_one(&mut journal, &[update("c", "{}")]), Seq(expected));
        journal.close().unwrap();
        expected += 1;
        assert_eq!(Head::read(&*bench.disk, &bench.dir).unwrap().next_seq, Seq(expected));
    }
}

/// Shows EL-57.
#[test]
fn a_seq_is_read_by_opening_two_segments_at_most() {
    let bench = Bench::new();
    let mut journal = bench.writer(WriterOptions { roll_at: 1, ..WriterOptions::default() });
    for n in 0..1_000 {
        write_one(&mut journal, &[update(&n.to_string(), "{}")]);
    }
    for wanted in [1, 2, 500, 999, 1_000] {
        drop(bench.memory.take_seen());
        let (seen, _) = bench.read_with(ReadOptions::from(Seq(wanted)).until(Seq(wanted)));
        assert_eq!(seen, [(wanted, (wanted - 1).to_string())]);
        let opened = bench.memory.take_seen().opened;
        assert!(opened.len() <= 2, "{opened:?}");
    }
}

/// Shows EL-96, EL-59, EL-119.
#[test]
fn a_reader_follows_the_writer_across_rolls() {
    let bench = Bench::new();
    let mut journal = bench.writer(WriterOptions { roll_at: 500, ..WriterOptions::default() });
    let mut reader =
        JournalReader::open(&bench.disk, &bench.dir, ReadOptions::from(Seq(1))).unwrap().whole().unwrap();
    let mut seen = Vec::new();
    for n in 0..60_u64 {
        write_one(&mut journal, &[update(&n.to_string(), "{}"), update("again", "{}")]);
        if n % 7 == 0 {
            while let Some(entry) = reader.next().unwrap() {
                seen.push(entry.line.seq.0);
            }
        }
    }
    while let Some(entry) = reader.next().unwrap() {
        seen.push(entry.line.seq.0);
    }
    assert!(Segments::list(&*bench.disk, &bench.dir, false).unwrap().files().len() > 10);
    assert_eq!(seen, (1..=120).collect::<Vec<_>>());
    assert_eq!((reader.end(), reader.report().missing), (journal.end(), 0));
    assert!(bench.memory.take_seen().renamed.iter().all(|(_, to)| to.ends_with("HEAD.json")));
}

/// Shows EL-08, EL-50, EL-51.
#[test]
fn a_group_is_one_write_and_one_sync() {
    let bench = Bench::new();
    let mut journal = bench.writer(WriterOptions::default());
    write_one(&mut journal, &[update("a", "{}")]);
    drop(bench.memory.take_seen());
    let mut group = journal.begin(testing::NOW).unwrap();
    assert_eq!(group.push_mutation(&[update("b", "{}"), update("c", "{}")]).unwrap(), Seq(2)..=Seq(3));
    assert_eq!(group.push_mutation(&[update("d", "{}")]).unwrap(), Seq(4)..=Seq(4));
    group.commit().unwrap();
    let seen = bench.memory.take_seen();
    assert_eq!((seen.appended.len(), seen.synced), (1, 1));

    let mut group = journal.begin(testing::NOW).unwrap();
    group.push_mutation(&[note("observed")]).unwrap();
    group.commit_unsynced().unwrap();
    let seen = bench.memory.take_seen();
    assert_eq!((seen.appended.len(), seen.synced), (1, 0));

    let mut never = bench.writer(WriterOptions { fsync: Fsync::Never, roll_at: 1 });
    write_one(&mut never, &[update("e", "{}")]);
    write_one(&mut never, &[update("f", "{}")]);
    assert_eq!(bench.memory.take_seen().synced, 0);
    assert_eq!(bench.seqs(), (1..=7).collect::<Vec<_>>());
}

/// Shows EL-33.
#[test]
fn a_line_too_long_refuses_its_mutation_and_nothing_else() {
    let bench = Bench::new();
    let mut journal = bench.writer(WriterOptions::default());
    let mut group = journal.begin(testing::NOW).unwrap();
    group.push_mutation(&[update("a", "{}")]).unwrap();
    let long = note(&"x".repeat(entry::LINE_MAX));
    assert!(group.push_mutation(&[update("b", "{}"), long]).is_err());
    assert_eq!(group.next_seq(), Seq(2));
    group.commit().unwrap();
    assert_eq!(bench.seqs(), [1]);
}

/// Shows EL-52.
#[test]
fn a_failed_append_is_dead_as_a_whole_and_the_writer_goes_on_when_there_is_room() {
    let bench = Bench::new();
    let mut journal = bench.writer(WriterOptions::default());
    write_one(&mut journal, &[update("a", "{}")]);
    for room in [0, 1, 20, 60, 170, 200, 400] {
        bench.memory.fail(Faults { room: Some(room), ..Faults::default() });
        let before = journal.end();
        let mut group = journal.begin(testing::NOW).unwrap();
        group.push_mutation(&[update("lost", "{}")]).unwrap();
        group.push_mutation(&[update("lost too", "{}"), update("and this", "{}")]).unwrap();
        assert!(group.commit().is_err());
        bench.memory.fail(Faults::default());
        assert_eq!(journal.end(), before);
        write_one(&mut journal, &[update("kept", "{}")]);
        let (seen, report) = bench.read();
        assert!(
            seen.iter().all(|(_, name)| ["a", "kept", "adjudicate"].contains(&name.as_str())),
            "{seen:?}"
        );
        assert_eq!((report.missing, report.skipped(), report.duplicates), (0, 0, 0), "room for {room}");
    }
    assert_eq!(bench.read().0.iter().filter(|(_, name)| name == "kept").count(), 7);
    let reopened = bench.writer(WriterOptions::default());
    assert_eq!((reopened.end(), reopened.next_seq()), (journal.end(), journal.next_seq()));
}

#[test]
fn a_failed_append_behind_a_torn_tail_is_dead_together_with_it() {
    let bench = Bench::new();
    bench.write(&["a", "torn"]);
    let path = bench.dir.plain(first());
    let whole = bench.memory.bytes(&path);
    bench.memory.set(&path, &whole[..whole.len() - 9]);
    let mut journal = bench.writer(WriterOptions::default());
    bench.memory.fail(Faults { room: Some(100), ..Faults::default() });
    let mut group = journal.begin(testing::NOW).unwrap();
    group.push_mutation(&[update("lost", "{}")]).unwrap();
    assert!(group.commit().is_err());
    bench.memory.fail(Faults::default());
    write_one(&mut journal, &[update("kept", "{}")]);
    let (seen, report) = bench.read();
    let expected = [(1, "a"), (4, "adjudicate"), (5, "kept")].map(|(seq, name)| (seq, name.to_owned()));
    assert_eq!(seen, expected);
    assert_eq!((report.dead.len(), report.skipped(), report.missing), (1, 0, 0));
}

#[test]
fn a_failed_sync_poisons_until_reopened() {
    let bench = Bench::new();
    let mut journal = bench.writer(WriterOptions::default());
    write_one(&mut journal, &[update("a", "{}")]);
    bench.memory.fail(Faults { sync: true, ..Faults::default() });
    let mut group = journal.begin(testing::NOW).unwrap();
    group.push_mutation(&[update("b", "{}")]).unwrap();
    assert!(matches!(group.commit(), Err(crate::Error::Poisoned { .. })));
    bench.memory.fail(Faults::default());
    assert!(matches!(journal.begin(testing::NOW), Err(crate::Error::Poisoned { .. })));
    bench.write(&["c"]);
    assert_eq!(bench.seqs(), [1, 2, 3]);
}

/// Shows EL-74.
#[test]
fn freshness_is_told_by_names_without_opening_a_file() {
    let bench = Bench::new();
    assert!(is_current(&*bench.disk, &bench.dir, &JournalEnd::EMPTY).unwrap());
    let mut journal = bench.writer(WriterOptions { roll_at: 300, ..WriterOptions::default() });
    let mut before = JournalEnd::EMPTY;
    for n in 0..20 {
        write_one(&mut journal, &[update(&n.to_string(), "{}")]);
        drop(bench.memory.take_seen());
        assert!(is_current(&*bench.disk, &bench.dir, &journal.end()).unwrap(), "{n}");
        assert!(!is_current(&*bench.disk, &bench.dir, &before).unwrap(), "{n}");
        assert!(bench.memory.take_seen().opened.is_empty());
        assert!(holds(&*bench.disk, &bench.dir, &journal.end()).unwrap());
        before = journal.end();
    }
    let wrong = JournalEnd { offset: before.offset - 1, ..before };
    assert!(!holds(&*bench.disk, &bench.dir, &wrong).unwrap());
    assert!(!holds(&*bench.disk, &bench.dir, &JournalEnd { seq: Seq(99), ..before }).unwrap());
}

/// Shows EL-69.
#[test]
fn reading_goes_on_behind_a_watermark() {
    let bench = Bench::new();
    let mut journal = bench.writer(WriterOptions { roll_at: 700, ..WriterOptions::default() });
    let mut ends = vec![JournalEnd::EMPTY];
    for n in 0..40 {
        write_one(&mut journal, &[update(&n.to_string(), "{}")]);
        ends.push(journal.end());
    }
    for (n, end) in ends.into_iter().enumerate() {
        let (seen, report) = bench.read_with(ReadOptions { writers: true, ..ReadOptions::after(end) });
        assert_eq!(
            seen.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(),
            (n as u64 + 1..=40).collect::<Vec<_>>()
        );
        assert_eq!((report.missing, report.duplicates, report.skipped()), (0, 0, 0));
    }
}

#[test]
fn a_crash_between_the_new_name_and_its_first_record_loses_no_seq() {
    let bench = Bench::new();
    bench.write(&["a", "b"]);
    bench.memory.set(&bench.dir.plain(SegmentId(Seq(3))), b"");
    let mut journal = bench.writer(WriterOptions::default());
    assert_eq!((journal.next_seq(), journal.end().seq), (Seq(3), Seq(2)));
    write_one(&mut journal, &[update("c", "{}")]);
    assert_eq!(bench.seqs(), [1, 2, 3]);
}

/// What it shows is no seq that was taken: the fuzzer found everything behind it passed over as known.
#[test]
fn a_line_without_an_end_costs_nothing_of_the_next_segment() {
    let bench = Bench::new();
    let mut journal = bench.writer(WriterOptions { roll_at: 900, ..WriterOptions::default() });
    for n in 0..20 {
        write_one(&mut journal, &[update(&n.to_string(), "{}")]);
    }
    let path = bench.dir.plain(first());
    let bytes = [bench.memory.bytes(&path), b"{\"v\":2,\"seq\":1000:00.00".to_vec()].concat();
    bench.memory.set(&path, &bytes);
    let (seen, report) = bench.read();
    assert_eq!((seen.len(), report.skipped(), report.missing, report.duplicates), (20, 1, 0, 0));
}

#[test]
fn scanning_and_streaming_give_the_same() {
    let bench = Bench::new();
    let mut journal = bench.writer(WriterOptions { roll_at: 900, ..WriterOptions::default() });
    for n in 0..50 {
        write_one(&mut journal, &[update(&n.to_string(), "{}")]);
    }
    let mut scanned = Vec::new();
    let report = scan_all(&bench.disk, &bench.dir, |entry| {
        assert!(entry.writer.is_some() && entry.origin.is_some());
        scanned.push((entry.line.seq.0, entry.line.item_id.as_deref().unwrap_or_default().to_owned()));
        Ok(std::ops::ControlFlow::Continue(()))
    });
    assert_eq!(report.unwrap().records, 50);
    assert_eq!(scanned, bench.read().0);
}
