"""Record what a run did: the steps of its tasks, its processes, and where its loop was held up.

    with recording() as recorded:
        asyncio.run(main())
    print(recorded.timeline().summary())

Every loop of asyncio that runs in this thread is seen, and every process of this program: those of the wrapper, in
each of its modes, those of the loop's own `subprocess_exec()`, and those of the `subprocess` module. Works on each
system and in a browser. A loop that is written in C (uvloop) and trio are not seen.

It adds about 15 microseconds to each step, most of it for the clock. Nothing is scheduled on the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import subprocess
import sys
import threading
import time
from asyncio import base_events, events
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any

import anyio

import offloop
from offloop import events as process_events
from offloop.engines.child import Child
from offloop.guide.timeline import STALL_S, Process, Span, Task, Timeline
from offloop.testing.loop_lag import loop_lag, now_s

__all__ = ("Recorded", "recording")

_SYSTEMS = {"linux": "Linux", "win32": "Windows", "darwin": "macOS", "emscripten": "your browser"}

# What asyncio, anyio and offloop do for themselves would hide what the reader's tasks do.
_PLUMBING = tuple(str(Path(str(module.__file__)).parent) + os.sep for module in (asyncio, anyio, offloop))


@dataclass
class _Life:
    argv: tuple[str, ...]
    begin: float
    end: float | None = None
    returncode: int | None = None
    output: list[float] = field(default_factory=list[float])


class Recorded:
    """What was seen so far.

    Attributes:
        main: The task whose lane is called `main`, whatever it runs; else the name is that of its coroutine.
    """

    def __init__(self) -> None:
        self.main: asyncio.Task[Any] | None = None
        self._thread = threading.get_ident()
        self._began = time.perf_counter()
        self._monotonic = time.monotonic() - self._began
        self._duration: float | None = None
        # The one that runs now: its callback, and two clocks at its beginning.
        self._step: tuple[Callable[..., object], float, float] | None = None
        # The tasks are held, or another one could get the same id.
        self._tasks: dict[int, tuple[Any, list[Span], list[Span]]] = {}
        self._lives: dict[int, _Life] = {}

    # --- while it runs ---------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """See nothing more; what comes after is not part of the run."""
        if self._duration is None:
            if self._step is not None:  # it is called in the middle of one
                self._note(*self._step)
            self._duration = self._now()

    def _now(self) -> float:
        return time.perf_counter() - self._began

    def sees_steps(self) -> bool:
        """Whether the steps of the loop that runs in this thread are to be noted."""
        return self._duration is None and threading.get_ident() == self._thread

    def step(self, callback: Callable[..., object], run: Callable[[], None]) -> None:
        """Run one step of a loop, and note whose it was and how long it took."""
        outer, self._step = self._step, (callback, self._now(), now_s())
        try:
            run()
        finally:
            if self._duration is None:
                self._note(*self._step)
            self._step = outer

    def _note(self, callback: Callable[..., object], began: float, clock: float) -> None:
        span = began, self._now()
        held = span[1] - began >= STALL_S and now_s() - clock >= STALL_S
        task = getattr(callback, "__self__", None)
        owner: object = task
        if not isinstance(task, asyncio.Task):
            if not held:
                return
            owner = callback
        _, steps, stalls = self._tasks.setdefault(id(owner), (owner, [], []))
        steps.append(span)
        if held:
            stalls.append(span)

    def started(self, pid: int, argv: tuple[str, ...], at: float | None = None) -> None:
        """Note that a process was started. It may be said twice, by a loop and by what is below it."""
        at = self._now() if at is None else at
        if pid > 0 and not self._is_over(at):
            life = self._lives.setdefault(pid, _Life(argv, at))
            life.begin = min(life.begin, at)

    def wrote(self, pid: int, argv: tuple[str, ...]) -> None:
        """Note that output of a process arrived, which may be known before its start is."""
        self.started(pid, argv)
        at = self._now()
        if pid in self._lives and not self._is_over(at):
            self._lives[pid].output.append(at)

    def exited(self, pid: int, returncode: int, at: float | None = None) -> None:
        """Note the end of a process; the first time counts."""
        at = self._now() if at is None else at
        life = self._lives.get(pid)
        if life is not None and life.end is None and not self._is_over(at):
            life.end, life.returncode = at, returncode

    def _is_over(self, at: float) -> bool:
        return self._duration is not None and at > self._duration

    def on_event(self, event: process_events.Event) -> None:
        """Note what the wrapper says, by the time at which it happened: it may be told later."""
        at = event.at - self._monotonic - self._began
        if isinstance(event, process_events.Started):
            self.started(event.pid, event.argv, at)
        elif isinstance(event, process_events.Ended):
            self.exited(event.pid, event.returncode, at)

    # --- afterwards ------------------------------------------------------------------------------------------------

    def timeline(self) -> Timeline:
        """What happened until now, or until `stop()`."""
        duration = self._now() if self._duration is None else self._duration
        processes = tuple(
            Process(
                life.argv,
                max(life.begin, 0.0),
                min(duration if life.end is None else life.end, duration),
                life.returncode,
                tuple(life.output),
            )
            for life in sorted(self._lives.values(), key=lambda life: life.begin)
        )
        return Timeline(
            duration,
            tuple(self._task_lanes()),
            processes,
            f"{_SYSTEMS.get(sys.platform, sys.platform)}, Python {sys.version_info[0]}.{sys.version_info[1]}",
            sys.platform == "emscripten",
        )

    def _task_lanes(self) -> Iterator[Task]:
        names: Counter[str] = Counter()
        for owner, steps, stalls in self._tasks.values():
            if owner is not self.main and not stalls and _is_plumbing(owner) and not _has_own_name(owner):
                continue
            name = "main" if owner is self.main else _name_of(owner)
            names[name] += 1
            number = f" {names[name]}" if names[name] > 1 else ""
            yield Task(name + number, tuple(steps), tuple(stalls))


def _name_of(owner: Any) -> str:
    if not isinstance(owner, asyncio.Task):
        function: Any = getattr(owner, "func", owner)  # of a functools.partial
        return f"callback {getattr(function, '__qualname__', function)}".replace("<locals>.", "")
    return owner.get_name() if _has_own_name(owner) else _name_of_coroutine(owner)


def _name_of_coroutine(task: Any) -> str:
    return str(getattr(task.get_coro(), "__qualname__", "task")).rpartition("<locals>.")[2]


def _has_own_name(owner: Any) -> bool:
    """asyncio counts tasks, and anyio names them by module and function."""
    if not isinstance(owner, asyncio.Task):
        return False
    name = owner.get_name()
    return not name.startswith("Task-") and not name.endswith(f".{_name_of_coroutine(owner)}")


def _is_plumbing(owner: Any) -> bool:
    get_coro: Callable[[], Any] | None = getattr(owner, "get_coro", None)  # of a task
    code: CodeType | None = getattr(get_coro and get_coro(), "cr_code", None)
    return code is not None and code.co_filename.startswith(_PLUMBING)


# ---- where it listens -----------------------------------------------------------------------------------


@contextlib.contextmanager
def recording() -> Generator[Recorded]:
    """Record what happens in this thread while the block runs."""
    recorded = Recorded()
    with contextlib.ExitStack() as hooks:
        # For the clock: it is closed when the last one that measures ends.
        hooks.enter_context(loop_lag())
        for hook in (_steps, _processes_of_loops, _processes_of_subprocess, _output_of_the_wrapper):
            hooks.enter_context(hook(recorded))
        hooks.callback(process_events.subscribe(recorded.on_event))
        try:
            yield recorded
        finally:
            recorded.stop()


@contextlib.contextmanager
def _replaced(owner: type[Any], name: str, wrap: Callable[[Any], Any]) -> Generator[None]:
    original = owner.__dict__[name]
    setattr(owner, name, functools.wraps(original)(wrap(original)))
    try:
        yield
    finally:
        setattr(owner, name, original)


def _steps(recorded: Recorded) -> contextlib.AbstractContextManager[None]:
    """Every step of a loop goes through `Handle._run`, which is private and there since 3.4; a test fails if it goes."""

    def wrap(original: Callable[[Any], None]) -> Callable[[Any], None]:
        def _run(self: Any) -> None:
            if recorded.sees_steps():
                recorded.step(self._callback, functools.partial(original, self))
            else:
                original(self)

        return _run

    return _replaced(events.Handle, "_run", wrap)


@contextlib.contextmanager
def _processes_of_loops(recorded: Recorded) -> Generator[None]:
    """A loop makes its processes in `subprocess_exec` and `subprocess_shell`, for asyncio and for anyio alike."""

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        async def start(self: Any, make_protocol: Callable[[], Any], *argv: Any, **options: Any) -> Any:
            watched = _Watched(recorded, argv)
            transport, protocol = await original(
                self, lambda: watched.watch(make_protocol()), *argv, **options
            )
            watched.has_started(transport)
            return transport, protocol

        return start

    with (
        _replaced(base_events.BaseEventLoop, "subprocess_exec", wrap),
        _replaced(base_events.BaseEventLoop, "subprocess_shell", wrap),
    ):
        yield


class _Watched:
    """One protocol of a subprocess, and what it hears."""

    def __init__(self, recorded: Recorded, argv: tuple[Any, ...]) -> None:
        self._recorded = recorded
        self._argv = tuple(os.fsdecode(word) for word in argv)
        self._transport: Any = None

    def watch(self, protocol: Any) -> Any:
        made, received, ended = protocol.connection_made, protocol.pipe_data_received, protocol.process_exited

        def connection_made(transport: Any) -> None:
            self._transport = transport
            made(transport)

        def pipe_data_received(fd: int, data: bytes) -> None:
            self._recorded.wrote(self._transport.get_pid(), self._argv)
            received(fd, data)

        def process_exited() -> None:
            code = self._transport.get_returncode()
            if code is not None:
                self._recorded.exited(self._transport.get_pid(), code)
            ended()

        with contextlib.suppress(AttributeError):  # one with __slots__ is left alone
            protocol.connection_made = connection_made
            protocol.pipe_data_received = pipe_data_received
            protocol.process_exited = process_exited
        return protocol

    def has_started(self, transport: Any) -> None:
        self._recorded.started(transport.get_pid(), self._argv)
        code = transport.get_returncode()
        if code is not None:
            self._recorded.exited(transport.get_pid(), code)


@contextlib.contextmanager
def _processes_of_subprocess(recorded: Recorded) -> Generator[None]:
    """What is started without a loop: `subprocess.run()` and its like."""

    def after_init(original: Callable[..., None]) -> Callable[..., None]:
        def __init__(self: Any, args: Any, *others: Any, **options: Any) -> None:
            original(self, args, *others, **options)
            # What the wrapper starts is told by its events, and what it needs for itself is not of interest.
            if not _is_ours(sys._getframe(1)):  # pyright: ignore[reportPrivateUsage]
                words: list[Any] = [args] if isinstance(args, str | bytes | os.PathLike) else list(args)
                recorded.started(self.pid, tuple(os.fsdecode(word) for word in words))

        return __init__

    def after_end(original: Callable[..., Any]) -> Callable[..., Any]:
        def look(self: Any, *arguments: Any, **options: Any) -> Any:
            try:
                return original(self, *arguments, **options)
            finally:
                if self.returncode is not None:
                    recorded.exited(self.pid, self.returncode)

        return look

    with (
        _replaced(subprocess.Popen, "__init__", after_init),
        _replaced(subprocess.Popen, "wait", after_end),
        _replaced(subprocess.Popen, "poll", after_end),
    ):
        yield


def _is_ours(frame: Any) -> bool:
    while frame is not None and frame.f_globals.get("__name__") == "subprocess":
        frame = frame.f_back
    return frame is not None and str(frame.f_globals.get("__name__")).startswith("offloop.")


def _output_of_the_wrapper(recorded: Recorded) -> contextlib.AbstractContextManager[None]:
    """In each of its modes, and in whatever thread it reads."""

    def wrap(original: Callable[..., bool]) -> Callable[..., bool]:
        def output(self: Child, stream: Any, data: bytes) -> bool:
            recorded.wrote(self.pid, self.command.argv)
            return original(self, stream, data)

        return output

    return _replaced(Child, "output", wrap)
