//! Every change is refused with EROFS, whatever it is and wherever; and what is asked wrongly gets the right answer.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    Access, AtFlags, CWD, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps,
    Uid, XattrFlags,
};
use rustix::io::{Errno, Result};

use crate::sample::{Scene, scene};

const NOW: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
const TIMES: Timestamps = Timestamps { last_access: NOW, last_modification: NOW };

type Call = Box<dyn Fn(&Path) -> Result<()>>;

fn open(path: &Path, flags: OFlags) -> Result<OwnedFd> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::RWXU)
}

/// What changes a thing that is there.
fn on_what_is_there() -> Vec<(&'static str, Call)> {
    vec![
        ("chmod", Box::new(|p| rustix::fs::chmod(p, Mode::RWXU))),
        ("fchmod", Box::new(|p| rustix::fs::fchmod(open(p, OFlags::RDONLY)?, Mode::RWXU))),
        ("chown", Box::new(|p| rustix::fs::chown(p, Some(Uid::ROOT), Some(Gid::ROOT)))),
        (
            "lchown",
            Box::new(|p| rustix::fs::chownat(CWD, p, Some(Uid::ROOT), None, AtFlags::SYMLINK_NOFOLLOW)),
        ),
        ("fchown", Box::new(|p| rustix::fs::fchown(open(p, OFlags::RDONLY)?, Some(Uid::ROOT), None))),
        ("utimensat", Box::new(|p| rustix::fs::utimensat(CWD, p, &TIMES, AtFlags::empty()))),
        (
            "utimensat of a symlink",
            Box::new(|p| rustix::fs::utimensat(CWD, p, &TIMES, AtFlags::SYMLINK_NOFOLLOW)),
        ),
        ("futimens", Box::new(|p| rustix::fs::futimens(open(p, OFlags::RDONLY)?, &TIMES))),
        ("setxattr", Box::new(|p| rustix::fs::setxattr(p, "user.x", b"1", XattrFlags::CREATE))),
        ("lsetxattr", Box::new(|p| rustix::fs::lsetxattr(p, "trusted.x", b"1", XattrFlags::empty()))),
        (
            "fsetxattr",
            Box::new(|p| {
                rustix::fs::fsetxattr(open(p, OFlags::RDONLY)?, "user.x", b"1", XattrFlags::empty())
            }),
        ),
        ("removexattr", Box::new(|p| rustix::fs::removexattr(p, "user.x"))),
        ("fremovexattr", Box::new(|p| rustix::fs::fremovexattr(open(p, OFlags::RDONLY)?, "user.x"))),
        ("rename", Box::new(|p| rustix::fs::rename(p, p.with_file_name("renamed")))),
        ("rename over a sibling", Box::new(|p| rustix::fs::rename(p.with_file_name("absent"), p))),
        (
            "renameat2 exchanging",
            Box::new(|p| {
                rustix::fs::renameat_with(CWD, p, CWD, p.with_file_name("absent"), RenameFlags::EXCHANGE)
            }),
        ),
        ("access for writing", Box::new(|p| rustix::fs::access(p, Access::WRITE_OK))),
        ("unlink", Box::new(|p| rustix::fs::unlink(p))),
        ("rmdir", Box::new(|p| rustix::fs::rmdir(p))),
    ]
}

/// What changes the bytes of a file.
fn on_a_file() -> Vec<(&'static str, Call)> {
    let opening = |flags: OFlags| -> Call { Box::new(move |p| open(p, flags).map(drop)) };
    vec![
        ("open for writing", opening(OFlags::WRONLY)),
        ("open for both", opening(OFlags::RDWR)),
        ("open for appending", opening(OFlags::WRONLY | OFlags::APPEND)),
        ("open, cut to nothing", opening(OFlags::RDONLY | OFlags::TRUNC)),
        ("open for writing, made if absent", opening(OFlags::WRONLY | OFlags::CREATE)),
        (
            "truncate",
            Box::new(|p| {
                // There is no call by path alone: opening is what it takes.
                rustix::fs::ftruncate(open(p, OFlags::WRONLY)?, 0)
            }),
        ),
        (
            "fallocate",
            Box::new(|p| rustix::fs::fallocate(open(p, OFlags::RDWR)?, FallocateFlags::empty(), 0, 4096)),
        ),
        ("link", Box::new(|p| rustix::fs::link(p, p.with_file_name("linked")))),
    ]
}

