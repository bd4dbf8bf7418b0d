//! Attributes and properties of objects that are given what `watch` gives back.

use serde_json::Value;

use crate::bench::{Bench, is_installed, of, shown};

fn lines(events: &[Value], name: &str) -> Vec<u64> {
    of(events, name).iter().map(|event| event["line"].as_u64().unwrap()).collect()
}

const PYTHON: &str = "\
class Counter:
    total = watch(0, name='total')

    def __init__(self, first):
        self.x = watch(first, name='x')
        self.items = watch([], name='items')
        self.__own = watch(0, name='own')
        Counter.total += 1

    def step(self):
        self.x += 1
        self.items.append(self.x)
        self.items = [7]
        self.items.append(8)
        self.__own = 4
        self.plain = 5
one, two = Counter(0), Counter(10)
one.step()
two.x = 12
setattr(one, 'x', 20)
for one.x in (21, 22): pass
one.pair, two.pair = watch(1, name='a'), watch(1, name='b')
one.pair = 2
two.pair = 3
del two.pair
print(type(one) is Counter, vars(two)['x'], Counter.total, type(one.items).__name__)
";

#[test]
fn watch_members_of_python_objects_are_seen_wherever_they_are_set() {
    let bench = Bench::python(PYTHON);
    let shown = bench.watch(&["--user-script", "app.py"]);
    assert_eq!((shown.stdout.as_str(), shown.status), ("True 12 2 list\n", 0), "{shown:?}");
    let events = bench.events("watcher_output");
    for (name, expected) in [
        ("x", vec![11, 19, 20, 21, 21]),
        ("items", vec![12, 13, 14]),
        ("own", vec![15]),
        ("total", vec![8, 8]),
        ("a", vec![23]),
        ("b", vec![24, 25]),
    ] {
        assert_eq!(lines(&events, name), expected, "{name}");
    }
    assert_eq!(of(&events, "x")[0]["function"], "Counter.step");
}

/// A class that tells has the instances, copies and errors that it had.
#[test]
fn watch_members_leave_python_classes_as_they_were() {
    let source = "\
import copy, dataclasses, enum, gc, pickle, weakref
@dataclasses.dataclass(frozen=True)
class Frozen:
    x: int = 0
@dataclasses.dataclass(order=True)
class Point:
    x: int = 0
class Slotted:
    __slots__ = ('x',)
class Checked:
    def __setattr__(self, name, value):
        if value < 0: raise ValueError(name)
        super().__setattr__(name, value * 2)
class Child(Checked): pass
def tell(call):
    try: return call()
    except Exception as error: return repr(error)
f = Frozen(); object.__setattr__(f, 'x', watch(1, name='f'))
p = Point(); p.x = watch(1, name='p')
s = Slotted(); s.x = watch(1, name='s')
c = Child(); c.x = 1
p.x = s.x = c.x = 2
print(tell(lambda: setattr(f, 'x', 3)), p, s.x, c.x, tell(lambda: setattr(c, 'x', -1)), tell(lambda: setattr(s, 'y', 1)))
print(copy.copy(p), pickle.loads(pickle.dumps(p)) == p, copy.deepcopy(s).x, p < Point(3), type(s) is Slotted)
w = weakref.ref(p, lambda _: print('gone')); del p; gc.collect()
print(w())
class Colour(enum.Enum):
    RED = 1
Colour.RED.seen = watch(0, name='seen'); Colour.RED.seen = 1
print(Colour.RED, Colour(1).seen)
";
    let bench = Bench::python(source);
    bench
        .write("plain.py", &format!("import builtins\nbuiltins.watch = lambda value, name: value\n{source}"));
    let plain = shown(bench.command("python3").arg("plain.py"));
    let traced = bench.watch(&["--user-script", "app.py", "--log-level", "error"]);
    assert_eq!(traced, plain);
    let events = bench.events("watcher_output");
    for (name, count) in [("p", 1), ("s", 1), ("seen", 1)] {
        assert_eq!(of(&events, name).len(), count, "{name}");
    }
}

#[test]
fn watch_members_of_modules_are_seen_when_other_modules_set_them() {
    let bench = Bench::python(
        "import other\nother.x = 5\nother.free = 1\nsetattr(other, 'x', 6)\nprint(other.x, other.free)\n",
    );
    bench.write("other.py", "x = watch(0, name='x')\n");
    assert_eq!(lines(&bench.traced(&[]), "x"), [2, 4]);
}

/// What no hook sees of a scalar is found at the end.
#[test]
fn watch_members_and_names_set_past_the_hooks_are_found_at_the_end() {
    let bench = Bench::python(
        "x = watch(0, name='x')\ny = watch(0, name='y')\nclass C: pass\nc = C(); c.z = watch(0, name='z')\nglobals()['x'] = 1\nexec('y = 2')\nc.__dict__['z'] = 3\n",
    );
    let events = bench.traced(&[]);
    for name in ["x", "y", "z"] {
        let seen = of(&events, name);
        assert_eq!((seen.len(), &seen[0]["function"]), (1, &"<unseen>".into()), "{name}");
    }
}

const JAVASCRIPT: &str = "\
class Counter {
  static total = watch(0, { name: 'total' });
  #own = watch(0, { name: 'own' });
  level = watch(0, { name: 'level' });
  constructor(first) {
    this.x = watch(first, { name: 'x' });
    this.bytes = watch(new Uint8Array(2), { name: 'bytes' });
    Counter.total++;
  }
  step() {
    this.x += 1;
    this.bytes[1] = 9;
    this.#own = 4;
    [this.level, this.x] = [1, this.x];
    this.plain = 5;
  }
}
const state = { count: watch(0, { name: 'count' }), other: watch(0, { name: 'other' }) };
exports.main = () => {
  const one = new Counter(0), two = new Counter(10);
  one.step();
  two.x = 12;
  one['x'] = 20;
  state.count++; let it = state; it.count = (it = two, 30);
  (() => state)().other = 3;
  Object.freeze(state).count = 9;
  console.log(one, state, Object.keys(two));
};
";

#[test]
fn watch_members_of_javascript_objects_are_seen_in_their_own_files() {
    if !is_installed("node") {
        return;
    }
    let bench = Bench::new();
    bench.write("app.js", JAVASCRIPT);
    bench.write("plain.js", &format!("globalThis.watch = (value) => value;\n{JAVASCRIPT}exports.main();\n"));
    let plain = shown(bench.command("node").arg("plain.js"));
    let traced = bench.watch(&["--user-script", "app.js", "--log-level", "error"]);
    assert_eq!(traced, plain);
    let events = bench.events("watcher_output");
    for (name, expected) in [
        ("x", vec![11, 22, 23]),
        ("bytes", vec![12]),
        ("own", vec![13]),
        ("level", vec![14]),
        ("total", vec![8, 8]),
        ("count", vec![24, 24]),
        ("other", vec![25]),
    ] {
        assert_eq!(lines(&events, name), expected, "{name}");
    }
}
