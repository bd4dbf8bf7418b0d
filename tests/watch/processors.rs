//! Processors see each event before it is written, and cost nothing but their own answer.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bench::{Bench, lines, shown};

/// Five events of `x`, seen by a processor with this body.
fn with(processor: &str) -> (Bench, crate::bench::Shown) {
    let bench = Bench::python("x = watch(0, name='x')\nfor n in range(1, 6):\n    x = n\n");
    bench.write("p.py", processor);
    let shown = bench.watch(&["--user-script", "app.py", "--custom-processor", "p.py"]);
    assert_eq!(shown.status, 0, "{shown:?}");
    (bench, shown)
}

fn answers(answer: &str) -> Vec<Value> {
    with(&format!("def main(event):\n    return {answer}\n")).0.events("watcher_output")
}

/// Shows WA-11, WA-59, WA-60, WA-61, WA-62, WA-110.
#[test]
fn watch_each_action_does_what_it_says() {
    let plain = answers("{'action': 'pass'}");
    assert_eq!(plain.len(), 5);
    assert!(plain.iter().all(|event| event.as_object().unwrap().len() == 11));
    assert_eq!(answers("None").len(), 5);
    assert_eq!(answers("{'action': 'drop'}").len(), 0);
    let annotated = answers("{'action': 'annotate', 'annotations': {'risk': 'high', 'n': event['line']}}");
    assert_eq!(annotated[4]["annotations"], json!({"risk": "high", "n": 3}));
    let (bench, shown) =
        with("def main(event):\n    return {'action': 'enrich', 'extra': {'host': 'h', 'line': 99}}\n");
    let enriched = bench.events("watcher_output");
    assert_eq!((&enriched[0]["host"], &enriched[0]["line"]), (&json!("h"), &json!(3)));
    assert!(shown.stderr.contains("5 fields not overwritten"), "{shown:?}");
}

