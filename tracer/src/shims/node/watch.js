// What runs in a traced Node program: `watch`, and the hooks that the rewriter has put in. Loaded with --require.
const fs = require("fs");
const util = require("util");
const path = require("path");
const Module = require("module");

const TEXT = 7;
const BUFFER = 8;
const INT = 3;
const LIMIT = 16 * 1024 * 1024;

const agent = (() => {
  const [ring, bell, library] = descriptors;
  const loaded = { exports: {} };
  process.dlopen(loaded, `/proc/self/fd/${library}`);
  fs.closeSync(library);
  if (!loaded.exports.attach(ring, bell)) throw new Error("tickfs: the ring cannot be mapped");
  return loaded.exports;
})();
const acorn = (() => {
  try {
    return require("internal/deps/acorn/acorn/dist/acorn");
  } catch {
    say({ invalid: `this Node (${process.version}) has no parser that tickfs can use: Node 20 has one` });
    process.exit(2);
  }
})();

function say(message) {
  agent.message(JSON.stringify(message));
}

// Variables

let nextVariable = 0;
let nextSite = 0;
let pending = [];
/** variable -> { name, locals, view }: `view` is the memory that it holds, if it holds any. */
const variables = new Map();
/** ArrayBuffer -> variables that hold some of it. */
const memories = new WeakMap();

const OPTIONS = {
  name: "name",
  track_threads: "threads",
  track_locals: "locals",
  track_sql: "sql",
  mutation_depth: "depth",
  scope: "scope",
  file_path: "file",
};

function options(given) {
  const read = { name: "var", depth: "FULL", scope: null };
  for (const [key, value] of Object.entries(given ?? {})) {
    const snake = key.replace(/[A-Z]/g, (letter) => "_" + letter.toLowerCase());
    if (!(snake in OPTIONS)) throw new TypeError(`watch: there is no option ${key}`);
    read[OPTIONS[snake]] = value;
  }
  if (![null, "local", "global", "both"].includes(read.scope)) {
    throw new RangeError(`watch: scope is "local", "global" or "both", not ${util.inspect(read.scope)}`);
  }
  if (read.depth !== "FULL" && !(Number.isInteger(read.depth) && read.depth >= 0)) {
    throw new RangeError(`watch: mutation_depth is "FULL" or a number of bytes, not ${util.inspect(read.depth)}`);
  }
  return read;
}

const isMemory = (value) => ArrayBuffer.isView(value) || value instanceof ArrayBuffer;
const bytesOf = (value) =>
  value instanceof ArrayBuffer ? Buffer.from(value) : Buffer.from(value.buffer, value.byteOffset, value.byteLength);

/** Has every change of this value recorded; gives it back. */
function watch(value, given) {
  if (arguments.length === 0) throw new TypeError("watch: there is no value");
  if ((typeof value === "object" && value !== null && !isMemory(value)) || typeof value === "function") {
    throw new TypeError("watch: plain values, typed arrays and ArrayBuffers can be watched, not objects");
  }
  const read = options(given);
  const place = caller(watch);
  const file = path.resolve(read.file ?? place.file);
  if (!inScope(file)) return value;
  const size = isMemory(value) ? value.byteLength : typeof value === "string" ? Buffer.byteLength(value) : 8;
  if (size > LIMIT) {
    throw new RangeError(`watch: a value of ${size} bytes cannot be watched: the limit is ${LIMIT} bytes`);
  }
  const variable = ++nextVariable;
  const flag = (said, otherwise) => (said ?? null) === null ? settings[otherwise] : Boolean(said);
  const name = String(read.name);
  variables.set(variable, { name, locals: flag(read.locals, "track_locals"), view: null });
  const declared = { id: variable, name, file, scope: read.scope ?? settings.scopes[file]?.[name] ?? null };
  declared.depth = read.depth === "FULL" ? null : read.depth;
  Object.assign(declared, { threads: flag(read.threads, "track_threads"), sql: flag(read.sql, "track_sql") });
  say({ variable: declared });
  record(variable, siteOf(place), value);
  pending.push([variable, value]);
  if (pending.length > 64) pending.shift();
  return value;
}

function inScope(file) {
  return !settings.globs.length || settings.globs.some((glob) => matches(file, glob));
}

