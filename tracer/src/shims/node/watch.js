// What runs in a traced Node program: `watch`, and the hooks that the rewriter has put in. Loaded with --require.
const fs = require("fs");
const util = require("util");
const path = require("path");
const Module = require("module");
const { isMainThread, getEnvironmentData, setEnvironmentData } = require("worker_threads");

const TEXT = 7;
const BUFFER = 8;
const INT = 3;
const LIMIT = 16 * 1024 * 1024;

// A program's threads share one ring and one set of numbers. This file is run in each of them.
const [agent, numbers] = (() => {
  const KEY = "tickfs";
  const loaded = { exports: {} };
  const load = (library) => process.dlopen(loaded, `/proc/self/fd/${library}`);
  if (!isMainThread) {
    const shared = getEnvironmentData(KEY);
    load(shared.library);
    return [loaded.exports, shared.numbers];
  }
  const [ring, bell, given] = descriptors;
  if (settings.memory) restoreEnvironment(settings.memory);
  // Opened again, so that no child inherits it.
  const library = fs.openSync(`/proc/self/fd/${given}`);
  load(library);
  fs.closeSync(given);
  if (!loaded.exports.attach(ring, bell)) throw new Error("tickfs: the ring cannot be mapped");
  const numbers = new Uint32Array(new SharedArrayBuffer(12));
  setEnvironmentData(KEY, { library, numbers });
  return [loaded.exports, numbers];
})();

/** What was set to load the library is no business of the program's children. */
function restoreEnvironment({ library, before }) {
  if (library === null) return;
  fs.closeSync(library);
  if (before === null) delete process.env.LD_PRELOAD;
  else process.env.LD_PRELOAD = before;
}

const VARIABLE = 0;
const SITE = 1;
const QUERY = 2;
const { add } = Atomics;
const next = (kind) => add(numbers, kind, 1) + 1;
function say(message) {
  agent.message(JSON.stringify(message));
}

// Variables

const pending = [];
/**
 * variable -> { name, locals, view, assignable }: `view` refers to the memory that it holds, if it holds any. A variable that
 * nobody can assign to any more, and whose memory is gone, is over.
 */
const variables = new Map();
/** ArrayBuffer -> variable -> its view of it: that is there as long as anybody can write the memory. */
const memories = new WeakMap();
/** object -> key -> the holder of the variable that this property is. */
const members = new WeakMap();
/** The keys of all of them: an assignment to another one is none of ours. */
const memberKeys = new Set();

/** Who can still assign to a variable holds this: the hidden variable beside a name, a property. */
class Holder {
  constructor(number) {
    this.number = number;
    ended.register(this, number);
  }
}

const ended = new FinalizationRegistry((variable) => {
  const held = variables.get(variable);
  held.assignable = false;
  forgetIfOver(variable, held);
});
const freed = new FinalizationRegistry((variable) => {
  const held = variables.get(variable);
  // It may hold other memory by now.
  if (!held?.view || held.view.deref() !== undefined) return;
  held.view = null;
  forgetIfOver(variable, held);
});

function forgetIfOver(variable, { assignable, view }) {
  if (assignable || view !== null) return;
  variables.delete(variable);
  say({ ended: variable });
}

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
/** Memory that was given away, to another thread or a shorter array, has no bytes any more. */
const bytesOf = (value) => {
  if (value.byteLength === 0) return Buffer.alloc(0);
  return value instanceof ArrayBuffer ? Buffer.from(value) : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
};

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
  const variable = register(read, file);
  const made = isMemory(value) && value === lastMade ? put(value, variable) : value;
  lastMade = undefined;
  record(variable, siteOf(place), made);
  if (made !== value) close(made, variable);
  pending.push([variable, made]);
  if (pending.length > 64) unclaimed(pending.shift()[0]);
  return made;
}

/** No name and no property is this variable. */
function unclaimed(variable) {
  const held = variables.get(variable);
  held.assignable = false;
  forgetIfOver(variable, held);
}

function register(read, file) {
  const variable = next(VARIABLE);
  const flag = (said, otherwise) => (said ?? null) === null ? settings[otherwise] : Boolean(said);
  const name = String(read.name);
  variables.set(variable, { name, locals: flag(read.locals, "track_locals"), view: null, assignable: true });
  const declared = { id: variable, name, file, scope: read.scope ?? settings.scopes[file]?.[name] ?? null };
  declared.depth = read.depth === "FULL" ? null : read.depth;
  Object.assign(declared, { threads: flag(read.threads, "track_threads"), sql: flag(read.sql, "track_sql") });
  say({ variable: declared });
  return variable;
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
  if (held.view !== null && held.view.deref() !== value) release(variable, held);
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
  const buffer = value instanceof ArrayBuffer ? value : value.buffer;
  if (!memories.has(buffer)) memories.set(buffer, new Map());
  if (memories.get(buffer).get(variable) === value) return;
  memories.get(buffer).set(variable, value);
  held.view = new WeakRef(value);
  freed.register(value, variable, held);
}

