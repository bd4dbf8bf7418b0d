//! What an event says.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::bench::{Bench, applied, is_installed, of, shown};

const HUNDRED: &str =
    "counter = watch(0, name=\"counter\")\nfor i in range(100):\n    counter = counter + 1\n";

/// Shows WA-01, WA-18, WA-21, WA-28, WA-31.
#[test]
fn watch_a_hundred_increments_are_a_hundred_events() {
    let bench = Bench::python(HUNDRED);
    let events = bench.traced(&[]);
    assert_eq!(events.len(), 100);
    let mut value = 0_i64.to_le_bytes().to_vec();
    for (n, event) in (1_i64..).zip(&events) {
        value = applied(&value, event);
        assert_eq!(value, n.to_le_bytes());
    }
}

/// Shows WA-127, WA-128, WA-129, WA-130, WA-131, WA-132, WA-133, WA-134, WA-138, WA-146.
#[test]
fn watch_an_event_has_eleven_fields_with_their_types() {
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let bench = Bench::python(
        "x = watch(0, name='x')\ndef change():\n    global x\n\n    x = 5\nchange()\nx = 6\nclass C:\n    def m(self):\n        global x\n        x = 7\nC().m()\n",
    );
    let events = bench.traced(&[]);
    let names: BTreeSet<&str> = events[0].as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "event_id",
        "timestamp_ns",
        "variable_id",
        "variable_name",
        "function",
        "file",
        "line",
        "deltas",
        "thread_id",
        "sql_context",
        "scope",
    ];
    assert_eq!(names, BTreeSet::from(expected));
    let time = u128::from(events[0]["timestamp_ns"].as_u64().unwrap());
    assert!(before <= time && time < before + 60_000_000_000, "{time}");
    assert_eq!(time.to_string().len(), 19);
    let places: Vec<(&str, u64)> =
        events.iter().map(|e| (e["function"].as_str().unwrap(), e["line"].as_u64().unwrap())).collect();
    assert_eq!(places, [("change", 5), ("<module>", 7), ("C.m", 11)]);
    for event in &events {
        assert_eq!((&event["variable_id"], &event["variable_name"]), (&json!("var_x"), &json!("x")));
        assert_eq!(event["file"].as_str().unwrap(), bench.path("app/app.py").to_str().unwrap());
        assert_eq!(
            (&event["thread_id"], &event["sql_context"], &event["scope"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
    }
    let ids: BTreeSet<&str> = events.iter().map(|e| e["event_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 3);
    let again = bench.traced(&[]);
    assert!(again[3..].iter().all(|event| !ids.contains(event["event_id"].as_str().unwrap())));
}

/// Shows WA-139, WA-140, WA-141.
#[test]
fn watch_deltas_turn_the_bytes_before_into_those_after() {
    let bench = Bench::python(
        "s = watch('abc', name='s')\ns = 'abcdé'\ns = 'b'\nitems = watch([1, 2], name='items')\nitems.append(3)\nitems.pop(0)\ndel items[:]\n",
    );
    let events = bench.traced(&[]);
    let mut value = b"abc".to_vec();
    for (event, after) in of(&events, "s").into_iter().zip(["abcdé", "b"]) {
        assert_eq!((&event["size_before"], &event["size_after"]), (&json!(value.len()), &json!(after.len())));
        value = applied(&value, event);
        assert_eq!(value, after.as_bytes());
    }
    let mut value = b"[1, 2]".to_vec();
    let afters = ["[1, 2, 3]", "[2, 3]", "[]"];
    assert_eq!(of(&events, "items").len(), afters.len());
    for (event, after) in of(&events, "items").into_iter().zip(afters) {
        value = applied(&value, event);
        assert_eq!(String::from_utf8_lossy(&value), after);
    }
    for event in &events {
        for delta in event["deltas"].as_array().unwrap() {
            assert_ne!(delta["before"], delta["after"]);
            for side in ["before", "after"] {
                let legal = |hex: &str| {
                    hex.len() == 4
                        && hex.starts_with("0x")
                        && hex[2..].bytes().all(|b| b"0123456789abcdef".contains(&b))
                };
                assert!(delta[side].is_null() || delta[side].as_str().is_some_and(legal), "{delta}");
            }
        }
    }
}

/// Shows WA-73, WA-148.
#[test]
fn watch_a_hundred_thousand_events_come_in_order_without_a_gap() {
    let bench = Bench::python("n = watch(0, name='n')\nfor i in range(1, 100_001):\n    n = i\n");
    let events = bench.traced(&[]);
    assert_eq!(events.len(), 100_000);
    let mut value = 0_i64.to_le_bytes().to_vec();
    for (n, event) in (1_i64..).zip(&events) {
        value = applied(&value, event);
        assert_eq!(value, n.to_le_bytes());
    }
}

#[test]
fn watch_a_thousand_variables_keep_their_own_order() {
    let names: Vec<String> = (0..1000).map(|n| format!("v{n}")).collect();
    let mut source = String::new();
    for name in &names {
        source.push_str(&format!("{name} = watch(0, name='{name}')\n"));
    }
    source.push_str("for i in range(1, 101):\n");
    for name in &names {
        source.push_str(&format!("    {name} = i\n"));
    }
    let bench = Bench::python(&source);
    let events = bench.traced(&[]);
    assert_eq!(events.len(), 100_000);
    let mut values = std::collections::HashMap::new();
    for event in &events {
        let name = event["variable_name"].as_str().unwrap();
        let (count, value) = values.entry(name).or_insert((0_i64, 0_i64.to_le_bytes().to_vec()));
        *count += 1;
        *value = applied(value, event);
        assert_eq!(*value, count.to_le_bytes(), "{name}");
    }
    assert!(values.len() == 1000 && values.values().all(|(count, _)| *count == 100));
}

/// Shows WA-71, WA-126.
#[test]
fn watch_each_line_parses_alone_whatever_the_value() {
    let bench = Bench::python("s = watch('', name='line\\nbreak \"q\" é')\ns = 'a\\nb\\x00\\U0001f600'\n");
    let events = bench.traced(&[]);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["variable_name"], "line\nbreak \"q\" é");
}

/// Shows WA-72.
#[test]
fn watch_a_second_run_appends() {
    let bench = Bench::python(HUNDRED);
    bench.traced(&[]);
    let path = bench.path("app/watcher_output/events.jsonl");
    let first = std::fs::read(&path).unwrap();
    bench.traced(&[]);
    let both = std::fs::read(&path).unwrap();
    assert_eq!(both[..first.len()], first);
    assert_eq!(bench.events("watcher_output").len(), 200);
}

/// Shows WA-87.
#[test]
fn watch_two_variables_of_one_name_have_two_ids() {
    let bench = Bench::python("import other\nx = watch(0, name='x')\nx = 1\n");
    bench.write("other.py", "x = watch(0, name='x')\nx = 2\n");
    let events = bench.traced(&[]);
    let seen: Vec<(&Value, &Value)> = events.iter().map(|e| (&e["variable_id"], &e["line"])).collect();
    assert_eq!(seen, [(&json!("var_x"), &json!(2)), (&json!("var_x_2"), &json!(3))]);
    assert_eq!(events[0]["file"].as_str().unwrap(), bench.path("app/other.py").to_str().unwrap());
}

/// Shows WA-05, WA-135.
#[test]
fn watch_the_number_of_the_writing_thread_is_told_when_asked_for() {
    let source = "import threading\nx = watch(0, name='x')\ny = watch(0, name='y', track_threads=False)\n\
                  def work():\n    global x, y\n    x += 1\n    y += 1\n    print(threading.get_native_id())\n\
                  for n in range(2):\n    t = threading.Thread(target=work)\n    t.start()\n    t.join()\n";
    let bench = Bench::python(source);
    let shown = bench.watch(&["--user-script", "app.py", "--track-threads"]);
    let printed: Vec<u64> = shown.stdout.lines().map(|line| line.parse().unwrap()).collect();
    let events = bench.events("watcher_output");
    let told: Vec<u64> = of(&events, "x").iter().map(|e| e["thread_id"].as_u64().unwrap()).collect();
    assert_eq!(told, printed);
    assert_ne!(told[0], told[1]);
    assert!(of(&events, "y").iter().all(|event| event["thread_id"].is_null()));
    std::fs::remove_dir_all(bench.path("app/watcher_output")).unwrap();
    assert!(bench.traced(&[]).iter().all(|event| event["thread_id"].is_null()));
}

/// Shows WA-142.
#[test]
fn watch_the_usual_readers_read_the_file() {
    if !is_installed("jq") {
        return;
    }
    let bench = Bench::python(HUNDRED);
    bench.traced(&[]);
    for (line, lines) in [
        (
            "python3 -c 'import json\nfor line in open(\"watcher_output/events.jsonl\"): print(json.loads(line)[\"line\"])'",
            100,
        ),
        ("head -1 watcher_output/events.jsonl | python3 -m json.tool", 19),
        ("jq -c 'select(.variable_name == \"counter\")' watcher_output/events.jsonl", 100),
        ("jq -c 'select(.variable_name == \"other\")' watcher_output/events.jsonl", 0),
    ] {
        let shown = shown(bench.command("sh").args(["-c", line]));
        assert_eq!((shown.status, shown.stdout.lines().count()), (0, lines), "{line}: {shown:?}");
    }
    let shown = shown(bench.command("sh").args(["-c", "cat watcher_output/events.jsonl | wc -l"]));
    assert_eq!(shown.stdout.trim(), "100");
}
