"""Ending: whole trees, whatever they do against it, and no stranger is ever signalled."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import anyio
import pytest

import offloop
from offloop import RunMode, SubprocessWrapper, UsageError, events
from tests.contract.children import (
    FLUSHES_A_LOT_WHEN_ASKED,
    IGNORES_SIGTERM,
    ON_WINDOWS,
    READY_THEN_SLEEP,
    SLEEP,
    eventually,
    exits,
    is_alive,
    kill,
    left_alive,
    python,
    registered,
    root_that_leaves_a_grandchild,
    tree,
)
from tests.contract.conftest import Place, loop_factory, nothing_left, run_on

asks = pytest.mark.real_windows("there nobody can be asked to stop without a console")
posix_only = pytest.mark.skipif(ON_WINDOWS, reason="Windows cannot ask a process without a console")


@pytest.mark.parametrize("way", ["stop", "kill", "aclose", "cleanup"])
def test_the_whole_tree_is_gone(place: Place, register, way: str) -> None:
    """stop(), kill(), aclose() and cleanup() leave neither the root nor its grandchild."""

    async def body() -> None:
        wrapper = place.wrapper()
        process, stdout, _ = await wrapper.create_subprocess(*tree(register))
        await stdout.readline()
        assert eventually(lambda: len(registered(register)) == 2)
        match way:
            case "stop":
                await process.stop()
            case "kill":
                process.kill()
                await process.wait()
            case "aclose":
                await wrapper.aclose()
            case _:
                wrapper.cleanup()

        assert eventually(lambda: not left_alive(register))
        assert process.returncode is not None
        await wrapper.aclose()

    place.run(body)


@posix_only
def test_stop_asks_first(place: Place) -> None:
    """stop() lets a child end by itself, and takes what it flushes meanwhile although nobody reads."""

    async def body() -> None:
        async with place.wrapper() as wrapper:
            process, stdout, _ = await wrapper.create_subprocess(*FLUSHES_A_LOT_WHEN_ASKED)
            await stdout.readline()

            assert await process.stop() == 7
            assert len(await stdout.read()) == 1_000_000

    place.run(body)


@posix_only
def test_stop_kills_what_does_not_stop(place: Place) -> None:
    """A child that ignores SIGTERM is killed when its grace is over, and that is told as an event."""
    seen: list[events.Event] = []

    async def body() -> None:
        async with place.wrapper() as wrapper:
            process, stdout, _ = await wrapper.create_subprocess(*IGNORES_SIGTERM)
            await stdout.readline()
            unsubscribe = events.subscribe(seen.append)
            began = time.monotonic()

            assert await process.stop(grace_s=0.2) == -9
            assert 0.15 < time.monotonic() - began < 4
            await anyio.sleep(0.01)
            unsubscribe()
            assert [event.pid for event in seen if isinstance(event, events.Escalated)] == [process.pid]

    place.run(body)


@posix_only
def test_a_shorter_grace_wins(place: Place) -> None:
    """A second stop() with a shorter grace does not wait for the first one's."""

    async def body() -> None:
        async with place.wrapper() as wrapper:
            process, stdout, _ = await wrapper.create_subprocess(*IGNORES_SIGTERM)
            await stdout.readline()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(process.stop, 60.0)
                await anyio.sleep(0.05)
                assert await process.stop(grace_s=0) == -9

    place.run(body)


def test_ending_twice_and_afterwards_is_silent(place: Place) -> None:
    """terminate(), kill() and stop() may be called any number of times, also after the exit."""

    async def body() -> None:
        async with place.wrapper() as wrapper:
            process, _, _ = await wrapper.create_subprocess(*SLEEP)
            for _ in range(3):
                process.terminate()
                process.kill()
            code = await process.wait()
            for _ in range(3):
                process.terminate()
                process.kill()
                assert await process.stop() == code
        process.terminate()
        process.kill()

        assert await process.stop() == await process.wait() == code

    place.run(body)