/// What makes something new in a directory.
fn in_a_directory() -> Vec<(&'static str, Call)> {
    let node = |kind| -> Call {
        Box::new(move |p: &Path| rustix::fs::mknodat(CWD, p.join("new"), kind, Mode::RWXU, 0))
    };
    vec![
        (
            "creat",
            Box::new(|p| open(&p.join("new"), OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC).map(drop)),
        ),
        (
            "open, made and only read",
            Box::new(|p| open(&p.join("new"), OFlags::RDONLY | OFlags::CREATE).map(drop)),
        ),
        ("open of a nameless file", Box::new(|p| open(p, OFlags::RDWR | OFlags::TMPFILE).map(drop))),
        ("mkdir", Box::new(|p| rustix::fs::mkdir(p.join("new"), Mode::RWXU))),
        ("symlink", Box::new(|p| rustix::fs::symlink("x", p.join("new")))),
        ("mknod of a file", node(FileType::RegularFile)),
        ("mknod of a fifo", node(FileType::Fifo)),
        ("mknod of a socket", node(FileType::Socket)),
        (
            "bind of a socket",
            Box::new(|p| {
                let bound = std::os::unix::net::UnixListener::bind(p.join("new"));
                bound.map(drop).map_err(|e| Errno::from_io_error(&e).unwrap())
            }),
        ),
        (
            "rename into it from outside",
            Box::new(|p| {
                let outside = tempfile::NamedTempFile::new_in(std::env::temp_dir()).unwrap();
                match rustix::fs::rename(outside.path(), p.join("new")) {
                    // The kernel sees first that these are two filesystems.
                    Err(Errno::XDEV) => Err(Errno::ROFS),
                    done => done,
                }
            }),
        ),
    ]
}