function matches(file, glob) {
  const spelled = { "**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]" };
  const parts = glob.split(/(\*\*\/|\*\*|\*|\?)/);
  const pattern = parts.map((part) => spelled[part] ?? part.replace(/[.+^${}()|[\]\\]/g, "\\$&")).join("");
  return [path.relative(settings.directory, file), file].some((name) => new RegExp(`^${pattern}$`).test(name));
}

/** Says what a variable's value is now. */
function record(variable, site, value) {
  const held = variables.get(variable);
  if (held.view !== null && held.view !== value) release(variable, held);
  if (isMemory(value)) {
    hold(variable, held, value);
    agent.bytes(variable, site, query(), BUFFER, bytesOf(value));
  } else if (!agent.value(variable, site, query(), value)) {
    const [tag, bytes] = typeof value === "bigint" ? [INT, bigintBytes(value)] : [TEXT, inspected(value)];
    agent.bytes(variable, site, query(), tag, bytes);
  }
}

function inspected(value) {
  const spelled = { depth: 6, customInspect: false, breakLength: Infinity, maxArrayLength: Infinity, maxStringLength: Infinity };
  return Buffer.from(util.inspect(value, spelled));
}

function bigintBytes(value) {
  const bytes = [];
  for (let rest = value; bytes.length < 8 || bytes.length % 8 || BigInt.asIntN(8 * bytes.length, value) !== value; rest >>= 8n) {
    bytes.push(Number(BigInt.asUintN(8, rest)));
  }
  return Buffer.from(bytes);
}

function hold(variable, held, value) {
  held.view = value;
  const buffer = value instanceof ArrayBuffer ? value : value.buffer;
  if (!memories.has(buffer)) memories.set(buffer, new Set());
  memories.get(buffer).add(variable);
}

function release(variable, held) {
  const buffer = held.view instanceof ArrayBuffer ? held.view : held.view.buffer;
  memories.get(buffer).delete(variable);
  held.view = null;
}

function claim(value) {
  for (let place = pending.length - 1; place >= 0; place--) {
    if (Object.is(pending[place][1], value)) return pending.splice(place, 1)[0][0];
  }
  return 0;
}

function query() {
  return settings.track_sql ? currentQuery() : 0;
}

let currentQuery = () => 0;

// The hooks

const hooks = {
  held: undefined,

  first(value) {
    return value;
  },

  store(variable, site, value) {
    if (variable) record(variable, site, value);
    return value;
  },

  /** The hidden variable's new value, when a name is assigned what `watch` may have given back. */
  take(variable, site, local, value) {
    hooks.held = value;
    const fresh = pending.length ? claim(value) : 0;
    if (!fresh) {
      hooks.store(variable, site, value);
      return variable;
    }
    const held = variables.get(fresh);
    if (!local || held.locals) return fresh;
    if (held.view !== null) release(fresh, held);
    say({ untraced: fresh });
    return 0;
  },

  set(site, object, key, value) {
    object[key] = value;
    if (ArrayBuffer.isView(object)) changed(site, object, key);
    return value;
  },

  setStrictly(site, object, key, value) {
    "use strict";
    object[key] = value;
    if (ArrayBuffer.isView(object)) changed(site, object, key);
    return value;
  },

  look(site, object) {
    if (ArrayBuffer.isView(object)) changed(site, object);
  },
};

/** Memory was written through this view; `key` is the element, if it is known. */
function changed(site, view, key) {
  const holders = memories.get(view.buffer);
  if (!holders || !holders.size) return;
  for (const variable of holders) {
    const held = variables.get(variable).view;
    const start = held instanceof ArrayBuffer ? 0 : held.byteOffset;
    const size = view.BYTES_PER_ELEMENT;
    const at = view.byteOffset + Number(key) * size - start;
    if (size && at >= 0 && at + size <= held.byteLength) {
      const patch = Buffer.alloc(16 + size);
      patch.writeBigUInt64LE(BigInt(at), 0);
      patch.writeBigUInt64LE(BigInt(size), 8);
      patch.set(bytesOf(held).subarray(at, at + size), 16);
      agent.patch(variable, site ?? siteOf(caller(changed)), query(), 0, patch);
    } else if (key === undefined || Number.isNaN(at)) {
      agent.bytes(variable, site ?? siteOf(caller(changed)), query(), BUFFER, bytesOf(held));
    }
  }
}

