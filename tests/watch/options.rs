//! The options of the command, and what is refused before anything runs.

use crate::bench::{Bench, of};

/// A program that leaves a trace of having run.
const TOUCHES: &str = "open('ran', 'w').close()\nx = watch(bytes(32), name='x')\nx = b'\\x01' * 32\n";

/// Refused with status 2; neither has the program run, nor is there an output directory.
fn refused(bench: &Bench, args: &[&str]) -> String {
    let shown = bench.watch(args);
    assert_eq!((shown.status, shown.stdout.as_str()), (2, ""), "{args:?}: {shown:?}");
    assert!(!bench.exists("ran"), "{args:?}");
    shown.stderr
}

/// Shows WA-02, WA-14, WA-17, WA-25.
#[test]
fn watch_wrong_usage_is_refused_before_anything_runs() {
    let bench = Bench::python(TOUCHES);
    bench.write("app.rb", "");
    for (args, expected) in [
        (&[][..], "--user-script"),
        (&["--user-script", "gone.py"], "there is no such script (gone.py)"),
        (&["--user-script", "app.rb"], "the script is neither Python (.py) nor JavaScript (.js) (app.rb)"),
        (&["--user-script", "app.py", "--mutation-depth", "abc"], "FULL"),
        (&["--user-script", "app.py", "--mutation-depth", "-1"], "FULL"),
        (&["--user-script", "app.py", "--log-level", "loud"], "loud"),
        (&["--user-script", "app.py", "--max-queue-size", "few"], "few"),
    ] {
        let stderr = refused(&bench, args);
        assert!(stderr.contains(expected), "{args:?}: {stderr}");
    }
    assert!(!bench.exists("watcher_output"));
}

/// Shows WA-16.
#[test]
fn watch_a_processor_that_does_not_fit_is_refused() {
    let bench = Bench::python(TOUCHES);
    for name in ["p.rb", "p.js"] {
        bench.write(name, "");
    }
    bench.write("nomain.py", "x = 1\n");
    bench.write("broken.py", "1 +\n");
    for (processor, expected) in [
        ("gone.py", "there is no such processor (gone.py)"),
        ("p.rb", "the processor is neither Python (.py) nor JavaScript (.js) (p.rb)"),
        ("p.js", "the processor must be in the script's language, python (p.js)"),
        ("broken.py", "SyntaxError"),
    ] {
        let stderr = refused(&bench, &["--user-script", "app.py", "--custom-processor", processor]);
        assert!(stderr.contains(expected), "{processor}: {stderr}");
    }
    assert_eq!(bench.watch(&["--user-script", "app.py"]).status, 0);
}

/// Shows WA-69.
#[test]
fn watch_a_processor_without_main_is_refused() {
    let bench = Bench::python(TOUCHES);
    bench.write("nomain.py", "x = 1\n");
    let stderr = refused(&bench, &["--user-script", "app.py", "--custom-processor", "nomain.py"]);
    assert!(stderr.contains("it defines no main(event) (nomain.py)"), "{stderr}");
}

/// Shows WA-04, WA-22, WA-33.
#[test]
fn watch_the_output_directory_is_made() {
    let bench = Bench::python("print('nothing is watched')\n");
    assert_eq!(bench.traced(&[]), [0; 0]);
    assert!(bench.exists("watcher_output/events.jsonl"));
    let shown = bench.watch(&["--user-script", "app.py", "--output", "a/b/c"]);
    assert_eq!(shown.status, 0);
    assert_eq!(bench.events("a/b/c"), [0; 0]);
}

/// Shows WA-15, WA-79.
#[test]
fn watch_an_output_that_cannot_be_written_is_refused() {
    let bench = Bench::python(TOUCHES);
    bench.write("file", "");
    let stderr = refused(&bench, &["--user-script", "app.py", "--output", "file/below"]);
    assert!(stderr.contains("the output directory cannot be written"), "{stderr}");
    // For root nothing is read-only, but what is no disk.
    let stderr = refused(&bench, &["--user-script", "app.py", "--output", "/proc/none"]);
    assert!(stderr.contains("the output directory cannot be written"), "{stderr}");
}

/// Shows WA-10.
#[test]
fn watch_the_depth_limits_what_is_told() {
    let bench = Bench::python(TOUCHES);
    for (depth, told) in [("FULL", 32), ("16", 16), ("1", 1), ("0", 0), ("100", 32)] {
        let output = format!("out-{depth}");
        let args = ["--user-script", "app.py", "--mutation-depth", depth, "--output", &output];
        assert_eq!(bench.watch(&args).status, 0);
        let events = bench.events(&output);
        assert_eq!(events.len(), 1);
        assert_eq!(events[0]["deltas"].as_array().unwrap().len(), told, "{depth}");
    }
}

/// Shows WA-12, WA-24.
#[test]
fn watch_says_more_at_a_lower_level() {
    let bench = Bench::python(TOUCHES);
    bench.write("p.py", "def main(event):\n    return {'action': 'pass'}\n");
    let said = |level: &str| {
        let args = ["--user-script", "app.py", "--log-level", level, "--custom-processor", "p.py"];
        bench.watch(&args).stderr
    };
    let [debug, info, error] = ["DEBUG", "info", "ERROR"].map(said);
    assert!(debug.contains("the processor p.py is ready") && debug.lines().count() > info.lines().count());
    assert!(info.contains("changes are seen by hooks"), "{info}");
    assert!(
        info.contains("the program ended with status 0; 1 event in ./watcher_output/events.jsonl"),
        "{info}"
    );
    assert_eq!(error, "");
}

/// Shows WA-13, WA-77.
#[test]
fn watch_a_small_queue_makes_the_program_wait_and_loses_nothing() {
    let bench = Bench::python("n = watch(0, name='n')\nfor i in range(1, 30_001):\n    n = i\n");
    assert_eq!(bench.traced(&["--max-queue-size", "1"]).len(), 30_000);
}

#[test]
fn watch_the_programs_own_arguments_come_after_two_dashes() {
    let bench = Bench::python("import sys\nprint(sys.argv)\n");
    let shown = bench.watch(&["--user-script", "app.py", "--", "--output", "x y"]);
    assert_eq!(shown.stdout, "['app.py', '--output', 'x y']\n");
}

/// A part of WA-03.
#[test]
fn watch_a_script_without_main_runs_and_a_note_says_so() {
    let bench = Bench::python("x = watch(0, name='x')\nx = 1\n");
    let shown = bench.watch(&["--user-script", "app.py"]);
    assert!(shown.stderr.contains("the script defines no main()"), "{shown:?}");
    assert_eq!(of(&bench.events("watcher_output"), "x").len(), 1);
}
