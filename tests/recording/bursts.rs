//! Much at once, and for long: nothing is lost, and memory stays small.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tickfs_tracer::files::Announcement;

use crate::stage::{PATIENCE, Stage, has, shown};

/// On a machine that is busy with something else a save may come before the one before was looked at: that is said.
#[test]
fn of_a_thousand_saves_in_quick_succession_none_is_lost_without_a_gap() {
    let stage = Stage::with(&[("f", "0")]);
    let every = Duration::from_millis(10);
    let begin = Instant::now();
    for n in 1..=1000 {
        stage.write("f", &format!("save {n}"));
        std::thread::sleep((begin + every * n).saturating_duration_since(Instant::now()));
    }
    stage.recorder().flush().unwrap();
    let ticks = stage.ticks();
    let status = stage.recorder().status();
    println!("{} ticks of 1000 saves, {} gaps", ticks.len(), status.gaps);
    assert!(ticks.iter().all(|tick| shown(tick) == "modify f"));
    assert!(
        ticks.len() == 1000 || status.merged > 0 && status.gaps > 0,
        "{} ticks, and {status:?}",
        ticks.len()
    );
    stage.assert_recorded();
}

/// How much this process held at most, in kB.
fn most_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_checkout_of_fifty_thousand_files_loses_nothing_and_stays_small() {
    if !has("git") {
        return;
    }
    let count = 50_000;
    let mut stage = Stage::new();
    stage.sh("git init -q -b main; git commit -q --allow-empty -m none; git checkout -qb full");
    for n in 0..count {
        let dir = stage.path(&format!("d{}/e{}", n / 1000, n / 100 % 10));
        if n % 100 == 0 {
            fs::create_dir_all(&dir).unwrap();
        }
        fs::write(dir.join(format!("f{n}")), format!("content {n}\n")).unwrap();
    }
    stage.sh("git add -A; git commit -qm full; git checkout -q main");
    stage.record();
    stage.sh("git checkout -q full");
    let until = Instant::now() + PATIENCE * 10;
    while stage.recorder().status().paths < count + 551 {
        assert!(Instant::now() < until, "{:?}", stage.recorder().status());
        std::thread::sleep(Duration::from_millis(20));
    }
    stage.recorder().flush().unwrap();
    let gaps = stage.heard.lock().iter().filter(|one| matches!(one, Announcement::Gap(_))).count();
    assert_eq!((stage.ticks().len() as u64, gaps), (count + 550, 0));
    assert!(most_memory() < 200_000, "{} kB", most_memory());
    stage.assert_recorded();
}

#[test]
fn who_saved_a_file_stands_in_its_tick_where_the_kernel_tells() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: the kernel tells only root who wrote a file");
        return;
    }
    let stage = Stage::with(&[("f", "old")]);
    // Its name can be read as long as it lives: it waits for its input until the save is a tick.
    let mut writer = Command::new("sh")
        .args(["-c", "printf new >.tmp; mv .tmp f; read end"])
        .current_dir(stage.root())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    stage.await_heard("the save", |heard| heard.iter().any(|one| matches!(one, Announcement::Ticks { .. })));
    drop(writer.stdin.take());
    writer.wait().unwrap();
    let journal = stage.store().layout().journal();
    let mut text = String::new();
    for entry in fs::read_dir(journal).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    assert!(text.contains("\"comm\":\"sh\""), "{text}");
}
