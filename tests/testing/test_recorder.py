"""What a recording sees of a run: steps, stalls, and processes however they were started."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
from asyncio import base_events, events
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from offloop import RunMode, SubprocessWrapper, python_argv
from offloop.engines.child import Child
from offloop.guide.timeline import Timeline
from offloop.testing.recorder import Recorded, recording

QUICK = [sys.executable, "-c", "print('out', flush=True)"]


def names(timeline: Timeline) -> list[str]:
    return [task.name for task in timeline.tasks]


def test_a_stall_has_the_name_of_its_task() -> None:
    """And the tasks beside it have none."""

    async def blocks() -> None:
        await asyncio.sleep(0)
        time.sleep(0.15)  # noqa: ASYNC251 - it is to hold the loop

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(blocks())
            group.create_task(asyncio.sleep(0.01), name="patient")

    with recording() as recorded:
        asyncio.run(main())

    timeline = recorded.timeline()
    assert [name for name, _ in timeline.stalls] == [
        "test_a_stall_has_the_name_of_its_task.blocks".rpartition(".")[2]
    ]
    assert timeline.stalls[0][1] >= 0.15
    assert {"blocks", "patient"} <= set(names(timeline))


def test_a_callback_that_holds_the_loop_is_seen() -> None:
    """It belongs to no task."""

    def slow() -> None:
        time.sleep(0.15)

    async def main() -> None:
        asyncio.get_running_loop().call_soon(slow)
        await asyncio.sleep(0.01)

    with recording() as recorded:
        asyncio.run(main())

    ((name, _),) = recorded.timeline().stalls
    assert name.startswith("callback ")
    assert name.endswith("slow")


def test_tasks_of_one_coroutine_are_numbered() -> None:
    """Unless they were named."""

    async def job() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(job(), job(), asyncio.create_task(job(), name="last"))

    with recording() as recorded:
        asyncio.run(main())

    found = [name for name in names(recorded.timeline()) if name != "main"]
    assert sorted(found) == ["job", "job 2", "last"]


def test_tasks_that_the_reader_asks_for_are_counted_whatever_they_run() -> None:
    """A gather of the wrapper's own coroutine, a group of sleeps; not what asyncio and the wrapper start for themselves."""

    async def main() -> None:
        async with SubprocessWrapper() as wrapper:
            await asyncio.gather(*(wrapper.run(*python_argv("-c", ""), timeout_s=30) for _ in range(2)))
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(asyncio.sleep(0.01))
        process = await asyncio.create_subprocess_exec(*QUICK, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        await process.communicate()
        await asyncio.wait_for(asyncio.Queue[int]().join(), 1)

    with recording() as recorded:
        asyncio.run(main())

    assert sorted(names(recorded.timeline())) == [
        "SubprocessWrapper.run",
        "SubprocessWrapper.run 2",
        "main",
        "sleep",
        "sleep 2",
        "sleep 3",
    ]


def test_a_task_that_nobody_holds_is_not_held() -> None:
    """What it raised is told while the run goes on, as without the recording."""
    told: list[str] = []

    async def fail() -> None:
        raise ValueError("lost")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
        asyncio.get_running_loop().call_soon(asyncio.create_task, fail())
        await asyncio.sleep(0.01)
        gc.collect()

    with recording() as recorded:
        asyncio.run(main())

    assert told == ["Task exception was never retrieved"]
    assert names(recorded.timeline()) == ["main", "fail"]


async def by_exec() -> None:
    process = await asyncio.create_subprocess_exec(*QUICK, stdout=subprocess.PIPE)
    await process.communicate()


async def by_shell() -> None:
    process = await asyncio.create_subprocess_shell("exit 0")
    await process.wait()


async def by_anyio() -> None:
    await anyio.run_process(QUICK)


async def by_subprocess() -> None:
    subprocess.run(QUICK, capture_output=True, check=True)  # noqa: ASYNC221 - the start to be seen


async def in_a_thread() -> None:
    await asyncio.to_thread(subprocess.run, QUICK, capture_output=True)


async def by_the_wrapper(mode: RunMode) -> None:
    async with SubprocessWrapper(mode) as wrapper:
        await wrapper.run(*python_argv("-c", "print('out')"), timeout_s=30)


async def on_the_loop() -> None:
    await by_the_wrapper(RunMode.ASYNC)


async def on_the_hub() -> None:
    await by_the_wrapper(RunMode.THREADED)


async def in_place() -> None:
    await by_the_wrapper(RunMode.LOCAL)


@pytest.mark.parametrize(
    "start", [by_exec, by_shell, by_anyio, by_subprocess, in_a_thread, on_the_loop, on_the_hub, in_place]
)
def test_a_process_is_seen_once_however_it_was_started(
    start: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """With its end, its exit code, and its output where the loop or the wrapper reads it."""
    with recording() as recorded:
        asyncio.run(start())

    (process,) = recorded.timeline().processes
    assert process.returncode == 0
    assert 0 <= process.begin < process.end <= recorded.timeline().duration_s
    if start in (by_exec, by_anyio, on_the_loop, on_the_hub, in_place):
        assert process.output


def test_a_failed_process_has_its_exit_code() -> None:
    """With a loop, and without one."""
    fails = python_argv("-c", "raise SystemExit(7)")

    async def main() -> None:
        process = await asyncio.create_subprocess_exec(*fails)
        await process.wait()
        subprocess.run(fails, check=False)  # noqa: ASYNC221 - the end to be seen
        async with SubprocessWrapper() as wrapper:
            await wrapper.run(*fails, timeout_s=30, check=False)

    with recording() as recorded:
        asyncio.run(main())

    assert [process.returncode for process in recorded.timeline().processes] == [7, 7, 7]


def test_processes_side_by_side_are_counted() -> None:
    """As many at once as the limit allows."""

    async def main() -> None:
        async with SubprocessWrapper(max_running=2) as wrapper:
            program = python_argv("-c", "import time; time.sleep(0.1)")
            await asyncio.gather(*(wrapper.run(*program, timeout_s=30) for _ in range(4)))

    with recording() as recorded:
        asyncio.run(main())

    timeline = recorded.timeline()
    assert (len(timeline.processes), timeline.at_once) == (4, 2)


def test_what_comes_after_stop_is_not_part_of_the_run() -> None:
    """Neither steps nor processes, and a process that was there is still running."""
    process: subprocess.Popen[bytes] | None = None

    with recording() as recorded:
        process = subprocess.Popen(python_argv("-c", "input()"), stdin=subprocess.PIPE)
        recorded.stop()
        process.communicate(b"\n")
        asyncio.run(by_subprocess())

    timeline = recorded.timeline()
    assert [(p.returncode, p.end) for p in timeline.processes] == [(None, timeline.duration_s)]
    assert timeline.tasks == ()


def test_nothing_of_it_stays() -> None:
    """What it listens at is as before, also after an error, and inside of another recording."""
    places = [
        (events.Handle, "_run"),
        (base_events.BaseEventLoop, "subprocess_exec"),
        (base_events.BaseEventLoop, "subprocess_shell"),
        (subprocess.Popen, "__init__"),
        (subprocess.Popen, "wait"),
        (subprocess.Popen, "poll"),
        (Child, "output"),
    ]
    before = [owner.__dict__[name] for owner, name in places]

    with pytest.raises(ZeroDivisionError), recording(), recording():
        raise ZeroDivisionError

    assert [owner.__dict__[name] for owner, name in places] == before


def test_the_main_task_is_called_main() -> None:
    """Whatever its coroutine is called, and although it belongs to a library."""
    recorded: Recorded

    async def whatever() -> None:
        recorded.main = asyncio.current_task()
        await asyncio.sleep(0)

    with recording() as recorded:
        asyncio.run(whatever())

    assert names(recorded.timeline()) == ["main"]


def test_recordings_may_overlap() -> None:
    """In whatever order they end, nothing of them stays, and each has seen its own part."""
    before = events.Handle.__dict__["_run"]
    one, other = recording(), recording()
    first = one.__enter__()
    second = other.__enter__()
    asyncio.run(by_subprocess())
    one.__exit__(None, None, None)
    asyncio.run(by_subprocess())
    other.__exit__(None, None, None)

    assert events.Handle.__dict__["_run"] is before
    assert len(first.timeline().processes) == 1
    assert len(second.timeline().processes) == 2


def test_a_loop_is_called_as_it_is_written() -> None:
    """With names for its arguments, too, and with a command that can be read only once."""

    class Protocol(asyncio.SubprocessProtocol):
        def __init__(self) -> None:
            self.ended = asyncio.Event()

        def process_exited(self) -> None:
            self.ended.set()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_shell(protocol_factory=Protocol, cmd="exit 0")
        await protocol.ended.wait()
        transport.close()
        once: Any = iter(QUICK)
        await asyncio.to_thread(lambda: subprocess.Popen(once, stdout=subprocess.DEVNULL).wait())

    with recording() as recorded:
        asyncio.run(main())

    shell, other = recorded.timeline().processes
    assert (shell.argv, shell.returncode) == (("exit 0",), 0)
    assert other.argv == tuple(QUICK)


def test_a_method_that_is_called_again_has_one_lane() -> None:
    """And an object that can be called has no address in its name."""

    class Slow:
        def tick(self) -> None:
            time.sleep(0.11)

        def __call__(self) -> None:
            time.sleep(0.11)

    async def main() -> None:
        slow = Slow()
        for call in (slow.tick, slow.tick, slow, slow):
            asyncio.get_running_loop().call_soon(call)
        await asyncio.sleep(0.01)

    with recording() as recorded:
        asyncio.run(main())

    called = {name.rpartition("main")[0] or name for name, _ in recorded.timeline().stalls}
    assert len(recorded.timeline().stalls) == 4
    assert len(called) == 2
    assert all("0x" not in name for name in called)


def test_names_are_told_apart() -> None:
    """A name that looks like one of asyncio's or anyio's is kept, and no two lanes have the same."""

    async def w() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        names = ("Task-list", "x.w", "w 2", None, None)
        await asyncio.gather(*(asyncio.create_task(w(), name=name) for name in names))

    with recording() as recorded:
        asyncio.run(main())

    found = names(recorded.timeline())
    assert {"Task-list", "x.w", "w 2", "w", "w 3"} <= set(found)
    assert len(found) == len(set(found))
