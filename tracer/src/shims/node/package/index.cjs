// `tickfs` for a program that is to find `watch` by require or import. Under `tickfs watch` it is the runtime's own.
"use strict";

class RuntimeError extends Error {
  get name() {
    return "RuntimeError";
  }
}

function watch() {
  throw new RuntimeError("watch() needs the runtime of tickfs: run this program with `tickfs watch --user-script SCRIPT`");
}

const runtime = globalThis[Symbol.for("tickfs")];
exports.watch = runtime ? runtime.watch : watch;
/** Whether this program is traced. */
exports.traced = Boolean(runtime);
