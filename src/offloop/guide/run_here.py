"""A Python-Markdown extension: below each block of the class `run`, a place for the buttons that run it in the reader's browser.

The place holds what the block needs: its text, and that of the files above it. `docs/javascripts/run.mjs` puts the buttons
there. Without `docs/vendor/`, which `offloop.guide.site_assets` fills, nothing is added: there would be no Python to run it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor

from offloop.guide.fences import Fence, scan

__all__ = ("editable_files", "makeExtension", "place")

# After snippets are in place and before fences become HTML; before the pictures, which then stand below it.
_BEFORE_THE_FIGURES = 28


def place(fences: Sequence[Fence], fence: Fence) -> str:
    """The HTML of the place: invisible, until a script makes something of it."""
    files = {other.file: other.content for other in fences if other.file and other.line < fence.line}
    needs = {
        "name": fence.id or f"line-{fence.line}",
        "code": fence.content,
        "files": files,
        "editable": editable_files(files, fence.content),
        "timeline": fence.shape is not None,
    }
    # The end of a script element must not appear in it.
    text = json.dumps(needs, ensure_ascii=False).replace("<", "\\u003c")
    return f'<div class="run-here" hidden><script type="application/json">{text}</script></div>'


def editable_files(files: Mapping[str, str], code: str) -> list[str]:
    """The files that *code* speaks of, or one of these files: to change another one would change nothing."""
    found: list[str] = []
    texts = [code]
    while texts:
        text = texts.pop()
        for name, content in files.items():
            if name not in found and re.search(rf"\b{re.escape(name.removesuffix('.py'))}\b", text):
                found.append(name)
                texts.append(content)
    return [name for name in files if name in found]


class _AddPlaces(Preprocessor):
    def __init__(self, md: markdown.Markdown, vendor: Path) -> None:
        super().__init__(md)
        self._vendor = vendor

    def run(self, lines: list[str]) -> list[str]:
        return list(self._with_places(lines)) if (self._vendor / "pyodide").is_dir() else lines

    def _with_places(self, lines: list[str]) -> Iterator[str]:
        fences, _ = scan("\n".join(lines))
        runnable = {fence.end: fence for fence in fences if "run" in fence.classes}
        for number, line in enumerate(lines, 1):
            yield line
            if number in runnable:
                # A place that becomes the HTML in the end: Markdown does not see HTML inside of a list.
                held: str = self.md.htmlStash.store(place(fences, runnable[number]))
                yield from ("", runnable[number].prefix + held, "")


class _RunHereExtension(Extension):
    def __init__(self, **settings: Any) -> None:
        self.config = {"vendor": ["docs/vendor", "What offloop.guide.site_assets has filled"]}
        super().__init__(**settings)

    def extendMarkdown(self, md: markdown.Markdown) -> None:
        md.preprocessors.register(
            _AddPlaces(md, Path(str(self.getConfig("vendor")))), "run_here", _BEFORE_THE_FIGURES
        )


def makeExtension(**settings: Any) -> Extension:
    """Called by Python-Markdown, by this name."""
    return _RunHereExtension(**settings)
