// The editor that opens on Edit: bundled with its packages into vendor/editor.mjs when the site is built.

import { defaultKeymap, history, historyKeymap, indentLess, indentMore } from "@codemirror/commands";
import { python } from "@codemirror/lang-python";
import { bracketMatching, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { EditorState } from "@codemirror/state";
import { drawSelection, EditorView, keymap } from "@codemirror/view";
import { classHighlighter } from "@lezer/highlight";

// Tab indents, until Escape was pressed: then the next Tab goes on in the page, as it does everywhere else.
function indentation() {
  let leaves = false;
  const indent = (command) => (view) => {
    if (leaves) {
      leaves = false;
      return false;
    }
    return command(view);
  };
  return [
    EditorView.domEventHandlers({
      keydown: (event) => {
        if (event.key === "Escape") leaves = true;
        else if (event.key !== "Tab" && event.key !== "Shift") leaves = false;
        return false;
      },
    }),
    keymap.of([{ key: "Tab", run: indent(indentMore), shift: indent(indentLess) }]),
  ];
}

export function makeEditor(parent, { text, label, onRun, onChange }) {
  const extensions = [
    history(),
    drawSelection(),
    indentOnInput(),
    bracketMatching(),
    indentUnit.of("    "),
    syntaxHighlighting(classHighlighter),
    python(),
    // Reached by Tab, and so is what does not fit: it scrolls with the cursor.
    EditorView.contentAttributes.of({ "aria-label": label, tabindex: "0" }),
    EditorView.updateListener.of((update) => update.docChanged && onChange(view.state.doc.toString())),
    keymap.of(["Mod-Enter", "Ctrl-Enter"].map((key) => ({ key, run: () => (onRun(), true) }))),
    indentation(),
    keymap.of([...defaultKeymap, ...historyKeymap]),
  ];
  const view = new EditorView({ parent, state: EditorState.create({ doc: text, extensions }) });
  view.focus();
  return {
    set: (changed) => view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: changed } }),
    focus: () => view.focus(),
  };
}
