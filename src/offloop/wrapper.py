"""``SubprocessWrapper``, the one door to processes.

    async with SubprocessWrapper() as wrapper:
        result = await wrapper.run("git", "status")

        process, stdout, stderr = await wrapper.create_subprocess("make", "-j4")
        async for line in stdout:
            print(line)
        await process.wait()

What is started belongs to the wrapper: when that is closed, every process tree that it started is gone. A task that is
cancelled while it waits for a process, in whichever call and however often, ends the tree of that process, and gets its
cancellation when the tree is gone.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import anyio

from offloop import process_tree
from offloop.engines import Command, Engine
from offloop.errors import (
    ModuleExecutionError,
    ModuleTimeoutError,
    SettingsError,
    UnsafeCommandError,
    UsageError,
)
from offloop.loops import Caller, Latch, current_caller, running_loop, shielded
from offloop.modes import ModeChoice, RunMode, check_setting, choose_mode, parse_mode
from offloop.output import Stream

if TYPE_CHECKING:
    from offloop.engines.child import Child

__all__ = ("PIPE", "Process", "Result", "Stdin", "SubprocessWrapper", "python_argv")

PIPE: Final = subprocess.PIPE
"""As *stdin*: what the child reads is written through ``process.stdin``."""

Word: TypeAlias = str | os.PathLike[str]


def python_argv(*args: Word) -> list[str]:
    """The command that runs this interpreter, and not whatever ``python`` is on PATH, with *args*.

    With ``-u``: a Python child holds back what it prints into a pipe, 8 KiB at a time, unless told not to.
    """
    return [sys.executable, "-u", *(os.fspath(arg) for arg in args)]


@dataclass(frozen=True)
class Result:
    """How a program ended, and what it wrote.

    Attributes:
        argv: The command.
        pid: Process id it had; -1 in DRY_RUN mode.
        returncode: Exit code; on POSIX -N if signal N ended it.
        stdout, stderr: The newest *buffer_bytes* of its output.
        timed_out: Whether it was ended because *timeout_s* was over.
        duration_s: Seconds between start and exit.
        complete: Whether both outputs were read to their ends. False if a descendant still held one *drain_s* after
            the exit.
        dropped_bytes: Bytes of output that exceeded *buffer_bytes*, of both together.
    """

    argv: tuple[str, ...]
    pid: int
    returncode: int
    stdout: bytes
    stderr: bytes
    timed_out: bool
    duration_s: float
    complete: bool
    dropped_bytes: int


class Stdin:
    """What a process reads, with ``stdin=PIPE``."""

    __slots__ = ("_child",)

    def __init__(self, child: Child) -> None:
        self._child = child

    async def write(self, data: bytes) -> None:
        """Write all of *data*. Returns when it is time to write more: the child sets the pace.

        Raises:
            BrokenPipeError: The child has closed its end, or it has ended.
            UsageError: *data* is not bytes.
        """
        if not isinstance(cast("object", data), bytes | bytearray | memoryview):
            raise UsageError(f"write() was called with {data!r}.", "Pass bytes: encode a str.")
        self._child.check_program()
        if self._child.reads_stdin:
            await _wait_or_end(self._child, self._child.write_stdin(bytes(data)).wait())
        if not self._child.reads_stdin:
            raise BrokenPipeError(f"pid {self._child.pid} reads no more from its stdin")

    async def aclose(self) -> None:
        """Close it, so that the child reads its end. May be called again."""
        self._child.close_stdin()


class Process:
    """A process that was started, and its tree."""

    __slots__ = ("_child", "stdin")

    def __init__(self, child: Child) -> None:
        self._child = child
        self.stdin: Stdin | None = Stdin(child) if child.command.stdin == PIPE else None
        """Writes to the process; None unless it was started with ``stdin=PIPE``."""

    def __repr__(self) -> str:
        state = "running" if self.returncode is None else f"returncode={self.returncode}"
        return f"<Process {self.pid} {state} {list(self.argv)!r}>"

    @property
    def pid(self) -> int:
        """Process id of the root of the tree; -1 in DRY_RUN mode."""
        return self._child.pid

    @property
    def argv(self) -> tuple[str, ...]:
        """The command."""
        return self._child.command.argv

    @property
    def returncode(self) -> int | None:
        """Exit code, on POSIX -N if signal N ended it; None while it runs."""
        return self._child.returncode

    @property
    def timed_out(self) -> bool:
        """Whether it was ended because *timeout_s* was over."""
        return self._child.timed_out

    @property
    def duration_s(self) -> float:
        """Seconds from the start to the exit, or until now."""
        return self._child.duration_s

    async def wait(self) -> int:
        """Wait until the process, not its pipes, has ended.

        A stream that nobody reads meanwhile does not hold it up. One that has an iterator does, when it is full: ask the
        iterator on, or drop it. Being cancelled here ends the tree; to wait for a while only, use
        ``asyncio.wait({task}, timeout=...)``, which cancels nothing.

        Returns:
            The exit code; on POSIX -N if signal N ended it.

        Raises:
            UsageError: The wrapper was closed, and the process, started with *detach*, runs on.
        """
        if self.returncode is None:
            self._child.check_program()
        streams = (self._child.stdout, self._child.stderr)
        for stream in streams:
            stream.begin_drain()
        try:
            await _wait_or_end(self._child, self._child.exited.wait())
        finally:
            for stream in streams:
                stream.end_drain()
        if self.returncode is None:
            raise UsageError(
                f"pid {self.pid} is not followed any more: its wrapper was closed while it ran.",
                "Wait for it before the wrapper is closed.",
            )
        return self.returncode

    def terminate(self) -> None:
        """Ask the tree to stop: SIGTERM to the group; on Windows CTRL_BREAK, if there is a console.

        Never raises, whether the process runs or not. Does not kill later: see ``stop()``.
        """
        self._child.ask_to_stop()

    def kill(self) -> None:
        """Kill the tree at once. Never raises, whether the process runs or not."""
        self._child.kill()

    async def stop(self, grace_s: float | None = None) -> int:
        """Ask the tree to stop, kill what is left after *grace_s*, and wait until it is gone.

        Where nobody can be asked (on Windows without a console) it is killed at once. May be called again, also at
        the same time. Being cancelled here kills the tree at once.

        Args:
            grace_s: Seconds between asking and killing; 0 kills at once, None is *grace_s* of the wrapper.

        Returns:
            The exit code, as from ``wait()``.

        Raises:
            SettingsError: *grace_s* is negative, infinite or not a number.
        """
        self._child.check_program()
        seconds = self._child.command.grace_s if grace_s is None else _seconds("grace_s", grace_s)
        self._child.post(lambda: self._child.begin_stop(seconds))
        await _wait_or_end(self._child, self._child.ended.wait())
        return await self.wait()


async def _wait_or_end(child: Child, waiting: Awaitable[None]) -> None:
    """Await *waiting*; if cancelled meanwhile, end the child first and then pass the cancellation on."""
    try:
        await waiting
    except GeneratorExit:  # the coroutine is thrown away, its loop has ended: it may not await
        child.abandon()
        raise
    except BaseException:
        await child.cancelled()
        raise


class SubprocessWrapper:
    """Starts processes, and ends them with all their descendants.

    Use it as an async context manager, or close it with ``await aclose()`` or, from synchronous code, ``cleanup()``. It
    belongs to the event loop on which it first starts something.
    """

    def __init__(
        self,
        mode: RunMode | str | None = None,
        *,
        max_running: int | None = None,
        grace_s: float = 5.0,
        drain_s: float = 1.0,
        max_line_bytes: int = 1024 * 1024,
        buffer_bytes: int = 16 * 1024 * 1024,
        leash: bool = True,
    ) -> None:
        """
        Args:
            mode: Who follows the processes. None: ``OFFLOOP_RUN_MODE``, else ``choose_mode()`` at the first start.
            max_running: At most so many live processes; further starts wait, first come, first served. None: any number.
            grace_s: Seconds between asking a tree to stop and killing it.
            drain_s: Seconds that a pipe is read after the exit when a descendant still holds it.
            max_line_bytes: Longest line that comes whole.
            buffer_bytes: What is kept of a stream that nobody reads.
            leash: Whether the trees die with this program, also when it is killed.

        Raises:
            SettingsError: A value is not allowed, here or in ``OFFLOOP_RUN_MODE``.
        """
        self._max_running = None if max_running is None else _count("max_running", max_running)
        self._grace_s = _seconds("grace_s", grace_s)
        self._drain_s = _seconds("drain_s", drain_s)
        self._max_line_bytes = _count("max_line_bytes", max_line_bytes)
        self._buffer_bytes = _count("buffer_bytes", buffer_bytes)
        self._leash = _flag("leash", leash)
        self._choice: ModeChoice | None = None
        if mode is None:
            check_setting()
        else:
            self._choice = ModeChoice(parse_mode(mode, name="mode"), "It was passed as mode=.")
        self._program = 0
        self._caller: Caller | None = None
        self._engine: Engine | None = None
        self._places = _Places(self._max_running)
        self._closing: Latch | None = None
        self._is_closed = False
        self.planned: list[tuple[str, ...]] = []
        """The commands that DRY_RUN mode did not run, oldest first."""

    # --- the mode --------------------------------------------------------------------------------------------------

    @property
    def mode(self) -> RunMode:
        """The run mode. Not settled before the first start, unless it was passed: until then, what it would be here."""
        return self._current_choice().mode

    @property
    def mode_reason(self) -> str:
        """Why it is this mode, in one sentence."""
        return self._current_choice().reason

    def _current_choice(self) -> ModeChoice:
        return self._choice or choose_mode()

    def _engine_here(self, argv: tuple[str, ...]) -> tuple[Engine, Caller]:
        """The engine, made at the first call, and the loop that it serves.

        Raises:
            UsageError: The wrapper is closed, or belongs to another loop.
            SubprocessPolicyError: ASYNC mode, and the loop cannot start processes.
            ResourceLimitError: No descriptors or threads are left for the engine.
        """
        if self._is_closed:
            raise _is_closed()
        try:
            caller = current_caller()
        except RuntimeError:
            raise UsageError("No event loop runs here.", "Call it from a coroutine.") from None
        if self._engine is None:
            choice = self._current_choice()
            try:
                self._engine = self._make_engine(choice.mode, caller)
            except OSError as error:
                raise process_tree.explain_start_error(error, argv, cwd=None, env=None) from error
            self._program = os.getpid()
            self._choice = choice
            self._caller = caller
        elif self._program != os.getpid():
            raise UsageError(
                f"This SubprocessWrapper belongs to the program {self._program}, of which this one is a fork.",
                "Make a new one after the fork.",
            )
        elif self._caller != caller:
            raise UsageError(
                f"This SubprocessWrapper belongs to another event loop, and was called from {caller.name}.",
                "Make one wrapper for each loop.",
            )
        return self._engine, caller

    def _make_engine(self, mode: RunMode, caller: Caller) -> Engine:
        # Imported here: `import offloop` must be cheap, and most programs need one of them.
        match mode:
            case RunMode.ASYNC:
                from offloop.engines.on_loop import OnLoopEngine

                return OnLoopEngine(caller)
            case RunMode.THREADED:
                from offloop.engines.hub import HubEngine

                return HubEngine()
            case RunMode.LOCAL:
                from offloop.engines.local import LocalEngine

                return LocalEngine()
            case RunMode.DRY_RUN:
                from offloop.engines.dry_run import DryRunEngine

                return DryRunEngine(self.planned)

    # --- starting --------------------------------------------------------------------------------------------------

    async def create_subprocess(
        self,
        *argv: Word,
        cwd: Word | None = None,
        env: Mapping[str, str | None] | None = None,
        stdin: bytes | int | None = None,
        timeout_s: float | None = None,
        detach: bool = False,
        allow_batch: bool = False,
    ) -> tuple[Process, Stream, Stream]:
        """Start a process.

        Args:
            argv: The program and its arguments. Never a shell string.
            cwd: Folder to start in; None is the current one.
            env: Changes to the current environment; a value of None removes the name. PATH and, on Windows, SystemRoot
                stay whatever is asked.
            stdin: None is the null device. Bytes are written while the output is read, then it is closed; a child that
                does not read them all is no error. ``PIPE`` gives ``process.stdin``.
            timeout_s: Seconds after which the tree is asked to stop, and killed *grace_s* later.
            detach: Let it outlive the wrapper and this program. Its stdin and both outputs are the null device.
            allow_batch: Allow a ``.bat`` or ``.cmd`` file with arguments on Windows. Only with arguments that you wrote.

        Returns:
            The process, its standard output and its standard error.

        Raises:
            CommandNotFoundError: There is no such program.
            WorkingDirectoryError: *cwd* is missing, is no folder or may not be entered.
            CommandNotExecutableError: The program exists and the system refuses to run it.
            ArgumentTooLongError: The system does not take arguments of this length.
            ResourceLimitError: No memory, descriptors, threads or processes are left.
            UnsafeCommandError: A shell string, a NUL, or a batch file with arguments.
            SettingsError: *timeout_s* is negative, infinite or not a number; a flag is not True or False.
            SubprocessPolicyError: ASYNC mode, and the running loop cannot start processes.
            UsageError: No command, a closed wrapper, another loop.

        After an error nothing is left behind.

        On POSIX the process leads a group of its own, so Ctrl-C in a terminal does not reach it.
        On Windows it is the first in a Job Object and in a console group of its own, so Ctrl-C does not reach it either.
        """
        child = await self._start(
            argv,
            cwd=cwd,
            env=env,
            stdin=stdin,
            timeout_s=timeout_s,
            detach=detach,
            allow_batch=allow_batch,
        )
        await _wait_or_end(child, child.started.wait())
        if child.error is not None:
            raise child.error
        return Process(child), child.stdout, child.stderr

    async def run(
        self,
        *argv: Word,
        check: bool = True,
        cwd: Word | None = None,
        env: Mapping[str, str | None] | None = None,
        stdin: bytes | int | None = None,
        timeout_s: float | None = None,
        detach: bool = False,
        allow_batch: bool = False,
    ) -> Result:
        """Run a program to its end and collect what it writes, at most *buffer_bytes* of each output.

        All arguments but *check* are those of ``create_subprocess()``, without ``stdin=PIPE``.

        Args:
            check: Raise if its exit code is not 0, or its time was up.

        Raises:
            ModuleTimeoutError: With *check*: it was ended because *timeout_s* was over.
            ModuleExecutionError: With *check*: its exit code was not 0.
            OffloopError: Whatever ``create_subprocess()`` raises.
        """
        _flag("check", check)
        if stdin == PIPE:
            raise UsageError("run() was called with stdin=PIPE.", "Pass bytes, or use create_subprocess().")
        child = await self._start(
            argv,
            cwd=cwd,
            env=env,
            stdin=stdin,
            timeout_s=timeout_s,
            detach=detach,
            allow_batch=allow_batch,
        )
        await _wait_or_end(child, child.ended.wait())
        if child.error is not None:
            raise child.error
        result = _result(child)
        if check:
            _raise_if_failed(result, timeout_s)
        return result

    async def _start(
        self,
        argv: tuple[Word, ...],
        *,
        cwd: Word | None,
        env: Mapping[str, str | None] | None,
        stdin: bytes | int | None,
        timeout_s: float | None,
        detach: bool,
        allow_batch: bool,
    ) -> Child:
        detach = _flag("detach", detach)
        folder = _checked_cwd(argv, cwd)
        words = _checked_argv(argv, cwd=folder, allow_batch=_flag("allow_batch", allow_batch))
        engine, caller = self._engine_here(words)
        command = Command(
            argv=words,
            cwd=folder,
            env=process_tree.environment(_checked_env(words, env)),
            stdin=_checked_stdin(stdin, detach=detach, mode=self.mode),
            timeout_s=None if timeout_s is None else _seconds("timeout_s", timeout_s),
            detach=detach,
            mode=self.mode,
            grace_s=self._grace_s,
            drain_s=self._drain_s,
            max_line_bytes=self._max_line_bytes,
            buffer_bytes=self._buffer_bytes,
            leash=self._leash and not detach,
        )
        await self._places.take()
        try:
            if self._is_closed:
                raise _is_closed()
            child = engine.start(command, run_soon=caller.run_soon, on_ended=self._places.give_back)
        except BaseException:
            self._places.give_back()
            raise
        if (
            self._is_closed
        ):  # by a signal handler or another thread, in between: the engine may not have seen this one
            engine.close_now()
        return child

    # --- closing ---------------------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Ask every tree to stop, kill what is left after *grace_s*, and release all threads and descriptors.

        A cancellation does not interrupt it, nor a second one; it is passed on when everything is gone. May be called
        again. On another loop than the wrapper's it does what ``cleanup()`` does.
        """
        self._is_closed = True
        self._places.close()
        if self._engine is None or self._program != os.getpid():
            return  # in a fork, what was started is not ours
        if self._caller != current_caller():
            self.cleanup()
            return
        if self._closing is None:
            self._closing = self._engine.begin_close(self._grace_s)
        await shielded(self._closing)
        self._engine.close_now()  # nothing is left but the last breath of a thread

    def cleanup(self) -> None:
        """Kill every tree and release all threads and descriptors, from synchronous code. May be called again.

        Works in any thread, and also when the loop of the wrapper has ended. Blocks for some milliseconds. Not for a signal
        handler, which may have interrupted a start: set an event there, or use ``loop.add_signal_handler()``.
        """
        self._is_closed = True
        self._places.close()
        if self._engine is not None and self._program == os.getpid():
            self._engine.close_now()

    async def __aenter__(self) -> SubprocessWrapper:
        # Loads what the first start and aclose() need: a server rather waits for it now than in the middle of a request, and
        # at the end there may be no descriptor to read it with.
        await _load_engines()
        anyio.get_cancelled_exc_class()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


