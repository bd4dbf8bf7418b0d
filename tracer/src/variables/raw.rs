//! Writes to memory itself, as the fault handler records them: which of them are one event.
//!
//! A statement that writes a vector takes many instructions. Where the handler knows that the program has not gone on to
//! another statement, all it wrote is one event. Where it cannot know, only what was written side by side by wide
//! instructions is, and no byte twice: no value that a byte had is ever left out.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::sys::layout::{Fixed, ONE_STATEMENT, WIDE};

/// A statement that has written nothing for so long is over.
const OVER_AFTER: Duration = Duration::from_secs(1);

/// One record of the handler.
#[derive(Debug)]
pub(super) struct Write<'a> {
    pub(super) at: usize,
    pub(super) bytes: &'a [u8],
    statement: u64,
}

impl<'a> Write<'a> {
    pub(super) fn read(payload: &'a [u8]) -> Option<Self> {
        let number = |at: usize| payload.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let bytes = payload.get(24..)?;
        let (at, len) = (usize::try_from(number(0)?).ok()?, usize::try_from(number(8)?).ok()?);
        (bytes.len() == len).then_some(Self { at, bytes, statement: number(16)? })
    }

    fn range(&self) -> Range<usize> {
        self.at..self.at + self.bytes.len()
    }
}

/// A statement that may still write more.
#[derive(Debug)]
pub(super) struct Open {
    /// Of its first write.
    pub(super) fixed: Fixed,
    /// Where in the variable's value it has written, and what stood there before.
    pub(super) at: usize,
    pub(super) before: Vec<u8>,
    statement: u64,
    written: Vec<Range<usize>>,
    last: Instant,
}

/// The open statement of each thread.
#[derive(Debug, Default)]
pub(super) struct Statements(HashMap<u32, Open>);

impl Statements {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes out what is over now that this is written; in the order in which it began.
    pub(super) fn over_before(&mut self, fixed: &Fixed, write: &Write<'_>) -> Vec<Open> {
        self.take(|thread, open| {
            let own = *thread == fixed.thread;
            (own || open.fixed.variable == fixed.variable) && !(own && open.goes_on(fixed, write))
        })
    }

    /// Does a write to the variable's bytes, and notes it. Gives that back which is over at once.
    pub(super) fn note(&mut self, fixed: Fixed, write: &Write<'_>, bytes: &mut [u8]) -> Option<Open> {
        let open = self.0.entry(fixed.thread).or_insert_with(|| Open {
            fixed,
            at: write.at,
            before: Vec::new(),
            statement: write.statement,
            written: Vec::new(),
            last: Instant::now(),
        });
        open.keep(&write.range(), bytes);
        bytes[write.range()].copy_from_slice(write.bytes);
        open.last = Instant::now();
        match open.written.last_mut() {
            Some(last) if last.end == write.at => last.end += write.bytes.len(),
            _ => open.written.push(write.range()),
        }
        let alone = fixed.tag & (ONE_STATEMENT | WIDE) == 0;
        if alone { self.0.remove(&fixed.thread) } else { None }
    }

    /// Takes out what is over because this thread, or this variable, has gone on.
    pub(super) fn over(&mut self, thread: u32, variable: Option<u32>) -> Vec<Open> {
        self.take(|number, open| *number == thread || Some(open.fixed.variable) == variable)
    }

    pub(super) fn over_by_time(&mut self) -> Vec<Open> {
        self.take(|_thread, open| open.last.elapsed() > OVER_AFTER)
    }

    pub(super) fn all(&mut self) -> Vec<Open> {
        self.take(|_thread, _open| true)
    }

    fn take(&mut self, over: impl Fn(&u32, &Open) -> bool) -> Vec<Open> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let mut taken: Vec<Open> =
            self.0.extract_if(|thread, open| over(thread, open)).map(|(_thread, open)| open).collect();
        taken.sort_by_key(|open| open.fixed.time_ns);
        taken
    }
}

impl Open {
    /// Keeps what stands here, and all that lies between it and what is kept.
    fn keep(&mut self, range: &Range<usize>, bytes: &[u8]) {
        if range.start < self.at {
            self.before.splice(..0, bytes[range.start..self.at].iter().copied());
            self.at = range.start;
        }
        let end = self.at + self.before.len();
        if range.end > end {
            self.before.extend_from_slice(&bytes[end..range.end]);
        }
    }

    pub(super) fn range(&self) -> Range<usize> {
        self.at..self.at + self.before.len()
    }

    fn goes_on(&self, fixed: &Fixed, write: &Write<'_>) -> bool {
        let same = self.fixed.variable == fixed.variable && self.fixed.site == fixed.site;
        if !same || self.fixed.tag & ONE_STATEMENT != fixed.tag & ONE_STATEMENT {
            return false;
        }
        if fixed.tag & ONE_STATEMENT != 0 {
            return self.statement == write.statement;
        }
        let new = write.range();
        let again = self.written.iter().any(|old| old.start < new.end && new.start < old.end);
        self.fixed.tag & fixed.tag & WIDE != 0 && !again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(at: u64, statement: u64, bytes: &[u8]) -> Vec<u8> {
        let head = [at, bytes.len() as u64, statement].map(u64::to_le_bytes).concat();
        [head, bytes.to_vec()].concat()
    }

    /// How many events come of writes, each a tag, a statement, and where it writes four bytes.
    fn events(writes: &[(u8, u64, u64)]) -> usize {
        let mut statements = Statements::default();
        let mut over = 0;
        for &(tag, statement, at) in writes {
            let fixed = Fixed { tag, thread: 1, variable: 1, site: 1, ..Fixed::default() };
            let payload = payload(at, statement, &[1; 4]);
            let write = Write::read(&payload).unwrap();
            over += statements.over_before(&fixed, &write).len();
            over += usize::from(statements.note(fixed, &write, &mut [0; 64]).is_some());
        }
        over + statements.all().len()
    }

    #[test]
    fn a_statement_is_one_event_and_what_may_be_two_is_two() {
        assert_eq!(events(&[(ONE_STATEMENT, 1, 0), (ONE_STATEMENT, 1, 4), (ONE_STATEMENT, 1, 0)]), 1);
        assert_eq!(events(&[(ONE_STATEMENT, 1, 0), (ONE_STATEMENT, 2, 4)]), 2);
        assert_eq!(events(&[(0, 0, 0), (0, 0, 4), (0, 0, 8)]), 3);
        assert_eq!(events(&[(WIDE, 0, 0), (WIDE, 0, 4), (WIDE, 0, 16)]), 1);
        assert_eq!(events(&[(WIDE, 0, 0), (WIDE, 0, 2)]), 2);
        assert_eq!(events(&[(WIDE, 0, 0), (0, 0, 4)]), 2);
        assert_eq!(events(&[(ONE_STATEMENT, 1, 0), (0, 1, 4)]), 2);
    }

    #[test]
    fn what_stood_there_before_a_statement_is_kept() {
        let mut statements = Statements::default();
        let mut bytes: Vec<u8> = (0..64).collect();
        for at in [20, 40, 8, 22, 8] {
            let fixed = Fixed { tag: ONE_STATEMENT, thread: 1, ..Fixed::default() };
            let payload = payload(at, 1, &[0xFF; 4]);
            assert!(statements.note(fixed, &Write::read(&payload).unwrap(), &mut bytes).is_none());
        }
        let [open] = &statements.all()[..] else { panic!("it was one statement") };
        assert_eq!(open.range(), 8..44);
        assert_eq!(open.before, (8..44).collect::<Vec<u8>>());
        assert_eq!(bytes[20..28], [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 26, 27]);
    }
}
