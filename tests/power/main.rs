//! `powercut` itself, on the simplest workload there is: it passes what is durable, and notices what is not.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a line `skipped: why` must reach the total")]

use std::process::Command;

const APPEND: &str = env!("CARGO_BIN_EXE_append");

fn powercut(options: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_powercut"));
    command.args(["--workload", &format!("'{APPEND}' write"), "--check", &format!("'{APPEND}' check")]);
    let kept = tempfile::tempdir().expect("a temporary directory");
    command.args(["--images", "20", "--keep"]).arg(kept.path()).args(options);
    let output = command.output().expect("powercut starts");
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
}

#[test]
fn what_was_fsynced_survives_a_power_cut() {
    powercut(&[]);
}

#[test]
fn a_workload_that_forgets_its_fsyncs_is_noticed() {
    powercut(&["--no-fsync"]);
}

#[test]
fn a_disk_that_ignores_flushes_is_noticed() {
    powercut(&["--ignore-flushes"]);
}
