"""What a call leaves behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time

import pytest

from offloop.testing import left_behind, python_argv
from offloop.testing.census import census

SLEEP = python_argv("-c", "import time; time.sleep(60)")


def test_nothing_left_is_false() -> None:
    """A call that cleans up, and one that ends by itself a moment later."""

    async def clean() -> None:
        process = await asyncio.create_subprocess_exec(*SLEEP)
        process.kill()
        await process.wait()
        await asyncio.to_thread(int)
        threading.Thread(target=time.sleep, args=(0.05,)).start()

    async def main() -> None:
        await asyncio.to_thread(int)  # the executor's first thread is there before
        assert not await left_behind(clean)

    asyncio.run(main())


def test_each_kind_is_named_and_ended() -> None:
    """A task, a process, a thread and a descriptor."""
    stop = threading.Event()
    made: list[int] = []
    tasks: set[asyncio.Task[None]] = set()

    async def leave() -> None:
        tasks.add(asyncio.create_task(asyncio.sleep(60), name="forgotten"))
        threading.Thread(target=stop.wait, args=(30,), name="forgotten thread").start()
        made.append(os.dup(0))
        process = await asyncio.create_subprocess_exec(*SLEEP)
        made.append(process.pid)

    try:
        left = asyncio.run(left_behind(leave))
    finally:
        stop.set()
        os.close(made[0])

    assert left
    assert left.tasks == ("forgotten",)
    assert "forgotten thread" in left.threads
    assert len(left.processes) == 1
    assert left.processes[0].startswith(f"pid {made[1]} (")
    assert "python" in left.processes[0]
    assert any(text.startswith(str(made[0])) for text in left.descriptors)
    assert made[1] not in {process.pid for process in census().processes}


def test_a_call_that_fails_is_judged_by_what_it_leaves() -> None:
    """The error itself is not the question here."""

    async def fail() -> None:
        raise ValueError

    assert not asyncio.run(left_behind(fail))


def test_an_orphan_is_found() -> None:
    """A grandchild whose parent has ended belongs to nobody else."""
    code = f"import subprocess; subprocess.Popen({SLEEP!r})"

    async def leave() -> None:
        process = await asyncio.create_subprocess_exec(*python_argv("-c", code), stdout=subprocess.DEVNULL)
        await process.wait()

    assert len(asyncio.run(left_behind(leave)).processes) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps nothing of a process that has ended")
def test_a_child_that_nobody_waits_for_is_left_behind() -> None:
    """It has ended and stays in the process table."""
    children: list[subprocess.Popen[bytes]] = []

    async def leave() -> None:
        children.append(subprocess.Popen(python_argv("-c", "pass")))  # noqa: ASYNC220 - no loop may know it

    left = asyncio.run(left_behind(leave))
    children[0].wait()

    assert "nobody waited for it" in left.processes[0]
