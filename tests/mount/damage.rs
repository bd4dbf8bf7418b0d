//! What cannot be read is an error at the one place that it concerns, and nothing else suffers.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use tickfs_tests::mount::{Project, can_mount, rel};

use crate::sample::{seeded_noise, shell_command};
use crate::serving::{Served, served};

const FILES: [&str; 3] = ["before.bin", "damaged.bin", "behind.bin"];
const LEN: usize = 20_000;

fn bytes(file: &str) -> Vec<u8> {
    seeded_noise(FILES.iter().position(|known| *known == file).unwrap() as u64, LEN)
}

fn project() -> Project {
    let project = Project::without_base();
    project.put_base(FILES.map(|file| (rel(file), bytes(file))).into());
    project.save("text.txt", "later\n");
    project
}

fn packs(project: &Project) -> Vec<PathBuf> {
    fs::read_dir(project.store().layout().packs()).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Where in which pack the bytes of a file stand.
fn place_of(project: &Project, file: &str) -> (PathBuf, u64) {
    let wanted = &bytes(file)[LEN / 2..LEN / 2 + 32];
    packs(project)
        .into_iter()
        .find_map(|pack| {
            let held = fs::read(&pack).unwrap();
            let at = held.windows(wanted.len()).position(|part| part == wanted)?;
            Some((pack, at as u64))
        })
        .unwrap()
}

fn errno_of<T>(done: std::io::Result<T>) -> Option<i32> {
    done.err().and_then(|error| error.raw_os_error())
}

#[test]
fn damage_is_an_io_error_of_the_one_file_and_its_reason_is_told() {
    let project = project();
    let (pack, at) = place_of(&project, "damaged.bin");
    let pack = File::options().read(true).write(true).open(pack).unwrap();
    let mut sound = [0];
    pack.read_exact_at(&mut sound, at).unwrap();
    pack.write_all_at(&[sound[0] ^ 1], at).unwrap();
    let Some(mounted) = project.mount() else { return };
    let tree = mounted.path("branches/main/@1");
    for _ in 0..2 {
        assert_eq!(errno_of(fs::read(tree.join("damaged.bin"))), Some(Errno::IO.raw_os_error()));
        assert_eq!(
            errno_of(fs::read(mounted.path("files/damaged.bin/@0.bin"))),
            Some(Errno::IO.raw_os_error())
        );
        for sound in ["before.bin", "behind.bin"] {
            assert!(fs::read(tree.join(sound)).unwrap() == bytes(sound), "{sound}");
        }
        assert_eq!(fs::metadata(tree.join("damaged.bin")).unwrap().len(), LEN as u64);
    }
    let script = "! tar -c . 2>../../../../complaints | tar -t";
    let listed = shell_command(&tree, script).output().unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(
        names.contains("damaged.bin") && names.contains("behind.bin") && names.contains("text.txt"),
        "{names}"
    );
    let complaints = fs::read_to_string(project.scratch().join("complaints")).unwrap();
    assert!(complaints.contains("damaged.bin") && complaints.contains("Input/output error"), "{complaints}");
    let errors = fs::read_to_string(mounted.path("events/errors.json")).unwrap();
    let errors: Vec<serde_json::Value> = serde_json::from_str(&errors).unwrap();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0]["summary"].as_str().unwrap().contains("packs/"), "{errors:?}");
    // What was mended is read again: an error is nothing that lasts.
    pack.write_all_at(&sound, at).unwrap();
    assert!(fs::read(tree.join("damaged.bin")).unwrap() == bytes("damaged.bin"));
}

