//! What was recorded, told to whoever listens: the log, a terminal, and those who wait for an answer.
//!
//! Invariant: the recorder never waits for a listener. One who falls too far behind is dropped, and the log says so.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tickfs_store::journal::entry::Action;
use tickfs_store::path::RelPath;
use tickfs_tracer::files::Ticked;

use super::log::Log;
use crate::output::one_line;

/// One line of what a terminal or a log shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub(crate) enum Line {
    Tick {
        tick: u64,
        kind: String,
        path: RelPath,
        from: Option<RelPath>,
        before: Option<u64>,
        after: Option<u64>,
    },
    /// A fork, a gap, a warning.
    Note { text: String },
    /// Something that takes long goes on.
    Progress { text: String },
}

impl Line {
    pub(crate) fn of_tick(ticked: &Ticked) -> Self {
        let has_bytes = !matches!(ticked.kind, Action::Delete | Action::Rmdir | Action::Mkdir);
        Self::Tick {
            tick: ticked.tick.0,
            kind: ticked.kind.as_str().to_owned(),
            path: ticked.path.clone(),
            from: ticked.from.clone(),
            before: ticked.size_before.filter(|_| ticked.kind != Action::Rmdir),
            after: has_bytes.then_some(ticked.size),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note { text } => f.write_str(&one_line(text)),
            Self::Progress { text } => f.write_str(&one_line(text)),
            Self::Tick { tick, kind, path, from, before, after } => {
                write!(f, "tick {tick}  {kind}  ")?;
                if let Some(from) = from {
                    write!(f, "{} → ", one_line(&from.to_string()))?;
                }
                f.write_str(&one_line(&path.to_string()))?;
                match (before, after) {
                    (Some(before), Some(after)) if before == after => write!(f, "  {after} bytes"),
                    (Some(before), Some(after)) => write!(f, "  {before} → {after} bytes"),
                    (None, Some(after)) => write!(f, "  {after} bytes"),
                    (Some(before), None) => write!(f, "  {before} bytes gone"),
                    (None, None) => Ok(()),
                }
            }
        }
    }
}

/// How many lines one who listens may be behind.
const BEHIND_MAX: usize = 100_000;

/// Progress is told so often.
const TOLD_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) struct Announcer {
    log: Arc<Log>,
    listeners: Mutex<Vec<(u64, SyncSender<Line>)>>,
    next: AtomicU64,
    ticks: AtomicU64,
}

impl Announcer {
    pub(crate) fn new(log: Arc<Log>) -> Self {
        Self { log, listeners: Mutex::default(), next: AtomicU64::new(0), ticks: AtomicU64::new(0) }
    }

    pub(crate) fn tell(&self, line: &Line) {
        if matches!(line, Line::Tick { .. }) {
            self.ticks.fetch_add(1, Ordering::Relaxed);
        }
        if !matches!(line, Line::Progress { .. }) {
            self.log.line(&line.to_string());
        }
        let mut too_slow = 0;
        self.listeners.lock().retain(|(_, listener)| match listener.try_send(line.clone()) {
            Ok(()) => true,
            Err(TrySendError::Disconnected(_)) => false,
            Err(TrySendError::Full(_)) => {
                too_slow += 1;
                false
            }
        });
        if too_slow > 0 {
            self.log
                .line(&format!("{too_slow} who listened fell {BEHIND_MAX} lines behind, and were dropped"));
        }
    }

    /// Every line from now on, until the receiver is dropped.
    pub(crate) fn listen(&self) -> Receiver<Line> {
        self.listen_as().1
    }

    fn listen_as(&self) -> (u64, Receiver<Line>) {
        let (sender, receiver) = sync_channel(BEHIND_MAX);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.listeners.lock().push((number, sender));
        (number, receiver)
    }

    /// Does something that may take long, and tells how far it has come meanwhile.
    pub(crate) fn telling<T>(&self, mut tell: impl FnMut(String) + Send, work: impl FnOnce() -> T) -> T {
        let (number, lines) = self.listen_as();
        let telling = move || {
            let mut told: Option<Instant> = None;
            for line in lines {
                let is_due = told.is_none_or(|told| told.elapsed() > TOLD_EVERY);
                if let (Line::Progress { text }, true) = (line, is_due) {
                    tell(text);
                    told = Some(Instant::now());
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(telling);
            let done = work();
            self.listeners.lock().retain(|(other, _)| *other != number);
            done
        })
    }

    /// Those who listen get what they have not read yet, and then the end.
    pub(crate) fn end(&self) {
        self.listeners.lock().clear();
    }

    /// Ticks told since this process began.
    pub(crate) fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(before: Option<u64>, after: Option<u64>) -> Line {
        let path = RelPath::new("src/a\nb").unwrap();
        Line::Tick { tick: 5, kind: "modify".to_owned(), path, from: None, before, after }
    }

    #[test]
    fn a_tick_is_one_line_with_its_sizes() {
        let shown = |before, after| tick(before, after).to_string();
        assert_eq!(shown(Some(1), Some(2)), "tick 5  modify  src/a\u{fffd}b  1 → 2 bytes");
        assert_eq!(shown(None, Some(2)), "tick 5  modify  src/a\u{fffd}b  2 bytes");
        assert_eq!(shown(Some(1), None), "tick 5  modify  src/a\u{fffd}b  1 bytes gone");
    }

    #[test]
    fn one_who_does_not_read_is_dropped_and_nobody_waits() {
        let temp = tempfile::tempdir().unwrap();
        let announcer = Announcer::new(Arc::new(Log::open(temp.path(), None).unwrap()));
        let (slow, gone) = (announcer.listen(), announcer.listen());
        drop(gone);
        for _ in 0..=BEHIND_MAX {
            announcer.tell(&Line::Progress { text: String::new() });
        }
        assert!(announcer.listeners.lock().is_empty());
        assert_eq!(slow.iter().count(), BEHIND_MAX);
        let said = std::fs::read_to_string(temp.path().join("serve.log")).unwrap();
        assert!(said.contains("1 who listened"), "{said}");
    }
}
