//! What cannot be brought about from outside: a queue that overflows, and a limit of watches.

use std::fs;
use std::path::Path;

use parking_lot::Mutex;
use rustix::fs::inotify::ReadFlags;
use tickfs_store::Store;
use tickfs_store::disk::RealDisk;
use tickfs_store::history::Point;
use tickfs_store::ids::{BranchNo, StoreId, Tick};
use tickfs_store::journal::entry::Writer;

use super::*;
use crate::files::settle::Seen;
use crate::files::watch::Raw;

struct Stage {
    temp: tempfile::TempDir,
    heard: Arc<Mutex<Vec<Announcement>>>,
}

impl Stage {
    fn new(files: &[&str]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        for file in files {
            let path = temp.path().join("app").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "1").unwrap();
        }
        Self { temp, heard: Arc::default() }
    }

    fn root(&self) -> std::path::PathBuf {
        self.temp.path().join("app")
    }

    fn engine(&self) -> Engine {
        let (dir, scope) = (self.temp.path().join("store"), Scope::whole(&self.root()));
        let id = StoreId::new(UnixMillis(1), [7; 10]);
        let store = Store::init_for(Arc::new(RealDisk), &dir, id, Some(&scope)).unwrap();
        let who = Writer { writer: "test".to_owned(), writer_id: None, pid: 1 };
        let writer = store.writer(who, Duration::from_secs(10)).unwrap();
        let heard = Arc::clone(&self.heard);
        let options = Options {
            announce: Arc::new(move |announcement| heard.lock().push(announcement.clone())),
            clock: Arc::new(|| UnixMillis(5)),
            interval: None,
            threads: None,
        };
        Engine::open(Arc::new(writer), scope, options, Arc::default()).unwrap().0
    }

    fn ticks(&self) -> Vec<String> {
        let ticks = self
            .heard
            .lock()
            .iter()
            .flat_map(|one| match one {
                Announcement::Ticks { ticks, .. } => ticks.clone(),
                _ => Vec::new(),
            })
            .collect::<Vec<_>>();
        ticks.iter().map(|tick| format!("{} {}", tick.kind.as_str(), tick.path)).collect()
    }
}

fn change(root: &Path) {
    fs::write(root.join("a"), "changed").unwrap();
    fs::create_dir_all(root.join("new/deep")).unwrap();
    fs::write(root.join("new/deep/b"), "2").unwrap();
}

#[test]
fn an_overflow_is_a_gap_and_everything_is_compared() {
    let stage = Stage::new(&["a", "d/c"]);
    let mut engine = stage.engine();
    engine.start().unwrap();
    change(&stage.root());
    // The events of that are thrown away: all that is heard is that some were lost.
    let lost = Raw { watch: -1, flags: ReadFlags::QUEUE_OVERFLOW, cookie: 0, name: Box::default() };
    engine.event(&lost, None);
    engine.do_what_is_due().unwrap();
    engine.show();
    assert_eq!(stage.ticks(), ["modify a", "mkdir new", "mkdir new/deep", "create new/deep/b"]);
    let status = engine.shared.status.lock().clone();
    assert_eq!(
        (status.gaps, status.overflows, status.watches),
        (1, 1, 4),
        "the new directories are watched too"
    );
    let gaps = engine.writer.store().view().unwrap().observed(&[Action::Gap], 10).unwrap();
    assert_eq!(gaps.len(), 1);
}

