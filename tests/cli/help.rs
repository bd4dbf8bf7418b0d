//! What can be typed, and what is said to who types something else.

use crate::bench::Bench;

#[test]
fn cli_help_says_what_was_agreed() {
    let commands: [&[&str]; 27] = [
        &["--help"],
        &["init", "--help"],
        &["mount", "--help"],
        &["unmount", "--help"],
        &["record", "--help"],
        &["daemon", "--help"],
        &["daemon", "start", "--help"],
        &["daemon", "stop", "--help"],
        &["daemon", "status", "--help"],
        &["daemon", "stop-all", "--help"],
        &["daemon", "pause", "--help"],
        &["daemon", "set-threads", "--help"],
        &["daemon", "get-threads", "--help"],
        &["service", "--help"],
        &["service", "install", "--help"],
        &["service", "remove", "--help"],
        &["events", "--help"],
        &["events", "dump", "--help"],
        &["events", "tail", "--help"],
        &["inspect", "--help"],
        &["watch", "--help"],
        &["watch", "log", "--help"],
        &["watch", "module", "--help"],
        &["export", "--help"],
        &["migrate", "--help"],
        &["completions", "--help"],
        &["man", "--help"],
    ];
    Bench::new().golden("help", &commands);
}

#[test]
fn cli_wrong_usage_is_status_2_and_a_failure_is_1() {
    Bench::new().golden(
        "usage",
        &[
            &[],
            &["explode"],
            &["init", "a", "b"],
            &["inspect", "--address", "7"],
            &["events", "tail"],
            &["events", "tail", "--reader", "../x"],
            &["events", "dump", "--last", "3", "--all"],
            &["inspect"],
            &["inspect", "--store", "nowhere"],
        ],
    );
}

#[test]
fn cli_completions_and_manual_pages_know_every_verb() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = bench.run(&["completions", shell]);
        assert!(script.status == 0 && script.stdout.contains("inspect"), "{shell}");
    }
    let page = bench.run(&["man"]).stdout;
    assert!(page.contains(".TH tickfs 1") && page.contains("tickfs\\-inspect(1)"), "{page}");
    let pages = bench.path("pages");
    std::fs::create_dir(&pages).unwrap();
    assert_eq!(bench.run(&["man", "--out", &pages.display().to_string()]).status, 0);
    for name in ["tickfs", "tickfs-init", "tickfs-events", "tickfs-events-dump"] {
        let text = std::fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        assert!(text.contains(&name.replace('-', "\\-")), "{name} does not name itself");
    }
}
