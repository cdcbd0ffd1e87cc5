"""From bytes to lines: bounded buffers, batches, long lines, decoding.

A ``Stream`` is filled by whoever follows the process, in whichever thread, and read by one task.

- While somebody reads, it is lossless: with more than ``HIGH_WATER`` bytes held it asks for its pipe to be paused.
- While nobody reads, it never holds up the process: it takes everything, keeps the newest *buffer_bytes* and
  counts the rest in ``dropped_bytes``.

A line is what ends with ``\\n``; a ``\\r`` before that belongs to its end.
"""

from __future__ import annotations

import codecs
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from offloop.errors import SettingsError, UsageError
from offloop.loops import Latch, checkpoint

__all__ = ("HIGH_WATER", "Batches", "Lines", "Stream", "StreamOwner", "TextLines")

HIGH_WATER = 256 * 1024
"""Bytes that a stream holds for its reader before the pipe is paused."""

# Where another thread fills a stream as fast as its reader takes from it, there is always more, and the reader would never
# let go of its loop: so it does after this time, or when it has worked off a stride.
_TURN_S = 0.005
_STRIDE_BYTES = 64 * 1024


# An empty deque takes 750 bytes, and most children have four with nothing in them. Never filled: see where it is replaced.
_NOTHING: deque[bytes] = deque()


class _Piece(bytes):
    """A part of a line after which no line end came: the line was too long, or the last one had none."""

    __slots__ = ()


def _without_cr(line: bytes) -> bytes:
    return line[:-1] if line[-1:] == b"\r" and not isinstance(line, _Piece) else line


class _LineSplitter:
    """Cuts bytes into lines without their ``\\n``; what exceeds *limit* bytes comes in pieces.

    Attributes:
        ready: Lines that have been cut and not been delivered, oldest first.
        has_cr: Whether a ``\\r`` was seen, so that lines may end with one.
        split_lines: Lines that came in pieces.
    """

    __slots__ = ("_begun", "_begun_bytes", "_limit", "has_cr", "ready", "split_lines")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._begun: list[bytes] = []  # a line whose end has not come: joined once, not at every arrival
        self._begun_bytes = 0
        self.ready: deque[bytes] = _NOTHING
        self.has_cr: bool = False
        self.split_lines: int = 0

    def feed(self, data: bytes) -> None:
        self.has_cr = self.has_cr or b"\r" in data
        lines = data.split(b"\n")
        begins = lines.pop()
        may_be_long = self._begun_bytes + len(data) > self._limit
        if lines and self._begun:
            lines[0] = self.take_begun() + lines[0]
        if may_be_long:
            lines = [piece for line in lines for piece in self._cut(line)]
        if begins:
            lines += self._begin(begins)
        self.ready = deque(lines) if not self.ready else self.ready + deque(lines)

    def _begin(self, data: bytes) -> list[bytes]:
        self._begun.append(data)
        self._begun_bytes += len(data)
        if self._begun_bytes <= self._limit:
            return []
        *pieces, rest = self._cut(self.take_begun())
        self._begun, self._begun_bytes = [rest], len(rest)
        return pieces

    def _cut(self, line: bytes) -> list[bytes]:
        if len(line) <= self._limit:
            return [line]
        self.split_lines += 1
        *starts, last = range(0, len(line), self._limit)
        return [*(_Piece(line[start : start + self._limit]) for start in starts), line[last:]]

    @property
    def holds_any(self) -> bool:
        """Whether there is anything between feeding and delivery."""
        return bool(self.ready or self._begun)

    def end(self) -> None:
        """Make a line of what has begun: no end of it will come."""
        if rest := self.take_begun():
            self.ready = deque([*self.ready, _Piece(rest)])

    def take_begun(self) -> bytes:
        begun = b"".join(self._begun)
        self._begun, self._begun_bytes = [], 0
        return begun


class StreamOwner(Protocol):
    """Who follows the process that writes to a stream."""

    def resume(self, stream: Stream) -> None:
        """Read on from the pipe of *stream*, which was paused. Called from any thread."""
        ...

    def check_program(self) -> None:
        """Raise UsageError in a fork of the program that started the process."""
        ...

    async def cancelled(self) -> None:
        """A task was cancelled while it waited for output."""
        ...


