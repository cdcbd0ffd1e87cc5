"""Reading: nothing is lost to a reader, and nobody is held up by a stream that is not read."""

from __future__ import annotations

import gc
import subprocess
import sys

import anyio
import pytest

from offloop import PIPE, RunMode, SettingsError, Stream, SubprocessWrapper, UsageError
from offloop.output import HIGH_WATER
from tests.contract.children import CAT, ON_WINDOWS, READY_THEN_SLEEP, prints, python
from tests.contract.conftest import Place

COUNTS = python("import sys; sys.stdout.writelines(f'{i}\\n' for i in range(50_000))")
EXPECTED = [str(i).encode() for i in range(50_000)]


async def until(condition) -> None:
    """Let the loop run until *condition* is true; the test's deadline is the limit."""
    while not condition():
        await anyio.sleep(0.005)


@pytest.mark.parametrize("way", ["lines", "batches", "readline", "text", "read"])
def test_every_line_arrives_once_and_in_order(place: Place, way: str) -> None:
    """Whichever way a stream is read, all of it arrives, in order."""

    async def body() -> None:
        async with place.wrapper() as wrapper:
            process, stdout, _ = await wrapper.create_subprocess(*COUNTS)
            lines: list[bytes] = []
            match way:
                case "lines":
                    lines = [line async for line in stdout]
                case "batches":
                    async for batch in stdout.batches():
                        lines += batch
                case "readline":
                    while line := await stdout.readline():
                        lines.append(line.rstrip(b"\r\n"))
                case "text":
                    lines = [line.encode() async for line in stdout.text_lines()]
                case _:
                    lines = (await stdout.read()).splitlines()

            assert lines == EXPECTED
            assert await process.wait() == 0
            assert (stdout.complete, stdout.dropped_bytes, stdout.split_lines) == (True, 0, 0)

    place.run(body)


def test_unread_stderr_never_freezes_the_child(place: Place) -> None:
    """A child that writes 1 MB to a stderr that nobody reads goes on and writes to stdout."""

    async def body() -> None:
        async with place.wrapper() as wrapper:
            process, stdout, stderr = await wrapper.create_subprocess(*prints(err=1_024_000, out=64))

            assert [line async for line in stdout] == [b"o" * 63]
            assert await process.wait() == 0
            assert stderr.total_bytes == 1_024_000

    place.run(body)


def test_unread_streams_do_not_hold_up_wait(place: Place) -> None:
    """wait() returns although nobody reads, and the output can be read afterwards."""

    async def body() -> None:
        async with place.wrapper() as wrapper:
            process, stdout, stderr = await wrapper.create_subprocess(*prints(out=1_024_000, err=1_024_000))

            assert await process.wait() == 0
            assert len(await stdout.read()) == len(await stderr.read()) == 1_024_000

    place.run(body)


def test_wait_between_two_reads_does_not_freeze(place: Place) -> None:
    """After one readline(), wait() lets the rest come, whatever its size."""

    async def body() -> None:
        async with place.wrapper() as wrapper:
            process, stdout, _ = await wrapper.create_subprocess(*prints(out=6_400_000))
            first = await stdout.readline()

            assert await process.wait() == 0
            assert len(first) + len(await stdout.read()) == 6_400_000

    place.run(body)


def test_slow_reader_holds_up_the_child_and_loses_nothing(place: Place) -> None:
    """While an iterator lives, a child that writes faster than it is read waits; memory stays flat."""

    async def body() -> None:
        async with place.wrapper(buffer_bytes=1000) as wrapper:
            process, stdout, _ = await wrapper.create_subprocess(*prints(out=6_400_000))
            lines = aiter(stdout)
            assert await anext(lines)
            await until(lambda: stdout.total_bytes > HIGH_WATER)
            await anyio.sleep(0.2)
            held_up_at = stdout.total_bytes
            rest = [line async for line in lines]

            # Proactor reads 256 KiB at once, and one read is under way when the pipe is paused.
            assert held_up_at < 3 * HIGH_WATER + 200_000
            assert len(rest) == 99_999
            assert (await process.wait(), stdout.dropped_bytes) == (0, 0)

    place.run(body)


