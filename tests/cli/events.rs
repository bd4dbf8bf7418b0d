//! `events dump` and `events tail`: what the journal holds, and that nothing is held back silently.

use std::io::Read as _;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tickfs_store::disk::Fsync;
use tickfs_store::journal::entry::{Action, Body, Draft, ItemType};
use tickfs_store::journal::{JournalDir, JournalWriter, WriterOptions, seal};

use crate::bench::{Bench, NOW, TICKFS, disk, save, who};

fn seqs(json: &str) -> Vec<u64> {
    let document: Value = serde_json::from_str(json).unwrap();
    document["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

/// One command a record, the n-th with argument n.
fn commands(bench: &Bench, numbers: std::ops::RangeInclusive<u64>) {
    let writer = bench.writer();
    for n in numbers {
        let payload = json!({
            "command": "worldstate_snapshot", "args": ["--terse", n.to_string()], "status": "ok",
            "ack_latency_ms": 3.5, "final_latency_ms": 17, "error": null
        });
        writer.mutate(NOW, move |m| m.observe(Action::Executed, &ItemType::COMMAND, None, &payload)).unwrap();
    }
    writer.close().unwrap();
}

#[test]
fn cli_events_dump_shows_people_what_happened() {
    let bench = Bench::with_store();
    let writer = bench.writer();
    save(&writer, 2);
    writer.mutate(NOW, |m| m.remove(&crate::bench::rel("a"))).unwrap();
    writer.close().unwrap();
    commands(&bench, 1..=1);
    bench.golden("events-dump", &[&["events", "dump"], &["events", "dump", "--last", "2", "--csv"]]);
}

/// Shows PR-60.
#[test]
fn cli_events_dump_gives_the_newest_and_no_more_than_there_are() {
    let bench = Bench::with_store();
    commands(&bench, 1..=30);
    let dump = |args: &[&str]| seqs(&bench.run(&[&["events", "dump", "--json"], args].concat()).stdout);
    assert_eq!(dump(&["--last", "10"]), (21..=30).collect::<Vec<_>>());
    assert_eq!(dump(&["--last", "1000"]), (1..=30).collect::<Vec<_>>());
    assert_eq!(dump(&["--last", "0"]), [0; 0]);
    assert_eq!(dump(&[]), (11..=30).collect::<Vec<_>>(), "20 are the default");
    assert_eq!(dump(&["--all"]), (1..=30).collect::<Vec<_>>());
    // The seq of a torn record is never used again: there are fewer records than seqs.
    let segment = bench.path(".app.tickfs/journal/seg-00000001.jsonl");
    let file = std::fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    commands(&bench, 1..=3);
    assert_eq!(dump(&["--last", "6"]), [28, 29, 31, 32, 33, 34]);
    assert!(bench.run(&["events", "dump", "--help"]).stdout.contains("[default: 20]"));
}

/// Shows PR-59, PR-61, PR-62.
#[test]
fn cli_events_dump_csv_is_read_back_by_another_program() {
    let bench = Bench::with_store();
    commands(&bench, 1..=7);
    let writer = bench.writer();
    let odd = json!({
        "command": "say \"a, b\"", "args": ["two\nlines", "\r"], "status": "error",
        "error": {"code": "ACK_TIMEOUT", "message": "no, \"never\""}
    });
    writer.mutate(NOW, move |m| m.observe(Action::Failed, &ItemType::COMMAND, None, &odd)).unwrap();
    writer.close().unwrap();
    let shown = bench.run(&["events", "dump", "--last", "5", "--csv"]);
    assert_eq!((shown.stderr.as_str(), shown.status), ("", 0));
    let csv = bench.path("report.csv");
    std::fs::write(&csv, &shown.stdout).unwrap();
    let read = "import csv, json, sys; print(json.dumps(list(csv.reader(open(sys.argv[1], newline=''), strict=True))))";
    let Ok(output) = std::process::Command::new("python3").args(["-c", read]).arg(&csv).output() else {
        println!("skipped: python3 is not installed");
        return;
    };
    let rows: Vec<Vec<String>> = serde_json::from_slice(&output.stdout).unwrap();
    let documented = [
        "time",
        "command",
        "status",
        "ack_latency_ms",
        "final_latency_ms",
        "error",
        "args",
        "seq",
        "action",
        "item_type",
        "item_id",
        "summary",
    ];
    assert_eq!(rows[0], documented);
    assert_eq!(rows.len(), 6);
    let time = "2025-11-20T12:15:00.123Z";
    let plain = "[\"--terse\",\"7\"]";
    assert_eq!(rows[4][..8], [time, "worldstate_snapshot", "ok", "3.5", "17", "", plain, "7"]);
    let odd = r#"{"code":"ACK_TIMEOUT","message":"no, \"never\""}"#;
    assert_eq!(rows[5][1..8], ["say \"a, b\"", "error", "", "", odd, "[\"two\\nlines\",\"\\r\"]", "8"]);
}

/// Three segments of notes behind the records there are; the first two of them sealed.
fn roll_and_seal(bench: &Bench) {
    let dir = bench.path(".app.tickfs/journal");
    let options = WriterOptions { roll_at: 2_000, fsync: Fsync::Never };
    let mut journal = JournalWriter::open(disk(), &dir, bench.store().id().clone(), who(), options).unwrap();
    let draft = Draft {
        action: Action::Note,
        item_type: ItemType::COMMAND,
        item_id: None,
        summary: Some("a line of some length, so that segments fill up".to_owned()),
        tick: None,
        body: Body::None,
    };
    for _ in 0..40 {
        let mut group = journal.begin(NOW).unwrap();
        group.push_mutation(std::slice::from_ref(&draft)).unwrap();
        group.append().unwrap();
    }
    drop(journal);
    assert!(seal::seal_rolled(&*disk(), &JournalDir::new(&dir)).unwrap().len() > 1);
}

/// Shows PR-23, PR-64.
#[test]
fn cli_events_dump_reads_sealed_segments_and_says_which_block_it_cannot() {
    let bench = Bench::with_store();
    roll_and_seal(&bench);
    let shown = bench.run(&["events", "dump", "--all", "--json"]);
    assert_eq!((seqs(&shown.stdout), shown.status), ((1..=40).collect(), 0));
    assert_eq!(bench.store().view().unwrap().applied_seq().0, 40, "the index was healed on the way");
    let journal = bench.path(".app.tickfs/journal");
    let sealed = journal.join("seg-00000001.jsonl.zst");
    let mut bytes = std::fs::read(&sealed).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&sealed, bytes).unwrap();
    for args in [&["events", "dump", "--all"][..], &["events", "dump", "--all", "--csv"]] {
        let shown = bench.run(args);
        assert_eq!(shown.status, 1);
        assert!(
            shown.stderr.starts_with("tickfs: 1 sealed block cannot be read, the first at byte "),
            "{shown:?}"
        );
        assert!(shown.stderr.contains("(seg-00000001.jsonl.zst)"), "{shown:?}");
        assert!(shown.stdout.lines().count() > 20, "what can be read is shown");
    }
}

#[test]
fn cli_events_dump_of_a_journal_with_a_lost_line_is_no_success() {
    let bench = Bench::with_store();
    commands(&bench, 1..=9);
    let segment = bench.path(".app.tickfs/journal/seg-00000001.jsonl");
    let text = std::fs::read_to_string(&segment).unwrap();
    std::fs::write(&segment, text.replace("\"seq\":5,", "\"seq\":6,")).unwrap();
    bench.golden("events-damaged", &[&["events", "dump", "--last", "7"]]);
}

/// Shows EL-68, EL-70.
#[test]
fn cli_events_tail_gives_a_reader_each_event_once() {
    let bench = Bench::with_store();
    let tail = |reader: &str| -> Vec<u64> {
        let shown = bench.run(&["events", "tail", "--reader", reader]);
        assert_eq!((shown.stderr.as_str(), shown.status), ("", 0));
        let line = |line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap();
        shown.stdout.lines().map(line).collect()
    };
    commands(&bench, 1..=3);
    assert_eq!(tail("ci"), [1, 2, 3]);
    assert_eq!(tail("ci"), [0; 0]);
    commands(&bench, 4..=5);
    assert_eq!(tail("ci"), [4, 5]);
    assert_eq!(tail("other"), [1, 2, 3, 4, 5]);
    let place = std::fs::read(bench.path(".app.tickfs/journal/readers/ci.json")).unwrap();
    let place: Value = serde_json::from_slice(&place).unwrap();
    assert_eq!(place, json!({"last_seq": 5, "last_read": "2025-11-20T12:15:00.123Z"}));
}

/// Shows EL-71.
#[test]
fn cli_events_tail_says_that_there_is_a_gap() {
    let bench = Bench::with_store();
    let writer = bench.writer();
    save(&writer, 1);
    writer.close().unwrap();
    roll_and_seal(&bench);
    let writer = bench.writer();
    writer.compact(NOW).unwrap();
    writer.close().unwrap();
    let shown = bench.run(&["events", "tail", "--reader", "late"]);
    assert_eq!((shown.stderr.as_str(), shown.status), ("", 0));
    let lines: Vec<Value> = shown.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["gap"], true);
    assert_eq!(lines[0]["live"]["branch"].as_array().unwrap().len(), 1);
    assert_eq!(lines[1]["seq"], lines[0]["first_available"]);
    assert_eq!(bench.run(&["events", "tail", "--reader", "late"]).stdout, "");
}

