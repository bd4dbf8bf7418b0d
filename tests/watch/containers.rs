//! Large containers: each change tells of the element that changed, and of nothing else.

use std::collections::HashMap;

use crate::bench::{Bench, applied};

/// Random changes of a list, a dict and a set; each value that they took is printed, as its text should be.
const SOURCE: &str = "\
import random, sys
items = watch(list(range(100)), name='items')
table = watch({f'k{n}': n for n in range(100)}, name='table')
numbers = watch({n: str(n) for n in range(60)}, name='numbers')
group = watch(set(range(100)), name='group')
texts = {
    'items': lambda: repr(items), 'table': lambda: repr(table), 'numbers': lambda: repr(numbers),
    'group': lambda: '{' + ', '.join(sorted(map(repr, group))) + '}',
}
shown = {name: text() for name, text in texts.items()}
for name, text in shown.items():
    print(name, text)
rnd = random.Random(int(sys.argv[1]))
value = lambda: rnd.choice([rnd.randrange(10 ** 9), 'é' * rnd.randrange(3), None, 2.5, b'b', True])
def change():
    at, key = rnd.randrange(-len(items), len(items)), f'k{rnd.randrange(200)}'
    step = rnd.randrange(24)
    if step == 0: items.append(value())
    elif step == 1: items[at] = value()
    elif step == 2: items.pop()
    elif step == 3: items.extend([value(), value()])
    elif step == 4: del items[-1]
    elif step == 5: items[at] = [value()]
    elif step == 6: items[at:at] = [1, 2]
    elif step == 7: items.pop(0)
    elif step == 8: table[key] = value()
    elif step == 9: table.pop(key, None)
    elif step == 10: table.update({key: value()})
    elif step == 11: table.update(a=1, b=value(), **{key: 3})
    elif step == 12: table.setdefault(key, value())
    elif step == 13: table.popitem()
    elif step == 14: table[rnd.choice([1, True, key])] = value()
    elif step == 15: numbers[rnd.choice([3, 3.0, 500 + at])] = value()
    elif step == 16: numbers.pop(rnd.randrange(60), None)
    elif step == 17: group.add(rnd.randrange(1000))
    elif step == 18: group.discard(rnd.randrange(200))
    elif step == 19: group.add('é')
    elif step == 20: group.update({1, 2, 900})
    elif step == 21: list.append(items, 7); items.append(8)
    elif step == 22: table.pop('k1', None)
    else:
        try: items[10 ** 6] = 1
        except IndexError: pass
        try: del table['none']
        except KeyError: pass
for _ in range(1500):
    change()
    for name, text in texts.items():
        if text() != shown[name]:
            shown[name] = text()
            print(name, shown[name])
";

#[test]
fn watch_containers_of_many_elements_are_told_exactly_whatever_changes() {
    for seed in ["1", "2"] {
        let bench = Bench::python(SOURCE);
        let shown = bench.watch(&["--user-script", "app.py", "--", seed]);
        assert_eq!(shown.status, 0, "{shown:?}");
        let mut values: HashMap<String, Vec<u8>> = HashMap::new();
        let mut events = bench.events("watcher_output").into_iter();
        for line in shown.stdout.lines() {
            let (name, text) = line.split_once(' ').unwrap();
            if let Some(before) = values.get(name) {
                let event = events.next().unwrap();
                assert_eq!(event["variable_name"], name, "seed {seed}");
                let after = applied(before, &event);
                assert_eq!(String::from_utf8_lossy(&after), text, "seed {seed}: {event}");
            }
            values.insert(name.to_owned(), text.as_bytes().to_vec());
        }
        assert_eq!(events.count(), 0, "seed {seed}");
    }
}

/// What is sent and told of a change does not grow with the container.
#[test]
fn watch_containers_of_many_elements_cost_what_is_touched() {
    let source = "\
import time
from sys import modules
agent = modules['_tickfs.runtime'].agent
sent = 0
class Counting:
    def __getattr__(self, name):
        function = getattr(agent, name)
        def counted(*given):
            global sent
            sent += sum(len(part) for part in given if isinstance(part, bytes))
            return function(*given)
        return counted
items = watch([0] * 10_000, name='items')
table = watch(dict.fromkeys(map(str, range(10_000)), 0), name='table')
group = watch({str(n) for n in range(10_000)}, name='group')
items[1] = 1; table['1'] = 1; group.add('x')
modules['_tickfs.runtime'].agent = Counting()
for n in range(100):
    items[n * 50] = 5
    items.append(n)
    items.pop()
    table[str(n * 50 + 2)] = 5
    table['new'] = n
    del table['new']
    group.add('x' + str(n))
    group.discard('x' + str(n))
print(sent < 100_000)
modules['_tickfs.runtime'].agent = agent
";
    let bench = Bench::python(source);
    let shown = bench.watch(&["--user-script", "app.py"]);
    assert_eq!((shown.stdout.as_str(), shown.status), ("True\n", 0), "{shown:?}");
    assert_eq!(bench.events("watcher_output").len(), 803);
}
