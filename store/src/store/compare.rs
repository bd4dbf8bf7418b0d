//! Holds the index against one that is made anew from the journal.

use crate::error::Result;
use crate::index;

use super::{StoreWriter, reconcile};

impl StoreWriter {
    /// The tables in which the index is not what the journal says. Empty: it is sound. No mutation runs meanwhile.
    pub fn index_differences(&self) -> Result<Vec<String>> {
        self.paused(|store, journal, _packs| {
            let index = store.index();
            let aside = index::sibling(index.path(), ".aside");
            index::remove_database(&aside)?;
            index.build(&aside, store.id(), |db| {
                reconcile::fill(store, db)?;
                Ok(journal.end())
            })?;
            let found = index.read(|query| index::differences(query.0, &aside));
            index::remove_database(&aside)?;
            found
        })
    }
}
