//! One record of the journal: its spelling on disk, and back.
//!
//! A record is one line of JSON between two newlines, closed by a checksum over all that stands before it
//! (format.md, "Record"). Encode and decode stand side by side; a line that does not decode says why.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ids::{BranchNo, ContentHash, NodeId, Rec, Seq, StoreId, Tick, UnixMillis, UnixNanos};
use crate::path::RelPath;

/// Version of the record format.
pub const VERSION: u8 = 2;
/// A longer payload is kept in the packs, and the record names it.
pub const INLINE_PAYLOAD_MAX: usize = 64 * 1024;
/// A longer line is refused before anything is appended.
pub const LINE_MAX: usize = 256 * 1024;
/// `,"crc":"xxxxxxxx"}`
const TRAILER_LEN: usize = 18;

macro_rules! actions {
    ($($variant:ident = $text:literal: $doc:literal,)*) => {
        /// What happened. The set is closed: an unknown action is refused at write, skipped and counted at read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Action {
            $(#[doc = $doc] #[serde(rename = $text)] $variant,)*
        }

        impl Action {
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

actions! {
    Base = "base": "A path as it was first seen; belongs to tick 0.",
    Create = "create": "A path or an entity came to be.",
    Modify = "modify": "A path's content changed.",
    Delete = "delete": "A path or an entity is gone: a tombstone.",
    Rename = "rename": "A path moved, with all that is below it.",
    Mode = "mode": "Only the metadata of a path changed.",
    Symlink = "symlink": "A symlink was made or changed.",
    Mkdir = "mkdir": "A directory came to be.",
    Rmdir = "rmdir": "A directory is gone.",
    Skipped = "skipped": "A path changed and its content was not kept.",
    Update = "update": "An entity's new state.",
    Delta = "delta": "A state document's next revision, as a difference.",
    Checkpoint = "checkpoint": "Names a verified copy of the live state.",
    Adjudicate = "adjudicate": "Declares a torn range of a segment dead.",
    Gap = "gap": "Something may have happened that was not recorded.",
    SessionStart = "session_start": "A recorder or a mount began.",
    SessionEnd = "session_end": "A recorder or a mount ended.",
    RunStarted = "run_started": "A traced program began.",
    RunFinished = "run_finished": "A traced program ended.",
    Executed = "executed": "A command ran.",
    Failed = "failed": "A command or a part of tickfs failed.",
    Imported = "imported": "An event of another store.",
    Note = "note": "A line for people.",
}

impl Action {
    /// Observability says what happened and holds no state: a rebuild of state ignores it.
    #[must_use]
    pub fn is_observability(self) -> bool {
        use Action as A;
        matches!(
            self,
            A::Adjudicate
                | A::Checkpoint
                | A::Gap
                | A::SessionStart
                | A::SessionEnd
                | A::RunStarted
                | A::RunFinished
                | A::Executed
                | A::Failed
                | A::Imported
                | A::Note
        )
    }
}

/// The kind of an entity: `file`, `branch`, `cursor`, `snapshot`, `state` …, and those an older store brought along.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ItemType(Cow<'static, str>);

impl ItemType {
    /// What a path names: a file, a directory or a symlink.
    pub const FILE: Self = Self(Cow::Borrowed("file"));
    pub const BRANCH: Self = Self(Cow::Borrowed("branch"));
    pub const CURSOR: Self = Self(Cow::Borrowed("cursor"));
    pub const SNAPSHOT: Self = Self(Cow::Borrowed("snapshot"));
    pub const STATE: Self = Self(Cow::Borrowed("state"));
    pub const HANDOFF: Self = Self(Cow::Borrowed("handoff"));
    pub const RUN: Self = Self(Cow::Borrowed("run"));
    pub const JOURNAL: Self = Self(Cow::Borrowed("journal"));
    pub const COMMAND: Self = Self(Cow::Borrowed("command"));
    pub const RECORDER: Self = Self(Cow::Borrowed("recorder"));

    /// The kinds that tickfs writes itself; reading one allocates nothing.
    const KNOWN: &[Self] = &[
        Self::FILE,
        Self::STATE,
        Self::BRANCH,
        Self::CURSOR,
        Self::SNAPSHOT,
        Self::HANDOFF,
        Self::RUN,
        Self::JOURNAL,
        Self::COMMAND,
        Self::RECORDER,
    ];

    /// Lower-case letters, digits, `_` and `-`, at most 32.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(known) = Self::KNOWN.iter().find(|known| known.as_str() == text) {
            return Some(known.clone());
        }
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        (!text.is_empty() && text.len() <= 32 && text.bytes().all(legal))
            .then(|| Self(Cow::Owned(text.to_owned())))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ItemType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ItemType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ItemType {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("no legal item_type"))
    }
}

/// Who changed a path, where the kernel tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    pub pid: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comm: String,
}

