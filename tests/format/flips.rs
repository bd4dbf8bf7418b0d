//! One flipped bit anywhere in a store: no answer is wrong, and the doctor names the file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use tickfs_store::doctor::{Depth, Surroundings, examine};

use crate::answers::{Answers, Wrong, answers, wrong};
use crate::files::{V1, bytes_of, dir, disk_of, disk_with, index_name, open};

static RIGHT: LazyLock<Answers> = LazyLock::new(|| answers(&open(&disk_of(&V1)).unwrap()));

/// What one flipped bit led to.
#[derive(Debug, Default)]
struct Outcome {
    wrong: Vec<Wrong>,
    /// What the doctor said instead of naming the file.
    unnoticed: Option<String>,
    /// The doctor could not end its round.
    gave_up: bool,
}

fn flip(path: &Path, bit: usize) -> Outcome {
    let mut bytes = bytes_of(path).to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    let disk = disk_with(path, bytes);
    // What does not open says why at every command.
    let Ok(store) = open(&disk) else { return Outcome::default() };
    let wrong = wrong(&RIGHT, &answers(&store));
    let depth = Depth { scrub: true, verify_journal: true };
    let examined = examine(&store, &Surroundings::default(), depth);
    let gave_up = examined.is_err();
    let unnoticed = match examined {
        Err(error) => Some(format!("the doctor gave up: {error}")),
        Ok(report) => {
            let place = if path == index_name() { store.layout().index() } else { dir().join(path) };
            let named = report.findings.iter().any(|finding| finding.path.as_ref() == Some(&place));
            (!named).then(|| format!("the doctor names {:?}", report.findings))
        }
    };
    Outcome { wrong, unnoticed, gave_up }
}

/// Flips a bit in every `step`-th byte of the files that are chosen, and gives each outcome that is not as it should be.
fn flip_all(chosen: impl Fn(&str) -> bool, step: usize) -> BTreeMap<(String, usize), Outcome> {
    let cases = std::env::var("TICKFS_CASES").ok().and_then(|text| text.parse::<usize>().ok());
    let step = (step / cases.unwrap_or(1)).max(1);
    let mut places = Vec::new();
    for (path, bytes) in V1.iter().filter(|(path, _)| chosen(&path.to_string_lossy())) {
        // Another bit of each byte, so that all eight come up.
        places.extend(
            (0..bytes.len()).step_by(step).map(|byte| (path, byte * 8 + (byte / step * 5 + byte) % 8)),
        );
    }
    let half = places.len().div_ceil(2).max(1);
    let bad = |places: &[(&std::path::PathBuf, usize)]| -> Vec<((String, usize), Outcome)> {
        let outcomes =
            places.iter().map(|(path, bit)| ((path.to_string_lossy().into_owned(), *bit), flip(path, *bit)));
        outcomes.filter(|(_, o)| !o.wrong.is_empty() || o.unnoticed.is_some()).collect()
    };
    std::thread::scope(|scope| {
        let parts: Vec<_> = places.chunks(half).map(|part| scope.spawn(|| bad(part))).collect();
        parts.into_iter().flat_map(|part| part.join().expect("no flipped bit makes it panic")).collect()
    })
}

fn is_journal(name: &str) -> bool {
    name.starts_with("journal/") && name != "journal/HEAD.json"
}

#[test]
fn a_flipped_bit_in_the_journal_is_named_and_changes_no_answer() {
    let bad = flip_all(is_journal, 97);
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn a_flipped_bit_in_a_pack_is_named_and_changes_no_answer() {
    let bad = flip_all(|name| name.starts_with("packs/"), 29);
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn a_flipped_bit_in_the_index_is_named_and_changes_no_answer() {
    let bad = flip_all(|name| Path::new(name) == index_name(), 397);
    assert!(bad.is_empty(), "{bad:#?}");
}

/// They hold no history: what they say may be lost or wrong, but no answer about history is.
#[test]
fn a_flipped_bit_in_a_small_file_changes_no_answer() {
    let small = ["FORMAT", "SCOPE", "LOCK", "index.db.sum", "journal/HEAD.json"];
    let mut bad = flip_all(|name| small.contains(&name), 3);
    bad.retain(|_, outcome| !outcome.wrong.is_empty() || outcome.gave_up);
    assert!(bad.is_empty(), "{bad:#?}");
}
