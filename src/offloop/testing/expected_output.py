"""Compare what was written with what a page shows, and put the real text into the page."""

from __future__ import annotations

import difflib
import doctest
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from offloop.guide.fences import text_lines
from offloop.guide.pages import Page, read_page

__all__ = ("Fix", "apply_fixes", "cannot_be_written", "difference", "matches")


@dataclass(frozen=True)
class Fix:
    """New content for the block whose opening fence stands on `line` of `page`."""

    page: str
    line: int
    text: str


def matches(expected: str, actual: str) -> bool:
    """Whether they are equal; `...` in *expected* stands for any text (doctest's ELLIPSIS)."""
    return doctest.OutputChecker().check_output(
        _ended(expected), _ended(actual), doctest.ELLIPSIS | doctest.DONT_ACCEPT_TRUE_FOR_1
    )


def _ended(text: str) -> str:
    """Blank lines at the end and spaces at line ends cannot be seen on a page."""
    lines = "\n".join(line.rstrip() for line in text.rstrip().splitlines())
    return lines + "\n" if lines else ""


def difference(expected: str, actual: str) -> str:
    """A line by line difference, for a message."""
    lines = difflib.ndiff(_ended(expected).splitlines(), _ended(actual).splitlines())
    return "\n".join(line for line in lines if not line.startswith("?"))


def cannot_be_written(page: Page, text: str) -> str:
    """Why *text* would be something else on the page than it is, or ""."""
    if any(line.lstrip().startswith(("```", "~~~")) for line in text.splitlines()):
        return "a line of it looks like a fence"
    if page.path.suffix == ".py" and any(part in text for part in ("\\", '"""', "'''")):
        return "it stands in a docstring, and has a backslash or three quotes"
    return ""


def apply_fixes(fixes: Iterable[Fix]) -> list[str]:
    """Rewrite the pages and return where, as `page:line`. Lines are those before any rewrite."""
    done: list[str] = []
    by_page: dict[str, dict[int, str]] = {}
    for fix in fixes:
        by_page.setdefault(fix.page, {})[fix.line] = fix.text
    for name, texts in sorted(by_page.items()):
        path = Path(name)
        page = read_page(path)
        data = path.read_bytes()
        newline = "\r\n" if b"\r\n" in data else "\n"
        lines = text_lines(data.decode("utf-8"))
        for line, text in sorted(texts.items(), reverse=True):
            fence = page.at(line)
            new = [(fence.prefix + part).rstrip() for part in _ended(text).splitlines()]
            lines[fence.line : fence.end - 1] = new
            done.append(f"{name}:{line}")
        path.write_text("\n".join(lines) + "\n", "utf-8", newline=newline)
    return sorted(done)