/// Where a node hangs: the directory's node, and the whole path as it reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub dir: NodeId,
    pub path: RelPath,
}

/// The facts of one tick, beside the entity's state. `action` tells its kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickFact {
    pub n: Tick,
    pub branch: BranchNo,
    /// `max(previous at, clock)`: finds a tick by time.
    pub at: UnixMillis,
    /// The first tick of the burst, where more than one tick was committed together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<Tick>,
    /// Where the path was before: of a rename, and of a tombstone, which has no payload to say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Place>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<Who>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeType {
    File,
    Dir,
    Symlink,
}

/// The whole state of what a path names: the payload of a `file` record. A symlink's content is its target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    pub node: NodeId,
    /// The node of the directory that holds it.
    pub dir: NodeId,
    pub path: RelPath,
    #[serde(rename = "type")]
    pub kind: NodeType,
    /// The whole `st_mode`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: UnixNanos,
    /// Absent for a directory, and where the content was not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<ContentHash>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rec: Option<Rec>,
    /// Ranges `[offset, length]` that the filesystem held as holes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<(u64, u64)>,
}

/// A payload that is too long to stand in its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadRef {
    pub hash: ContentHash,
    pub rec: Rec,
    pub len: u64,
}

/// Who writes: stands in the first record of a segment and wherever it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    pub writer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer_id: Option<String>,
    pub pid: u32,
}

/// What a record is about to say; the journal adds `seq`, `ts` and the checksum.
#[derive(Debug, Clone)]
pub struct Draft {
    pub action: Action,
    pub item_type: ItemType,
    pub item_id: Option<String>,
    pub summary: Option<String>,
    pub tick: Option<TickFact>,
    pub body: Body,
}

#[derive(Debug, Clone)]
pub enum Body {
    None,
    Payload(Box<RawValue>),
    PayloadRef(PayloadRef),
    /// A tombstone.
    Deleted,
}

/// A decoded line. It borrows the text it was read from.
#[derive(Debug, Clone, Deserialize)]
pub struct Line<'a> {
    pub v: u8,
    pub seq: Seq,
    /// How many records of the same mutation follow.
    #[serde(default)]
    pub more: u32,
    /// How many records of the same mutation came before.
    #[serde(default)]
    pub part: u32,
    #[serde(borrow)]
    pub ts: Cow<'a, str>,
    #[serde(default)]
    pub origin_store_id: Option<StoreId>,
    #[serde(default, borrow, deserialize_with = "borrowed_text")]
    pub writer: Option<Cow<'a, str>>,
    #[serde(default, borrow, deserialize_with = "borrowed_text")]
    pub writer_id: Option<Cow<'a, str>>,
    #[serde(default)]
    pub pid: Option<u32>,
    pub action: Action,
    pub item_type: ItemType,
    #[serde(default, borrow, deserialize_with = "borrowed_text")]
    pub item_id: Option<Cow<'a, str>>,
    #[serde(default, borrow, deserialize_with = "borrowed_text")]
    pub summary: Option<Cow<'a, str>>,
    #[serde(default)]
    pub tick: Option<TickFact>,
    #[serde(default, borrow)]
    pub payload: Option<&'a RawValue>,
    #[serde(default)]
    pub payload_ref: Option<PayloadRef>,
    #[serde(default)]
    pub deleted: bool,
    /// The payload of a path's record, where the line was decoded by `quick`.
    #[serde(skip)]
    pub(crate) file: Option<FileState>,
}

/// A string that borrows the line wherever it holds no escape; serde does that for a bare `Cow` field alone.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn borrowed_text<'de: 'a, 'a, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Cow<'a, str>>, D::Error> {
    Ok(Option::<Text<'a>>::deserialize(d)?.map(|Text(text)| text))
}

/// Why a line is skipped. Each is counted under its own name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    #[error("not JSON")]
    NotJson,
    #[error("the checksum is wrong or missing")]
    Checksum,
    #[error("no seq: a stranger's line")]
    Stray,
    #[error("version {0} is not known")]
    Version(u64),
    #[error("the action {0:?} is not known")]
    UnknownAction(String),
    #[error("not a record: {0}")]
    Schema(String),
}

