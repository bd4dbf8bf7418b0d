//! Which SQL statement ran where a variable changed.

use serde_json::Value;

use crate::bench::{Bench, is_installed, of};

const SQLITE: &str = "\
import sqlite3
n = watch(0, name='n')
db = sqlite3.connect(':memory:')
db.execute('CREATE TABLE users (name TEXT)')
db.commit()
n = 1
cursor = db.cursor()
cursor.execute('INSERT  INTO users VALUES (?)', ('s3cret-parameter',))
n = 2
cursor.execute('INSERT INTO\\n users VALUES (?)', ('another',))
n = 3
db.commit()
n = 4
for (name,) in db.execute('select name from users'):
    n = n + 1
db.rollback()
try:
    db.execute('SELECT * FROM missing')
except sqlite3.OperationalError as error:
    print(error)
db.close()
n = 0
print(type(db).__name__, isinstance(cursor, sqlite3.Cursor), name)
";

fn contexts(events: &[Value]) -> Vec<Value> {
    of(events, "n").iter().map(|event| event["sql_context"].clone()).collect()
}

/// Shows WA-08, WA-136.
#[test]
fn watch_a_change_during_a_query_names_the_query() {
    let bench = Bench::python(SQLITE);
    let shown = bench.watch(&["--user-script", "app.py", "--track-sql"]);
    assert_eq!(
        (shown.status, shown.stdout.as_str()),
        (0, "no such table: missing\nConnection True another\n"),
        "{shown:?}"
    );
    let events = bench.events("watcher_output");
    let contexts = contexts(&events);
    let said = |n: usize, field: &str| contexts[n][field].as_str().unwrap_or("-").to_owned();
    let seen: Vec<(String, String)> = (0..7).map(|n| (said(n, "operation"), said(n, "table"))).collect();
    let of = |operation: &str, table: &str| (operation.to_owned(), table.to_owned());
    let (none, insert, select) = (of("-", "-"), of("INSERT", "users"), of("SELECT", "users"));
    assert_eq!(seen, [none.clone(), insert.clone(), insert, none.clone(), select.clone(), select, none]);
    assert_eq!(said(1, "query_hash"), said(2, "query_hash"), "white space is no difference");
    assert_ne!(said(1, "query_hash"), said(4, "query_hash"));
    let hash = said(1, "query_hash");
    assert!(
        hash.starts_with("0x") && hash.len() >= 8 && hash[2..].bytes().all(|b| b.is_ascii_hexdigit()),
        "{hash}"
    );
    assert_eq!(contexts[1].as_object().unwrap().len(), 3);
    let text = std::fs::read_to_string(bench.path("app/watcher_output/events.jsonl")).unwrap();
    assert!(!text.contains("s3cret"), "parameters are kept nowhere");
    std::fs::remove_dir_all(bench.path("app/watcher_output")).unwrap();
    assert!(contexts_without(&bench).iter().all(Value::is_null));
}

fn contexts_without(bench: &Bench) -> Vec<Value> {
    contexts(&bench.traced(&[]))
}

/// Shows WA-112, WA-115, WA-123.
#[test]
fn watch_the_examples_rule_of_queries_holds() {
    let bench = Bench::python(
        "import sqlite3\nn = watch(0, name='n')\ndb = sqlite3.connect(':memory:')\ndb.execute('CREATE TABLE t (x)')\ndb.execute('INSERT INTO t VALUES (1)')\nn = 1\ndb.commit()\nn = 2\n",
    );
    bench.write("processor.py", "def main(event):\n    if len(event['deltas']) > 100:\n        return {'action': 'drop'}\n    if event.get('sql_context'):\n        return {'action': 'annotate', 'annotations': {'db_op': True, 'risk': 'high'}}\n    if event['variable_name'].startswith('_'):\n        return {'action': 'drop'}\n    return {'action': 'pass'}\n");
    let args = [
        "--user-script",
        "./app.py",
        "--custom-processor",
        "./processor.py",
        "--output",
        "./events",
        "--track-sql",
    ];
    assert_eq!(bench.watch(&args).status, 0);
    let annotations: Vec<Value> =
        bench.events("events").iter().map(|event| event["annotations"].clone()).collect();
    assert_eq!(annotations, [serde_json::json!({"db_op": true, "risk": "high"}), Value::Null]);
}