WRITES_WHEN_TOLD = """
import os, sys
os.write(1, b"first\\n")
sys.stdin.readline()
for _ in range(50):
    os.write(1, b"x" * 65_535 + b"\\n")
"""


def test_reader_that_is_collected_at_the_pause_does_not_hold_up_the_child(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The garbage collector may come between the answer to pause a pipe and the pause, and end the only iterator."""
    feed, garbage = Stream.feed, list[object]()

    def feed_and_collect(stream: Stream, data: bytes) -> bool:
        pause = feed(stream, data)
        if pause and garbage:
            garbage.clear()
            gc.collect()
        return pause

    async def body() -> None:
        async with place.wrapper() as wrapper:
            process, stdout, _ = await wrapper.create_subprocess(*python(WRITES_WHEN_TOLD), stdin=PIPE)
            lines = aiter(stdout)
            assert await anext(lines) == b"first"
            circle: list[object] = [lines]
            circle.append(circle)
            garbage.append(circle)
            del lines, circle
            assert process.stdin is not None
            await process.stdin.write(b"go\n")

            assert await process.wait() == 0
            assert garbage == []

    monkeypatch.setattr(Stream, "feed", feed_and_collect)
    gc.disable()
    try:
        place.run(body)
    finally:
        gc.enable()


def test_slow_reader_gets_what_was_left_in_the_pipe(place: Place) -> None:
    """A reader slower than drain_s still gets everything that an exited child has written."""

    async def body() -> None:
        async with place.wrapper(drain_s=0.1) as wrapper:
            process, stdout, _ = await wrapper.create_subprocess(*prints(out=320_000))
            lines = aiter(stdout)
            assert await anext(lines)
            await process.wait()
            await anyio.sleep(0.3)

            assert len([line async for line in lines]) == 4_999
            assert (stdout.complete, stdout.dropped_bytes) == (True, 0)

    place.run(body)


def test_dropped_iterator_frees_the_child_and_keeps_what_came(place: Place) -> None:
    """After break the child is not held up, and what has arrived can still be read."""

    async def body() -> None:
        async with place.wrapper() as wrapper:
            process, stdout, _ = await wrapper.create_subprocess(*COUNTS)
            seen: list[bytes] = []
            async for line in stdout:
                seen.append(line)
                if len(seen) == 10:
                    break
            assert await process.wait() == 0
            seen += [line async for line in stdout]

            assert seen == EXPECTED

    place.run(body)


def test_discard_counts_what_is_dropped(place: Place) -> None:
    """After discard() only the newest buffer_bytes are kept, also under a living iterator."""

    async def body() -> None:
        async with place.wrapper(buffer_bytes=10_000) as wrapper:
            process, stdout, _ = await wrapper.create_subprocess(*prints(out=3_200_000))
            lines = aiter(stdout)
            assert await anext(lines)
            stdout.discard()

            assert await process.wait() == 0
            await until(lambda: stdout.complete)
            assert stdout.dropped_bytes >= 3_200_000 - 10_000 - 2 * HIGH_WATER
            del lines

    place.run(body)


def test_long_line_comes_in_pieces(place: Place) -> None:
    """A line longer than max_line_bytes is delivered in pieces, and the stream goes on."""

    async def body() -> None:
        async with place.wrapper(max_line_bytes=1000) as wrapper:
            _, stdout, _ = await wrapper.create_subprocess(*python("print('x' * 2500); print('after')"))

            assert [len(line) async for line in stdout] == [1000, 1000, 500, 5]
            assert stdout.split_lines == 1

    place.run(body)


def test_line_of_megabytes_does_not_lock_up(place: Place) -> None:
    """A line longer than what is held for a reader arrives whole if max_line_bytes allows it."""

    async def body() -> None:
        async with place.wrapper(max_line_bytes=10_000_000) as wrapper:
            _, stdout, _ = await wrapper.create_subprocess(*python("print('x' * 5_000_000)"))

            assert [len(line) async for line in stdout] == [5_000_000]

    place.run(body)


def test_text_is_decoded_whatever_comes(place: Place) -> None:
    """Bytes that are not UTF-8 become replacement characters, and never an exception."""

    async def body() -> None:
        async with place.wrapper() as wrapper:
            code = "import sys; sys.stdout.buffer.write('gr\\xfc\\xdfe\\n'.encode() + b'\\xff\\xfe\\nno end')"
            _, stdout, _ = await wrapper.create_subprocess(*python(code))

            assert [line async for line in stdout.text_lines()] == ["gr\xfc\xdfe", "\ufffd\ufffd", "no end"]
            with pytest.raises(SettingsError):
                stdout.text_lines("utf-16")

    place.run(body)


def test_readline_keeps_the_line_end(place: Place) -> None:
    """readline() returns lines with their ends, and b"" at the end, as asyncio does."""

    async def body() -> None:
        async with place.wrapper() as wrapper:
            code = "import sys; sys.stdout.buffer.write(b'unix\\nwindows\\r\\n\\nlast')"
            _, stdout, _ = await wrapper.create_subprocess(*python(code))
            lines = [await stdout.readline() for _ in range(6)]

            assert lines == [b"unix\n", b"windows\r\n", b"\n", b"last", b"", b""]

    place.run(body)


def test_two_readers_of_one_stream_are_told(place: Place) -> None:
    """A second task that reads the same stream at the same time gets a UsageError."""

    async def body() -> None:
        async with place.wrapper() as wrapper:
            process, stdout, _ = await wrapper.create_subprocess(*READY_THEN_SLEEP)
            await stdout.readline()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stdout.readline)
                await anyio.sleep(0.05)
                with pytest.raises(UsageError):
                    await stdout.readline()
                process.kill()

    place.run(body)


def test_stdin_pipe_answers_line_by_line(place: Place) -> None:
    """With stdin=PIPE a conversation is possible; aclose() ends it, and writing on is a BrokenPipeError."""

    async def body() -> None:
        async with place.wrapper() as wrapper:
            code = "import sys\nfor line in sys.stdin: print(line.strip().upper(), flush=True)"
            process, stdout, _ = await wrapper.create_subprocess(*python(code), stdin=PIPE)
            assert process.stdin is not None
            for word in (b"one", b"two"):
                await process.stdin.write(word + b"\n")
                assert (await stdout.readline()).strip() == word.upper()
            await process.stdin.aclose()
            await process.stdin.aclose()

            assert await process.wait() == 0
            with pytest.raises(BrokenPipeError):
                await process.stdin.write(b"three\n")

    place.run(body)


def test_the_child_sets_the_pace_of_writing(place: Place) -> None:
    """write() waits while the child does not read."""

    async def body() -> None:
        async with place.wrapper() as wrapper:
            process, stdout, _ = await wrapper.create_subprocess(*READY_THEN_SLEEP, stdin=PIPE)
            await stdout.readline()
            written = 0
            stdin = process.stdin
            assert stdin is not None

            async def write() -> None:
                nonlocal written
                with pytest.raises(BrokenPipeError):  # noqa: PT012
                    while True:
                        await stdin.write(b"x" * 65536)
                        written += 65536

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(write)
                await anyio.sleep(0.3)
                assert written <= 1_000_000
                process.kill()

    place.run(body)


def test_large_input_through_the_pipe(place: Place) -> None:
    """3 MB written in one call come back while they are read."""

    async def body() -> None:
        async with place.wrapper() as wrapper:
            process, stdout, _ = await wrapper.create_subprocess(*CAT, stdin=PIPE)
            stdin = process.stdin
            assert stdin is not None

            async def write() -> None:
                await stdin.write(b"y" * 3_000_000)
                await stdin.aclose()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(write)
                assert len(await stdout.read()) == 3_000_000

    place.run(body)


@pytest.mark.slow
@pytest.mark.skipif(ON_WINDOWS, reason="there is no peak of memory to read under Wine")
@pytest.mark.parametrize("mode", ["async", "threaded"])
def test_memory_is_flat_while_100_megabytes_stream(mode: str) -> None:
    """Streaming 100 MB takes less than 8 MB more memory at its peak."""
    program = f"""
import asyncio, resource, sys
from offloop import SubprocessWrapper
CHILD = "import sys\\nfor _ in range(100): sys.stdout.buffer.write((b'x' * 99 + b'\\\\n') * 10_000)"
async def main():
    async with SubprocessWrapper({mode!r}) as wrapper:
        await wrapper.run(sys.executable, "-c", "print(1)")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        _, stdout, _ = await wrapper.create_subprocess(sys.executable, "-c", CHILD)
        lines = 0
        async for batch in stdout.batches():
            lines += len(batch)
        print(lines, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
asyncio.run(main())
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    lines, grown_kib = map(int, ran.stdout.split())

    assert lines == 1_000_000
    assert grown_kib < 8 * 1024


def test_an_event_for_the_first_output_and_for_what_was_dropped(place: Place) -> None:
    """Started, FirstOutput, Ended and Dropped are told once each, in the mode they happened in."""
    from offloop import events

    seen: list[events.Event] = []

    async def body() -> None:
        unsubscribe = events.subscribe(seen.append)
        async with place.wrapper(buffer_bytes=1000) as wrapper:
            process, _, _ = await wrapper.create_subprocess(*prints(out=6400))
            await process.wait()
        await until(lambda: len(seen) >= 4)
        unsubscribe()

    place.run(body)
    kinds = [type(event).__name__ for event in seen if event.mode == place.mode.value]

    assert sorted(kinds) == ["Dropped", "Ended", "FirstOutput", "Started"]
    assert kinds[0] == "Started"


WAYS_TO_READ = ["async for", "batches", "readline", "read", "text_lines"]


@pytest.mark.parametrize("way", WAYS_TO_READ)
def test_a_program_that_writes_faster_than_it_is_read(place: Place, way: str) -> None:
    """There is always more, and still the other tasks of the loop have their turns, the one that stops it as well."""
    endless = python("import sys\nblock = 'y\\n' * 32768\nwhile True: sys.stdout.write(block)")
    turns = 0

    async def read(stream: Stream) -> None:
        match way:
            case "async for":
                async for _ in stream:
                    pass
            case "batches":
                async for batch in stream.batches():
                    sum(len(line) for line in batch)  # slower than the program
            case "readline":
                while await stream.readline():
                    pass
            case "read":
                while await stream.read(100):
                    pass
            case _:
                async for _ in stream.text_lines():
                    pass

    async def body() -> None:
        nonlocal turns
        async with place.wrapper(grace_s=0.1) as wrapper:
            process, stdout, _ = await wrapper.create_subprocess(*endless)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read, stdout)
                while stdout.total_bytes < (400_000 if ON_WINDOWS else 4_000_000):  # Wine is slow
                    await anyio.sleep(0.001)
                    turns += 1
                await process.stop(0)

    place.run(body)
    assert turns >= 3


def test_a_character_that_the_end_cuts_off(place: Place) -> None:
    """text_lines() replaces it; nothing of the output vanishes."""

    async def body() -> None:
        async with place.wrapper() as wrapper:
            half = python("import sys; sys.stdout.buffer.write(b'abc\\xe2\\x82')")
            _, stdout, _ = await wrapper.create_subprocess(*half)
            assert "".join([line async for line in stdout.text_lines()]) == "abc\ufffd"

    place.run(body)


@pytest.mark.parametrize("wrong", [{"encoding": "undefined"}, {"encoding": None}, {"errors": "nonsense"}])
def test_text_of_a_kind_that_there_is_not(wrong: dict[str, str]) -> None:
    """Is refused before a line is taken."""

    async def body() -> None:
        async with SubprocessWrapper(RunMode.THREADED) as wrapper:
            _, stdout, _ = await wrapper.create_subprocess(*prints(out=10))
            with pytest.raises(SettingsError):
                stdout.text_lines(**wrong)

    Place(RunMode.THREADED, "asyncio").run(body)


@pytest.mark.parametrize("data", ["text", 5, None])
def test_writing_what_is_no_bytes(place: Place, data: object) -> None:
    """Is an error at once, and the process reads on."""

    async def body() -> None:
        async with place.wrapper() as wrapper:
            process, stdout, _ = await wrapper.create_subprocess(*CAT, stdin=PIPE)
            assert process.stdin is not None
            with pytest.raises(UsageError):
                await process.stdin.write(data)  # type: ignore[arg-type]  # pyright: ignore
            await process.stdin.write(b"bytes")
            await process.stdin.aclose()
            assert await stdout.read() == b"bytes"

    place.run(body)
