//! Many readers at once, mounts that go while they are read, processes that are killed.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Child, Stdio};

use rustix::io::Errno;
use tickfs_tests::mount::{Project, can_mount, file, rel};

use crate::sample::{Sample, noise, scene, shell, shell_command};
use crate::serving::{Served, served};

const READERS: usize = 64;
const BURST: usize = 10_000;

/// Reads an old tree whole, and two files of the newest that are always saved together, until it is told to stop.
const READER: &str = "
until [ -e \"$STOP\" ]; do
    [ \"$(cd @0 && tar -c --format=posix --sort=name . | sha256sum)\" = \"$SUM\" ] || { echo 'the old tree differs'; exit 1; }
    cd @HEAD/pair; one=$(cat one); other=$(cat other); cd - >/dev/null
    [ \"$one\" = \"$other\" ] || { echo \"half a burst: $one, $other\"; exit 1; }
    ls -l .. ../.. ../../ticks >/dev/null
    tail -n 1 log >/dev/null
done
echo well
";

#[test]
fn readers_at_once_are_answered_right_during_a_burst_of_10_000_ticks() {
    let project = Project::without_base();
    let mut sample = Sample::project();
    sample.put("pair", crate::sample::Thing::dir(0o755));
    sample.put("pair/one", crate::sample::Thing::file("0\n"));
    sample.put("pair/other", crate::sample::Thing::file("0\n"));
    sample.record(&project);
    let Some(mounted) = project.mount() else { return };
    let branch = mounted.path("branches/main");
    let sum = shell(&branch, "cd @0 && tar -c --format=posix --sort=name . | sha256sum");
    let stop = project.scratch().join("stop");
    let start = |_| {
        let mut command = shell_command(&branch, READER);
        command.env("SUM", sum.trim_end()).env("STOP", &stop);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let readers: Vec<Child> = (0..READERS).map(start).collect();
    let save_pair = |n: usize, more: usize| {
        project.mutate(move |m| {
            let meta = file(m.now());
            let bytes = |n: usize| tickfs_store::Content::Bytes(format!("{n}\n").into_bytes());
            m.save(&rel("pair/one"), &meta, bytes(n))?;
            for file in 0..more {
                m.save(&rel(format!("spool/{}.txt", file % 500)), &meta, bytes(n + file))?;
            }
            m.save(&rel("pair/other"), &meta, bytes(n)).map(drop)
        });
    };
    (1..20).for_each(|n| save_pair(n, 3));
    save_pair(20, BURST - 2);
    (21..30).for_each(|n| save_pair(n, 3));
    fs::write(&stop, "").unwrap();
    for reader in readers {
        let output = reader.wait_with_output().unwrap();
        let (said, complained) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && said == "well\n", "{said}{complained}");
    }
    let ticks = 19 * 5 + BURST + 9 * 5;
    assert_eq!(fs::read_link(branch.join("@HEAD")).unwrap().to_str().unwrap(), format!("@{ticks}"));
    assert_eq!(mounted.mount().counters().get(tickfs_fs::Operation::Failed), 0);
}

#[test]
fn what_is_open_stays_readable_when_the_mount_goes() {
    let project = Project::new(&[("small.txt", "small\n")]);
    project.save("large.bin", noise(3_000_000));
    let Some(mounted) = project.mount() else { return };
    let tree = mounted.path("branches/main/@1");
    let (small, large) =
        (File::open(tree.join("small.txt")).unwrap(), File::open(tree.join("large.bin")).unwrap());
    let dir = rustix::fs::open(&tree, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    mounted.mount().unmount().unwrap();
    assert!(!mounted.mount().is_served());
    assert_eq!(fs::read_dir(mounted.root()).unwrap().count(), 0, "it is gone from its name at once");
    let mut said = String::new();
    (&small).read_to_string(&mut said).unwrap();
    assert_eq!(said, "small\n");
    // Nothing of this was read before.
    let mut bytes = vec![0; 3_000_000];
    large.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == noise(3_000_000));
    let later = rustix::fs::openat(&dir, "large.bin", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty());
    assert!(later.is_ok(), "{later:?}");
    // Another mount at the same place has nothing to do with it.
    let Some(again) = project.mount() else { return };
    assert_eq!(fs::read(again.path("branches/main/@1/small.txt")).unwrap(), b"small\n");
    drop((small, large, dir, later));
    assert_eq!(fs::read(again.path("branches/main/@0/small.txt")).unwrap(), b"small\n");
    mounted.mount().unmount().unwrap();
    assert!(again.mount().is_served(), "whoever unmounts twice takes nothing of others away");
}

#[test]
fn what_somebody_else_unmounts_is_gone_and_no_error() {
    let Some(scene) = scene(&["umount"]) else { return };
    shell(scene.project.scratch(), "umount history");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while scene.mounted.mount().is_served() && std::time::Instant::now() < until {
        std::thread::yield_now();
    }
    assert!(!scene.mounted.mount().is_served());
    scene.mounted.mount().unmount().unwrap();
    // Recording goes on.
    scene.project.save("src/app.py", "later\n");
}

#[test]
fn a_mount_whose_process_was_killed_is_mounted_again_and_everything_is_where_it_was() {
    if !can_mount() {
        return;
    }
    let project = Project::without_base();
    Sample::project().record(&project);
    project.save("src/app.py", "newer\n");
    let point = project.scratch().join("history");
    fs::create_dir(&point).unwrap();
    let inodes = || {
        let script = "find . -printf '%i %p\\n' 2>&1 | sort";
        shell(&point.join("branches"), script)
    };
    let mut first = Served::start(&mut served(project.store(), &point), &point);
    let before = inodes();
    assert!(before.lines().count() > 60, "{before}");
    let held = File::open(point.join("branches/main/@0/data/noise.bin")).unwrap();
    let mut reader =
        shell_command(&point, "tar -c branches/main/@0/src ticks >/dev/null 2>&1 || :").spawn().unwrap();
    first.kill();
    // Nobody hangs: whatever the kernel has to ask for is an error of its own.
    reader.wait().unwrap();
    let error = fs::metadata(point.join("never asked for")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::NOTCONN.raw_os_error()));
    assert!(held.read_at(&mut [0; 10], 250_000).is_err());
    drop(first);
    let mut again = Served::start(&mut served(project.store(), &point), &point);
    assert!(again.is_alive());
    assert_eq!(inodes(), before);
    assert!(again.stop());
    assert_eq!(
        fs::metadata(&point).unwrap().ino(),
        fs::metadata(project.scratch().join("history")).unwrap().ino()
    );
}
