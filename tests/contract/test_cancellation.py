"""Cancellation, at every tick and twice: no orphan, no hang, nothing leaked, and the cancellation is passed on."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from offloop import PIPE, OffloopError, RunMode, SubprocessWrapper
from tests.contract.children import (
    ON_WINDOWS,
    READY_THEN_SLEEP,
    eventually,
    exits,
    left_alive,
    registered,
    tree,
)
from tests.contract.conftest import Place

# Under Wine a start takes half a second.
TICKS = (0, 1, 3) if ON_WINDOWS else range(16)
Body = Callable[[SubprocessWrapper, anyio.Event, Path], Coroutine[Any, Any, None]]


async def spawn(wrapper: SubprocessWrapper, reached: anyio.Event, register: Path) -> None:
    reached.set()
    process, _, _ = await wrapper.create_subprocess(*tree(register))
    await process.wait()


async def stream(wrapper: SubprocessWrapper, reached: anyio.Event, register: Path) -> None:
    _, stdout, _ = await wrapper.create_subprocess(*tree(register))
    await stdout.readline()
    reached.set()
    async for _ in stdout:
        pass


async def wait(wrapper: SubprocessWrapper, reached: anyio.Event, register: Path) -> None:
    process, stdout, _ = await wrapper.create_subprocess(*tree(register))
    await stdout.readline()
    reached.set()
    await process.wait()


async def run(wrapper: SubprocessWrapper, reached: anyio.Event, register: Path) -> None:
    reached.set()
    await wrapper.run(*tree(register))


async def stop(wrapper: SubprocessWrapper, reached: anyio.Event, register: Path) -> None:
    process, stdout, _ = await wrapper.create_subprocess(
        *(tree(register) if ON_WINDOWS else stubborn(register))
    )
    await stdout.readline()
    reached.set()
    await process.stop(grace_s=60)


def stubborn(register: Path) -> list[str]:
    return [
        "/bin/sh",
        "-c",
        "trap '' TERM; echo > \"$0/$$\"; echo ready; while :; do sleep 1; done",
        str(register),
    ]


async def close(wrapper: SubprocessWrapper, reached: anyio.Event, register: Path) -> None:
    _, stdout, _ = await wrapper.create_subprocess(*tree(register))
    await stdout.readline()
    reached.set()
    await wrapper.aclose()


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("body", [spawn, stream, wait, run, stop, close], ids=lambda body: body.__name__)
def test_cancelled_at_every_tick(place: Place, register: Path, body: Body, times: int) -> None:
    """Whatever a task does with a process: cancelled after 0 to 15 iterations of the loop, once or twice, it leaves no
    process, comes back at once, and is cancelled."""
    slowest_s = 0.0

    async def sweep() -> None:
        nonlocal slowest_s
        tasks_before = _tasks()
        for ticks in TICKS:
            wrapper = place.wrapper()
            began = time.monotonic()
            if place.loop == "trio":
                await cancel_on_trio(wrapper, body, register, ticks)
            else:
                await cancel_on_asyncio(wrapper, body, register, ticks, times)
            slowest_s = max(slowest_s, time.monotonic() - began)
            # Not closed yet: it was the cancellation that ended the tree. What was born meanwhile is there to see now.
            left = left_alive(register)
            assert not left or eventually(lambda: not left_alive(register), 1.0), (ticks, left)
            await wrapper.aclose()
        assert _tasks() == tasks_before

    place.run(sweep)
    assert registered(register) or body in (spawn, run)  # which may never come as far as that
    assert not left_alive(register)
    assert slowest_s < 10


async def cancel_on_asyncio(
    wrapper: SubprocessWrapper, body: Body, register: Path, ticks: int, times: int
) -> None:
    reached = anyio.Event()
    task = asyncio.ensure_future(body(wrapper, reached, register))
    await reached.wait()
    for _ in range(ticks):
        await asyncio.sleep(0)
    if ticks % 2:
        # Blocks the loop: a start in another thread is over when the cancellation arrives.
        time.sleep(0.005)  # noqa: ASYNC251
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    done, _ = await asyncio.wait([task], timeout=15)
    assert done, "the cancelled task does not come back"
    # A task may have been done already when it was cancelled: closing, for example.
    assert task.cancelled() or task.exception() is None


async def cancel_on_trio(wrapper: SubprocessWrapper, body: Body, register: Path, ticks: int) -> None:
    reached = anyio.Event()
    with anyio.fail_after(15):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(body, wrapper, reached, register)
            await reached.wait()
            for _ in range(ticks):
                await anyio.lowlevel.checkpoint()
            if ticks % 2:
                time.sleep(0.005)  # noqa: ASYNC251
            tasks.cancel_scope.cancel()


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return 0


@pytest.mark.parametrize("call", ["wait", "readline", "lines", "batches", "read", "write", "stop"])
def test_cancelled_in_any_call_ends_the_tree(place: Place, register: Path, call: str) -> None:
    """Cancelled by an anyio scope in whichever call: the tree is gone when the scope is left."""

    async def body() -> None:
        async with place.wrapper() as wrapper:
            argv = tree(register) if call != "stop" or ON_WINDOWS else stubborn(register)
            process, stdout, stderr = await wrapper.create_subprocess(*argv, stdin=PIPE)
            await stdout.readline()
            assert process.stdin is not None
            with anyio.move_on_after(0.1) as scope:
                match call:
                    case "wait":
                        await process.wait()
                    case "readline":
                        await stdout.readline()
                    case "lines":
                        async for _ in stdout:
                            pass
                    case "batches":
                        async for _ in stderr.batches():
                            pass
                    case "read":
                        await stderr.read()
                    case "write":
                        await process.stdin.write(b"x" * 3_000_000)
                    case _:
                        await process.stop(grace_s=60)

            assert scope.cancelled_caught or (call == "stop" and ON_WINDOWS)
            assert process.returncode is not None
            assert eventually(lambda: not left_alive(register))

    place.run(body)


def test_cancelled_while_waiting_for_a_place(place: Place, register: Path) -> None:
    """Who is cancelled in the queue starts nothing, and does not lose the place of the others."""

    async def body() -> None:
        async with place.wrapper(max_running=1) as wrapper:
            process, stdout, _ = await wrapper.create_subprocess(*READY_THEN_SLEEP)
            await stdout.readline()
            with anyio.move_on_after(0.05):
                await wrapper.run(*tree(register))
            process.kill()
            await process.wait()
            result = await wrapper.run(*READY_THEN_SLEEP, timeout_s=0.0, check=False)

            assert result.timed_out
            assert registered(register) == []

    place.run(body)


@pytest.mark.parametrize("mode", [RunMode.ASYNC, RunMode.THREADED])
def test_sibling_failure_ends_the_tree(mode: RunMode, register: Path) -> None:
    """A TaskGroup whose other task fails in the middle of a start leaves nothing, and does not hang."""

    async def fails() -> None:
        raise ValueError("sibling")

    async def body() -> None:
        async with SubprocessWrapper(mode) as wrapper:
            with pytest.raises(ExceptionGroup):  # noqa: PT012
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(wrapper.run(*tree(register)))
                    tasks.create_task(fails())
            assert eventually(lambda: not left_alive(register))

    Place(mode, "asyncio").run(body)


@pytest.mark.parametrize("mode", [RunMode.ASYNC, RunMode.THREADED])
def test_asyncio_timeout_is_a_timeout(mode: RunMode, register: Path) -> None:
    """asyncio.timeout() around run() raises TimeoutError when the tree is gone, and the task is not cancelled."""

    async def body() -> None:
        async with SubprocessWrapper(mode) as wrapper:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await wrapper.run(*tree(register))
            task = asyncio.current_task()

            assert task is not None
            assert task.cancelling() == 0
            assert eventually(lambda: not left_alive(register))

    Place(mode, "asyncio").run(body)


@pytest.mark.parametrize("mode", [RunMode.ASYNC, RunMode.THREADED])
def test_loop_that_ends_under_a_running_process(mode: RunMode, register: Path) -> None:
    """asyncio.run() that cancels its last tasks takes the trees along."""

    async def waits(wrapper: SubprocessWrapper, started: asyncio.Event) -> None:
        async with wrapper:
            process, stdout, _ = await wrapper.create_subprocess(*tree(register))
            await stdout.readline()
            started.set()
            await process.wait()

    tasks: list[asyncio.Task[None]] = []

    async def body() -> None:
        started = asyncio.Event()
        tasks.append(asyncio.create_task(waits(SubprocessWrapper(mode), started)))
        await started.wait()

    Place(mode, "asyncio").run(body)

    assert tasks[0].cancelled()
    assert eventually(lambda: not left_alive(register))


@pytest.mark.parametrize("way", ["aclose", "cleanup", "cleanup in a thread"])
def test_closed_while_many_are_being_started(
    place: Place, register: Path, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each start either gives a process or an error, none waits for ever, and nothing is left: no task either."""
    many = 4 if ON_WINDOWS else 20  # under Wine a start takes half a second

    async def body() -> None:
        wrapper = place.wrapper(grace_s=0.1)
        await wrapper.run(*exits(0))
        outcomes: list[object] = []

        async def start() -> None:
            try:
                process, _, _ = await wrapper.create_subprocess(*tree(register))
                outcomes.append(process)
            except OffloopError as error:
                outcomes.append(error)

        async with anyio.create_task_group() as tasks:
            for _ in range(many):
                tasks.start_soon(start)
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
            if way == "aclose":
                await wrapper.aclose()
            elif way == "cleanup":
                wrapper.cleanup()
            else:
                elsewhere = threading.Thread(target=wrapper.cleanup)
                elsewhere.start()
                while elsewhere.is_alive():  # it needs this loop
                    await anyio.sleep(0.001)
        await wrapper.aclose()
        assert len(outcomes) == many
        assert eventually(lambda: not left_alive(register))

    place.run(body)
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