/** Methods that write memory are followed by a look at it. */
function follow(prototype, names) {
  for (const name of names) {
    const method = prototype[name];
    if (typeof method !== "function") continue;
    const followed = {
      [name](...given) {
        const result = Reflect.apply(method, this, given);
        const target = name === "copy" ? given[0] : this;
        const holders = ArrayBuffer.isView(target) && memories.get(target.buffer);
        if (holders && holders.size) changed(siteOf(caller(followed)), target);
        return result;
      },
    }[name];
    Object.defineProperty(followed, "length", { value: method.length });
    Object.defineProperty(prototype, name, { value: followed, writable: true, configurable: true, enumerable: isEnumerable(prototype, name) });
  }
}

const isEnumerable = (object, name) => Object.prototype.propertyIsEnumerable.call(object, name);

// Sites

const sites = new Map();

/** Where the function that called `callee` stands. */
function caller(callee) {
  const { prepareStackTrace, stackTraceLimit } = Error;
  Error.prepareStackTrace = (_, frames) => frames;
  Error.stackTraceLimit = 1;
  const holder = {};
  Error.captureStackTrace(holder, callee);
  const [frame] = holder.stack;
  Error.prepareStackTrace = prepareStackTrace;
  Error.stackTraceLimit = stackTraceLimit;
  if (!frame) return { file: "", line: 0, name: "<unseen>" };
  const name = frame.getFunctionName();
  return { file: frame.getFileName() ?? "", line: frame.getLineNumber() ?? 0, name: name ?? "<module>" };
}

function siteOf({ file, line, name }) {
  const key = `${line} ${name} ${file}`;
  let number = sites.get(key);
  if (number === undefined) {
    number = ++nextSite;
    sites.set(key, number);
    say({ sites: [file, [[number, name, line]]] });
  }
  return number;
}

// The program's modules

const script = fs.realpathSync(settings.script);
const directory = path.join(path.dirname(script), path.sep);
let entry;

function compiled(source, file) {
  let tree;
  try {
    tree = acorn.parse(source, { ecmaVersion: "latest", sourceType: "script", allowHashBang: true, allowReturnOutsideFunction: true, locations: true });
  } catch {
    return source; // Node itself says what is wrong with it
  }
  const found = survey(tree);
  if (file === script) entry = found;
  const list = [];
  const newSite = (name, line) => {
    list.push([++nextSite, name, line]);
    return nextSite;
  };
  const text = rewritten(source, tree, found, newSite);
  for (let start = 0; start < list.length; start += 500) say({ sites: [file, list.slice(start, start + 500)] });
  const main = file === script ? ";__tickfs.main=typeof main==='function'?main:undefined;" : "";
  return text + main;
}

const compile = Module.prototype._compile;
Module.prototype._compile = function (source, file, ...rest) {
  const ours = file.startsWith(directory) && !file.includes("/node_modules/");
  if (!ours) return compile.call(this, source, file, ...rest);
  const text = compiled(source, file);
  if (file === script && entry && !entry.hasMain) {
    say({ invalid: "the script exports no main(): a JavaScript program must define it" });
    process.exit(2);
  }
  return compile.call(this, text, file, ...rest);
};

const runMain = Module.runMain;
Module.runMain = function (...given) {
  runMain.apply(this, given);
  const exported = require.cache[script]?.exports?.main ?? hooks.main;
  if (typeof exported === "function" && entry && !entry.callsMain) exported();
};

process.on("exit", () => {
  for (const [variable, { view }] of variables) {
    if (view !== null) agent.bytes(variable, 0, 0, BUFFER, bytesOf(view));
  }
});

const hide = (name, value) => Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
hide("watch", watch);
hide("__tickfs", hooks);
follow(Object.getPrototypeOf(Uint8Array.prototype), ["set", "fill", "copyWithin", "reverse", "sort"]);
const widths = ["Int8", "Uint8", "Int16", "Uint16", "Int32", "Uint32", "Float32", "Float64", "BigInt64", "BigUint64"];
follow(DataView.prototype, widths.map((width) => `set${width}`));
follow(Buffer.prototype, Object.getOwnPropertyNames(Buffer.prototype).filter((name) => /^(write|fill|copy|swap|utf8Write|latin1Write|hexWrite)/.test(name)));
process.execArgv.length = 0;
delete require.cache[__filename];
say({ attached: process.pid });
