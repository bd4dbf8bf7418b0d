//! The total that `scripts/test` ends with is honest: what did not run is not counted as passed.

use std::io::Write;
use std::process::{Command, Stdio};

/// The last line that `scripts/total.awk` makes of cargo's output.
fn total(output: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/total.awk");
    let awk = Command::new("awk").args(["-f", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut awk = awk.expect("awk is part of every system");
    let mut input = awk.stdin.take().expect("because it is piped");
    input.write_all(output.as_bytes()).expect("awk reads its input");
    drop(input);
    let answer = awk.wait_with_output().expect("awk ends").stdout;
    String::from_utf8_lossy(&answer).lines().last().unwrap_or_default().to_owned()
}

#[test]
fn a_test_that_says_it_was_skipped_has_not_passed() {
    let output = "running 3 tests\n\nsuccesses:\n\n---- a stdout ----\nskipped: no fuse\nskipped: twice said\n\n\
                  successes:\n    a\n    b\n\nfailures:\n\n---- c stdout ----\nskipped: said before it failed\n\n\
                  test result: FAILED. 2 passed; 1 failed; 4 ignored; 0 measured; 0 filtered out\n\
                  running 1 test\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
    assert_eq!(total(output), "2 passed, 1 failed, 5 skipped");
}

#[test]
fn a_binary_that_died_or_did_not_compile_has_failed() {
    let result = "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
    assert_eq!(total(&format!("running 9 tests\nrunning 1 test\n{result}")), "1 passed, 1 failed, 0 skipped");
    assert_eq!(total(&format!("running 1 test\n{result}running 9 tests\n")), "1 passed, 1 failed, 0 skipped");
    assert_eq!(
        total("error: could not compile `a` (lib) due to 2 errors\n"),
        "0 passed, 1 failed, 0 skipped"
    );
}
