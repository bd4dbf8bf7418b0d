//! JavaScript programs: the same, by Node.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bench::{Bench, Shown, TICKFS, applied, is_installed, of, shown};

/// A program `app.js`; `None` where there is no Node.
fn program(source: &str) -> Option<Bench> {
    let bench = Bench::new();
    bench.write("app.js", source);
    is_installed("node").then_some(bench)
}

fn watch(bench: &Bench, args: &[&str]) -> Shown {
    bench.watch(&[&["--user-script", "app.js"], args].concat())
}

fn traced(bench: &Bench, args: &[&str]) -> Vec<Value> {
    let shown = watch(bench, args);
    assert_eq!(shown.status, 0, "{shown:?}");
    bench.events("watcher_output")
}

/// The numbers that a variable took, from its deltas.
fn numbers(events: &[Value], name: &str) -> Vec<f64> {
    let mut bytes = 0_f64.to_le_bytes().to_vec();
    let mut seen = Vec::new();
    for event in of(events, name) {
        bytes = applied(&bytes, event);
        seen.push(f64::from_le_bytes(bytes.clone().try_into().unwrap()));
    }
    seen
}

#[test]
fn watch_javascript_a_hundred_thousand_increments_come_in_order() {
    let source = "let n = watch(0, { name: 'n' });\nexports.main = () => { for (let i = 1; i <= 100000; i++) n = i; };\n";
    let Some(bench) = program(source) else { return };
    let events = traced(&bench, &[]);
    assert_eq!(events.len(), 100_000);
    let expected: Vec<f64> = (1..=100_000).map(f64::from).collect();
    assert_eq!(numbers(&events, "n"), expected);
}

/// Shows WA-20. What a call has watched goes when nobody can write it any more, and not before.
#[test]
fn watch_javascript_a_hundred_thousand_calls_that_are_over_take_no_memory() {
    let source = "\
const fs = require('fs');
const { setImmediate: turn } = require('timers/promises');
function call(i) {
  let a = watch(new Float64Array(128), { name: 'a' });
  a[0] = i + 1;
  let n = watch(0, { name: 'n' });
  n = i + 1;
  return a;
}
const tracer = () => /VmRSS:\\s*(\\d+)/.exec(fs.readFileSync(`/proc/${process.ppid}/status`, 'latin1'))[1];
const both = () => [Math.round((process.memoryUsage().heapUsed + process.memoryUsage().external) / 1024), Number(tracer())];
exports.main = async () => {
  let kept, before;
  for (let i = 0; i < 100_000; i++) {
    const made = call(i);
    if (i === 7) kept = made;
    if (i === 20_000) before = both();
    // What is collected is told between turns of the event loop.
    if (i % 100 === 0) await turn();
  }
  kept[1] = 5;
  console.log(JSON.stringify([before, both()]));
};
";
    let Some(bench) = program(source) else { return };
    let shown = watch(&bench, &["--track-locals", "--log-level", "error"]);
    assert_eq!(shown.status, 0, "{shown:?}");
    let [before, after]: [[u64; 2]; 2] = serde_json::from_str(&shown.stdout).unwrap();
    for (who, before, after) in [("program", before[0], after[0]), ("tracer", before[1], after[1])] {
        // 80,000 arrays of 1 KiB more.
        assert!(after < before + 30_000, "the {who} has grown from {before} KiB to {after} KiB");
    }
    let events = bench.events("watcher_output");
    let a = of(&events, "a");
    assert_eq!((a.len(), of(&events, "n").len()), (100_001, 100_000));
    assert_eq!(a.last().unwrap()["deltas"][0]["offset"], 14, "{:?}", a.last());
}

