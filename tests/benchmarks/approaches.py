"""Ways to run a program and capture its output, each as what a user would write."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from offloop import RunMode, SubprocessWrapper

TRUE = "/bin/true"
One = Callable[[], Awaitable[object]]


async def by_asyncio() -> None:
    process = await asyncio.create_subprocess_exec(
        TRUE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    await process.communicate()


async def by_anyio() -> None:
    await anyio.run_process([TRUE], stdin=subprocess.DEVNULL)


async def by_to_thread() -> None:
    await asyncio.to_thread(subprocess.run, [TRUE], stdin=subprocess.DEVNULL, capture_output=True)


async def by_shellous() -> None:
    from shellous import sh

    await sh(TRUE).stdin(sh.DEVNULL).stdout(sh.BUFFER)


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
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            self.longest_s = max(self.longest_s, now - last - 0.001)
            last = now


async def slice_of(one: One, *, children: int, at_once: int, with_heart: bool) -> Sample:
    """Run *one* so many times, so many at once.

    With a heartbeat for the lag, without one for the CPU: a loop that is not stalled beats more often.
    """
    heart = Heart()
    beating = asyncio.create_task(heart.beat() if with_heart else asyncio.sleep(0))
    await asyncio.sleep(0.005)
    heart.longest_s = 0.0
    left = children

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await one()

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    sample = Sample(time.process_time() - cpu, time.perf_counter() - wall, heart.longest_s)
    beating.cancel()
    return sample


async def slice_by_offloop(mode: RunMode, *, children: int, at_once: int, with_heart: bool) -> Sample:
    async with SubprocessWrapper(mode) as wrapper:
        await wrapper.run(TRUE)  # the threads and the leash belong to the server, not to a child
        return await slice_of(
            lambda: wrapper.run(TRUE), children=children, at_once=at_once, with_heart=with_heart
        )


@contextmanager
def no_collector() -> Generator[None]:
    """Collections hit slices at random."""
    import gc

    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
