// Python in a worker: it may block as long as it likes, and the page does not. Stop ends the worker.
// What runs a block is offloop.guide.in_browser; the tests run the same code in an ordinary Python.

import { loadPyodide } from "../vendor/pyodide/pyodide.mjs";

const VENDOR = new URL("../vendor/", import.meta.url).href;
const LIBRARY = "/lib/examples";
// A loop that prints without an end must not drown the page.
const MOST_MESSAGES = 100;
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
      if (characters > MOST_CHARACTERS) return bytes.length;
      characters += text.length;
      waiting.push([stream, characters > MOST_CHARACTERS ? "\n(more output is left out)\n" : text]);
      messages += 1;
      if (messages < MOST_MESSAGES || performance.now() - lastSent > PAUSE_MS) send();
      return bytes.length;
    },
  };
}

async function start() {
  const library = fetch(new URL("python.zip", VENDOR)).then((answer) => answer.arrayBuffer());
  const python = await loadPyodide({ indexURL: new URL("pyodide/", VENDOR).href });
  python.setStdout(output("stdout"));
  python.setStderr(output("stderr"));
  python.unpackArchive(await library, "zip", { extractDir: LIBRARY });
  const version = python.runPython(`
import sys

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
// Told when somebody wants to run something.
started.catch(() => {});

self.onmessage = async ({ data }) => {
  messages = characters = 0;
  try {
    const run = await started;
    const text = run(data);
    send();
    self.postMessage({ kind: "ended", ...JSON.parse(text) });
  } catch (error) {
    send();
    self.postMessage({ kind: "failed", text: String(error) });
  }
};