#[test]
fn watch_javascript_every_form_of_assignment_is_an_event() {
    for (body, expected) in [
        ("x = 1; x += 2; x++; ++x; x--", vec![1.0, 3.0, 4.0, 5.0, 4.0]),
        ("const was = x++; if (was !== 0) throw was; x ||= 7; x &&= 8", vec![1.0, 8.0]),
        ("[x] = [1]; ({ x } = { x: 2 }); ({ a: x, ...r } = { a: 3 }); var r", vec![1.0, 2.0, 3.0]),
        ("for (x of [1, 2]) ; for (x = 5; x < 7; x++) {}", vec![1.0, 2.0, 5.0, 6.0, 7.0]),
        ("let y; y = x = 4; if (y !== 4) throw y", vec![4.0]),
        ("const f = () => { x = 9; return x }; if (f() !== 9) throw x", vec![9.0]),
        ("{ let x = 5; x = 6 } x = 7", vec![7.0]),
        ("switch (1) { case 1: x = 3 }", vec![3.0]),
        ("try { throw 4 } catch (e) { x = e } finally { x = 5 }", vec![4.0, 5.0]),
        ("class C { m() { x = 8 } } new C().m()", vec![8.0]),
        (
            "for (let y = watch(0); y < 2; y++) x = y; const g = (z = watch(5)) => (z = x = 6); g()",
            vec![1.0, 6.0],
        ),
    ] {
        let source = format!(
            "let x = watch(0, {{ name: 'x' }});\nfunction main() {{ {body} }}\nexports.main = main;\n"
        );
        let Some(bench) = program(&source) else { return };
        assert_eq!(numbers(&traced(&bench, &[]), "x"), expected, "{body}");
    }
}

/// Shows WA-92, WA-108, WA-143.
#[test]
fn watch_javascript_memory_tells_of_each_write() {
    let source = "\
const words = watch(new Uint32Array(4), { name: 'words' });
const raw = watch(new ArrayBuffer(8), { name: 'raw' });
function main() {
  words[1] = 0x01020304;
  words[1] += 1;
  words[3]++;
  const alias = words.subarray(2);
  alias[0] = 7;
  words.fill(9, 0, 1);
  words.set([5], 1);
  const view = new DataView(raw);
  view.setUint16(2, 0x0506);
  const bytes = new Uint8Array(raw);
  bytes[0] = bytes[7] = 1;
  Buffer.from(raw).writeInt8(-1, 5);
  const plain = [1]; plain[0] = 2; plain[plain[0]] = 3;
  console.log(words.length, plain, ArrayBuffer.isView(words));
}
module.exports = { main };
";
    let Some(bench) = program(source) else { return };
    let shown = watch(&bench, &[]);
    assert_eq!((shown.stdout.as_str(), shown.status), ("4 [ 2, <1 empty item>, 3 ] true\n", 0), "{shown:?}");
    let events = bench.events("watcher_output");
    let words: Vec<u64> = of(&events, "words").iter().map(|e| e["line"].as_u64().unwrap()).collect();
    assert_eq!(words, [4, 5, 6, 8, 9, 10]);
    let first = of(&events, "words")[0];
    assert_eq!(first["deltas"][0], json!({"offset": 4, "before": "0x00", "after": "0x04"}));
    assert_eq!(first["function"], "main");
    let raw: Vec<u64> = of(&events, "raw").iter().map(|e| e["line"].as_u64().unwrap()).collect();
    assert_eq!(raw, [12, 14, 14, 15]);
    let mut bytes = vec![0; 8];
    for event in of(&events, "raw") {
        bytes = applied(&bytes, event);
    }
    assert_eq!(bytes, [1, 0, 5, 6, 0, 255, 0, 1]);
}

/// Shows WA-03, WA-103.
#[test]
fn watch_javascript_main_is_needed_and_called_once() {
    let bench = Bench::python("x = watch(0, name='x')\nx = 1\ndef main():\n    print('main')\n");
    assert_eq!(bench.watch(&["--user-script", "app.py"]).stdout, "main\n");
    for (source, how) in [
        ("exports.main = () => console.log('main');", "exported"),
        ("module.exports = { main() { console.log('main') } };", "exported whole"),
        ("function main() { console.log('main') }", "only defined"),
        (
            "function main() { console.log('main') }\nif (require.main === module) main();",
            "called by the script",
        ),
        (
            "function main() { console.log('main') }\nif (process.env.NO_SUCH) main();",
            "not called by the script after all",
        ),
        ("exports.main = async () => { await 0; console.log('main') };", "asynchronous"),
    ] {
        let Some(bench) = program(source) else { return };
        assert_eq!(watch(&bench, &[]).stdout, "main\n", "{how}");
    }
    let Some(bench) = program("require('fs').writeFileSync('ran', '');\n") else { return };
    let shown = watch(&bench, &[]);
    assert_eq!(shown.status, 2);
    assert!(shown.stderr.contains("the script exports no main()"), "{shown:?}");
    assert!(!bench.exists("ran"));
}

