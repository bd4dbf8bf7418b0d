//! One event, as JSON, as a row of CSV and as a line for people.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tickfs_store::ids::{Seq, StoreId};
use tickfs_store::journal::Entry;
use tickfs_store::journal::entry::{Action, ItemType, PayloadRef, TickFact, Writer};

use crate::output::one_line;

/// A record with what the journal says once for many.
#[derive(Debug, Serialize)]
pub(super) struct Event {
    seq: Seq,
    ts: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin_store_id: Option<StoreId>,
    #[serde(flatten)]
    writer: Option<Writer>,
    action: Action,
    item_type: ItemType,
    #[serde(skip_serializing_if = "Option::is_none")]
    item_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tick: Option<TickFact>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_ref: Option<PayloadRef>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
}

/// What the payload of a `command` record says of one run.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Command {
    command: String,
    status: String,
    ack_latency_ms: Option<serde_json::Number>,
    final_latency_ms: Option<serde_json::Number>,
    error: serde_json::Value,
    args: serde_json::Value,
}

/// The columns of `--csv`. They are promised: a new one comes last.
pub(super) const COLUMNS: [&str; 12] = [
    "time",
    "command",
    "status",
    "ack_latency_ms",
    "final_latency_ms",
    "error",
    "args",
    "seq",
    "action",
    "item_type",
    "item_id",
    "summary",
];

impl Event {
    pub(super) fn of(entry: &Entry<'_>) -> Self {
        let line = &entry.line;
        let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
        Self {
            seq: line.seq,
            ts: line.ts.clone().into_owned(),
            origin_store_id: entry.origin.cloned(),
            writer: entry.writer.cloned(),
            action: line.action,
            item_type: line.item_type.clone(),
            item_id: text(&line.item_id),
            summary: text(&line.summary),
            tick: line.tick.clone(),
            payload: line.payload.map(ToOwned::to_owned),
            payload_ref: line.payload_ref.clone(),
            deleted: line.deleted,
        }
    }

    pub(super) fn cells(&self) -> [String; 12] {
        let said = self.command();
        let status = match (said.status.is_empty(), self.action) {
            (false, _) => said.status,
            (true, Action::Failed) => "error".to_owned(),
            (true, _) => "ok".to_owned(),
        };
        let number = |n: Option<serde_json::Number>| n.map_or_else(String::new, |n| n.to_string());
        [
            self.ts.clone(),
            said.command,
            status,
            number(said.ack_latency_ms),
            number(said.final_latency_ms),
            text_of(&said.error),
            text_of(&said.args),
            self.seq.to_string(),
            self.action.as_str().to_owned(),
            self.item_type.as_str().to_owned(),
            self.item_id.clone().unwrap_or_default(),
            self.summary.clone().unwrap_or_default(),
        ]
    }

    pub(super) fn columns(&self) -> [String; 5] {
        let about = [self.path(), self.summary.clone(), Some(self.command().command)];
        let about = about.into_iter().flatten().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ");
        [
            self.seq.to_string(),
            self.ts.clone(),
            self.action.as_str().to_owned(),
            format!("{} {}", self.item_type, one_line(self.item_id.as_deref().unwrap_or("-"))),
            one_line(&about),
        ]
    }

    fn command(&self) -> Command {
        let is_command = self.item_type == ItemType::COMMAND;
        let payload = self.payload.as_ref().filter(|_| is_command);
        payload.and_then(|json| serde_json::from_str(json.get()).ok()).unwrap_or_default()
    }

    /// The path that a tick changed.
    fn path(&self) -> Option<String> {
        let tick = self.tick.as_ref()?;
        let now = self.payload.as_ref().and_then(|json| {
            let payload: serde_json::Value = serde_json::from_str(json.get()).ok()?;
            Some(payload.get("path")?.as_str()?.to_owned())
        });
        let was = tick.from.as_ref().map(|place| place.path.to_string());
        Some(match (was, now) {
            (Some(was), Some(now)) => format!("{was} -> {now}"),
            (was, now) => was.or(now)?,
        })
    }
}

/// A string as it is; anything else as JSON; nothing for null.
fn text_of(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A row as RFC 4180 has it: CRLF ends it, and a cell is quoted where it must be.
pub(super) fn write_csv<S: AsRef<str>>(out: &mut dyn Write, cells: &[S]) -> io::Result<()> {
    for (place, cell) in cells.iter().map(AsRef::as_ref).enumerate() {
        let comma = if place > 0 { "," } else { "" };
        match cell.contains([',', '"', '\r', '\n']) {
            true => write!(out, "{comma}\"{}\"", cell.replace('"', "\"\""))?,
            false => write!(out, "{comma}{cell}")?,
        }
    }
    out.write_all(b"\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_quoted_where_it_must_be() {
        let mut out = Vec::new();
        write_csv(&mut out, &["plain", "", "a,b", "say \"no\"", "two\nlines"]).unwrap();
        assert_eq!(out, b"plain,,\"a,b\",\"say \"\"no\"\"\",\"two\nlines\"\r\n");
    }
}
