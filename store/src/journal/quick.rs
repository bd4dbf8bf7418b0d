//! Reads the records that a rebuild of the index meets most, those of paths, without a general JSON parser.
//!
//! `entry::encode` spells their fields in one order and without spaces; whoever follows that order is several times faster.
//! Anything that is spelled otherwise is left to the parser.
//!
//! Invariant: what is read here is what `entry::decode` and the parser read of the same line, payload included.

use std::borrow::Cow;
use std::str::FromStr;

use super::entry::{self, Action, FileState, ItemType, Line, LineFault, NodeType, TickFact};
use crate::ids::{Address, BranchNo, ContentHash, NodeId, PackId, Rec, Seq, Tick, UnixMillis, UnixNanos};
use crate::path::RelPath;

/// Decodes one line, without its newlines; of a path's record, where it can, the payload too, which then stands in `file`
/// and not in `payload`.
pub(crate) fn decode(line: &[u8]) -> Result<Line<'_>, LineFault> {
    match entry::body_of_sound(line).and_then(path_record) {
        Some(line) => Ok(line),
        None => entry::decode(line),
    }
}

/// Whether the parser reads the same of a line, if it can be read quickly: for the fuzzer.
#[cfg(feature = "sim")]
#[doc(hidden)]
#[must_use]
pub fn reads_the_same(line: &[u8]) -> bool {
    let Some(quick) = entry::body_of_sound(line).and_then(path_record) else { return true };
    let Ok(slow) = entry::decode(line) else { return false };
    let state = slow.payload.and_then(|json| serde_json::from_str::<FileState>(json.get()).ok());
    let rest = |line: &Line<'_>| format!("{:?}", Line { file: None, payload: None, ..line.clone() });
    state == quick.file && rest(&slow) == rest(&quick)
}

/// `body`: the line before its trailer.
fn path_record(body: &[u8]) -> Option<Line<'_>> {
    let mut rest = Rest(std::str::from_utf8(body).ok()?);
    rest.skip("{\"v\":2,\"seq\":")?;
    let seq = Seq(rest.number()?);
    let more = rest.number_after(",\"more\":")?.unwrap_or(0);
    let part = rest.number_after(",\"part\":")?.unwrap_or(0);
    rest.skip(",\"ts\":\"")?;
    let ts = Cow::Borrowed(rest.text()?);
    rest.skip(",\"action\":\"")?;
    let action = Action::parse(rest.text()?)?;
    rest.skip(",\"item_type\":\"file\",\"item_id\":\"")?;
    let item_id = Some(Cow::Borrowed(rest.text()?));
    rest.skip(",\"tick\":{\"n\":")?;
    let n = Tick(rest.number()?);
    rest.skip(",\"branch\":")?;
    let branch = BranchNo(rest.number()?);
    rest.skip(",\"at\":")?;
    let at = UnixMillis(rest.number()?);
    let burst = rest.number_after(",\"burst\":")?.map(Tick);
    rest.skip("},\"payload\":")?;
    let file = Some(file_state(&mut rest)?);
    rest.0.is_empty().then_some(Line {
        v: entry::VERSION,
        seq,
        more,
        part,
        ts,
        origin_store_id: None,
        writer: None,
        writer_id: None,
        pid: None,
        action,
        item_type: ItemType::FILE,
        item_id,
        summary: None,
        tick: Some(TickFact { n, branch, at, burst, from: None, who: None }),
        payload: None,
        payload_ref: None,
        deleted: false,
        file,
    })
}

