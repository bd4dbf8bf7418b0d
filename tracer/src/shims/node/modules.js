// The program's modules on their way into Node, CommonJS and ES modules alike; the call of main(); and what ends a thread.
//
// Rewritten is what lies in the program's directory, outside node_modules. What cannot be parsed goes on as it is: Node
// itself says what is wrong with it.

const script = fs.realpathSync(settings.script);
const root = (() => {
  const own = path.dirname(script);
  const working = settings.directory;
  return path.join(own.startsWith(path.join(working, path.sep)) ? working : own, path.sep);
})();
let entry;

const isOurs = (file) => file.startsWith(root) && !file.includes("/node_modules/");

const acorn = (() => {
  try {
    return require("internal/deps/acorn/acorn/dist/acorn");
  } catch {
    return refuse(`this Node (${process.version}) has no parser that tickfs can use: Node 20 has one`);
  }
})();

function refuse(why) {
  say({ invalid: why });
  process.exit(2);
}

function parsed(source, sourceType) {
  const spelled = { ecmaVersion: "latest", sourceType, allowHashBang: true, locations: true };
  if (sourceType === "script") spelled.allowReturnOutsideFunction = true;
  try {
    return acorn.parse(source, spelled);
  } catch {
    return null;
  }
}

function compiled(source, file, sourceType) {
  const tree = parsed(source, sourceType);
  if (!tree) return source;
  const found = survey(tree, settings.track_declared ? (settings.scopes[file] ?? {}) : {});
  const isEntry = isMainThread && file === script;
  if (isEntry) entry = { isModule: sourceType === "module" };
  if (isEntry && !found.hasMain) refuse("the script exports no main(): a JavaScript program must define it");
  const list = [];
  const newSite = (name, line) => {
    const number = next(SITE);
    list.push([number, name, line]);
    return number;
  };
  const text = rewritten(source, tree, found, newSite, instead(file));
  for (let start = 0; start < list.length; start += 500) say({ sites: [file, list.slice(start, start + 500)] });
  return isEntry ? `${text}\n;__tickfs.main=typeof main==='function'?main:undefined;` : text;
}

// `tickfs`, as a module

const shipped = { watch, traced: true };
const asModule = `const { watch, traced } = globalThis[Symbol.for("tickfs")]; export { watch, traced }; export default { watch, traced };`;

/** What an ES module imports in the place of `tickfs`, where that is not installed. */
function instead(file) {
  try {
    Module.createRequire(file).resolve("tickfs");
    return null;
  } catch {
    return "data:text/javascript," + encodeURIComponent(asModule);
  }
}

const load = Module._load;
Module._load = function (request, ...rest) {
  if (request !== "tickfs") return load.call(this, request, ...rest);
  try {
    return load.call(this, request, ...rest);
  } catch (error) {
    if (error.code !== "MODULE_NOT_FOUND") throw error;
    return shipped;
  }
};

// Loading

const compile = Module.prototype._compile;
Module.prototype._compile = function (source, file, ...rest) {
  const text = isOurs(file) ? compiled(source, file, "script") : source;
  return compile.call(this, text, file, ...rest);
};

const { translators } = require("internal/modules/esm/translators");
const translate = translators.get("module");
translators.set("module", function (url, source, ...rest) {
  const file = url.startsWith("file:") ? filePath(url) : "";
  if (isOurs(file)) source = compiled(typeof source === "string" ? source : new TextDecoder().decode(source), file, "module");
  return Reflect.apply(translate, this, [url, source, ...rest]);
});

const runMain = Module.runMain;
Module.runMain = function (...given) {
  runMain.apply(this, given);
  if (!isMainThread) return;
  const call = (main) => {
    if (typeof main === "function" && !hooks.entered) main();
  };
  if (entry && !entry.isModule) return call(require.cache[script]?.exports?.main ?? hooks.main);
  // Node itself tells of a module that cannot be loaded. An error of main is no rejection.
  const told = (space) => queueMicrotask(() => call(space.main ?? hooks.main));
  import(require("url").pathToFileURL(script)).then(told, () => {});
};

process.on("exit", () => {
  for (const [variable, { view }] of variables) {
    const left = view?.deref();
    if (left !== undefined) agent.bytes(variable, 0, 0, BUFFER, bytesOf(left));
  }
});

const hide = (name, value) => Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
hide("watch", watch);
hide("__tickfs", hooks);
hide(Symbol.for("tickfs"), shipped);
follow(Object.getPrototypeOf(Uint8Array.prototype), ["set", "fill", "copyWithin", "reverse", "sort"]);
const widths = ["Int8", "Uint8", "Int16", "Uint16", "Int32", "Uint32", "Float32", "Float64", "BigInt64", "BigUint64"];
follow(DataView.prototype, widths.map((width) => `set${width}`));
follow(Buffer.prototype, Object.getOwnPropertyNames(Buffer.prototype).filter((name) => /^(write|fill|copy|swap|utf8Write|latin1Write|hexWrite)/.test(name)));
follow(Atomics, ["store", "add", "sub", "and", "or", "xor", "exchange", "compareExchange"], 0);
follow(fs, ["readSync"], 1);
// A stack shows the program alone, as it does untraced.
const errors = require("internal/errors");
errors.setInternalPrepareStackTrace((error, trace) =>
  errors.defaultPrepareStackTrace(error, trace.filter((frame) => frame.getFileName() !== __filename)),
);
process.execArgv.length = 0;
delete require.cache[__filename];
if (isMainThread) {
  say({ attached: process.pid });
  startMemory();
}
