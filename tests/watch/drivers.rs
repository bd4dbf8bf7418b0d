//! Real drivers of databases, of both languages: what a change says of the statement that runs, and that nothing else differs.

use std::path::Path;

use crate::bench::{Bench, TICKFS, of, shown};
use crate::packages::package;
use crate::servers::{MariaDb, Postgres};

const PYTHON: &str = "\
import asyncio, sys
n = watch(0, name='n')
def work(connection, mark='%s'):
    global n
    cursor = connection.cursor()
    cursor.execute('CREATE TABLE IF NOT EXISTS users (name VARCHAR(20))')
    connection.commit()
    n += 1
    cursor.execute(f'INSERT INTO users VALUES ({mark})', ('s3cret',))
    n += 1
    cursor.executemany(f'INSERT  INTO users VALUES ({mark})', [('a',), ('b',)])
    n += 1
    cursor.execute('SELECT name FROM users ORDER BY name')
    n += 1
    print(cursor.fetchall(), type(cursor).__module__, type(cursor).__name__, type(connection).__name__)
    try:
        cursor.execute('SELECT * FROM missing')
    except Exception as error:
        print(type(error).__module__, type(error).__name__)
    connection.rollback()
    n += 1
    cursor.execute('DROP TABLE users')
    connection.commit()
    cursor.close()
    connection.close()
def sqlite3(_):
    import sqlite3
    work(sqlite3.connect(':memory:'), '?')
def psycopg2(where):
    import psycopg2, psycopg2.extras
    given = dict(host=where, user='tester', dbname='postgres')
    work(psycopg2.connect(**given))
    work(psycopg2.connect(**given, cursor_factory=psycopg2.extras.RealDictCursor))
    class Connection(psycopg2.extensions.connection):
        def cursor(self):
            return super().cursor(cursor_factory=psycopg2.extras.NamedTupleCursor)
    work(psycopg2.connect(**given, connection_factory=Connection))
def psycopg(where):
    import psycopg
    given = dict(host=where, user='tester', dbname='postgres')
    work(psycopg.connect(**given))
    async def tasks():
        global n
        async with await psycopg.AsyncConnection.connect(**given) as connection:
            cursor = await connection.execute('SELECT 1 FROM pg_class')
            n += 1
            print(len(await cursor.fetchall()) > 100)
        n += 1
    asyncio.run(tasks())
def pymysql(where):
    import pymysql
    work(pymysql.connect(unix_socket=where, user='root', database='mysql'))
def connector(where):
    import mysql.connector
    work(mysql.connector.connect(unix_socket=where, user='root', database='mysql', use_pure=True, collation='utf8mb4_general_ci'))
def main():
    globals()[sys.argv[1]](sys.argv[2])
if __name__ == '__main__':
    main()
";

/// What each change said: `-` for no statement.
fn said(bench: &Bench) -> String {
    let events = bench.events("watcher_output");
    let word = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    let of = of(&events, "n");
    let said = of
        .iter()
        .map(|e| format!("{} {}", word(&e["sql_context"]["operation"]), word(&e["sql_context"]["table"])));
    said.collect::<Vec<_>>().join(", ")
}

fn without_parameters(bench: &Bench) {
    let text = std::fs::read_to_string(bench.path("app/watcher_output/events.jsonl")).unwrap();
    assert!(!text.contains("s3cret"), "parameters are kept nowhere");
}

fn python(driver: &str, place: &Path, expected: &str) {
    let bench = Bench::python(PYTHON);
    bench
        .write("plain.py", &format!("import builtins\nbuiltins.watch = lambda value, name: value\n{PYTHON}"));
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/packages/python");
    let mut plain = bench.command("python3");
    let plain = shown(plain.args(["plain.py", driver]).arg(place).env("PYTHONPATH", &packages));
    assert_eq!(plain.status, 0, "{driver}: {plain:?}");
    let mut command = bench.command(TICKFS);
    command.args(["watch", "--user-script", "app.py", "--track-sql", "--log-level", "error", "--", driver]);
    let traced = shown(command.arg(place).env("PYTHONPATH", &packages));
    assert_eq!(traced, plain, "{driver}");
    assert_eq!(said(&bench), expected, "{driver}");
    without_parameters(&bench);
}

const WORK: &str = "- -, INSERT users, INSERT users, SELECT users, - -";

/// Shows WA-08, WA-136.
#[test]
fn watch_drivers_of_python_for_sqlite_and_postgresql_name_their_statements() {
    python("sqlite3", Path::new("-"), WORK);
    let Some(_packages) = package("python/psycopg2").and(package("python/psycopg")) else { return };
    let Some(server) = Postgres::start() else { return };
    python("psycopg2", server.dir(), &[WORK, WORK, WORK].join(", "));
    python("psycopg", server.dir(), &format!("{WORK}, SELECT pg_class, - -"));
}

#[test]
fn watch_drivers_of_python_for_mysql_name_their_statements() {
    let Some(_packages) = package("python/pymysql").and(package("python/mysql/connector")) else { return };
    let Some(server) = MariaDb::start() else { return };
    python("pymysql", &server.socket(), WORK);
    python("connector", &server.socket(), WORK);
}

