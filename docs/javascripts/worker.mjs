// Python in a worker: it may block as long as it likes, and the page does not. Stop ends the worker.
// What runs a block is offloop.guide.in_browser; the tests run the same code in an ordinary Python.

import { loadPyodide } from "../vendor/pyodide/pyodide.mjs";

const VENDOR = new URL("../vendor/", import.meta.url).href;
const LIBRARY = "/lib/examples";
// A loop that prints without an end must not drown the page.
const MOST_MESSAGES = 2_000;
const MOST_CHARACTERS = 200_000;
const PAUSE_MS = 100;

let waiting = [];
let messages = 0;
let characters = 0;
let lastSent = 0;

function send() {
  if (waiting.length) self.postMessage({ kind: "output", parts: waiting });
  waiting = [];
  lastSent = performance.now();
}

function output(stream) {
  const decoder = new TextDecoder();
  return {
    write(bytes) {
      const text = decoder.decode(bytes, { stream: true });
      const room = MOST_CHARACTERS - characters;
      if (room < 0) return bytes.length;
      characters += text.length;
      waiting.push([stream, text.slice(0, room)]);
      if (text.length > room) waiting.push(["note", "\n(more output is left out)\n"]);
      messages += 1;
      if (messages < MOST_MESSAGES || performance.now() - lastSent > PAUSE_MS) send();
      return bytes.length;
    },
  };
}

// Pyodide waits for ever for a file that does not come.
async function check(name) {
  const answer = await fetch(new URL(name, VENDOR), { method: "HEAD" });
  if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
}

async function start() {
  await Promise.all(["pyodide/pyodide.asm.wasm", "pyodide/python_stdlib.zip", "python.zip"].map(check));
  const library = fetch(new URL("python.zip", VENDOR)).then((answer) => answer.arrayBuffer());
  const python = await loadPyodide({ indexURL: new URL("pyodide/", VENDOR).href });
  python.setStdout(output("stdout"));
  python.setStderr(output("stderr"));
  python.unpackArchive(await library, "zip", { extractDir: LIBRARY });
  python.globals.set("send", send);
  const version = python.runPython(`
import sys, time

# Who sleeps may be waited for: what was written before is shown first.
sleep = time.sleep
def send_and_sleep(seconds):
    send()
    sleep(seconds)
time.sleep = send_and_sleep

sys.path.insert(0, "${LIBRARY}")
for stream in (sys.stdout, sys.stderr):
    stream.reconfigure(line_buffering=True)

from offloop.guide.in_browser import answer, install

install()
# What the first example would otherwise wait for.
import anyio._backends._asyncio, offloop.engines.hub, offloop.engines.on_loop
from offloop.testing.recorder import recording

"%d.%d" % sys.version_info[:2]
`);
  self.postMessage({ kind: "ready", version });
  const answer = python.globals.get("answer");
  const recording = python.globals.get("recording");
  return (request) => answer(JSON.stringify(request), recording);
}

const started = start();
function tellBroken(error) {
  self.postMessage({ kind: "broken", text: `Python could not be loaded from this site: ${error?.message ?? error}` });
}
started.catch(tellBroken);
self.addEventListener("unhandledrejection", (event) => tellBroken(event.reason));

self.onmessage = async ({ data }) => {
  messages = characters = 0;
  const run = await started.catch(() => null);
  if (run === null) return; // it was told
  try {
    const text = run(data);
    send();
    self.postMessage({ kind: "ended", ...JSON.parse(text) });
  } catch (error) {
    send();
    self.postMessage({ kind: "failed", text: String(error) });
  }
};
