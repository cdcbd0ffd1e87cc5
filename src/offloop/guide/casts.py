"""A Python-Markdown extension: `<!-- cast: NAME -->` becomes a recording of a terminal, with its transcript.

The recording is `docs/casts/NAME.cast`, an asciicast of version 3, and the transcript `docs/casts/NAME.txt`. A page
shows the transcript by itself; `docs/javascripts/cast.mjs` puts a player above it, whose files are in `docs/vendor/`.
Without those, and where nothing can be recorded (then NAME.txt has only the commands), a page shows what there is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor

from offloop.guide.fences import scan

__all__ = ("Cast", "figure", "makeExtension", "read_cast")

_PLACE = re.compile(r"(?P<before>\s*)<!-- cast: (?P<name>[a-z0-9-]+) -->\s*")
# After snippets are in place, and before fences become HTML.
_BETWEEN_SNIPPETS_AND_FENCES = 28


class Cast(NamedTuple):
    """What a page has to know of a recording."""

    name: str
    title: str
    columns: int
    rows: int
    chapters: tuple[tuple[float, str], ...]
    """Seconds from the beginning, and the title."""
    transcript: str


def read_cast(folder: Path, name: str) -> Cast | None:
    """Read the recording *name* in *folder*; None if there is none, or only its commands.

    Raises:
        ValueError: The file is no asciicast of version 3.
    """
    file = folder / f"{name}.cast"
    if not file.is_file():
        return None
    try:
        head, *events = map(json.loads, file.read_text("utf-8").splitlines())
        size = head["term"]
        chapters = tuple(_chapters(events))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is not an asciicast of version 3: {error!r}; record it anew") from error
    transcript = file.with_suffix(".txt").read_text("utf-8")
    return Cast(name, str(head["title"]), int(size["cols"]), int(size["rows"]), chapters, transcript)


def _chapters(events: list[Any]) -> Iterator[tuple[float, str]]:
    at = 0.0
    for pause_s, kind, data in events:
        at += pause_s
        if kind == "m":
            yield at, str(data)


def figure(cast: Cast, *, has_player: bool) -> str:
    """The HTML of a recording: a place for the player, its chapters, and the transcript."""
    chapters = "".join(
        f'<li><button type="button" data-at="{at:.2f}">{escape(title)}</button></li>'
        for at, title in cast.chapters
    )
    player = (
        f'<div class="cast-screen" hidden style="aspect-ratio: {cast.columns * 0.6:.0f} / {cast.rows * 1.34 + 2.6:.0f}"></div>'
        f'<ol class="cast-chapters" hidden>{chapters}</ol>'
    )
    return (
        f'<figure class="cast" data-cast="{cast.name}" data-cols="{cast.columns}" data-rows="{cast.rows}">'
        f"<figcaption>{escape(cast.title)}</figcaption>{player if has_player else ''}"
        '<details class="cast-text" open><summary>Transcript of the recording</summary>'
        f'<pre tabindex="0" role="region" aria-label="Transcript: {escape(cast.title)}">{escape(cast.transcript)}</pre>'
        "</details></figure>"
    )


class _AddCasts(Preprocessor):
    def __init__(self, md: markdown.Markdown, docs: Path) -> None:
        super().__init__(md)
        self._docs = docs

    def run(self, lines: list[str]) -> list[str]:
        fences, _ = scan("\n".join(lines))
        in_a_block = {number for fence in fences for number in range(fence.line, fence.end + 1)}
        return [
            line
            if number in in_a_block or (match := _PLACE.fullmatch(line)) is None
            else self._in_place(match)
            for number, line in enumerate(lines, 1)
        ]

    def _in_place(self, match: re.Match[str]) -> str:
        cast = read_cast(self._docs / "casts", match["name"])
        if cast is None:
            return match["before"] + self._without_recording(match["name"])
        has_player = (self._docs / "vendor" / "asciinema-player").is_dir()
        place: str = self.md.htmlStash.store(figure(cast, has_player=has_player))
        return match["before"] + place

    def _without_recording(self, name: str) -> str:
        said = f"*The recording `{name}` was not made when this site was built.*"
        commands = self._docs / "casts" / f"{name}.txt"
        if not commands.is_file():
            return said
        text = f'<pre class="cast-commands" tabindex="0">{escape(commands.read_text("utf-8"))}</pre>'
        place: str = self.md.htmlStash.store(text)
        return f"{said}\n\n{place}"


class _CastsExtension(Extension):
    def __init__(self, **settings: Any) -> None:
        self.config = {"docs": ["docs", "The folder of the pages, with casts/ and vendor/ in it"]}
        super().__init__(**settings)

    def extendMarkdown(self, md: markdown.Markdown) -> None:
        docs = Path(str(self.getConfig("docs")))
        md.preprocessors.register(_AddCasts(md, docs), "casts", _BETWEEN_SNIPPETS_AND_FENCES)


def makeExtension(**settings: Any) -> Extension:
    """Called by Python-Markdown, by this name."""
    return _CastsExtension(**settings)