class Stream:
    """What a process writes to one of its outputs.

    Read it with ``async for line in stream`` (bytes without the line end), or with one of the methods. One task reads
    at a time. A task that is cancelled while it waits here ends the process with its whole tree.

    A line longer than *max_line_bytes* comes in pieces of at most that size, and is counted in ``split_lines``.
    """

    __slots__ = (
        "_buffer_bytes",
        "_chunks",
        "_discarded",
        "_drains",
        "_dropped_bytes",
        "_ended",
        "_held",
        "_is_read",
        "_iterators",
        "_lock",
        "_offset",
        "_owner",
        "_paused",
        "_reads",
        "_splitter",
        "_total_bytes",
        "_turn_ends_at",
        "_waiting",
        "complete",
    )

    def __init__(
        self,
        *,
        max_line_bytes: int,
        buffer_bytes: int,
        owner: StreamOwner,
    ) -> None:
        """
        Args:
            max_line_bytes: Longest line that comes whole.
            buffer_bytes: What is kept of a stream that nobody reads.
            owner: Who follows the process.
        """
        self._buffer_bytes = buffer_bytes
        self._owner = owner
        # Reentrant: an iterator that is collected inside of the lock takes it, too.
        self._lock = threading.RLock()
        self._chunks: deque[bytes] = _NOTHING  # what has arrived; of the first, the bytes from _offset on
        self._offset = 0
        self._held = 0  # bytes in _chunks
        self._splitter = _LineSplitter(max_line_bytes)  # what is in there is older than _chunks
        self._waiting: Latch | None = None
        self._iterators = 0
        self._reads = 0  # read() and readline() that are under way
        self._is_read = False
        self._drains = 0
        self._discarded = False
        self._paused = False
        self._ended = False
        self._total_bytes = 0
        self._turn_ends_at = 0.0
        self._dropped_bytes = 0
        self.complete: bool = False
        """Whether the end of the stream was seen. False while it is open, and for ever if it was given up because a
        descendant still held the pipe *drain_s* after the exit."""

    @property
    def total_bytes(self) -> int:
        """Bytes that have arrived."""
        return self._total_bytes

    @property
    def dropped_bytes(self) -> int:
        """Bytes that have been dropped because nobody read them."""
        return self._dropped_bytes

    @property
    def split_lines(self) -> int:
        """Lines that came in pieces."""
        return self._splitter.split_lines

    # --- reading ---------------------------------------------------------------------------------------------------

    def __aiter__(self) -> Lines:
        """Iterate over lines, bytes without their ends.

        To drop the iterator, as ``break`` does, loses nothing that has arrived: go on with any of the methods. But while
        nobody reads, only the newest *buffer_bytes* are kept.
        """
        return Lines(self, self._splitter, self._split_more)

    def batches(self) -> Batches:
        """An async iterator of lists of lines, bytes without their ends, as many as have arrived. The fast way."""
        return Batches(self, self._splitter, self._split_more)

    def text_lines(self, encoding: str = "utf-8", errors: str = "replace") -> TextLines:
        """An async iterator of lines as str.

        Raises:
            SettingsError: There is no such encoding, or in this encoding (UTF-16, for example) a line end is not one byte: use ``read()``, and decode
                the whole.
        """
        try:
            fits = "\n\n".encode(encoding).endswith(b"\n\n")  # after the mark of "utf-8-sig"
        except (LookupError, TypeError, UnicodeError):
            fits = False
        if not fits:
            raise SettingsError(
                "encoding", encoding, allowed="known encodings in which a line end is the one byte 0x0A"
            )
        try:
            codecs.lookup_error(errors)
        except (LookupError, TypeError):
            raise SettingsError("errors", errors, allowed="names that codecs.lookup_error() knows") from None
        decoder = codecs.getincrementaldecoder(encoding)(errors)
        return TextLines(self, self._splitter, self._split_more, decoder)

    async def readline(self) -> bytes:
        """The next line with its end; a piece, or a last line, without one; ``b""`` at the end."""
        # Under the lock, unlike in an iterator: between two calls of this the stream may be lossy, and then whoever fills it
        # makes bytes again of the lines.
        line = self._next_line()
        if line is None:
            self._begin_read()
            try:
                while (line := self._next_line()) is None:
                    if not await self._split_more():
                        return b""
            finally:
                self._end_read()
        return bytes(line) if isinstance(line, _Piece) else line + b"\n"

    async def read(self, n: int = -1) -> bytes:
        """At most *n* bytes, as soon as there are any; if *n* is negative all up to the end; ``b""`` at the end."""
        self._begin_read()
        try:
            if n >= 0:
                return self._take(n) if n and await self._wait_for_more(whole_lines=False) else b""
            parts: list[bytes] = []
            while await self._wait_for_more(whole_lines=False):
                parts.append(self._take(self._held))
            return b"".join(parts)
        finally:
            self._end_read()

    def discard(self) -> None:
        """Say that nobody will read on: from now on the stream never holds up the process."""
        with self._lock:
            self._discarded = True
        self._resume_if_lossy()

    def _next_line(self) -> bytes | None:
        with self._lock:
            return self._splitter.ready.popleft() if self._splitter.ready else None

    async def _split_more(self) -> bool:
        """Wait for output and make lines of it. False at the end."""
        more = await self._wait_for_more(whole_lines=True)
        with self._lock:
            if more:
                self._splitter.feed(self._take(min(self._held, _STRIDE_BYTES)))
            else:
                self._splitter.end()
            return more or bool(self._splitter.ready)

    async def _wait_for_more(self, *, whole_lines: bool) -> bool:
        """Wait until bytes are held. False at the end.

        Unless *whole_lines*, what was made lines already is made bytes again.
        """
        while True:
            with self._lock:
                if self._waiting is not None:
                    raise UsageError(
                        "Two tasks read one stream at the same time.",
                        "Read in one of them, and hand the lines on.",
                    )
                self._is_read = True
                if not whole_lines:
                    self._flatten()
                is_my_turn = time.monotonic() < self._turn_ends_at
                if is_my_turn and (self._held or self._ended):
                    return self._held > 0
                self._owner.check_program()
                self._waiting = waiting = Latch()
            try:
                if is_my_turn:
                    await waiting.wait()
                else:
                    await checkpoint()
                self._turn_ends_at = time.monotonic() + _TURN_S
            except GeneratorExit:  # the coroutine is being thrown away, it may not await
                raise
            except BaseException:
                await self._owner.cancelled()
                raise
            finally:
                self._waiting = None

    def _take(self, n: int) -> bytes:
        """At most *n* of the bytes that are held, oldest first."""
        with self._lock:
            parts: list[bytes] = []
            while n > 0 and self._chunks:
                parts.append(self._take_from_first(n))
                n -= len(parts[-1])
            # Of a reader not before all was taken: then the pipe fills in larger strides. But a pipe that was paused
            # during the last read, with nobody to read on, must not stay so.
            resume = self._paused and (not self._held or not self._is_lossless())
            if resume:
                self._paused = False
        if resume:
            self._owner.resume(self)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _take_from_first(self, n: int) -> bytes:
        chunk = self._chunks[0]
        if n < len(chunk) - self._offset:
            part = chunk[self._offset : self._offset + n]
            self._offset += n
        else:
            part = chunk[self._offset :] if self._offset else chunk
            self._chunks.popleft()
            self._offset = 0
            if not self._chunks:
                self._chunks = _NOTHING
        self._held -= len(part)
        return part

    def _flatten(self) -> None:
        """Make bytes again of what was made lines and not delivered."""
        if not self._splitter.holds_any:
            return
        parts: list[bytes] = []
        ready = self._splitter.ready
        while ready:
            line = ready.popleft()
            parts += (line,) if isinstance(line, _Piece) else (line, b"\n")
        parts.append(self._splitter.take_begun())
        if again := b"".join(parts):
            if self._offset:
                self._chunks[0] = self._chunks[0][self._offset :]
                self._offset = 0
            if self._chunks:
                self._chunks.appendleft(again)
            else:
                self._chunks = deque((again,))
            self._held += len(again)

    # --- who reads? ------------------------------------------------------------------------------------------------

    def begin_drain(self) -> None:
        """From now on, do not hold up the process between two reads: somebody waits for its end."""
        with self._lock:
            self._drains += 1
        self._resume_if_lossy()

    def end_drain(self) -> None:
        with self._lock:
            self._drains -= 1

    def _begin_read(self) -> None:
        with self._lock:
            self._reads += 1

    def _end_read(self) -> None:
        with self._lock:
            self._reads -= 1
        self._resume_if_lossy()

    def iterator_made(self) -> None:
        with self._lock:
            self._iterators += 1

    def iterator_dropped(self) -> None:
        with self._lock:
            self._iterators -= 1
            self._is_read = False
        self._resume_if_lossy()

    def _is_lossless(self) -> bool:
        if self._discarded:
            return False
        return self._iterators > 0 or self._reads > 0 or (self._is_read and not self._drains)

    def _resume_if_lossy(self) -> None:
        with self._lock:
            resume = self._paused and not self._is_lossless()
            if resume:
                self._paused = False
        if resume:
            self._owner.resume(self)

    # --- filling ---------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> bool:
        """Add what arrived, from any thread. True: pause the pipe, and go on when the owner is told to resume."""
        with self._lock:
            self._total_bytes += len(data)
            if self._chunks:
                self._chunks.append(data)
            else:
                self._chunks = deque((data,))
            self._held += len(data)
            if self._is_lossless():
                # Once paused it stays so until the owner is told: a transport hands on later what it had read before.
                self._paused = self._paused or self._held > HIGH_WATER
            else:
                self._drop_oldest()
            pause, waiting = self._paused, self._waiting
        if waiting is not None:
            waiting.set()
        return pause

    def _drop_oldest(self) -> None:
        if not self._iterators:  # which takes lines without the lock; here only after discard()
            self._flatten()
        while (excess := self._held - self._buffer_bytes) > 0:
            self._dropped_bytes += len(self._take_from_first(excess))

    def end(self, *, complete: bool) -> None:
        """Say, from any thread, that no more will come. Only the first time counts."""
        if self._ended:
            return
        with self._lock:
            if self._ended:
                return
            self._ended = True
            self.complete = complete
            waiting = self._waiting
        if waiting is not None:
            waiting.set()

    def take_all(self) -> bytes:
        """All that is held, at once."""
        with self._lock:
            self._flatten()
            return self._take(self._held)