#[test]
fn cli_events_tail_follows_what_happens() {
    let bench = Bench::with_store();
    commands(&bench, 1..=2);
    let mut command = bench.command(TICKFS);
    command.args(["events", "tail", "--follow", "--reader", "f"]).stdout(Stdio::piped());
    let mut follower = Follower(command.spawn().unwrap());
    let mut stdout = follower.0.stdout.take().unwrap();
    let mut read_line = || {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while stdout.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        serde_json::from_slice::<Value>(&line).unwrap()["seq"].clone()
    };
    assert_eq!([read_line(), read_line()], [1, 2]);
    commands(&bench, 3..=3);
    assert_eq!(read_line(), 3);
}

/// Ends with the test, however that ends.
struct Follower(std::process::Child);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).unwrap();
    }
}

/// A reader that cannot bring the index up to the journal answers at once, and says so.
#[test]
fn cli_a_reader_says_that_it_is_stale_while_the_lock_is_held() {
    let bench = Bench::with_store();
    commands(&bench, 1..=2);
    let index = ["index.db", "index.db.sum"].map(|name| bench.path(&format!(".app.tickfs/{name}")));
    let early = index.each_ref().map(|file| std::fs::read(file).unwrap());
    commands(&bench, 3..=4);
    index.iter().zip(early).for_each(|(file, bytes)| std::fs::write(file, bytes).unwrap());
    let lock = disk().lock(&bench.path(".app.tickfs/LOCK"), Duration::ZERO).unwrap().unwrap();
    lock.describe("process 7 (somebody)\n").unwrap();
    let journal = bench.path(".app.tickfs/journal/seg-00000001.jsonl");
    let before = std::fs::read(&journal).unwrap();
    let shown = bench.run(&["events", "dump", "--json"]);
    assert!(shown.stdout.contains("\"stale\": true"), "{shown:?}");
    assert_eq!(
        shown.stderr,
        "tickfs: the index is behind the journal, because process 7 (somebody) holds the lock: what follows is stale\n"
    );
    assert_eq!((seqs(&shown.stdout), shown.status), (vec![1, 2], 0));
    assert_eq!(std::fs::read(&journal).unwrap(), before);
    drop(lock);
    let shown = bench.run(&["events", "dump", "--json"]);
    assert_eq!((seqs(&shown.stdout), shown.stderr.as_str()), (vec![1, 2, 3, 4], ""));
}

#[test]
fn cli_a_pipe_that_nobody_reads_is_no_error() {
    let bench = Bench::with_store();
    commands(&bench, 1..=3);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = bench.command(TICKFS).args(["events", "dump"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
