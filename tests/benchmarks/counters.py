"""What can be counted and not only timed: each function is one program, run in a process of its own.

python -m tests.benchmarks.counters NAME
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
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


COUNTERS = {"idle": idle, "stream": stream, "lines": lines}


def main() -> None:
    name, mode = sys.argv[1:]
    print(json.dumps(asyncio.run(COUNTERS[name](RunMode(mode)))))


if __name__ == "__main__":
    main()
