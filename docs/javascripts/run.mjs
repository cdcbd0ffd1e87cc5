// Buttons below each block that runs in the reader's browser. Python is loaded on the first click, and not before.
// Without this script, and where the site was built without Python for the browser, a block is an ordinary block.

import { hasLink, linkWith, setAddress, textsOfLink, withoutLink } from "./edited_link.mjs";

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
    this.opening = null;
    this.isLinked = false;
    this.onRun = () => {};
    this.edit = button("Edit", name, () => this.open());
    this.reset = button("Reset", name, () => this.putBack());
    this.copy = button("Copy", name, () => this.copyText());
    this.link = button("Copy link", name, () => this.copyLink());
    this.tries = 0;
    this.status = element("span", { role: "status", class: "run-status" });
    this.help = element("span", { "aria-live": "polite", class: "run-help" });
    for (const later of [this.reset, this.copy, this.link]) later.hidden = true;
  }

  get isEdited() {
    return this.text !== this.original;
  }

  get tools() {
    return [this.edit, this.reset, this.copy, this.link, this.status, this.help];
  }

  // How its run goes.
  say(text) {
    this.status.textContent = text;
  }

  // About its text; without one, how the editor is used.
  tell(text = this.editor ? HELP : "") {
    this.help.textContent = text;
  }

  async copyText() {
    this.tell((await copy(this.text)) ? "Copied." : "This browser lets no page copy: select the text.");
  }

  async copyLink() {
    const edited = [...blocks].filter(([, block]) => block.isEdited).map(([key, block]) => [key, block.text]);
    try {
      const link = edited.length ? await linkWith(edited) : withoutLink();
      const isCopied = await copy(link);
      if (!isCopied) setAddress(link);
      const what = edited.length ? "a link to this page with your changes" : "a link to this page; nothing was changed";
      this.tell(isCopied ? `Copied: ${what}.` : `The address above is now ${what}.`);
    } catch (error) {
      console.error(error);
      this.tell(error instanceof RangeError ? error.message : "This browser cannot make a link.");
    }
  }

  putBack() {
    this.editor.set(this.original);
    this.isLinked = false;
    this.tell();
    if (hasLink() && ![...blocks.values()].some((block) => block.isEdited)) setAddress(withoutLink());
  }

  // Code that was never shown must not run: without an editor it stays out.
  async showLinked(text) {
    await this.open();
    if (!this.editor) return;
    this.editor.set(text);
    this.isLinked = true;
    this.tell("From the link, and not from this page.");
  }

  async open() {
    this.opening ??= this.makeEditor();
    await this.opening;
    if (!this.editor) this.opening = null;
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
      this.tell("The editor could not be loaded from this site.");
      this.edit.disabled = false;
      return;
    }
    this.shown.querySelector("pre").hidden = true;
    this.edit.hidden = true;
    for (const tool of [this.reset, this.copy, this.link]) tool.hidden = false;
    this.editor = makeEditor(this.shown, {
      text: this.text,
      label: `Editor of ${this.name}. Control and Enter runs it. Escape, then Tab leaves the editor.`,
      onRun: () => this.onRun(),
      onChange: (text) => (this.text = text),
    });
    this.tell();
  }
}

// ---- what a run has drawn -------------------------------------------------------------------------------------------

const DRAWN = ["svg", "title", "desc", "path", "rect", "text"];
const DRAWN_WITH = [
  ...["aria-describedby", "aria-labelledby", "class", "d", "height", "id", "role", "stroke-width", "text-anchor"],
  ...["viewBox", "width", "x", "xmlns", "y"],
];

// The code that ran may have come with a link, and can send what it likes: nothing but lines and words gets into the page.
function drawing(svg) {
  const { documentElement: drawn } = new DOMParser().parseFromString(svg, "image/svg+xml");
  for (const part of [drawn, ...drawn.querySelectorAll("*")]) {
    const strange = part.getAttributeNames().filter((name) => !DRAWN_WITH.includes(name));
    if (!DRAWN.includes(part.nodeName) || strange.length) {
      console.error("No timeline has this:", part.nodeName, strange);
      return null;
    }
  }
  return document.importNode(drawn, true);
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
    if (this.asked !== asked) this.say("");
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
    const picture = svg && drawing(svg);
    if (picture) {
      const where = element("span", {}, ` Your run, Python ${python.version} in this browser.`);
      this.figure.replaceChildren(picture, element("figcaption", {}, summary, where));
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
  openNext();
}

// Where it was last said that a link is of no use.
let told = null;

// Shown, and run by nobody but the reader: a link may come from anybody.
async function openLinked() {
  told?.tell();
  told = null;
  const first = [...blocks.values()].at(-1); // of the page
  if (!first || !hasLink()) return;
  const tellFirst = (text) => {
    told = first;
    first.tell(text);
  };
  let linked = [];
  try {
    linked = (await textsOfLink()).filter(([key]) => blocks.has(key));
    if (!linked.length) tellFirst("The code of this link belongs to an example that is no longer on this page.");
  } catch (error) {
    console.error(error);
    tellFirst("The code of this link cannot be read: it may have been cut.");
  }
  // What another link has changed is no part of this one.
  for (const [key, block] of blocks) if (block.isLinked && !linked.some(([other]) => other === key)) block.putBack();
  for (const [key, text] of linked) await blocks.get(key).showLinked(text);
  const place = linked.length ? blocks.get(linked.at(-1)[0]) : first;
  place.shown.scrollIntoView({ block: "center" });
}

// One after the other: the editor has to be loaded for the first, and the last is the one that holds.
let opened = Promise.resolve();
function openNext() {
  opened = opened.then(openLinked).catch(console.error);
}

// A link that is pasted into the address of its page loads nothing.
window.addEventListener("hashchange", openNext);

// With navigation.instant another page comes without a load; the worker stays.
if (window.document$) window.document$.subscribe(enhance);
else enhance();
