//! The specification's own examples, as they are written.

use serde_json::{Value, json};

use crate::bench::{Bench, of, shown};

const EXAMPLE: &str = "\
def main(event):
    if len(event['deltas']) > 100:
        return {'action': 'drop'}
    if event.get('sql_context'):
        return {'action': 'annotate', 'annotations': {'db_op': True, 'risk': 'high'}}
    if event['variable_name'].startswith('_'):
        return {'action': 'drop'}
    return {'action': 'pass'}
";

/// Shows WA-111, WA-113, WA-114, WA-124.
#[test]
fn watch_the_first_examples_rules_hold() {
    let bench = Bench::python(
        "big = watch(bytes(101), name='big')\nbig = b'\\x01' * 101\nfits = watch(bytes(100), name='fits')\nfits = b'\\x01' * 100\n_x = watch(0, name='_x')\n_x = 1\nx = watch(0, name='x')\nx = 1\n",
    );
    bench.write("processor.py", EXAMPLE);
    let args = ["--user-script", "./app.py", "--custom-processor", "./processor.py", "--output", "./events"];
    assert_eq!(bench.watch(&args).status, 0);
    let names: Vec<Value> =
        bench.events("events").iter().map(|event| event["variable_name"].clone()).collect();
    assert_eq!(names, [json!("fits"), json!("x")]);
}

/// Shows WA-120, WA-121, WA-122.
#[test]
fn watch_the_common_patterns_work() {
    let bench = Bench::python(
        "b = watch(bytes(60), name='b')\ndef change(n):\n    global b\n    b = b'\\x01' * n + bytes(60 - n)\n    b = bytes(60)\ndef main():\n    change(2); change(3); change(50); change(51)\n    global b\n    b = b'\\x02' * 3 + bytes(57)\n",
    );
    bench.write("noise.py", "def main(event):\n    if len(event['deltas']) < 3: return {'action': 'drop'}\n    return {'action': 'pass'}\n");
    bench.write("high.py", "def main(event):\n    if len(event['deltas']) > 50: return {'action': 'annotate', 'annotations': {'risk': 'high'}}\n    if event['function'] == 'main': return {'action': 'annotate', 'annotations': {'source': 'main'}}\n    return {'action': 'pass'}\n");
    let events = bench.traced(&["--custom-processor", "noise.py", "--custom-processor", "high.py"]);
    let seen: Vec<(usize, Value)> =
        events.iter().map(|e| (e["deltas"].as_array().unwrap().len(), e["annotations"].clone())).collect();
    let high = json!({"risk": "high"});
    let none = Value::Null;
    let expected = [
        (3, none.clone()),
        (3, none.clone()),
        (50, none.clone()),
        (50, none),
        (51, high.clone()),
        (51, high),
        (3, json!({"source": "main"})),
    ];
    assert_eq!(seen, expected);
    assert_eq!(of(&events, "b").len(), 7);
}

/// Shows WA-125.
#[test]
fn watch_the_combined_example_gives_a_hundred_lines() {
    let bench = Bench::python(
        "counter = watch(0, name=\"counter\")\n\nfor i in range(100):\n    counter = counter + 1\n",
    );
    bench.write("filter.py", "def main(event):\n    if len(event[\"deltas\"]) > 5:\n        return {\"action\": \"drop\"}\n    return {\"action\": \"pass\"}\n");
    let args = ["--user-script", "./app.py", "--custom-processor", "./filter.py", "--output", "./events"];
    assert_eq!(bench.watch(&args).status, 0);
    let count = shown(bench.command("sh").args(["-c", "cat events/events.jsonl | wc -l"]));
    assert_eq!(count.stdout.trim(), "100");
}
