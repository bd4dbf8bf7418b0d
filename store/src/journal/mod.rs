//! The journal: the truth, as one line of JSON a record.

pub mod entry;