/// Shows WA-58, WA-64, WA-65, WA-82.
#[test]
fn watch_a_processor_is_one_process_that_sees_every_event_whole() {
    let (bench, shown) = with(
        "import os, sys, json\ndef main(event):\n    print(os.getpid(), os.getppid(), sorted(event), event['deltas'][0]['after'])\n    return {'action': 'pass'}\n",
    );
    let seen: Vec<&str> = shown.stderr.lines().filter(|line| line.contains("event_id")).collect();
    assert_eq!(seen.len(), 5);
    for (n, line) in seen.iter().enumerate() {
        assert!(line.ends_with(&format!("0x0{}", n + 1)), "{line}");
        assert_eq!(line.split(' ').next(), seen[0].split(' ').next(), "one process");
        assert_ne!(line.split(' ').next(), line.split(' ').nth(1));
        for field in [
            "event_id",
            "timestamp_ns",
            "variable_name",
            "function",
            "file",
            "line",
            "thread_id",
            "deltas",
            "sql_context",
            "scope",
        ] {
            assert!(line.contains(field), "{field}: {line}");
        }
    }
    let mut names: Vec<String> = std::fs::read_dir(bench.path("app"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["app.py", "p.py", "watcher_output"]);
}

/// Shows WA-57, WA-66, WA-68, WA-84, WA-106.
#[test]
fn watch_a_slow_answer_passes_its_event_and_the_next_finds_a_fresh_processor() {
    let begun = Instant::now();
    let (bench, shown) = with(
        "import time\ndef main(event):\n    if event['deltas'][0]['after'] in ('0x02', '0x04'): time.sleep(30)\n    time.sleep(0.03)\n    return {'action': 'annotate', 'annotations': {'seen': True}}\n",
    );
    assert!(begun.elapsed() < Duration::from_secs(15), "nobody waits for it");
    let annotated: Vec<bool> =
        bench.events("watcher_output").iter().map(|event| event.get("annotations").is_some()).collect();
    assert_eq!(annotated, [true, false, true, false, true]);
    assert!(shown.stderr.contains("2 not answered by a processor"), "{shown:?}");
    let warnings = shown.stderr.lines().filter(|line| line.contains("it did not answer in time")).count();
    assert_eq!(warnings, 1, "{shown:?}");
}

#[test]
fn watch_the_start_of_a_processor_does_not_count() {
    let (bench, _) = with("import time\ntime.sleep(0.5)\ndef main(event):\n    return {'action': 'drop'}\n");
    assert_eq!(bench.events("watcher_output").len(), 0);
}

/// Shows WA-67.
#[test]
fn watch_an_answer_that_is_none_passes_its_event() {
    for (body, count) in [
        ("return {'action': {1, 2}}", 5),
        ("import os; os.write(1, b'hello\\n'); return {'action': 'drop'}", 5),
        ("return {'action': 'explode'}", 5),
        ("return {}", 5),
        ("return 'drop'", 5),
        ("raise ValueError('no')", 5),
    ] {
        let (bench, shown) = with(&format!("def main(event):\n    {body}\n"));
        assert_eq!(bench.events("watcher_output").len(), 5, "{body}");
        assert!(shown.stderr.contains(&format!("{count} not answered by a processor")), "{body}: {shown:?}");
    }
    let (bench, shown) = with("def main(event):\n    print('hello')\n    return {'action': 'drop'}\n");
    assert_eq!(bench.events("watcher_output").len(), 0);
    assert!(shown.stderr.contains("hello") && !shown.stderr.contains("not answered"), "{shown:?}");
}

/// Shows WA-85.
#[test]
fn watch_a_processor_that_dies_or_babbles_harms_nobody() {
    for body in [
        "import os; os.abort()",
        "import os, sys\n    for n in range(60): os.write(1, b'x' * 1_000_000)",
        "import os\n    if os.fork() == 0:\n        import time; time.sleep(600)\n    os._exit(3)",
    ] {
        let bench = Bench::python("x = watch(0, name='x')\nx = 1\nx = 2\n");
        bench.write("p.py", &format!("def main(event):\n    {body}\n"));
        let shown = bench.watch(&["--user-script", "app.py", "--custom-processor", "p.py"]);
        assert_eq!(shown.status, 0, "{body}: {shown:?}");
        assert_eq!(bench.events("watcher_output").len(), 2, "{body}");
    }
}

/// Shows WA-70.
#[test]
fn watch_several_processors_are_a_chain() {
    let bench = Bench::python("x = watch(0, name='x')\nx = 1\nx = 2\nx = 3\n");
    bench.write(
        "a.py",
        "def main(event):\n    return {'action': 'annotate', 'annotations': {'a': 1, 'both': 'a'}}\n",
    );
    bench.write("b.py", "def main(event):\n    if event['line'] == 3: raise ValueError\n    assert event['annotations']['a'] == 1\n    return {'action': 'annotate', 'annotations': {'both': 'b'}}\n");
    bench
        .write("c.py", "def main(event):\n    return {'action': 'drop' if event['line'] == 4 else 'pass'}\n");
    let chain = ["--custom-processor", "a.py", "--custom-processor", "b.py", "--custom-processor", "c.py"];
    let events = bench.traced(&chain);
    let annotations: Vec<&Value> = events.iter().map(|event| &event["annotations"]).collect();
    assert_eq!(annotations, [&json!({"a": 1, "both": "b"}), &json!({"a": 1, "both": "a"})]);
}

/// Shows WA-83.
#[test]
fn watch_a_processor_without_its_interpreter_is_a_warning() {
    // Only the program finds its interpreter: PATH names none by the time the processor is started.
    let bench = Bench::python("print('ran')\n");
    bench.write("p.py", "def main(event):\n    return {'action': 'drop'}\n");
    let empty = bench.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let mut command = bench.command(crate::bench::TICKFS);
    command.args(["watch", "--user-script", "app.py", "--custom-processor", "p.py"]).env("PATH", &empty);
    let shown = shown(&mut command);
    assert!(shown.stderr.contains("python3 is not in PATH: the processor p.py is skipped"), "{shown:?}");
    assert_eq!(shown.status, 1, "the program needs it too");
}

/// Shows WA-63, WA-147.
#[test]
fn watch_what_a_processor_drops_is_never_on_disk() {
    let bench = Bench::python(
        "import time\nx = watch(0, name='x')\nfor n in range(1, 40):\n    x = n\n    time.sleep(0.02)\n",
    );
    bench.write("p.py", "def main(event):\n    odd = int(event['deltas'][0]['after'], 16) % 2\n    return {'action': 'drop'} if odd else {'action': 'annotate', 'annotations': {'even': True}}\n");
    let mut command = bench.command(crate::bench::TICKFS);
    let mut child = command
        .args(["watch", "--user-script", "app.py", "--custom-processor", "p.py", "--log-level", "error"])
        .spawn()
        .unwrap();
    let path = bench.path("app/watcher_output/events.jsonl");
    let mut seen = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        // Who reads while a line is written may get a piece of it.
        let text = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        assert!(text.lines().all(|line| line.contains("\"annotations\":{\"even\":true}")), "{text}");
        seen = seen.max(text.lines().count());
        std::thread::yield_now();
    }
    assert!(seen > 1, "some were on disk before the end");
    assert_eq!(lines(&path), 19);
}
