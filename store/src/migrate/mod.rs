//! To and from other layouts: the specification's own `.codevovle/`, and the older layout of one JSON file an entity.
//!
//! Invariants:
//!   * What an import would change stands complete in a plan before the first byte is written: a source that is not
//!     whole is refused, and nothing of it is visible.
//!   * A migration that was killed goes on where it was; one that is done changes nothing.
//!   * Nothing of the source is changed or removed; what cannot be parsed is moved to `quarantine/`.

mod apply;
mod export;
mod genesis;
mod import;
mod json_text;
mod older;
mod plan;
mod segment;

#[cfg(test)]
mod older_tests;
#[cfg(test)]
mod tests;

pub use apply::{NotApplied, apply_diff};
pub use export::{export_codevovle, export_jsonl};
pub use genesis::{Migrated, migrate};
pub use import::{Imported, MIGRATION, Owner, Progress, import_codevovle};
pub use older::{EntityId, OlderLayout};
pub use plan::Plan;
pub use segment::{SegmentImport, import_segment};
