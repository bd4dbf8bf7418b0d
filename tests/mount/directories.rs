//! Long directories, and places in them that stay what they are.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{CWD, Mode, OFlags, RawDir, SeekFrom};
use tickfs_tests::mount::{Project, rel};

use crate::sample::shell;

/// Names with the place behind each, in the order in which they come.
type Listing = Vec<(Vec<u8>, u64)>;

fn open(dir: &Path) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, dir, flags, Mode::empty()).unwrap()
}

/// From where the descriptor stands, until so many names at least were read; `.` and `..` too.
fn read_on(dir: &OwnedFd, buffer: usize, limit: usize) -> Listing {
    let mut space = vec![MaybeUninit::uninit(); buffer];
    let mut names = RawDir::new(dir, &mut space);
    let mut found = Listing::new();
    // Whole buffers are used up, so that nothing is read and not seen.
    while found.len() < limit || !names.is_buffer_empty() {
        let Some(entry) = names.next() else { break };
        let entry = entry.unwrap();
        found.push((entry.file_name().to_bytes().to_vec(), entry.next_entry_cookie()));
    }
    found
}

fn read_all(dir: &Path) -> Listing {
    read_on(&open(dir), 32 * 1024, usize::MAX)
}

fn names(listing: &[(Vec<u8>, u64)]) -> Vec<&[u8]> {
    listing.iter().map(|(name, _)| &name[..]).collect()
}

/// Whoever goes on behind any name finds what came behind it.
#[track_caller]
fn assert_places_hold(dir: &Path, listing: &Listing, step: usize) {
    for at in (0..listing.len()).step_by(step) {
        let place = open(dir);
        rustix::fs::seek(&place, SeekFrom::Start(listing[at].1)).unwrap();
        let rest = read_on(&place, 1_024, 5);
        let wanted = &listing[at + 1..];
        let both = rest.len().min(wanted.len());
        assert_eq!(names(&rest[..both]), names(&wanted[..both]), "behind {}", listing[at].0.escape_ascii());
        assert!(both > 0 || wanted.is_empty());
    }
}

#[test]
fn a_directory_of_100_000_names_is_listed_whole_and_from_any_place() {
    let project = Project::without_base();
    let wanted: Vec<Vec<u8>> = (0..100_000).map(|n| format!("file-{n:06}.txt").into_bytes()).collect();
    let files = wanted.iter().map(|name| (rel([b"many/", &name[..]].concat()), b"x\n".to_vec())).collect();
    let began = Instant::now();
    project.put_base(files);
    eprintln!("recorded in {:?}", began.elapsed());
    let Some(mounted) = project.mount() else { return };
    let tree = mounted.path("branches/main/@0/many");
    for pass in ["first", "second"] {
        let began = Instant::now();
        let listing = read_all(&tree);
        eprintln!("{pass} listing in {:?}", began.elapsed());
        let found: BTreeSet<&[u8]> = names(&listing).into_iter().collect();
        assert_eq!((listing.len(), found.len()), (100_002, 100_002), "{pass}");
        assert!(wanted.iter().all(|name| found.contains(&name[..])), "{pass}");
        assert_places_hold(&tree, &listing, 9_973);
    }
    let long = shell(&tree, "ls -l | awk '$5 == 2' | wc -l");
    assert_eq!(long, "100000\n");
    assert_eq!(std::fs::read(tree.join("file-077777.txt")).unwrap(), b"x\n");
    let ever = names_of(&mounted.path("files/many"));
    assert_eq!(ever.len(), 100_000);
}

/// What was read ahead for one of them is not given to another.
#[test]
fn long_directories_that_are_listed_in_turn_are_each_listed_whole() {
    let project = Project::without_base();
    let file = |dir: &str, n: usize| (rel(format!("{dir}/{dir}-{n:04}.txt")), b"x\n".to_vec());
    project.put_base(["one", "two"].iter().flat_map(|dir| (0..2_000).map(|n| file(dir, n))).collect());
    project.save("one/zz-later.txt", "x\n");
    let Some(mounted) = project.mount() else { return };
    // The same place in the same directory of two ticks.
    let (before, after) =
        (open(&mounted.path("branches/main/@0/one")), open(&mounted.path("branches/main/@1/one")));
    let begun = read_on(&before, 32 * 1024, 1);
    rustix::fs::seek(&after, SeekFrom::Start(begun[begun.len() - 1].1)).unwrap();
    let rest = read_on(&after, 32 * 1024, usize::MAX);
    assert_eq!((begun.len() + rest.len(), &rest[rest.len() - 1].0[..]), (2_003, &b"zz-later.txt"[..]));
    let dirs = ["@0/one", "@0/two", "@1/one", "@1/two"].map(|dir| mounted.path("branches/main").join(dir));
    let opened = dirs.each_ref().map(|dir| open(dir));
    let mut listings: [Listing; 4] = Default::default();
    // From small answers to ones that hold more than was read ahead.
    for buffer in [1_024, 4_096, 64 * 1024].into_iter().cycle() {
        let mut more = false;
        for (dir, listing) in opened.iter().zip(&mut listings) {
            let found = read_on(dir, buffer, 1);
            more |= !found.is_empty();
            listing.extend(found);
        }
        if !more {
            break;
        }
    }
    for ((dir, listing), more) in dirs.iter().zip(&listings).zip([0, 0, 1, 0]) {
        let distinct: BTreeSet<&[u8]> = names(listing).into_iter().collect();
        assert_eq!((listing.len(), distinct.len()), (2_002 + more, 2_002 + more), "{}", dir.display());
        let own = dir.file_name().unwrap().as_encoded_bytes();
        assert_eq!(distinct.iter().filter(|name| name.starts_with(own)).count(), 2_000);
    }
}

