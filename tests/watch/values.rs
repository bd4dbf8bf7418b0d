//! What `watch` takes and gives back.

use crate::bench::{Bench, TICKFS, of, shown};
use crate::pythons::pythons;

/// Shows WA-29.
#[test]
fn watch_gives_back_what_behaves_like_the_value() {
    let source = "\
x = watch(5, name='x')
assert x + 1 == 6 and x == 5 and not x < 5 and isinstance(x, int)
y = x + 1
items = watch([3, 1], name='items')
assert items == [3, 1] and len(items) == 2 and items[0] == 3 and sorted(items) == [1, 3] and list(items) == [3, 1]
table = watch({'a': 1}, name='table')
assert table == {'a': 1} and 'a' in table and table['a'] == 1 and dict(table) == {'a': 1}
data = watch(bytearray(b'ab'), name='data')
assert bytes(data) == b'ab' and data[0] == 97 and data + b'c' == b'abc'
import copy, json, pickle
assert json.dumps([items, table]) == '[[3, 1], {\"a\": 1}]'
assert type(copy.copy(items)) is list and type(copy.deepcopy(table)) is dict
assert type(pickle.loads(pickle.dumps(data))) is bytearray
print(x, items, table, data)
";
    let bench = Bench::python(source);
    let shown = bench.watch(&["--user-script", "app.py"]);
    assert_eq!(
        (shown.stdout.as_str(), shown.status),
        ("5 [3, 1] {'a': 1} bytearray(b'ab')\n", 0),
        "{shown:?}"
    );
    assert_eq!(bench.events("watcher_output").len(), 0);
}

/// Shows WA-42, WA-143.
#[test]
fn watch_containers_tell_of_each_change_in_place() {
    let source = "\
from collections import deque
from array import array
items = watch([], name='items')
items.append(1); items.extend([2, 3]); items.insert(0, 0); items[1] = 9; del items[0]; items.sort(); items += [4]; items.clear()
table = watch({}, name='table')
table['a'] = 1; table.update(b=2); table.setdefault('c', 3); table.pop('a'); del table['b']; table |= {'d': 4}; table.clear()
group = watch(set(), name='group')
group.add(1); group |= {2}; group.discard(1); group.clear()
queue = watch(deque(), name='queue')
queue.append(1); queue.appendleft(2); queue.pop()
data = watch(bytearray(2), name='data')
data[0] = 1; data[0:1] = b'xyz'; data.append(7)
numbers = watch(array('i', [1, 2]), name='numbers')
numbers[1] = 5; numbers.append(6)
class Point:
    def move(self):
        self.x = 2
point = watch(Point(), name='point')
point.x = 1; point.move(); del point.x
assert type(point).__name__ == 'Point' and isinstance(point, Point)
";
    let bench = Bench::python(source);
    let events = bench.traced(&[]);
    for (name, count) in
        [("items", 8), ("table", 7), ("group", 4), ("queue", 3), ("data", 3), ("numbers", 2), ("point", 3)]
    {
        assert_eq!(of(&events, name).len(), count, "{name}");
    }
    let inside = of(&events, "point")[1];
    assert_eq!((&inside["function"], &inside["line"]), (&"Point.move".into(), &17.into()));
}

#[test]
fn watch_a_container_that_is_replaced_tells_no_more_and_its_successor_does() {
    let source = "items = watch([1], name='items')\nold = items\nitems = [2]\nold.append(3)\nitems.append(4)\nitems = 5\nitems = [6]\nitems.append(7)\n";
    let bench = Bench::python(source);
    let events = bench.traced(&[]);
    let lines: Vec<u64> = events.iter().map(|event| event["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [3, 5, 6, 7, 8]);
}

/// Shows WA-88, WA-89.
#[test]
fn watch_a_change_of_nothing_known_is_kept_with_unknown_fields() {
    let bench = Bench::python(
        "import sys\nagent = sys.modules['_tickfs.runtime'].agent\nagent.value(999, 4_000_000, 3, b'\\x01' * 8)\nagent.message(b'no json')\nagent.message(b'{\"variable\": {\"id\": \"x\"}}')\nx = watch(0, name='x')\nx = 1\n",
    );
    let shown = bench.watch(&["--user-script", "app.py"]);
    // What could not be understood is counted, and the status says so.
    assert_eq!(shown.status, 1, "{shown:?}");
    assert!(shown.stderr.contains("2 records not understood"), "{shown:?}");
    let events = bench.events("watcher_output");
    assert_eq!(events.len(), 2);
    assert_eq!(
        (&events[0]["variable_id"], &events[0]["variable_name"]),
        (&"unknown".into(), &"unknown_var".into())
    );
    assert_eq!(events[0]["function"], "<unseen>");
    assert_eq!(events[1]["variable_name"], "x");
}

/// What no hook sees is found at the latest when the program ends.
#[test]
fn watch_a_change_behind_the_hooks_is_found_and_named_so() {
    let source = "items = watch([1], name='items')\nlist.append(items, 2)\n";
    let bench = Bench::python(source);
    let events = bench.traced(&[]);
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["function"], &events[0]["line"]), (&"<unseen>".into(), &0.into()));
}