/// Shows WA-98.
#[test]
fn watch_javascript_takes_values_and_memory_and_no_objects() {
    let source = "\
const refused = (call) => { try { call(); } catch (error) { console.log(error.name + ': ' + error.message); } };
refused(() => watch({}));
refused(() => watch());
refused(() => watch(0, { colour: 1 }));
refused(() => watch(new Uint8Array(16 * 1024 * 1024 + 1)));
exports.main = () => {};
";
    let Some(bench) = program(source) else { return };
    let shown = watch(&bench, &[]);
    let expected = "\
TypeError: watch: plain values, typed arrays and ArrayBuffers can be watched, not objects
TypeError: watch: there is no value
TypeError: watch: there is no option colour
RangeError: watch: a value of 16777217 bytes cannot be watched: the limit is 16777216 bytes
";
    assert_eq!(shown.stdout, expected);
}

#[test]
fn watch_javascript_options_are_in_effect() {
    let source = "\
let a = watch('', { name: 'a', mutationDepth: 2, scope: 'both', trackThreads: true });
exports.main = () => { a = 'abcd'; let local = watch(0, { name: 'local' }); local = 1; };
";
    let Some(bench) = program(source) else { return };
    let events = traced(&bench, &["--track-locals"]);
    let a = of(&events, "a")[0];
    assert_eq!((a["deltas"].as_array().unwrap().len(), &a["scope"]), (2, &json!("both")));
    assert!(a["thread_id"].is_u64());
    assert_eq!(of(&events, "local").len(), 1);
    std::fs::remove_dir_all(bench.path("app/watcher_output")).unwrap();
    let shown = watch(&bench, &[]);
    assert!(
        shown.stderr.contains("local is a variable of a function: --track-locals traces it"),
        "{shown:?}"
    );
    assert_eq!(bench.events("watcher_output").len(), 1);
}

/// Shows WA-93, WA-105.
#[test]
fn watch_javascript_ends_as_the_program_does_and_leaves_no_wrapper() {
    for (source, status, said) in [
        ("exports.main = () => {};", 0, ""),
        ("exports.main = () => { throw new TypeError('gone'); };", 1, "TypeError: gone"),
        ("exports.main = async () => { throw new Error('later'); };", 1, "Error: later"),
        ("exports.main = () => process.exit(7);", 7, ""),
        ("exports.main = () => process.kill(process.pid, 'SIGKILL');", 137, ""),
        (
            "exports.main = () => process.kill(process.ppid, 'SIGINT') && setInterval(() => {}, 1000);",
            130,
            "",
        ),
        ("let x = (1,\n", 1, "SyntaxError"),
    ] {
        let Some(bench) = program(source) else { return };
        let temp = bench.path("temp");
        std::fs::create_dir(&temp).unwrap();
        let mut command = bench.command(TICKFS);
        command.args(["watch", "--user-script", "app.js", "--log-level", "error"]).env("TMPDIR", &temp);
        let shown = shown(&mut command);
        assert_eq!(shown.status, status, "{source}: {shown:?}");
        assert!(shown.stderr.contains(said), "{source}: {shown:?}");
        assert!(!shown.stderr.contains("tickfs-watch"), "a stack shows the program alone: {shown:?}");
        assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0, "{source}");
    }
}

/// Shows WA-96, WA-104.
#[test]
fn watch_javascript_says_so_where_node_is_missing() {
    let bench = Bench::new();
    bench.write("app.js", "exports.main = () => {};");
    let empty = bench.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let shown = shown(bench.command(TICKFS).args(["watch", "--user-script", "app.js"]).env("PATH", &empty));
    assert_eq!(shown.status, 1);
    assert!(shown.stderr.contains("node is not in PATH"), "{shown:?}");
}

/// Shows WA-56, WA-81, WA-94, WA-95.
#[test]
fn watch_javascript_processors_run_in_node() {
    let source = "let x = watch(0, { name: 'x' });\nexports.main = () => { x = 1; x = 2; x = 3; };\n";
    let Some(bench) = program(source) else { return };
    bench.write("p.js", "function main(event) {\n  const after = event.deltas.at(-1).after;\n  console.log('saw', after);\n  const end = Date.now() + (event.event_id.endsWith('-2') ? 30000 : 20);\n  while (Date.now() < end);\n  return { action: 'annotate', annotations: { after } };\n}\nmodule.exports = { main };\n");
    let begun = Instant::now();
    let shown = watch(&bench, &["--custom-processor", "p.js"]);
    assert!(shown.status == 0 && begun.elapsed() < Duration::from_secs(15), "{shown:?}");
    assert!(
        shown.stderr.contains("saw 0x3f") && shown.stderr.contains("1 not answered by a processor"),
        "{shown:?}"
    );
    let annotated: Vec<bool> =
        bench.events("watcher_output").iter().map(|event| event.get("annotations").is_some()).collect();
    assert_eq!(annotated, [true, false, true]);
    bench.write("nomain.js", "exports.other = 1;\n");
    let shown = watch(&bench, &["--custom-processor", "nomain.js"]);
    assert!(shown.status == 2 && shown.stderr.contains("it exports no main(event)"), "{shown:?}");
    bench.write("p.py", "def main(event): pass\n");
    let shown = watch(&bench, &["--custom-processor", "p.py"]);
    assert!(shown.status == 2 && shown.stderr.contains("the script's language, javascript"), "{shown:?}");
}

