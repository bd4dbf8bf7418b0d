//! The journal: the truth, as one line of JSON a record.
//!
//! What it looks like on disk, and what holds at every crash, stands in `store/docs/format.md`, section 3.

pub mod checkpoint;
pub mod entry;
pub mod head;
mod lines;
pub mod live;
pub mod place;
mod quick;
pub mod reader;
pub mod recovery;
pub mod schema;
pub mod seal;
pub mod segment;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod whole;
pub mod writer;

pub use head::Head;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub use quick::reads_the_same;
pub use reader::{Entry, JournalReader, Opened, ReadFrom, ReadOptions, ReadReport, holds, scan_all};
pub use segment::{JournalDir, JournalEnd, LinePlace, Segments, is_current};
pub(crate) use whole::read_whole;
pub use writer::{Group, JournalWriter, WriterOptions};
