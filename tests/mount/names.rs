//! Names are bytes, and as long as the kernel takes them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use tickfs_store::path::RelPath;
use tickfs_tests::mount::{Project, ancestors, rel};

use crate::sample::shell;

/// Each of them stands for something, or is something else, elsewhere.
fn odd_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        "@HEAD",
        "@0",
        "@17.py",
        "@-1",
        "@types",
        "README",
        "log",
        "branch.json",
        "now",
        "@log",
        "@blame",
        "yesterday",
        "-rf",
        "--",
        "-",
        " ",
        "  two",
        "...",
        "..x",
        "~",
        "*",
        "?",
        "$HOME",
        "`id`",
        "'",
        "\"",
        "\\",
        "\\n",
        "a\nb",
        "\n",
        "\r",
        "\t",
        "\u{7f}",
        "\u{1b}[31m",
        "a:b",
        "a;b",
        "a|b",
        "#",
        "%s",
        "ä",
        "日本語",
        "🙂",
        "con",
        "nul",
        "a\u{301}",
        "á",
    ]
    .map(|name| name.as_bytes().to_vec())
    .into();
    names.extend([&b"\xff"[..], b"\x80\x01", b"\xc3", b"\xed\xa0\x80", b"a\xffb.py"].map(<[u8]>::to_vec));
    names.extend([vec![b'x'; 255], vec![0xfe; 255], "€".repeat(85).into_bytes(), vec![b'-'; 255]]);
    names.sort();
    names
}

fn listed(dir: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<Vec<u8>> = entries.map(|entry| entry.unwrap().file_name().into_vec()).collect();
    names.sort();
    names
}

#[test]
fn a_name_of_any_bytes_is_listed_and_found_as_it_is() {
    let project = Project::without_base();
    let names = odd_names();
    let files = names.iter().map(|name| (rel([b"dir/", &name[..]].concat()), name.clone())).collect();
    project.put_base(files);
    let Some(mounted) = project.mount() else { return };
    let tree = mounted.path("branches/main/@0/dir");
    assert_eq!(listed(&tree), names);
    for name in &names {
        let path = tree.join(OsStr::from_bytes(name));
        assert_eq!(fs::read(&path).unwrap(), *name, "{}", name.escape_ascii());
    }
    // And as directories of `files/`, where each has one version.
    let ever = mounted.path("files/dir");
    assert_eq!(listed(&ever), names);
    for name in &names {
        let versions = ever.join(OsStr::from_bytes(name));
        let version = versions.join("@0");
        assert_eq!(fs::read(&version).unwrap(), *name, "{}", name.escape_ascii());
        let own: Vec<Vec<u8>> =
            listed(&versions).into_iter().filter(|name| name.starts_with(b"@0")).collect();
        assert_eq!(own.len(), 1, "{}", name.escape_ascii());
        assert_eq!(fs::read(versions.join(OsStr::from_bytes(&own[0]))).unwrap(), *name);
    }
}

#[test]
fn a_name_of_any_bytes_is_a_tick_a_diff_and_a_deleted_path() {
    let project = Project::new(&[("dir/stays", "")]);
    let Some(mounted) = project.mount() else { return };
    for name in odd_names() {
        let path = rel([b"dir/", &name[..]].concat());
        let tick = project.save_at(path.clone(), b"one line\n".to_vec(), 0o100_644);
        assert_eq!(fs::read(mounted.path(&format!("ticks/{tick}/after"))).unwrap(), b"one line\n");
        let diff = fs::read(mounted.path(&format!("ticks/{tick}/diff"))).unwrap();
        assert!(diff.ends_with(b"+one line\n"), "{}", diff.escape_ascii());
        let head = mounted.path("branches/main/@HEAD/dir").join(OsStr::from_bytes(&name));
        assert_eq!(fs::read(&head).unwrap(), b"one line\n", "{}", name.escape_ascii());
        project.mutate(move |m| m.remove(&path));
        assert!(fs::symlink_metadata(&head).is_err(), "{}", name.escape_ascii());
        let last = mounted.path("deleted/dir").join(OsStr::from_bytes(&name));
        assert_eq!(fs::read(&last).unwrap(), b"one line\n", "{}", name.escape_ascii());
    }
    assert_eq!(listed(&mounted.path("deleted/dir")), odd_names());
}

