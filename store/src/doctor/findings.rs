//! What the doctor found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::ids::Seq;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Note,
    /// Something to do, and nothing lost.
    Warning,
    /// Something is lost, or an answer may be missing.
    Damage,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// A word for programs: `bad_line`, `missing_content` …
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    pub what: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What holds, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Facts {
    pub records: u64,
    /// Lines that were skipped, by why.
    pub skipped: BTreeMap<String, u64>,
    pub duplicates: u64,
    pub missing: u64,
    pub adjudicated_ranges: u64,
    /// A tail that waits for the next writer to declare it dead.
    pub torn_tail: bool,
    pub last_seq: Seq,
    pub applied_seq: Option<Seq>,
    pub sealed_segments: u64,
    pub checkpoints: u64,
    pub versions: u64,
    pub packs_examined: bool,
    pub index_compared: bool,
    pub free_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    pub facts: Facts,
    pub findings: Vec<Finding>,
}

impl Report {
    /// Nothing is lost and nothing wants doing.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.findings.iter().all(|f| f.severity == Severity::Note)
    }

    #[must_use]
    pub fn has_damage(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Damage)
    }

    /// Findings of one kind.
    pub fn of_kind<'r>(&'r self, kind: &'r str) -> impl Iterator<Item = &'r Finding> {
        self.findings.iter().filter(move |f| f.kind == kind)
    }

    pub(super) fn add(
        &mut self,
        severity: Severity,
        kind: &'static str,
        what: impl Into<String>,
    ) -> &mut Finding {
        let what = what.into();
        self.findings.push(Finding { severity, kind, path: None, offset: None, what, next: None });
        self.findings.last_mut().expect("one was just pushed")
    }
}

impl Finding {
    pub(super) fn at(&mut self, path: &Path, offset: Option<u64>) -> &mut Self {
        self.path = Some(path.to_path_buf());
        self.offset = offset;
        self
    }

    pub(super) fn next(&mut self, what_to_do: impl Into<String>) -> &mut Self {
        self.next = Some(what_to_do.into());
        self
    }
}
