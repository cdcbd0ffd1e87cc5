// Buttons below each block that runs in the reader's browser. Python is loaded on the first click, and not before.
// Without this script, and where the site was built without Python for the browser, a block is an ordinary block.

import { linkWith, textsOfLink } from "./edited_link.mjs";

const SPARE_AFTER_MS = 300;
// After so long without a word, it may be a loop that never ends.
const HINT_AFTER_MS = 3_000;
const HINT = "Still running, without output. Stop ends it.";
const RUNNING = "Running…";
const HELP = "Ctrl+Enter runs it. Escape, then Tab leaves the editor.";

// ---- Python: one worker that works, and one that is ready for the time after Stop -----------------------------------

const python = {
  worker: null,
  spare: null,
  ready: new WeakSet(),
  version: "",
  listener: null,
  place: null,
  // Those that say that another example is running.
  refused: [],

  make() {
    const worker = new Worker(new URL("worker.mjs", import.meta.url), { type: "module" });
    worker.addEventListener("message", ({ data }) => {
      if (data.kind === "broken") {
        this.broke(worker, data.text);
        return;
      }
      if (data.kind === "ready") {
        this.version = data.version;
        this.ready.add(worker);
      }
      if (worker === this.worker) this.listener?.(data);
    });
    worker.addEventListener("error", (event) => {
      this.broke(worker, `Python could not be loaded from this site: ${event.message || "the worker did not start"}`);
    });
    return worker;
  },

  // A broken one is never used again, and the next Run tries anew.
  broke(worker, text) {
    worker.terminate();
    if (worker === this.spare) this.spare = null;
    if (worker !== this.worker) return;
    if (this.listener) this.listener({ kind: "failed", text });
    else this.worker = null;
  },

  get isReady() {
    return this.ready.has(this.worker);
  },

  get isBusy() {
    return this.listener !== null;
  },

  run(request, place, listener) {
    this.listener = listener;
    this.place = place;
    this.worker ??= this.make();
    this.worker.postMessage(request);
  },

  ended() {
    this.listener = null;
    for (const example of this.refused) example.say("");
    this.refused = [];
    if (!this.spare && this.version) setTimeout(() => (this.spare ??= this.make()), SPARE_AFTER_MS);
  },

  stop() {
    this.worker.terminate();
    this.worker = this.spare;
    this.spare = null;
    this.ended();
  },
};

// ---- blocks that can be edited --------------------------------------------------------------------------------------

// By the id of a block, or the name of its file. Those of the page that is shown.
let blocks = new Map();

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text); // there is none where the page came without https
    return true;
  } catch {
    return false;
  }
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function button(label, name, onClick) {
  const made = element("button", { type: "button", class: "run-button", "aria-label": `${label} ${name}` }, label);
  made.addEventListener("click", onClick);
  return made;
}

class Block {
  constructor(shown, name, text) {
    this.shown = shown;
    this.name = name;
    this.original = this.text = text.replace(/\n$/, "");
    this.editor = null;
    this.onRun = () => {};
    this.edit = button("Edit", name, () => this.open());
    this.reset = button("Reset", name, () => this.editor.set(this.original));
    this.copy = button("Copy", name, () => this.copyText());
    this.link = button("Copy link", name, () => this.copyLink());
    this.tries = 0;
    this.status = element("span", { role: "status", class: "run-status" });
    this.help = element("span", { class: "run-help" }, HELP);
    for (const later of [this.reset, this.copy, this.link, this.help]) later.hidden = true;
  }

  get tools() {
    return [this.edit, this.reset, this.copy, this.link, this.status, this.help];
  }

  say(text) {
    this.status.textContent = text;
  }

  async copyText() {
    this.say((await copy(this.text)) ? "Copied." : "This browser lets no page copy: select the text.");
  }

  async copyLink() {
    const edited = [...blocks].filter(([, block]) => block.text !== block.original);
    if (!edited.length) {
      this.say("Nothing was changed: the address of this page is the link.");
      return;
    }
    const link = await linkWith(edited.map(([key, block]) => [key, block.text]));
    if (await copy(link)) {
      this.say("A link to this page with your changes was copied.");
    } else {
      history.replaceState(history.state, "", link);
      this.say("The address of this page is now a link to your changes.");
    }
  }