#[test]
fn watch_queries_of_tasks_do_not_mix() {
    let bench = Bench::python(
        "import asyncio, sqlite3\nn = watch(0, name='n')\ndb = sqlite3.connect(':memory:')\ndb.execute('CREATE TABLE a (x)')\ndb.execute('CREATE TABLE b (x)')\ndb.commit()\nasync def work(table, value):\n    global n\n    db.execute(f'SELECT * FROM {table}')\n    await asyncio.sleep(0.01)\n    n = value\nasync def both():\n    await asyncio.gather(work('a', 1), work('b', 2))\nasyncio.run(both())\n",
    );
    let events = bench.traced(&["--track-sql"]);
    let tables: Vec<Value> = contexts(&events).iter().map(|context| context["table"].clone()).collect();
    assert_eq!(tables, ["a", "b"]);
}

/// With and without Python's lock, in the thread that writes and in the task that runs. Shows WA-08.
#[test]
fn watch_raw_writes_name_the_query_of_the_thread_that_writes() {
    let source = "\
import asyncio, ctypes, sqlite3, threading
data = watch(bytearray(8), name='data')
view, memory = memoryview(data), (ctypes.c_char * 8).from_buffer(data)
db = sqlite3.connect(':memory:')
open('file', 'wb').write(b'f')
view[0] = 1
db.execute('CREATE TABLE a (x)')
view[0] = 2
ctypes.memset(memory, 3, 1)
with open('file', 'rb', buffering=0) as file: file.readinto(view[0:1])
data[0] = 4
db.commit()
view[0] = 5
ctypes.memset(memory, 6, 1)
db.execute('INSERT INTO a VALUES (1)')
def other():
    view[0] = 7
    ctypes.memset(memory, 8, 1)
thread = threading.Thread(target=other); thread.start(); thread.join()
view[0] = 9
db.commit()
async def work(table, value):
    db.execute(f'SELECT {value} FROM {table}')
    await asyncio.sleep(0.01)
    view[0] = value
    ctypes.memset(memory, value + 1, 1)
async def both():
    await asyncio.gather(work('a', 10), work('sqlite_master', 20))
asyncio.run(both())
asyncio.run(asyncio.sleep(0))
ctypes.memset(memory, 30, 1)
";
    let bench = Bench::python(source);
    let events = bench.traced(&["--track-sql"]);
    if !crate::raw::has_raw_writes() {
        return;
    }
    let told = |event: &&Value| (event["line"].clone(), event["sql_context"]["table"].clone());
    let table = Value::from("a");
    let (none, master) = (Value::Null, Value::from("sqlite_master"));
    let expected = [
        (6, &none),
        (8, &table),
        (9, &table),
        (10, &table),
        (11, &table),
        (13, &none),
        (14, &none),
        (17, &none),
        (18, &none),
        (20, &table),
        (25, &table),
        (26, &none),
        (25, &master),
        (26, &master),
        (31, &none),
    ];
    let expected: Vec<_> =
        expected.iter().map(|(line, table)| (Value::from(*line), (*table).clone())).collect();
    assert_eq!(of(&events, "data").iter().map(told).collect::<Vec<_>>(), expected);
    std::fs::remove_dir_all(bench.path("app/watcher_output")).unwrap();
    assert!(bench.traced(&[]).iter().all(|event| event["sql_context"].is_null()));
}

/// A module of a driver's name, as far as a program sees it.
const FAKE: &str = "\
class Client {
  constructor() { this.closed = false; }
  async query(text, values) { await 0; if (/missing/.test(text)) throw new Error('no such table'); return { rows: [values] }; }
}
exports.Client = Client;
";

