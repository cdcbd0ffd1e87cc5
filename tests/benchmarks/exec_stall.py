"""How long the loop stalls while a program is loaded slowly.

    strace -f -o /dev/null -e trace=execve -e inject=execve:delay_enter=100000 python -m tests.benchmarks.exec_stall MODE

Prints the longest stall of the loop in milliseconds while one child is started, the least of several starts:
a stall of the starting itself is in each of them, one of a busy machine is not.
"""

from __future__ import annotations

import asyncio
import sys
import time

from offloop import RunMode, SubprocessWrapper
from tests.benchmarks.approaches import Heart, One, by_asyncio

STARTS = 5


async def main(mode: str) -> float:
    if mode == "asyncio":
        return await _least(by_asyncio)
    async with SubprocessWrapper(RunMode(mode)) as wrapper:
        await wrapper.run("/bin/true")
        return await _least(lambda: wrapper.run("/bin/true"))


async def _least(one: One) -> float:
    return min([await _longest(one) for _ in range(STARTS)])


async def _longest(one: One) -> float:
    heart = Heart()
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