class _Iterator:
    """While it lives, the stream is lossless."""

    __slots__ = ("_lines", "_more", "_stream")

    def __init__(self, stream: Stream, lines: _LineSplitter, more: Callable[[], Awaitable[bool]]) -> None:
        self._stream = stream
        self._lines = lines
        self._more = more
        stream.iterator_made()

    def __del__(self) -> None:
        self._stream.iterator_dropped()

    async def _next(self) -> bytes:
        while not self._lines.ready:
            if not await self._more():
                raise StopAsyncIteration
        return self._lines.ready.popleft()


class Lines(_Iterator):
    """Lines, bytes without their ends."""

    __slots__ = ()

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> bytes:
        try:
            line = self._lines.ready.popleft()
        except IndexError:
            line = await self._next()
        return _without_cr(line) if self._lines.has_cr else line


class Batches(_Iterator):
    """Lists of lines, bytes without their ends, as many as have arrived; never empty."""

    __slots__ = ()

    def __aiter__(self) -> Batches:
        return self

    async def __anext__(self) -> list[bytes]:
        batch = [await self._next()]
        batch += self._lines.ready
        self._lines.ready.clear()
        return [_without_cr(line) for line in batch] if self._lines.has_cr else batch


class TextLines(_Iterator):
    """Lines as str, without their ends."""

    __slots__ = ("_decoder",)

    def __init__(
        self,
        stream: Stream,
        lines: _LineSplitter,
        more: Callable[[], Awaitable[bool]],
        decoder: codecs.IncrementalDecoder,
    ) -> None:
        super().__init__(stream, lines, more)
        self._decoder = decoder

    def __aiter__(self) -> TextLines:
        return self

    async def __anext__(self) -> str:
        try:
            line = await self._next()
        except StopAsyncIteration:
            if rest := self._decoder.decode(b"", final=True):  # the output ended in the middle of a character
                return rest
            raise
        if isinstance(line, _Piece):
            # A character may lie half in this piece and half in the next.
            return self._decoder.decode(line)
        text = self._decoder.decode(line, final=True)
        self._decoder.reset()
        return text.removesuffix("\r")