#[test]
fn every_change_is_refused_because_the_past_is_read_only() {
    let Some(scene) = scene(&[]) else { return };
    let mount = |name: &str| scene.mounted.path(name);
    let files = ["branches/main/@0/src/app.py", "branches/main/log", "ticks/1/diff", "README"];
    let directories =
        ["", "branches", "branches/main", "branches/main/@0", "branches/main/@0/empty", "ticks/1"];
    let mut wrong = Vec::new();
    let mut try_all = |place: &str, calls: Vec<(&'static str, Call)>| {
        for (name, call) in calls {
            let answer = call(&mount(place));
            if answer != Err(Errno::ROFS) && !is_the_mount_point(place, name, answer) {
                wrong.push(format!("{name} on {place:?}: {answer:?}"));
            }
        }
    };
    for file in files {
        try_all(file, on_what_is_there());
        try_all(file, on_a_file());
    }
    for directory in directories {
        try_all(directory, on_what_is_there());
        try_all(directory, in_a_directory());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(std::fs::read(scene.old.join("src/app.py")).unwrap(), scene_bytes(&scene));
}

/// A mount point's own name belongs to the filesystem around it, which refuses because it is in use.
fn is_the_mount_point(place: &str, call: &str, answer: Result<()>) -> bool {
    let about_its_name = ["rename", "unlink", "rmdir"].iter().any(|name| call.starts_with(name));
    place.is_empty() && about_its_name && answer.is_err()
}

fn scene_bytes(scene: &Scene) -> Vec<u8> {
    std::fs::read(scene.plain.join("src/app.py")).unwrap()
}

#[test]
fn what_is_asked_wrongly_gets_the_answer_that_a_disk_gives() {
    let Some(scene) = scene(&[]) else { return };
    let long: OsString = "x".repeat(256).into();
    let longest_that_fits: OsString = "x".repeat(255).into();
    let too_long: PathBuf = std::iter::repeat_n("src/..", 700).collect();
    let asked: Vec<(&str, Call)> = vec![
        ("a name that is not there", Box::new(|d| open(&d.join("absent"), OFlags::RDONLY).map(drop))),
        ("a name below one that is not there", Box::new(|d| stat(&d.join("absent/x")))),
        ("a name below a file", Box::new(|d| stat(&d.join("src/app.py/x")))),
        ("a file with a slash behind it", Box::new(|d| stat(&d.join("src/app.py/")))),
        ("a name of 256 bytes", Box::new(move |d| stat(&d.join(&long)))),
        ("a name of 255 bytes", Box::new(move |d| stat(&d.join(&longest_that_fits)))),
        ("a path of more than 4,096 bytes", Box::new(move |d| stat(&d.join(&too_long)))),
        ("an empty name", Box::new(|_| stat(Path::new("")))),
        ("a symlink to nowhere", Box::new(|d| stat(&d.join("to-nowhere")))),
        (
            "a symlink that is not to be followed",
            Box::new(|d| open(&d.join("link"), OFlags::RDONLY | OFlags::NOFOLLOW).map(drop)),
        ),
        (
            "a file that is to be a directory",
            Box::new(|d| open(&d.join("src/app.py"), OFlags::RDONLY | OFlags::DIRECTORY).map(drop)),
        ),
        ("a directory for writing", Box::new(|d| open(&d.join("src"), OFlags::WRONLY).map(drop))),
        (
            "a file that must be new",
            Box::new(|d| {
                open(&d.join("src/app.py"), OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL).map(drop)
            }),
        ),
        ("a directory that must be new", Box::new(|d| rustix::fs::mkdir(d.join("src"), Mode::RWXU))),
        (
            "the bytes of a directory",
            Box::new(|d| rustix::io::read(open(&d.join("src"), OFlags::RDONLY)?, &mut [0_u8; 8]).map(drop)),
        ),
        ("the target of a file", Box::new(|d| rustix::fs::readlink(d.join("src/app.py"), []).map(drop))),
        (
            "the names of a file",
            Box::new(|d| {
                let file = open(&d.join("src/app.py"), OFlags::RDONLY)?;
                rustix::fs::Dir::read_from(file)?.next().transpose().map(drop)
            }),
        ),
        (
            "to be inside a file",
            Box::new(|d| {
                let file = open(&d.join("src/app.py"), OFlags::RDONLY)?;
                rustix::fs::statat(file, "x", AtFlags::empty()).map(drop)
            }),
        ),
        (
            "to run what is no program",
            Box::new(|d| rustix::fs::access(d.join("src/app.py"), Access::EXEC_OK)),
        ),
        ("to run what is one", Box::new(|d| rustix::fs::access(d.join("bin/tool.sh"), Access::EXEC_OK))),
        ("to read", Box::new(|d| rustix::fs::access(d.join("src/app.py"), Access::READ_OK))),
        (
            "to write through what is open for reading",
            Box::new(|d| rustix::io::write(open(&d.join("src/app.py"), OFlags::RDONLY)?, b"x").map(drop)),
        ),
        (
            "to cut what is open for reading",
            Box::new(|d| rustix::fs::ftruncate(open(&d.join("src/app.py"), OFlags::RDONLY)?, 0)),
        ),
        (
            "to grow what is open for reading",
            Box::new(|d| {
                let file = open(&d.join("src/app.py"), OFlags::RDONLY)?;
                rustix::fs::fallocate(file.as_fd(), FallocateFlags::empty(), 0, 1 << 20)
            }),
        ),
        ("to sync", Box::new(|d| rustix::fs::fsync(open(&d.join("src/app.py"), OFlags::RDONLY)?))),
        ("to sync a directory", Box::new(|d| rustix::fs::fsync(open(&d.join("src"), OFlags::RDONLY)?))),
        (
            "to lock",
            Box::new(|d| {
                let file = open(&d.join("src/app.py"), OFlags::RDONLY)?;
                rustix::fs::flock(file, rustix::fs::FlockOperation::LockShared)
            }),
        ),
    ];
    for (what, call) in asked {
        // A disk would do what a read-only one refuses.
        let expected = match call(&scene.plain) {
            Ok(()) | Err(_) if what.contains("for writing") => Err(Errno::ISDIR),
            answer => answer,
        };
        assert_eq!(call(&scene.old), expected, "{what}");
    }
}

fn stat(path: &Path) -> Result<()> {
    rustix::fs::stat(path).map(drop)
}

#[test]
fn symlinks_that_lead_in_a_circle_are_seen_as_that() {
    let Some(mut scene) = scene(&[]) else { return };
    let (project, sample) = (&scene.project, &mut scene.now);
    sample.save(project, "one", crate::sample::Thing::link("other"));
    let tick = sample.save(project, "other", crate::sample::Thing::link("one"));
    let tree = scene.mounted.path(&format!("branches/main/@{tick}"));
    assert_eq!(stat(&tree.join("one")), Err(Errno::LOOP));
    assert_eq!(std::fs::read_link(tree.join("one")).unwrap(), Path::new("other"));
}

#[test]
fn there_are_no_extended_attributes() {
    let Some(scene) = scene(&[]) else { return };
    let file = scene.old.join("src/app.py");
    let mut none: [u8; 0] = [];
    assert_eq!(rustix::fs::getxattr(&file, "user.x", &mut none), Err(Errno::OPNOTSUPP));
    assert_eq!(rustix::fs::listxattr(&file, &mut none), Err(Errno::OPNOTSUPP));
}
