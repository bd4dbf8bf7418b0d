//! `watch/` of a mount: a run as files, while the program runs and after.

use std::path::Path;

use serde_json::Value;

use crate::bench::{Bench, TICKFS, applied, of, shown};

/// The mount of a project; it goes when this is dropped.
struct Mounted<'a>(&'a Bench);

impl<'a> Mounted<'a> {
    fn begin(bench: &'a Bench) -> Option<Self> {
        if !Path::new("/dev/fuse").exists() {
            println!("skipped: this machine has no /dev/fuse");
            return None;
        }
        let mounted = shown(bench.command(TICKFS).args(["mount", "."]));
        assert_eq!(mounted.status, 0, "{mounted:?}");
        Some(Self(bench))
    }

    fn text(&self, below: &str) -> String {
        let path = self.0.path("app.history").join(below);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn names(&self, below: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path("app.history").join(below)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The directory of the newest run.
    fn run(&self) -> String {
        format!("watch/{}", self.names("watch").pop().unwrap())
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let unmounted = shown(self.0.command(TICKFS).args(["unmount", "."]));
        assert_eq!(unmounted.status, 0, "{unmounted:?}");
    }
}

/// Shows WA-60, WA-68, WA-75, WA-126, WA-142, WA-145.
#[test]
fn watch_a_run_is_files_in_the_mount() {
    let bench = Bench::python(
        "n = watch(0, name='n')\nfor i in range(1, 101):\n    n = i\nb = watch(bytearray(80), name='a/b')\nfor i in range(40):\n    b[i] = 255 - i\n",
    );
    bench.write("p.py", "def main(event):\n    if event['line'] == 6 and len(event['deltas']) == 1 and event['deltas'][0]['offset'] == 7: return {'action': 'drop'}\n    if event['deltas'][0]['before'] == '0x05': raise ValueError\n    return {'action': 'pass'}\n");
    let Some(mounted) = Mounted::begin(&bench) else { return };
    let events = bench.traced(&["--custom-processor", "p.py"]);
    assert_eq!(events.len(), 139);
    let run = mounted.run();
    assert_eq!(mounted.names(&run), ["errors.json", "events.jsonl", "run.json", "script", "vars"]);
    assert_eq!(mounted.names(&format!("{run}/vars")), ["a%2Fb", "n"]);
    assert_eq!(
        mounted.text(&format!("{run}/script")),
        std::fs::read_to_string(bench.path("app/app.py")).unwrap()
    );
    let output = std::fs::read_to_string(bench.path("app/watcher_output/events.jsonl")).unwrap();
    assert_eq!(mounted.text(&format!("{run}/events.jsonl")), output);
    for n in [0, 1, 17, 99, 100] {
        assert_eq!(mounted.text(&format!("{run}/vars/n/@{n}")), format!("{n}\n"));
    }
    assert_eq!(mounted.text(&format!("{run}/vars/n/@HEAD")), "100\n");
    assert!(!bench.path("app.history").join(&run).join("vars/n/@101").exists());
    let log = mounted.text(&format!("{run}/vars/n/log"));
    assert!(log.lines().nth(17).unwrap().ends_with("/app/app.py:3  <module>  17"), "{log}");
    let bytes = |n: usize| {
        std::fs::read(bench.path("app.history").join(&run).join(format!("vars/a%2Fb/@{n}"))).unwrap()
    };
    for (n, event) in of(&events, "a/b").into_iter().enumerate() {
        // The dropped event made no version: what it changed is part of the next one.
        if n != 7 {
            assert_eq!(applied(&bytes(n), event), bytes(n + 1), "version {n}");
        }
    }
    let facts: Value = serde_json::from_str(&mounted.text(&format!("{run}/run.json"))).unwrap();
    let stats: Value = serde_json::from_str(&mounted.text("stats.json")).unwrap();
    for counts in [&facts["counts"], &stats["watch"]["counts"]] {
        assert_eq!((&counts["events_written"], &counts["events_dropped"]), (&139.into(), &1.into()));
        assert_eq!((&counts["skipped_invocations"], &counts["events_lost"]), (&1.into(), &0.into()));
        assert_eq!(counts["buffered"], 0);
    }
    assert_eq!(stats["watch"]["last_output"], "./watcher_output/events.jsonl");
    let errors: Value = serde_json::from_str(&mounted.text(&format!("{run}/errors.json"))).unwrap();
    assert_eq!(errors[0]["error"], "skipped_invocations");
    // The serving process wrote the run into the journal.
    assert!(mounted.text("events/events.jsonl").contains("\"item_type\":\"run\""));
    let lines = format!("wc -l < {}/events.jsonl", bench.path("app.history").join(&run).display());
    assert_eq!(shown(bench.command("sh").args(["-c", &lines])).stdout.trim(), "139");
}

#[test]
fn watch_a_run_can_be_read_while_the_program_runs() {
    let bench = Bench::python(
        "import os, time\nn = watch(0, name='n')\nn = 1\nwhile not os.path.exists('stop'):\n    time.sleep(0.01)\nn = 2\n",
    );
    let Some(mounted) = Mounted::begin(&bench) else { return };
    let mut command = bench.command(TICKFS);
    let mut child =
        command.args(["watch", "--user-script", "app.py", "--log-level", "error"]).spawn().unwrap();
    let begun = std::time::Instant::now();
    let first = loop {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "a flush is due every 100 ms");
        let run = mounted.names("watch").pop();
        let path = run.map(|run| bench.path("app.history/watch").join(run).join("vars/n/@1"));
        if let Some(text) = path.and_then(|path| std::fs::read_to_string(path).ok()) {
            break text;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    assert_eq!(first, "1\n");
    let facts: Value = serde_json::from_str(&mounted.text(&format!("{}/run.json", mounted.run()))).unwrap();
    assert_eq!(facts["status"], "running");
    bench.write("stop", "");
    assert!(child.wait().unwrap().success());
    assert_eq!(mounted.text(&format!("{}/vars/n/@HEAD", mounted.run())), "2\n");
}
