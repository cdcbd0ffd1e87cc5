"""One server of a chaos run: starts children as fast as it can, treats them at random, and checks everything.

    python -m tests.chaos.server SEED SECONDS MODE LOOP

Prints one JSON object with what it saw, and ends with exit code 1 if anything was wrong. Whoever starts it may kill it.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import math
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Coroutine
from random import Random
from typing import Any

import anyio

from offloop import RunMode, Stream, SubprocessWrapper
from tests.chaos.children import KINDS, LINE_BYTES, Kind, expected
from tests.contract.conftest import loop_factory

AT_ONCE = 16
HANGS_AFTER_S = 60.0
BUFFER_BYTES = 1024 * 1024
# What 16 readers hold at most, twice; measured growth is below 8 MiB.
MAY_GROW_KIB = 40 * 1024


class Server:
    """The counts and the faults of one run."""

    def __init__(self, seed: str, seconds: float, mode: RunMode, loop: str) -> None:
        self.seed = seed
        self.mode = mode
        self.loop = loop
        self.ends_at = time.monotonic() + seconds
        self.seconds = seconds
        self.numbers = itertools.count()
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.resident_kib: list[int] = []
        self.is_closing = False  # under children that nobody else would have ended

    # --- the whole -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        if self.loop == "trio":
            import trio

            trio.run(self.main)
        else:
            with asyncio.Runner(loop_factory=loop_factory(self.loop)) as runner:
                runner.run(self.main())
        self.after()

    async def main(self) -> None:
        async with SubprocessWrapper(self.mode, buffer_bytes=BUFFER_BYTES) as wrapper:
            # libuv and the first use of everything make descriptors of their own
            await wrapper.run("true")
        self.threads = set(threading.enumerate())
        self.descriptors = self.count_descriptors()
        tasks = _tasks()
        while time.monotonic() < self.ends_at:
            await self.life_of_a_wrapper()
            gc.collect()
            self.resident_kib.append(_resident_kib())
        with anyio.move_on_after(5):
            while _tasks() > tasks:
                await anyio.sleep(0.01)
        if _tasks() > tasks:
            self.faults.append(f"{_tasks() - tasks} tasks are left")

    async def life_of_a_wrapper(self) -> None:
        """A wrapper with many children, which is closed while some of them live."""
        random = Random(f"{self.seed}/wrapper/{next(self.numbers)}")
        wrapper = SubprocessWrapper(
            self.mode,
            max_running=random.choice((None, None, 4, AT_ONCE)),
            grace_s=random.choice((0.0, 0.05, 0.3)),
            drain_s=random.choice((0.05, 0.3)),
            max_line_bytes=random.choice((64, 4096, 1024 * 1024)),
            buffer_bytes=BUFFER_BYTES,
        )
        until = min(self.ends_at, time.monotonic() + random.uniform(0.5, self.seconds / 3))
        with anyio.CancelScope() as scope:
            async with wrapper, anyio.create_task_group() as tasks:
                for _ in range(AT_ONCE):
                    tasks.start_soon(self.work, wrapper, until)
                if random.random() < 0.5:
                    # closed, or cancelled, under the children
                    await anyio.sleep(max(0.0, until - time.monotonic() - 0.2))
                    self.is_closing = True
                    scope.cancel()
        self.is_closing = False
        self.counts["wrappers"] += 1

    async def work(self, wrapper: SubprocessWrapper, until: float) -> None:
        while time.monotonic() < until:
            number = next(self.numbers)
            random = Random(f"{self.seed}/child/{number}")
            kind = random.choice(KINDS)(random)
            try:
                with anyio.fail_after(HANGS_AFTER_S):
                    await self.one(wrapper, kind, random)
            except TimeoutError:
                self.fault(kind, number, f"hangs for {HANGS_AFTER_S:g} s")
            except Exception as error:
                self.fault(kind, number, repr(error))
            self.counts["children"] += 1

    def fault(self, kind: Kind, number: int, text: str) -> None:
        self.faults.append(
            f"{self.mode.value} on {self.loop}, seed {self.seed}, child {number} ({kind.name}): {text}"
        )

    # --- one child -------------------------------------------------------------------------------------------------

    async def one(self, wrapper: SubprocessWrapper, kind: Kind, random: Random) -> None:
        must_be_ended = kind.returncode is None
        way = random.choice(("run", "read", "read", "leave"))
        if kind.long_line > 10_000_000:
            way = random.choice(("read", "leave"))
        end = random.choice(
            ("cancel", "timeout", "stop", "kill", "scope", *(() if must_be_ended else ("",) * 6))
        )
        delay_s = random.choice((0.0, 0.001, 0.01, 0.1, 0.5)) * random.random()
        self.counts[f"kind: {kind.name}"] += 1
        self.counts[f"end: {end or 'by itself'}"] += 1
        if end == "cancel" and self.loop != "trio":
            await self.cancel_natively(self.treat(wrapper, kind, way, "", None, random), delay_s, random)
        elif end in ("cancel", "scope"):
            with anyio.move_on_after(delay_s):
                await self.treat(wrapper, kind, way, "", None, random)
        else:
            await self.treat(wrapper, kind, way, end, delay_s if end else None, random)

    async def cancel_natively(self, body: Coroutine[Any, Any, None], delay_s: float, random: Random) -> None:
        """As asyncio cancels: once, or a second time while the first is at work."""
        task = asyncio.ensure_future(body)
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        if delay_s:
            await asyncio.wait([task], timeout=delay_s)
        else:
            for _ in range(random.randrange(6)):
                await asyncio.sleep(0)
        for _ in range(random.choice((1, 1, 2, 3))):
            task.cancel()
            await asyncio.sleep(0)
        done, _ = await asyncio.wait([task], timeout=HANGS_AFTER_S / 2)
        if not done:
            raise RuntimeError("a cancelled task does not come back")
        if not task.cancelled():
            task.result()

    async def treat(
        self,
        wrapper: SubprocessWrapper,
        kind: Kind,
        way: str,
        end: str,
        delay_s: float | None,
        random: Random,
    ) -> None:
        if way == "run" and end in ("", "timeout"):
            timeout_s = delay_s if end == "timeout" else None
            result = await wrapper.run(*kind.argv, stdin=kind.stdin, timeout_s=timeout_s, check=False)
            whole = len(result.stdout) + len(result.stderr) + result.dropped_bytes
            if not result.timed_out:
                self.check_code(kind, result.returncode)
                if result.dropped_bytes == 0 and not kind.holds_pipes:
                    self.check_all(kind, result.stdout, result.stderr)
            self.counts["bytes"] += whole
            return
        process, stdout, stderr = await wrapper.create_subprocess(
            *kind.argv, stdin=kind.stdin, timeout_s=delay_s if end == "timeout" else None
        )
        chunks = _Received(is_long_line=kind.long_line > 0)
        code = 0
        async with anyio.create_task_group() as tasks:
            if way != "leave":
                tasks.start_soon(self.read, stdout, chunks, random)
            if end in ("stop", "kill"):
                await anyio.sleep(delay_s or 0.0)
                if end == "kill":
                    process.kill()
                    process.kill()
                else:
                    await process.stop(random.choice((None, 0.0, 0.02)))
                    process.terminate()
            code = await process.wait()
        if not end:
            self.check_code(kind, code)
        chunks.add(await stdout.read())
        self.check_stream(kind, stdout, chunks, kind.stdout, end)
        if kind.long_line == 0 and kind.stdin is None:
            errors = _Received(is_long_line=False)
            errors.add(await stderr.read())
            self.check_stream(kind, stderr, errors, kind.stderr, end)

    async def read(self, stream: Stream, chunks: _Received, random: Random) -> None:
        """Read in one way or another, perhaps not to the end. Each chunk is one piece of the output."""
        stops_after = random.choice((math.inf, math.inf, 10, 1000))
        count = 0
        match random.choice(("batches", "readline", "read")):
            case "batches":
                async for batch in stream.batches():
                    for line in batch:
                        chunks.add(line + b"\n")
                    count += len(batch)
                    if count > stops_after:
                        break
            case "readline":
                while (line := await stream.readline()) and count < stops_after:
                    chunks.add(line)
                    count += 1
                chunks.add(line)
            case _:
                size = random.choice((1000, 65536))
                while (data := await stream.read(size)) and count < stops_after:
                    chunks.add(data)
                    count += 1
                chunks.add(data)

    # --- checks ----------------------------------------------------------------------------------------------------

    def check_code(self, kind: Kind, code: int) -> None:
        if code != kind.returncode and not self.is_closing:
            raise AssertionError(f"ended with {code} and not with {kind.returncode}")

    def check_all(self, kind: Kind, stdout: bytes, stderr: bytes) -> None:
        if kind.stdin is not None:
            good = stdout == kind.stdin
        elif kind.long_line:
            good = stdout == b"x" * kind.long_line
        else:
            good = stdout == expected(0, (kind.stdout or 0) * 10)
        if not good or stderr != expected(0, (kind.stderr or 0) * 10):
            raise AssertionError(f"{len(stdout)} and {len(stderr)} bytes are not what was written")

    def check_stream(
        self, kind: Kind, stream: Stream, chunks: _Received, lines: int | None, end: str
    ) -> None:
        """Every byte that came was written, in its place, and every other one was counted as dropped."""
        total, dropped = stream.total_bytes, stream.dropped_bytes
        self.counts["bytes"] += total
        self.counts["dropped bytes"] += dropped
        if stream.split_lines:
            return  # a piece of a long line looks like a line
        if len(chunks) == total - dropped + 1:
            chunks.drop_last_byte()  # an iterator gives a last line without its end, and this program gives it one
        if len(chunks) != total - dropped:
            raise AssertionError(f"{len(chunks)} bytes came and {dropped} were dropped, of {total}")
        if kind.stdin is not None:
            if not dropped and not kind.stdin.startswith(b"".join(chunks.pieces)):
                raise AssertionError("what came is not what was written")
        elif not kind.long_line:
            self.check_places(chunks.pieces, total, dropped)
        if not end and not kind.holds_pipes and not self.is_closing:
            written = kind.long_line or (
                len(kind.stdin) if kind.stdin is not None else (lines or 0) * LINE_BYTES
            )
            if total != written or not stream.complete:
                raise AssertionError(f"{total} bytes of {written}, complete: {stream.complete}")

    def check_places(self, pieces: list[bytes], total: int, dropped: int) -> None:
        at = missing = 0
        for piece in pieces:
            place = _place(piece, at)
            if place is None:
                return
            missing += place - at
            at = place + len(piece)
        if missing + total - at != dropped:
            raise AssertionError(
                f"{missing} bytes are missing and {dropped} were dropped, at {at} of {total}"
            )

    def after(self) -> None:
        """Nothing is left: no thread, no descriptor, no child, and no memory."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and (
            self.new_threads() or self.count_descriptors() > self.descriptors or _has_children()
        ):
            time.sleep(0.01)
        if self.new_threads():
            self.faults.append(f"threads are left: {self.new_threads()}")
        if self.count_descriptors() > self.descriptors:
            self.faults.append(f"{self.count_descriptors() - self.descriptors} descriptors are left")
        if _has_children():
            self.faults.append("there are children or zombies")
        if len(self.resident_kib) > 3:
            grown = self.resident_kib[-1] - min(self.resident_kib[: len(self.resident_kib) // 2])
            self.counts["grown KiB"] = max(0, grown)
            if grown > MAY_GROW_KIB:
                self.faults.append(f"memory has grown by {grown} KiB: {self.resident_kib}")

    def new_threads(self) -> set[threading.Thread]:
        return set(threading.enumerate()) - self.threads

    def count_descriptors(self) -> int:
        return len(os.listdir("/proc/self/fd"))


class _Received:
    """The pieces that came. Of one long line only their length is kept: it may have 100 MB."""

    def __init__(self, *, is_long_line: bool) -> None:
        self.pieces: list[bytes] = []
        self._is_long_line = is_long_line
        self._length = 0

    def add(self, data: bytes) -> None:
        self._length += len(data)
        if not self._is_long_line:
            self.pieces.append(data)
        elif data.strip(b"x\n"):
            raise AssertionError(f"{data[:40]!r}... is not what was written")

    def drop_last_byte(self) -> None:
        self._length -= 1
        for number in reversed(range(len(self.pieces))):
            if self.pieces[number]:
                self.pieces[number] = self.pieces[number][:-1]
                return

    def __len__(self) -> int:
        return self._length


def _place(piece: bytes, at: int) -> int | None:
    """Where in the output *piece* was written: at *at*, or behind a gap; None for the end of a line behind a gap."""
    if piece == expected(at, at + len(piece)):
        return at
    head = piece.find(b"\n") + 1
    number = piece[head : head + LINE_BYTES - 1]
    if head and len(number) < LINE_BYTES - 1:
        if not piece.strip().isdigit():
            raise AssertionError(f"{piece!r} is not what was written")
        return None
    place = int(number) * LINE_BYTES - head
    if place < at or piece != expected(place, place + len(piece)):
        raise AssertionError(f"{piece[:40]!r}... is not what was written at {place}, after {at}")
    return place


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return 0


def _resident_kib() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def main() -> int:
    seed, seconds, mode, loop = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who started it ends it
    server = Server(seed, float(seconds), RunMode(mode), loop)
    server.run()
    print(json.dumps({"counts": server.counts, "faults": server.faults}))
    return 1 if server.faults else 0


if __name__ == "__main__":
    sys.exit(main())
