//! Moves on a filesystem without enough room: done, or refused with everything as it was.

use std::ffi::CString;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tickfs_tracer::files::restore::{Commit, destination};

use crate::desk::{Desk, QUIET, rel};
use crate::kills::has_traces;

const SIZE: usize = 6 << 20;

/// A filesystem in memory, until it is dropped.
struct Small(PathBuf);

impl Small {
    /// `None`, and said, where it cannot be had.
    fn mount(at: &Path) -> Option<Self> {
        let options = CString::new(format!("size={SIZE}")).unwrap();
        std::fs::create_dir_all(at).unwrap();
        match mount("tickfs-test", at, "tmpfs", MountFlags::empty(), Some(options.as_c_str())) {
            Ok(()) => Some(Self(at.to_owned())),
            Err(why) => {
                println!("skipped: no small filesystem can be mounted: {why}");
                None
            }
        }
    }

    /// Leaves so many bytes free.
    fn fill(&self, spare: usize) -> PathBuf {
        let path = self.0.join("ignored");
        let mut file = File::create(&path).unwrap();
        for len in [64 << 10, 4096] {
            while file.write_all(&vec![1; len]).is_ok() {}
        }
        let len = file.metadata().unwrap().len();
        file.set_len(len.saturating_sub(spare as u64)).unwrap();
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        if unmount(&self.0, UnmountFlags::empty()).is_err() {
            unmount(&self.0, UnmountFlags::DETACH).unwrap();
        }
    }
}

/// Text that no compression makes shorter by much.
fn noise(seed: u64, len: usize) -> String {
    let mut chance = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| chance.alphanumeric()).take(len).collect()
}

/// What lies on the small filesystem.
#[derive(Clone, Copy)]
enum Lies {
    Root,
    Store,
    Both,
}

/// One move with so little room. `None`: there is no such filesystem here; else whether it was done.
fn one_move(on: Lies, spare: usize, commit: &Commit) -> Option<bool> {
    let temp = tempfile::tempdir().unwrap();
    let at = match on {
        Lies::Root => temp.path().join("app"),
        Lies::Store => temp.path().join("s"),
        Lies::Both => temp.path().to_owned(),
    };
    let small = Small::mount(&at)?;
    let texts: Vec<String> = (0..4).map(|n| noise(n, 100_000)).collect();
    let files: Vec<(String, &str)> =
        texts.iter().enumerate().map(|(n, text)| (format!("d{n}/f{n}"), text.as_str())).collect();
    let named: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    let desk = Desk::within(temp, &named);
    desk.write("d0/f0", "short");
    desk.remove("d1");
    desk.write("d2/f2", &noise(9, 50_000));
    desk.write("new", &noise(10, 50_000));
    desk.record();
    let (before, stood) = (desk.tree(), desk.stands());

    let filler = small.fill(spare);
    let to = match commit {
        Commit::Move(_) => destination::whole(desk.point("0")),
        Commit::Forward => {
            let view = desk.view();
            destination::one_path(&view, &view.stand().unwrap(), &rel("d1"), desk.point("0")).unwrap()
        }
    };
    let moved = desk.go(&to, commit.clone(), QUIET);
    if let Err(why) = &moved {
        assert_eq!((desk.tree(), desk.stands()), (before, stood), "{why} with {spare} bytes to spare");
    }
    std::fs::remove_file(filler).unwrap();
    assert!(!has_traces(&desk), "with {spare} bytes to spare");
    // Done before, or now that there is room.
    if moved.is_err() {
        desk.go(&to, commit.clone(), QUIET).unwrap();
    }
    match commit {
        Commit::Move(_) => assert_eq!(desk.tree(), desk.tree_at("main@0")),
        Commit::Forward => assert_eq!(desk.tree().get("d1/f1"), desk.tree_at("main@0").get("d1/f1")),
    }
    assert_eq!(desk.record(), 0, "with {spare} bytes to spare");
    let temp = desk.closed();
    drop(small);
    temp.close().unwrap();
    Some(moved.is_ok())
}

#[test]
fn a_move_without_room_is_done_or_leaves_everything_as_it_was() {
    let revert = Commit::Move("revert".to_owned());
    for (on, commit) in [
        (Lies::Root, &revert),
        (Lies::Root, &Commit::Forward),
        (Lies::Store, &revert),
        (Lies::Store, &Commit::Forward),
        (Lies::Both, &revert),
    ] {
        let (mut done, mut refused) = (0, 0);
        // Each time a little more is free, so that each step is the first that finds no room.
        let spares = (0..12).map(|n| n * 4096).chain((1..10).map(|n| n * 50_000));
        for spare in spares {
            match one_move(on, spare, commit) {
                None => return,
                Some(true) => done += 1,
                Some(false) => refused += 1,
            }
        }
        assert!(done > 0 && refused > 0, "{done} were done, {refused} refused");
    }
}
