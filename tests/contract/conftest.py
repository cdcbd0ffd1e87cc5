"""The matrix: each test that takes ``place`` runs in every run mode, on every loop on which that mode works."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from offloop import RunMode, SubprocessWrapper
from offloop.loops import selector_loop_without_processes
from tests.contract.children import DEADLINE_S, ON_WINDOWS, eventually, kill, left_alive

LOOPS = ("asyncio", "uvloop", "selector", "trio")
FOLLOWING = [
    *((RunMode.ASYNC, loop) for loop in ("asyncio", "uvloop")),
    *((RunMode.THREADED, loop) for loop in LOOPS),
]
BLOCKING = [(RunMode.LOCAL, loop) for loop in ("asyncio", "trio")]


@dataclass(frozen=True)
class Place:
    """A run mode on a kind of loop."""

    mode: RunMode
    loop: str

    def wrapper(self, **settings: object) -> SubprocessWrapper:
        return SubprocessWrapper(self.mode, **settings)  # type: ignore[arg-type]

    def run(self, body: Callable[[], Awaitable[None]]) -> None:
        """Run *body* on the loop; then no thread and no descriptor may be left."""
        run_on(self.loop, _nothing)  # libuv keeps two descriptors from the first loop on
        with nothing_left():
            run_on(self.loop, body)


async def _nothing() -> None:
    pass


def run_on(loop: str, body: Callable[[], Awaitable[None]]) -> None:
    async def with_deadline() -> None:
        with anyio.fail_after(DEADLINE_S):
            await body()

    if loop == "trio":
        trio = pytest.importorskip("trio", reason="trio is not installed")
        trio.run(with_deadline)
        return
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        runner.run(with_deadline())


def loop_factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if loop == "uvloop":
        return pytest.importorskip("uvloop", reason="uvloop is not installed").new_event_loop
    return selector_loop_without_processes if loop == "selector" else None


@contextmanager
def nothing_left() -> Iterator[None]:
    """No more threads and, on Linux, no more descriptors than before."""
    threads, descriptors = set(threading.enumerate()), count_descriptors()
    yield

    def new_threads() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.is_alive()} - threads

    assert eventually(lambda: not new_threads(), 5.0), new_threads()
    assert eventually(lambda: count_descriptors() <= descriptors, 5.0), (descriptors, count_descriptors())


def count_descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0


def _params(places: list[tuple[RunMode, str]]) -> list[object]:
    params: list[object] = []
    for mode, loop in places:
        marks = []
        if loop == "trio":
            marks.append(
                pytest.mark.real_windows("Wine 8.0 does not have what trio polls with") if ON_WINDOWS else ()
            )
        if loop == "uvloop" and ON_WINDOWS:
            marks.append(pytest.mark.skip(reason="there is no uvloop for Windows"))
        marks = [mark for mark in marks if mark]
        params.append(pytest.param(Place(mode, loop), id=f"{mode.value}-{loop}", marks=marks))
    return params


@pytest.fixture(params=_params(FOLLOWING))
def place(request: pytest.FixtureRequest) -> Place:
    """Every mode that follows processes while other tasks run."""
    return request.param


@pytest.fixture(params=_params([*FOLLOWING, *BLOCKING]))
def any_place(request: pytest.FixtureRequest) -> Place:
    """Every mode that runs processes."""
    return request.param


@pytest.fixture
def register(tmp_path: Path) -> Iterator[Path]:
    """A folder in which processes of a test register; none outlives the test."""
    folder = tmp_path / "register"
    folder.mkdir()
    yield folder
    for pid in left_alive(folder):
        kill(pid)
