"""The runners that pytest-markdown-docs calls, one for each language that runs."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pytest
from pytest_markdown_docs import _runners  # the registry has no public name; the version is pinned
from pytest_markdown_docs.definitions import FenceTestDefinition

from offloop.guide.fences import Fence
from offloop.guide.pages import Page, read_page, recording_name
from offloop.testing.console_block import run_console
from offloop.testing.contract import DEFAULT_HOLD_S, Observed, complaints, picture_faults
from offloop.testing.expected_output import Fix, cannot_be_written
from offloop.testing.hanging_block import run_hanging
from offloop.testing.python_block import AsyncRunner, run_python

__all__ = ("BlockFailed", "ConsoleBlock", "OnDemand", "PythonBlock", "page_of", "state")


class BlockFailed(Exception):
    """A block did not keep its contract; the text says all.

    Every failure becomes this, a TypeError too: pytest-markdown-docs takes a TypeError for an old
    runner's signature and runs the block a second time.
    """


class State:
    """What the plugin tells the runners, and what they found out about the block that ran last."""

    config: pytest.Config | None = None
    ran: set[int]
    fix: Fix | None = None
    unpublished: str = ""
    """Why the timeline of the block is not shown."""
    held_once: str = ""
    """How long the block held the loop, which it did not do when it was run again."""


state: State = State()
_pages: dict[Path, Page] = {}


def page_of(path: Path, fresh: bool = False) -> Page:
    """The page at *path*, read once in a run."""
    if fresh or path not in _pages:
        _pages[path] = read_page(path)
    return _pages[path]


class OnDemand:
    """A fixture request that makes pytest-asyncio's loop only for a block that uses it.

    The stock plugin asks for it before every block, which costs a loop each, synchronous ones too.
    """

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request

    def getfixturevalue(self, name: str) -> object:
        """The fixture's value; for the loop's runner something that gets it when it is used."""
        if name != "_function_scoped_runner":
            return self._request.getfixturevalue(name)
        return _FixturesRunner(self._request)

    def __getattr__(self, name: str) -> object:
        return getattr(self._request, name)


class _FixturesRunner:
    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request

    def run(self, coro: Coroutine[Any, Any, object]) -> object:
        return self._request.getfixturevalue("_function_scoped_runner").run(coro)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._request.getfixturevalue("_function_scoped_runner").get_loop()


_Style: TypeAlias = Literal["long", "short", "line", "no", "native", "value", "auto"]


class _Base(_runners._Runner):  # pyright: ignore[reportPrivateUsage] - the only base class there is
    # The base has no types, so a checker takes its missing body for None.
    def repr_failure(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        test: FenceTestDefinition,
        excinfo: pytest.ExceptionInfo[BaseException],
        style: _Style | None = None,
    ) -> str:
        """Our own text, or pytest's for what is not ours."""
        if isinstance(excinfo.value, BlockFailed):
            return str(excinfo.value)
        return str(excinfo.getrepr(style=style or "short"))


def _fail(page: Page, fence: Fence, found: list[str], output: str) -> None:
    if not found:
        return
    name = fence.file or (f"#{fence.id}" if fence.id else f"{fence.language} block")
    numbered = "".join(
        f"{n:>5}  {line}\n" for n, line in enumerate(fence.content.splitlines(), fence.line + 1)
    )
    parts = [
        f"{page.path}:{fence.line}: this {name}"
        if name.endswith("block")
        else f"{page.path}:{fence.line}: {name}"
    ]
    parts += [f"  {text}" for text in found]
    parts += ["", numbered.rstrip()]
    if output.strip():
        parts += ["", "it wrote:", output.rstrip()]
    raise BlockFailed("\n".join(parts))


@_runners.register_runner(default=True)
class PythonBlock(_Base):
    """Runs a `python` block in this process, or in one of its own if it is documented to hang."""

    def runtest(
        self, test: FenceTestDefinition, args: dict[str, object], *, asyncio_runner: AsyncRunner | None = None
    ) -> None:
        """Run the block that stands where *test* says; BlockFailed if it did not keep its contract."""
        page = page_of(test.source_path)
        fence = page.at(test.start_line)
        if fence.key("hangs") is not None:
            _fail(page, fence, run_hanging(page, fence), "")
            return
        shown = page.output_of(fence)
        _unpublish(page, fence)
        seen, state.ran = run_python(page, fence, args, asyncio_runner, state.config)
        limit_s = float(state.config.getoption("hold_limit") or 0) if state.config else DEFAULT_HOLD_S
        found = complaints(fence, seen, shown, hold_limit_s=limit_s)
        if found and not complaints(fence, seen, shown, hold_limit_s=math.inf):
            # What the block does to the loop it does again; what the machine did once, it seldom does twice.
            again, ran = run_python(page, fence, args, asyncio_runner, state.config)
            if not complaints(fence, again, shown, hold_limit_s=limit_s):
                state.held_once = ", ".join(found)
                state.ran |= ran
                seen, found = again, []
        # Only of a block that is right otherwise: what a failing one wrote is no output to show.
        if (
            _fixing()
            and found
            and shown is not None
            and not complaints(fence, seen, None, hold_limit_s=limit_s)
        ):
            found = _to_be_fixed(page, shown.line, seen.output)
        _fail(page, fence, found, seen.output)
        _publish(page, fence, seen)


def _timeline_file(page: Page, fence: Fence) -> Path | None:
    folder: Path | None = state.config.option.timelines if state.config and fence.shape is not None else None
    return folder / recording_name(page.fences, fence) if folder is not None else None


def _unpublish(page: Page, fence: Fence) -> None:
    """What an earlier run did is no picture of this one."""
    if (file := _timeline_file(page, fence)) is not None:
        file.unlink(missing_ok=True)


def _publish(page: Page, fence: Fence, seen: Observed) -> None:
    """Write the timeline of a block that kept its contract, for the site to draw."""
    file = _timeline_file(page, fence)
    if file is None or seen.timeline is None:
        return
    if faults := picture_faults(fence, seen):
        state.unpublished = f"{', '.join(faults)}, and the page does not say so"
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    # Written beside it and then renamed: an interrupted run leaves no half of it for the site.
    unfinished = file.with_suffix(f".{os.getpid()}")
    unfinished.write_text(seen.timeline.to_json() + "\n", "utf-8")
    unfinished.replace(file)


@_runners.register_runner()
class ConsoleBlock(_Base):
    """Runs the commands of a `console` block."""

    def runtest(
        self, test: FenceTestDefinition, args: dict[str, object], *, asyncio_runner: AsyncRunner | None = None
    ) -> None:
        """Run the commands that stand where *test* says; BlockFailed if one differs from the page."""
        page = page_of(test.source_path)
        fence = page.at(test.start_line)
        found, state.ran, real = run_console(page, fence)
        if _fixing() and found and all("output differs" in text for text in found):
            found = _to_be_fixed(page, fence.line, real)
        _fail(page, fence, found, "")


def _to_be_fixed(page: Page, line: int, text: str) -> list[str]:
    """Note what to write, or say why it cannot be written."""
    if problem := cannot_be_written(page, text):
        return [f"output differs, and --fix-output cannot write it: {problem}"]
    state.fix = Fix(str(page.path), line, text)
    return []


def _fixing() -> bool:
    return state.config is not None and bool(state.config.option.fix_output)