  async open(text = this.text, why = "") {
    this.text = text;
    if (this.editor) this.editor.set(text);
    else await this.makeEditor();
    if (why) this.say(why);
  }

  async makeEditor() {
    this.edit.disabled = true;
    const again = this.tries++ ? `?${this.tries}` : "";
    let makeEditor;
    try {
      // With another address at each try: a module that could not be loaded is remembered as such.
      ({ makeEditor } = await import(new URL(`../vendor/editor.mjs${again}`, import.meta.url)));
    } catch (error) {
      console.error(error);
      this.help.textContent = "The editor could not be loaded from this site.";
      this.help.hidden = false;
      this.edit.disabled = false;
      return;
    }
    this.help.textContent = HELP;
    this.shown.querySelector("pre").hidden = true;
    this.edit.hidden = true;
    for (const tool of [this.reset, this.copy, this.link, this.help]) tool.hidden = false;
    this.editor = makeEditor(this.shown, {
      text: this.text,
      label: `Editor of ${this.name}. Control and Enter runs it. Escape, then Tab leaves the editor.`,
      onRun: () => this.onRun(),
      onChange: (text) => (this.text = text),
    });
  }
}

// ---- a block that runs ----------------------------------------------------------------------------------------------

class Example {
  constructor(place, needs, block, files) {
    this.needs = needs;
    this.block = block;
    this.files = files;
    const name = block.name;
    this.run = button("Run", name, () => this.go());
    this.stop = button("Stop", name, () => this.halt());
    this.stop.hidden = true;
    this.output = element("pre", { role: "log", class: "run-output", tabindex: "0", "aria-label": `Output of ${name}` });
    this.figure = element("figure", { class: "timeline-figure" });
    this.output.hidden = this.figure.hidden = true;
    this.run.classList.add("run-first");
    place.append(
      element("div", { class: "run-bar" }, this.run, this.stop, ...block.tools),
      this.output,
      this.figure,
    );
    place.hidden = false;
    this.asked = block;
    block.onRun = () => this.go();
    for (const file of files) if (file.block) file.block.onRun = () => this.go(file.block);
  }

  // Also where the reader is, when it was run from the editor of a file.
  say(text) {
    this.block.say(text);
    if (this.asked !== this.block) this.asked.say(text && `Below: ${text}`);
  }

  request() {
    const files = { ...this.needs.files };
    for (const { name, block } of this.files) if (block) files[name] = block.text;
    return { files, code: this.block.text, name: this.needs.name, timeline: this.needs.timeline };
  }

  go(asked = this.block) {
    if (python.isBusy && python.place === this.output) return;
    this.asked = asked;
    if (python.isBusy) {
      this.say("Another example is running: stop it first.");
      python.refused.push(this);
      return;
    }
    this.output.replaceChildren();
    this.output.hidden = false;
    this.figure.hidden = true;
    this.block.shown.dataset.state = "running";
    this.say(python.isReady ? RUNNING : "Loading Python (6 MB, once)…");
    this.stop.hidden = false;
    this.expect(python.isReady);
    const hadFocus = document.activeElement === this.run;
    this.run.hidden = true;
    if (hadFocus) this.stop.focus();
    python.run(this.request(), this.output, (message) => this.hear(message));
  }

  // A process that computes for ever cannot be ended by its timeout: the loop stands still with it.
  expect(isRunning) {
    clearTimeout(this.hint);
    if (!isRunning) return;
    if (this.block.status.textContent === HINT) this.say(RUNNING);
    this.hint = setTimeout(() => this.say(HINT), HINT_AFTER_MS);
  }

  hear(message) {
    this.expect(message.kind === "ready" || message.kind === "output");
    switch (message.kind) {
      case "ready":
        this.say(`Python ${message.version} is there, running…`);
        break;
      case "output":
        for (const [stream, text] of message.parts) this.write(stream, text);
        break;
      case "failed":
        this.write("error", message.text);
        python.stop();
        this.end("failed", "Python could not run it. Run starts it anew.");
        break;
      case "ended":
        this.show(message);
    }
  }

