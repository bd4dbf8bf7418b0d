//! Everything that a golden store can be asked, and what it answers.
//!
//! Invariant: the questions are the same whatever the store holds, so that a damaged one is asked what a sound one was.

use std::collections::BTreeMap;

use tickfs_store::history::{Point, View};
use tickfs_store::ids::{BranchNo, Tick};
use tickfs_store::journal::entry::{Action, NodeType};
use tickfs_store::path::RelPath;
use tickfs_store::{Error, Store, Version};

/// Question → answer, or the error that came instead.
pub(crate) type Answers = BTreeMap<String, Result<String, Error>>;

const BRANCHES: std::ops::RangeInclusive<u32> = 1..=3;
const TICKS: std::ops::RangeInclusive<u64> = 0..=15;
const DOCUMENT: &str = "cli_state";
const REVISIONS: std::ops::RangeInclusive<u64> = 1..=4;
/// Every path that ever was.
pub(crate) const PATHS: [&str; 8] = ["", "a", "b", "d", "d/x", "d/y", "e/x", "link"];

pub(crate) fn answers(store: &Store) -> Answers {
    let mut all = Answers::new();
    let view = match store.view() {
        Ok(view) => view,
        Err(error) => {
            all.insert("view".to_owned(), Err(error));
            return all;
        }
    };
    all.insert("branches".to_owned(), Ok(branches(&view)));
    all.insert("cursor".to_owned(), Ok(format!("{:?}", view.cursor())));
    all.insert("ticks".to_owned(), ticks(&view));
    all.insert("entities".to_owned(), entities(&view));
    let events = [Action::Note, Action::Checkpoint];
    all.insert("events".to_owned(), view.observed(&events, 1000).map(|found| format!("{found:?}")));
    for rev in REVISIONS {
        let document = view.document(DOCUMENT, rev);
        all.insert(format!("document {rev:02}"), document.map(|d| serde_json::Value::Object(d).to_string()));
    }
    for name in ["kept", "theirs"] {
        let point = view.snapshot(name).map(|snapshot| format!("{:?}", snapshot.point()));
        all.insert(format!("snapshot {name}"), point);
    }
    for branch in BRANCHES {
        for tick in TICKS {
            tree(&view, branch, tick, &mut all);
        }
    }
    for path in PATHS {
        let path_asked = RelPath::new(path).expect("a path, because it is spelled out");
        let versions = view.versions_of(&path_asked).map(|found| {
            let shown = found.iter().map(|v| format!("{}:{}", v.branch.0, v.at.0));
            shown.collect::<Vec<_>>().join(" ")
        });
        all.insert(format!("versions of {path:?}"), versions);
    }
    all
}

fn branches(view: &View) -> String {
    let shown = view.branches().listed().map(|b| {
        let spans = view.branches().chain(b.no, Tick(u64::MAX));
        let spans = spans.iter().map(|span| format!("{}-{}", span.first.0, span.last.0));
        format!("{} {} {:?} [{}]", b.no.0, b.label, b.forked_at_tick, spans.collect::<Vec<_>>().join(" "))
    });
    shown.collect::<Vec<_>>().join("; ")
}

fn ticks(view: &View) -> Result<String, Error> {
    let rows = view.ticks(Tick(1), Tick(u64::MAX >> 1), 1000)?;
    let shown = rows.iter().map(|row| format!("{} {} {}", row.n.0, row.at.0, row.action.as_str()));
    Ok(shown.collect::<Vec<_>>().join("; "))
}

fn entities(view: &View) -> Result<String, Error> {
    let rows = view.all_entities()?;
    Ok(rows.iter().map(|row| format!("{} {}", row.id, row.body)).collect::<Vec<_>>().join("; "))
}

fn tree(view: &View, branch: u32, tick: u64, all: &mut Answers) {
    let point = Point { branch: BranchNo(branch), tick: Tick(tick) };
    let name = format!("{branch}@{tick:02}");
    let tree = match view.tree(point) {
        Ok(tree) => tree,
        // That a point is not there is an answer as well.
        Err(Error::NotFound { .. }) => {
            all.insert(name, Ok("is not there".to_owned()));
            return;
        }
        Err(error) => {
            all.insert(name, Err(error));
            return;
        }
    };
    let mut walked = Vec::new();
    let walk = tree.walk(&RelPath::root(), &mut |path, _| {
        walked.push(format!("{path:?}"));
        Ok(())
    });
    all.insert(name.clone(), walk.map(|()| walked.join(" ")));
    for path in PATHS {
        let path_asked = RelPath::new(path).expect("a path, because it is spelled out");
        let answer = tree.resolve(&path_asked).and_then(|found| match found {
            None => Ok("nothing".to_owned()),
            Some(entry) if entry.version.kind == NodeType::Dir => Ok(meta(&entry.version)),
            Some(entry) => Ok(format!("{} {}", meta(&entry.version), shown(&tree.read(&entry.version)?))),
        });
        all.insert(format!("{name} {path:?}"), answer);
    }
}

fn meta(version: &Version) -> String {
    let Version { kind, size, mtime, mode, uid, gid, .. } = version;
    format!("{kind:?} {size} {mtime} {mode:o} {uid}:{gid}")
}

/// Short bytes as they are, long ones by their hash.
fn shown(bytes: &[u8]) -> String {
    match bytes.len() {
        0..40 => format!("\"{}\"", bytes.escape_ascii()),
        _ => format!("#{}", &blake3::hash(bytes).to_hex()[..16]),
    }
}

/// A line for each question.
pub(crate) fn summary(answers: &Answers) -> String {
    let line = |(question, answer): (&String, &Result<String, Error>)| match answer {
        Ok(answer) => format!("{question} = {answer}\n"),
        Err(error) => format!("{question} ! {error}\n"),
    };
    answers.iter().map(line).collect()
}

/// An answer that is no error and not the right one.
#[derive(Debug)]
#[expect(dead_code, reason = "shown where a test fails")]
pub(crate) struct Wrong {
    question: String,
    answer: String,
    right: String,
}

/// The questions that got another answer than the right one.
pub(crate) fn wrong(right: &Answers, answers: &Answers) -> Vec<Wrong> {
    let differs = |(question, answer): (&String, &Result<String, Error>)| {
        let answer = answer.as_ref().ok()?.clone();
        let right = right.get(question).and_then(|right| right.as_ref().ok()).cloned().unwrap_or_default();
        (answer != right).then(|| Wrong { question: question.clone(), answer, right })
    };
    answers.iter().filter_map(differs).collect()
}
