"""A Python-Markdown extension: where was each block of the page last run, and each page of the guide proved?

It reads the tallies that ``pytest --tally FILE`` has written, and does nothing without them:

- below each block that ran stands a line such as ``Run on Linux 3.11, 3.13; Windows 3.12``,
- ``<!-- evidence: troubleshooting/memory-leaks.md -->`` becomes the systems on which every block of that page that can
  run there has kept its contract,
- ``<!-- evidence -->`` becomes the totals.

``mkdocs.yml`` names this module; it needs the package ``markdown``, which MkDocs brings.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor

from offloop.guide.fences import Fence, scan

__all__ = ("Evidence", "makeExtension")

_SYSTEMS = {"linux": "Linux", "win32": "Windows", "darwin": "macOS"}
_PLACE = re.compile(r"<!-- evidence(?:: (?P<page>\S+))? -->")
# After snippets are in place, and before fences become HTML.
_BETWEEN_SNIPPETS_AND_FENCES = 28


class Evidence:
    """What the tallies say."""

    def __init__(self, files: Iterable[Path]) -> None:
        """
        Raises:
            OSError, ValueError: A file cannot be read, or is not a tally.
        """
        self._by_digest: dict[str, dict[str, str]] = {}
        self._by_page: dict[str, dict[str, set[str]]] = {}
        # By system, page and digest, with a number for blocks that are the same: two tallies of one system count once.
        self._states: dict[tuple[str, str, str, int], str] = {}
        self._dates: set[str] = set()
        tallies: list[tuple[str, Path, dict[str, Any]]] = []
        for file in files:
            with _named(file):
                tally = cast("dict[str, Any]", json.loads(file.read_text("utf-8")))
                tallies.append((str(tally.get("date", "")), file, tally))
        for _, file, tally in sorted(tallies, key=lambda dated: dated[:2]):  # the later one holds
            with _named(file):
                self._add(tally)

    def _add(self, tally: Mapping[str, Any]) -> None:
        system = f"{_SYSTEMS.get(tally['system'], tally['system'])} {tally['python']}"
        if tally.get("emulator"):
            system += f" ({tally['emulator']})"
        self._dates.add(tally.get("date", ""))
        seen: Counter[tuple[str, str]] = Counter()
        for block in tally["blocks"]:
            page, state = str(block["page"]).removeprefix("docs/"), str(block["state"])
            self._by_digest.setdefault(block.get("digest", ""), {})[system] = state
            self._by_page.setdefault(page, {}).setdefault(system, set()).add(state)
            same = page, str(block.get("digest", ""))
            seen[same] += 1
            self._states[system, *same, seen[same]] = state

    def of_block(self, digest: str) -> str:
        """Where the block ran; empty if it is not known."""
        return _sentence([s for s, state in self._by_digest.get(digest, {}).items() if state == "executed"])

    def of_page(self, page: str) -> str:
        """Where the page was proved; a dash if nowhere."""
        states = self._by_page.get(page, {})
        proved = [
            s for s, seen in states.items() if "executed" in seen and not seen & {"failed", "unaccounted"}
        ]
        return _sentence(proved) or "-"

    def totals(self) -> str:
        """How many blocks ran where, and when; empty if it is not known."""
        executed = Counter(system for (system, *_), state in self._states.items() if state == "executed")
        counts = [
            f"{executed[system]} on {system}" for system in sorted({system for system, *_ in self._states})
        ]
        dates = sorted(self._dates - {""})
        return f"Blocks run: {', '.join(counts)}{f'; {dates[-1]}' if dates else ''}." if counts else ""

    def filled_in(self, line: str) -> str:
        """The line with the words that its comments ask for."""
        return _PLACE.sub(lambda match: self.of_page(match["page"]) if match["page"] else self.totals(), line)


@contextlib.contextmanager
def _named(file: Path) -> Generator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is not a tally: {error!r}") from error


def _sentence(systems: Sequence[str]) -> str:
    """`Linux 3.11, 3.13; Windows 3.12 (Wine)` from `Linux 3.11`, `Windows 3.12 (Wine)` and `Linux 3.13`."""
    versions: dict[str, list[str]] = {}
    for system in sorted(systems):
        name, _, version = system.partition(" ")
        versions.setdefault(name, []).append(version)
    return "; ".join(f"{name} {', '.join(found)}" for name, found in versions.items())


class _AddEvidence(Preprocessor):
    def __init__(self, md: markdown.Markdown, evidence: Evidence) -> None:
        super().__init__(md)
        self._evidence = evidence

    def run(self, lines: list[str]) -> list[str]:
        fences, _ = scan("\n".join(lines))
        below = self._lines_below(fences)
        in_a_block = {number for fence in fences for number in range(fence.line, fence.end + 1)}
        result: list[str] = []
        for number, line in enumerate(lines, 1):
            result.append(line if number in in_a_block else self._evidence.filled_in(line))
            result += below.get(number, ())
        return result

    def _lines_below(self, fences: Sequence[Fence]) -> Mapping[int, list[str]]:
        below: dict[int, list[str]] = {}
        for place, fence in enumerate(fences):
            systems = self._evidence.of_block(fence.digest) if fence.runs else ""
            if not systems:
                continue
            following = fences[place + 1 : place + 2]
            last = following[0] if following and "output" in following[0].classes else fence
            # A paragraph with a class, and not HTML, which Markdown does not see inside of a list.
            below[last.end] = ["", f"{fence.prefix}Run on {systems}", f"{fence.prefix}{{ .evidence }}", ""]
        return below


class _EvidenceExtension(Extension):
    def __init__(self, **settings: Any) -> None:
        self.config = {"tallies": ["tally-*.json", "Which files, as a pattern below the current folder"]}
        super().__init__(**settings)

    def extendMarkdown(self, md: markdown.Markdown) -> None:
        evidence = Evidence(Path().glob(str(self.getConfig("tallies"))))
        md.preprocessors.register(_AddEvidence(md, evidence), "evidence", _BETWEEN_SNIPPETS_AND_FENCES)


def makeExtension(**settings: Any) -> Extension:
    """Called by Python-Markdown, by this name."""
    return _EvidenceExtension(**settings)
