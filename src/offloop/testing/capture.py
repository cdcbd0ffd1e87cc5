"""Catch what a block and its child processes write, on the descriptors 1 and 2.

pytest's own capture is switched off around a Markdown block, and replacing `sys.stdout` alone would
miss the children.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from typing import TextIO

__all__ = ("Captured", "capture")


class Captured:
    """The text that was written, known when the capture has ended. Line ends are `\\n` on every system."""

    text: str = ""

    def set(self, data: bytes) -> None:
        """Decode what was caught; bytes that are not UTF-8 become U+FFFD."""
        self.text = data.decode("utf-8", "replace").replace("\r\n", "\n")


@contextlib.contextmanager
def capture() -> Generator[Captured]:
    """Collect standard output and standard error, in the order of writing, while the block runs."""
    captured = Captured()
    _flush()
    target, collect = _into_pipe() if sys.platform == "win32" else _into_file()
    saved = os.dup(1), os.dup(2)
    streams = sys.stdout, sys.stderr
    os.dup2(target, 1)
    os.dup2(target, 2)
    sys.stdout = sys.stderr = _unbuffered_text()
    try:
        yield captured
    finally:
        with contextlib.suppress(ValueError):  # the block may have closed it
            sys.stdout.flush()
        sys.stdout, sys.stderr = streams
        for number, original in zip((1, 2), saved, strict=True):
            os.dup2(original, number)
            os.close(original)
        captured.set(collect())


def _unbuffered_text() -> TextIO:
    # Line buffered, so that the order between this process and its children is kept.
    return open(1, "w", closefd=False, encoding="utf-8", errors="backslashreplace", buffering=1)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError, OSError):
            stream.flush()


def _into_file() -> tuple[int, Callable[[], bytes]]:
    """A file needs no thread, which would draw warnings from `os.fork` inside a block."""
    file = tempfile.TemporaryFile(buffering=0)

    def collect() -> bytes:
        with file:
            file.seek(0)
            return file.read()

    return file.fileno(), collect


def _into_pipe() -> tuple[int, Callable[[], bytes]]:
    """On Windows a pipe with a reader: under Wine a Python whose standard output is a file does not start."""
    reading, writing = os.pipe()
    end = b"\0end " + secrets.token_bytes(16)
    collected = bytearray()

    def read() -> None:
        # Until our own mark: a child that was left behind may hold the pipe open for long.
        while not collected.endswith(end) and end not in collected[-1 << 16 :]:
            data = os.read(reading, 1 << 15)
            if not data:
                return
            collected.extend(data)

    thread = threading.Thread(target=read, name="offloop-capture", daemon=True)
    thread.start()

    def collect() -> bytes:
        os.write(writing, end)
        thread.join()
        os.close(writing)
        os.close(reading)
        return bytes(collected).partition(end)[0]

    return writing, collect
