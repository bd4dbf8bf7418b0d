//! SIGKILL at random moments. `scripts/storm` does 500 of them.

use crate::storm;

/// Shows EL-47, EL-113: as many kills as there is time for; `scripts/storm` gives the same program 500.
#[test]
fn crash_process_a_killed_writer_loses_nothing_that_it_confirmed() {
    let temp = tempfile::tempdir().unwrap();
    let output =
        storm().arg("kill").arg(temp.path()).args(["--kills", "20", "--seed", "1"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
    assert!(said.contains(" 0 lost"));
}

/// The check can fail: a promise that nobody kept is found.
#[test]
fn crash_process_a_broken_promise_is_noticed() {
    let temp = tempfile::tempdir().unwrap();
    let output = storm().arg("write").arg(temp.path()).args(["--mutations", "30"]).output().unwrap();
    assert!(output.status.success());
    let confirmed = temp.path().join("confirmed");
    let check = |lines: &[u8]| {
        std::fs::write(&confirmed, lines).unwrap();
        let output = storm().arg("check").arg(temp.path()).arg(&confirmed).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (kept, complaint) = check(&output.stdout);
    assert!(kept, "{complaint}");
    let hash = "0123456789abcdef".repeat(2);
    for (lie, why) in [
        ("confirmed tick 999 branch 1 path a hash ", "tick 999 is not of that branch"),
        ("confirmed tick 1 branch 1 path a hash ", "it has 1 bytes with hash"),
        ("confirmed tick 1 branch 1 delete a", "it is there"),
        ("confirmed tick 1 branch 1 directory a", "it is a File"),
        ("confirmed branch 1 label trunk", "its label is \"main\""),
        ("confirmed entity e0 count 1000", "1000 was confirmed"),
    ] {
        let lie = if lie.ends_with(' ') { format!("{lie}{hash}\n") } else { format!("{lie}\n") };
        let (kept, complaint) = check(lie.as_bytes());
        assert!(!kept && complaint.contains(why), "{lie}{complaint}");
    }
}
