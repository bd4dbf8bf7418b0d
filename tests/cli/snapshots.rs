//! Snapshots by commands.

use crate::bench::Bench;

fn sample() -> Bench {
    let bench = Bench::with_store();
    bench.save("a", "zero\n");
    bench.save("a", "one\n");
    bench
}

#[test]
fn cli_a_snapshot_names_what_stands_now_and_is_a_point_for_every_command() {
    let bench = sample();
    std::fs::write(bench.path("app/a"), "unsaved\n").unwrap();
    let said = bench.done(&["snapshot", "create", "before"]);
    assert_eq!(said, "snapshot before names main@2\nrecorded 1 unsaved change first\n");
    bench.save("a", "later\n");
    assert_eq!(bench.done(&["show", "a", "--at", "before"]), "unsaved\n");
    bench.done(&["snapshot", "create", "base", "--at", "0"]);
    bench.done(&["revert", "--at", "before"]);
    assert_eq!(bench.text("a").as_deref(), Some("unsaved\n"));
    bench.done(&["snapshot", "rename", "before", "after"]);
    assert_eq!(bench.done(&["snapshot", "list"]), "after  main@2  just now\nbase   main@0  just now\n");
    bench.done(&["snapshot", "remove", "base"]);
    assert_eq!(bench.json(&["snapshot", "list", "--json"]).as_array().unwrap().len(), 1);
    let taken = bench.refused(&["snapshot", "create", "after", "--at", "1"], 1);
    assert_eq!(taken, "tickfs: there is a snapshot named \"after\" already");
}

#[test]
fn cli_a_snapshot_of_what_no_tick_is_is_refused() {
    let bench = sample();
    bench.save("b", "beside\n");
    bench.done(&["revert", "--at", "0", "--file", "a"]);
    let refused = bench.refused(&["snapshot", "create", "now-and-then"], 1);
    assert_eq!(
        refused,
        "tickfs: no tick is what stands here: a was put back: make a branch of it first (`tickfs branch create NAME`), \
         or name a tick with --at"
    );
}

#[test]
fn cli_a_directory_is_taken_in_and_compared() {
    let bench = sample();
    let elsewhere = bench.path("elsewhere");
    std::fs::create_dir_all(elsewhere.join("d")).unwrap();
    std::fs::write(elsewhere.join("a"), "one\n").unwrap();
    std::fs::write(elsewhere.join("d/binary"), b"\0\x01").unwrap();
    std::os::unix::fs::symlink("a", elsewhere.join("link")).unwrap();
    let said = bench.done(&["snapshot", "import", "../elsewhere", "--name", "captured"]);
    assert_eq!(said, "took in 5 paths of /p/elsewhere as snapshot captured\n");
    std::fs::write(elsewhere.join("a"), "two\n").unwrap();
    std::fs::write(elsewhere.join("d/binary"), b"\0\x02").unwrap();
    std::fs::remove_file(elsewhere.join("link")).unwrap();
    std::fs::write(elsewhere.join("new"), "new\n").unwrap();
    bench.done(&["snapshot", "import", "../elsewhere", "--name", "again"]);
    bench.golden(
        "snapshots",
        &[
            &["snapshot", "list"],
            &[
                "snapshot",
                "diff",
                "captured",
                "again",
                "--output",
                "../reports/deep/report.txt",
                "--fail-on-diff",
            ],
            &["snapshot", "diff", "again", "again", "--fail-on-diff"],
            &["snapshot", "diff", "captured", "gone"],
            &["show", "a", "--at", "captured"],
        ],
    );
    let report = std::fs::read_to_string(bench.path("reports/deep/report.txt")).unwrap();
    assert_eq!(report, bench.done(&["snapshot", "diff", "captured", "again"]));
    let refused = bench.refused(&["snapshot", "import", "a"], 1);
    assert_eq!(refused, "tickfs: this is no directory (/p/app/a): name a directory to take in");
}
