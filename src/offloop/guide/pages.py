"""A page of the guide, or the docstrings of a module, as its code blocks.

Reading never fails: what is wrong with a page is part of what was read (`Page.faults`), each with
its line, so that a caller can show all of it at once. Only a missing file raises.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from offloop.guide.fences import Fault, Fence, scan, text_lines

__all__ = ("PAGE_SUFFIXES", "Page", "docs_folder", "guide_pages", "read_page", "recording_name")

PAGE_SUFFIXES = (".md", ".markdown", ".mdown", ".mkdn", ".mkd")
"""What MkDocs takes for a page, in lower case."""


@dataclass(frozen=True)
class Page:
    """A Markdown file, or a Python file whose docstrings hold blocks."""

    path: Path
    fences: tuple[Fence, ...]
    faults: tuple[Fault, ...]

    def at(self, line: int) -> Fence:
        """The block whose opening fence stands on *line*; KeyError if there is none."""
        for fence in self.fences:
            if fence.line == line:
                return fence
        raise KeyError(f"{self.path}:{line} is not the first line of a block")

    def files_until(self, fence: Fence) -> tuple[Fence, ...]:
        """The file blocks that exist when *fence* runs: those above it, and itself."""
        return tuple(other for other in self.fences if other.file and other.line <= fence.line)

    def output_of(self, fence: Fence) -> Fence | None:
        """The `text { .output }` block directly after *fence*, or None."""
        place = self.fences.index(fence) + 1
        following = self.fences[place] if place < len(self.fences) else None
        return following if following is not None and "output" in following.classes else None


def recording_name(fences: Sequence[Fence], fence: Fence) -> str:
    """The name of the file with the timeline of a block: another one as soon as anything of what runs is changed."""
    texts = [other.content for other in fences if other.file and other.line < fence.line]
    return hashlib.sha256(repr([*texts, fence.content, fence.shape]).encode()).hexdigest()[:16] + ".json"


def docs_folder() -> Path:
    """The folder of the pages: `docs/` of a checkout, else the pages packed into the wheel.

    Raises:
        FileNotFoundError: Neither is there; the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    for folder in (package.parents[2] / "docs", package / "docs"):
        if (folder / "index.md").is_file():
            return folder
    raise FileNotFoundError(f"no pages beside {package}: install offloop from its wheel, or from a checkout")


def guide_pages() -> Iterator[Page]:
    """Every page of the guide, in the order of its path."""
    for path in sorted(docs_folder().rglob("*.md")):
        yield read_page(path)


def read_page(path: Path) -> Page:
    """Read the blocks of a `.md` file, or those in the docstrings of a `.py` file.

    Raises:
        OSError: The file cannot be read.
    """
    data = path.read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        wrong = f"byte {data[error.start]:#04x} is not UTF-8: save the page as UTF-8"
        return Page(path, (), (Fault(line, wrong),))
    text = text.removeprefix("\ufeff")
    return _module(path, text) if path.suffix == ".py" else _markdown(path, text)


def _markdown(path: Path, text: str) -> Page:
    fences, faults = scan(text)
    return _checked(path, text, fences, faults)


def _module(path: Path, text: str) -> Page:
    """The docstrings are taken from the source: nothing is imported, and the lines are the file's own."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        wrong = Fault(error.lineno or 1, f"the module is not valid Python: {error.msg}")
        return Page(path, (), (wrong,) if "```" in text else ())
    lines = text_lines(text)
    fences: list[Fence] = []
    faults: list[Fault] = []
    for docstring in _docstrings(tree):
        assert docstring.end_lineno is not None
        part = "\n".join(lines[docstring.lineno : docstring.end_lineno])
        found, wrong = scan(part, docstring.lineno + 1)
        raw = lines[docstring.lineno - 1].lstrip().lower().startswith(("r'", 'r"'))
        if not raw:
            faults += [
                Fault(f.line, 'a backslash in a block of a docstring: write the docstring as r"""..."""')
                for f in found
                if "\\" in f.content
            ]
        fences += found
        faults += wrong
    return _checked(path, "", fences, faults)


def _docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Those of modules, classes and functions, and below assignments, where the renderers of docstrings read them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            before: ast.stmt | None = None
            for statement in node.body:
                follows = before is None or isinstance(before, ast.Assign | ast.AnnAssign)
                if (
                    follows
                    and isinstance(statement, ast.Expr)
                    and isinstance(statement.value, ast.Constant)
                    and isinstance(statement.value.value, str)
                ):
                    yield statement.value
                before = statement


def _checked(path: Path, text: str, fences: list[Fence], faults: list[Fault]) -> Page:
    fences.sort(key=lambda fence: fence.line)
    all_faults = [*faults, *(Fault(f.line, wrong) for f in fences for wrong in f.faults)]
    all_faults += _files_twice(fences)
    all_faults += _ids_twice(text, fences)
    all_faults += _stray_outputs(text_lines(text), fences)
    return Page(path, tuple(fences), tuple(sorted(all_faults, key=lambda fault: fault.line)))


def _files_twice(fences: list[Fence]) -> Iterator[Fault]:
    seen: dict[str, int] = {}
    for fence in fences:
        if fence.file:
            name = fence.file.casefold()  # Windows and macOS would keep one of Worker.py and worker.py
            if name in seen:
                yield Fault(
                    fence.line,
                    f"{fence.file!r} is already the file on line {seen[name]}; choose another name",
                )
            seen.setdefault(name, fence.line)


def _ids_twice(text: str, fences: list[Fence]) -> Iterator[Fault]:
    seen = {name: line for line, name in _headings(text, fences)}
    for fence in fences:
        if fence.id is not None:
            if fence.id in seen:
                yield Fault(fence.line, f"the id #{fence.id} is already taken on line {seen[fence.id]}")
            seen.setdefault(fence.id, fence.line)


def _headings(text: str, fences: list[Fence]) -> Iterator[tuple[int, str]]:
    """Line and id of each heading, as the site makes them: `{ #own }`, else the words joined by dashes."""
    inside = {line for fence in fences for line in range(fence.line, fence.end + 1)}
    for number, line in enumerate(text_lines(text), 1):
        heading = re.match(r"#{1,6}\s+(.+?)\s*#*\s*$", line)
        if heading is None or number in inside:
            continue
        own = re.search(r"\{[^}]*#([\w-]+)[^}]*\}\s*$", heading[1])
        words = re.sub(r"[^\w\s-]", "", re.sub(r"`", "", heading[1])).strip().lower()
        yield number, own[1] if own else re.sub(r"[-\s]+", "-", words)


def _stray_outputs(lines: list[str], fences: list[Fence]) -> Iterator[Fault]:
    """An output belongs to the Python block above it, with nothing but blank lines between."""
    for place, fence in enumerate(fences):
        if "output" not in fence.classes:
            continue
        before = fences[place - 1] if place else None
        between = "".join(lines[before.end : fence.line - 1]) if before else ""
        if before is None or before.language != "python" or between.strip(" \t>"):
            yield Fault(fence.line, "`text { .output }` has no python block directly before it")
        elif before.file:
            yield Fault(fence.line, f"the output of a file: put it after the block that runs {before.file}")
        elif before.excuse is not None:
            yield Fault(fence.line, "the block before this output is never run; show it as plain `text`")
        elif before.key("hangs") is not None:
            yield Fault(fence.line, "a block that hangs has no output that could be compared")
