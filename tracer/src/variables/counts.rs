//! What happened to events, counted under a name: nothing is lost in silence.

use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) written: u64,
    /// Could not be written to the output.
    pub(super) lost: u64,
    /// A processor dropped them.
    pub(super) dropped: u64,
    /// Are still in memory.
    pub(super) buffered: u64,
    /// Assignments that changed nothing; they are no events.
    pub(super) unchanged: u64,
    /// Calls of a processor that gave no usable answer in time.
    pub(super) skipped_invocations: u64,
    /// Fields of the event that a processor wanted to overwrite.
    pub(super) ignored_fields: u64,
    /// Records of the traced program that could not be understood.
    pub(super) damaged: u64,
}

impl Counts {
    pub(super) fn named(&self) -> BTreeMap<String, u64> {
        let named = [
            ("events_written", self.written),
            ("events_lost", self.lost),
            ("events_dropped", self.dropped),
            ("buffered", self.buffered),
            ("unchanged", self.unchanged),
            ("skipped_invocations", self.skipped_invocations),
            ("ignored_fields", self.ignored_fields),
            ("damaged", self.damaged),
        ];
        named.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
    }
}