/// Shows WA-35, WA-37, WA-38, WA-43.
#[test]
fn watch_refuses_what_it_cannot_watch_and_the_program_can_go_on() {
    let source = "\
def refused(call):
    try:
        call()
    except Exception as error:
        return type(error).__name__, str(error)
print(refused(lambda: watch()))
print(refused(lambda: watch(0, colour='red')))
print(refused(lambda: watch(0, scope='everywhere')))
print(refused(lambda: watch(0, mutation_depth=-1)))
print(refused(lambda: watch(b'x' * (16 * 1024 * 1024 + 1), name='big')))
limit = watch(b'x' * (16 * 1024 * 1024), name='limit')
x = watch(0)
x = 1
y = watch(0, name='y', track_threads=None, track_locals=None, track_sql=None, mutation_depth='FULL', scope=None, file_path=None)
y = 2
";
    let bench = Bench::python(source);
    let shown = bench.watch(&["--user-script", "app.py"]);
    let lines: Vec<&str> = shown.stdout.lines().collect();
    assert_eq!(shown.status, 0, "{shown:?}");
    assert!(lines[0].starts_with("('TypeError'"), "{lines:?}");
    assert!(lines[1].contains("unexpected keyword argument 'colour'"), "{lines:?}");
    assert!(lines[2].starts_with("('ValueError'"), "{lines:?}");
    assert!(lines[3].starts_with("('ValueError'"), "{lines:?}");
    assert!(
        lines[4].starts_with("('ValueError'") && lines[4].contains("the limit is 16777216 bytes"),
        "{lines:?}"
    );
    let names: Vec<String> = bench
        .events("watcher_output")
        .iter()
        .map(|e| e["variable_name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["var", "y"]);
}

/// Shows WA-34.
#[test]
fn watch_says_when_there_are_too_many_variables() {
    let names = (0..65_536).map(|n| format!("    v{n} = watch(0)\n")).collect::<String>();
    let source = format!("if False:\n{names}x = watch(0, name='x')\n");
    let bench = Bench::python(&source);
    let shown = bench.watch(&["--user-script", "app.py", "--log-level", "error"]);
    assert_eq!(shown.status, 1);
    assert!(shown.stderr.contains("RuntimeError: too many variables are watched"), "{}", shown.stderr);
}

/// Shows WA-39, WA-40, WA-41, WA-137.
#[test]
fn watch_options_of_one_variable_leave_the_others_alone() {
    let source = "\
a = watch(bytes(32), name='a', mutation_depth=16)
b = watch(bytes(32), name='b')
c = watch(0, name='c', scope='both', track_threads=True)
a = b'\\x01' * 32
b = b'\\x01' * 32
c = 1
";
    let bench = Bench::python(source);
    let events = bench.traced(&[]);
    let told = |name: &str| of(&events, name)[0]["deltas"].as_array().unwrap().len();
    assert_eq!((told("a"), told("b")), (16, 32));
    assert_eq!(of(&events, "c")[0]["scope"], "both");
    assert!(of(&events, "c")[0]["thread_id"].is_u64() && of(&events, "b")[0]["thread_id"].is_null());
    assert_eq!(of(&events, "b")[0]["scope"], serde_json::Value::Null);
}

#[test]
fn watch_a_script_with_its_own_watch_keeps_it() {
    let bench = Bench::python(
        "def watch(value, name):\n    return value * 2\nx = watch(2, name='x')\nx = 5\nprint(x)\n",
    );
    let shown = bench.watch(&["--user-script", "app.py"]);
    assert_eq!((shown.stdout.as_str(), bench.events("watcher_output").len()), ("5\n", 0));
}

/// What the program shares stays shared: only a value that nobody else holds is replaced by one that tells.
#[test]
fn watch_a_value_that_others_hold_stays_the_one_that_they_hold() {
    let source = "\
shared = []
items = watch([], name='items')
items = shared
items.append(1)
assert shared == [1] and items is shared
items = [1]
items.append(2)
items: list = [3]
items.append(4)
class Own(list):
    def __init__(self, tag):
        self.tag = tag
own = Own('t')
kept = watch(own, name='kept')
kept.append(1)
own.append(2)
assert kept is own and type(own) is Own and own.tag == 't' and own == [1, 2]
class Holder: pass
holder = Holder()
holder.x = watch([], name='x')
holder.x = [1]
holder.x.append(2)
holder.x = shared
holder.x.append(5)
assert shared == [1, 5]
b = watch(0, name='b')
b = items
items.append(6)
";
    for python in pythons() {
        let bench = Bench::python(source);
        let path = format!("{}:{}", python.display(), std::env::var("PATH").unwrap());
        let shown = shown(bench.command(TICKFS).args(["watch", "--user-script", "app.py"]).env("PATH", path));
        assert_eq!(shown.status, 0, "{python:?}: {shown:?}");
        let events = bench.events("watcher_output");
        let lines = |name: &str| -> Vec<u64> {
            of(&events, name).iter().map(|event| event["line"].as_u64().unwrap()).collect()
        };
        assert_eq!(lines("items"), [6, 7, 8, 9, 28], "{python:?}");
        assert_eq!((lines("kept"), lines("b")), (vec![15, 16], vec![27, 0]), "{python:?}");
        assert_eq!(lines("x"), [21, 22, 23, 0], "{python:?}");
    }
}
