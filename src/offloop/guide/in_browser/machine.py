"""A machine without an operating system: its processes are Python programs inside of this interpreter.

Each process runs until it waits: for a time, for its input, or for room in a pipe. Then another one has its turn. They go
on while the event loop waits, and while somebody waits for one of them; a process that should have woken up while the loop
was held makes up for it, by a clock of its own.

Nothing is simulated wrongly in silence. What a process cannot do in here raises NotSimulatedError, in the parent or in
the process, and is kept in `NotSimulatedError.said`.
"""

from __future__ import annotations

import errno
import heapq
import io
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import CodeType
from typing import Any, cast

from offloop.guide.in_browser.child_code import NotSimulatedError, compile_child
from offloop.guide.in_browser.world import World

__all__ = ("PIPE_BYTES", "START_S", "Machine", "NeverError", "Pipe", "Process", "machine")

START_S = 0.03
"""What a small Python program takes to start on an ordinary machine."""

PIPE_BYTES = 65536
"""What a pipe holds on Linux."""

_MOST_IN_PIPE_BYTES = 4 * 1024 * 1024
# As Linux has it, for each word.
_MOST_IN_WORD_BYTES = 131_072
_FIRST_PID = 4001
_FIRST_DESCRIPTOR = 10_000
_HELD_S = 0.1
# A process that sleeps for no time is due again at once.
_MOST_IN_TURN_S = 0.02

_sleep = time.sleep
_SIGKILL = 9  # Windows has no name for it
_VARIABLES = dict(os.environ)


class NeverError(RuntimeError):
    """Somebody waits for what will never happen: nothing goes on by itself, and there is no deadline."""


class Pipe:
    """What one side writes and the other reads. Stands for a descriptor in the selector of the simulated loop."""

    _numbers = itertools.count(_FIRST_DESCRIPTOR)

    def __init__(self) -> None:
        self.held: bytearray = bytearray()
        self.has_reader: bool = True
        self.has_writer: bool = True
        self._number = next(self._numbers)

    def fileno(self) -> int:
        """A number that no descriptor of the system has."""
        return self._number

    @property
    def is_readable(self) -> bool:
        """Whether a read would return at once."""
        return bool(self.held) or not self.has_writer

    @property
    def is_writable(self) -> bool:
        """Whether a write would return at once."""
        return len(self.held) < PIPE_BYTES or not self.has_reader

    def read(self, size: int) -> bytes:
        """At most *size* bytes of what is there; b"" at the end."""
        data = bytes(self.held[:size])
        del self.held[:size]
        return data

    def write(self, data: bytes) -> int:
        """Add *data*, also beyond what it holds: who writes has to look for room first.

        Raises:
            BrokenPipeError: Nobody reads.
        """
        if not self.has_reader:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        if len(self.held) > _MOST_IN_PIPE_BYTES:
            raise NotSimulatedError("more than 4 MiB at once in a pipe that nobody reads")
        self.held += data
        return len(data)

    def close(self) -> None:
        """Close the end of the parent, whichever it is: what is held is lost if that is the reader."""
        self.has_reader = self.has_writer = False


