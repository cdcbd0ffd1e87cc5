"""Loops: what they can do is seen, not tried; a latch wakes whoever waits, on whichever loop."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import subprocess
import sys
import threading
from typing import Any

import anyio
import pytest

from offloop import loops
from tests.contract.conftest import LOOPS, run_on

on_windows = sys.platform == "win32"


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    if on_windows and request.param in ("uvloop", "trio"):
        pytest.skip("not under Wine")
    return request.param


def test_default_loop_can_start_processes() -> None:
    """asyncio's own loop can, on every system; so can the hub's."""
    for factory in (asyncio.new_event_loop, loops.hub_loop):
        with contextlib.closing(factory()) as loop:
            assert loops.can_start_processes(loop)


def test_loop_without_processes_fails_as_on_windows() -> None:
    """The loop for tests raises what a selector loop raises on Windows: NotImplementedError without a message."""

    async def start() -> None:
        await asyncio.create_subprocess_exec(sys.executable, "-c", "")

    with contextlib.closing(loops.selector_loop_without_processes()) as loop:
        assert not loops.can_start_processes(loop)
        with pytest.raises(NotImplementedError, match=r"^$"):
            loop.run_until_complete(start())


def test_loop_that_overrides_it_is_not_trusted() -> None:
    """A loop with a start of its own is taken for one that cannot: the answer must not depend on a try."""
    base = asyncio.ProactorEventLoop if on_windows else asyncio.SelectorEventLoop

    class Other(base):  # type: ignore[misc, valid-type]
        async def _make_subprocess_transport(self, *args: object, **kwargs: object) -> None:
            raise NotImplementedError

    with contextlib.closing(Other()) as loop:
        assert loops.can_start_processes(loop) == on_windows


@pytest.mark.skipif(on_windows, reason="there is no uvloop for Windows")
def test_uvloop_can_start_processes() -> None:
    """uvloop can."""
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
    with contextlib.closing(uvloop.new_event_loop()) as loop:
        assert loops.can_start_processes(loop)


def test_latch_wakes_from_another_thread(loop: str) -> None:
    """All who wait wake when a thread sets the latch; who comes later does not wait."""

    async def body() -> None:
        latch = loops.Latch()
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(latch.wait)
            await anyio.sleep(0.01)
            threading.Thread(target=latch.set).start()
        await latch.wait()

        assert latch.is_set

    run_on(loop, body)


def test_latch_forgets_who_was_cancelled(loop: str) -> None:
    """A cancelled waiter leaves nothing behind in the latch."""

    async def body() -> None:
        latch = loops.Latch()
        with anyio.move_on_after(0.01):
            await latch.wait()

        assert latch._parked == []
        latch.set()

    run_on(loop, body)


def test_setting_a_latch_of_a_dead_loop_is_silent() -> None:
    """Who waited on a loop that has ended cannot be woken, and nobody is told off for that."""
    latch = loops.Latch()

    async def waits() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await latch.wait()

    loop = asyncio.new_event_loop()
    task = loop.create_task(waits())
    loop.run_until_complete(asyncio.sleep(0))
    parked = list(latch._parked)
    task.cancel()
    loop.run_until_complete(task)
    loop.close()
    for one in parked:
        one.wake()

    assert not task.cancelled()


@pytest.mark.parametrize("times", [1, 2, 5])
def test_shielded_outlasts_native_cancellations(times: int) -> None:
    """task.cancel(), however often, is passed on when the latch is set, and not before."""

    async def body() -> None:
        latch = loops.Latch()
        task = asyncio.ensure_future(loops.shielded(latch))
        await asyncio.sleep(0)
        for _ in range(times):
            task.cancel()
            for _ in range(3):
                await asyncio.sleep(0)
        assert not task.done()
        latch.set()
        await asyncio.wait([task], timeout=5)

        assert task.cancelled()

    run_on("asyncio", body)


def test_shielded_does_not_spin_in_a_cancelled_scope(loop: str) -> None:
    """In a cancelled anyio scope it sleeps until the latch is set."""
    turns = 0

    async def body() -> None:
        nonlocal turns
        latch = loops.Latch()

        async def ticks() -> None:
            nonlocal turns
            for _ in range(20):
                turns += 1
                await anyio.sleep(0.005)
            latch.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ticks)
            with anyio.CancelScope() as scope:
                scope.cancel()
                await loops.shielded(latch)
        assert latch.is_set

    run_on(loop, body)

    assert turns == 20


def test_import_is_light() -> None:
    """import offloop loads no tool, no async backend and no command line."""
    heavy = [
        "argparse",
        "pytest",
        "uvicorn",
        "markdown",
        "psutil",
        "trio",
        "anyio._backends._asyncio",
        "uvloop",
    ]
    code = f"import sys, offloop; print([name for name in {heavy!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)

    assert ran.stdout.strip() == "[]"


def test_public_names_are_there_and_complete() -> None:
    """__all__ is a tuple of what is there, and nothing else public of offloop's own is."""
    import offloop

    assert isinstance(offloop.__all__, tuple)
    assert all(hasattr(offloop, name) for name in offloop.__all__)
    own = {
        name
        for name, value in vars(offloop).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("offloop.")
    }
    assert own <= set(offloop.__all__)


@pytest.mark.skipif(
    os.environ.get("OFFLOOP_WINE") != "1", reason="only Wine loses wake-ups (tests/conftest.py)"
)
def test_a_wake_up_that_is_lost_under_wine_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before the next timer of the loop."""

    async def body() -> float:
        loop = asyncio.get_running_loop()
        began, arrived = loop.time(), loop.create_future()
        monkeypatch.setattr(loop, "_write_to_self", lambda: None)
        thread = threading.Timer(0.2, loop.call_soon_threadsafe, (arrived.set_result, None))
        thread.start()
        await asyncio.wait([arrived], timeout=60)
        took_s = loop.time() - began
        monkeypatch.undo()
        thread.join()
        return took_s

    assert asyncio.run(body()) < 30


@pytest.mark.skipif(
    os.environ.get("OFFLOOP_WINE") != "1", reason="only Wine loses starts (tests/conftest.py)"
)
def test_an_error_tells_that_wine_has_lost_a_start() -> None:
    """Whatever it says itself: by the number the test is run again."""
    conftest: Any = importlib.import_module("tests.conftest")
    call = conftest.LostStarts().pytest_runtest_call()
    next(call)
    ends_so = f"import os; os._exit({conftest.LOST_START} - 2**32)"
    subprocess.run([sys.executable, "-c", ends_so], check=False)

    with pytest.raises(ValueError, match="none is left") as caught:
        call.throw(ValueError("none is left"))

    assert str(conftest.LOST_START) in str(caught.value.__context__)
