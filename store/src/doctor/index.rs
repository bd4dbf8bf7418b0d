//! The projection against the journal: is it there, is it behind, does it say the same.

use super::Depth;
use super::findings::{Report, Severity};
use crate::error::{Error, Result};
use crate::index;
use crate::journal::{self, JournalDir};
use crate::store::Store;

pub(super) fn examine(store: &Store, depth: Depth, report: &mut Report) -> Result<()> {
    let path = store.layout().index();
    let watermark = match store.index().read(|q| index::watermark(q.0)) {
        Ok(watermark) => watermark,
        Err(error) => {
            let missing = store.disk().stat(&path).is_ok_and(|found| found.is_none());
            let (severity, kind) = match missing {
                true if report.facts.records == 0 => return Ok(()),
                true => (Severity::Note, "index_missing"),
                false => (Severity::Warning, "index_damaged"),
            };
            let what = format!("the next command rebuilds it from the journal ({error})");
            report.add(severity, kind, what).at(&path, None);
            return Ok(());
        }
    };
    report.facts.applied_seq = Some(watermark.seq);
    let dir = JournalDir::new(&store.layout().journal());
    if watermark.seq > report.facts.last_seq || !journal::holds(&**store.disk(), &dir, &watermark)? {
        let what = format!(
            "says that record {} is applied, which the journal does not hold: the journal was cut or replaced",
            watermark.seq
        );
        report
            .add(Severity::Warning, "index_ahead", what)
            .at(&path, None)
            .next("the next change rebuilds it");
    } else if watermark.seq < report.facts.last_seq {
        let what = format!("is {} records behind the journal", report.facts.last_seq.0 - watermark.seq.0);
        report.add(Severity::Note, "index_behind", what).at(&path, None).next("any command heals it");
    }
    lost_branches(store, report)?;
    let mut tell = |kind, what: String| {
        report.add(Severity::Warning, kind, what).at(&path, None).next("tickfs doctor --repair");
    };
    match store.index().examine(index::integrity) {
        Ok(faults) => faults.into_iter().for_each(|fault| tell("index_damaged", fault)),
        Err(error) => tell("index_damaged", format!("cannot be examined: {}", with_source(&error))),
    }
    if depth.verify_journal {
        match store.index_differences() {
            Ok(differences) => differences.into_iter().for_each(|difference| {
                tell("index_drift", format!("differs from the journal: {difference}"))
            }),
            // So damaged that not all of it can be read: a finding like any other, and the rest is still looked at.
            Err(error @ Error::Index { .. }) => {
                tell(
                    "index_damaged",
                    format!("cannot be compared with the journal: {}", with_source(&error)),
                );
            }
            Err(error) => return Err(error),
        }
        report.facts.index_compared = true;
    }
    Ok(())
}

fn lost_branches(store: &Store, report: &mut Report) -> Result<()> {
    // What the index does not say is another finding.
    let Ok(branches) = store.index().read(crate::store::load_branches) else { return Ok(()) };
    for no in branches.lost() {
        let ticks = match branches.lost_ticks(no) {
            Some((first, last)) => {
                format!("what happened on it between tick {first} and tick {last} has no tree")
            }
            None => "nothing happened on it".to_owned(),
        };
        let what =
            format!("the record of branch number {no} does not read: {ticks}; the other branches are whole");
        report.add(Severity::Warning, "branch_lost", what).at(&store.layout().journal(), None);
    }
    Ok(())
}

fn with_source(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
