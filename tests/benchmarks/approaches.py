"""Ways to run a program and capture its output, each as what a user would write, and one slice of children by each."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import anyio

from offloop import RunMode, SubprocessWrapper

TRUE = "/bin/true"
One = Callable[[], Awaitable[object]]
Slice = Callable[[int, int, bool], "Sample"]
"""Runs so many children, so many at once, with a heartbeat or without."""


async def by_asyncio() -> None:
    process = await asyncio.create_subprocess_exec(
        TRUE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    await process.communicate()


async def by_anyio() -> None:
    await anyio.run_process([TRUE], stdin=subprocess.DEVNULL)


async def by_to_thread() -> None:
    await asyncio.to_thread(subprocess.run, [TRUE], stdin=subprocess.DEVNULL, capture_output=True)


async def by_popen() -> None:
    """The floor: no loop is served meanwhile."""
    with subprocess.Popen(  # noqa: ASYNC220
        [TRUE], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.communicate()


@dataclass
class Sample:
    """What one slice of children cost."""

    cpu_s: float
    wall_s: float
    lag_s: float


@dataclass
class Heart:
    """Beats every millisecond; the longest gap is the time for which nothing else could run."""

    longest_s: float = 0.0
    _task: asyncio.Task[None] | None = field(default=None, repr=False)

    async def beat(self) -> None:
        last = time.perf_counter()
        while True:
            await anyio.sleep(0.001)
            now = time.perf_counter()
            self.longest_s = max(self.longest_s, now - last - 0.001)
            last = now


async def one_slice(one: One, children: int, at_once: int, with_heart: bool) -> Sample:
    """Run *one* so many times, so many at once.

    With a heartbeat for the lag, without one for the CPU: a loop that is not stalled beats more often.
    """
    heart = Heart()
    left = children
    cpu = wall = cpu_after = wall_after = 0.0

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await one()

    async with anyio.create_task_group() as beating:
        if with_heart:
            beating.start_soon(heart.beat)
        await anyio.sleep(0.005)
        heart.longest_s = 0.0
        cpu, wall = time.process_time(), time.perf_counter()
        async with anyio.create_task_group() as working:
            for _ in range(at_once):
                working.start_soon(work)
        cpu_after, wall_after = time.process_time(), time.perf_counter()
        beating.cancel_scope.cancel()
    return Sample(cpu_after - cpu, wall_after - wall, heart.longest_s)


Run = Callable[[Coroutine[Any, Any, Sample]], Sample]


def on_uvloop(coroutine: Coroutine[Any, Any, Sample]) -> Sample:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)


def peer(one: One, run: Run = asyncio.run) -> Slice:
    return lambda children, at_once, with_heart: run(one_slice(one, children, at_once, with_heart))


def ours(mode: RunMode, run: Run = asyncio.run) -> Slice:
    async def measured(children: int, at_once: int, with_heart: bool) -> Sample:
        async with SubprocessWrapper(mode) as wrapper:
            await wrapper.run(TRUE)  # the threads and the leash belong to the server, not to a child
            return await one_slice(lambda: wrapper.run(TRUE), children, at_once, with_heart)

    return lambda children, at_once, with_heart: run(measured(children, at_once, with_heart))


def _shellous() -> Slice:
    from shellous import sh

    logging.getLogger("shellous").setLevel(logging.ERROR)  # it warns when asyncio takes long for a start

    async def by_shellous() -> None:
        await sh(TRUE).stdin(sh.DEVNULL).stdout(sh.BUFFER)

    return peer(by_shellous)


def _trio() -> Slice:
    import trio

    async def by_trio() -> None:
        await trio.run_process([TRUE], capture_stdout=True, capture_stderr=True)

    return lambda children, at_once, with_heart: trio.run(one_slice, by_trio, children, at_once, with_heart)


def _uvloop() -> Slice:
    import uvloop  # noqa: F401

    return peer(by_asyncio, on_uvloop)


def _ours_on_uvloop() -> Slice:
    import uvloop  # noqa: F401

    return ours(RunMode.ASYNC, on_uvloop)


PEER = "asyncio"
SLICES: dict[str, Callable[[], Slice]] = {
    PEER: lambda: peer(by_asyncio),
    "offloop, ASYNC": lambda: ours(RunMode.ASYNC),
    "offloop, THREADED": lambda: ours(RunMode.THREADED),
    "offloop, ASYNC on uvloop": _ours_on_uvloop,
    "anyio.run_process": lambda: peer(by_anyio),
    "trio.run_process": _trio,
    "shellous": _shellous,
    "uvloop": _uvloop,
    "to_thread(subprocess.run)": lambda: peer(by_to_thread),
    "Popen + communicate": lambda: peer(by_popen),
}
"""By name: what gives the slice, or raises ImportError."""