/// They came after what was looked at because events were lost, and stood as the newest.
#[test]
fn versions_that_were_read_before_everything_is_compared_come_before_what_stands_there() {
    let stage = Stage::new(&["a", "b"]);
    let mut engine = stage.engine();
    engine.start().unwrap();
    for text in ["first", "second"] {
        let path = RelPath::new("a").unwrap();
        let captured = Captured::of(path.clone(), text.as_bytes());
        engine.settle.see(engine.now(), path, Seen::Written, Some(captured), &|_| true);
    }
    fs::write(stage.root().join("a"), "third").unwrap();
    fs::write(stage.root().join("b"), "changed").unwrap();
    engine.lost = true;
    engine.overflowed().unwrap();
    let first = engine.writer.store().view().unwrap();
    engine.flush().unwrap();
    assert_eq!(stage.ticks(), ["modify a", "modify a", "modify a", "modify b"]);
    let texts: Vec<String> = (1..=4)
        .map(|n| {
            let at = Point { branch: BranchNo::MAIN, tick: Tick(n) };
            let tree = first.tree(at).unwrap();
            let entry = tree.resolve(&RelPath::new("a").unwrap()).unwrap().unwrap();
            String::from_utf8(tree.read(&entry.version).unwrap()).unwrap()
        })
        .collect();
    assert_eq!(texts, ["first", "second", "third", "third"]);
    assert_eq!(engine.settle.merged(), 0);
}

/// A machine that is busy hears of the second rename long after the first, and took the file for removed.
#[test]
fn a_file_that_has_moved_on_before_it_is_looked_at_is_still_one_rename() {
    let stage = Stage::new(&["c"]);
    let mut engine = stage.engine();
    engine.start().unwrap();
    let path = |name: &str| RelPath::new(name).unwrap();
    let see = |engine: &mut Engine, at: Moment, name: &str, seen: Seen| {
        engine.settle.see(at, path(name), seen, None, &|path| path.as_bytes() == b"c");
    };
    fs::rename(stage.root().join("c"), stage.root().join("c2")).unwrap();
    see(&mut engine, Moment::ZERO, "c", Seen::MovedFrom { cookie: 1 });
    see(&mut engine, Moment::ZERO, "c1", Seen::MovedTo { cookie: 1 });
    let portion = engine.settle.take(SETTLE);
    engine.commit_portion(portion, false).unwrap();
    assert_eq!(stage.ticks(), Vec::<String>::new());
    see(&mut engine, SETTLE, "c1", Seen::MovedFrom { cookie: 2 });
    see(&mut engine, SETTLE, "c2", Seen::MovedTo { cookie: 2 });
    let portion = engine.settle.take_all();
    engine.commit_portion(portion, true).unwrap();
    assert_eq!(stage.ticks(), ["rename c2"]);
}

/// The directory `d` was moved to `e` and made anew before anybody looked: what is removed in the new one is heard of under
/// the name of the old one.
#[test]
fn a_new_file_is_not_forgotten_for_an_event_of_another_one() {
    let stage = Stage::new(&["keep"]);
    let mut engine = stage.engine();
    engine.start().unwrap();
    fs::create_dir(stage.root().join("e")).unwrap();
    fs::write(stage.root().join("e/f"), "new").unwrap();
    let path = |name: &str| RelPath::new(name).unwrap();
    for name in ["e", "e/f"] {
        engine.see(path(name), name == "e", Seen::Made, None);
    }
    engine.see(path("e/f"), false, Seen::Removed, None);
    engine.see(path("e/f"), false, Seen::MovedFrom { cookie: 1 }, None);
    engine.flush().unwrap();
    assert_eq!(stage.ticks(), ["mkdir e", "create e/f"]);
}

#[test]
fn beyond_the_limit_of_watches_directories_are_sampled_and_that_is_said() {
    let stage = Stage::new(&["a", "d/c", "e/f"]);
    let mut engine = stage.engine();
    engine.watch.limit = 2;
    engine.start().unwrap();
    engine.show();
    let status = engine.shared.status.lock().clone();
    assert_eq!((status.watches, status.unwatched), (2, 1));
    assert_eq!(status.warnings.len(), 1);
    assert!(status.warnings[0].what.contains("sysctl fs.inotify.max_user_watches="), "{:?}", status.warnings);
    fs::write(stage.root().join("e/f"), "beyond the limit").unwrap();
    assert_eq!(engine.next_sweep.saturating_sub(engine.now()).as_secs(), LOOK.as_secs() - 1);
    engine.next_sweep = Moment::ZERO;
    engine.do_what_is_due().unwrap();
    assert_eq!(stage.ticks(), ["modify e/f"]);
}
