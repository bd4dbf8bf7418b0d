//! What a writer says is durable, one line each.
//!
//! Invariant: a promise stays true whatever is changed later, so that it can be checked after any number of kills.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use tickfs_store::history::Point;
use tickfs_store::ids::{BranchNo, ContentHash, Tick};
use tickfs_store::path::RelPath;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Promise {
    /// At this point the path is a file with these bytes.
    File {
        at: Point,
        path: RelPath,
        hash: ContentHash,
    },
    Directory {
        at: Point,
        path: RelPath,
    },
    /// At this point nothing has that path.
    Absent {
        at: Point,
        path: RelPath,
    },
    /// At this point `to` is what `from` was one tick before.
    Renamed {
        at: Point,
        from: RelPath,
        to: RelPath,
    },
    Branch {
        no: BranchNo,
        label: String,
    },
    /// The entity counts its changes: it has reached this one, or a later one.
    Entity {
        id: String,
        count: u64,
    },
    /// The entity is gone; no id is used twice.
    Gone {
        id: String,
    },
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tick = |at: &Point| format!("confirmed tick {} branch {}", at.tick, at.branch);
        match self {
            Self::File { at, path, hash } => write!(f, "{} path {path} hash {hash}", tick(at)),
            Self::Directory { at, path } => write!(f, "{} directory {path}", tick(at)),
            Self::Absent { at, path } => write!(f, "{} delete {path}", tick(at)),
            Self::Renamed { at, from, to } => write!(f, "{} rename {from} to {to}", tick(at)),
            Self::Branch { no, label } => write!(f, "confirmed branch {no} label {label}"),
            Self::Entity { id, count } => write!(f, "confirmed entity {id} count {count}"),
            Self::Gone { id } => write!(f, "confirmed entity {id} gone"),
        }
    }
}

impl FromStr for Promise {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let promise = match words[..] {
            ["confirmed", "tick", tick, "branch", branch, ref what @ ..] => {
                let at = Point { tick: Tick(tick.parse()?), branch: BranchNo(branch.parse()?) };
                match what {
                    ["path", path, "hash", hash] => {
                        Self::File { at, path: RelPath::new(*path)?, hash: hash.parse()? }
                    }
                    ["directory", path] => Self::Directory { at, path: RelPath::new(*path)? },
                    ["delete", path] => Self::Absent { at, path: RelPath::new(*path)? },
                    ["rename", from, "to", to] => {
                        Self::Renamed { at, from: RelPath::new(*from)?, to: RelPath::new(*to)? }
                    }
                    _ => bail!("a line promises nothing: {line:?}"),
                }
            }
            ["confirmed", "branch", no, "label", label] => {
                Self::Branch { no: BranchNo(no.parse()?), label: label.to_owned() }
            }
            ["confirmed", "entity", id, "count", count] => {
                Self::Entity { id: id.to_owned(), count: count.parse()? }
            }
            ["confirmed", "entity", id, "gone"] => Self::Gone { id: id.to_owned() },
            _ => bail!("a line promises nothing: {line:?}"),
        };
        Ok(promise)
    }
}

/// Reads the whole lines of a file. What stands behind the last newline was being said when its writer died.
pub(crate) fn read(path: &Path) -> Result<Vec<Promise>> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().filter(|line| !line.is_empty()).map(str::parse).collect()
}

#[test]
fn a_promise_reads_back_and_half_a_line_promises_nothing() {
    let at = Point { branch: BranchNo(2), tick: Tick(42) };
    let path = |text: &str| RelPath::new(text).unwrap();
    let promises = [
        Promise::File { at, path: path("src/a"), hash: ContentHash::of(b"x") },
        Promise::Directory { at, path: path("src") },
        Promise::Absent { at, path: path("src/a") },
        Promise::Renamed { at, from: path("a"), to: path("b") },
        Promise::Branch { no: BranchNo(2), label: "main-1".to_owned() },
        Promise::Entity { id: "e1".to_owned(), count: 3 },
        Promise::Gone { id: "once-1".to_owned() },
    ];
    let lines: String = promises.iter().map(|promise| format!("{promise}\n")).collect();
    assert!(lines.starts_with("confirmed tick 42 branch 2 path src/a hash "));
    let temp = tempfile::NamedTempFile::new().unwrap();
    fs::write(temp.path(), lines + "confirmed tick 43 bra").unwrap();
    assert_eq!(read(temp.path()).unwrap(), promises);
}