impl LineFault {
    /// The name under which it is counted.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::Checksum => "checksum",
            Self::Stray => "stray",
            Self::Version(_) => "version",
            Self::UnknownAction(_) => "unknown_action",
            Self::Schema(_) => "schema",
        }
    }
}

/// The spelling of a record without its trailer. Field order is the order on disk.
#[derive(Serialize)]
struct Spelling<'a> {
    v: u8,
    seq: Seq,
    #[serde(skip_serializing_if = "is_zero")]
    more: u32,
    #[serde(skip_serializing_if = "is_zero")]
    part: u32,
    ts: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin_store_id: Option<&'a StoreId>,
    #[serde(flatten)]
    writer: Option<&'a Writer>,
    action: Action,
    item_type: &'a ItemType,
    #[serde(skip_serializing_if = "Option::is_none")]
    item_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tick: Option<&'a TickFact>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_ref: Option<&'a PayloadRef>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands the field by reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// What stands in a record beside its draft.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    pub seq: Seq,
    /// How many records of the same mutation follow.
    pub more: u32,
    /// How many records of the same mutation came before.
    pub part: u32,
    pub ts: UnixMillis,
    /// In the first record of a segment.
    pub origin: Option<&'a StoreId>,
    /// In the first record of a segment and where it changes.
    pub writer: Option<&'a Writer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record of {len} bytes is longer than {LINE_MAX}; nothing was written")]
pub struct LineTooLong {
    pub len: usize,
}

/// Appends `"\n" + JSON + "\n"` to `out`; on error `out` is as it was.
pub fn encode(out: &mut Vec<u8>, stamp: &Stamp<'_>, draft: &Draft) -> Result<(), LineTooLong> {
    let start = out.len();
    let (payload, payload_ref, deleted) = match &draft.body {
        Body::None => (None, None, false),
        Body::Payload(json) => (Some(&**json), None, false),
        Body::PayloadRef(reference) => (None, Some(reference), false),
        Body::Deleted => (None, None, true),
    };
    out.push(b'\n');
    let spelling = Spelling {
        v: VERSION,
        seq: stamp.seq,
        more: stamp.more,
        part: stamp.part,
        ts: &stamp.ts.to_iso(),
        origin_store_id: stamp.origin,
        writer: stamp.writer,
        action: draft.action,
        item_type: &draft.item_type,
        item_id: draft.item_id.as_deref(),
        summary: draft.summary.as_deref(),
        tick: draft.tick.as_ref(),
        payload,
        payload_ref,
        deleted,
    };
    serde_json::to_writer(&mut *out, &spelling).expect("a record holds only strings, numbers and JSON");
    out.pop();
    let trailer = trailer_of(&out[start + 1..]);
    out.extend_from_slice(&trailer);
    out.push(b'\n');
    let len = out.len() - start;
    if len > LINE_MAX {
        out.truncate(start);
        return Err(LineTooLong { len });
    }
    Ok(())
}

/// Decodes one line, without its newlines.
pub fn decode(line: &[u8]) -> Result<Line<'_>, LineFault> {
    if !is_sound(line) {
        return Err(why_not_sound(line));
    }
    decode_sound(line)
}

/// Decodes a line whose checksum is known to be right.
pub(crate) fn decode_sound(line: &[u8]) -> Result<Line<'_>, LineFault> {
    let text = std::str::from_utf8(line).map_err(|_not_utf8| LineFault::NotJson)?;
    let decoded: Line<'_> = serde_json::from_str(text).map_err(|e| schema_fault(text, &e))?;
    if decoded.v != VERSION {
        return Err(LineFault::Version(decoded.v.into()));
    }
    Ok(decoded)
}

/// Whether the line ends in the checksum of what stands before it.
fn is_sound(line: &[u8]) -> bool {
    body_of_sound(line).is_some()
}

/// What stands before the checksum, if that is right.
pub(crate) fn body_of_sound(line: &[u8]) -> Option<&[u8]> {
    line.split_last_chunk::<TRAILER_LEN>()
        .filter(|(body, trailer)| **trailer == trailer_of(body))
        .map(|(body, _)| body)
}

/// Whether the line ends in something spelled like a checksum, right or wrong.
pub(crate) fn has_trailer(line: &[u8]) -> bool {
    line.split_last_chunk::<TRAILER_LEN>()
        .is_some_and(|(_, trailer)| trailer.starts_with(b",\"crc\":\"") && trailer.ends_with(b"\"}"))
}

