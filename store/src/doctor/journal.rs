//! The truth: every line of every segment, the chain of sealed blocks, checkpoints, and the cache beside them.

use std::ops::ControlFlow;

use super::findings::{Report, Severity};
use crate::error::{Error, Result};
use crate::ids::{SegmentForm, SegmentId};
use crate::journal::{self, Head, JournalDir, ReadReport, Segments, checkpoint, seal};
use crate::store::Store;

pub(super) fn examine(store: &Store, report: &mut Report) -> Result<()> {
    let dir = JournalDir::new(&store.layout().journal());
    let mut records = 0;
    let scanned = journal::scan_all(store.disk(), &dir, |entry| {
        records += 1;
        report.facts.last_seq = report.facts.last_seq.max(entry.line.seq);
        Ok(ControlFlow::Continue(()))
    })?;
    report.facts.records = records;
    tell_of_lines(store, &dir, &scanned, report)?;
    tell_of_chain(store, &dir, report)?;
    tell_of_checkpoints(store, &dir, report)?;
    tell_of_head(store, &dir, report)
}

fn tell_of_lines(store: &Store, dir: &JournalDir, scanned: &ReadReport, report: &mut Report) -> Result<()> {
    let segments = Segments::list(&**store.disk(), dir, true)?;
    let path_of = |id: SegmentId| {
        let file = segments.files().iter().find(|file| file.id == id);
        file.map_or_else(|| dir.plain(id), |file| file.path(dir))
    };
    report.facts.skipped = scanned.faults.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect();
    report.facts.duplicates = scanned.duplicates;
    report.facts.missing = scanned.missing;
    report.facts.adjudicated_ranges = scanned.dead.len() as u64;
    report.facts.torn_tail = scanned.torn_tail.is_some();
    for bad in &scanned.bad {
        let what = format!("a line was skipped: {}", bad.fault);
        report.add(Severity::Damage, "bad_line", what).at(&path_of(bad.segment), Some(bad.offset)).next(
            "what it said is superseded by the next record of the same entity; look at it with a pager",
        );
    }
    let named = scanned.bad.len() as u64;
    if scanned.skipped() > named {
        report.add(
            Severity::Damage,
            "bad_line",
            format!("{} more lines were skipped", scanned.skipped() - named),
        );
    }
    if scanned.duplicates > 0 {
        let what =
            format!("{} records have a seq that another record has; the first counts", scanned.duplicates);
        report.add(Severity::Damage, "duplicate_seq", what);
    }
    for range in &scanned.missing_ranges {
        let what = format!("no record has seq {} to {}, and nothing explains it", range.start(), range.end());
        report.add(Severity::Damage, "missing_seq", what);
    }
    for dead in scanned.dead.iter().filter(|dead| !dead.unchanged) {
        let what = format!("bytes {} to {} were declared dead, and changed since", dead.from, dead.to);
        report.add(Severity::Warning, "dead_range_changed", what).at(&path_of(dead.segment), Some(dead.from));
    }
    for &(segment, offset) in &scanned.damaged_blocks {
        report
            .add(Severity::Damage, "damaged_block", "a block of the sealed segment does not read")
            .at(&path_of(segment), Some(offset));
    }
    if let Some((segment, range)) = &scanned.torn_tail {
        // Expected after a crash: the next writer declares it dead.
        let what = "the last write was torn; the next append declares it dead";
        report.add(Severity::Note, "torn_tail", what).at(&path_of(*segment), Some(range.from));
    }
    for spare in segments.spare() {
        let what = "lies there in two forms: a crash interrupted sealing or parking";
        report
            .add(Severity::Note, "spare_segment", what)
            .at(&spare.path(dir), None)
            .next("tickfs doctor --compact");
    }
    report.facts.sealed_segments =
        segments.files().iter().filter(|file| file.form == SegmentForm::Sealed).count() as u64;
    Ok(())
}

fn tell_of_chain(store: &Store, dir: &JournalDir, report: &mut Report) -> Result<()> {
    for broken in seal::verify_chain(&**store.disk(), dir)?.breaks {
        tell_of_error(Severity::Damage, "broken_chain", &broken, report);
    }
    Ok(())
}

fn tell_of_checkpoints(store: &Store, dir: &JournalDir, report: &mut Report) -> Result<()> {
    let found = checkpoint::list(store.disk(), dir)?;
    report.facts.checkpoints = found.good.len() as u64;
    for (file, why) in found.ignored {
        report
            .add(Severity::Warning, "ignored_checkpoint", format!("is not used: {why}"))
            .at(&dir.checkpoints().join(file), None)
            .next("tickfs doctor --compact makes a new one");
    }
    Ok(())
}

/// It is a cache: whatever it says, nothing is lost.
fn tell_of_head(store: &Store, dir: &JournalDir, report: &mut Report) -> Result<()> {
    let path = dir.head();
    let there = store.disk().stat(&path).map_err(Error::io("look for", &path))?.is_some();
    if there && Head::read(&**store.disk(), dir).is_none() {
        report
            .add(Severity::Warning, "head_unreadable", "does not read, and is rebuilt by the next change")
            .at(&path, None);
    }
    Ok(())
}

/// A finding from an error that names a place.
pub(super) fn tell_of_error(severity: Severity, kind: &'static str, error: &Error, report: &mut Report) {
    match error {
        Error::Corrupt { path, offset, what } => {
            report.add(severity, kind, what.clone()).at(path, Some(*offset));
        }
        other => {
            report.add(severity, kind, other.to_string());
        }
    }
}