#[test]
fn patch_takes_the_diff_of_an_odd_name() {
    if !crate::sample::has("patch") {
        return;
    }
    let project = Project::new(&[("a b/c\td", "one\n"), ("plain", "one\n"), ("quo\"te", "one\n")]);
    let Some(mounted) = project.mount() else { return };
    let work = project.scratch().join("work");
    for name in ["a b/c\td", "plain", "quo\"te"] {
        let tick = project.save(name, "one\ntwo\n");
        shell(mounted.root(), &format!("cp -a 'branches/main/@{}/.' '{}'", tick.0 - 1, work.display()));
        shell(&work, &format!("patch -s -p1 < '{}'", mounted.path(&format!("ticks/{tick}/diff")).display()));
        assert_eq!(fs::read_to_string(work.join(name)).unwrap(), "one\ntwo\n", "{name}");
        fs::remove_dir_all(&work).unwrap();
    }
}

#[test]
fn a_symlink_leads_wherever_it_led_however_long_that_is() {
    let project = Project::new(&[("x", "")]);
    let Some(mounted) = project.mount() else { return };
    let longest = "t/".repeat(2_047) + "t";
    assert_eq!(longest.len(), 4_095);
    for target in [&longest[..], "x", "/", "..", "//double", "ends/", "new\nline", "../../../../../../etc"] {
        let tick = project.symlink("link", target);
        let link = mounted.path(&format!("branches/main/@{tick}/link"));
        assert_eq!(fs::read_link(&link).unwrap().as_os_str(), target);
        assert_eq!(fs::symlink_metadata(&link).unwrap().len(), target.len() as u64);
    }
}

/// 4,096 bytes: longer than what the kernel takes at once.
fn deep() -> RelPath {
    let mut path = vec![b'd'; 255];
    while path.len() < 4_000 {
        path.push(b'/');
        path.extend(std::iter::repeat_n(b'd', 200));
    }
    path.push(b'/');
    path.extend(std::iter::repeat_n(b'f', 4_096 - path.len()));
    assert_eq!(path.len(), 4_096);
    rel(path)
}

/// A directory by one name after another.
fn descend(from: &Path, names: &[&[u8]]) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let start = rustix::fs::openat(CWD, from, flags, Mode::empty()).unwrap();
    names.iter().fold(start, |dir, name| rustix::fs::openat(dir, *name, flags, Mode::empty()).unwrap())
}

fn read_at(dir: &OwnedFd, name: &[u8]) -> Vec<u8> {
    let file = rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let mut bytes = [0; 64];
    let len = rustix::io::read(file, &mut bytes).unwrap();
    bytes[..len].to_vec()
}

#[test]
fn a_path_of_4096_bytes_is_reached_name_by_name() {
    let project = Project::new(&[("x", "")]);
    let Some(mounted) = project.mount() else { return };
    let path = deep();
    for above in ancestors(&path).into_iter().skip(1) {
        project.mutate(move |m| {
            m.save(&above, &tickfs_tests::mount::directory(), tickfs_store::Content::None).map(drop)
        });
    }
    let tick = project.save_at(path.clone(), b"deep\n".to_vec(), 0o100_644);
    let mut names: Vec<&[u8]> = path.components().collect();
    let name = names.pop().unwrap();
    let dir = descend(&mounted.path(&format!("branches/main/@{tick}")), &names);
    assert_eq!(read_at(&dir, name), b"deep\n");
    assert_eq!(rustix::fs::statat(&dir, name, AtFlags::empty()).unwrap().st_size, 5);
    let versions = descend(&mounted.path("files"), &[&names[..], &[name]].concat());
    assert_eq!(read_at(&versions, format!("@{tick}").as_bytes()), b"deep\n");
    assert_eq!(fs::read(mounted.path(&format!("ticks/{tick}/after"))).unwrap(), b"deep\n");
    let diff = fs::read(mounted.path(&format!("ticks/{tick}/diff"))).unwrap();
    assert!(diff.windows(4_096).any(|part| part == path.as_bytes()));
    // Programs that go down name by name come there as well.
    let script =
        format!("find branches/main/@{tick}/ -type f | awk '{{ print length($0) }}' | sort -n | tail -1");
    let prefix = format!("branches/main/@{tick}/").len();
    assert_eq!(shell(mounted.root(), &script), format!("{}\n", 4_096 + prefix));
    let whole: OsString = OsStr::from_bytes(path.as_bytes()).into();
    let at_once = fs::metadata(mounted.path(&format!("branches/main/@{tick}")).join(whole));
    assert_eq!(at_once.unwrap_err().raw_os_error(), Some(rustix::io::Errno::NAMETOOLONG.raw_os_error()));
}
