"""The guard that every block is accounted for, and the report of dead lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from offloop.guide.fences import Fence
from offloop.guide.pages import PAGE_SUFFIXES, Page, read_page
from offloop.testing.dead_lines import dead_statements
from offloop.testing.expected_output import Fix
from offloop.testing.python_block import backend_problem
from offloop.testing.tally import EXCUSED, EXECUTED, FAILED, NOT_HERE, UNACCOUNTED, Block, Tally

__all__ = ("Accounts", "not_here")

_SKIPPED_FOLDERS = {"node_modules", "__pycache__"}


class Writer(Protocol):
    """The part of pytest's terminal writer that is used; the class itself has no public name."""

    def line(self, s: str = "", **markup: bool) -> None:
        """Write *s* and end the line."""
        ...


def not_here(fence: Fence) -> str:
    """Why this system cannot run the block, or ""."""
    if fence.platforms and sys.platform not in fence.platforms:
        return f"only on {', '.join(fence.platforms)}"
    problems = [backend_problem(backend) for backend in fence.backends]
    return "; ".join(problems) if problems and all(problems) else ""


class Accounts:
    """Which blocks there are, what became of each, and what is to be said about it."""

    def __init__(self, config: pytest.Config) -> None:
        self.root: Path = config.rootpath
        self.arguments: list[Path] = [
            Path(config.invocation_params.dir, str(a).partition("::")[0]) for a in config.args
        ]
        self.narrowed: bool = any("::" in str(a) for a in config.args)
        self.deselected = False
        self.pages: dict[Path, Page] = {}
        self.outcomes: dict[tuple[Path, int], bool] = {}
        self.lines: dict[Path, set[int]] = {}
        self.fixes: list[Fix] = []
        self.unpublished: list[tuple[str, str]] = []
        self.held_once: list[tuple[str, str]] = []
        self.tally: Tally = Tally()

    def _name(self, path: Path) -> str:
        return Path(os.path.relpath(path, self.root)).as_posix()

    def expect(self, page: Page) -> None:
        """A page that pytest collects."""
        self.pages[page.path] = page

    def ran(
        self,
        page: str,
        line: int,
        ran: list[int],
        passed: bool,
        fix: Fix | None,
        unpublished: str,
        held_once: str,
    ) -> None:
        """One block was run, here or in a worker."""
        path = Path(page)
        self.outcomes[path, line] = passed
        self.lines.setdefault(path, set()).update(ran)
        if fix is not None:
            self.fixes.append(fix)
        if unpublished:
            self.unpublished.append((f"{self._name(path)}:{line}", unpublished))
        if held_once:
            self.held_once.append((f"{self._name(path)}:{line}", held_once))

    def close(self) -> None:
        """Make the tally of all pages below the arguments, and of those that were collected."""
        paths = {path for argument in self.arguments for path in _pages_below(argument)}
        paths |= self.pages.keys() | {path for path, _ in self.outcomes}
        for path in sorted(paths):
            page = self.pages.get(path) or read_page(path)
            self.tally.blocks += self._blocks(page)
            self.tally.dead += self._dead(page)

    def _blocks(self, page: Page) -> Iterator[Block]:
        name = self._name(page.path)
        for fault in page.faults:
            yield Block(name, fault.line, UNACCOUNTED, fault.text)
        wrong = {fault.line for fault in page.faults}
        for fence in page.fences:
            if fence.runs and fence.line not in wrong:
                yield Block(name, fence.line, *self._state(page, fence), fence.digest)

    def _state(self, page: Page, fence: Fence) -> tuple[str, str]:
        passed = self.outcomes.get((page.path, fence.line))
        if passed is not None:
            left_out = "; ".join(filter(None, map(backend_problem, fence.backends)))
            return (EXECUTED if passed else FAILED), left_out
        if fence.excuse is not None:
            return EXCUSED, fence.excuse
        if reason := not_here(fence):
            return NOT_HERE, reason
        return UNACCOUNTED, f"this {fence.language} block was not executed"

    def _dead(self, page: Page) -> Iterator[Block]:
        """Of a page on which every block passed; of a bad listing nothing, for what it never reaches is its fault."""
        states = {fence.line: self._state(page, fence)[0] for fence in page.fences if fence.runs}
        if page.faults or FAILED in states.values() or UNACCOUNTED in states.values():
            return
        name = self._name(page.path)
        ran = self.lines.get(page.path, set())
        for fence in page.fences:
            judged = states.get(fence.line) == EXECUTED and fence.language == "python"
            if not judged or "bad" in fence.classes or fence.key("hangs") is not None:
                continue
            source = "\n" * fence.line + fence.content
            for spans, state in zip(dead_statements(source, ran), ("dead", NOT_HERE), strict=True):
                for first, last in spans:
                    yield Block(
                        name, first, state, f"lines {first}-{last}" if last > first else f"line {first}"
                    )

    def faults(self) -> list[Block]:
        """What fails the run; a run of chosen blocks only reports."""
        if self.deselected or self.narrowed:
            return []
        return self.tally.of(UNACCOUNTED) + [dead for dead in self.tally.dead if dead.state != NOT_HERE]

    def _unaccounted(self) -> list[Block]:
        """Where nothing ran, because collecting failed, the faults: naming every block would hide them."""
        blocks = self.tally.of(UNACCOUNTED)
        faults = {(page.path, fault.line) for page in self.pages.values() for fault in page.faults}
        return blocks if self.outcomes else [b for b in blocks if (self.root / b.page, b.line) in faults]

    def report(self, writer: Writer, fixed: list[str]) -> None:
        """Print the details, and the tally line last."""
        if not self.tally.blocks:
            return
        chosen = self.deselected or self.narrowed
        for block in self.tally.of(EXCUSED, NOT_HERE):
            writer.line(f"  {block.state} {block.where}: {block.reason}")
        for block in self.tally.of(EXECUTED):
            if block.reason:
                writer.line(f"  executed in part {block.where}: {block.reason}")
        if not chosen:
            for block in self._unaccounted():
                writer.line(f"  UNACCOUNTED {block.where}: {block.reason}", red=True)
            for block in self.tally.dead:
                if block.state != NOT_HERE:
                    writer.line(f"  dead {block.where}: {block.reason} never ran", red=True)
        for where in fixed:
            writer.line(f"  rewrote the output {self._name(Path(where))}", yellow=True)
        for where, reason in self.unpublished:
            writer.line(f"  no timeline of {where}: {reason}", yellow=True)
        for where, reason in self.held_once:
            writer.line(f"  run again {where}: {reason}; not the second time", yellow=True)
        line = self.tally.line()
        if chosen:
            line = line.rpartition(",")[0] + " (only some blocks were chosen)"
        writer.line(line, red=bool(self.faults()), green=not self.faults())


def _pages_below(argument: Path) -> Iterator[Path]:
    if argument.is_file():
        if argument.suffix.lower() in PAGE_SUFFIXES:
            yield argument
        return
    for folder, names, files in os.walk(argument):
        names[:] = [
            n
            for n in names
            if not n.startswith(".") and n not in _SKIPPED_FOLDERS and not _is_environment(folder, n)
        ]
        yield from (Path(folder, file) for file in files if file.lower().endswith(PAGE_SUFFIXES))


def _is_environment(folder: str, name: str) -> bool:
    return os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