const NODE: &str = "\
let n = watch(0, { name: 'n' });
const where = process.argv[3];
const asking = (target) => (method, ...args) => new Promise((done, fail) => target[method](...args, (error, rows) => { n++; error ? fail(error) : done(rows); }));
const tell = (error) => console.log(error.message);
const use = {
  async pg({ Client, Pool }) {
    const given = { host: where, user: 'tester', database: 'postgres' };
    const client = new Client(given);
    await client.connect();
    await client.query('CREATE TABLE users (name TEXT)');
    n++;
    const waiting = client.query('INSERT INTO users VALUES ($1)', ['s3cret']);
    n++;
    await waiting;
    n++;
    console.log(await asking(client)('query', { text: 'SELECT * FROM users', rowMode: 'array' }).then((r) => r.rows));
    await client.query('SELECT * FROM missing').catch(tell);
    await client.query('DROP TABLE users');
    await client.end();
    const pool = new Pool(given);
    const counted = pool.query('SELECT 1 FROM pg_class LIMIT 1');
    n++;
    await counted;
    await pool.end();
  },
  async mysql2(mysql) {
    const given = { socketPath: where, user: 'root', database: 'mysql' };
    const connection = mysql.createConnection(given);
    const ask = asking(connection);
    await ask('query', 'CREATE TABLE users (name VARCHAR(20))');
    await ask('execute', 'INSERT INTO users VALUES (?)', ['s3cret']);
    n++;
    console.log(await ask('query', { sql: 'SELECT name FROM users' }));
    await ask('query', 'SELECT * FROM missing').catch(tell);
    await new Promise((done) => connection.query('DROP TABLE users').on('end', done));
    await new Promise((done) => connection.end(done));
    const promised = await require('mysql2/promise').createConnection(given);
    const counted = promised.query('SELECT 1 FROM user');
    n++;
    await counted;
    await promised.end();
  },
  async sqlite3({ Database }) {
    const db = new Database(':memory:');
    const ask = asking(db);
    await ask('run', 'CREATE TABLE users (name TEXT)');
    await ask('run', 'INSERT INTO users VALUES (?)', ['s3cret']);
    n++;
    console.log(await ask('all', 'SELECT * FROM users'));
    await ask('all', 'SELECT * FROM missing').catch(tell);
    await asking(db.prepare('UPDATE users SET name = ?'))('run', 'x');
    await new Promise((done) => db.close(done));
  },
  async 'better-sqlite3'(Database) {
    const db = new Database(':memory:');
    db.exec('CREATE TABLE users (name TEXT)');
    db.function('seen', (x) => { n++; return x; });
    const insert = db.prepare('INSERT INTO users VALUES (seen(?))');
    n++;
    insert.run('s3cret');
    for (const row of db.prepare('SELECT name FROM users').iterate()) { n++; console.log(row); }
    n++;
    try { db.prepare('SELECT * FROM missing'); } catch (error) { tell(error); }
    db.close();
  },
};
exports.main = () => use[process.argv[2]](require(process.argv[2]));
";

fn node(driver: &str, place: &Path, packages: &Path, expected: &str) {
    let bench = Bench::new();
    bench.write("app.js", NODE);
    bench.write("plain.js", &format!("globalThis.watch = (value) => value;\n{NODE}exports.main();\n"));
    std::os::unix::fs::symlink(packages, bench.path("app/node_modules")).unwrap();
    let plain = shown(bench.command("node").args(["plain.js", driver]).arg(place));
    assert_eq!(plain.status, 0, "{driver}: {plain:?}");
    let args = ["watch", "--user-script", "app.js", "--track-sql", "--log-level", "error", "--", driver];
    let traced = shown(bench.command(TICKFS).args(args).arg(place));
    assert_eq!(traced, plain, "{driver}");
    assert_eq!(said(&bench), expected, "{driver}");
    without_parameters(&bench);
}

/// Shows WA-99.
#[test]
fn watch_drivers_of_node_for_postgresql_name_their_statements() {
    let Some(packages) = package("node/node_modules/pg").and(package("node/node_modules")) else { return };
    let Some(server) = Postgres::start() else { return };
    node("pg", server.dir(), &packages, "- -, INSERT users, - -, SELECT users, SELECT pg_class");
}

#[test]
fn watch_drivers_of_node_for_mysql_name_their_statements() {
    let Some(packages) = package("node/node_modules/mysql2").and(package("node/node_modules")) else {
        return;
    };
    let Some(server) = MariaDb::start() else { return };
    let expected = "CREATE users, INSERT users, - -, SELECT users, SELECT missing, SELECT user";
    node("mysql2", &server.socket(), &packages, expected);
}

/// These are built from C++ where they are installed; `scripts/packages` leaves them out.
#[test]
fn watch_drivers_of_node_for_sqlite_name_their_statements() {
    let callbacks = "CREATE users, INSERT users, - -, SELECT users, SELECT missing, UPDATE users";
    let synchronous = "- -, INSERT users, SELECT users, - -";
    for (driver, expected) in [("sqlite3", callbacks), ("better-sqlite3", synchronous)] {
        let Some(_driver) = package(&format!("node/node_modules/{driver}")) else { return };
        let Some(packages) = package("node/node_modules") else { return };
        node(driver, Path::new("-"), &packages, expected);
    }
}
