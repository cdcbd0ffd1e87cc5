"""What can be counted and not only timed: each function is one program, run in a process of its own.

python -m tests.benchmarks.counters NAME
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import threading
import time

from offloop import RunMode, SubprocessWrapper

CHILDREN = 200
STREAMED_LINES = 5_000_000
_WRITER = "import sys\nblock = b'x' * 39 + b'\\n'\nfor _ in range(int(sys.argv[1]) // 1000): sys.stdout.buffer.write(block * 1000)\n"


def _private_kib() -> int:
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_Dirty"))


def _peak_kib() -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


async def idle(mode: RunMode) -> dict[str, float]:
    """Private memory, threads and descriptors that an idle child with two pipes costs."""
    async with SubprocessWrapper(mode) as wrapper:
        warm = [await wrapper.create_subprocess("sleep", "60") for _ in range(20)]
        gc.collect()
        kib, threads, fds = _private_kib(), threading.active_count(), len(os.listdir("/proc/self/fd"))
        children = [await wrapper.create_subprocess("sleep", "60") for _ in range(CHILDREN)]
        gc.collect()
        result = {
            "kib": (_private_kib() - kib) / CHILDREN,
            "threads": (threading.active_count() - threads) / CHILDREN,
            "descriptors": (len(os.listdir("/proc/self/fd")) - fds) / CHILDREN,
        }
        del children, warm
        return result


async def stream(mode: RunMode) -> dict[str, float]:
    """Peak memory while 200 MB of lines pass through."""
    async with SubprocessWrapper(mode) as wrapper:
        await wrapper.run("true")
        argv = [sys.executable, "-I", "-S", "-c", _WRITER]
        _, stdout, _ = await wrapper.create_subprocess(*argv, "100000")
        async for _ in stdout.batches():
            pass
        before = _peak_kib()
        lines = 0
        _, stdout, _ = await wrapper.create_subprocess(*argv, str(STREAMED_LINES))
        async for batch in stdout.batches():
            lines += len(batch)
        assert lines == STREAMED_LINES, lines
        return {"kib": _peak_kib() - before}


async def lines(mode: RunMode) -> dict[str, float]:
    """Lines a second, as a ratio to StreamReader.readline(), which is read between the others."""
    argv = [sys.executable, "-I", "-S", "-c", _WRITER, "1000000"]

    async def by_asyncio() -> float:
        process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        began = time.perf_counter()
        while await process.stdout.readline():
            pass
        took_s = time.perf_counter() - began
        await process.wait()
        return took_s

    async def by_offloop(wrapper: SubprocessWrapper, *, in_batches: bool) -> float:
        process, stdout, _ = await wrapper.create_subprocess(*argv)
        began = time.perf_counter()
        if in_batches:
            async for batch in stdout.batches():
                len(batch)
        else:
            async for _ in stdout:
                pass
        took_s = time.perf_counter() - began
        await process.wait()
        return took_s

    ratios: dict[str, list[float]] = {"async for": [], "batches": []}
    async with SubprocessWrapper(mode) as wrapper:
        for _ in range(5):
            one_s = await by_offloop(wrapper, in_batches=False)
            peer_s = await by_asyncio()
            batches_s = await by_offloop(wrapper, in_batches=True)
            ratios["async for"].append(peer_s / one_s)
            ratios["batches"].append(peer_s / batches_s)
    return {name: sorted(values)[len(values) // 2] for name, values in ratios.items()}


_CHATTY = "for i in 1 2 3 4 5 6 7 8 9 10; do echo $i; sleep 0.1; done"


async def chatty(mode: RunMode) -> dict[str, float]:
    """How soon the first lines of 40 talkative children arrive, median, as a ratio to asyncio."""
    argv = ["/bin/sh", "-c", _CHATTY]

    async def by_asyncio() -> float:
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        await process.stdout.readline()
        first_s = time.perf_counter() - began
        while await process.stdout.readline():
            pass
        await process.wait()
        return first_s

    async def by_offloop(wrapper: SubprocessWrapper) -> float:
        began = time.perf_counter()
        process, stdout, _ = await wrapper.create_subprocess(*argv)
        await stdout.readline()
        first_s = time.perf_counter() - began
        async for _ in stdout:
            pass
        await process.wait()
        return first_s

    ratios: list[float] = []
    async with SubprocessWrapper(mode) as wrapper:
        await wrapper.run("true")
        for _ in range(5):
            ours = await asyncio.gather(*(by_offloop(wrapper) for _ in range(40)))
            peer = await asyncio.gather(*(by_asyncio() for _ in range(40)))
            ratios.append(statistics.median(ours) / statistics.median(peer))
    return {"ratio": statistics.median(ratios)}


_TREE = "sleep 60 & echo $$; wait"


def _until_gone(group: int) -> None:
    """Nobody to signal is left in the group but zombies, whose parents have not looked yet."""
    while True:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        members = [pid for pid in os.listdir("/proc") if pid.isdigit() and _group_of(pid) == group]
        if not members:
            return


def _group_of(pid: str) -> int | None:
    """None for a zombie, and for one that is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            words = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if words[0] in "ZX" else int(words[2])


