// Which SQL statement runs where a variable changes: drivers are followed as they are loaded, and behave as ever.
//
// A statement counts from its call until its answer has come, in the same asynchronous context. Parameters are never
// looked at.

const { AsyncLocalStorage, AsyncResource } = require("async_hooks");
const storage = new AsyncLocalStorage();
const statements = new Map();

/** module -> what of it runs statements: path to a prototype, and the names of its methods. */
const DRIVERS = {
  pg: (pg) => [[pg.Client?.prototype, ["query"]], [pg.Pool?.prototype, ["query"]]],
  mysql2: (mysql) => [[mysql.Connection?.prototype, ["query", "execute"]], [mysql.Pool?.prototype, ["query", "execute"]]],
  sqlite3: (sqlite) => [[sqlite.Database?.prototype, ["run", "get", "all", "each", "exec", "prepare"]]],
  "better-sqlite3": (Database) => [[Database.prototype, ["exec", "prepare", "pragma"]]],
};

function context(statement) {
  const text = statement.trim().split(/\s+/).join(" ");
  const target = /\b(?:into|from|update|table(?:\s+if(?:\s+not)?\s+exists)?|join)\s+(["`[]?[\w.]+)/i.exec(text);
  const digest = require("crypto").createHash("sha256").update(text).digest("hex").slice(0, 12);
  const table = target ? target[1].replace(/^["`[]/, "") : null;
  return { operation: (/^\w+/.exec(text)?.[0] ?? "").toUpperCase(), table, query_hash: "0x" + digest };
}

function numberOf(statement) {
  const text = typeof statement === "string" ? statement : statement?.text ?? statement?.sql;
  if (typeof text !== "string") return 0;
  if (!statements.has(text)) {
    statements.set(text, next(QUERY));
    say({ query: { id: statements.get(text), context: context(text) } });
  }
  return statements.get(text);
}

function followDriver(list) {
  for (const [prototype, names] of list) {
    for (const name of names) {
      const method = prototype?.[name];
      if (typeof method !== "function") continue;
      const followed = function (statement, ...given) {
        const own = { number: numberOf(statement) };
        if (!own.number) return Reflect.apply(method, this, [statement, ...given]);
        // From here on, and in what is called back, this is the query.
        storage.enterWith(own);
        const end = () => {
          own.number = 0;
        };
        const last = given.findLastIndex((part) => typeof part === "function");
        const bound = given.map((part, place) => {
          if (typeof part !== "function") return part;
          return AsyncResource.bind(function (...told) {
            try {
              return Reflect.apply(part, this, told);
            } finally {
              if (place === last) end();
            }
          });
        });
        const result = Reflect.apply(method, this, [statement, ...bound]);
        if (typeof result?.then === "function") result.then(end, end);
        else if (last < 0) end();
        return result;
      };
      Object.defineProperty(followed, "name", { value: name });
      Object.defineProperty(followed, "length", { value: method.length });
      Object.defineProperty(prototype, name, { value: followed, writable: true, configurable: true, enumerable: isEnumerable(prototype, name) });
    }
  }
}

if (settings.track_sql) {
  currentQuery = () => storage.getStore()?.number ?? 0;
  const seen = new WeakSet();
  const loadDriver = Module._load;
  Module._load = function (request, ...rest) {
    const exported = loadDriver.call(this, request, ...rest);
    if (Object.hasOwn(DRIVERS, request) && !seen.has(exported)) {
      seen.add(exported);
      followDriver(DRIVERS[request](exported));
    }
    return exported;
  };
}
