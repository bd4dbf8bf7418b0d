//! History as it is asked for: branches, the cursor, and the tree at any tick of any branch.

mod branch;
mod cursor;
mod tree;
mod view;

pub use branch::{Branch, Branches, check_name};
pub use cursor::{Cursor, PartialPath, Point, Stand};
pub use tree::{Entry, Tree};
pub use view::View;
