//! Writes down what is known of a run of a watched program.

use tickfs_store::StoreWriter;
use tickfs_store::journal::entry::ItemType;
use tickfs_store::runs::{RunFacts, RunStatus};

use crate::now;

/// The run stands in the journal, when it began and when it has ended. Doing it twice changes nothing.
pub(crate) fn keep_run(writer: &StoreWriter, facts: &RunFacts) -> tickfs_store::Result<()> {
    let summary = match facts.status {
        RunStatus::Running => format!("{} runs under watch", facts.script),
        RunStatus::Finished | RunStatus::Failed | RunStatus::Killed => format!("{} has ended", facts.script),
    };
    let facts = facts.clone();
    writer.mutate(now::now(), move |m| {
        m.put_entity(&ItemType::RUN, facts.run.as_str(), &facts)?;
        m.summarise(&summary);
        Ok(())
    })
}
