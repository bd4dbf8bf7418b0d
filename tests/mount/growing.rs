//! Programs that follow a file see what is added to it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tickfs_tests::mount::Project;

use crate::sample::{has, shell_command};

/// Longer than anybody waits; what is awaited comes within a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program and what it writes, piece by piece. It ends with this.
struct Follower {
    program: Child,
    written: Receiver<Vec<u8>>,
    said: Vec<u8>,
}

impl Follower {
    fn start(dir: &std::path::Path, script: &str) -> Self {
        let mut command = shell_command(dir, script);
        let mut program = command.env("TERM", "dumb").stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(program.stdout.take().unwrap());
        let (send, written) = channel();
        std::thread::spawn(move || {
            while let Ok(part) = output.fill_buf()
                && !part.is_empty()
            {
                let len = part.len();
                if send.send(part.to_vec()).is_err() {
                    return;
                }
                output.consume(len);
            }
        });
        Self { program, written, said: Vec::new() }
    }

    /// Waits until it has written this.
    #[track_caller]
    fn says(&mut self, text: &str) {
        while !self.said.windows(text.len()).any(|part| part == text.as_bytes()) {
            match self.written.recv_timeout(PATIENCE) {
                Ok(part) => self.said.extend(part),
                Err(why) => panic!("{text:?} never came ({why}): {}", self.said.escape_ascii()),
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
    }
}

fn follow(programs: &[&str], script: &str, file: &str) {
    if !programs.iter().all(|program| has(program)) {
        return;
    }
    let project = Project::new(&[("a.txt", "one\n")]);
    let Some(mounted) = project.mount() else { return };
    project.save("seen-before.txt", "two\n");
    let mut follower = Follower::start(mounted.root(), &script.replace("FILE", file));
    follower.says("seen-before.txt");
    for n in 0..3 {
        let name = format!("added-{n}.txt");
        project.save(&name, "more\n");
        follower.says(&name);
    }
}

#[test]
fn tail_follows_the_events() {
    follow(&["tail"], "exec tail -n +1 -s 0.1 -f FILE", "events/events.jsonl");
}

#[test]
fn tail_follows_the_log_of_a_branch() {
    follow(&["tail"], "exec tail -n +1 -s 0.1 -F FILE", "branches/main/log");
}

#[test]
fn less_follows_the_events() {
    follow(&["less", "script"], "exec script -qec 'less +F FILE' /dev/null", "events/events.jsonl");
}

/// A reader at the end of a file that it holds open reads on where it stopped: nothing is lost, and nothing comes twice.
#[test]
fn a_held_file_reads_on_at_its_end() {
    let project = Project::new(&[("a.txt", "one\n")]);
    let Some(mounted) = project.mount() else { return };
    let mut held = std::fs::File::open(mounted.path("events/events.jsonl")).unwrap();
    let mut all = Vec::new();
    held.read_to_end(&mut all).unwrap();
    for n in 0..50 {
        project.save("a.txt", format!("version {n}\n").repeat(n + 1));
        let before = all.len();
        held.read_to_end(&mut all).unwrap();
        assert!(all.len() > before && all.ends_with(b"\n"), "after save {n}");
        let size = std::fs::metadata(mounted.path("events/events.jsonl")).unwrap().len();
        assert_eq!(size, all.len() as u64);
    }
    assert_eq!(std::fs::read(mounted.path("events/events.jsonl")).unwrap(), all);
}