function release(variable, held) {
  const view = held.view.deref();
  held.view = null;
  freed.unregister(held);
  if (view === undefined) return;
  const buffer = view instanceof ArrayBuffer ? view : view.buffer;
  memories.get(buffer).delete(variable);
  leave(buffer, variable);
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
  /** Whether main() was called, by the program itself. */
  entered: false,

  first(value) {
    return value;
  },

  second(_, value) {
    return value;
  },

  /** What is written next is written here; a look ends that. */
  at(site, value) {
    if (anyHome) agent.memorySite(site);
    return value;
  },

  /** Nobody else has this memory yet: the argument that it was made from is none. */
  made(value, from) {
    if (!isMemory(from)) lastMade = value;
    return value;
  },

  store(variable, site, value) {
    if (variable) record(variable.number, site, value);
    return value;
  },

  /** The hidden variable's new value, when a name is assigned what `watch` may have given back. */
  take(variable, site, local, value, declared) {
    hooks.held = value;
    const fresh = pending.length ? claim(value) : 0;
    if (!fresh) {
      if (declared && !variable) variable = new Holder(register(options({ name: declared }), caller(hooks.take).file));
      hooks.store(variable, site, value);
      return variable;
    }
    const held = variables.get(fresh);
    if (!local || held.locals) return new Holder(fresh);
    if (held.view !== null) release(fresh, held);
    say({ untraced: fresh });
    unclaimed(fresh);
    return undefined;
  },

  set(site, object, key, value) {
    target(object, key)[key] = value;
    if (ArrayBuffer.isView(object)) changed(site, object, key);
    else if (memberKeys.size !== 0) hooks.tellMember(site, object, key, value);
    return value;
  },

  setStrictly(site, object, key, value) {
    "use strict";
    target(object, key)[key] = value;
    if (ArrayBuffer.isView(object)) changed(site, object, key);
    else if (memberKeys.size !== 0) hooks.tellMember(site, object, key, value);
    return value;
  },

  setTaken(site, object, key, value) {
    object[key] = value;
    return hooks.takeMember(site, object, key, value);
  },

  setTakenStrictly(site, object, key, value) {
    "use strict";
    object[key] = value;
    return hooks.takeMember(site, object, key, value);
  },

  look(site, object, key, read) {
    if (ArrayBuffer.isView(object)) changed(site, object, key);
    else if (memberKeys.has(key)) tellMember(site, object, key, read);
    if (anyHome) agent.memorySite(0);
  },

  tellMember(site, object, key, value) {
    if (memberKeys.has(key)) tellMember(site, object, key, () => value);
    return value;
  },

  /** The property is this variable, if `watch` has just made one of its value. */
  takeMember(site, object, key, value) {
    const fresh = pending.length ? claim(value) : 0;
    if (!fresh) return hooks.tellMember(site, object, key, value);
    if (!members.has(object)) members.set(object, new Map());
    const former = members.get(object).get(key);
    const held = former && variables.get(former.number);
    if (held && held.view !== null) release(former.number, held);
    members.get(object).set(key, new Holder(fresh));
    memberKeys.add(key);
    return value;
  },

  /** The same for an object that was just made. */
  takeMembers(object, keys) {
    for (const key of keys.reverse()) hooks.takeMember(0, object, key, object[key]);
    return object;
  },
};

/** What a watched property is now; `read` tells it of one that only code of its class can name. */
function tellMember(site, object, key, read) {
  const holder = typeof object === "object" || typeof object === "function" ? members.get(object)?.get(key) : undefined;
  if (holder === undefined) return;
  const own = Object.getOwnPropertyDescriptor(object, key);
  if (own ? "value" in own : key[0] === "#") record(holder.number, site, own ? own.value : read());
}

/** Memory was written through this view; `key` is the element, if it is known. */
function changed(site, view, key) {
  const holders = memories.get(view.buffer);
  if (!holders || !holders.size) return;
  for (const [variable, held] of holders) {
    if (changedAt(view, variable, () => site ?? siteOf(caller(changed)))) continue;
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

/** Methods that write memory, their own or that of an argument, are followed by a look at it. */
function follow(prototype, names, argument) {
  for (const name of names) {
    const method = prototype[name];
    if (typeof method !== "function") continue;
    const followed = {
      [name](...given) {
        const target = argument !== undefined || name === "copy" ? given[argument ?? 0] : this;
        const holders = ArrayBuffer.isView(target) && memories.get(target.buffer);
        if (!holders || !holders.size) return Reflect.apply(method, this, given);
        const open = opened(this);
        catchUp(target);
        let result;
        try {
          result = Reflect.apply(method, open, given.map(opened));
        } finally {
          changed(siteOf(caller(followed)), target);
        }
        return result === open ? this : result;
      },
    }[name];
    Object.defineProperty(followed, "length", { value: method.length });
    Object.defineProperty(prototype, name, { value: followed, writable: true, configurable: true, enumerable: isEnumerable(prototype, name) });
  }
}

const isEnumerable = (object, name) => Object.prototype.propertyIsEnumerable.call(object, name);

// Sites

const filePath = (name) => (name.startsWith("file:") ? require("url").fileURLToPath(name) : name);
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
  // V8 makes up names from what it reads, the rewriter's hooks among it.
  const name = frame.getFunctionName()?.replace(/^(__tickfs\.\w+\.)+((module\.)?exports\.)?/, "");
  return { file: filePath(frame.getFileName() ?? ""), line: frame.getLineNumber() ?? 0, name: name || "<module>" };
}

function siteOf({ file, line, name }) {
  const key = `${line} ${name} ${file}`;
  let number = sites.get(key);
  if (number === undefined) {
    number = next(SITE);
    sites.set(key, number);
    say({ sites: [file, [[number, name, line]]] });
  }
  return number;
}