fn trailer_of(body: &[u8]) -> [u8; TRAILER_LEN] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let crc = crc32fast::hash(body);
    let mut trailer = *b",\"crc\":\"xxxxxxxx\"}";
    for (place, digit) in trailer[8..16].iter_mut().enumerate() {
        *digit = HEX[(crc >> (28 - 4 * place) & 15) as usize];
    }
    trailer
}

/// What the beginning of a line shows of its place, sound or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Legible {
    pub(crate) seq: Seq,
    pub(crate) more: u32,
    pub(crate) part: u32,
}

/// `None` where the line is not spelled as ours.
pub(crate) fn legible(line: &[u8]) -> Option<Legible> {
    let (seq, rest) = leading_number(line.strip_prefix(b"{\"v\":2,\"seq\":")?)?;
    let (more, rest) = rest.strip_prefix(b",\"more\":").and_then(leading_number).unwrap_or((0, rest));
    let (part, _) = rest.strip_prefix(b",\"part\":").and_then(leading_number).unwrap_or((0, rest));
    let short = |number| u32::try_from(number).unwrap_or(u32::MAX);
    Some(Legible { seq: Seq(seq), more: short(more), part: short(part) })
}

fn leading_number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (number, rest) = text.split_at(digits);
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, rest))
}

fn why_not_sound(line: &[u8]) -> LineFault {
    match serde_json::from_slice::<serde_json::Value>(line) {
        Err(_) => LineFault::NotJson,
        Ok(value) if value.get("seq").is_none_or(serde_json::Value::is_null) => LineFault::Stray,
        Ok(_) => LineFault::Checksum,
    }
}

fn schema_fault(text: &str, error: &serde_json::Error) -> LineFault {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else {
        return LineFault::NotJson;
    };
    match value.get("action").and_then(serde_json::Value::as_str) {
        Some(action) if Action::parse(action).is_none() => LineFault::UnknownAction(action.to_owned()),
        _ => LineFault::Schema(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        let payload = RawValue::from_string(r#"{"name":"kept \"exactly\"","n":1.50}"#.to_owned()).unwrap();
        Draft {
            action: Action::Update,
            item_type: ItemType::STATE,
            item_id: Some("cli_state".to_owned()),
            summary: None,
            tick: None,
            body: Body::Payload(payload),
        }
    }

    fn stamp(seq: u64) -> Stamp<'static> {
        Stamp { seq: Seq(seq), more: 0, part: 0, ts: UnixMillis(7), origin: None, writer: None }
    }

    #[test]
    fn a_record_reads_back_and_stands_between_newlines() {
        let mut out = Vec::new();
        encode(&mut out, &stamp(3), &draft()).unwrap();
        assert_eq!((out[0], out[out.len() - 1]), (b'\n', b'\n'));
        let line = decode(&out[1..out.len() - 1]).unwrap();
        assert_eq!(
            (line.seq, line.action, line.item_id.as_deref()),
            (Seq(3), Action::Update, Some("cli_state"))
        );
        assert_eq!(line.payload.unwrap().get(), r#"{"name":"kept \"exactly\"","n":1.50}"#);
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let mut out = Vec::new();
        encode(&mut out, &stamp(3), &draft()).unwrap();
        for bit in 0..(out.len() - 2) * 8 {
            let mut line = out[1..out.len() - 1].to_vec();
            line[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&line).is_err(), "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn faults_have_names() {
        assert_eq!(decode(b"garbage").unwrap_err(), LineFault::NotJson);
        assert_eq!(decode(b"{}").unwrap_err(), LineFault::Stray);
        assert_eq!(decode(br#"{"seq":null,"payload":{}}"#).unwrap_err(), LineFault::Stray);
        assert_eq!(decode(br#"{"v":2,"seq":"x"}"#).unwrap_err(), LineFault::Checksum);
        let mut sealed = br#"{"v":2,"seq":1,"ts":"x","action":"explode","item_type":"file""#.to_vec();
        let crc = crc32fast::hash(&sealed);
        sealed.extend_from_slice(format!(",\"crc\":\"{crc:08x}\"}}").as_bytes());
        assert_eq!(decode(&sealed).unwrap_err(), LineFault::UnknownAction("explode".into()));
    }

    #[test]
    fn a_line_that_is_too_long_leaves_nothing() {
        let mut out = b"before".to_vec();
        let long = Draft { summary: Some("x".repeat(LINE_MAX)), ..draft() };
        assert!(encode(&mut out, &stamp(1), &long).is_err());
        assert_eq!(out, b"before");
    }
}