def test_wait_returns_at_the_exit_not_at_the_end_of_the_pipes(place: Place, register) -> None:
    """wait() does not wait for a grandchild that holds the pipe; the grandchild has drain_s, then it is killed."""

    async def body() -> None:
        async with place.wrapper(drain_s=1.5) as wrapper:
            process, stdout, _ = await wrapper.create_subprocess(*root_that_leaves_a_grandchild(register))

            assert await process.wait() == 5
            assert len(left_alive(register)) == 1
            assert (await stdout.read()).split() == [b"bye"]
            assert eventually(lambda: not left_alive(register))
            assert not stdout.complete

    place.run(body)


def test_run_says_that_output_is_incomplete(place: Place, register) -> None:
    """run() comes back drain_s after the exit, and says that somebody held the pipe."""

    async def body() -> None:
        async with place.wrapper(drain_s=0.2) as wrapper:
            result = await wrapper.run(*root_that_leaves_a_grandchild(register), check=False)

            assert (result.returncode, result.stdout.split()) == (5, [b"bye"])
            assert not result.complete
            assert eventually(lambda: not left_alive(register))

    place.run(body)


@posix_only
def test_a_descendant_in_its_own_session_is_not_covered(place: Place, register) -> None:
    """The limit: a descendant that leaves the group survives; it does not keep anybody waiting."""
    code = (
        "import subprocess, sys\n"
        "inner = \"import os, sys, time; open(os.path.join(sys.argv[1], str(os.getpid())), 'w'); time.sleep(60)\"\n"
        "p = subprocess.Popen([sys.executable, '-I', '-c', inner, sys.argv[1]], start_new_session=True)\n"
        "import os, time\n"
        "while not os.listdir(sys.argv[1]): time.sleep(0.01)\n"
    )

    async def body() -> None:
        async with place.wrapper(drain_s=0.1) as wrapper:
            result = await wrapper.run(*python(code, str(register)))

            assert not result.complete
            assert len(left_alive(register)) == 1

    place.run(body)


def test_closed_wrapper_refuses(place: Place) -> None:
    """A closed wrapper starts nothing, and can be closed again."""

    async def body() -> None:
        wrapper = place.wrapper()
        await wrapper.run(*exits(0))
        await wrapper.aclose()
        await wrapper.aclose()
        wrapper.cleanup()

        with pytest.raises(UsageError):
            await wrapper.run(*exits(0))

    place.run(body)


def test_unused_wrapper_closes(any_place: Place) -> None:
    """A wrapper that started nothing can be closed, in both ways."""

    async def body() -> None:
        async with any_place.wrapper() as wrapper:
            wrapper.cleanup()

    any_place.run(body)


# On Windows the loop has left its transports open by then, and their destructors say so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning" if ON_WINDOWS else "error")
@pytest.mark.parametrize("mode", [RunMode.ASYNC, RunMode.THREADED])
def test_cleanup_after_the_loop_has_ended(mode: RunMode, register) -> None:
    """cleanup() ends everything although the loop is closed; a second one has nothing to wait for."""
    wrappers: list[SubprocessWrapper] = []

    async def body() -> None:
        wrapper = SubprocessWrapper(mode)
        wrappers.append(wrapper)
        _, stdout, _ = await wrapper.create_subprocess(*tree(register))
        await stdout.readline()

    with nothing_left():
        run_on("asyncio", body)
        for _ in range(10):
            began = time.monotonic()
            wrappers[0].cleanup()
            assert time.monotonic() - began < 5
        assert eventually(lambda: not left_alive(register))
    wrappers.clear()
    gc.collect()


@pytest.mark.parametrize("mode", [RunMode.ASYNC, RunMode.THREADED])
def test_cleanup_from_another_thread(mode: RunMode, register) -> None:
    """cleanup() may be called in any thread, and wakes those who wait."""

    async def body() -> None:
        wrapper = SubprocessWrapper(mode)
        process, stdout, _ = await wrapper.create_subprocess(*tree(register))
        await stdout.readline()
        thread = threading.Thread(target=wrapper.cleanup)
        thread.start()

        assert await process.wait() != 0
        await asyncio.to_thread(thread.join)
        assert eventually(lambda: not left_alive(register))

    run_on("asyncio", body)


