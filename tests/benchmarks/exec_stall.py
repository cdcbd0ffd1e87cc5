"""How long the loop stalls while a program is loaded slowly.

    strace -f -o /dev/null -e trace=execve -e inject=execve:delay_enter=100000 python -m tests.benchmarks.exec_stall MODE

Prints the longest stall of the loop in milliseconds while one child is started.
"""

from __future__ import annotations

import asyncio
import sys
import time

from offloop import RunMode, SubprocessWrapper
from tests.benchmarks.approaches import Heart, One, by_asyncio


async def main(mode: str) -> float:
    heart = Heart()
    if mode == "asyncio":
        return await _longest(heart, by_asyncio)
    async with SubprocessWrapper(RunMode(mode)) as wrapper:
        await wrapper.run("/bin/true")
        return await _longest(heart, lambda: wrapper.run("/bin/true"))


async def _longest(heart: Heart, one: One) -> float:
    beating = asyncio.create_task(heart.beat())
    await asyncio.sleep(0.05)
    heart.longest_s = 0.0
    began = time.monotonic()
    await one()
    assert time.monotonic() - began > 0.09, "the start was not delayed"
    beating.cancel()
    return heart.longest_s


if __name__ == "__main__":
    print(asyncio.run(main(sys.argv[1])) * 1000)
