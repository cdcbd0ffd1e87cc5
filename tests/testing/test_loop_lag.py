"""How long a loop was held, on every loop at hand."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
import threading
import time
from asyncio import base_events
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from offloop.testing import loop_lag_s
from offloop.testing.loop_lag import loop_lag

HOLD_S = 0.2

Runner = Callable[[Callable[[], Coroutine[Any, Any, float]]], float]


def on_asyncio(main: Callable[[], Coroutine[Any, Any, float]]) -> float:
    return asyncio.run(main())


def on_uvloop(main: Callable[[], Coroutine[Any, Any, float]]) -> float:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def on_trio(main: Callable[[], Coroutine[Any, Any, float]]) -> float:
    if importlib.util.find_spec("trio") is None or sys.platform == "win32":
        pytest.skip("trio is not installed, or cannot run under Wine")
    return anyio.run(main, backend="trio")


@pytest.fixture(params=[on_asyncio, on_uvloop, on_trio])
def run(request: pytest.FixtureRequest) -> Runner:
    return request.param


async def blocking() -> None:
    await anyio.sleep(0.01)
    time.sleep(HOLD_S)  # noqa: ASYNC251 - the stall that is measured
    await anyio.sleep(0.01)


async def blocking_first_and_last() -> None:
    time.sleep(HOLD_S)  # noqa: ASYNC251 - the stall that is measured


async def waiting() -> None:
    await anyio.sleep(HOLD_S)


async def offloaded() -> None:
    await anyio.to_thread.run_sync(time.sleep, HOLD_S)


@pytest.mark.parametrize("call", [blocking, blocking_first_and_last])
def test_a_call_that_blocks_holds_the_loop_as_long(
    run: Runner, call: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """In the middle, and with no await before and behind."""
    assert run(lambda: loop_lag_s(call)) >= HOLD_S * 0.95


@pytest.mark.parametrize("call", [waiting, offloaded])
def test_a_call_that_waits_does_not_hold_it(
    run: Runner, call: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """A sleep, and work in a thread."""
    assert run(lambda: loop_lag_s(call)) < HOLD_S * 0.75


def test_arguments_are_passed_on_and_errors_too(run: Runner) -> None:
    """The measure changes nothing about the call."""

    async def fail(text: str) -> None:
        raise ValueError(text)

    with pytest.raises(ValueError, match="given"):
        run(lambda: loop_lag_s(fail, "given"))


def test_what_the_caller_held_before_does_not_count() -> None:
    """The time starts with the call, also in the middle of a turn of the loop."""

    async def main() -> float:
        time.sleep(HOLD_S)  # noqa: ASYNC251 - the stall that must not count
        return await loop_lag_s(asyncio.sleep, 0)

    assert asyncio.run(main()) < HOLD_S * 0.75


def test_every_asyncio_loop_of_the_process_is_seen() -> None:
    """One started inside, and one in another thread."""

    async def hold() -> None:
        time.sleep(HOLD_S)  # noqa: ASYNC251 - the stall that is measured

    with loop_lag() as inside:
        asyncio.run(hold())
    with loop_lag() as thread_lag:
        thread = threading.Thread(target=lambda: asyncio.run(hold()))
        thread.start()
        thread.join()

    assert inside.longest_s >= HOLD_S * 0.95
    assert thread_lag.longest_s >= HOLD_S * 0.95


def test_code_without_a_loop_holds_none() -> None:
    """Blocking is fine where there is nobody to block."""
    with loop_lag() as lag:
        time.sleep(HOLD_S)

    assert lag.longest_s == 0


def test_a_sleeping_loop_is_not_woken() -> None:
    """Work that a thread leaves without a wake-up stays unseen until the loop wakes by itself."""

    async def main() -> float:
        queue: asyncio.Queue[int] = asyncio.Queue()
        threading.Timer(0.05, queue.put_nowait, (1,)).start()  # the bug: not call_soon_threadsafe
        asyncio.get_running_loop().call_later(0.5, int)
        started = time.monotonic()
        await queue.get()
        return time.monotonic() - started

    with loop_lag():
        assert asyncio.run(main()) >= 0.45


def test_the_loop_is_as_before_afterwards() -> None:
    """What was replaced for measuring is put back when the last measurement ends."""
    before = base_events.BaseEventLoop.__dict__["_run_once"]

    with loop_lag():
        with loop_lag():
            pass
        assert base_events.BaseEventLoop.__dict__["_run_once"] is not before

    assert base_events.BaseEventLoop.__dict__["_run_once"] is before


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how long a thread had no processor")
def test_a_busy_machine_is_not_the_fault_of_a_block() -> None:
    """A block that computes beside many other programs is held its own time, not theirs."""
    hogs = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(4 * len(os.sched_getaffinity(0)))
    ]

    async def compute() -> None:
        until = time.thread_time() + 0.2
        while time.thread_time() < until:
            pass

    try:
        began = time.perf_counter()
        lag_s = asyncio.run(loop_lag_s(compute))
        took_s = time.perf_counter() - began
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    assert 0.15 < lag_s < 0.2 + (took_s - 0.2) / 2
