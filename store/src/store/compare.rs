//! Holds the index against one that is made anew from the journal.

use super::{Store, reconcile};
use crate::error::Result;
use crate::index;

impl Store {
    /// The tables in which the index is not what the journal says up to the index's watermark. Empty: it is sound.
    ///
    /// The other index is built beside it and removed again. Nothing else is written, and no lock is taken.
    pub fn index_differences(&self) -> Result<Vec<String>> {
        let index = self.index();
        let end = index.read(|query| index::watermark(query.0))?;
        let mut aside = index.path().as_os_str().to_owned();
        aside.push(format!(".aside-{}", std::process::id()));
        let aside = std::path::PathBuf::from(aside);
        index::remove_database(&aside)?;
        let built = index.build(&aside, self.id(), |db| {
            reconcile::fill(self, db, end.seq)?;
            Ok(end)
        });
        let found = built.and_then(|()| index.examine(|db| index::differences(db, &aside)));
        index::remove_database(&aside)?;
        found
    }
}
