//! Strangers at the socket: whoever says nothing, says garbage, or goes away, harms nobody else.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::bench::{Bench, Running};

fn connect(bench: &Bench) -> UnixStream {
    UnixStream::connect(bench.store().join("SOCKET")).unwrap()
}

fn line(stream: &UnixStream) -> Value {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn daemon_greets_with_its_version_and_number() {
    let bench = Bench::new();
    let pid = bench.start(&["--file", "f", "--interval", "1"]);
    let greeting = line(&connect(&bench));
    assert_eq!((greeting["tickfs"].clone(), greeting["pid"].clone()), (1.into(), pid.into()));
    let mode = bench.store().join("SOCKET").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn daemon_is_not_harmed_by_garbage_silence_and_length() {
    let bench = Bench::new();
    bench.start(&["--file", "f", "--interval", "1"]);
    let silent: Vec<UnixStream> = (0..40).map(|_| connect(&bench)).collect();
    for garbage in [&b"\n"[..], b"\xff\xfe\n", b"{\"ask\":\"nothing\"}\n", b"{\"ask\":", &[b'x'; 2 << 20]] {
        let mut stream = connect(&bench);
        line(&stream);
        // It may be turned away before it has said it all.
        let said = stream.write_all(garbage);
        drop((said, stream));
        assert_eq!(bench.recorded(), ["f"]);
    }
    drop(silent);
    let log = std::fs::read_to_string(bench.store().join("logs/serve.log")).unwrap();
    assert!(log.contains("a conversation ended early"), "{log}");
}

#[test]
fn daemon_turns_away_more_than_it_can_speak_with_and_recovers() {
    let bench = Bench::new();
    bench.start(&["--file", "f", "--interval", "1"]);
    let many: Vec<UnixStream> = (0..140).map(|_| connect(&bench)).collect();
    let first: Vec<Value> = many.iter().map(line).collect();
    let turned_away = first.iter().filter(|said| said["reply"] == "failed").count();
    assert!(turned_away >= 12, "{turned_away} were turned away");
    drop(many);
    crate::bench::wait_until("it speaks again", || bench.run(&["daemon", "status"]).status == 0);
}

#[test]
fn daemon_status_works_for_a_store_with_a_long_path() {
    let bench = Bench::new();
    let dir = bench.path(&["x".repeat(100), "y".repeat(100)].join("/"));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("f"), "x").unwrap();
    let file = dir.join("f").display().to_string();
    bench.start(&["--file", &file, "--interval", "1"]);
    assert!(bench.ok(&["daemon", "status", "--file", &file]).contains(" 1 s "));
    bench.ok(&["daemon", "stop", "--file", &file]);
}

#[test]
fn daemon_tells_its_starter_how_far_the_first_look_has_come() {
    let bench = Bench::new();
    for n in 0..3000 {
        bench.write(&format!("d/{n}"), "x");
    }
    bench.ok(&["init"]);
    let request = r#"{"ask":"record","file":null,"interval":null,"threads":null}"#;
    let mut command = bench.command();
    command.args(["serve-in-background", "--store", bench.store().to_str().unwrap(), "--request", request]);
    let mut running = Running(command.stdout(std::process::Stdio::piped()).spawn().unwrap());
    let said = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let replies: Vec<Value> =
        said.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).take(2).collect();
    assert_eq!(replies[0]["reply"], "progress", "{replies:?}");
    assert!(replies[0]["text"].as_str().unwrap().starts_with("the first look at the root: "), "{replies:?}");
}