async def cancel(mode: RunMode) -> dict[str, float]:
    """Milliseconds from cancelling a task to the death of its process and its grandchild, median."""
    took: list[float] = []
    async with SubprocessWrapper(mode) as wrapper:

        async def follow(started: asyncio.Future[int]) -> None:
            process, stdout, _ = await wrapper.create_subprocess("/bin/sh", "-c", _TREE)
            await stdout.readline()
            started.set_result(process.pid)
            await process.wait()

        for _ in range(50):
            started = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(follow(started))
            group = await started
            began = time.perf_counter()
            task.cancel()
            await asyncio.wait([task])
            _until_gone(group)
            took.append(time.perf_counter() - began)
    return {"ms": statistics.median(took) * 1000}


_SERVER = """
import asyncio, sys
from offloop import SubprocessWrapper
async def main():
    async with SubprocessWrapper(sys.argv[1]) as wrapper:
        process, stdout, _ = await wrapper.create_subprocess("/bin/sh", "-c", sys.argv[2])
        print(int(await stdout.readline()), flush=True)
        await process.wait()
asyncio.run(main())
"""


async def killed(mode: RunMode) -> dict[str, float]:
    """Milliseconds from SIGKILL for a program to the death of its process and its grandchild, median."""
    took: list[float] = []
    for _ in range(20):
        argv = [sys.executable, "-c", _SERVER, mode.value, _TREE]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as server:  # noqa: ASYNC220
            assert server.stdout is not None
            group = int(server.stdout.readline())
            began = time.perf_counter()
            server.kill()
            _until_gone(group)
            took.append(time.perf_counter() - began)
    return {"ms": statistics.median(took) * 1000}


def large_server() -> dict[str, float]:
    """Seconds for each child on uvloop in a process of 2 GiB, as a ratio to uvloop's own start."""
    from tests.benchmarks.approaches import by_asyncio, on_uvloop, ours, peer

    ballast = bytearray(2 * 1024**3)
    for page in range(0, len(ballast), 4096):
        ballast[page] = 1
    by_uvloop, by_offloop = peer(by_asyncio, on_uvloop), ours(RunMode.ASYNC, on_uvloop)
    ratios: list[float] = []
    for _ in range(3):
        slow, fast = by_uvloop(20, 4, False), by_offloop(80, 4, False)
        ratios.append((fast.wall_s / 80) / (slow.wall_s / 20))
    return {"ratio": statistics.median(ratios)}


COUNTERS = {
    "idle": idle,
    "stream": stream,
    "lines": lines,
    "chatty": chatty,
    "cancel": cancel,
    "killed": killed,
}


def main() -> None:
    name = sys.argv[1]
    if name == "large_server":
        print(json.dumps(large_server()))
    else:
        print(json.dumps(asyncio.run(COUNTERS[name](RunMode(sys.argv[2])))))


if __name__ == "__main__":
    main()
