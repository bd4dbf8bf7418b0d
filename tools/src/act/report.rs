//! What came of a request, as JSON and as lines for people.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use tickfs_store::history::{Change, Point, View};
use tickfs_store::ids::Tick;
use tickfs_store::path::RelPath;

use super::{Hold, label};
use crate::output::{counted, one_line};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// One sentence: what was done.
    pub(crate) said: String,
    /// Where the root stands now.
    pub(crate) branch: String,
    pub(crate) tick: Tick,
    /// Whether the next change becomes the next tick there; else it begins a branch.
    pub(crate) attached: bool,
    /// What was recorded before, because it was unsaved.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) recorded: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) forks: Vec<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) files: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) bytes: u64,
    /// What was left as it is, because its content was not kept or something in it is not recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) left: Vec<RelPath>,
    /// Of a dry run: what would change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) planned: Option<Vec<Planned>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Planned {
    pub(crate) change: Kind,
    pub(crate) path: RelPath,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Create,
    Modify,
    Delete,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Report {
    /// Where the root stands by the store, with what was done.
    pub(super) fn of(view: &View, held: &Hold, said: String) -> anyhow::Result<Self> {
        let Point { branch, tick } = view.cursor_point()?;
        Ok(Self {
            said,
            branch: label(view, Point { branch, tick }),
            tick,
            attached: view.cursor().is_some_and(tickfs_store::history::Cursor::is_attached),
            recorded: held.flushed.ticks.len() as u64,
            forks: held.flushed.forks.clone(),
            files: 0,
            bytes: 0,
            left: Vec::new(),
            planned: None,
            notes: held.flushed.unread.iter().map(unread).collect(),
        })
    }

    pub(crate) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", one_line(&self.said))?;
        for Planned { change, path } in self.planned.iter().flatten() {
            let mark = match change {
                Kind::Create => '+',
                Kind::Modify => '~',
                Kind::Delete => '-',
            };
            writeln!(out, "  {mark} {}", one_line(&path.to_string()))?;
        }
        if self.recorded > 0 {
            let on = self.forks.first().map(|branch| format!(", on the new branch {branch}"));
            let what = counted(self.recorded, "unsaved change");
            writeln!(out, "recorded {what} first{}", on.unwrap_or_default())?;
        }
        for path in &self.left {
            writeln!(out, "left as it is: {}", one_line(&path.to_string()))?;
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "{note}"))
    }
}

fn unread((path, why): &(RelPath, String)) -> String {
    format!(
        "{} could not be read, so that its latest content is not recorded: {why}",
        one_line(&path.to_string())
    )
}

impl Planned {
    pub(super) fn of(change: &Change) -> Self {
        let kind = match (&change.before, &change.after) {
            (None, _) => Kind::Create,
            (Some(_), None) => Kind::Delete,
            (Some(_), Some(_)) => Kind::Modify,
        };
        Self { change: kind, path: change.path.clone() }
    }
}
