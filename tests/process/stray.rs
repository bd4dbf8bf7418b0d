//! Somebody appends to the journal who knows nothing of its lock.

use std::process::Command;
use std::time::Duration;

use tickfs_store::{Freshness, Store};

use crate::{Running, new_store, put, seqs, who, writer};

const STRAYS: u64 = 300;

/// Shows EL-45, EL-95.
#[test]
fn crash_process_a_stray_appender_damages_no_record_and_is_counted() {
    let temp = tempfile::tempdir().unwrap();
    let store = new_store(temp.path());
    let mut by_us = writer(&store);
    put(&by_us, "a", 0).unwrap();
    let script =
        r#"i=0; while [ $i -lt "$2" ]; do echo '{"note":"not ours"}' >>"$1"; i=$((i+1)); sleep 0.002; done"#;
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "stray"]).arg(store.layout().journal().join("seg-00000001.jsonl"));
    let mut stray = Running::start(shell.arg(STRAYS.to_string()));
    let mut count = 0;
    while stray.0.try_wait().unwrap().is_none() {
        count += 1;
        put(&by_us, "a", count).unwrap();
        if count % 50 == 0 {
            // The lock changes hands among the strangers' lines too.
            drop(by_us);
            by_us = writer(&store);
        }
    }
    stray.succeeds();
    assert!(count > 50, "only {count} mutations ran meanwhile, so little was shown");
    put(&by_us, "last", 1).unwrap();
    drop(by_us);
    let (found, report) = seqs(&store);
    assert!(found.iter().copied().eq(1..=count + 2), "{} seqs of {}", found.len(), count + 2);
    assert_eq!((report.strays(), report.skipped()), (STRAYS, STRAYS), "{:?}", report.bad.first());
    assert_eq!((report.duplicates, report.missing, report.dead.len()), (0, 0, 0));
    let opened = Store::open(store.disk().clone(), store.layout().dir()).unwrap();
    assert!(matches!(opened.refresh(who()).unwrap(), Freshness::Current | Freshness::Healed { .. }));
    let again = opened.writer(who(), Duration::from_secs(5)).unwrap();
    assert_eq!(again.store().index_differences().unwrap(), Vec::<String>::new());
}
