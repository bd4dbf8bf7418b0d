//! A long history costs a reading command no more than its index: what it reads is counted, not how long it takes.

use std::process::Stdio;

use tickfs_fs::{DirEntry, Ino, Options, View};
use tickfs_store::Content;
use tickfs_store::ids::{Address, ContentHash, PackId, Rec};
use tickfs_store::journal::entry::NodeType;
use tickfs_store::path::RelPath;

use crate::bench::{Bench, NOW, TICKFS, meta};

const TICKS: usize = 100_000;
/// What a slow disk gives in the second that they have: three times the index.
const BYTES_MAX: u64 = 32_000_000;

/// Shows EL-115: on 100,000 events `status`, `log`, `branch list` and the first `ls` of the mount read few bytes, so that
/// they take less than a second from any disk. `scripts/bench cold` measures it with the caches dropped.
#[test]
fn cli_the_first_look_at_a_long_history_reads_little() {
    let bench = Bench::with_store();
    bench.save("file-0", "text\n");
    let writer = bench.writer();
    for burst in 0..TICKS / 1_000 {
        writer
            .mutate(NOW, move |m| {
                for n in 0..1_000 {
                    let n = burst * 1_000 + n;
                    let path = RelPath::new(format!("file-{}", n * 7 % 5_000)).unwrap();
                    let rec = Rec { at: Address { pack: PackId(1), offset: 1_000 + n as u64 }, len: 186 };
                    let content = Content::Stored {
                        rec,
                        hash: ContentHash::of(&n.to_le_bytes()),
                        size: 70_000 + n as u64,
                    };
                    m.save(&path, &meta(NodeType::File), content)?;
                }
                Ok(())
            })
            .unwrap();
    }
    assert_eq!(writer.store().view().unwrap().last_tick().0, TICKS as u64);
    writer.close().unwrap();
    for command in [&["status"][..], &["log"], &["branch", "list"]] {
        let read = read_by(&bench, command);
        assert!(read < BYTES_MAX, "{command:?} read {read} bytes");
    }
    // What a mount does until the first answer, on a thread of its own, so that nobody else's reads are counted with it.
    let store = bench.store();
    let read = std::thread::spawn(move || {
        let before = read_so_far("/proc/thread-self/io");
        let view = View::new(store, Options::default()).unwrap();
        let mut names = 0;
        let mut count = |_: &DirEntry<'_>| {
            names += 1;
            false
        };
        view.readdir(Ino::ROOT, 0, true, &mut count).unwrap();
        assert!(names > 5);
        read_so_far("/proc/thread-self/io") - before
    })
    .join()
    .unwrap();
    assert!(read < BYTES_MAX, "the first ls read {read} bytes");
}

/// All that a command read, of files and of pages that lay in memory.
fn read_by(bench: &Bench, args: &[&str]) -> u64 {
    let script = "\"$@\" > /dev/null && cat /proc/$$/io";
    let mut command = bench.command("sh");
    let output =
        command.args(["-c", script, "sh", TICKFS]).args(args).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{args:?}");
    read_in(&String::from_utf8(output.stdout).unwrap())
}

fn read_so_far(path: &str) -> u64 {
    read_in(&std::fs::read_to_string(path).unwrap())
}

fn read_in(io: &str) -> u64 {
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}