/// Shows WA-116, WA-117, WA-119, WA-120, WA-121, WA-122, WA-124.
#[test]
fn watch_javascript_the_examples_rules_hold() {
    let source = "\
const b = watch(new Uint8Array(64), { name: 'b' });
let _x = watch('', { name: '_x' });
const change = (n, value) => b.fill(value, 0, n);
function main() { change(2, 1); change(3, 2); change(50, 3); change(51, 4); b.fill(5, 0, 3); _x = 'four'; }
module.exports = { main };
";
    let Some(bench) = program(source) else { return };
    bench.write("processor.js", "function main(event) {\n  if (event.deltas.length < 3) return { action: 'drop' };\n  if (event.deltas.length > 50) return { action: 'annotate', annotations: { severity: 'high', review_needed: true } };\n  if (event.sql_context) return { action: 'annotate', annotations: { category: 'database' } };\n  return { action: 'pass' };\n}\nmodule.exports = { main };\n");
    bench.write("more.js", "exports.main = (event) => {\n  if (event.variable_name.startsWith('_')) return { action: 'drop' };\n  if (event.function === 'main') return { action: 'annotate', annotations: { source: 'main' } };\n  return { action: 'pass' };\n};\n");
    let args =
        ["--custom-processor", "./processor.js", "--custom-processor", "more.js", "--output", "./events"];
    assert_eq!(watch(&bench, &args).status, 0);
    let seen: Vec<(usize, Value)> = bench
        .events("events")
        .iter()
        .map(|e| (e["deltas"].as_array().unwrap().len(), e["annotations"].clone()))
        .collect();
    let high = json!({"severity": "high", "review_needed": true});
    assert_eq!(seen, [(3, Value::Null), (50, Value::Null), (51, high), (3, json!({"source": "main"}))]);
}

#[test]
fn watch_javascript_a_traced_program_shows_what_it_shows_untraced() {
    for source in [
        "console.log(process.argv.length, __filename, require.main === module, process.execArgv, Object.keys(globalThis).join());",
        "'use strict';\nconst o = Object.freeze([1]);\ntry { o[0] = 2 } catch (e) { console.log(e.message) }\ntry { null[0] = 1 } catch (e) { console.log(e.message) }",
        "const o = Object.freeze([1]);\no[0] = 2; console.log(o)",
        "const m = {}; const k = () => { console.log('k'); return 'a' }; m[k()] = m[k()] = 1; m[k()] += 1; m[k()]++; console.log(m)",
        "const a = new Float64Array(2); a[0] = '3'; a['x'] = 4; a[9] = 1; console.log(a, a.length, a.x)",
        "const fs = require('fs'); fs.writeFileSync('made', 'text'); console.log(fs.readFileSync(0, 'utf8'))",
        "async function* g() { let i = 0; const a = []; while (i < 3) { a[i] = yield i++ } return a }\n(async () => { for await (const v of g()) console.log(v) })()",
        "label: for (const i of [1, 2]) { for (;;) { if (i) continue label } }\nconsole.log(`${[1].map((x) => x * 2)}`, /a[b]=c/.source)",
        "const { fork } = require('child_process');\nif (process.argv[2]) console.log('child'); else fork(__filename, ['x'])",
        "const b = Buffer.alloc(4); b.writeUInt32BE(1); b[0] = 2; console.log(b, b.toString('hex'), Buffer.prototype.fill.length)",
        "console.log([3, 1, 2].sort(), new Uint8Array([3, 1]).sort(), structuredClone(new Uint8Array(2)))",
    ] {
        // Whoever wants to be traced has a main.
        let source = format!("{source}\nexports.main = () => {{}};\n");
        let Some(bench) = program(&source) else { return };
        let plain = shown(bench.command("node").arg("app.js"));
        let traced = watch(&bench, &["--log-level", "error"]);
        assert_eq!(traced, plain, "{source}");
    }
}
