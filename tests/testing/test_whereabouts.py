"""Where a block is that does not end."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
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
    assert "\n    process pid " in text
