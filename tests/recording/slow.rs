//! A medium that takes its time: what is saved while an fsync is under way is not lost.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tickfs_store::disk::{Disk, DiskFile, RealDisk, Veil};
use tickfs_store::history::Point;
use tickfs_store::ids::Tick;
use tickfs_store::journal::entry::Action;
use tickfs_tracer::files::Announcement;

use crate::replay::Process;
use crate::stage::{Stage, path, shown};

/// The real disk, where each fsync takes so long.
#[derive(Debug)]
pub(crate) struct SlowDisk(pub(crate) Duration);

#[derive(Debug)]
struct SlowFile(Arc<dyn DiskFile>, Duration);

impl Veil for SlowDisk {
    fn beneath(&self) -> &dyn Disk {
        &RealDisk
    }

    fn alter_file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(SlowFile(file, self.0))
    }
}

impl DiskFile for SlowFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        std::thread::sleep(self.1);
        self.0.sync()
    }

    fn forget_cached(&self) -> io::Result<()> {
        self.0.forget_cached()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

fn slow_stage(files: &[(&str, &str)]) -> Stage {
    let mut stage = Stage::new();
    stage.disk = Arc::new(SlowDisk(Duration::from_millis(20)));
    for (path, text) in files {
        stage.write(path, text);
    }
    stage.record();
    stage
}

/// Saves, and waits until the recorder has read it, as a writer does who saves every so often; no longer.
fn save(stage: &Stage, file: &str, text: &str) {
    when_read(stage, || stage.write(file, text));
}

/// A machine that is busy with something else may read it only when its turn comes: that is waited for too.
fn when_read(stage: &Stage, save: impl FnOnce()) {
    let before = stage.recorder().status().read_at_once;
    save();
    let until = Instant::now() + Duration::from_secs(2);
    while stage.recorder().status().read_at_once == before {
        if Instant::now() > until {
            stage.recorder().flush().unwrap();
            return;
        }
        std::thread::yield_now();
    }
}

/// What each tick of a file holds.
fn versions(stage: &Stage, file: &str, ticks: impl Iterator<Item = Tick>) -> Vec<String> {
    let view = stage.store().view().unwrap();
    let here = view.cursor_point().unwrap();
    let text = |tick| {
        let tree = view.tree(Point { tick, ..here }).unwrap();
        let entry = tree.resolve(&path(file)).unwrap().unwrap();
        String::from_utf8(tree.read(&entry.version).unwrap()).unwrap()
    };
    ticks.map(text).collect()
}

#[test]
fn a_thousand_saves_are_a_thousand_ticks_in_order_although_each_fsync_takes_twice_as_long_as_a_save() {
    let mut stage = slow_stage(&[("f", "0"), ("g", "0")]);
    for n in 1..=1000 {
        save(&stage, "f", &format!("save {n}"));
        if n % 100 == 0 {
            save(&stage, "g", &format!("g {n}"));
        }
    }
    stage.recorder().flush().unwrap();
    let (of_f, of_g): (Vec<_>, Vec<_>) = stage.ticks().into_iter().partition(|tick| tick.path == path("f"));
    assert!(of_f.iter().chain(&of_g).all(|tick| tick.kind == Action::Modify));
    let saved: Vec<String> = (1..=1000).map(|n| format!("save {n}")).collect();
    assert_eq!(versions(&stage, "f", of_f.iter().map(|tick| tick.tick)), saved);
    assert_eq!(of_g.len(), 10);
    let status = stage.recorder().status();
    assert_eq!((status.gaps, status.merged), (0, 0));
    // Each save is a burst of its own, although many were written down together.
    let view = stage.store().view().unwrap();
    let own = |tick: Tick| view.burst_of(tick).unwrap() == (tick, tick);
    let together = of_f.iter().filter(|tick| !own(tick.tick)).count();
    assert!(together <= of_g.len(), "{together} of {} are no bursts of their own", of_f.len());
    stage.assert_recorded();
    stage.stop();
}

/// In each way in which programs replace a file, also while it is made durable that another one did.
#[test]
fn what_is_saved_behind_a_slow_fsync_is_recorded_however_it_is_saved() {
    let mut stage = slow_stage(&[("f", "0"), ("d/g", "0"), ("other", "0")]);
    for n in 0..60 {
        let text = format!("save {n}");
        match n % 3 {
            0 => save(&stage, "f", &text),
            1 => {
                let temp = stage.outside().join("temp");
                fs::write(&temp, &text).unwrap();
                when_read(&stage, || fs::rename(&temp, stage.path("f")).unwrap());
            }
            _ => save(&stage, "d/g", &text),
        }
    }
    stage.write("f", "gone at once");
    fs::remove_file(stage.path("f")).unwrap();
    stage.settled();
    let ticks = stage.ticks();
    let of = |file: &str| -> Vec<_> { ticks.iter().filter(|tick| tick.path == path(file)).collect() };
    // What was removed at once was read, or is told to be lost.
    let lost = usize::try_from(stage.recorder().status().merged).unwrap();
    let all = (of("f").len() + lost, of("d/g").len());
    assert_eq!(all, (42, 20), "{:?}", ticks.iter().map(shown).collect::<Vec<_>>());
    assert_eq!(of("f").last().unwrap().kind, Action::Delete);
    let saved: Vec<String> = (0..60).filter(|n| n % 3 == 2).map(|n| format!("save {n}")).collect();
    assert_eq!(versions(&stage, "d/g", of("d/g").iter().map(|tick| tick.tick)), saved);
    stage.assert_recorded();
}

/// What a command writes while it holds the recorder is never taken for a save, however fast it is read.
#[test]
fn what_is_read_while_the_recorder_is_held_makes_no_tick() {
    let stage = slow_stage(&[("f", "0")]);
    let held = stage.recorder().hold().unwrap();
    for n in 0..5 {
        save(&stage, "f", &format!("written by a command {n}"));
    }
    stage.write("f", "0");
    drop(held);
    assert_eq!(stage.recorder().flush().unwrap().ticks, []);
    assert_eq!(stage.ticks(), []);
    assert!(!stage.heard.lock().iter().any(|heard| matches!(heard, Announcement::Gap(_))));
}

/// Killed while saves wait behind an fsync: what was announced is there, and in order.
#[test]
fn a_recorder_that_is_killed_behind_a_slow_fsync_has_lost_nothing_that_it_announced() {
    let mut stage = Stage::new();
    stage.write("f", "save 0");
    stage.record();
    stage.stop();
    let temp = stage.outside().join("temp");
    let mut saved = 0;
    for round in 1..=4 {
        let mut recorder = Process::start_slow(&stage);
        let mut announced = Vec::new();
        while announced.len() < 10 * round {
            for _ in 0..3 {
                saved += 1;
                // By a rename: what is emptied and written while a machine is busy may be seen empty.
                fs::write(&temp, format!("save {saved}")).unwrap();
                fs::rename(&temp, stage.path("f")).unwrap();
            }
            let line = recorder.output.next().unwrap().unwrap();
            announced.extend(line.strip_prefix("tick ").map(|tick| Tick(tick.parse().unwrap())));
        }
        recorder.kill();
        let ticks = versions(&stage, "f", announced.iter().copied());
        let number = |text: &String| text.strip_prefix("save ").unwrap().parse::<u32>().unwrap();
        assert!(ticks.iter().map(number).is_sorted_by(|a, b| a < b), "{ticks:?}");
        assert!(stage.store().view().unwrap().last_tick() >= *announced.last().unwrap());
        stage.record();
        stage.assert_recorded();
        stage.stop();
    }
}
