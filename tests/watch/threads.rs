//! What of a program runs beside itself: worker threads, tasks, generators, children.

use serde_json::Value;

use crate::bench::{Bench, applied, is_installed, of, shown};

const WORKERS: &str = "\
const { Worker, isMainThread, parentPort, workerData, threadId } = require('worker_threads');
let n = watch(0, { name: 'n' });
const cells = watch(new Int32Array(new SharedArrayBuffer(8)), { name: 'cells' });
if (!isMainThread) {
  for (let i = 1; i <= 1000; i++) n = workerData * 10000 + i;
  Atomics.add(cells, 1, workerData);
  parentPort.postMessage(threadId);
}
exports.main = () => {
  if (!isMainThread) throw new Error('main belongs to the main thread');
  n = 1;
  for (const data of [1, 2]) new Worker(__filename, { workerData: data }).on('message', (id) => console.log(id));
};
";

#[test]
fn watch_workers_of_node_are_traced_each_with_its_own_values() {
    if !is_installed("node") {
        return;
    }
    let bench = Bench::new();
    bench.write("app.js", WORKERS);
    let shown = bench.watch(&["--user-script", "app.js", "--track-threads"]);
    let mut said: Vec<&str> = shown.stdout.lines().collect();
    said.sort_unstable();
    assert_eq!((said, shown.status), (vec!["1", "2"], 0), "{shown:?}");
    let events = bench.events("watcher_output");
    let mut threads: Vec<&Value> = of(&events, "n").iter().map(|event| &event["thread_id"]).collect();
    threads.dedup();
    for thread in &threads {
        let mut bytes = 0_f64.to_le_bytes().to_vec();
        let mut values = Vec::new();
        for event in of(&events, "n").into_iter().filter(|event| &event["thread_id"] == *thread) {
            bytes = applied(&bytes, event);
            values.push(f64::from_le_bytes(bytes.clone().try_into().unwrap()));
        }
        let rising = values.windows(2).all(|pair| pair[1] == pair[0] + 1.0);
        assert!(rising && (values.len() == 1000 || values == [1.0]), "{values:?}");
    }
    assert_eq!(of(&events, "n").len(), 2001);
    assert_eq!(of(&events, "cells").len(), 2);
}

#[test]
fn watch_workers_of_node_show_what_they_show_untraced() {
    if !is_installed("node") {
        return;
    }
    let source = "\
const { Worker, isMainThread, parentPort } = require('worker_threads');
if (isMainThread) {
  const show = (worker) => worker.on('message', (m) => console.log(m)).on('error', (e) => console.log(e.name, e.message));
  show(new Worker('require(\"worker_threads\").parentPort.postMessage([process.argv.length, process.execArgv])', { eval: true }));
  show(new Worker(__filename, { argv: ['a'] }));
  show(new Worker(__dirname + '/broken.js'));
} else parentPort.postMessage(process.argv.slice(2));
exports.main = () => {};
";
    let bench = Bench::new();
    bench.write("app.js", source);
    bench.write("broken.js", "let x = (1,\n");
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let plain = shown(bench.command("node").arg("app.js"));
    let traced = bench.watch(&["--user-script", "app.js", "--log-level", "error"]);
    assert_eq!(sorted(&traced.stdout), sorted(&plain.stdout), "{traced:?}");
    assert_eq!((traced.stderr, traced.status), (plain.stderr, plain.status));
}

/// Children are untraced, and never write into their parent's history.
#[test]
fn watch_children_of_a_python_program_are_untraced() {
    let source = "\
import concurrent.futures, multiprocessing, os, subprocess, sys
x = watch(0, name='x')
items = watch([], name='items')
class Held: pass
held = Held(); held.y = watch(0, name='y')
def plain(n):
    return n * n
def work(n):
    global x
    for i in range(1000):
        x = i
        items.append(i)
        held.y = i
    return x + n
if __name__ == '__main__':
    for method in ('fork', 'spawn', 'forkserver'):
        with multiprocessing.get_context(method).Pool(2) as pool:
            print(method, pool.map(plain, [1, 2]) if method != 'fork' else pool.map(work, [1, 2]))
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context('fork')) as pool:
        print(list(pool.map(work, [3])))
    child = os.fork()
    if not child:
        work(0)
        sys.exit(3)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(subprocess.run([sys.executable, '-c', 'print(\"watch\" in dir(__builtins__))'], capture_output=True, text=True).stdout)
    x = 7
    items.append(7)
    held.y = 7
";
    // What is spawned imports the script, and nobody gives it `watch`.
    let own =
        "import builtins\nif not hasattr(builtins, 'watch'): builtins.watch = lambda value, name: value\n";
    let source = format!("{own}{source}");
    let bench = Bench::python(&source);
    let plain = shown(bench.command("python3").arg("app.py"));
    assert_eq!(plain.status, 0, "{plain:?}");
    let traced = bench.watch(&["--user-script", "app.py", "--log-level", "error"]);
    assert_eq!(traced, plain);
    let events = bench.events("watcher_output");
    for name in ["x", "items", "y"] {
        assert_eq!(of(&events, name).len(), 1, "{name}");
    }
}

#[test]
fn watch_tasks_and_generators_have_their_own_variables() {
    let source = "\
import asyncio
shared = watch(0, name='shared')
async def work(n):
    global shared
    own = watch(n, name='own')
    for i in range(3):
        await asyncio.sleep(0)
        own = own + 100
        shared = shared + 1
    return own
def numbers(n):
    held = watch(n, name='held')
    while held < n + 3:
        held = held + 1
        yield held
async def main():
    print(await asyncio.gather(work(1), work(2), work(3)))
    one, two = numbers(10), numbers(20)
    print([next(one), next(two), next(one), next(two)])
asyncio.run(main())
";
    let bench = Bench::python(source);
    let shown = bench.watch(&["--user-script", "app.py", "--track-locals"]);
    assert_eq!(shown.stdout, "[301, 302, 303]\n[11, 21, 12, 22]\n", "{shown:?}");
    let events = bench.events("watcher_output");
    assert_eq!((of(&events, "shared").len(), of(&events, "own").len()), (9, 9));
    let held: Vec<u64> =
        of(&events, "held").iter().map(|e| e["deltas"].as_array().unwrap().len() as u64).collect();
    assert_eq!(held, [1, 1, 1, 1]);
}
