"""Output: the rules of a stream, without any process."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections import deque

import pytest

from offloop.errors import SettingsError
from offloop.output import HIGH_WATER, Stream


class Pipe:
    """Stands for the pipe of a process: counts how often it was let go on."""

    def __init__(self, *, max_line_bytes: int = 100, buffer_bytes: int = 1000) -> None:
        self.resumed = 0
        self.cancellations = 0
        self.stream = Stream(
            max_line_bytes=max_line_bytes,
            buffer_bytes=buffer_bytes,
            owner=self,
        )

    def resume(self, stream: Stream) -> None:
        self.resumed += 1

    def check_program(self) -> None:
        pass

    async def cancelled(self) -> None:
        self.cancellations += 1


@pytest.mark.parametrize("seed", range(20))
def test_any_mixture_of_reads_gives_the_same_bytes(seed: int) -> None:
    """Chunks of any size, read in any mixture of ways, come out as they went in."""
    dice = random.Random(seed)
    data = bytes(dice.choice(b"ab\n\r") for _ in range(3000))

    async def body() -> bytes:
        stream = Pipe(max_line_bytes=dice.randint(1, 50), buffer_bytes=1_000_000).stream
        rest, got = data, b""
        while rest:
            size = dice.randint(1, 200)
            stream.feed(rest[:size])
            rest = rest[size:]
        stream.end(complete=True)
        while True:
            if dice.random() < 0.5:
                part = await stream.readline()
            elif dice.random() < 0.5:
                part = await stream.read(dice.randint(1, 300))
            else:
                # An iterator that is dropped after one line, whose end it does not tell.
                before = stream.take_all()
                stream._chunks = deque([before])
                stream._held = len(before)
                async for _ in stream:
                    break
                after = stream.take_all()
                part = before[: len(before) - len(after)]
                stream._chunks = deque([after])
                stream._held = len(after)
            if not part:
                return got
            got += part

    assert asyncio.run(body()) == data


def test_oldest_bytes_are_dropped_when_nobody_reads() -> None:
    """Unread, the newest bytes stay, to the byte."""
    pipe = Pipe(buffer_bytes=10)
    for number in range(100):
        assert not pipe.stream.feed(b"%02d" % number)

    assert (pipe.stream.total_bytes, pipe.stream.dropped_bytes) == (200, 190)
    assert pipe.stream.take_all() == b"9596979899"


def test_reader_pauses_the_pipe_and_lets_it_go_on() -> None:
    """Above the high-water mark the pipe is paused; reading what is held lets it go on, once."""

    async def body() -> None:
        pipe = Pipe()
        lines = aiter(pipe.stream)
        assert not pipe.stream.feed(b"x\n" * (HIGH_WATER // 2))
        assert pipe.stream.feed(b"x\n")
        for _ in range(HIGH_WATER // 2 + 1):
            assert await anext(lines) == b"x"
        assert pipe.resumed == 1
        del lines

    asyncio.run(body())


def test_what_a_paused_pipe_still_brings_does_not_make_it_forgotten() -> None:
    """A loop hands on what it had read before the pause: below the mark again, the pipe is still paused, and goes on."""

    async def body() -> None:
        pipe = Pipe()
        pipe.stream.iterator_made()
        assert pipe.stream.feed(b"x" * (HIGH_WATER + 1))
        assert await pipe.stream.read(HIGH_WATER)
        assert pipe.stream.feed(b"y")
        assert pipe.resumed == 0
        assert await pipe.stream.read(HIGH_WATER) == b"xy"
        assert pipe.resumed == 1
        assert not pipe.stream.feed(b"z")

    asyncio.run(body())


@pytest.mark.parametrize("way", ["read", "readline"])
def test_pipe_that_was_paused_during_a_read_goes_on_after_it(way: str) -> None:
    """A pipe that was paused while a task waited for output goes on when that read is over and somebody waits for the
    end: there may be no other read."""

    async def body() -> None:
        pipe = Pipe()
        pipe.stream.begin_drain()
        reading = asyncio.ensure_future(pipe.stream.read(10) if way == "read" else pipe.stream.readline())
        await asyncio.sleep(0)
        assert pipe.stream.feed(b"x\n" * HIGH_WATER)  # more comes than the task takes when it wakes up
        await reading

        assert pipe.resumed == 1

    asyncio.run(body())


class FedDuringTake(Stream):
    """A stream to which another thread adds at the worst moment: a read has waited, and has not taken yet."""

    def __init__(self, owner: Pipe) -> None:
        super().__init__(max_line_bytes=100, buffer_bytes=10, owner=owner)
        self.more = b""

    def _take(self, n: int) -> bytes:
        more, self.more = self.more, b""
        if more:
            self.feed(more)
        return super()._take(n)


@pytest.mark.parametrize("way", ["read", "read all", "readline"])
def test_nothing_is_dropped_while_a_read_is_under_way(way: str) -> None:
    """Not between the end of its waiting and its taking, either, whatever *buffer_bytes*, and whoever waits for the end."""

    async def body() -> None:
        stream = FedDuringTake(Pipe())
        stream.begin_drain()
        stream.more = b"y" * 30 + b"\n"
        read = stream.readline() if way == "readline" else stream.read(-1 if way == "read all" else 1_000)
        reading = asyncio.ensure_future(read)
        await asyncio.sleep(0)
        stream.feed(b"x" * 10)
        await asyncio.sleep(0)
        stream.end(complete=True)

        assert await reading == b"x" * 10 + b"y" * 30 + b"\n"
        assert stream.dropped_bytes == 0

    asyncio.run(body())


def test_pipe_goes_on_when_its_reader_is_thrown_away() -> None:
    """A coroutine that is never resumed, as those of a loop that has ended."""

    async def body() -> None:
        pipe = Pipe()
        pipe.stream.begin_drain()
        thrown_away = pipe.stream.read(10)
        thrown_away.send(None)
        assert pipe.stream.feed(b"x" * (HIGH_WATER + 1))
        thrown_away.close()

        assert pipe.resumed == 1

    asyncio.run(body())


@pytest.mark.parametrize("how", ["drop the iterator", "discard", "wait"])
def test_paused_pipe_goes_on_when_nobody_reads_any_more(how: str) -> None:
    """A paused pipe is let go on when its reader leaves."""

    async def body() -> None:
        pipe = Pipe()
        pipe.stream.feed(b"x\n")
        readers = [aiter(pipe.stream)]
        if how == "wait":
            readers.clear()
            await pipe.stream.readline()
        assert pipe.stream.feed(b"x" * (HIGH_WATER + 1))
        match how:
            case "drop the iterator":
                readers.clear()
            case "discard":
                pipe.stream.discard()
            case _:
                pipe.stream.begin_drain()

        assert pipe.resumed == 1
        assert not pipe.stream.feed(b"y" * HIGH_WATER)

    asyncio.run(body())


def test_cancelled_reader_tells_its_process() -> None:
    """A reader that is cancelled while it waits tells so; the stream can be read on."""

    async def body() -> None:
        pipe = Pipe()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pipe.stream.readline(), 0.01)
        pipe.stream.feed(b"later\n")

        assert pipe.cancellations == 1
        assert await pipe.stream.readline() == b"later\n"

    asyncio.run(body())


def test_character_split_between_pieces_is_decoded() -> None:
    """A character of several bytes at the edge of a piece, or of a chunk, stays whole."""

    async def body() -> str:
        pipe = Pipe(max_line_bytes=3)
        data = "\u20ac\xe4\u20ac\u20ac".encode()
        for byte in data:
            pipe.stream.feed(bytes([byte]))
        pipe.stream.feed(b"\r\n")
        pipe.stream.end(complete=True)
        return "".join([piece async for piece in pipe.stream.text_lines()])

    assert asyncio.run(body()) == "\u20ac\xe4\u20ac\u20ac"


def test_half_a_character_does_not_leak_into_the_next_line() -> None:
    """A line that ends inside of a character ends with a replacement character."""

    async def body() -> list[str]:
        pipe = Pipe()
        pipe.stream.feed(b"a\xe2\x82\nb\n")
        pipe.stream.end(complete=True)
        return [line async for line in pipe.stream.text_lines()]

    assert asyncio.run(body()) == ["a\ufffd", "b"]


def test_lone_carriage_return_belongs_to_the_line() -> None:
    """Only a \\r before the \\n is part of the line end."""

    async def body() -> list[bytes]:
        pipe = Pipe()
        pipe.stream.feed(b"10%\r20%\r\nlast\r")
        pipe.stream.end(complete=True)
        return [line async for line in pipe.stream]

    assert asyncio.run(body()) == [b"10%\r20%", b"last\r"]


def test_text_of_a_file_with_a_mark() -> None:
    """The mark at the start of "utf-8-sig" is no part of the first line; an unknown encoding is an error of ours."""

    async def body() -> list[str]:
        stream = Pipe().stream
        stream.feed("gr\xfc\xdfe\nzwei\n".encode("utf-8-sig"))
        stream.end(complete=True)
        with pytest.raises(SettingsError):
            stream.text_lines("no-such-encoding")
        return [line async for line in stream.text_lines("utf-8-sig")]

    assert asyncio.run(body()) == ["gr\xfc\xdfe", "zwei"]


@pytest.mark.parametrize("reads", ["readline", "iterator after discard"])
def test_filled_in_one_thread_and_read_in_another(reads: str) -> None:
    """While the stream is lossy, no line is lost uncounted, and none comes before an older one."""
    pipe = Pipe(buffer_bytes=10_000_000)
    lines = 100_000

    def fill() -> None:
        for start in range(0, lines, 100):
            pipe.stream.feed(b"".join(b"%07d\n" % number for number in range(start, start + 100)))
        pipe.stream.end(complete=True)

    async def main() -> list[int]:
        if reads == "readline":
            pipe.stream.begin_drain()
            found: list[int] = []
            while line := await pipe.stream.readline():
                found.append(int(line))
            return found
        pipe.stream.discard()
        return [int(line) async for line in pipe.stream]

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    filler = threading.Thread(target=fill)
    filler.start()
    try:
        assert asyncio.run(main()) == list(range(lines))
    finally:
        sys.setswitchinterval(interval_s)
        filler.join()
    assert pipe.stream.dropped_bytes == 0
