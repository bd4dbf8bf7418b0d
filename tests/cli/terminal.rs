//! What is shown at a terminal, and what in a pipe.

use crate::bench::{Bench, TICKFS, is_installed};

/// What a command shows at a terminal; `None`, and said, where none can be had. `before`: settings, as a shell takes them.
fn at_a_terminal(bench: &Bench, before: &str, words: &str) -> Option<String> {
    if !is_installed("script") {
        return None;
    }
    let line = format!("{before} {TICKFS} {words}");
    let output = bench.command("script").env("TERM", "xterm").args(["-qec", &line, "/dev/null"]).output();
    Some(String::from_utf8(output.unwrap().stdout).unwrap().replace('\r', ""))
}

fn sample() -> Bench {
    let bench = Bench::with_store();
    bench.save("a", "zero\n");
    for n in 1..=3 {
        bench.save("a", format!("save {n}\n"));
    }
    bench
}

#[test]
fn cli_a_log_at_a_terminal_has_colour_and_a_pager_and_neither_in_a_pipe() {
    let bench = sample();
    let pager = "PAGER='sed s/^/paged:/'";
    let Some(shown) = at_a_terminal(&bench, pager, "log -n 2 -p") else { return };
    assert!(shown.lines().all(|line| line.starts_with("paged:")), "{shown}");
    for painted in ["\x1b[33m       @3\x1b[0m", "\x1b[32m+save 3\x1b[0m", "\x1b[31m-save 2\x1b[0m"] {
        assert!(shown.contains(painted), "{painted:?} in {shown:?}");
    }
    for plain in ["NO_COLOR=1", "TERM=dumb"] {
        let shown = at_a_terminal(&bench, &format!("{plain} PAGER=cat"), "log -n 2 -p").unwrap();
        assert!(shown.contains("+save 3") && !shown.contains('\x1b'), "{plain}: {shown:?}");
    }
    let coloured = at_a_terminal(&bench, "NO_COLOR= PAGER=", "log").unwrap();
    assert!(coloured.contains("\x1b[33m"), "empty means that nothing was said: {coloured:?}");
    let piped = bench.done(&["log", "-n", "2", "-p"]);
    assert!(piped.contains("+save 3") && !piped.contains('\x1b'), "{piped:?}");
}

/// It printed nothing but the shell's complaint.
#[test]
fn cli_where_no_pager_is_installed_a_log_is_printed() {
    let bench = sample();
    let bin = bench.path("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink("/bin/sh", bin.join("sh")).unwrap();
    let Some(shown) = at_a_terminal(&bench, &format!("PATH={}", bin.display()), "log") else { return };
    assert!(shown.contains("@3") && !shown.contains("not found"), "{shown}");
}
