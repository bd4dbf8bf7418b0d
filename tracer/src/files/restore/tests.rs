//! Moves where the filesystem knows neither how to exchange two names nor how not to replace one.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tickfs_store::Scope;
use tickfs_store::disk::RealDisk;
use tickfs_store::history::Point;
use tickfs_store::ids::{BranchNo, StoreId, Tick};
use tickfs_store::journal::entry::Writer;

use super::*;
use crate::files::record_now;

const NOW: UnixMillis = UnixMillis(1);

struct Desk {
    temp: tempfile::TempDir,
    writer: StoreWriter,
}

impl Desk {
    /// Everything that a move back to the base can have to do.
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir_all(temp.path().join("app/gone")).unwrap();
        let store =
            Store::init(Arc::new(RealDisk), &temp.path().join("s"), StoreId::new(NOW, [7; 10])).unwrap();
        let who = Writer { writer: "test".to_owned(), writer_id: None, pid: 1 };
        let desk = Self { writer: store.writer(who, Duration::from_secs(5)).unwrap(), temp };
        for name in ["changed", "gone/file", "trades"] {
            fs::write(desk.root().join(name), format!("old {name}")).unwrap();
        }
        desk.record();
        fs::write(desk.root().join("changed"), "new").unwrap();
        fs::remove_dir_all(desk.root().join("gone")).unwrap();
        fs::remove_file(desk.root().join("trades")).unwrap();
        fs::create_dir(desk.root().join("trades")).unwrap();
        fs::write(desk.root().join("added"), "new").unwrap();
        desk.record();
        desk
    }

    fn root(&self) -> PathBuf {
        self.temp.path().join("app")
    }

    fn record(&self) -> usize {
        record_now(&self.writer, &Scope::whole(&self.root()), &|| NOW).unwrap().ticks.len()
    }

    fn revert(&self, step: &dyn Fn(usize, usize)) -> Result<Moved> {
        let to = destination::whole(Point { branch: BranchNo::MAIN, tick: Tick::BASE });
        let place = Place { writer: &self.writer, root: &self.root(), now: NOW, step: Step(step) };
        move_root(place, &to, Commit::Move("revert".to_owned()), false)
    }

    fn tree(&self) -> BTreeMap<PathBuf, Option<String>> {
        let (mut all, mut dirs) = (BTreeMap::new(), vec![self.root()]);
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path.clone());
                }
                all.insert(path.clone(), fs::read_to_string(path).ok());
            }
        }
        all
    }
}

#[test]
fn with_plain_renames_alone_a_move_is_done_whole() {
    ground::PLAIN.set(true);
    let desk = Desk::new();
    desk.revert(&|_, _| {}).unwrap();
    let found = desk.tree().into_values().flatten().collect::<Vec<_>>();
    assert_eq!(found, ["old changed", "old gone/file", "old trades"]);
    assert_eq!(desk.record(), 0);
}

/// Somebody saves at any moment of the move: it is refused, and what was saved stands, or it was done before that.
#[test]
fn with_plain_renames_alone_what_is_saved_meanwhile_is_not_overwritten() {
    ground::PLAIN.set(true);
    for (name, moment) in ["changed", "added", "gone", "trades/inside"].iter().zip([5, 5, 12, 12]) {
        for moment in 0..moment {
            let desk = Desk::new();
            let before = desk.tree();
            let (at, wrote) = (std::cell::Cell::new(0), std::cell::Cell::new(false));
            let saved = desk.root().join(name);
            let reverted = desk.revert(&|_, _| {
                if at.replace(at.get() + 1) == moment {
                    wrote.set(fs::write(&saved, "saved meanwhile").is_ok());
                }
            });
            let was_saved = fs::read_to_string(&saved).is_ok_and(|text| text == "saved meanwhile");
            assert_eq!(was_saved, wrote.get(), "{name} at {moment}: {reverted:?}");
            let mut after = desk.tree();
            if reverted.is_err() {
                assert!(was_saved, "{name} at {moment}: {reverted:?}");
                after.insert(saved.clone(), before.get(&saved).cloned().flatten());
                after.retain(|path, _| before.contains_key(path));
                assert_eq!(after, before, "{name} at {moment}");
            }
            assert!(!is_half_way(desk.writer.store()).unwrap());
        }
    }
}
