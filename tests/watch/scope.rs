//! `--files-scope`: which files are traced, and which scope an event shows.

use serde_json::{Value, json};

use crate::bench::{Bench, of};

fn project() -> Bench {
    let bench = Bench::python(
        "import sys\nsys.path.insert(0, 'src')\nimport inner\ncounter = watch(0, name='counter')\ncounter = 1\n",
    );
    bench.write(
        "src/inner.py",
        "counter = watch(0, name='counter')\ncounter = 1\ntotal = watch(0, name='total')\ntotal = 1\n",
    );
    bench
}

/// Shows WA-09.
#[test]
fn watch_globs_say_which_files_are_traced() {
    let bench = project();
    let events = bench.traced(&["--files-scope", "src/**"]);
    let names: Vec<&Value> = events.iter().map(|event| &event["variable_name"]).collect();
    assert_eq!(names, [&json!("counter"), &json!("total")]);
    let all = bench.traced(&["--files-scope", "src/*.py, *.py", "--output", "watcher_output"]);
    assert_eq!(all.len(), 2 + 3);
}

/// Shows WA-44, WA-49, WA-50, WA-51, WA-52.
#[test]
fn watch_a_scope_file_gives_variables_their_scope() {
    let bench = project();
    let text = "# scopes\nsrc/inner.py:(local:counter, total)\n";
    let path = bench.write("scopes.txt", text);
    let shown = bench.watch(&["--user-script", "app.py", "--files-scope", "scopes.txt"]);
    assert_eq!(shown.status, 0, "{shown:?}");
    assert!(shown.stderr.contains("the scopes of variables are those of scopes.txt"), "{shown:?}");
    let events = bench.events("watcher_output");
    let scopes: Vec<&Value> = of(&events, "counter").iter().map(|event| &event["scope"]).collect();
    assert_eq!(scopes, [&json!("local"), &Value::Null]);
    assert_eq!(of(&events, "total")[0]["scope"], Value::Null);
    assert_eq!(std::fs::read_to_string(path).unwrap(), text);
}

/// Shows WA-48.
#[test]
fn watch_a_scope_file_that_is_wrong_is_refused() {
    let bench = project();
    bench.write("bad.txt", "src/inner.py:(local:counter)\nsrc/inner.py\n");
    for (said, expected) in [
        ("bad.txt", "line 2: `:(` is missing between the file and its names (bad.txt)"),
        ("gone.txt", "this is neither a scope file nor a list of globs (gone.txt)"),
    ] {
        let shown = bench.watch(&["--user-script", "app.py", "--files-scope", said]);
        assert_eq!(shown.status, 2);
        assert!(shown.stderr.contains(expected), "{shown:?}");
    }
    assert!(!bench.exists("watcher_output"));
}
