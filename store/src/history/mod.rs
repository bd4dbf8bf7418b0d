//! History as it is asked for: branches, the cursor, and the tree at any tick of any branch.

mod branch;
mod changed;
mod cursor;
mod snapshot;
mod standing;
mod state;
mod text;
mod told;
mod tree;
mod versions;
mod view;
mod when;

pub use branch::{Branch, Branches, check_name};
pub use changed::Change;
pub use cursor::{Cursor, PartialPath, Point, Stand};
pub use snapshot::Snapshot;
pub use standing::Standing;
pub use text::{CONTEXT, Match};
pub use told::Told;
pub use tree::{Entry, Tree};
pub use versions::PathVersion;
pub(crate) use view::Known;
pub use view::View;
pub use when::{Moment, PointName, Time, When};