class _Output(io.RawIOBase):
    """The end of a pipe, or of the parent's own output, that a process writes to."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        super().__init__()
        self._write = write

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        content = bytes(data)
        self._write(content)
        return len(content)

    def cut(self) -> None:
        """What a dead process held back gets nowhere: Python would write it when the buffer is collected."""
        self._write = len


def _text_output(output: _Output, *, is_unbuffered: bool, errors: str) -> io.TextIOWrapper:
    raw: Any = output
    # As Python does it for a pipe: 8 KiB are held back, unless -u was given.
    buffer = raw if is_unbuffered else io.BufferedWriter(raw, 8192)
    return io.TextIOWrapper(buffer, "utf-8", errors, newline="\n", write_through=is_unbuffered)


class _Wait:
    """What a process awaits: the machine wakes it up when it is due, or when something is ready."""

    def __init__(self, due: float | None = None, is_ready: Callable[[], bool] = lambda: False) -> None:
        self.due = due
        self.is_ready = is_ready

    def __await__(self) -> Any:
        yield self


class Process:
    """A simulated process, with the methods of `subprocess.Popen` that a loop and the wrapper need."""

    def __init__(
        self,
        args: Sequence[str | bytes | os.PathLike[str]],
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        cwd: str | bytes | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        **others: Any,
    ) -> None:
        """
        Raises:
            FileNotFoundError: The program is not Python, or *cwd* does not exist.
            NotSimulatedError: It cannot be done in here.
        """
        _refuse_options(others)
        argv = [os.fsdecode(word) for word in args]
        _check_words(argv)
        self.args = argv
        self.returncode: int | None = None
        self.is_unbuffered: bool = False
        self._folder = os.fsdecode(cwd) if cwd is not None else os.getcwd()
        if not os.path.isdir(self._folder):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._folder)
        self._code, self._argv, self._search = self._program(argv)
        self.stdin: Pipe | None = _pipe_or_none("stdin", stdin)
        self.stdout: Pipe | None = _pipe_or_none("stdout", stdout)
        self.stderr: Pipe | None = None if stderr == subprocess.STDOUT else _pipe_or_none("stderr", stderr)
        self.exit_pipe: Pipe = Pipe()
        """Becomes readable at the exit, as a pidfd does."""
        self.pid: int = machine.take_pid()
        environment = dict(os.environ if env is None else env)
        _refuse_variables(environment)
        self.is_unbuffered |= bool(environment.get("PYTHONUNBUFFERED"))
        self._world = self._make_world(stdin, stdout, stderr, environment)
        self._handlers: dict[int, Any] = {}
        self.drains = False
        """Whether somebody takes all that it writes, so that its pipes are never full."""
        self._coroutine: Coroutine[_Wait, None, None] | None = None
        self._wait = _Wait(time.monotonic() + START_S)
        self._clock = time.monotonic()
        machine.add(self)

    # --- the program -----------------------------------------------------------------------------------------------

    def _program(self, argv: Sequence[str]) -> tuple[CodeType, list[str], str]:
        """Its code, its sys.argv, and the first folder of its sys.path."""
        name = os.path.basename(argv[0]) if argv else ""
        if argv[0] != sys.executable and not re.fullmatch(r"python(3(\.\d+)?)?", name):
            machine.missing.append(argv[0])
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), argv[0])
        words = list(argv[1:])
        while words:
            word = words.pop(0)
            if word == "-u":
                self.is_unbuffered = True
            elif word == "-c" and words:
                return compile_child(words[0], "<string>"), ["-c", *words[1:]], self._folder
            elif word == "-m" and words:
                code = _module_code(words[0])
                return code, [code.co_filename, *words[1:]], self._folder
            elif word.startswith("-"):
                raise NotSimulatedError(f"the option {word} of Python")
            else:
                return self._script(word), [word, *words], os.path.dirname(os.path.join(self._folder, word))
        raise NotSimulatedError("Python without a program")

    def _script(self, name: str) -> CodeType:
        path = os.path.join(self._folder, name)
        try:
            with open(path, encoding="utf-8") as file:
                source = file.read()
        except OSError:
            why = f"python: can't open file {path!r}: [Errno 2] No such file or directory"
            source = f"import sys; print({why!r}, file=sys.stderr); sys.exit(2)"
        return compile_child(source, path)

    def _make_world(
        self, stdin: int | None, stdout: int | None, stderr: int | None, environment: dict[str, str]
    ) -> World:
        def writer(pipe: Pipe | None, wish: int | None, inherited: Any) -> Callable[[bytes], object]:
            if pipe is not None:
                return pipe.write
            if wish is not None:  # the null device
                return len
            return lambda data: inherited.write(data.decode("utf-8", "replace"))

        write_out = writer(self.stdout, stdout, sys.stdout)
        write_err = write_out if stderr == subprocess.STDOUT else writer(self.stderr, stderr, sys.stderr)
        self._outputs = _Output(write_out), _Output(write_err)
        self._has_input = stdin is not None
        return World(
            pid=self.pid,
            folder=self._folder,
            search=self._search,
            argv=self._argv,
            environment=environment,
            stdout=_text_output(self._outputs[0], is_unbuffered=self.is_unbuffered, errors="strict"),
            stderr=_text_output(self._outputs[1], is_unbuffered=True, errors="backslashreplace"),
            set_handler=self._set_handler,
            process=self,
        )

    def _set_handler(self, number: int, handler: Any) -> Any:
        before = self._handlers.get(number, signal.SIG_DFL)
        if number == _SIGKILL:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._handlers[int(number)] = handler
        return before

    # --- what its code awaits --------------------------------------------------------------------------------------

    async def sleep(self, seconds: float) -> None:
        """In place of time.sleep()."""
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        await _Wait(self._clock + seconds)

    async def room(self) -> None:
        """After each print: a pipe that is full holds the process up until somebody reads."""
        for pipe in (self.stdout, self.stderr):
            if pipe is not None and not pipe.is_writable and not self.drains:
                await _Wait(is_ready=lambda pipe=pipe: pipe.is_writable)

    async def read(self, size: int | None = -1) -> str:
        """In place of sys.stdin.read()."""
        return (await self.read_bytes(size)).decode()

    async def read_bytes(self, size: int | None = -1) -> bytes:
        """In place of sys.stdin.buffer.read()."""
        pipe = self._input()
        size = sys.maxsize if size is None or size < 0 else size
        content = b""
        while len(content) < size:
            if not pipe.is_readable:
                await _Wait(is_ready=lambda: pipe.is_readable)
            if not (part := pipe.read(size - len(content))):
                break
            content += part
        return content

    async def readline(self) -> str:
        """In place of sys.stdin.readline()."""
        return (await self.readline_bytes()).decode()

    async def readline_bytes(self) -> bytes:
        """In place of sys.stdin.buffer.readline()."""
        pipe = self._input()
        line = b""
        while not line.endswith(b"\n"):
            if not pipe.is_readable:
                await _Wait(is_ready=lambda: pipe.is_readable)
            end = pipe.held.find(b"\n") + 1
            if not (part := pipe.read(end or len(pipe.held))):
                break
            line += part
        return line

    async def input(self, prompt: str = "") -> str:
        """In place of input()."""
        print(prompt, end="", flush=True)
        if not (line := await self.readline()):
            raise EOFError("EOF when reading a line")
        return line.removesuffix("\n")

    def lines(self) -> _Lines:
        """In place of `for line in sys.stdin`."""
        return _Lines(self)

    def _input(self) -> Pipe:
        if self.stdin is not None:
            return self.stdin
        if not self._has_input:
            raise NotSimulatedError("reading from the stdin of the parent: there is no terminal")
        empty = Pipe()
        empty.has_writer = False
        return empty

    # --- its life --------------------------------------------------------------------------------------------------

    def due(self) -> float | None:
        """When it goes on by itself; None if it waits for somebody."""
        if self._wait.is_ready():
            return 0.0
        return self._wait.due

    def step(self) -> None:
        """Let it run until it waits again."""
        now = time.monotonic()
        # Woken up too late, because the loop was held: it goes on where it would have been.
        self._clock = self._wait.due if self._wait.due is not None else now
        coroutine = self._coroutine = self._coroutine or self._world.main(self._code)
        self._go_on(lambda: coroutine.send(None))

    def _go_on(self, until_it_waits: Callable[[], _Wait]) -> None:
        began = time.monotonic()
        try:
            with self._world:
                self._wait = until_it_waits()
        except StopIteration:
            self._end(self._world.exit_code)
        held_s = time.monotonic() - began
        if held_s > _HELD_S:
            machine.note(
                f"pid {self.pid} computed for {held_s * 1000:.0f} ms, and the loop stood still: "
                "a real process has a processor of its own"
            )

    def _end(self, returncode: int) -> None:
        self.returncode = returncode
        for output in self._outputs:
            output.cut()
        # Not closed: it would run what a process that is killed does not run.
        machine.bury(self, self._coroutine)
        self._coroutine = None
        for pipe in (self.stdout, self.stderr):
            if pipe is not None:
                pipe.has_writer = False
        if self.stdin is not None:
            self.stdin.has_reader = False
        self.exit_pipe.has_writer = False

    # --- as subprocess.Popen ---------------------------------------------------------------------------------------

    def poll(self) -> int | None:
        """The exit code, -N for signal N; None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Block until it has ended; all processes go on meanwhile.

        Raises:
            subprocess.TimeoutExpired: The time was up.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        machine.run(lambda: self.returncode is not None, deadline)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self.returncode

    def send_signal(self, sig: int) -> None:
        """Send a signal; nothing if it has ended."""
        if self.returncode is not None:
            return
        handler = self._handlers.get(int(sig), signal.SIG_DFL)
        if sig == signal.SIGINT and handler == signal.SIG_DFL and int(sig) not in self._handlers:
            handler = signal.default_int_handler  # as Python starts
        if sig not in (signal.SIGTERM, signal.SIGINT, _SIGKILL):
            raise NotSimulatedError(f"the signal {sig}")
        if handler == signal.SIG_IGN:
            return
        coroutine = self._coroutine
        if handler == signal.SIG_DFL or sig == _SIGKILL or coroutine is None:
            self._end(-int(sig))
            return
        try:
            with self._world:
                handler(int(sig), None)
        except BaseException as raised:
            # It is raised where the program waits, which may catch it, and has its `finally`.
            error = raised.with_traceback(raised.__traceback__ and raised.__traceback__.tb_next)
            self._go_on(lambda: coroutine.throw(error))

    def terminate(self) -> None:
        """Ask it to stop."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(_SIGKILL)


class _Lines:
    def __init__(self, process: Process) -> None:
        self._process = process

    def __aiter__(self) -> _Lines:
        return self

    async def __anext__(self) -> str:
        if not (line := await self._process.readline()):
            raise StopAsyncIteration
        return line


def _pipe_or_none(name: str, wish: Any) -> Pipe | None:
    if wish == subprocess.PIPE:
        return Pipe()
    if wish is None or wish == subprocess.DEVNULL:
        return None
    raise NotSimulatedError(f"{name}={wish!r} instead of PIPE or DEVNULL")


_IGNORED_OPTIONS = ("bufsize", "close_fds", "creationflags", "process_group", "start_new_session", "shell")


def _check_words(argv: Sequence[str]) -> None:
    if any("\0" in word for word in argv):
        raise ValueError("embedded null byte")
    if any(len(os.fsencode(word)) >= _MOST_IN_WORD_BYTES for word in argv):
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG), argv[0])


def _refuse_variables(environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        if name.startswith("PYTHON") and name != "PYTHONUNBUFFERED" and _VARIABLES.get(name) != value:
            raise NotSimulatedError(f"the variable {name}")


def _refuse_options(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if name == "shell" and value:
            raise NotSimulatedError("a shell")
        if name not in _IGNORED_OPTIONS and value:
            raise NotSimulatedError(f"{name}={value!r}")


def _module_code(name: str) -> CodeType:
    import importlib.util

    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        why = f"{sys.executable}: No module named {name}"
        return compile_child(f"import sys; print({why!r}, file=sys.stderr); sys.exit(1)", "<string>")
    loader = cast(Any, spec.loader)
    if not hasattr(loader, "get_code") or spec.submodule_search_locations:
        raise NotSimulatedError(f"python -m {name}")
    source = None
    if not (spec.origin or "").startswith((sys.prefix, sys.base_prefix)):  # a file of the page
        source = loader.get_source(name)
    return loader.get_code(name) if source is None else compile_child(source, spec.origin or name)


class Machine:
    """The processes that there are, and what is to be said about them."""

    def __init__(self) -> None:
        self._pids = itertools.count(_FIRST_PID)
        self._processes: list[Process] = []
        self._buried: list[object] = []
        self._has_a_turn: Process | None = None
        self.started: int = 0
        self.notes: list[str] = []
        self.missing: list[str] = []
        """Programs that were asked for and that no browser has."""

    def process(self, pid: int) -> Process | None:
        """The one with this number, while it runs."""
        return next((process for process in self._processes if process.pid == pid), None)

    def take_pid(self) -> int:
        """A number that no other process has had."""
        return next(self._pids)

    def add(self, process: Process) -> None:
        """From now on it has its turns."""
        self._processes.append(process)
        self.started += 1

    def bury(self, process: Process, coroutine: object) -> None:
        """It has no more turns."""
        if process in self._processes:
            self._processes.remove(process)
        self._buried.append(coroutine)

    def note(self, text: str) -> None:
        """To be said after the run, once."""
        if text not in self.notes:
            self.notes.append(text)

    def turn(self, now: float) -> None:
        """Let each process that is due run until it waits again, in the order of their times; for a while only."""
        if self._has_a_turn is not None:
            raise NotSimulatedError("a process that waits for others, or has an event loop,")
        end = time.monotonic() + _MOST_IN_TURN_S
        while time.monotonic() < end:
            due = [
                (at, process.pid, process) for process in self._processes if (at := process.due()) is not None
            ]
            heapq.heapify(due)
            if not due or due[0][0] > now:
                return
            self._has_a_turn = due[0][2]
            try:
                due[0][2].step()
            finally:
                self._has_a_turn = None

    def next_due(self) -> float | None:
        """When the next process goes on; None if none will."""
        return min((at for process in self._processes if (at := process.due()) is not None), default=None)

    def run(self, is_over: Callable[[], bool], deadline: float | None) -> None:
        """Let the processes run until something is over, or until the deadline.

        Raises:
            NeverError: There is no deadline, and nothing goes on by itself.
        """
        while True:
            now = time.monotonic()
            self.turn(now)
            if is_over() or (deadline is not None and time.monotonic() >= deadline):
                return
            moments = [moment for moment in (deadline, self.next_due()) if moment is not None]
            if not moments:
                raise NeverError("Deadlock: no process is left that could go on, so this waits for ever.")
            _sleep(max(min(moments) - time.monotonic(), 0.0))

    def turn_now(self) -> None:
        """Let each process that is due go on."""
        self.turn(time.monotonic())

    def kill_all(self) -> None:
        """Nobody has more turns."""
        for process in list(self._processes):
            process.kill()

    def reset(self) -> None:
        """Kill what is left, and forget what was counted."""
        self.kill_all()
        self.started = 0
        NotSimulatedError.said.clear()
        self.notes.clear()
        self.missing.clear()


machine: Machine = Machine()
"""The one that there is."""
