"""The children of a chaos run: what each does, and what it must have written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

# Every line is its number, so any piece of the output can be told from its place in it.
LINE_BYTES = 10


def numbers(start: int, stop: int) -> bytes:
    """The lines from number *start* up to and without *stop*, as every counting child writes them."""
    return b"".join(b"%09d\n" % number for number in range(start, stop))


def expected(start: int, stop: int) -> bytes:
    """The bytes from *start* to *stop* of what a counting child writes."""
    first = start // LINE_BYTES
    lines = numbers(first, -(-stop // LINE_BYTES))
    return lines[start - first * LINE_BYTES : stop - first * LINE_BYTES]


@dataclass(frozen=True)
class Kind:
    """A kind of child.

    Attributes:
        argv: The command.
        stdout, stderr: How many lines of numbers it writes; None: as many as it can.
        returncode: Of a child that nobody disturbs; None for one that does not end.
        holds_pipes: Whether a descendant holds the pipes when the root has ended.
        long_line: Bytes of one line of x on stdout, in place of numbers.
        stdin: What it is fed and must give back, in place of numbers.
    """

    name: str
    argv: tuple[str, ...]
    stdout: int | None = 0
    stderr: int | None = 0
    returncode: int | None = 0
    holds_pipes: bool = False
    long_line: int = 0
    stdin: bytes | None = None


def _python(code: str, *args: object) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", code, *map(str, args))


_COUNT = (
    "import sys, itertools\n"
    "out, err, forever = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == 'True'\n"
    "def lines(n): return ('%09d\\n' % i for i in range(n))\n"
    "sys.stderr.writelines(lines(err)); sys.stderr.flush()\n"
    "sys.stdout.writelines(('%09d\\n' % i for i in itertools.count()) if forever else lines(out))\n"
)
_LONG_LINE = "import sys\nfor _ in range(int(sys.argv[1]) // 100_000): sys.stdout.write('x' * 100_000)\n"
_ECHO = "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"


def _shell(script: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", script)


def loud(random: Random) -> Kind:
    lines = random.randrange(1, 60_000)
    return Kind("loud", _python(_COUNT, lines, 0, False), stdout=lines)


def silent(random: Random) -> Kind:
    return Kind("silent", ("sleep", "60"), returncode=None)


def short(random: Random) -> Kind:
    code = random.choice((0, 0, 0, 1, 7, 255))
    return Kind("short", _shell(f"exit {code}"), returncode=code)


def floods_stderr(random: Random) -> Kind:
    lines = random.randrange(10_000, 60_000)
    return Kind("floods stderr", _python(_COUNT, 100, lines, False), stdout=100, stderr=lines)


def long_line(random: Random) -> Kind:
    size = 100_000_000 if random.random() < 0.05 else 5_000_000
    return Kind("long line", _python(_LONG_LINE, size), long_line=size)


def ignores_sigterm(random: Random) -> Kind:
    return Kind("ignores SIGTERM", _shell("trap '' TERM; while :; do sleep 1; done"), returncode=None)


def forks(random: Random) -> Kind:
    return Kind("forks", _shell("sleep 60 & sleep 60 & (sleep 60 & sleep 60) & wait"), returncode=None)


def leaves_grandchild(random: Random) -> Kind:
    return Kind("leaves a grandchild", _shell("sleep 60 & exit 5"), returncode=5, holds_pipes=True)


def crashes(random: Random) -> Kind:
    return Kind("crashes", _shell("kill -SEGV $$"), returncode=-11)


def never_ends(random: Random) -> Kind:
    return Kind("never ends", _python(_COUNT, 0, 0, True), stdout=None, returncode=None)


def echoes(random: Random) -> Kind:
    # No carriage return: an iterator takes it for a part of a line's end.
    data = random.randbytes(random.randrange(1, 400_000)).replace(b"\r", b"-")
    return Kind("echoes", _python(_ECHO), stdin=data)


KINDS: tuple[Callable[[Random], Kind], ...] = (
    loud, silent, short, floods_stderr, long_line, ignores_sigterm, forks, leaves_grandchild, crashes,
    never_ends, echoes,
)  # fmt: skip
