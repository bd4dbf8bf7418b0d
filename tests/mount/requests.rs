//! How often the kernel has to ask: what the speed of every tool rests on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use tickfs_store::ids::Tick;
use tickfs_tests::mount::{Mounted, Project, rel};

/// 20 directories of 15 files, and symlinks among them.
fn project() -> Project {
    let project = Project::without_base();
    let mut files = Vec::new();
    for dir in 0..20 {
        for file in 0..15 {
            let name = rel(format!("dir-{dir:02}/file-{file:02}.txt"));
            files.push((name, format!("needle {dir} {file}\n").repeat(40).into_bytes()));
        }
    }
    project.put_base(files);
    project.save("dir-00/file-00.txt", "changed\n");
    project.symlink("dir-01/link", "file-00.txt");
    project
}

/// What `work` made the kernel ask; what it was given unasked does not count.
fn asked(mounted: &Mounted, work: impl FnOnce()) -> BTreeMap<&'static str, u64> {
    let before = mounted.mount().counters().all();
    work();
    let after = mounted.mount().counters().all();
    let more = after.into_iter().map(|(name, count)| (name, count - before[name]));
    more.filter(|&(name, count)| count > 0 && name != "pushed").collect()
}

fn run(program: &str, arguments: &[&str], path: &Path) -> Vec<u8> {
    let output = Command::new(program).args(arguments).arg(path).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn a_second_pass_asks_for_nothing() {
    let project = project();
    let Some(mounted) = project.mount() else { return };
    let tree = mounted.path("branches/main/@2");
    for (program, arguments) in
        [("grep", &["-rc", "needle"][..]), ("ls", &["-lR"]), ("tar", &["cf", "-"]), ("du", &["-a"])]
    {
        let first = run(program, arguments, &tree);
        let mut second = Vec::new();
        let requests = asked(&mounted, || second = run(program, arguments, &tree));
        assert_eq!(first, second, "{program}");
        assert!(requests.is_empty(), "{program} asked {requests:?}");
    }
}

/// A directory's names come with their attributes: `ls -lR` needs neither lookups nor getattrs of its own.
#[test]
fn a_first_ls_asks_for_directories_alone() {
    let project = project();
    let Some(mounted) = project.mount() else { return };
    let requests = asked(&mounted, || drop(run("ls", &["-lR"], &mounted.path("branches/main/@2"))));
    let of = |kind| requests.get(kind).copied().unwrap_or(0);
    assert_eq!(of("read"), 0, "{requests:?}");
    assert!(of("readdirplus") + of("readdir") <= 2 * 21 + 2, "{requests:?}");
    assert!(of("lookup") <= 10 && of("getattr") <= 3, "{requests:?}");
}

/// `diff -r` of two ticks opens nothing that is the same inode in both.
#[test]
fn neighbouring_trees_share_every_inode_that_did_not_change() {
    use std::os::unix::fs::MetadataExt;
    let project = project();
    let Some(mounted) = project.mount() else { return };
    let ino = |tick: u64, name: &str| {
        fs::metadata(mounted.path(&format!("branches/main/@{tick}/{name}"))).unwrap().ino()
    };
    assert_eq!(ino(0, "dir-07/file-03.txt"), ino(2, "dir-07/file-03.txt"));
    assert_ne!(ino(0, "dir-00/file-00.txt"), ino(1, "dir-00/file-00.txt"));
    assert_eq!(ino(1, "dir-00/file-00.txt"), ino(2, "dir-00/file-00.txt"));
    assert_ne!(ino(0, "dir-07"), ino(2, "dir-07"), "a directory is in one place alone");
    let mut differences = Vec::new();
    let requests = asked(&mounted, || {
        let output = Command::new("diff")
            .arg("-rq")
            .args([mounted.path("branches/main/@0"), mounted.path("branches/main/@1")])
            .output()
            .unwrap();
        differences = output.stdout;
    });
    let differences = String::from_utf8(differences).unwrap();
    assert!(differences.contains("dir-00/file-00.txt") && differences.lines().count() == 1, "{differences}");
    assert!(requests.get("read").is_none_or(|&reads| reads <= 2), "{requests:?}");
}

/// Whoever looks after a save was announced sees it, whatever the kernel kept: 1,000 times, each by the names that change.
#[test]
fn nothing_is_stale_once_it_was_announced() {
    let project = Project::new(&[("a.txt", "start"), ("b.txt", "other")]);
    let Some(mounted) = project.mount() else { return };
    let head = mounted.path("branches/main/@HEAD/a.txt");
    let (log, now) = (mounted.path("branches/main/log"), mounted.path("now/a.txt"));
    let file = mounted.path("files/a.txt/@HEAD.txt");
    let events = fs::File::open(mounted.path("events/events.jsonl")).unwrap();
    for round in 1..=1_000_u64 {
        let text = format!("round {round} {}", "x".repeat(usize::try_from(round % 50).unwrap()));
        assert_eq!(project.save("a.txt", &text), Tick(round));
        assert_eq!(fs::read_to_string(&head).unwrap(), text);
        assert_eq!(fs::read_to_string(&now).unwrap(), text);
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        if round % 10 == 0 {
            let log = fs::read_to_string(&log).unwrap();
            assert!(log.lines().count() as u64 == round && log.ends_with('\n'), "round {round}: {log:?}");
            assert!(!log.contains('\0'));
            assert_eq!(fs::metadata(mounted.path("branches/main/log")).unwrap().len(), log.len() as u64);
        }
        let last = format!("@{round}");
        let listed = fs::read_dir(mounted.path("branches/main")).unwrap();
        assert!(listed.into_iter().any(|name| name.unwrap().file_name() == last.as_str()), "round {round}");
        if round % 50 == 0 {
            let lines = std::io::read_to_string(&events).unwrap();
            assert!(
                lines.lines().last().unwrap().contains(&format!("\"n\":{round}")),
                "round {round}: {lines}"
            );
        }
    }
    let requests = mounted.mount().counters().all();
    assert_eq!(requests["failed"], 0, "{requests:?}");
}

/// The kernel's references are honoured: what it lets go of takes no memory here.
#[test]
fn what_the_kernel_forgets_is_forgotten() {
    let project = Project::new(&[("a.txt", "start")]);
    let Some(mounted) = project.mount() else { return };
    for round in 0..200 {
        project.save("a.txt", format!("{round}"));
        fs::read(mounted.path("now.json")).unwrap();
        fs::read(mounted.path("files/a.txt/@log")).unwrap();
    }
    // Every other generation was replaced by a later one, and with it went the kernel's reference.
    let interned = mounted.mount().view().interned();
    assert!(interned < 40, "{interned} texts are still known");
}

/// Whoever reads two files of a directory that was just listed is given the others before asking.
#[test]
fn small_files_are_pushed_once_two_of_them_were_read() {
    let project = project();
    let Some(mounted) = project.mount() else { return };
    let dir = mounted.path("branches/main/@2/dir-05");
    run("ls", &["-l"], &dir);
    let file = |n: usize| dir.join(format!("file-{n:02}.txt"));
    let expected = |n: usize| format!("needle 5 {n}\n").repeat(40);
    let pushed = || mounted.mount().counters().all()["pushed"];
    assert_eq!(fs::read_to_string(file(3)).unwrap(), expected(3));
    assert_eq!(pushed(), 0, "one file alone is no reason");
    assert_eq!(fs::read_to_string(file(4)).unwrap(), expected(4));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while pushed() < 13 {
        assert!(std::time::Instant::now() < until, "{} files were pushed", pushed());
        std::thread::yield_now();
    }
    let requests = asked(&mounted, || {
        for n in 0..15 {
            assert_eq!(fs::read_to_string(file(n)).unwrap(), expected(n));
        }
    });
    assert_eq!(requests.get("read"), None, "{requests:?}");
}

/// Whoever reads through a tree is given what is listed next before asking; whoever only lists is given nothing.
#[test]
fn what_a_reader_of_a_tree_lists_next_is_pushed_at_once() {
    let project = project();
    let Some(mounted) = project.mount() else { return };
    let tree = mounted.path("branches/main/@2");
    let pushed = || mounted.mount().counters().all()["pushed"];
    let list = |dirs: std::ops::Range<usize>| {
        dirs.for_each(|dir| drop(run("ls", &["-l"], &tree.join(format!("dir-{dir:02}")))));
    };
    list(2..6);
    assert_eq!(pushed(), 0);
    for name in ["file-01.txt", "file-02.txt"] {
        fs::read(tree.join("dir-03").join(name)).unwrap();
    }
    list(6..14);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    // The others of that directory, and of those behind it; not each of them, where the machine is slow to know what it was told.
    while pushed() < 13 + 15 {
        assert!(std::time::Instant::now() < until, "{} files were pushed", pushed());
        std::thread::yield_now();
    }
    let requests = asked(&mounted, || drop(run("grep", &["-rc", "needle"], &tree)));
    assert!(requests["read"] < 300 - 28, "{requests:?}");
}
