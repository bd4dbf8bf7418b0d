//! Contents: every version of every file, in append-only packs.
//!
//! Invariants:
//!   * An address is eternal: it names where a record was first written, whatever form its pack has by then.
//!   * Nothing that was written is ever changed; what was torn stays as garbage that nothing refers to.
//!   * What is read was proved by a checksum, or is an error that names the place.

mod codec;
mod differ;
mod splice;
mod varint;

mod large;
mod lately;
mod record;

mod encode;
mod pack;

mod chain;
mod cold;
mod packs;
mod read;

mod describe;

mod intake;

mod compact;
mod scan;
mod scrub;

#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod fuzzing;

#[cfg(test)]
mod memory;
#[cfg(test)]
mod tests;

pub use compact::{Compacted, compact, compact_while};
pub use describe::{Description, Step};
pub use encode::{Base, Encoded, Neighbours, encode};
pub use large::CHUNK_LEN;
pub(crate) use pack::list_packs;
pub use pack::{ContentWriter, PackOptions, ROLL_AT, Stored};
pub use read::{ContentReader, ContentStream};
pub use record::Kind;
pub use scrub::{Damage, DamageKind, scrub};