_engines_are_loaded = Latch()


async def _load_engines() -> None:
    """In a thread, once: files that come from a slow disk, or past a virus scanner, would hold the loop."""
    if _engines_are_loaded.is_set:
        return

    def load() -> None:
        try:
            importlib.import_module("offloop.engines.hub")
            # What anyio.get_cancelled_exc_class() would load on the loop. Without it, it still does.
            with contextlib.suppress(ImportError):
                importlib.import_module(f"anyio._backends._{backend}")
        finally:
            _engines_are_loaded.set()

    backend = "asyncio" if running_loop() is not None else "trio"
    try:
        threading.Thread(target=load, name="offloop-import", daemon=True).start()
    except RuntimeError:  # no threads are left
        load()
    await _engines_are_loaded.wait()


def _is_closed() -> UsageError:
    return UsageError("This SubprocessWrapper is closed.", "Make a new one.")


class _Places:
    """Places for live processes, first come, first served."""

    def __init__(self, number: int | None) -> None:
        self._free = math.inf if number is None else number
        self._queue: deque[Latch] = deque()
        self._lock = threading.RLock()  # a signal handler may close the wrapper

    async def take(self) -> None:
        with self._lock:
            if self._free > 0 and not self._queue:
                self._free -= 1
                return
            turn = Latch()
            self._queue.append(turn)
        try:
            await turn.wait()
        except BaseException:
            self._leave_queue(turn)
            raise

    def _leave_queue(self, turn: Latch) -> None:
        with self._lock:
            if turn in self._queue:
                self._queue.remove(turn)
                return
        self.give_back()  # it had been given a place at the same moment

    def give_back(self) -> None:
        """From any thread."""
        with self._lock:
            if not self._queue:
                self._free += 1
                return
            turn = self._queue.popleft()
        turn.set()

    def close(self) -> None:
        """Let all go on who wait; they find the wrapper closed."""
        with self._lock:
            self._free = math.inf
            turns = list(self._queue)
            self._queue.clear()
        for turn in turns:
            turn.set()


