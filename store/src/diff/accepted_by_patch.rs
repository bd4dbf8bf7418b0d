//! What is written as a unified diff turns the old text into the new one when the real `patch` applies it.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::{Diff, Labels, unified};

/// Pieces that have confused a tool that reads or writes diffs.
const PIECES: &[&[u8]] = &[
    b"a",
    b"b",
    b"line",
    b" ",
    b"\t",
    b"\n",
    b"\n",
    b"\n",
    b"\r\n",
    b"\r",
    b"\x0b",
    b"\x0c",
    "\u{2028}".as_bytes(),
    b"\x85",
    b"\xff",
    b"\xc3",
    b"\x1b",
    b"\n+++ b/x\n",
    b"\n--- a/x\n",
    b"\n@@ -1,2 +3,4 @@\n",
    b"\n\\ No newline at end of file\n",
    b"\n\\",
    b"\n-",
    b"\n+",
    b"\ndiff --git a/x b/x\n",
    b"\nIndex: x\n",
    b"\n\n",
];

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(PIECES), 0..24).prop_map(|pieces| pieces.concat())
}

/// A text, and one that shares much with it.
fn pair() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let edit = (any::<prop::sample::Index>(), 0_usize..8, text());
    let edited = (text(), prop::collection::vec(edit, 0..4)).prop_map(|(old, edits)| {
        let mut new = old.clone();
        for (at, len, with) in edits {
            let start = at.index(new.len() + 1);
            let end = new.len().min(start + len);
            drop(new.splice(start..end, with));
        }
        (old, new)
    });
    prop_oneof![3 => edited, 1 => (text(), text())]
}

fn patch_is_here() -> bool {
    let here = Command::new("patch").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !here {
        println!("skipped: the program `patch` is not installed");
    }
    here
}

fn run_patch(dir: &Path, args: &[&str], diff: &[u8]) -> Result<(), String> {
    let mut patch = Command::new("patch");
    patch.args(args).current_dir(dir).env("LC_ALL", "C");
    patch.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = patch.spawn().unwrap();
    child.stdin.take().unwrap().write_all(diff).unwrap();
    let output = child.wait_with_output().unwrap();
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = [output.stdout, output.stderr].concat();
            Err(format!("{} said {}", diff.escape_ascii(), String::from_utf8_lossy(&said)))
        }
    }
}

fn patched(dir: &Path, old: &[u8], diff: &[u8]) -> Result<Vec<u8>, String> {
    fs::write(dir.join("old"), old).unwrap();
    run_patch(dir, &["--binary", "-s", "-p0", "-o", "new", "old"], diff)?;
    Ok(fs::read(dir.join("new")).unwrap())
}

#[test]
fn patch_accepts_every_diff_and_gives_the_new_bytes() {
    if !patch_is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let labels = Labels { old: b"a/x", new: b"b/x" };
    proptest!(ProptestConfig::with_cases(400), |((old, new) in pair(), context in 0_usize..5)| {
        match unified(Some(&old), Some(&new), &labels, context) {
            Diff::Equal => prop_assert_eq!(&old, &new),
            Diff::Binary(notice) => prop_assert!(false, "no text here holds a NUL byte: {:?}", notice),
            Diff::Text(diff) => match patched(dir.path(), &old, &diff) {
                Ok(patched) => prop_assert_eq!(patched.escape_ascii().to_string(), new.escape_ascii().to_string()),
                Err(why) => prop_assert!(false, "{}", why),
            },
        }
    });
}

/// Past the bytes that tell binary from text, a NUL byte is one like any other.
#[test]
fn patch_accepts_a_late_nul_byte() {
    if !patch_is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let old = [&b"line\n".repeat(4000)[..], b"\0a\0\nx\0"].concat();
    let new = [&b"line\n".repeat(4000)[..], b"\0b\0\nx\0"].concat();
    let diff = unified(Some(&old), Some(&new), &Labels { old: b"a/x", new: b"b/x" }, 3);
    assert_eq!(patched(dir.path(), &old, &diff.into_bytes()).unwrap(), new);
}

#[test]
fn patch_makes_and_removes_files() {
    if !patch_is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let labels = Labels { old: b"a/x", new: b"b/x" };
    run_patch(dir.path(), &["-s", "-p1"], &unified(None, Some(b"1\n2"), &labels, 3).into_bytes()).unwrap();
    assert_eq!(fs::read(dir.path().join("x")).unwrap(), b"1\n2");
    run_patch(dir.path(), &["-s", "-p1"], &unified(Some(b"1\n2"), None, &labels, 3).into_bytes()).unwrap();
    assert!(!dir.path().join("x").exists());
}

#[test]
fn patch_finds_a_file_whatever_its_name() {
    if !patch_is_here() {
        return;
    }
    let names: [&[u8]; 13] = [
        b"plain",
        b"with space",
        b" leading",
        b"trailing ",
        b"tab\there",
        b"quo\"te",
        b"back\\slash",
        b"\xff\xfe",
        "\u{e9}t\u{e9}".as_bytes(),
        b"carriage\rreturn",
        b"bell\x07",
        b"it's",
        b"new\nline",
    ];
    for name in names {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(OsStr::from_bytes(name));
        fs::write(&file, b"1\n").unwrap();
        let labels = Labels { old: &[b"a/", name].concat(), new: &[b"b/", name].concat() };
        let diff = unified(Some(b"1\n"), Some(b"2\n"), &labels, 3).into_bytes();
        run_patch(dir.path(), &["--binary", "-s", "-p1"], &diff).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"2\n", "{}", name.escape_ascii());
    }
}
