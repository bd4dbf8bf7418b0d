// Runs a processor, as `node -e`: one event a line on stdin, one answer a line on stdout.
const fs = require("fs");
const path = require("path").resolve(process.argv[1]);
const say = (answer) => fs.writeSync(1, JSON.stringify(answer) + "\n");
// What the processor prints is for people.
process.stdout.write = process.stderr.write.bind(process.stderr);
console.log = console.info = console.debug = console.error;

async function load() {
  try {
    const loaded = await import(require("url").pathToFileURL(path));
    const main = loaded.main ?? loaded.default?.main;
    return typeof main === "function" ? { main } : { error: "it exports no main(event)" };
  } catch (error) {
    console.error(error);
    return { error: `it cannot be loaded: ${error}` };
  }
}

async function answer(main, line) {
  const event = JSON.parse(line);
  try {
    const said = (await main(event)) ?? { action: "pass" };
    say({ ...said, event_id: event.event_id });
  } catch (error) {
    console.error(error);
    say({ error: String(error), event_id: event.event_id });
  }
}

load().then(({ main, error }) => {
  if (error) return say({ error });
  say({ ready: true });
  return require("readline").createInterface({ input: process.stdin }).on("line", (line) => answer(main, line));
});