/// Shows WA-99, WA-118.
#[test]
fn watch_javascript_a_change_during_a_query_names_the_query() {
    let source = "\
const { Client } = require('pg');
let n = watch(0, { name: 'n' });
async function main() {
  const client = new Client();
  n = 1;
  const pending = client.query('INSERT INTO users VALUES ($1)', ['s3cret']);
  n = 2;
  console.log(JSON.stringify(await pending));
  try { await client.query('SELECT * FROM missing'); } catch (error) { console.log(error.message); }
}
module.exports = { main };
";
    let bench = Bench::new();
    bench.write("app.js", source);
    bench.write("node_modules/pg/index.js", FAKE);
    bench.write("p.js", "exports.main = (event) => event.sql_context ? { action: 'annotate', annotations: { category: 'database' } } : { action: 'pass' };\n");
    if !is_installed("node") {
        return;
    }
    let plain = crate::bench::shown(
        bench.command("node").args(["-e", "globalThis.watch = (v) => v; require('./app.js').main()"]),
    );
    let traced = bench.watch(&[
        "--user-script",
        "app.js",
        "--track-sql",
        "--custom-processor",
        "p.js",
        "--log-level",
        "error",
    ]);
    assert_eq!(traced, plain);
    let events = bench.events("watcher_output");
    let contexts = contexts(&events);
    assert_eq!(contexts[0], Value::Null);
    assert_eq!((&contexts[1]["operation"], &contexts[1]["table"]), (&"INSERT".into(), &"users".into()));
    assert_eq!(events[1]["annotations"], serde_json::json!({"category": "database"}));
}

/// In code that is not the program's own, so that no hook is there: behind a call, behind `await`, in what comes later.
#[test]
fn watch_javascript_raw_writes_name_the_query_that_runs() {
    let source = "\
const { Client } = require('pg');
const raw = require('raw');
const ints = watch(new Int32Array(8), { name: 'ints' });
async function main() {
  const client = new Client();
  raw.write(ints, 0, 1);
  const pending = client.query('INSERT INTO users VALUES ($1)', ['s3cret']);
  raw.write(ints, 0, 2);
  setTimeout(() => raw.write(ints, 0, 4), 5);
  const other = new Promise((done) => process.nextTick(done));
  await other;
  raw.write(ints, 0, 3);
  await pending;
  raw.write(ints, 0, 5);
}
module.exports = { main };
";
    if !is_installed("node") || !crate::raw::has_raw_writes() {
        return;
    }
    let fake = "\
exports.Client = class Client {
  query(text) { return new Promise((done) => setTimeout(done, 50)); }
};
";
    let bench = Bench::new();
    bench.write("app.js", source);
    bench.write("node_modules/pg/index.js", fake);
    bench.write(
        "node_modules/raw/index.js",
        "exports.write = (array, at, value) => { array[at] = value; };\n",
    );
    let shown = bench.watch(&["--user-script", "app.js", "--track-sql"]);
    assert_eq!(shown.status, 0, "{shown:?}");
    let events = bench.events("watcher_output");
    let tables: Vec<Value> =
        of(&events, "ints").iter().map(|event| event["sql_context"]["table"].clone()).collect();
    let users = Value::from("users");
    assert_eq!(tables, [Value::Null, users.clone(), users.clone(), users, Value::Null]);
}

/// Shows WA-100.
#[test]
fn watch_javascript_takes_the_tracking_flags_too() {
    let bench = Bench::new();
    bench.write("node_modules/pg/index.js", FAKE);
    bench.write("app.js", "const { Client } = require('pg');\nfunction main() { let n = watch(0, { name: 'n' }); let m = watch(0, { name: 'm', track_sql: false, track_threads: false }); new Client().query('DELETE FROM t'); n = 1; m = 1; }\nmodule.exports = { main };\n");
    if !is_installed("node") {
        return;
    }
    let shown = bench.watch(&["--user-script", "app.js", "--track-sql", "--track-threads", "--track-locals"]);
    assert_eq!(shown.status, 0, "{shown:?}");
    let events = bench.events("watcher_output");
    let n = of(&events, "n")[0];
    assert!(n["thread_id"].is_u64() && n["sql_context"]["operation"] == "DELETE", "{n}");
    let m = of(&events, "m")[0];
    assert!(m["thread_id"].is_null() && m["sql_context"].is_null(), "{m}");
}