fn file_state(rest: &mut Rest<'_>) -> Option<FileState> {
    rest.skip("{\"node\":")?;
    let node = NodeId(rest.number()?);
    rest.skip(",\"dir\":")?;
    let dir = NodeId(rest.number()?);
    rest.skip(",\"path\":\"")?;
    let path = RelPath::new(rest.text()?).ok()?;
    rest.skip(",\"type\":\"")?;
    let kind = match rest.text()? {
        "file" => NodeType::File,
        "dir" => NodeType::Dir,
        "symlink" => NodeType::Symlink,
        _ => return None,
    };
    rest.skip(",\"mode\":")?;
    let mode = rest.number()?;
    rest.skip(",\"uid\":")?;
    let uid = rest.number()?;
    rest.skip(",\"gid\":")?;
    let gid = rest.number()?;
    rest.skip(",\"size\":")?;
    let size = rest.number()?;
    rest.skip(",\"mtime\":\"")?;
    let mtime = UnixNanos::from_str(rest.text()?).ok()?;
    let hash = match rest.skip(",\"hash\":\"") {
        Some(()) => Some(ContentHash::from_str(rest.text()?).ok()?),
        None => None,
    };
    let rec = match rest.skip(",\"rec\":[") {
        Some(()) => Some(rec(rest)?),
        None => None,
    };
    rest.skip("}")?;
    Some(FileState { node, dir, path, kind, mode, uid, gid, size, mtime, hash, rec, holes: Vec::new() })
}

fn rec(rest: &mut Rest<'_>) -> Option<Rec> {
    let pack = PackId(rest.number()?);
    rest.skip(",")?;
    let offset = rest.number()?;
    rest.skip(",")?;
    let len = rest.number()?;
    rest.skip("]")?;
    Some(Rec { at: Address { pack, offset }, len })
}

