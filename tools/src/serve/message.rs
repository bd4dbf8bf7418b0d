//! What is said over the socket: one greeting, one request, and replies until the last one, each a line of JSON.
//!
//! Invariants:
//!   * The greeting names the version; who speaks another one says so and leaves.
//!   * A line has a bound. What is longer, or no JSON, ends the conversation and nothing else.

use std::ffi::OsString;
use std::io::{self, BufRead, Read as _, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tickfs_store::path::{NameBytes, OwnedNameBytes, RelPath};
use tickfs_store::runs::RunFacts;

use super::status::Status;
use crate::act::{Act, Report};
use crate::error::Failure;

/// The version of what is said here.
pub(crate) const VERSION: u32 = 1;
/// A request may be so long: it names paths, and no contents.
pub(crate) const REQUEST_MAX: u64 = 1 << 20;
/// An answer may name every path of a root.
pub(crate) const REPLY_MAX: u64 = 256 << 20;

/// A path from `/`, of whatever bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Absolute(pub(crate) PathBuf);

impl Serialize for Absolute {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        NameBytes(self.0.as_os_str().as_bytes()).serialize(s)
    }
}

impl<'de> Deserialize<'de> for Absolute {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let path = PathBuf::from(OsString::from_vec(OwnedNameBytes::deserialize(d)?.0));
        match path.is_absolute() {
            true => Ok(Self(path)),
            false => Err(D::Error::custom(format!("{} is no path from /", path.display()))),
        }
    }
}

/// What the serving process says to whoever connects.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Greeting {
    /// The version of the protocol.
    pub(crate) tickfs: u32,
    pub(crate) pid: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(crate) enum Request {
    /// What is recorded and shown.
    Status,
    /// Record a file, sampled at an interval in seconds, or the whole root.
    Record {
        file: Option<RelPath>,
        interval: Option<f64>,
        threads: Option<u8>,
    },
    /// End the recording of a file, or of the root.
    Forget {
        file: Option<RelPath>,
    },
    Pause,
    Resume,
    SetThreads {
        count: u8,
    },
    Mount {
        /// The first that can be used is.
        candidates: Vec<Absolute>,
        /// Show the history of this file alone.
        file: Option<RelPath>,
        allow_other: bool,
        /// How many ticks are listed; `None`: all.
        list_ticks: Option<u64>,
    },
    /// Take away mounts: the one at a place, those of one file, or all.
    Unmount {
        at: Option<Absolute>,
        file: Option<RelPath>,
    },
    /// What moves the root or names points of its history.
    Act {
        #[serde(flatten)]
        act: Act,
    },
    /// Write down what is known of a run of a watched program.
    Run {
        facts: Box<RunFacts>,
    },
    /// Go on with what a process before this one was asked for.
    Continue,
    /// End the process.
    Stop,
}

impl Request {
    /// Whether it can be asked once more where nobody knows whether it was met.
    pub(crate) fn may_be_repeated(&self) -> bool {
        !matches!(self, Self::Act { .. })
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub(crate) enum Reply {
    /// Something that takes long goes on.
    Progress {
        text: String,
    },
    Done {
        answer: Answer,
    },
    Failed {
        failure: Failure,
    },
    /// This process ends: ask again, or do it without it.
    Ending,
    /// Said by a process that could not begin to serve, because another holds the lock.
    Busy {
        holder: String,
    },
}

/// The last reply to a request that was met.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Answer {
    /// There is no more to say.
    Met,
    Status(Box<Status>),
    /// A recording began; `notes` are what was met on the way.
    Recording {
        threads: u8,
        notes: Vec<String>,
    },
    Acted {
        report: Box<Report>,
    },
    Mounted {
        at: Absolute,
        notes: Vec<String>,
    },
    Unmounted {
        count: u64,
        ends: bool,
    },
    /// A recording ended, and the process with it if nothing else needs it.
    Forgotten {
        was_recorded: bool,
        ends: bool,
    },
}

/// Writes a line in one write.
pub(crate) fn say(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

/// Reads a line; `None` at the end.
pub(crate) fn hear<T: DeserializeOwned>(from: &mut impl BufRead, max: u64) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    from.take(max).read_until(b'\n', &mut line)?;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(serde_json::from_slice(&line)?)),
        Some(_) if line.len() as u64 == max => Err(invalid(format!("a line of more than {max} bytes"))),
        Some(_) => Err(invalid("a line without an end".to_owned())),
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Where the serving process of a store listens.
pub(crate) fn socket_of(store: &std::path::Path) -> PathBuf {
    store.join("SOCKET")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_back_as_it_was_said() {
        let mut text = Vec::new();
        let file = Some(RelPath::new(b"a\xff\n".to_vec()).unwrap());
        say(&mut text, &Request::Record { file: file.clone(), interval: Some(0.5), threads: None }).unwrap();
        assert_eq!(text.iter().filter(|&&b| b == b'\n').count(), 1);
        let heard: Option<Request> = hear(&mut text.as_slice(), REQUEST_MAX).unwrap();
        assert!(matches!(heard, Some(Request::Record { file: f, .. }) if f == file));
    }

    #[test]
    fn what_is_no_line_of_json_is_an_error_and_nothing_is_the_end() {
        let heard = |text: &[u8], max| hear::<Request>(&mut &text[..], max);
        assert!(heard(b"", 10).unwrap().is_none());
        for (text, max) in
            [(&b"{\"ask\":\"status\"}"[..], 100), (b"{\"ask\":\"status\"}\n", 10), (b"garbage\n", 100)]
        {
            let error = heard(text, max).unwrap_err();
            assert!(error.kind() == io::ErrorKind::InvalidData || error.to_string().contains("expected"));
        }
    }
}
