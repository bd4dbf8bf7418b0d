//! `inspect`: what lies in a store, decoded without a trace.

use tickfs_store::disk::Fsync;
use tickfs_store::journal::entry::{Action, Body, Draft, ItemType};
use tickfs_store::journal::{JournalWriter, WriterOptions};

use crate::bench::{Bench, NOW, TICKFS, disk, is_installed, save, who};

fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn cli_inspect_decodes_a_store() {
    let bench = Bench::with_store();
    let writer = bench.writer();
    save(&writer, 3);
    writer.close().unwrap();
    bench.golden("inspect", &[&["inspect"], &["inspect", "--record", "4"], &["inspect", "--record", "99"]]);
    let json: serde_json::Value = serde_json::from_str(&bench.run(&["inspect", "--json"]).stdout).unwrap();
    assert_eq!(json["index"]["last_tick"], 3);
    assert_eq!(json["index"]["stale"], false);
    assert_eq!(json["journal"]["next_seq"], json["journal"]["head"]["next_seq"]);
    assert_eq!(json["journal"]["item_types"]["file"], 5);
}

#[test]
fn cli_inspect_follows_a_content_to_what_it_rests_on() {
    let bench = Bench::with_store();
    let writer = bench.writer();
    save(&writer, 3);
    writer.close().unwrap();
    let record = bench.run(&[
        "inspect",
        "--json",
        "--record",
        &(bench.store().view().unwrap().applied_seq()).to_string(),
    ]);
    let record: serde_json::Value = serde_json::from_str(&record.stdout).unwrap();
    let rec = &record["record"]["payload"]["rec"];
    let address = format!("{}:{}", rec[0], rec[1]);
    let shown = bench.run(&["inspect", "--address", &address]).stdout;
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with(&format!("{address}: ")) && lines[0].ends_with("in a hot pack"), "{shown}");
    holds(lines[1], &["splice", &address]);
    holds(lines[lines.len() - 1], &["  1:20 ", "raw", "5 bytes stored"]);
    bench.golden("inspect-address", &[&["inspect", "--address", "1:21"], &["inspect", "--address", "9:20"]]);
}

#[test]
fn cli_inspect_leaves_no_trace_whoever_writes_or_died() {
    let bench = Bench::with_store();
    let inspected = |last_tick: u64, what: &str| {
        let before = bench.bytes_of_store();
        for args in [&["inspect", "--json"][..], &["inspect"], &["inspect", "--record", "1"]] {
            let shown = bench.run(args);
            assert_eq!((shown.stderr.as_str(), shown.status), ("", 0), "{what}");
            if args == ["inspect", "--json"] {
                let json: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
                assert_eq!(json["index"]["last_tick"], last_tick, "{what}");
            }
        }
        let after = bench.bytes_of_store();
        let differs: Vec<_> = after.iter().filter(|(path, file)| before.get(*path) != Some(file)).collect();
        let paths: Vec<_> = differs.iter().map(|(path, _)| path).collect();
        assert!(before.keys().eq(after.keys()) && paths.is_empty(), "{what}: {paths:?}");
    };
    let writer = bench.writer();
    save(&writer, 2);
    inspected(2, "a writer lives");
    // A copy taken now is a store whose writer died.
    let (store, dead) = (bench.path(".app.tickfs"), bench.path("dead"));
    let copied = std::process::Command::new("cp").arg("-a").args([&store, &dead]).status();
    assert!(copied.unwrap().success());
    writer.close().unwrap();
    inspected(2, "the writer has closed");
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::rename(&dead, &store).unwrap();
    assert!(store.join("index.db-wal").metadata().unwrap().len() > 0);
    inspected(2, "the writer died");
    std::fs::remove_file(store.join("index.db")).unwrap();
    let shown = bench.run(&["inspect"]);
    holds(&shown.stdout, &["index     cannot be read: "]);
    assert!(!store.join("index.db").exists(), "inspect makes nothing");
}

/// Shows EL-57.
#[test]
fn cli_a_record_among_1000_segments_is_found_by_their_names() {
    if !is_installed("strace") {
        return;
    }
    let bench = Bench::with_store();
    let options = WriterOptions { roll_at: 1, fsync: Fsync::Never };
    let (store, dir) = (bench.store(), bench.path(".app.tickfs/journal"));
    let mut journal = JournalWriter::open(disk(), &dir, store.id().clone(), who(), options).unwrap();
    let draft = Draft {
        action: Action::Note,
        item_type: ItemType::COMMAND,
        item_id: None,
        summary: Some("a line".to_owned()),
        tick: None,
        body: Body::None,
    };
    for _ in 0..1000 {
        let mut group = journal.begin(NOW).unwrap();
        group.push_mutation(std::slice::from_ref(&draft)).unwrap();
        group.append().unwrap();
    }
    drop(journal);
    let segments = std::fs::read_dir(&dir)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("seg-"));
    assert_eq!(segments.count(), 1000);
    let trace = bench.path("trace");
    let mut command = bench.command("strace");
    command
        .args(["-f", "-e", "trace=openat,open", "-o"])
        .arg(&trace)
        .args([TICKFS, "inspect", "--record", "617"]);
    let shown = bench.shown(&mut command);
    assert!(shown.stdout.starts_with("seg-00000617.jsonl at byte 1, "), "{shown:?}");
    let trace = std::fs::read_to_string(trace).unwrap();
    let opened = trace.lines().filter(|line| line.contains("/seg-")).count();
    assert!((1..=2).contains(&opened), "{opened} segments were opened");
}
