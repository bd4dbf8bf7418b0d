// Typed arrays that live in watched memory: whoever writes there is seen, with or without a hook.
//
// Memory that a program already has under another name cannot be moved; it is followed by hooks alone. What hooks write
// goes to the same memory where it is open.

/** ArrayBuffer -> { slot, open, variable }: `open` is an ArrayBuffer over the same memory. */
const homes = new WeakMap();
/** view -> the same view of the open memory */
const openViews = new WeakMap();
let anyHome = false;
/** What is written has happened before it is seen. */
const late = settings.memory != null && settings.memory.mode !== "signal";
/** What the last `new` beside a call of `watch` has made. */
let lastMade;

const typedArray = Object.getPrototypeOf(Uint8Array);
const kindOf = Object.getOwnPropertyDescriptor(typedArray.prototype, Symbol.toStringTag).get;
const typedArrays = Object.fromEntries(
  [Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array, BigInt64Array, BigUint64Array]
    .map((kind) => [kind.name, kind]),
);

/** Looks what can be done here, and says so. */
function startMemory() {
  const { file, channel, mode } = settings.memory ?? {};
  const start = () => (agent.memoryStart ? agent.memoryStart(file, channel ?? -1, mode) : "off: this processor is not known");
  const how = settings.memory ? start() : "off: as asked for";
  for (const descriptor of [file, channel]) if (descriptor != null) fs.closeSync(descriptor);
  const why = how.startsWith("off: ") ? how.slice(5) : undefined;
  const [used, raw, kernel] = why === undefined ? how.split(" ") : ["hooks", "off", "none"];
  say({ memory: { mode: used, raw, kernel, why } });
}

/** The same view, of other memory of the same form. */
function viewOf(view, buffer) {
  if (view instanceof DataView) return new DataView(buffer, view.byteOffset, view.byteLength);
  if (view instanceof Buffer) return Buffer.from(buffer, view.byteOffset, view.byteLength);
  return new typedArrays[kindOf.call(view)](buffer, view.byteOffset, view.length);
}

/** The value in watched memory, if it was just made and can be there; the value itself otherwise. */
function put(value, variable) {
  const isView = ArrayBuffer.isView(value);
  const buffer = isView ? value.buffer : value;
  const plain = [typedArrays[isView ? kindOf.call(value) : undefined], DataView, Buffer, ArrayBuffer];
  const whole = buffer instanceof ArrayBuffer && buffer.byteLength === value.byteLength && !buffer.resizable && value.byteLength > 0;
  if (!agent.memoryTake || !whole || !plain.some((kind) => kind && Object.getPrototypeOf(value) === kind.prototype)) return value;
  const slot = agent.memoryTake(value.byteLength);
  if (slot === undefined) return value;
  const open = agent.memoryBuffer(slot, value.byteLength, 1);
  const inside = open && agent.memoryBuffer(slot, value.byteLength, 0);
  if (!inside) return value;
  new Uint8Array(open).set(new Uint8Array(buffer));
  if (!anyHome) followTransfers();
  homes.set(inside, { slot, open, variable });
  anyHome = true;
  return isView ? viewOf(value, inside) : inside;
}

const homeOf = (view) => (anyHome && ArrayBuffer.isView(view) ? homes.get(view.buffer) : undefined);

/** From now on what is written there is recorded. */
function close(value, variable) {
  const home = homes.get(value instanceof ArrayBuffer ? value : value.buffer);
  if (home) agent.memoryClose(home.slot, variable);
}

/** What is written there is no longer the variable's. */
function leave(buffer, variable) {
  const home = homes.get(buffer);
  if (!home || home.variable !== variable) return;
  home.variable = 0;
  agent.memoryOpen(home.slot, variable);
}

/** The view of the open memory; what is not in watched memory is itself. */
function opened(view) {
  const home = homeOf(view);
  if (!home || !home.variable) return view;
  let open = openViews.get(view);
  if (open === undefined || open.byteOffset !== view.byteOffset || open.byteLength !== view.byteLength) {
    open = viewOf(view, home.open);
    openViews.set(view, open);
  }
  return open;
}

/** The object that an element is to be set on: where that is the same, the open memory. */
function target(object, key) {
  if (!anyHome || typeof key !== "number" || !ArrayBuffer.isView(object) || !homes.has(object.buffer)) return object;
  catchUp(object);
  return key >= 0 && key < object.length && Number.isInteger(key) ? opened(object) : object;
}

/** Tells of what was written unseen, before a hook writes. */
function catchUp(view) {
  const home = late ? homeOf(view) : undefined;
  if (home && home.variable) agent.memoryCatchUp(home.slot);
}

/** Records what a hook has written. `false`: that is for others to do. */
function changedAt(view, variable, site) {
  const home = homeOf(view);
  return home !== undefined && home.variable === variable && agent.memoryChanged(home.slot, variable, site(), query());
}

/** Node copies such memory where it would give it away; the giver is left without it all the same. */
function followTransfers() {
  const { MessagePort, Worker } = require("worker_threads");
  for (const [holder, name] of [[globalThis, "structuredClone"], [MessagePort.prototype, "postMessage"], [Worker.prototype, "postMessage"]]) {
    const method = holder[name];
    if (typeof method !== "function") continue;
    const followed = {
      [name](...given) {
        const result = Reflect.apply(method, this, given);
        const list = Array.isArray(given[1]) ? given[1] : given[1]?.transfer;
        for (const buffer of Array.isArray(list) ? list : []) {
          const home = homes.get(buffer);
          if (home === undefined) continue;
          leave(buffer, home.variable);
          agent.memoryDetach(buffer);
        }
        return result;
      },
    }[name];
    Object.defineProperty(followed, "length", { value: method.length });
    Object.defineProperty(holder, name, { ...Object.getOwnPropertyDescriptor(holder, name), value: followed });
  }
}
