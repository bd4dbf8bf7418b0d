//! What a move keeps of a file beside its bytes, and what damage does.

use std::os::unix::fs::MetadataExt as _;

use rustix::fs::XattrFlags;
use tickfs_store::history::Point;
use tickfs_store::ids::{BranchNo, Tick, UnixNanos};
use tickfs_store::journal::entry::NodeType;
use tickfs_store::{Content, Meta};
use tickfs_tracer::files::restore::{self, Commit, Error, destination};

use crate::desk::{Desk, NOW, QUIET, rel};

#[test]
fn attributes_of_the_replaced_file_are_carried_over() {
    let desk = Desk::new(&[("a", "zero")]);
    desk.save("a", "one");
    let name = c"user.tickfs.test";
    if rustix::fs::setxattr(desk.path("a"), name, b"kept", XattrFlags::empty()).is_err() {
        println!("skipped: this filesystem has no extended attributes");
        return;
    }
    desk.revert("0").unwrap();
    let mut value = [0; 16];
    let len = rustix::fs::getxattr(desk.path("a"), name, &mut value).unwrap();
    assert_eq!(&value[..len], b"kept");
}

#[test]
fn times_become_now_unless_the_old_ones_are_asked_for() {
    let desk = Desk::new(&[("a", "zero")]);
    desk.save("a", "one");
    let recorded =
        desk.view().tree(desk.point("0")).unwrap().resolve(&rel("a")).unwrap().unwrap().version.mtime;
    let mtime = || {
        let stat = desk.path("a").metadata().unwrap();
        UnixNanos(stat.mtime() * 1_000_000_000 + stat.mtime_nsec())
    };
    desk.revert("0").unwrap();
    assert!(mtime() > recorded);
    desk.revert("1").unwrap();
    let root = desk.root();
    restore::move_root(
        desk.place(&root, QUIET),
        &destination::whole(desk.point("0")),
        Commit::Move("revert".to_owned()),
        true,
    )
    .unwrap();
    assert_eq!(mtime(), recorded);
}

#[test]
fn holes_come_back_as_holes() {
    let desk = Desk::new(&[]);
    let mut bytes = vec![0; 8 << 20];
    bytes[..5].copy_from_slice(b"begin");
    let holes = vec![(1 << 20, 7 << 20)];
    let (uid, gid) = (desk.root().metadata().unwrap().uid(), desk.root().metadata().unwrap().gid());
    let meta = Meta { kind: NodeType::File, mode: 0o100_644, uid, gid, mtime: UnixNanos(1), holes };
    let sparse = bytes.clone();
    desk.writer.mutate(NOW, move |m| m.save(&rel("sparse"), &meta, Content::Bytes(sparse))).unwrap();
    std::fs::write(desk.path("sparse"), &bytes).unwrap();
    desk.save("sparse", "short");
    desk.revert("1").unwrap();
    assert_eq!(std::fs::read(desk.path("sparse")).unwrap(), bytes);
    let allocated = desk.path("sparse").metadata().unwrap().blocks() * 512;
    assert!(allocated < 2 << 20, "{allocated} bytes are allocated");
}

#[test]
fn what_was_not_kept_is_left_as_it_is_and_said() {
    let desk = Desk::new(&[("a", "zero")]);
    let (uid, gid) = (desk.root().metadata().unwrap().uid(), desk.root().metadata().unwrap().gid());
    let meta =
        Meta { kind: NodeType::File, mode: 0o100_644, uid, gid, mtime: UnixNanos(1), holes: Vec::new() };
    desk.writer.mutate(NOW, move |m| m.save(&rel("large"), &meta, Content::Skipped { size: 5 })).unwrap();
    std::fs::write(desk.path("large"), "large").unwrap();
    let meta =
        Meta { kind: NodeType::File, mode: 0o100_644, uid, gid, mtime: UnixNanos(1), holes: Vec::new() };
    desk.writer.mutate(NOW, move |m| m.save(&rel("a"), &meta, Content::Bytes(b"one".to_vec()))).unwrap();
    std::fs::write(desk.path("a"), "one").unwrap();
    let to = destination::whole(desk.point("0"));
    let moved = desk.go(&to, Commit::Move("revert".to_owned()), QUIET).unwrap();
    assert_eq!(moved.left, [rel("large")]);
    assert_eq!(std::fs::read(desk.path("large")).unwrap(), b"large");
    assert_eq!(std::fs::read(desk.path("a")).unwrap(), b"zero");
    let view = desk.view();
    let standing = view.standing(&view.stand().unwrap()).unwrap();
    assert!(standing.resolve(&rel("large")).unwrap().is_some(), "the cursor knows that it stayed");
}

/// The first long version is damaged, and the next one is a difference to it.
///
/// Shows CV-91, CV-116.
#[test]
fn damage_names_the_tick_and_nothing_is_touched() {
    let long = |word: &str| format!("{word} {}", "unlike the others, ".repeat(200));
    let desk = Desk::new(&[("a", "zero"), ("b", "zero")]);
    desk.save("b", &long("first"));
    desk.save("b", &long("second"));
    desk.write("a", "changed");
    desk.save("b", "short");
    let make = |m: &mut tickfs_store::Mutation<'_>| {
        let at = |tick| Point { branch: BranchNo::MAIN, tick: Tick(tick) };
        m.create_branch("broken", "8c3c0c0e-0000-4000-8000-000000000002", at(2), false)
    };
    desk.writer.mutate(NOW, make).unwrap();
    let version = desk.view().tree(desk.point("1")).unwrap().resolve(&rel("b")).unwrap().unwrap().version;
    let address = version.content.unwrap();
    let pack = desk.writer.store().layout().packs().join(address.pack.hot_name());
    let mut bytes = std::fs::read(&pack).unwrap();
    let at = usize::try_from(address.offset).unwrap() + 40;
    bytes[at] ^= 0xff;
    std::fs::write(&pack, bytes).unwrap();
    // A reader that has not seen it whole.
    let desk = desk.reopened();
    let before = (desk.tree(), desk.stands());
    for (at, tick) in [("1", 1), ("2", 2), ("broken@HEAD", 2)] {
        let error = desk.revert(at).unwrap_err();
        assert!(
            matches!(&error, Error::Damaged { path, tick: t, .. } if *path == rel("b") && t.0 == tick),
            "{error}"
        );
        assert!(error.to_string().contains(&format!("tick {tick} of b")), "{error}");
        assert_eq!((desk.tree(), desk.stands()), before);
        assert_eq!(desk.recover(), None);
    }
    desk.revert("0").unwrap();
    assert_eq!(desk.tree(), desk.tree_at("main@0"), "what is whole can still be reached");
}

#[test]
fn a_directory_that_became_a_symlink_leads_nowhere() {
    let desk = Desk::new(&[("d/a", "zero")]);
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("a"), "outside").unwrap();
    desk.save("d/a", "one");
    desk.remove("d");
    std::os::unix::fs::symlink(outside.path(), desk.path("d")).unwrap();
    let to = destination::whole(desk.point("0"));
    let refused = desk.go(&to, Commit::Move("revert".to_owned()), QUIET);
    assert!(matches!(refused, Err(Error::ChangedMeanwhile { .. })), "{refused:?}");
    assert_eq!(std::fs::read_to_string(outside.path().join("a")).unwrap(), "outside");
    desk.revert("0").unwrap();
    assert_eq!(desk.tree(), desk.tree_at("main@0"));
    assert_eq!(std::fs::read_to_string(outside.path().join("a")).unwrap(), "outside");
}
