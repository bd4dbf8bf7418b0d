//! A store on a disk that loses power; and `powercut` itself, on the simplest workload there is: it passes what is
//! durable, and notices what is not. `scripts/powercut` checks more images.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a line `skipped: why` must reach the total")]

use std::process::Command;

const APPEND: &str = env!("CARGO_BIN_EXE_append");
const STORM: &str = env!("CARGO_BIN_EXE_storm");

fn powercut(workload: &str, check: &str, options: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_powercut"));
    command.args(["--workload", workload, "--check", check]);
    let kept = tempfile::tempdir().expect("a temporary directory");
    command.args(["--images", "20", "--keep"]).arg(kept.path()).args(options);
    let output = command.output().expect("powercut starts");
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
}

fn append(options: &[&str]) {
    powercut(&format!("'{APPEND}' write"), &format!("'{APPEND}' check"), options);
}

fn storm(options: &[&str]) {
    powercut(&format!("'{STORM}' write --mutations 100"), &format!("'{STORM}' check"), options);
}

#[test]
fn what_was_fsynced_survives_a_power_cut() {
    append(&[]);
}

#[test]
fn a_workload_that_forgets_its_fsyncs_is_noticed() {
    append(&["--no-fsync"]);
}

#[test]
fn a_disk_that_ignores_flushes_is_noticed() {
    append(&["--ignore-flushes"]);
}

#[test]
fn what_a_store_confirmed_survives_a_power_cut() {
    storm(&[]);
}

#[test]
fn a_store_that_does_not_fsync_is_noticed() {
    storm(&["--no-fsync"]);
}