fn names_of(dir: &Path) -> Vec<Vec<u8>> {
    read_all(dir).into_iter().map(|(name, _)| name).filter(|name| !name.starts_with(b".")).collect()
}

/// A few hundred ticks, so that every kind of directory has something to list.
fn busy_project() -> Project {
    let project = Project::without_base();
    project.put_base((0..300).map(|n| (rel(format!("dir/f{n}.txt")), vec![b'x'; n])).collect());
    for n in 0..40 {
        project.save(&format!("dir/f{n}.txt"), format!("version {n}\n"));
        project.save("dir/often.txt", format!("version {n}\n"));
    }
    for n in 100..140 {
        project.remove(&format!("dir/f{n}.txt"));
    }
    project
}

const DIRECTORIES: [&str; 9] = [
    "",
    "branches",
    "branches/main",
    "branches/main/@0/dir",
    "branches/main/@HEAD/dir",
    "ticks",
    "files/dir",
    "files/dir/often.txt",
    "deleted/dir",
];

#[test]
fn places_in_a_listing_survive_changes_and_the_next_mount() {
    let project = busy_project();
    let options = || tickfs_fs::Options { list_ticks: tickfs_fs::ListTicks::All, ..Default::default() };
    let Some(mounted) = project.mount_with(options()) else { return };
    let listings: BTreeMap<&str, Listing> =
        DIRECTORIES.iter().map(|&dir| (dir, read_all(&mounted.path(dir)))).collect();
    for (dir, listing) in &listings {
        let distinct: BTreeSet<&[u8]> = names(listing).into_iter().collect();
        assert_eq!(distinct.len(), listing.len(), "{dir}");
        let places: BTreeSet<u64> = listing.iter().map(|&(_, place)| place).collect();
        assert_eq!(places.len(), listing.len(), "{dir}");
        assert_places_hold(&mounted.path(dir), listing, 7);
    }
    drop(mounted);
    let Some(mounted) = project.mount_with(options()) else { return };
    for (dir, listing) in &listings {
        assert_eq!(read_all(&mounted.path(dir)), *listing, "{dir:?} after the next mount");
        assert_places_hold(&mounted.path(dir), listing, 11);
    }
    // New names come between and behind; what was there keeps its place.
    for n in 300..330 {
        project.save(&format!("dir/f{n}.txt"), "new\n");
        project.save("dir/often.txt", format!("newer {n}\n"));
        project.save(&format!("dir/a{n}.txt"), "new\n");
    }
    for (dir, listing) in &listings {
        let now = read_all(&mounted.path(dir));
        let now: BTreeMap<&[u8], u64> = now.iter().map(|(name, place)| (&name[..], *place)).collect();
        for (name, place) in &listing[..listing.len() - 1] {
            // The place behind a name is the same; only behind the last one more has come.
            assert_eq!(now.get(&name[..]), Some(place), "{dir:?}: {}", name.escape_ascii());
        }
    }
}

#[test]
fn a_reader_that_holds_a_directory_open_sees_each_old_name_once_while_names_are_added() {
    let project = busy_project();
    let options = tickfs_fs::Options { list_ticks: tickfs_fs::ListTicks::All, ..Default::default() };
    let Some(mounted) = project.mount_with(options) else { return };
    for dir in DIRECTORIES {
        let before: BTreeSet<Vec<u8>> =
            read_all(&mounted.path(dir)).into_iter().map(|(name, _)| name).collect();
        let held = open(&mounted.path(dir));
        let mut seen = Vec::new();
        let mut round = 0;
        loop {
            // A short buffer, so that there are many rounds in a directory of a few hundred names.
            let part = read_on(&held, 400, 1);
            if part.is_empty() {
                break;
            }
            seen.extend(part.into_iter().map(|(name, _)| name));
            round += 1;
            if round < 12 {
                project.save(
                    &format!("dir/a{dir_number}-{round}.txt", dir_number = dir.len()),
                    format!("{round}\n"),
                );
                project.save(
                    &format!("dir/z{dir_number}-{round}.txt", dir_number = dir.len()),
                    format!("{round}\n"),
                );
                project.save("dir/often.txt", format!("{dir} {round}\n"));
            }
        }
        let distinct: BTreeSet<&Vec<u8>> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len(), "{dir:?} showed a name twice");
        let lost: Vec<&Vec<u8>> = before.iter().filter(|name| !distinct.contains(name)).collect();
        assert!(lost.is_empty(), "{dir:?} lost {lost:?}");
    }
}