/// Asks for a bit of everything; each answer is right, or it is EIO.
fn ask(point: &Path) -> Result<usize, String> {
    let mut failed = 0;
    let mut right = |what: &str, answer: std::io::Result<bool>| match answer {
        Ok(true) => Ok(()),
        Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
            failed += 1;
            Ok(())
        }
        wrong => Err(format!("{what}: {wrong:?}")),
    };
    for tree in ["branches/main/@0", "branches/main/@1", "branches/main/@HEAD"] {
        for file in FILES {
            let path = point.join(tree).join(file);
            right(file, fs::read(&path).map(|read| read == bytes(file)))?;
            right("stat", fs::metadata(&path).map(|meta| meta.len() == LEN as u64))?;
        }
        let names = fs::read_dir(point.join(tree)).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        right("names", names.map(|names| names.len() >= FILES.len()))?;
    }
    for text in
        ["ticks/1/diff", "ticks/1/tick.json", "branches/main/log", "branches/main/branch.json", "now.json"]
    {
        right(text, fs::read(point.join(text)).map(|text| !text.is_empty()))?;
    }
    right("events", fs::read(point.join("events/events.jsonl")).map(|text| !text.is_empty()))?;
    let versions =
        fs::read_dir(point.join("files/text.txt")).and_then(|names| names.collect::<Result<Vec<_>, _>>());
    right("versions", versions.map(|names| names.len() > 1))?;
    Ok(failed)
}

/// In a process of its own: what happens to the store must not end it. Gives how many answers were EIO meanwhile.
#[track_caller]
fn survive(spoil: impl FnOnce(&Project), mend: impl FnOnce(&Project)) -> Option<usize> {
    if !can_mount() {
        return None;
    }
    let project = project();
    let point = project.scratch().join("history");
    fs::create_dir(&point).unwrap();
    let mut process = Served::start(&mut served(project.store(), &point), &point);
    // A little is known before it happens.
    assert_eq!(fs::read(point.join("branches/main/@1/text.txt")).unwrap(), b"later\n");
    spoil(&project);
    let failed = ask(&point);
    assert!(process.is_alive(), "{failed:?}");
    mend(&project);
    if ask(&point) != Ok(0) {
        // SQLite keeps what it read, and may have read what was wrong.
        assert!(process.stop());
        process = Served::start(&mut served(project.store(), &point), &point);
    }
    assert_eq!(ask(&point), Ok(0), "after it was mended");
    assert!(process.stop());
    Some(failed.unwrap())
}

fn away(dir: &Path) -> PathBuf {
    dir.with_extension("away")
}

#[test]
fn a_store_whose_journal_is_gone_is_survived() {
    let journal = |project: &Project| project.store().layout().journal();
    let failed = survive(
        |project| fs::rename(journal(project), away(&journal(project))).unwrap(),
        |project| fs::rename(away(&journal(project)), journal(project)).unwrap(),
    );
    assert!(failed.is_none_or(|failed| failed > 0), "a missing journal reads as an empty one");
}

/// What is gone altogether may be open still: then there is nothing to notice.
#[test]
fn a_store_that_is_gone_is_survived() {
    let store = |project: &Project| project.store().layout().dir().to_path_buf();
    survive(
        |project| fs::rename(store(project), away(&store(project))).unwrap(),
        |project| fs::rename(away(&store(project)), store(project)).unwrap(),
    );
}

/// Spoils files where they stand, and puts back what they held.
#[track_caller]
fn spoiled(files: impl Fn(&Project) -> Vec<PathBuf>, spoil: impl Fn(&File, usize)) {
    let kept = std::cell::RefCell::new(Vec::new());
    let open = |path: &Path| File::options().write(true).open(path).unwrap();
    let failed = survive(
        |project| {
            for path in files(project) {
                let bytes = fs::read(&path).unwrap();
                spoil(&open(&path), bytes.len());
                kept.borrow_mut().push((path, bytes));
            }
        },
        |_| kept.borrow().iter().for_each(|(path, bytes)| open(path).write_all_at(bytes, 0).unwrap()),
    );
    assert!(failed.is_none_or(|failed| failed > 0), "nobody noticed");
}

#[test]
fn a_store_whose_packs_are_emptied_is_survived() {
    spoiled(packs, |pack, _| pack.set_len(0).unwrap());
}

#[test]
fn a_store_whose_packs_are_overwritten_is_survived() {
    spoiled(packs, |pack, len| pack.write_all_at(&vec![0x5a; len], 0).unwrap());
}

#[test]
fn a_store_whose_index_is_overwritten_is_survived() {
    let index = |project: &Project| {
        let index = project.store().layout().index();
        let log = index.with_extension("db-wal");
        vec![index, log]
    };
    spoiled(index, |file, len| file.write_all_at(&vec![0x5a; len], 0).unwrap());
}