def _result(child: Child) -> Result:
    streams = (child.stdout, child.stderr)
    returncode = child.returncode
    if returncode is None:
        raise UsageError(
            "The SubprocessWrapper was closed while a detached process ran.",
            "Use create_subprocess() to detach one.",
        )
    return Result(
        argv=child.command.argv,
        pid=child.pid,
        returncode=returncode,
        stdout=child.stdout.take_all(),
        stderr=child.stderr.take_all(),
        timed_out=child.timed_out,
        duration_s=child.duration_s,
        complete=all(stream.complete for stream in streams),
        dropped_bytes=sum(stream.dropped_bytes for stream in streams),
    )


def _raise_if_failed(result: Result, timeout_s: float | None) -> None:
    if result.timed_out and timeout_s is not None:
        raise ModuleTimeoutError(
            timeout_s=timeout_s,
            argv=result.argv,
            pid=result.pid,
            returncode=result.returncode,
            stdout=result.stdout,
            stderr=result.stderr,
            duration_s=result.duration_s,
        )
    if result.returncode != 0:
        raise ModuleExecutionError(
            argv=result.argv,
            pid=result.pid,
            returncode=result.returncode,
            stdout=result.stdout,
            stderr=result.stderr,
            duration_s=result.duration_s,
        )


# --- checks --------------------------------------------------------------------------------------------------------


