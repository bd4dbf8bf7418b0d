//! What is known of a run and of its variables, apart from their values.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{Tick, UnixMillis};

/// `20261124-193455123-7f3a9c`: when it began, to the millisecond, so that names are in order; and six digits that were drawn.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    #[must_use]
    pub fn new(now: UnixMillis, random: [u8; 3]) -> Self {
        let iso = now.to_iso();
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
        let (day, rest) = iso.split_once('T').unwrap_or((&iso, ""));
        let drawn: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{}-{}-{drawn}", digits(day), digits(rest)))
    }

    /// `None` for what could not be the name of a run's directory.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        (!name.is_empty() && name.bytes().all(legal)).then(|| Self(name.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    Running,
    /// The program ended with status 0.
    Finished,
    /// It ended with another status.
    Failed,
    /// A signal ended it.
    Killed,
}

/// `run.json`, and the payload of the run's entity in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFacts {
    pub run: RunId,
    pub language: String,
    pub script: String,
    /// The tick at which the script was what ran; absent where it is not recorded as it ran.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub script_tick: Option<Tick>,
    /// The file that the events are appended to.
    pub output: String,
    pub started_at: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_at: Option<String>,
    pub status: RunStatus,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<i32>,
    /// How changes are seen: `hooks`, and what else there was.
    pub capabilities: String,
    pub variables: u64,
    /// `events_written`, `events_lost`, `events_dropped`, `buffered`, and what else was counted.
    pub counts: BTreeMap<String, u64>,
}

/// A line of `variables.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariableFacts {
    /// Its number in this run.
    pub id: u32,
    pub name: String,
    /// Unlike the name it is given only once in a run; `var_` before it makes the event's `variable_id`.
    pub key: String,
    /// The file in which it was watched.
    pub file: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub scope: Option<String>,
}

impl VariableFacts {
    #[must_use]
    pub fn variable_id(&self) -> String {
        format!("var_{}", self.key)
    }
}
