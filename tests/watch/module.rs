//! The module that a program can import `watch` from.

use crate::bench::{Bench, is_installed, of, shown};

const CLEAR: &str = "RuntimeError: watch() needs the runtime of tickfs: run this program with `tickfs watch";

const REQUIRED: &str = "\
const { watch, traced } = require('tickfs');
const tickfs = require('tickfs');
const words = watch(new Uint32Array(2), { name: 'words', track_threads: true });
let n = tickfs.watch(0, { name: 'n', mutationDepth: 1 });
exports.main = () => { words[1] = 5; n = 7; console.log(traced, typeof tickfs.watch); };
";
const IMPORTED: &str = "\
import { watch as follow, traced } from 'tickfs';
import * as tickfs from 'tickfs';
const words = follow(new Uint32Array(2), { name: 'words', track_threads: true });
let n = tickfs.watch(0, { name: 'n', mutationDepth: 1 });
export const main = async () => { words[1] = 5; n = 7; console.log(traced, typeof (await import('tickfs')).watch); };
";

/// Shows WA-91, WA-97.
#[test]
fn watch_module_of_node_gives_the_same_watch_with_its_options() {
    if !is_installed("node") {
        return;
    }
    for (name, source) in [("app.js", REQUIRED), ("app.mjs", IMPORTED)] {
        for installed in [false, true] {
            let bench = Bench::new();
            bench.write(name, source);
            if installed {
                assert_eq!(bench.watch(&["module", "node"]).status, 0);
            }
            let shown = bench.watch(&["--user-script", name]);
            assert_eq!((shown.stdout.as_str(), shown.status), ("true function\n", 0), "{name}: {shown:?}");
            let events = bench.events("watcher_output");
            let words = of(&events, "words");
            assert_eq!(words[0]["function"], "main");
            assert_eq!((words.len(), &words[0]["line"]), (1, &5.into()), "{name} {installed}");
            assert!(words[0]["thread_id"].is_u64(), "{words:?}");
            let n = of(&events, "n");
            assert_eq!((n.len(), n[0]["deltas"].as_array().unwrap().len()), (1, 0), "{name} {installed}");
        }
    }
}

#[test]
fn watch_module_of_python_gives_the_same_watch() {
    for installed in [false, true] {
        let bench = Bench::python(
            "import tickfs\nfrom tickfs import watch as follow, traced\nx = tickfs.watch(0, name='x')\ny = follow(0, name='y')\nx = 1\ny = 2\nprint(traced)\n",
        );
        if installed {
            assert_eq!(bench.watch(&["module", "python"]).stdout, "./tickfs.py\n");
        }
        let shown = bench.watch(&["--user-script", "app.py"]);
        assert_eq!((shown.stdout.as_str(), shown.status), ("True\n", 0), "{shown:?}");
        let events = bench.events("watcher_output");
        assert_eq!((of(&events, "x").len(), of(&events, "y").len()), (1, 1));
    }
}

/// Shows WA-32.
#[test]
fn watch_module_without_the_runtime_is_a_runtime_error() {
    let bench = Bench::new();
    assert_eq!(bench.watch(&["module", "python", "."]).status, 0);
    let source = "import tickfs\nprint(tickfs.traced)\ntickfs.watch(0, name='x')\n";
    let shown_python = shown(bench.command("python3").args(["-c", source]));
    assert_eq!((shown_python.stdout.as_str(), shown_python.status), ("False\n", 1));
    assert!(shown_python.stderr.contains(CLEAR), "{shown_python:?}");
    if !is_installed("node") {
        return;
    }
    assert_eq!(bench.watch(&["module", "node", "."]).status, 0);
    for source in [
        "const t = require('tickfs'); console.log(t.traced); t.watch(new Uint8Array(1))",
        "import('tickfs').then((t) => { console.log(t.traced); t.watch(new Uint8Array(1)) })",
    ] {
        let shown = shown(bench.command("node").args(["-e", source]));
        assert_eq!((shown.stdout.as_str(), shown.status), ("false\n", 1), "{shown:?}");
        assert!(shown.stderr.contains(CLEAR), "{shown:?}");
    }
}

#[test]
fn watch_module_overwrites_itself_and_nothing_else() {
    let bench = Bench::new();
    let write = || bench.watch(&["module", "python", "lib"]);
    assert_eq!((write().stdout.as_str(), write().status), ("lib/tickfs.py\n", 0));
    bench.write("lib/tickfs.py", "mine = 1\n");
    let refused = write();
    assert_eq!(refused.status, 1);
    assert!(refused.stderr.contains("and not by tickfs (lib/tickfs.py)"), "{refused:?}");
    assert_eq!(std::fs::read_to_string(bench.path("app/lib/tickfs.py")).unwrap(), "mine = 1\n");
}