def test_closing_wakes_everybody(place: Place) -> None:
    """When the wrapper is closed, nobody is left waiting: not for the process, a line, a place, or the end."""

    async def body() -> None:
        wrapper = place.wrapper(max_running=1)
        process, stdout, _ = await wrapper.create_subprocess(*READY_THEN_SLEEP)
        await stdout.readline()
        woken: list[str] = []

        async def wait_for(name: str, function) -> None:
            try:
                await function()
            except UsageError:
                name += " refused"
            woken.append(name)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for, "wait", process.wait)
            tasks.start_soon(wait_for, "line", stdout.readline)
            tasks.start_soon(wait_for, "place", lambda: wrapper.run(*SLEEP))
            await anyio.sleep(0.05)
            await wrapper.aclose()

        assert sorted(woken) == ["line", "place refused", "wait"]

    place.run(body)


def test_detached_child_outlives_its_wrapper(place: Place, register) -> None:
    """With detach=True a tree survives the end of its wrapper; its output is nobody's."""

    async def body() -> None:
        async with place.wrapper() as wrapper:
            process, stdout, stderr = await wrapper.create_subprocess(*tree(register), detach=True)

            assert await stdout.read() == await stderr.read() == b""
            assert eventually(lambda: len(registered(register)) == 2)
        assert len(left_alive(register)) == 2
        assert is_alive(process.pid)
        with pytest.raises(UsageError):
            await process.wait()
        for pid in registered(register):
            kill(pid)

    place.run(body)


def test_detached_child_is_followed_while_the_wrapper_is_open(place: Place) -> None:
    """A detached child can be waited for and killed."""

    async def body() -> None:
        async with place.wrapper() as wrapper:
            one, _, _ = await wrapper.create_subprocess(*exits(3), detach=True)
            two, _, _ = await wrapper.create_subprocess(*SLEEP, detach=True)
            two.kill()

            assert await one.wait() == 3
            assert await two.wait() != 0

    place.run(body)


@posix_only
def test_ctrl_c_ends_local_mode(register) -> None:
    """LOCAL mode below asyncio.run(): the first Ctrl-C ends the tree and the program."""
    argv = tree(register)
    code = (
        "import asyncio, offloop\n"
        "async def main():\n"
        "    async with offloop.SubprocessWrapper('local') as wrapper:\n"
        f"        await wrapper.run(*{argv!r})\n"
        "asyncio.run(main())\n"
    )
    source = os.path.dirname(os.path.dirname(offloop.__file__))
    with subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": source}, stderr=subprocess.PIPE
    ) as program:
        try:
            assert eventually(lambda: len(registered(register)) == 2)
            program.send_signal(signal.SIGINT)
            _, errors = program.communicate(timeout=20)
        finally:
            program.kill()

    assert b"KeyboardInterrupt" in errors
    assert not left_alive(register)


@pytest.mark.parametrize("way", ["stop", "aclose"])
def test_a_stop_after_the_exit_does_not_wait_for_who_holds_the_pipe(
    place: Place, register: Path, way: str
) -> None:
    """The root has exited and its grandchild holds the pipe: it gets *grace_s*, and not *drain_s*."""

    async def body() -> None:
        async with place.wrapper(drain_s=300.0, grace_s=0.1) as wrapper:
            process, _, _ = await wrapper.create_subprocess(*root_that_leaves_a_grandchild(register))
            assert await process.wait() == 5
            if way == "stop":
                assert await process.stop() == 5
            else:
                await wrapper.aclose()
            assert eventually(lambda: not left_alive(register))

    place.run(body)


@pytest.mark.skipif(ON_WINDOWS, reason="there a start in ASYNC mode is a task of its loop, and ends with it")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_cleanup_after_the_loop_was_closed_in_the_middle_of_a_start(register: Path, loop: str) -> None:
    """With a deadline, for which that loop has no timer any more; and the threads are gone when it returns."""
    factory = loop_factory(loop) or asyncio.new_event_loop
    running = factory()
    wrapper = SubprocessWrapper(RunMode.ASYNC)

    async def body() -> None:
        await wrapper.run(*exits(0))
        for _ in range(5):
            starting.append(running.create_task(wrapper.create_subprocess(*tree(register), timeout_s=60)))
        await asyncio.sleep(0)

    starting: list[asyncio.Task[object]] = []
    before = set(threading.enumerate())
    running.run_until_complete(body())
    running.close()
    wrapper.cleanup()

    assert set(threading.enumerate()) <= before
    assert eventually(lambda: not left_alive(register))
    for task in starting:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # pyright: ignore
