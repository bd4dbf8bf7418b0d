//! Every way in which Python binds a name is seen.

use serde_json::Value;

use crate::bench::{Bench, of};

/// The decimal values that an int variable took, from its deltas.
fn ints(events: &[Value], first: i64, name: &str) -> Vec<i64> {
    let mut bytes = first.to_le_bytes().to_vec();
    let mut seen = Vec::new();
    for event in of(events, name) {
        bytes = crate::bench::applied(&bytes, event);
        seen.push(i64::from_le_bytes(bytes.clone().try_into().unwrap()));
    }
    seen
}

/// One variable `x` that begins with 0; the values that it takes.
fn takes(body: &str, args: &[&str]) -> Vec<i64> {
    let bench = Bench::python(&format!("x = watch(0, name='x')\n{body}"));
    ints(&bench.traced(args), 0, "x")
}

/// Shows WA-42.
#[test]
fn watch_every_form_of_assignment_is_an_event() {
    for (body, expected) in [
        ("x = 1\nx += 2\nx: int = 4\n", vec![1, 3, 4]),
        ("x, y = 1, 2\n[x, *z] = 3, 4\nx = y = 5\n", vec![1, 3, 5]),
        ("for x in range(1, 4):\n    pass\n", vec![1, 2, 3]),
        (
            "def f():\n    global x\n    x = 7\n    def g():\n        global x\n        x = 8\n    g()\nf()\n",
            vec![7, 8],
        ),
        ("if (x := 9) > 3:\n    pass\n[x := n for n in (10, 11)]\n", vec![9, 10, 11]),
        ("from contextlib import nullcontext\nwith nullcontext(12) as x:\n    pass\n", vec![12]),
        ("match 13:\n    case x:\n        pass\n", vec![13]),
        ("try: x = 14; raise ValueError\nexcept ValueError: x = 15\nfinally: x = 16\n", vec![14, 15, 16]),
        (
            "import asyncio\nasync def f():\n    global x\n    x = 17\n    await asyncio.sleep(0)\n    x = 18\nasyncio.run(f())\n",
            vec![17, 18],
        ),
        (
            "def g():\n    global x\n    for n in (19, 20):\n        x = n\n        yield\nlist(g())\n",
            vec![19, 20],
        ),
        ("x = x if True else 0; x = 21\n", vec![21]),
        ("class C:\n    y = watch(0, name='y')\n    y = 22\nx = C.y\n", vec![22]),
        ("exec('')\nx = -1\nx = 2**40\n", vec![-1, 1 << 40]),
    ] {
        assert_eq!(takes(body, &[]), expected, "{body}");
    }
}

#[test]
fn watch_an_assignment_of_the_same_value_is_no_change() {
    assert_eq!(takes("x = 0\nx = 1\nx = 1\nx = 0\n", &[]), [1, 0]);
}

#[test]
fn watch_a_deleted_name_is_an_event_and_the_name_is_free_again() {
    let bench = Bench::python("x = watch(3, name='x')\ndel x\nx = 5\n");
    let events = bench.traced(&[]);
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["line"], &events[0]["size_after"]), (&Value::from(2), &Value::from(0)));
}

/// Shows WA-06, WA-07.
#[test]
fn watch_variables_of_functions_are_traced_when_asked_for() {
    let source = "def main():\n    x = watch(0, name='x')\n    for x in (1, 2):\n        pass\n    def inner():\n        nonlocal x\n        x = 3\n    inner()\nmain()\n";
    let bench = Bench::python(source);
    let shown = bench.watch(&["--user-script", "app.py"]);
    assert_eq!((shown.status, bench.events("watcher_output").len()), (0, 0));
    assert!(shown.stderr.contains("x is a variable of a function: --track-locals traces it"), "{shown:?}");
    for flag in ["--track-locals", "--track-all"] {
        let bench = Bench::python(source);
        assert_eq!(ints(&bench.traced(&[flag]), 0, "x"), [1, 2, 3], "{flag}");
    }
    let bench = Bench::python(&source.replace("name='x'", "name='x', track_locals=True"));
    assert_eq!(ints(&bench.traced(&[]), 0, "x"), [1, 2, 3]);
}

#[test]
fn watch_each_activation_of_a_function_has_its_own_variable() {
    let source =
        "def f(n):\n    x = watch(n, name='x')\n    if n:\n        f(n - 1)\n    x = x + 100\nf(2)\n";
    let bench = Bench::python(source);
    let events = bench.traced(&["--track-locals"]);
    let firsts = [0_i64, 1, 2];
    assert_eq!(events.len(), 3);
    for (event, first) in events.iter().zip(firsts) {
        let after = crate::bench::applied(&first.to_le_bytes(), event);
        assert_eq!(i64::from_le_bytes(after.try_into().unwrap()), first + 100);
    }
}

/// A program may call a function with a watched variable as often as it likes.
#[test]
fn watch_a_call_that_is_over_leaves_nothing_behind() {
    let source = "\
import sys
def f(n):
    x = watch(n, name='x')
    x = n + 1
    held = watch([], name='held')
    held.append(n)
    return held if n == 7 else None
def numbers():
    x = watch(0, name='x')
    for x in range(1, 4):
        yield x
kept = [f(n) for n in range(500)][7]
list(numbers())
kept.append(1)
print(sum(held.name == 'x' for held in sys.modules['_tickfs.runtime'].traced.values()))
";
    for (args, printed, xs) in [(&["--track-locals"][..], "0\n", 503), (&[], "0\n", 0)] {
        let bench = Bench::python(source);
        let shown = bench.watch(&[&["--user-script", "app.py", "--log-level", "error"], args].concat());
        assert_eq!((shown.stdout.as_str(), shown.status), (printed, 0), "{shown:?}");
        let events = bench.events("watcher_output");
        assert_eq!(of(&events, "x").len(), xs);
        assert_eq!(of(&events, "held").len(), if xs > 0 { 501 } else { 0 });
    }
}

/// Shows WA-20.
#[test]
fn watch_main_is_called_once_and_traced() {
    let main = "x = watch(0, name='x')\ndef main():\n    global x\n    print('main runs')\n    x = x + 1\n";
    for (tail, how) in [
        ("", "by the tracer"),
        ("main()\n", "by the module"),
        ("if __name__ == '__main__':\n    main()\n", "by the usual guard"),
        ("def go(f):\n    f()\ngo(main)\n", "indirectly"),
    ] {
        let bench = Bench::python(&format!("{main}{tail}"));
        let shown = bench.watch(&["--user-script", "app.py"]);
        assert_eq!((shown.stdout.as_str(), shown.status), ("main runs\n", 0), "{how}");
        assert_eq!(bench.events("watcher_output").len(), 1, "{how}");
    }
}