  write(kind, text) {
    this.output.append(element("span", { class: `run-${kind}` }, text));
  }

  show({ error, summary, svg, notes, processes, seconds }) {
    if (error) this.write("error", error);
    for (const note of notes) this.write("note", `${note}\n`);
    if (!this.output.textContent) this.write("note", "It printed nothing, and raised no error.\n");
    if (svg) {
      this.figure.innerHTML = svg;
      this.figure.append(element("figcaption", {}, summary, element("span", {}, ` Your run, Python ${python.version} in this browser.`)));
      this.figure.hidden = false;
    }
    const simulated = processes ? ` ${processes} simulated ${processes === 1 ? "process" : "processes"}.` : "";
    this.end(error ? "raised" : "finished", `${error ? "Raised an error" : "Finished"} after ${seconds.toFixed(2)} s.${simulated}`);
  }

  halt() {
    python.stop();
    this.end("stopped", "Stopped.");
  }

  end(state, text) {
    this.expect(false);
    if (python.isBusy) python.ended();
    this.say(text);
    const hadFocus = document.activeElement === this.stop;
    this.stop.hidden = true;
    this.run.hidden = false;
    if (hadFocus) this.run.focus();
    this.block.shown.dataset.state = state;
  }
}

// ---- the page -------------------------------------------------------------------------------------------------------

function blockOf(place) {
  const shown = [...document.querySelectorAll(".highlight.run")];
  return shown.filter((each) => each.compareDocumentPosition(place) & Node.DOCUMENT_POSITION_FOLLOWING).at(-1);
}

function fileBlocks() {
  const found = new Map();
  for (const shown of document.querySelectorAll(".highlight")) {
    const name = shown.querySelector(":scope > .filename")?.textContent.trim();
    if (name && !found.has(name)) found.set(name, shown);
  }
  return found;
}

function enhance() {
  // The page with the Stop button has gone.
  if (python.isBusy && !python.place.isConnected) python.stop();
  const shown = fileBlocks();
  blocks = new Map();
  const fileBlock = (name, text) => {
    if (!blocks.has(name) && shown.has(name)) {
      const block = new Block(shown.get(name), name, text);
      blocks.set(name, block);
      shown.get(name).after(element("div", { class: "run-bar" }, ...block.tools));
    }
    return blocks.get(name);
  };
  // From the last to the first: Ctrl+Enter in a file runs the first block below that needs it.
  const places = [...document.querySelectorAll(".run-here:not([data-ready])")];
  const read = places.map((place) => JSON.parse(place.querySelector("script").textContent));
  for (const [number, place] of [...places.entries()].reverse()) {
    place.dataset.ready = "";
    const needs = read[number];
    const many = places.length > 1 ? `example ${number + 1}` : "the example";
    const files = needs.editable.map((name) => ({ name, block: fileBlock(name, needs.files[name]) }));
    const block = new Block(blockOf(place), many, needs.code);
    blocks.set(needs.name, block);
    new Example(place, needs, block, files);
  }
  openLinked();
}

// Shown, and run by nobody but the reader: a link may come from anybody.
async function openLinked() {
  let place = [...blocks.values()].at(-1); // the first of the page
  if (!place) return;
  try {
    const texts = await textsOfLink();
    if (!texts) return;
    const linked = texts.filter(([key]) => blocks.has(key));
    if (!linked.length) place.say("The code of this link belongs to an example that is no longer on this page.");
    for (const [key, text] of linked) {
      place = blocks.get(key);
      await place.open(text, "From the link, and not from this page.");
    }
  } catch (error) {
    console.error(error);
    place.say("The code of this link cannot be read: it may have been cut.");
  }
  place.shown.scrollIntoView({ block: "center" });
}

// A link that is pasted into the address of its page loads nothing.
window.addEventListener("hashchange", openLinked);

// With navigation.instant another page comes without a load; the worker stays.
if (window.document$) window.document$.subscribe(enhance);
else enhance();