def _seconds(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= sys.float_info.max:
        raise SettingsError(name, value, allowed="a number of seconds, 0 or more, and not infinite")
    return float(value)


def _count(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SettingsError(name, value, allowed="a whole number, 1 or more")
    return value


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise SettingsError(name, value, allowed="True or False")
    return value


def _checked_argv(argv: tuple[Word, ...], *, cwd: Word | None, allow_batch: bool) -> tuple[str, ...]:
    words = tuple(_text(word) for word in argv)
    if not words or not words[0]:
        raise UsageError("There is no command.", "Pass the program and its arguments: run('git', 'status').")
    _check_texts(words, words)
    if len(words) == 1 and _is_shell_string(words[0], cwd):
        raise UnsafeCommandError(
            words,
            problem="it is one string with spaces, and no shell takes it apart here",
            next_step="Pass the program and each argument by itself: run('git', 'status').",
        )
    if len(words) > 1 and process_tree.RUNS_BATCH_FILES and not allow_batch and _is_batch_file(words[0]):
        raise UnsafeCommandError(
            words,
            problem="cmd.exe takes the arguments of a batch file apart by rules that no quoting is safe against",
            next_step="Start the program that the batch file starts, or pass allow_batch=True if every argument is "
            "your own.",
        )
    return words


def _text(word: object) -> str:
    try:
        text = os.fspath(cast("os.PathLike[str]", word))
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise UsageError(
            f"A command has words that are str or paths, and this one is {word!r}.",
            "Pass a list with a star, run(*argv), and numbers as str.",
        )
    return text


def _is_shell_string(word: str, cwd: Word | None) -> bool:
    if word.split() == [word]:  # no white space anywhere
        return False
    import shutil  # it loads three compressors, and `import offloop` must be cheap

    return not os.path.exists(os.path.join(cwd or "", word)) and shutil.which(word) is None


def _is_batch_file(program: str) -> bool:
    # Windows ignores dots and spaces at the end of a name.
    return program.rstrip(". ").lower().endswith((".bat", ".cmd"))


def _check_texts(argv: tuple[str, ...], texts: tuple[str, ...]) -> None:
    for text in texts:
        try:
            os.fsencode(text)
        except UnicodeEncodeError as error:
            raise UsageError(
                f"{text!r} cannot be encoded for the system: {error.reason}.",
                "Send text that is not valid through stdin=, as bytes.",
            ) from error
        if "\0" in text:
            raise UnsafeCommandError(
                argv,
                problem=f"there is a NUL in {text!r}",
                next_step="Remove it; send binary data through stdin=.",
            )


def _checked_env(
    argv: tuple[str, ...], env: Mapping[str, str | None] | None
) -> Mapping[str, str | None] | None:
    if not isinstance(cast("object", env), Mapping | None):
        raise UsageError(f"env is {env!r}.", "Pass a dict of the names that change.")
    for name, value in cast("Iterable[tuple[object, object]]", (env or {}).items()):
        if not isinstance(name, str) or not isinstance(value, str | None) or not name or "=" in name:
            raise UsageError(
                f"env has {name!r}: {value!r}.",
                "Names are str without '=', values are str, or None to remove one.",
            )
        _check_texts(argv, (name, value or ""))
    return env


def _checked_cwd(argv: tuple[Word, ...], cwd: Word | None) -> str | None:
    if cwd is None:
        return None
    try:
        folder = os.fspath(cwd)
    except TypeError:
        folder = None
    if not isinstance(folder, str):
        raise UsageError(f"cwd is {cwd!r}.", "Pass a str or a path.")
    _check_texts(tuple(map(str, argv)), (folder,))
    return folder


def _checked_stdin(stdin: object, *, detach: bool, mode: RunMode) -> bytes | int | None:
    if stdin is None or stdin == subprocess.DEVNULL:
        return None
    if detach:
        raise UsageError("A detached process reads nothing.", "Pass its input in a file.")
    if isinstance(stdin, bytes | bytearray):
        return bytes(stdin)
    if stdin != PIPE:
        raise UsageError(f"stdin is {stdin!r}.", "Pass bytes (encode a str), offloop.PIPE or None.")
    if mode is RunMode.LOCAL:
        raise UsageError(
            "LOCAL mode blocks, so nobody could write to stdin=PIPE.", "Pass all of it as bytes."
        )
    return PIPE
