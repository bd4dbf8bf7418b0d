// Which SQL statement runs where a variable changes: drivers are followed as they are loaded, and behave as ever.
//
// A statement counts from its call until its answer has come, in the same asynchronous context. Parameters are never
// looked at.

const { AsyncLocalStorage, AsyncResource, createHook } = require("async_hooks");
const storage = new AsyncLocalStorage();
const statements = new Map();

/** module -> which methods of which prototypes run the statement that they are given. */
const DRIVERS = {
  pg: (pg) => [[pg.Client?.prototype, ["query"]], [pg.Pool?.prototype, ["query"]]],
  mysql2: (mysql) => [[mysql.Connection?.prototype, ["query", "execute"]], [mysql.Pool?.prototype, ["query", "execute"]]],
  sqlite3: (sqlite) => [[sqlite.Database?.prototype, ["run", "get", "all", "each", "exec"]]],
  "better-sqlite3": (Database) => [[Database.prototype, ["exec", "pragma"]]],
};
/** module -> what makes statements that are run later, of which methods. */
const PREPARING = {
  sqlite3: (sqlite) => [sqlite.Database?.prototype, ["run", "get", "all", "each"]],
  "better-sqlite3": (Database) => [Database.prototype, ["run", "get", "all", "iterate"]],
};
/** An ES module reaches them by the names of their files. */
const FILES = /[/]node_modules[/](?:(pg|better-sqlite3)[/]lib[/]index|(mysql2)[/](?:index|promise)|(sqlite3)[/]lib[/]sqlite3)[.]js$/;
const followedDrivers = new Set();
const prepared = new WeakMap();

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

/** Raw writes are asked in the middle of anything: what runs is said beforehand, wherever it may have become another. */
const tellMemory = () => agent.memoryQuery?.(currentQuery());
let memoryTold = false;

function followContexts() {
  if (!memoryTold && settings.memory && agent.memoryQuery) createHook({ before: tellMemory, after: tellMemory }).enable();
  memoryTold = true;
}

/** Runs a method while this is the query, from here on and in what is called back, until its answer has come. */
function running(number, method, self, given) {
  const own = { number };
  followContexts();
  storage.enterWith(own);
  tellMemory();
  const end = () => {
    own.number = 0;
    tellMemory();
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
  let result;
  try {
    result = Reflect.apply(method, self, bound);
  } catch (error) {
    end();
    throw error;
  }
  if (util.types.isPromise(result)) result.then(end, end);
  else if (typeof result?.next === "function") return iterating(result, end);
  else if (last < 0 && typeof result?.once === "function" && result !== self) result.once("end", end);
  else if (last < 0) end();
  return result;
}

/** An iterator's query runs until it is done. */
function iterating(iterator, end) {
  for (const name of ["next", "return", "throw"]) {
    const method = iterator[name];
    if (typeof method !== "function") continue;
    const value = function (...given) {
      const step = Reflect.apply(method, this, given);
      if (step?.done) end();
      return step;
    };
    Object.defineProperty(iterator, name, { value, writable: true, configurable: true, enumerable: false });
  }
  return iterator;
}

function replaced(prototype, name, followed) {
  const method = prototype?.[name];
  if (typeof method !== "function") return;
  const value = followed(method);
  Object.defineProperty(value, "name", { value: name });
  Object.defineProperty(value, "length", { value: method.length });
  Object.defineProperty(prototype, name, { value, writable: true, configurable: true, enumerable: isEnumerable(prototype, name) });
}

const taking = (method) =>
  function (...given) {
    const number = numberOf(given[0]);
    return number ? running(number, method, this, given) : Reflect.apply(method, this, given);
  };

const prepares = (names) => (method) =>
  function (...given) {
    const made = Reflect.apply(method, this, given);
    const prototype = Object.getPrototypeOf(made);
    if (!prepared.has(prototype)) {
      prepared.set(prototype, "");
      names.forEach((name) => replaced(prototype, name, executing));
    }
    if (typeof given[0] === "string") prepared.set(made, given[0]);
    return made;
  };

const executing = (method) =>
  function (...given) {
    const statement = prepared.get(this);
    return statement ? running(numberOf(statement), method, this, given) : Reflect.apply(method, this, given);
  };

function followDriver(name, exported) {
  followedDrivers.add(exported);
  for (const [prototype, names] of DRIVERS[name](exported)) names.forEach((method) => replaced(prototype, method, taking));
  const [prototype, names] = PREPARING[name]?.(exported) ?? [];
  replaced(prototype, "prepare", prepares(names));
}

if (settings.track_sql) {
  currentQuery = () => storage.getStore()?.number ?? 0;
  const loadDriver = Module._load;
  Module._load = function (request, ...rest) {
    const exported = loadDriver.call(this, request, ...rest);
    const name = Object.hasOwn(DRIVERS, request) ? request : FILES.exec(request)?.slice(1).find(Boolean);
    // Promises of mysql2 are made of what mysql2 itself does.
    const isPromises = /mysql2[/]promise(?:[.]js)?$/.test(request);
    const driver = isPromises ? loadDriver.call(this, request.replace(/[/]promise/, name ? "/index" : ""), ...rest) : exported;
    if ((name || isPromises) && !followedDrivers.has(driver)) followDriver(name ?? "mysql2", driver);
    return exported;
  };
}