/// What of a line is still to be read.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn skip(&mut self, expected: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    /// A number as the encoder spells it: a leading zero, or a number too large, is somebody else's.
    fn number<N: FromStr>(&mut self) -> Option<N> {
        let len = self.0.bytes().take_while(|b| b.is_ascii_digit() || *b == b'-').count();
        let (digits, rest) = self.0.split_at(len);
        let magnitude = digits.strip_prefix('-').unwrap_or(digits);
        if magnitude.starts_with('0') && digits != "0" {
            return None;
        }
        self.0 = rest;
        digits.parse().ok()
    }

    /// `Some(None)`: the field is absent.
    fn number_after<N: FromStr>(&mut self, field: &str) -> Option<Option<N>> {
        match self.skip(field) {
            Some(()) => self.number().map(Some),
            None => Some(None),
        }
    }

    /// What stands up to the next quote, and the quote; `None` where something in it is escaped, or ought to be.
    fn text(&mut self) -> Option<&'a str> {
        let (text, rest) = self.0.split_at(memchr::memchr(b'"', self.0.as_bytes())?);
        self.0 = &rest[1..];
        text.bytes().all(|b| b >= b' ' && b != b'\\').then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::entry::{Body, Draft, Place, Stamp, Who, Writer, encode};
    use super::*;
    use crate::ids::StoreId;

    fn line_of(stamp: &Stamp<'_>, draft: &Draft) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out, stamp, draft).unwrap();
        out[1..out.len() - 1].to_vec()
    }

    /// The same as the parser reads, whatever way it was read.
    fn agree(line: &[u8]) -> bool {
        let (quick, slow) = (decode(line).unwrap(), entry::decode(line).unwrap());
        let state = |line: &Line<'_>| match (&line.file, line.payload) {
            (Some(state), _) => Some(state.clone()),
            (None, payload) => payload.map(|json| serde_json::from_str(json.get()).unwrap()),
        };
        assert_eq!(state(&quick), state(&slow));
        let was_quick = quick.file.is_some();
        let same = |line: &Line<'_>| format!("{:?}", Line { file: None, payload: None, ..line.clone() });
        assert_eq!(same(&quick), same(&slow));
        was_quick
    }

    prop_compose! {
        fn states()(
            numbers in any::<(u64, u64, u32, u32, u32, u64, i64)>(),
            name in "[ -~äß漢]{1,20}|[a-z]{1,9}",
            kind in prop::sample::select(vec![NodeType::File, NodeType::Dir, NodeType::Symlink]),
            content in prop::option::of(any::<([u8; 16], u32, u64, u32)>()),
            holes in prop::collection::vec(any::<(u64, u64)>(), 0..2),
        ) -> FileState {
            let (node, dir, mode, uid, gid, size, mtime) = numbers;
            let path = RelPath::new(name).unwrap_or_default();
            let hash = content.map(|(hash, ..)| ContentHash(hash));
            let rec = content.map(|(_, pack, offset, len)| Rec { at: Address { pack: PackId(pack), offset }, len });
            let (node, dir, mtime) = (NodeId(node), NodeId(dir), UnixNanos(mtime / 2));
            FileState { node, dir, path, kind, mode, uid, gid, size, mtime, hash, rec, holes }
        }
    }

    proptest! {
        #[test]
        fn a_record_reads_the_same_quickly_and_by_the_parser(
            state in states(),
            (seq, more, part, ts) in any::<(u64, u32, u32, u32)>(),
            (n, branch, at, burst) in any::<(u64, u32, i64, Option<u64>)>(),
            (is_first, moved, known) in any::<(bool, bool, bool)>(),
            action in prop::sample::select(Action::ALL),
        ) {
            let (writer, origin) = (Writer { writer: "w".to_owned(), writer_id: None, pid: 1 }, StoreId::new(UnixMillis(1), [1; 10]));
            let stamp = Stamp {
                seq: Seq(seq),
                more,
                part,
                ts: UnixMillis(ts.into()),
                origin: is_first.then_some(&origin),
                writer: is_first.then_some(&writer),
            };
            let from = moved.then(|| Place { dir: NodeId(3), path: state.path.clone() });
            let who = known.then(|| Who { pid: 7, comm: "vim".to_owned() });
            let tick = TickFact { n: Tick(n), branch: BranchNo(branch), at: UnixMillis(at), burst: burst.map(Tick), from, who };
            let payload = serde_json::value::to_raw_value(&state).unwrap();
            let draft = Draft {
                action,
                item_type: ItemType::FILE,
                item_id: Some(state.node.to_string()),
                summary: None,
                tick: Some(tick),
                body: Body::Payload(payload),
            };
            let was_quick = agree(&line_of(&stamp, &draft));
            let is_plain = !(is_first || moved || known) && state.holes.is_empty()
                && !state.path.to_string().contains(['"', '\\']);
            prop_assert_eq!(was_quick, is_plain);
        }
    }

    #[test]
    fn what_is_spelled_otherwise_is_left_to_the_parser() {
        let seal = |body: &str| {
            format!("{body},\"crc\":\"{:08x}\"}}", crc32fast::hash(body.as_bytes())).into_bytes()
        };
        let body = r#"{"v":2,"seq":7,"ts":"t","action":"modify","item_type":"file","item_id":"4","tick":{"n":1,"branch":1,"at":5},"payload":{"node":4,"dir":1,"path":"a","type":"file","mode":1,"uid":2,"gid":3,"size":4,"mtime":"1.000000000"}"#;
        assert!(agree(&seal(body)));
        let others = [
            (r#""size":4"#, r#""size":4,"more":1"#),
            (r#""seq":7"#, r#""seq": 7"#),
            (r#""path":"a""#, r#""path":"\u0061""#),
            (r#""path":"a""#, r#""path":{"hex":"ff"}"#),
            (r#""type":"file""#, r#""type": "file""#),
        ];
        for (from, to) in others {
            assert!(!agree(&seal(&body.replace(from, to))), "{to}");
        }
        for (from, to) in [
            (r#""seq":7"#, r#""seq":07"#),
            (r#""size":4"#, r#""size":04"#),
            (r#"{"n":1,"#, r#"{"n":99999999999999999999,"#),
        ] {
            let line = seal(&body.replace(from, to));
            assert_eq!(decode(&line).unwrap_err(), entry::decode(&line).unwrap_err(), "{to}");
        }
        let mut flipped = seal(body);
        flipped[30] ^= 1;
        assert_eq!(decode(&flipped).unwrap_err(), LineFault::Checksum);
    }
}
