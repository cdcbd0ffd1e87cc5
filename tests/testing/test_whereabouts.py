"""Where a block is that does not end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import threading
import weakref
from collections.abc import AsyncIterator

from offloop.testing.whereabouts import whereabouts
from tests.testing.conftest import Project


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def lines() -> AsyncIterator[str]:
    yield "one"
    await forever()


async def reads(first: asyncio.Event) -> None:
    async for _ in lines():
        first.set()


def of(name: str, found: list[str]) -> list[str]:
    """The places of one thread or task, without their lines."""
    places = next(line for line in found if line.startswith(f"{name}: ")).partition(": ")[2]
    return re.sub(r":\d+ in ", " ", places).split(", ")


def test_a_task_is_where_its_awaits_lead_to() -> None:
    """Through coroutines and asynchronous generators, down to what is not done; the innermost stands first."""

    async def look() -> list[str]:
        first = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(reads(first), name="reader")
            await first.wait()
            await asyncio.sleep(0)
            found = whereabouts()
            reader.cancel()
        return found

    here = "test_whereabouts.py"
    assert of("task reader", asyncio.run(look())) == [
        "FutureIter",
        f"{here} forever",
        f"{here} lines",
        f"{here} reads",
    ]


def test_a_thread_is_where_it_waits() -> None:
    """The innermost place first; threads that were there before are left out, but not this one."""
    waiting, go_on = threading.Event(), threading.Event()

    def waits() -> None:
        waiting.set()
        go_on.wait()

    thread = threading.Thread(target=waits, name="waiter")
    before = frozenset(threading.enumerate())
    thread.start()
    try:
        waiting.wait()
        found = whereabouts()
        without = whereabouts({thread})
        since = whereabouts(before)
    finally:
        go_on.set()
        thread.join()

    assert "test_whereabouts.py test_a_thread_is_where_it_waits.<locals>.waits" in of("thread waiter", found)
    assert not any(line.startswith("thread waiter") for line in without)
    assert [line.split(":")[0] for line in since] == ["thread MainThread", "thread waiter"]


def test_a_deep_task_is_said_in_few_words() -> None:
    """The innermost of a hundred places, and not all."""

    async def deep(depth: int) -> None:
        await (deep(depth - 1) if depth else forever())

    async def look() -> list[str]:
        task = asyncio.create_task(deep(100), name="deep")
        await asyncio.sleep(0)
        found = whereabouts()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return found

    places = of("task deep", asyncio.run(look()))

    assert len(places) < 20
    assert places[1] == "test_whereabouts.py forever"


def test_what_anext_waits_for_is_seen() -> None:
    """With a default, too, where it is wrapped twice."""

    async def last_line() -> None:
        await anext(generator, None)

    async def look() -> list[str]:
        task = asyncio.create_task(last_line(), name="reader")
        await asyncio.sleep(0)
        found = whereabouts()
        task.cancel()
        return found

    async def waits() -> AsyncIterator[None]:
        await forever()
        yield

    generator = waits()

    assert of("task reader", asyncio.run(look()))[:2] == ["FutureIter", "test_whereabouts.py forever"]


def test_of_many_tasks_some_are_described() -> None:
    """A message that nobody reads to its end helps nobody."""

    async def look() -> list[str]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(forever()) for _ in range(500)]
            await asyncio.sleep(0)
            found = whereabouts()
            for task in tasks:
                task.cancel()
        return found

    found = asyncio.run(look())

    assert len(found) < 60
    assert found[-1] == "and 481 more"


def test_a_frame_of_code_without_a_module_is_described() -> None:
    """exec() gives its code the names that it is given."""
    found: list[str] = []
    exec("found.extend(look())", {"__name__": None, "found": found, "look": whereabouts})

    assert "<string> <module>" in of("thread MainThread", found)


def test_nothing_is_kept_alive() -> None:
    """Not the local variables of who asks, either."""

    class Kept:
        pass

    def ask() -> weakref.ref[Kept]:
        kept = Kept()
        whereabouts()
        return weakref.ref(kept)

    gc.disable()
    try:
        assert ask()() is None
    finally:
        gc.enable()


PAGE = """\
```python { title="waits.py" }
import asyncio


async def waits_for_ever() -> None:
    await asyncio.Event().wait()
```

```python { data-timeout="0.5" }
import asyncio, subprocess, sys

from waits import waits_for_ever

task = asyncio.create_task(waits_for_ever(), name="the one that waits")
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
await task
```
"""


def test_a_block_that_does_not_end_says_where_it_was(project: Project) -> None:
    """Its tasks, its thread and its processes, below the sentence."""
    project.write("docs/a.md", PAGE)

    text = project.run("docs").text

    assert (
        "still running after 0.5 s and was ended; data-timeout sets another limit\n    thread MainThread: "
        in text
    )
    assert "task the one that waits: FutureIter, locks.py:" in text
    assert "waits.py:5 in waits_for_ever" in text
    assert re.search(r"\n    process pid \d+ \(.*python", text)
